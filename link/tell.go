package link

import (
	"context"
	"math/rand/v2"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
	"causeway/routing"
)

// gatherWants is how long changes of what we want are gathered into one delta.
const gatherWants = 5 * time.Millisecond

// teller tells the peer what we want of it, on one stream: a digest first, and
// again from time to time; deltas as they come; a delta or a snapshot when asked.
// A peer that still has what we want costs one digest.
type teller struct {
	t     *tunnel
	w     sendStream
	wants *wants
	told  uint64 // version the stream has told
	buf   []byte
}

func (t *tunnel) tellWanted(ctx context.Context) error {
	// Before the policy is known nothing may be told: too much would come, or what is
	// wanted would be forgotten over there.
	policy := t.policy()
	for ; policy == nil; policy = t.policy() {
		if group.Pause(ctx, unknownPeerPoll) != nil {
			return nil
		}
	}
	w, err := t.c.send(ctx)
	if err != nil {
		return err
	}
	head := wire.StreamHead{Kind: wire.StreamInterest}
	if _, err := w.Write(head.Append(nil)); err != nil {
		return err
	}
	s := &teller{t: t, w: w, wants: newWants(t.st, policy, t.st.ID(), t.agreed.Groups())}
	if err := s.digest(); err != nil {
		return err
	}
	every := t.p.m.o.DigestEvery
	timer := time.NewTimer(every/2 + rand.N(every))
	defer timer.Stop()
	for {
		select {
		case <-t.p.wanted:
			if group.Pause(ctx, gatherWants) != nil {
				return nil
			}
			err = s.changed()
		case r := <-t.asked:
			err = s.answer(r)
		case <-timer.C:
			timer.Reset(every)
			if err = s.changed(); err == nil {
				err = s.digest()
			}
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// current returns the view of what we want, a new one after a change of policy.
func (s *teller) current() (w *wants, fresh bool) {
	policy := s.t.policy()
	if policy == nil { // forgotten: what was told stands until the tunnel ends
		return s.wants, false
	}
	if !s.wants.of(policy, s.t.st.Config()) {
		s.wants, fresh = newWants(s.t.st, policy, s.t.st.ID(), s.t.agreed.Groups()), true
	}
	return s.wants, fresh
}

func (s *teller) epoch() wire.Epoch { return wireEpoch(s.t.st.Epoch()) }

func (s *teller) digest() error {
	w, _ := s.current()
	version, d := w.digest()
	s.told = version
	return s.write(&wire.InterestDigest{Epoch: s.epoch(), Version: version, Digest: wireDigest(d)})
}

// changed tells a delta. After a change of policy the versions stay and the set
// is another: the digest makes the peer ask.
func (s *teller) changed() error {
	w, fresh := s.current()
	if fresh {
		return s.digest()
	}
	d, ok := w.since(s.told)
	switch {
	case !ok:
		return s.snapshot(w)
	case d.Empty():
		return nil
	}
	return s.delta(w, d)
}

func (s *teller) answer(r wire.InterestRequest) error {
	w, _ := s.current()
	if !r.Full && r.Epoch == s.epoch() {
		if d, ok := w.since(r.Version); ok {
			return s.delta(w, d) // an empty one, too: the peer waits for an answer
		}
	}
	return s.snapshot(w)
}

func (s *teller) delta(w *wants, d routing.Delta) error {
	if filterBytes(d.Add)+filterBytes(d.Remove) > wire.MaxInterestBlock {
		return s.snapshot(w)
	}
	s.told = d.Version
	return s.write(&wire.InterestDelta{Epoch: s.epoch(), Base: d.Base, Version: d.Version, Add: wireFilters(d.Add), Remove: wireFilters(d.Remove)})
}

// snapshot tells the whole set, in chunks that are made as they are sent.
func (s *teller) snapshot(w *wants) error {
	s.t.p.counts.snapshotsOut.Add(1)
	v := w.view()
	s.told = v.Version
	chunk := wire.InterestChunk{Epoch: s.epoch(), Version: v.Version, Digest: wireDigest(v.Digest)}
	for part := range parts(v.All(), wire.MaxInterestBlock) {
		if chunk.Filters != nil { // not the last one
			if err := s.write(&chunk); err != nil {
				return err
			}
			chunk.Index++
		}
		chunk.Filters = wireFilters(part)
	}
	chunk.Last = true // of an empty set it is the only one
	return s.write(&chunk)
}

func (s *teller) write(m wire.Control) error {
	s.buf = wire.AppendControl(s.buf[:0], m)
	s.t.p.counts.interestOut.Add(uint64(len(s.buf)))
	_, err := s.w.Write(s.buf)
	return err
}
