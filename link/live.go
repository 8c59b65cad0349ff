package link

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"

	"causeway/internal/home"
	"causeway/internal/trace"
	"causeway/link/wire"
)

// ViaLink is the Seq of messages that Local gets. No home numbers so high; it
// marks what must not be forwarded, whoever tries.
const ViaLink home.Seq = math.MaxUint64

// liveQueue holds messages that are in no log on their way to the tunnel. It is
// bounded by number and bytes; what does not fit is dropped, newest first, so
// that the order of the others stays.
type liveQueue struct {
	messages chan liveItem
	bytes    atomic.Int64
	limit    int64
}

// liveItem is a message and what it crosses for.
type liveItem struct {
	*home.Message
	claim home.Claim
}

func (q *liveQueue) init(messages, bytes int) {
	q.messages, q.limit = make(chan liveItem, messages), int64(bytes)
}

func liveSize(m liveItem) int64 {
	return int64(len(m.Topic) + len(m.Payload) + len(m.Forward) + m.claim.Bytes() + 64)
}

// push reports whether there was room.
func (q *liveQueue) push(m liveItem) bool {
	n := liveSize(m)
	if q.bytes.Add(n) > q.limit && len(q.messages) > 0 {
		q.bytes.Add(-n)
		return false
	}
	select {
	case q.messages <- m:
		return true
	default:
		q.bytes.Add(-n)
		return false
	}
}

// took notes that a message left the queue.
func (q *liveQueue) took(m liveItem) { q.bytes.Add(-liveSize(m)) }

// clear drops what waits and says how many they were.
func (q *liveQueue) clear() (n int) {
	for {
		select {
		case m := <-q.messages:
			q.took(m)
			n++
		default:
			return n
		}
	}
}

func (p *peer) forward(m liveItem) {
	policy := p.policy()
	switch {
	case m.Seq == ViaLink:
		p.counts.drop(DropRelayed, 1)
	case m.claim.Bytes() > home.MaxClaim:
		p.counts.drop(DropTooLarge, 1)
	case !policy.MayGo(m.Topic):
		p.counts.drop(DropPolicyOut, 1)
	case policy.Paused():
		p.counts.drop(DropPaused, 1)
	case !p.m.o.Home.State().MayLeave(m.Namespace, m.Topic, string(p.config().ID)):
		p.counts.drop(DropResidency, 1)
	case !p.isUp():
		p.counts.drop(DropLinkDown, 1)
	case !p.live.push(m):
		p.counts.drop(DropLiveFull, 1)
	}
}

// sendLive sends what Forward queued. What waited for a tunnel that broke is
// not new any more and is dropped.
func (t *tunnel) sendLive(ctx context.Context) error {
	q, counts := &t.p.live, &t.p.counts
	defer func() { counts.drop(DropLinkDown, q.clear()) }()
	enc, err := wire.NewEncoder(wire.Supported(t.p.config().Compress, t.agreed.Features))
	if err != nil {
		return err
	}
	var w sendStream
	for {
		var first liveItem
		select {
		case first = <-q.messages:
			q.took(first)
		case <-ctx.Done():
			return nil
		}
		if w == nil {
			if w, err = t.openLive(ctx); err != nil {
				counts.drop(DropLinkDown, 1)
				return err
			}
		}
		if err := t.liveFrame(ctx, enc, w, first); err != nil {
			return err
		}
	}
}

func (t *tunnel) openLive(ctx context.Context) (sendStream, error) {
	w, err := t.c.send(ctx)
	if err != nil {
		return nil, err
	}
	head := wire.StreamHead{Kind: wire.StreamLive}
	_, err = w.Write(head.Append(nil))
	return w, err
}

