package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// A frame goes out as soon as there is something for it: what came of one entry
// of our log, or while the last one was written. Waiting for more would cost more
// than it saves, since a timer of less than a millisecond takes one or two.
const (
	frameBytes    = 64 << 10
	frameMessages = 1024
	cursorWait    = 30 * time.Second // for the receiver's answer, which may wait for its home
	cursorSlow    = 3 * time.Second  // after which the status says so
	maxClassName  = 255
)

// Waits before a class is tried again on a new stream.
const (
	resendLeast = 50 * time.Millisecond
	resendMost  = 5 * time.Second
)

// sender sends one class of our spool. It has no state that matters: where it
// begins is the receiver's cursor, what it may forget is what the receiver
// acknowledged, and both are in the homes' logs.
type sender struct {
	t     *tunnel
	class string
	grown chan struct{}    // the spool grew
	moved chan struct{}    // the window moved
	cur   chan wire.Cursor // the receiver's answer to a new stream, newest
	trims chan struct{}    // trim has something new

	mu     sync.Mutex
	flight flight
	trim   home.Trim
}

// errAhead holds a class back: to send would lose messages silently.
var errAhead = errors.New("the peer has messages of this home that this home never numbered: " +
	"it was restored from a backup without raising its epoch")

// run sends until ctx or the tunnel ends. A stream that the receiver gives up is
// followed by another.
func (s *sender) run(ctx context.Context) error {
	wait := group.Backoff{Least: resendLeast, Most: resendMost}
	for {
		began := time.Now()
		err := s.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, errStream):
			s.t.p.counts.resyncs.Add(1)
		case errors.Is(err, errAhead), errors.Is(err, errBody):
			s.t.p.counts.held.Add(1)
			s.t.p.log.Error("a class of the spool is held back", "class", s.class, "reason", err)
			s.t.p.hold(s.class, err.Error())
			wait.Begin(resendMost)
		default:
			return err
		}
		if time.Since(began) > resendMost {
			wait.Reset()
		}
		if group.Pause(ctx, wait.Wait()) != nil {
			return nil
		}
	}
}

// stream opens a stream and sends on it until it breaks.
func (s *sender) stream(ctx context.Context) error {
	w, err := s.t.c.send(ctx)
	if err != nil {
		return err
	}
	defer w.reset()
	st := s.t.st
	head := wire.StreamHead{Kind: wire.StreamSpool, Class: s.class, Source: wireSource(home.Source{Home: st.ID(), Epoch: st.Epoch()})}
	s.forget()
	if _, err := w.Write(head.Append(nil)); err != nil {
		return err
	}
	c, err := s.answer(ctx, w, head.Source)
	if err != nil {
		return err
	}
	from, err := s.begin(&c)
	if err != nil {
		return err
	}
	s.t.p.hold(s.class, "")
	enc, err := wire.NewEncoder(wire.Supported(s.t.p.config().Compress, s.t.agreed.Features))
	if err != nil {
		return err
	}
	out := outgoing{s: s, w: w, enc: enc, pos: from.at, gap: from.gap}
	return out.run(ctx)
}

func (s *sender) home() Home    { return s.t.p.m.o.Home }
func (s *sender) peer() home.ID { return s.t.p.config().ID }

// forget drops what the last stream left behind.
func (s *sender) forget() {
	s.mu.Lock()
	s.flight = flight{}
	s.mu.Unlock()
	select {
	case <-s.cur:
	default:
	}
}

// answer waits for where the receiver stands.
func (s *sender) answer(ctx context.Context, w sendStream, source wire.Source) (wire.Cursor, error) {
	timer, slow := time.NewTimer(cursorWait), time.NewTimer(cursorSlow)
	defer timer.Stop()
	defer slow.Stop()
	for {
		select {
		case c := <-s.cur:
			if c.Source == source {
				return c, nil
			}
		case <-slow.C:
			s.t.p.hold(s.class, fmt.Sprintf("the peer takes nothing of class %q now: it may have paused the link", s.class))
		case <-w.done():
			return wire.Cursor{}, errStream
		case <-timer.C:
			return wire.Cursor{}, fmt.Errorf("the peer does not say where it stands in class %q: %w", s.class, errStream)
		case <-ctx.Done():
			return wire.Cursor{}, context.Cause(ctx)
		}
	}
}

