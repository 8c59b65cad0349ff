package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/internal/trace"
	"causeway/link/wire"
)

// outgoing is one stream of a sender: it turns the spool into frames.
type outgoing struct {
	s    *sender
	w    sendStream
	enc  *wire.Encoder
	pos  home.Seq // everything up to it was sent
	gap  bool     // the next frame covers what the spool no longer has
	refs []home.Spooled
	left []home.Spooled // of the run that is being sent
	key  []byte         // of that run
	none int            // of the frame's messages, those that are canaries
	pace pace
}

// errBody is a message that the home has and cannot read.
var errBody = errors.New("a spooled message cannot be read")

func (o *outgoing) run(ctx context.Context) error {
	for {
		if err := o.window(ctx); err != nil {
			return err
		}
		if o.s.t.policy().Paused() {
			if err := o.wait(ctx, o.s.grown); err != nil {
				return err
			}
			continue
		}
		st := o.s.t.st
		// In this order: what the spool has not by now is above high, or unwanted.
		high, epoch := st.HighSeq(), st.Epoch()
		if err := o.next(st); err != nil {
			return err
		}
		if len(o.refs) == 0 {
			if err := o.wait(ctx, o.s.grown); err != nil {
				return err
			}
			continue
		}
		if d := o.s.t.p.delay(spoolShare); d > 0 {
			if err := o.linger(ctx, d); err != nil {
				return err
			}
			continue
		}
		if d := o.pace.gather(time.Now(), o.refs, o.s.t.rtt); d > 0 {
			if err := o.linger(ctx, d); err != nil {
				return err
			}
			continue
		}
		if err := o.send(st, high, epoch); err != nil {
			return err
		}
	}
}

// next takes what follows pos into refs, from memory or from a run on the disk.
func (o *outgoing) next(st *home.State) error {
	for {
		key, ok := st.SpoolRun(o.s.peer(), o.s.class, o.pos)
		if !ok {
			o.left, o.key = nil, nil
			o.refs = st.Spool(o.s.peer(), o.s.class, o.pos, frameMessages, o.s.t.p.frameRoom(), o.refs[:0])
			if len(o.refs) > 0 {
				return nil
			}
			if _, ok = st.SpoolRun(o.s.peer(), o.s.class, o.pos); !ok { // else it left memory in between
				return nil
			}
			continue
		}
		if err := o.load(st, key); err != nil {
			return err
		}
		for len(o.left) > 0 && o.left[0].Seq <= o.pos {
			o.left = o.left[1:]
		}
		if len(o.left) > 0 {
			o.refs = append(o.refs[:0], o.left[:fits(o.left, o.s.t.p.frameRoom())]...)
			return nil
		}
		o.key = nil // it was trimmed while it was read
	}
}

// load reads a run, unless it is the one that is being sent.
func (o *outgoing) load(st *home.State, key []byte) (err error) {
	if bytes.Equal(key, o.key) {
		return nil
	}
	o.key, o.left = key, nil
	if o.left, err = o.s.home().SpoolRun(key); err == nil {
		return nil
	}
	if again, ok := st.SpoolRun(o.s.peer(), o.s.class, o.pos); !ok || !bytes.Equal(again, key) {
		return nil //nolint:nilerr // dropped at the spool's limit meanwhile, and counted there
	}
	return fmt.Errorf("%w: a run of class %q: %w", errBody, o.s.class, err)
}

// fits is how many messages of a run go into one frame of about room bytes.
func fits(run []home.Spooled, room int) (n int) {
	for ; n < len(run) && n < frameMessages && room > 0; n++ {
		m := &run[n].Message
		room -= len(m.Topic) + len(m.Payload) + len(m.Forward)
	}
	return n
}

// more says whether anything waits behind a number.
func (o *outgoing) more(st *home.State, after home.Seq) bool {
	if _, ok := st.SpoolRun(o.s.peer(), o.s.class, after); ok {
		return true
	}
	return len(st.Spool(o.s.peer(), o.s.class, after, 1, 1, nil)) > 0
}

// window waits while too much is unacknowledged.
func (o *outgoing) window(ctx context.Context) error {
	for o.s.full(o.s.t.p.m.o.SendWindow) {
		if err := o.wait(ctx, o.s.moved); err != nil {
			return err
		}
	}
	return nil
}

