package broker

import (
	"context"

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
	// Of returns the home that serves a session, now. While that is not known, or nobody here may serve it, it returns "":
	// the CONNECT is parked. elsewhere says that another region is known to serve it now, or may, so that waiting here is of
	// little use. It is asked for each that is parked, again and again.
	Of(k home.SessionKey) (id home.ID, elsewhere bool)
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

func (o oneHome) Of(home.SessionKey) (home.ID, bool) { return home.ID(o), false }
func (oneHome) Changed() <-chan struct{}             { return nil }

// freshSoon is closed when the home is fresh.
func (h *House) freshSoon() <-chan struct{} { return h.s.when(&h.freshness, h.home.Fresh) }
