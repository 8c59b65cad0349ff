package link

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/trace"
	"causeway/link/wire"
)

// Frames that may be proposed and not yet committed, on one stream. More are not
// read: the stream's window then holds the sender back.
const (
	maxProposed      = 64
	maxProposedBytes = 8 << 20
	maxClasses       = 64 // of one peer
)

// receiver takes one class of the peer's spool into our home: one entry a frame,
// acknowledged when it is committed. It keeps no cursor of its own.
type receiver struct {
	t    *tunnel
	head wire.StreamHead
	lock chan struct{} // full while this is the receiver of its class

	mu      sync.Mutex
	frames  int // proposed and not done
	bytes   int
	fill    uint8 // of the fullest queue that the last frame went to, in percent
	closing bool
	failed  error         // why no more is proposed
	moved   chan struct{} // something was done
	shipped shippedAcks
	broken  chan struct{} // closed with the first failure
}

// errGap ends a stream whose frames do not follow what the home has. The sender
// opens another and is told where the home stands.
var errGap = errors.New("a frame does not follow what was received")

func (t *tunnel) receiveSpool(ctx context.Context, s receiveStream, r *bufio.Reader, head wire.StreamHead) error {
	if head.Source.Home != t.remote.Home || len(head.Class) > maxClassName {
		return protocolError("a spool of home %q from home %q", head.Source.Home, t.remote.Home)
	}
	lock, err := t.p.inboundLock(head.Class)
	if err != nil {
		return err
	}
	select {
	case lock <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	v := &receiver{t: t, head: head, lock: lock, moved: make(chan struct{}, 1), broken: make(chan struct{})}
	v.shipped = shippedAcks{await: t.p.m.o.AwaitShipped, tell: t.out.ack, fresh: make(chan struct{}, 1)}
	defer v.close()
	err = v.run(ctx, s, r)
	if errors.Is(err, io.EOF) || errors.Is(err, errGap) {
		return nil
	}
	return err
}

// inboundLock makes the receivers of a class follow each other, over tunnels.
func (p *peer) inboundLock(class string) (chan struct{}, error) {
	if l, ok := p.inbound.Load(class); ok {
		return l.(chan struct{}), nil
	}
	if p.classes.Add(1) > maxClasses {
		p.classes.Add(-1)
		return nil, protocolError("the peer has more than %d classes", maxClasses)
	}
	l, _ := p.inbound.LoadOrStore(class, make(chan struct{}, 1))
	return l.(chan struct{}), nil
}

func (v *receiver) run(ctx context.Context, s receiveStream, r *bufio.Reader) error {
	if v.shipped.await != nil {
		waiting, stop := context.WithCancel(ctx)
		var w sync.WaitGroup
		w.Go(func() {
			if err := group.Protect(func() error { v.shipped.run(waiting); return nil }); err != nil {
				v.fail(err)
			}
		})
		defer w.Wait()
		defer stop()
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() { // a failure must reach a reader that waits for the sender
		select {
		case <-v.broken:
			s.refuse()
		case <-ended:
		}
	}()
	if err := v.begin(ctx, r); err != nil {
		return err
	}
	d := wire.NewDecoder(v.t.p.m.o.MaxMessage)
	for {
		f, err := d.Read(r)
		if failed := v.failure(); failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
		if f.Live || f.Source.Home != v.head.Source.Home || f.Class != v.head.Class {
			return protocolError("a frame of home %q, class %q in the stream of class %q", f.Source.Home, f.Class, v.head.Class)
		}
		if v.t.policy().Paused() {
			return errStream // it is not taken; the peer has it still and opens another
		}
		if err := v.take(ctx, &f); err != nil {
			return err
		}
	}
}

// begin answers the stream's opening, once the link is not paused. The peer sends
// nothing before it has the answer, so until then only the stream's end can come.
func (v *receiver) begin(ctx context.Context, r *bufio.Reader) error {
	if !v.t.policy().Paused() {
		v.tellCursor()
		return nil
	}
	came := make(chan error, 1)
	go func() { // ends with the stream
		_, err := r.Peek(1)
		came <- err
	}()
	poll := time.NewTicker(pausePoll)
	defer poll.Stop()
	for v.t.policy().Paused() {
		select {
		case err := <-came:
			return cmp.Or(err, errStream)
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	v.tellCursor()
	return <-came
}

// tellCursor answers the stream's opening.
func (v *receiver) tellCursor() {
	seq, known := v.t.st.Cursor(homeSource(v.head.Source), v.head.Class)
	c := wire.Cursor{Source: v.head.Source, Class: v.head.Class, Known: known, Seq: uint64(seq), Applied: uint64(seq)}
	if v.t.p.m.o.AwaitShipped != nil && known {
		c.Applied = 0 // it is found out
		v.shipped.take(v.t.st.Position().Records, wire.Ack{Source: c.Source, Class: c.Class, Committed: c.Seq, Applied: c.Seq})
	}
	v.t.out.cursor(c)
}

// take proposes one frame when there is room for it.
func (v *receiver) take(ctx context.Context, f *wire.Frame) error {
	if err := v.room(ctx, f.Raw); err != nil {
		return err
	}
	proposed := false
	defer func() {
		if !proposed { // a panic, too: the next receiver of the class waits for what is under way
			v.give(f.Raw)
		}
	}()
	if err := v.breathe(ctx); err != nil {
		return err
	}
	p := v.t.p
	p.counts.framesIn.Add(1)
	op := v.op(f)
	canaries := canariesOf(op)
	p.counts.messagesIn.Add(uint64(len(f.Messages) - len(canaries)))
	p.counts.rawIn.Add(uint64(f.Raw))
	p.counts.wireIn.Add(uint64(f.Wire))
	if f.Gap {
		p.counts.gapsIn.Add(1)
		p.log.Warn("the peer no longer had a part of what it owed us", "class", f.Class, "from", f.From, "to", f.To)
	}
	source, raw := f.Source, f.Raw
	err := p.propose(ctx, op, func(o home.Outcome, err error) {
		if err == nil && o.Code == home.CodeOK {
			for _, c := range canaries {
				p.canaries.arrived(f.Class, c.seq, c.of, time.Now())
			}
		}
		v.done(source, raw, o, err)
	})
	if proposed = err == nil; err != nil {
		return fmt.Errorf("take in a frame: %w", err)
	}
	return nil
}

// op is the home's form of a frame. What the link's policy does not let in is
// left out; the span still covers it.
func (v *receiver) op(f *wire.Frame) *home.Frame {
	p := v.t.p
	policy := v.t.policy()
	op := &home.Frame{Source: homeSource(f.Source), Class: f.Class, From: home.Seq(f.From), To: home.Seq(f.To),
		Messages: make([]home.FrameMessage, 0, len(f.Messages))}
	for i := range f.Messages {
		m := &f.Messages[i]
		topic, why := hereTopic(policy, m.Topic)
		if m.Namespace == home.CanaryNamespace { // of no device, and no policy's business
			topic, why = m.Topic, ""
		}
		if why != "" {
			p.counts.drop(why, 1)
			p.trace(trace.Dropped, m, string(why))
			continue
		}
		p.trace(trace.Arrived, m, "")
		op.Messages = append(op.Messages, home.FrameMessage{
			Seq: home.Seq(m.Seq), Namespace: m.Namespace, Topic: topic, Payload: m.Payload, Forward: m.Forward,
			ExpiryIn: life(m.ExpiryMillis), QoS: m.QoS, Retain: m.Retain, Live: m.Live, Groups: m.Groups, RetainVersion: m.RetainVersion,
		})
	}
	return op
}

// done runs in the home's apply.
func (v *receiver) done(source wire.Source, raw int, o home.Outcome, err error) {
	defer v.give(raw)
	switch {
	case err != nil:
		v.fail(fmt.Errorf("take in a frame: %w", err))
	case o.Code == home.CodeGap:
		v.t.p.counts.resyncs.Add(1)
		v.fail(errGap)
	default:
		v.mu.Lock()
		v.fill = o.Fill
		v.mu.Unlock()
		v.shipped.take(o.Record, wire.Ack{Source: source, Class: v.head.Class, Committed: uint64(o.Seq), Applied: uint64(o.Seq)})
	}
}

func (v *receiver) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed == nil {
		v.failed = err
		close(v.broken)
	}
}

func (v *receiver) failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}

// room waits until a frame of raw bytes may be proposed and counts it. A frame
// above the bound goes alone.
func (v *receiver) room(ctx context.Context, raw int) error {
	for {
		ok, slowed := v.count(raw)
		if ok {
			return nil
		}
		began := time.Now()
		select {
		case <-v.moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if slowed {
			v.t.p.counts.slowed.Add(uint64(time.Since(began)))
		}
	}
}

// count counts a frame if it may be proposed. slowed says that it may not because a
// queue fills up, and for no other reason.
func (v *receiver) count(raw int) (ok, slowed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fits := v.frames < maxProposed && v.bytes+raw <= maxProposedBytes
	if v.frames > 0 && (!fits || v.frames >= underWay(v.fill)) {
		return false, fits
	}
	v.frames++
	v.bytes += raw
	return true, false
}

func (v *receiver) give(raw int) {
	v.mu.Lock()
	v.frames--
	v.bytes -= raw
	last := v.closing && v.frames == 0
	v.mu.Unlock()
	group.Wake(v.moved)
	if last {
		<-v.lock
	}
}

// close lets the next receiver of the class in as soon as everything that this
// one proposed is done, which may be after the tunnel.
func (v *receiver) close() {
	v.mu.Lock()
	v.closing = true
	idle := v.frames == 0
	v.mu.Unlock()
	if idle {
		<-v.lock
	}
}
