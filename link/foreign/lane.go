package foreign

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker/packet"
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
	putOff  time.Time // nothing new is sent before: the broker has no room
	patient backoff   // between such times
	clean   cleanIDs
	freeID  uint16 // where a free packet id is looked for
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
	received bool // PUBREC came: only PUBREL is sent again
}

func newLane(t *term, n int) *lane {
	return &lane{t: t, n: n, wake: make(chan struct{}, 1), ids: map[uint16]*flight{}, freeID: 65535,
		patient: backoff{least: 500 * time.Millisecond, most: 30 * time.Second}}
}

func (c *lane) clientID() string { return fmt.Sprintf("%s-%d", c.t.l.cfg.ClientID, c.n) }

// run keeps the lane connected until ctx ends.
func (c *lane) run(ctx context.Context) error {
	wait := backoff{least: dialLeast, most: dialMost}
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
				wait.reset()
			}
		}
		if ctx.Err() == nil {
			_ = pause(ctx, wait.wait())
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
	c.resume(s)
	defer c.suspend()
	in, err := c.openInbound(ctx, s)
	if err != nil {
		return err
	}
	c.setUp(s)
	g := newGroup(ctx)
	defer context.AfterFunc(g.ctx, func() { _ = s.SetWriteDeadline(time.Now().Add(time.Second)) })()
	g.do(func(ctx context.Context) error { return c.write(ctx, s) })
	g.do(func(ctx context.Context) error { return c.read(ctx, s, in) })
	g.do(in.watch)
	err = g.wait()
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
	for _, f := range c.flights {
		switch {
		case s.present && f.received:
			received = append(received, f)
			c.control = packet.AppendAck(c.control, s.dialect.version, packet.PUBREL, f.id, packet.Success)
			continue
		case !s.present:
			delete(c.ids, f.id)
			f.id, f.sent, f.received = 0, false, false
		}
		again = append(again, f)
	}
	c.queue = append(again, c.queue...)
	c.flights = received
	c.t.l.counts.again.Add(uint64(len(again)))
	maps.DeleteFunc(c.ids, func(_ uint16, f *flight) bool { return f.seq == 0 }) // a SUBSCRIBE that was not answered
	c.clean.connected(s.present)
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
	c.queue = append(c.written, c.queue...) // it is not known whether it was written
	c.written = nil
	c.t.l.counts.drop(DropLinkDown, lost)
}

// enqueue takes a message of the spool; the ledger bounds how many there are.
func (c *lane) enqueue(f *flight) {
	c.mu.Lock()
	c.queue = append(c.queue, f)
	c.mu.Unlock()
	wake(c.wake)
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
	wake(c.wake)
	return true
}

// read takes packets until the connection ends.
func (c *lane) read(ctx context.Context, s *conn, in *inbound) error {
	defer s.Close()
	for {
		_ = s.SetReadDeadline(time.Now().Add(s.keepAlive + s.keepAlive/2))
		h, body, err := readPacket(s.r, s.dialect.version, c.t.l.m.o.MaxPacket)
		if tooLarge(err) && h.Type == packet.PUBLISH {
			err = in.skip(h)
		}
		if err != nil {
			return ended(err)
		}
		if body == nil { // skipped
			continue
		}
		c.t.l.counts.bytesIn.Add(uint64(len(body) + 2))
		if err := c.heed(ctx, s, in, h, body); err != nil {
			return err
		}
	}
}

func (c *lane) heed(ctx context.Context, s *conn, in *inbound, h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		a, err := packet.DecodeAck(h, body, s.dialect.version)
		if err != nil {
			return err
		}
		c.acknowledged(s, a)
		return nil
	case packet.PINGRESP:
		return nil
	case packet.DISCONNECT:
		d, err := packet.DecodeServerDisconnect(body)
		if err != nil {
			return err
		}
		c.blame(d.Code)
		return disconnected(&d)
	case packet.PUBLISH, packet.PUBREL, packet.SUBACK:
		return in.heed(ctx, h, body)
	}
	return fmt.Errorf("the broker sent %s, which no broker sends a client", h.Type)
}

func disconnected(d *packet.Disconnect) error {
	if d.ReasonString != "" {
		return fmt.Errorf("the broker ends the connection: %s (it says %q)", d.Code, d.ReasonString)
	}
	if d.Code == packet.SessionTakenOver {
		return fmt.Errorf("the broker ends the connection: %s; another client has this client_id: give each region and link its own", d.Code)
	}
	return fmt.Errorf("the broker ends the connection: %s", d.Code)
}

// write sends what there is to send until the connection ends, and says goodbye if that is ours to do.
func (c *lane) write(ctx context.Context, s *conn) error {
	defer s.Close()
	ping := time.NewTicker(s.keepAlive / 2)
	defer ping.Stop()
	var buf []byte
	for {
		var rest time.Duration
		if buf, rest = c.fill(buf[:0], s); len(buf) > 0 {
			if err := c.put(s, buf); err != nil {
				return err
			}
			continue
		}
		if err := c.idle(ctx, s, ping.C, rest); err != nil {
			return err
		}
		if ctx.Err() != nil {
			_, _ = s.Write(packet.AppendDisconnectPacket(nil, s.dialect.version, &packet.Disconnect{}))
			return nil
		}
	}
}

func (c *lane) put(s *conn, buf []byte) error {
	n, err := s.Write(buf)
	c.t.l.counts.bytesOut.Add(uint64(n))
	if err != nil {
		return ended(err)
	}
	c.wrote()
	return nil
}

// idle waits until there may be something to write; rest is when a pause ends, if there is one.
func (c *lane) idle(ctx context.Context, s *conn, ping <-chan time.Time, rest time.Duration) error {
	var due <-chan time.Time
	if rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-c.wake:
	case <-due:
	case <-ping:
		if _, err := s.Write(packet.AppendPingreq(nil)); err != nil {
			return ended(err)
		}
	case <-ctx.Done():
	}
	return nil
}
