package broker

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/home"
)

// House is one home as the broker serves it: the home, who else is concerned, and the connections whose sessions live
// there. The homes of a node never mix: each has its own sessions, under keys that the others may have, too. Its methods
// may be called from any goroutine.
type House struct {
	s        *Server
	id       home.ID
	home     Home
	forward  Forwarder
	siblings Siblings
	sessions *sessions

	ready     soon
	freshness soon
}

// HomeOptions is one home that a Server serves.
type HomeOptions struct {
	ID        home.ID
	Home      Home
	Forwarder Forwarder // nil: there are no links
	Siblings  Siblings  // nil: there are none
}

func newHouse(s *Server, o HomeOptions) *House {
	h := &House{s: s, id: o.ID, home: o.Home, forward: o.Forwarder, siblings: o.Siblings, sessions: newSessions()}
	if h.forward == nil {
		h.forward = noForwarder{}
	}
	if h.siblings == nil {
		h.siblings = noSiblings{}
	}
	return h
}

// House returns the server's side of a home, nil if it serves none of that name.
func (s *Server) House(id home.ID) *House { return s.houses[id] }

// each calls f for every connection that has a session, in whichever home.
func (s *Server) each(f func(*conn)) {
	for _, h := range s.houses {
		h.sessions.each(f)
	}
}

// Homes says where sessions live. Its methods may be called from any goroutine and must not block.
type Homes interface {
	// Of returns the home that serves a session, now. While that is not known, or nobody here may serve it, it returns ""
	// and why: the CONNECT is parked. elsewhere says that another region is known to serve it now, so that waiting here
	// is of little use.
	Of(k home.SessionKey) (id home.ID, why string, elsewhere bool)
	// Changed returns a channel that is closed when Of may have other answers than at the time of the call.
	Changed() <-chan struct{}
}

// Claimer brings sessions of other regions here. Its methods may be called from any goroutine and must not block.
type Claimer interface {
	// Claim says that a device waits here for its session, of which Homes does not say that a home here serves it. clean:
	// it begins anew. The channel is closed when Of may have another answer for it; nil: there is nothing to claim.
	Claim(k home.SessionKey, clean bool) <-chan struct{}
}

// Silence returns when none of some runs of nodes sends for a session at epochs below epoch any more. self is this one.
func (h *House) Silence(ctx context.Context, self home.Owner, formers []home.Owner, k home.SessionKey, epoch home.SessionEpoch) error {
	for _, f := range formers {
		if f == self {
			h.Yield(k, epoch)
		} else if err := h.siblings.Yield(ctx, f, k, epoch); err != nil {
			return err
		}
	}
	return nil
}

// oneHome is used by a node that serves one home.
type oneHome home.ID

func (o oneHome) Of(home.SessionKey) (home.ID, string, bool) { return home.ID(o), "", false }
func (oneHome) Changed() <-chan struct{}                     { return nil }

// houseOf waits until it is known which home has a session, and that home serves it. The error says what it waited for
// when ctx ended or the server stopped, or when another region was known to serve it and a while had passed: the device
// redials, and may be led there. waited says that it was not known at once.
func (s *Server) houseOf(ctx context.Context, k home.SessionKey, clean bool) (h *House, waited bool, err error) {
	patience := time.NewTimer(s.opt.ParkElsewhere)
	defer patience.Stop()
	impatient := false
	for {
		changed := s.opt.Where.Changed()
		id, why, elsewhere := s.opt.Where.Of(k)
		if h = s.houses[id]; h != nil {
			var ok bool
			if ok, why = h.home.Ready(); ok {
				return h, waited, nil
			}
		}
		waited = true
		var claimed <-chan struct{}
		if id == "" && s.opt.Claims != nil {
			claimed = s.opt.Claims.Claim(k, clean)
		}
		if claimed == nil && elsewhere && impatient {
			return nil, waited, fmt.Errorf("parked for %v: %s", s.opt.ParkElsewhere, why)
		}
		var look <-chan time.Time // nobody says when another region begins or ceases to be heard
		if impatient || claimed != nil {
			look = time.After(lookElsewhere)
		}
		select {
		case <-patience.C:
			impatient = true
		case <-look:
		case <-changed:
		case <-claimed:
		case <-h.whenReady():
		case <-ctx.Done():
			return nil, waited, fmt.Errorf("parked for as long as a client waits: %s", why)
		case <-s.stopping:
			return nil, waited, ErrStopped
		}
	}
}

// lookElsewhere is how often a parked CONNECT looks whether another region is known to serve its session.
const lookElsewhere = 250 * time.Millisecond

// whenReady is closed when the home serves sessions. Of no home there is nothing to wait for.
func (h *House) whenReady() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.s.when(&h.ready, func() bool { ok, _ := h.home.Ready(); return ok })
}

// freshSoon is closed when the home is fresh.
func (h *House) freshSoon() <-chan struct{} { return h.s.when(&h.freshness, h.home.Fresh) }
