package link

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// ackEvery is how long acks are gathered: the sender trims no more often. The
// first after a silence goes at once.
const ackEvery = 20 * time.Millisecond

// maxUnsaid bounds the acknowledgements and cursors that wait. A peer has few classes,
// of few epochs; one that makes up more and reads nothing is given up.
const maxUnsaid = 4096

// outbox is what waits for the control stream. Only the newest of each kind
// matters, so it is bounded by the classes and not by the traffic.
type outbox struct {
	ready chan struct{}
	over  chan struct{} // signalled when too much waits

	mu      sync.Mutex
	acks    map[lane]wire.Ack
	cursors map[lane]wire.Cursor
	single
}

// single are messages of which the newest counts.
type single struct {
	request *wire.InterestRequest
	asked   *wire.Question
	told    *wire.Answer
	want    *wire.Connections
	homes   *wire.Hosts
	stands  *wire.ShipAt
	from    *wire.ShipFrom
	shipped *wire.ShipAck
}

// once adds them to b.
func (s *single) once(b []byte) []byte {
	for _, m := range []struct {
		wire.Control
		set bool
	}{
		{s.request, s.request != nil}, {s.asked, s.asked != nil}, {s.told, s.told != nil}, {s.want, s.want != nil},
		{s.homes, s.homes != nil}, {s.stands, s.stands != nil}, {s.from, s.from != nil}, {s.shipped, s.shipped != nil},
	} {
		if m.set {
			b = wire.AppendControl(b, m.Control)
		}
	}
	return b
}

// lane is an ordered sequence of messages: a class of a source.
type lane struct {
	source wire.Source
	class  string
}

func newOutbox() *outbox {
	return &outbox{ready: make(chan struct{}, 1), over: make(chan struct{}, 1), acks: map[lane]wire.Ack{}, cursors: map[lane]wire.Cursor{}}
}

// ack may be called from the home's apply: it does not block.
func (o *outbox) ack(a wire.Ack) {
	o.mu.Lock()
	o.acks[lane{a.Source, a.Class}] = a
	o.bound()
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) cursor(c wire.Cursor) {
	o.mu.Lock()
	o.cursors[lane{c.Source, c.Class}] = c
	o.bound()
	o.mu.Unlock()
	group.Wake(o.ready)
}

// bound is called with mu held.
func (o *outbox) bound() {
	if len(o.acks)+len(o.cursors) > maxUnsaid {
		group.Wake(o.over)
	}
}

// watch ends the tunnel of a peer that does not read what it asked for.
func (o *outbox) watch(ctx context.Context) error {
	select {
	case <-o.over:
		return protocolError("more than %d answers wait for the peer to read them", maxUnsaid)
	case <-ctx.Done():
		return nil
	}
}

func (o *outbox) ask(r wire.InterestRequest) {
	o.mu.Lock()
	o.request = &r
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) question(q wire.Question) {
	o.mu.Lock()
	o.asked = &q
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) answer(a wire.Answer) {
	o.mu.Lock()
	o.told = &a
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) connections(n int, tcp bool) {
	o.mu.Lock()
	o.want = &wire.Connections{Want: uint64(n), TCP: tcp}
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) hosts(h wire.Hosts) {
	o.mu.Lock()
	o.homes = &h
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) shipAt(a wire.ShipAt) {
	o.mu.Lock()
	o.stands = &a
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) shipFrom(f wire.ShipFrom) {
	o.mu.Lock()
	o.from = &f
	o.mu.Unlock()
	group.Wake(o.ready)
}

func (o *outbox) shipAck(a wire.ShipAck) {
	o.mu.Lock()
	o.shipped = &a
	o.mu.Unlock()
	group.Wake(o.ready)
}

// take returns what waits, in wire form.
func (o *outbox) take(b []byte) (_ []byte, acks int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.cursors {
		b = wire.AppendControl(b, &c)
	}
	for _, a := range o.acks {
		b = wire.AppendControl(b, &a)
	}
	b = o.once(b)
	acks = len(o.acks)
	clear(o.cursors)
	clear(o.acks)
	o.single = single{}
	return b, acks
}

// writeTo returns the control stream's writer.
func (o *outbox) writeTo(w io.Writer, counts *counters) func(context.Context) error {
	return func(ctx context.Context) error {
		var b []byte
		for {
			select {
			case <-o.ready:
			case <-ctx.Done():
				return nil
			}
			var acks int
			if b, acks = o.take(b[:0]); len(b) == 0 {
				continue
			}
			if _, err := w.Write(b); err != nil {
				return fmt.Errorf("control stream: %w", err)
			}
			counts.acksOut.Add(uint64(acks))
			if acks > 0 {
				if group.Pause(ctx, ackEvery) != nil {
					return nil
				}
			}
		}
	}
}