// begin turns the receiver's cursor into a place in our spool.
func (s *sender) begin(c *wire.Cursor) (start, error) {
	st := s.t.st
	high := st.HighSeq()
	info, ok := classInfo(st, s.peer(), s.class)
	if !ok {
		return start{}, fmt.Errorf("class %q is gone: %w", s.class, errStream)
	}
	from := startAt(c, info.Start, high)
	switch {
	case from.ahead:
		return from, fmt.Errorf("%w (class %q: it stands at %d, our last is %d)", errAhead, s.class, c.Seq, high)
	case from.gap:
		s.t.p.counts.gapsOut.Add(1)
		s.t.p.log.Warn("the peer stands before our spool: it was restored, or the spool was at its limit",
			"class", s.class, "stands", c.Seq, "spool begins", info.Start)
	case c.Known && from.at > info.Start: // an ack that was lost with the last tunnel
		s.acked(&wire.Ack{Source: c.Source, Class: s.class, Committed: c.Seq, Applied: min(c.Applied, c.Seq)})
	}
	return from, nil
}

func classInfo(st *home.State, peer home.ID, class string) (home.SpoolInfo, bool) {
	for _, info := range st.SpoolInfo(peer) {
		if info.Class == class {
			return info, true
		}
	}
	return home.SpoolInfo{}, false
}

// stands takes the receiver's cursor from the control stream.
func (s *sender) stands(c *wire.Cursor) {
	select {
	case <-s.cur:
	default:
	}
	select {
	case s.cur <- *c:
	default:
	}
}

// acked takes an acknowledgement. What is applied in the receiver's standby is
// trimmed. [D3]
func (s *sender) acked(a *wire.Ack) {
	epoch := homeEpoch(a.Source.Epoch)
	s.mu.Lock()
	s.flight.acked(epoch, home.Seq(a.Committed))
	if to := home.Seq(min(a.Committed, a.Applied)); s.trim.Epoch != epoch || to > s.trim.To {
		s.trim = home.Trim{Peer: s.peer(), Class: s.class, Epoch: epoch, To: to}
	}
	s.mu.Unlock()
	if s.t.purpose == wire.PurposeDrain {
		s.t.p.gave(s.class, home.Seq(a.Committed))
	}
	s.t.p.canaries.acknowledged(s.class, home.Seq(a.Committed))
	group.Wake(s.moved)
	group.Wake(s.trims)
}

// trimEvery bounds the entries that acknowledgements cost.
const trimEvery = 20 * time.Millisecond

// runTrims drops from our spool what the receiver has, one entry at a time.
func (s *sender) runTrims(ctx context.Context) error {
	var last home.Trim
	for {
		select {
		case <-s.trims:
		case <-ctx.Done():
			return nil
		}
		s.mu.Lock()
		next := s.trim
		s.mu.Unlock()
		if next == last {
			continue
		}
		_, err := s.t.p.proposeWait(ctx, &next)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("trim the spool: %w", err)
		}
		last = next
		if group.Pause(ctx, trimEvery) != nil {
			return nil
		}
	}
}

func (s *sender) full(window int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flight.bytes >= window
}

func (s *sender) sent(sp span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight.add(sp)
}

// senderList are the senders of a tunnel.
type senderList struct {
	mu   sync.Mutex
	list []*sender
}

func (l *senderList) find(class string) *sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.list {
		if s.class == class {
			return s
		}
	}
	return nil
}

func (l *senderList) add(s *sender) []*sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, s)
	return append([]*sender(nil), l.list...)
}

// runSenders starts a sender for each class when it first has something to send, if
// only a canary: a class without either needs no stream.
func (t *tunnel) runSenders(ctx context.Context, g *group.Group) error {
	defer t.p.senders.Store(nil)
	for {
		for _, info := range t.st.SpoolInfo(t.p.config().ID) {
			if info.Messages+info.Canaries == 0 || t.senders.find(info.Class) != nil {
				continue
			}
			if len(info.Class) > maxClassName {
				return fmt.Errorf("class name of %d bytes: use at most %d", len(info.Class), maxClassName)
			}
			s := &sender{t: t, class: info.Class, grown: make(chan struct{}, 1), moved: make(chan struct{}, 1),
				cur: make(chan wire.Cursor, 1), trims: make(chan struct{}, 1)}
			list := t.senders.add(s)
			t.p.senders.Store(&list)
			g.Do(s.run)
			if t.purpose == wire.PurposeLink { // a fenced copy changes no more
				g.Do(s.runTrims)
			}
		}
		select {
		case <-t.p.spooled:
		case <-ctx.Done():
			return nil
		}
	}
}