// liveFrame sends first and what else waits, up to a frame. next that does not
// fit begins the next frame, so the order stays.
func (t *tunnel) liveFrame(ctx context.Context, enc *wire.Encoder, w sendStream, next liveItem) error {
	q := &t.p.live
	for next.Message != nil {
		if t.p.throttle(ctx) != nil {
			t.p.counts.drop(DropLinkDown, 1)
			return nil
		}
		now, room := t.st.Now(), t.p.frameRoom()
		enc.BeginLive()
		for next.Message != nil {
			m, ok := t.liveMessage(next, now)
			if !ok {
				t.p.counts.drop(DropExpired, 1)
			} else if uint64(wire.MessageBytes(&m)) > t.remote.MaxMessage {
				t.p.counts.drop(DropTooLarge, 1)
			} else if enc.Raw() >= room || !enc.Add(&m) {
				break
			} else {
				t.p.trace(trace.Forwarded, &m, "")
			}
			select {
			case next = <-q.messages:
				q.took(next)
			default:
				next = liveItem{}
			}
		}
		if enc.Count() == 0 {
			continue
		}
		b, err := enc.Finish(wire.Header{Source: wire.Source{Home: string(t.st.ID())}, Live: true})
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			lost := enc.Count()
			if next.Message != nil {
				lost++
			}
			t.p.counts.drop(DropLinkDown, lost)
			return err
		}
		t.p.meter.spend(len(b))
		t.p.counts.liveOut.Add(uint64(enc.Count()))
		t.p.counts.rawOut.Add(uint64(enc.Raw()))
		t.p.counts.wireOut.Add(uint64(len(b)))
	}
	return nil
}

// liveMessage is the wire's form of a message; not ok if it must not be sent.
func (t *tunnel) liveMessage(m liveItem, now home.Time) (wire.Message, bool) {
	out := wire.Message{Namespace: m.Namespace, Topic: m.Topic, Payload: m.Payload, Forward: m.Forward, QoS: m.QoS, Retain: m.Retain,
		Live: m.claim.Live, Groups: m.claim.Groups}
	if len(out.Groups) > 0 && !t.agreed.Groups() {
		out.Live, out.Groups = true, nil
	}
	if m.Expires != 0 {
		left := m.Expires.Sub(now)
		if left <= 0 {
			return out, false
		}
		out.ExpiryMillis = millis(left)
	}
	return out, true
}

// receiveLive hands the peer's messages to the sessions connected here.
func (t *tunnel) receiveLive(ctx context.Context, r *bufio.Reader) error {
	d := wire.NewDecoder(t.p.m.o.MaxMessage)
	for ctx.Err() == nil {
		f, err := d.Read(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !f.Live || f.Source.Home != t.remote.Home {
			return protocolError("a frame of home %q in the stream of home %q's messages", f.Source.Home, t.remote.Home)
		}
		t.deliverLive(&f)
	}
	return nil
}

func (t *tunnel) deliverLive(f *wire.Frame) {
	counts, policy := &t.p.counts, t.policy()
	counts.liveIn.Add(uint64(len(f.Messages)))
	counts.rawIn.Add(uint64(f.Raw))
	counts.wireIn.Add(uint64(f.Wire))
	now := t.st.Now()
	for i := range f.Messages {
		m := &f.Messages[i]
		topic, why := hereTopic(policy, m.Topic)
		switch {
		case !validTopic(m.Topic):
			why = DropPolicyIn
		case policy.Paused():
			why = DropPaused
		}
		if why != "" {
			counts.drop(why, 1)
			t.p.trace(trace.Dropped, m, string(why))
			continue
		}
		if !t.st.MayLeave(m.Namespace, topic, string(t.st.ID())) {
			counts.drop(DropResidency, 1)
			continue
		}
		out := &home.Message{Seq: ViaLink, Namespace: m.Namespace, Topic: topic, Payload: m.Payload, Forward: m.Forward, QoS: m.QoS, Retain: m.Retain}
		if m.ExpiryMillis > 0 {
			out.Expires = now.Add(life(m.ExpiryMillis))
		}
		t.p.trace(trace.Arrived, m, "")
		t.p.m.o.Local.DeliverFromPeer(out, home.Claim{Live: m.Live, Groups: m.Groups})
	}
}
