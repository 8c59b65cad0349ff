package broker

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// parking is the CONNECTs whose home is not known, or is not served yet. There are as many as a region had devices when its
// standby is about to take over, so one goroutine looks for all of them, and wakes only those that can go on, each when its turn
// has come: if all of them looked for themselves, what keeps the home alive would wait behind them.
//
//	parked ── its home serves it ── the queue before TLS, ahead of who was accepted ── its turn ──▶ attach
//	   ├── another region serves it, or a handover has an answer ── looks for itself
//	   └── ParkTime is over ──▶ closed
type parking struct {
	mu      sync.Mutex
	parked  map[*parked]struct{}
	looking bool // attend runs
}

// parked is one CONNECT that waits.
type parked struct {
	key   home.SessionKey
	clean bool
	since time.Time
	gone  func() bool

	look    chan struct{} // holds one token: look again
	claimed atomic.Bool   // a session of another home is asked for
	queued  atomic.Bool   // it waits for its turn
	turn    atomic.Bool   // which has come
	left    atomic.Bool   // nobody waits any more
	dropped atomic.Bool   // it hung up
}

const (
	// lookReady is how soon is noticed that a home serves its sessions, and lookParked how soon what nobody says: that another
	// region begins or ceases to be heard.
	lookReady  = 20 * time.Millisecond
	lookParked = 250 * time.Millisecond
)

// Why a CONNECT was not parked for longer.
var (
	errElsewhere = errors.New("another region serves it")
	errHungUp    = io.EOF
)

// houseOf waits until it is known which home has a session, that home serves it, and it is the CONNECT's turn, unless it need
// not wait at all. Errors: errElsewhere when another region was known to serve it and a while had passed, so that the device
// redials and may be led there; errHungUp; ctx's; ErrStopped.
func (s *Server) houseOf(ctx context.Context, k home.SessionKey, clean bool, gone func() bool) (*House, error) {
	if h, _ := s.place(k); h != nil {
		return h, nil
	}
	w := &parked{key: k, clean: clean, since: time.Now(), gone: gone, look: make(chan struct{}, 1)}
	defer s.unpark(w)
	for {
		claimed := s.claim(w)
		w.claimed.Store(claimed != nil)
		s.park(w) // before the look: what changes after it is noticed
		h, elsewhere := s.place(k)
		switch {
		case w.dropped.Load():
			return nil, errHungUp
		case h != nil && (w.turn.Load() || s.admission.wait(k.Namespace, true, ctx.Done())):
			if gone() {
				return nil, errHungUp
			}
			return h, nil
		case claimed == nil && elsewhere && time.Since(w.since) >= s.opt.ParkElsewhere:
			return nil, errElsewhere
		}
		if w.turn.Swap(false) {
			w.queued.Store(false)
		}
		select {
		case <-w.look:
		case <-claimed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.stopping:
			return nil, ErrStopped
		}
	}
}

// place is the home that serves a session now; elsewhere says that another region does, or may.
func (s *Server) place(k home.SessionKey) (h *House, elsewhere bool) {
	id, elsewhere := s.opt.Where.Of(k)
	if h = s.houses[id]; h != nil {
		if ok, _ := h.home.Ready(); ok {
			return h, false
		}
	}
	return nil, elsewhere
}

// claim has a session brought here that lives elsewhere; nil: there is nothing to wait for.
func (s *Server) claim(w *parked) <-chan struct{} {
	if id, _ := s.opt.Where.Of(w.key); id != "" || s.opt.Claims == nil {
		return nil
	}
	return s.opt.Claims.Claim(w.key, w.clean)
}

// park has attend look for w.
func (s *Server) park(w *parked) {
	p := &s.parking
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parked == nil {
		p.parked = map[*parked]struct{}{}
	}
	p.parked[w] = struct{}{}
	if !p.looking {
		p.looking = true
		s.conns.Add(1)
		go s.attend()
	}
}

func (s *Server) unpark(w *parked) {
	w.left.Store(true)
	s.parking.mu.Lock()
	defer s.parking.mu.Unlock()
	delete(s.parking.parked, w)
}

// all are those that are parked; nil ends attend.
func (p *parking) all() (list []*parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.parked {
		list = append(list, w)
	}
	p.looking = len(list) > 0
	return list
}

// attend looks for who is parked until nobody is: when a home begins to be served or ready, and now and then.
func (s *Server) attend() {
	defer s.conns.Done()
	for {
		changed, serves := s.opt.Where.Changed(), s.serving()
		list := s.parking.all()
		if list == nil {
			return
		}
		for _, w := range list {
			s.attendTo(w, serves)
		}
		s.untilChange(changed, serves)
	}
}

// serving are the homes that serve sessions now.
func (s *Server) serving() map[home.ID]bool {
	serves := map[home.ID]bool{}
	for id, h := range s.houses {
		if ok, _ := h.home.Ready(); ok {
			serves[id] = true
		}
	}
	return serves
}

// attendTo wakes one of the parked if there is a reason.
func (s *Server) attendTo(w *parked, serves map[home.ID]bool) {
	if w.queued.Load() || w.left.Load() {
		return
	}
	switch id, elsewhere := s.opt.Where.Of(w.key); {
	case serves[id]:
		s.queue(w)
	case id == "" && s.opt.Claims != nil && (s.opt.Claims.Claim(w.key, w.clean) != nil) != w.claimed.Load():
		wakeUp(w.look)
	case elsewhere && !w.claimed.Load() && time.Since(w.since) >= s.opt.ParkElsewhere:
		wakeUp(w.look)
	}
}

// queue has one of the parked wait for its turn.
func (s *Server) queue(w *parked) {
	w.queued.Store(true)
	let := func() {
		w.turn.Store(true)
		wakeUp(w.look)
	}
	a := &arrival{let: let, gone: func() bool { return w.left.Load() || w.gone() }, drop: func() {
		w.dropped.Store(true)
		wakeUp(w.look)
	}}
	if !s.admission.enter(w.key.Namespace, true, a) {
		let()
	}
}

// untilChange waits until a home begins or ceases to be served here, or for as long as what nobody says may take to be noticed.
func (s *Server) untilChange(changed <-chan struct{}, serves map[home.ID]bool) {
	tick := time.NewTicker(lookReady)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < lookParked && maps.Equal(serves, s.serving()); {
		select {
		case <-changed:
			return
		case <-s.stopping:
			<-tick.C // they leave
			return
		case <-tick.C:
		}
	}
}

// wakeUp signals a channel that holds one token.
func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