func (o *outgoing) wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-o.w.done():
		return errStream
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o *outgoing) linger(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-o.w.done():
		return errStream
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send builds one frame from refs, as many as fit and are of one epoch, and
// writes it.
func (o *outgoing) send(st *home.State, high home.Seq, now home.Epoch) error {
	epoch, to := o.refs[0].Epoch, o.pos
	o.enc.Begin(uint64(o.pos))
	o.none = 0
	for i := range o.refs {
		ref := &o.refs[i]
		if ref.Epoch != epoch {
			break
		}
		m, ok, err := o.message(st, ref)
		if err != nil {
			return err
		}
		if ok && !o.enc.Add(&m) {
			break
		}
		switch {
		case ok && ref.Canary:
			o.none++
		case ok:
			o.s.t.p.trace(trace.Forwarded, &m, "")
		}
		to = ref.Seq
	}
	// With nothing left behind the last one the span may end at the newest number.
	if epoch == now && high > to && !o.more(st, to) {
		to = high
	}
	return o.write(epoch, to)
}

func (o *outgoing) write(epoch home.Epoch, to home.Seq) error {
	p := o.s.t.p
	source := home.Source{Home: o.s.t.st.ID(), Epoch: epoch}
	b, err := o.enc.Finish(wire.Header{Source: wireSource(source), Class: o.s.class, From: uint64(o.pos), To: uint64(to), Gap: o.gap})
	if err != nil {
		return err
	}
	o.s.sent(span{epoch: epoch, to: to, bytes: len(b)})
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	o.pos, o.gap, o.pace.last = to, false, time.Now()
	p.meter.spend(len(b))
	p.counts.framesOut.Add(1)
	p.counts.messagesOut.Add(uint64(o.enc.Count() - o.none))
	p.counts.rawOut.Add(uint64(o.enc.Raw()))
	p.counts.wireOut.Add(uint64(len(b)))
	return nil
}

// message is the wire's form of a spooled message; not ok if it is not to be
// sent any more.
func (o *outgoing) message(st *home.State, ref *home.Spooled) (m wire.Message, ok bool, err error) {
	msg := &ref.Message
	if ref.Evicted {
		body, err := o.s.home().Body(ref.Seq)
		if err != nil {
			if !st.Spools(o.s.peer(), o.s.class, ref.Seq) {
				return m, false, nil //nolint:nilerr // dropped at the spool's limit meanwhile, and counted there
			}
			return m, false, fmt.Errorf("%w: %d in class %q: %w", errBody, ref.Seq, o.s.class, err)
		}
		msg = &body
	}
	if ref.Canary {
		return wire.Message{Seq: uint64(ref.Seq), Namespace: msg.Namespace, Payload: msg.Payload, QoS: msg.QoS},
			o.s.t.agreed.Features&wire.FeatureCanary != 0, nil
	}
	// It was spooled under the policy and the rules of its time. What must not go now
	// does not.
	policy := o.s.t.policy()
	if msg.Withheld { // the copy that was promoted has only its number
		o.s.t.p.counts.drop(DropResidency, 1)
		return m, false, nil
	}
	if why := withheld(policy, o.s.class, ref.Seq, msg.Topic); why != "" {
		o.s.t.p.counts.drop(why, 1)
		return m, false, nil
	}
	if !st.MayLeave(msg.Namespace, msg.Topic, string(o.s.peer())) {
		o.s.t.p.counts.drop(DropResidency, 1)
		return m, false, nil
	}
	m = wire.Message{Seq: uint64(ref.Seq), Namespace: msg.Namespace, Topic: msg.Topic, Payload: msg.Payload, Forward: msg.Forward,
		QoS: policy.QoS(msg.QoS), Retain: msg.Retain, Live: ref.Live, RetainVersion: ref.RetainVersion, Groups: ref.Groups}
	if len(m.Groups) > 0 && !o.s.t.agreed.Groups() { // not any more: whoever subscribed there gets it
		m.Live, m.Groups = true, nil
	}
	if uint64(wire.MessageBytes(&m)) > o.s.t.remote.MaxMessage {
		o.s.t.p.counts.drop(DropTooLarge, 1)
		return m, false, nil
	}
	if msg.Expires == 0 {
		return m, true, nil
	}
	if left := msg.Expires.Sub(st.Now()); left > 0 {
		m.ExpiryMillis = millis(left)
		return m, true, nil
	}
	if ref.RetainVersion == 0 {
		o.s.t.p.counts.drop(DropExpired, 1)
		return m, false, nil
	}
	// The message is gone, but that it replaced what the topic retained before
	// is not: its version crosses as a deletion.
	m.Payload, m.Forward, m.Live, m.Groups = nil, nil, false, nil
	return m, true, nil
}
