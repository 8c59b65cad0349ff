package foreign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// Waits between dials.
const (
	dialLeast = 200 * time.Millisecond
	dialMost  = 15 * time.Second
	stableFor = 10 * time.Second // a connection that lived so long was a good one
)

// lane is one of the connections that share what goes out, by publisher, so that the order of each is kept. It outlives
// its connections: what is under way goes on with the next one. The first lane also has what comes in.
//
//	queue ── send ──▶ flights ── PUBACK, PUBCOMP ──▶ done
//	  ▲                  │
//	  └── lost connection┘  in the same order, under the same packet ids
type lane struct {
	t         *term
	n         int
	last      int // address that worked last; owned by run
	wake      chan struct{}
	connected atomic.Bool
	began     chan struct{} // closed by the first connection
	address   atomic.Pointer[string]

	mu      sync.Mutex
	s       *conn     // nil between connections
	queue   []*flight // to be sent, in order
	live    []*flight // in no log, to be sent
	size    int       // bytes of live
	flights []*flight // sent and not done with, in the order in which they were sent
	ids     map[uint16]*flight
	written []*flight // of QoS 0, in the write that goes on
	control []byte    // acknowledgements and releases to be written
	acks    *acks
	putOff  time.Time     // nothing new is sent before: the broker has no room
	patient group.Backoff // between such times
	clean   cleanIDs
	freeID  uint16 // where a free packet id is looked for
	found   bool   // each connection so far found the session that a former term left
	suspect int    // messages among which one made the broker end the connection: they go one at a time
}

// flight is a message on its way to the broker.
type flight struct {
	seq      home.Seq // 0: in no log
	msg      home.Message
	canary   time.Time // when it was sent, if it is one
	id       uint16
	qos      byte // at which it was sent
	maybe    bool // a former term may have sent it
	sent     bool // in this term; it keeps its id
	received bool // PUBREC came: it is not sent again
	kept     bool // and the home knows: PUBREL may go
}

func newLane(t *term, n int) *lane {
	return &lane{t: t, n: n, wake: make(chan struct{}, 1), began: make(chan struct{}), found: true, ids: map[uint16]*flight{}, freeID: 65535,
		patient: group.Backoff{Least: 500 * time.Millisecond, Most: 30 * time.Second}}
}

func (c *lane) clientID() string { return fmt.Sprintf("%s-%d", c.t.l.cfg.ClientID, c.n) }

// run keeps the lane connected until ctx ends.
func (c *lane) run(ctx context.Context) error {
	wait := group.Backoff{Least: dialLeast, Most: dialMost}
	for ctx.Err() == nil {
		s, err := c.dial(ctx)
		if err != nil {
			c.dialFailed(ctx, err)
		} else {
			began := time.Now()
			err = c.serve(ctx, s)
			if errors.Is(err, errDialectNow) {
				return err
			}
			if time.Since(began) > stableFor {
				wait.Reset()
			}
		}
		if ctx.Err() == nil {
			_ = group.Pause(ctx, wait.Wait())
		}
	}
	return nil
}

func (c *lane) dialFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	c.t.l.counts.dialFailures.Add(1)
	if c.n == 0 {
		c.t.l.setDown(oneLine(err))
	} else {
		c.t.l.setPart(oneLine(err))
	}
}

// serve runs an accepted connection to its end.
func (c *lane) serve(ctx context.Context, s *conn) error {
	defer s.Close()
	if err := c.t.settle(s.dialect); err != nil {
		return err
	}
	if !s.present {
		if err := c.forget(ctx); err != nil {
			c.dialFailed(ctx, err)
			return err
		}
	}
	c.resume(s)
	defer c.suspend()
	in, err := c.openInbound(ctx, s)
	if err != nil {
		c.dialFailed(ctx, err)
		return err
	}
	c.setUp(s)
	g := group.New(ctx)
	written := make(chan struct{})
	g.Do(func(ctx context.Context) error {
		defer close(written)
		return c.write(ctx, s)
	})
	g.Do(func(ctx context.Context) error { return c.read(ctx, s, in) })
	g.Do(in.watch)
	g.Do(in.brake)
	g.Do(func(ctx context.Context) error {
		// Not closed before the group knows why it ends: who found it closed would say that instead.
		<-ctx.Done()
		_ = s.SetWriteDeadline(time.Now().Add(time.Second))
		<-written
		_ = s.Close()
		return nil
	})
	err = g.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.setEnded(err)
	return err
}

// resume takes up what was under way with a new connection. If the broker has our session, what it received is released,
// and the rest goes again under the same ids, in the same order [MQTT-4.4.0-1]. If it has not, all of it is new to it.
func (c *lane) resume(s *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s, c.control, c.acks = s, c.control[:0], &acks{}
	var again, received []*flight
	for _, f := range slices.Concat(c.flights, c.queue) {
		switch {
		case s.present && f.received:
			received = append(received, f)
			if f.kept {
				c.sendRelease(f)
			}
			continue
		case !s.present && f.sent:
			delete(c.ids, f.id)
			f.id, f.sent = 0, false
		}
		again = append(again, f)
	}
	c.t.l.counts.again.Add(uint64(max(0, len(c.flights)-len(received))))
	c.queue = again
	c.flights = received
	maps.DeleteFunc(c.ids, func(_ uint16, f *flight) bool { return f.seq == 0 }) // a SUBSCRIBE that was not answered
	c.clean.connected(s.present)
	select {
	case <-c.began:
	default:
		close(c.began)
	}
}

// suspend gives up what is in no log: it is not new any more.
func (c *lane) suspend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.s = nil
	lost := len(c.live)
	c.live, c.size = nil, 0
	kept := c.flights[:0]
	for _, f := range c.flights {
		if f.seq != 0 {
			kept = append(kept, f)
			continue
		}
		delete(c.ids, f.id)
		lost++
	}
	c.flights = kept
	var again []*flight // it is not known whether it was written
	for _, f := range c.written {
		if f.seq != 0 {
			again = append(again, f)
		} else {
			lost++
		}
	}
	c.queue, c.written = append(again, c.queue...), nil
	c.t.l.counts.drop(DropLinkDown, lost)
}

// enqueue takes a message of the spool; the ledger bounds how many there are.
func (c *lane) enqueue(f *flight) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	group.Wake(c.wake)
}

// Bounds on what waits that is in no log.
const (
	liveMessages = 8192
	liveBytes    = 16 << 20
)

// enqueueLive takes a message that is in no log, if there is room.
func (c *lane) enqueueLive(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.live) >= liveMessages || c.size >= liveBytes {
		return false
	}
	c.live = append(c.live, f)
	c.size += size(&f.msg)
	group.Wake(c.wake)
	return true
}
