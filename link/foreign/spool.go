package foreign

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link"
)

// At most so much is taken from the spool at once.
const (
	readMessages = 256
	readBytes    = 256 << 10
)

// reader reads a spool from where it begins, from memory or from the runs on the disk.
type reader struct {
	home link.Home
	st   *home.State
	peer home.ID
	pos  home.Seq // everything up to it was read
	refs []home.Spooled
	left []home.Spooled // of the run that is being read
	key  []byte         // of that run
}

// newReader begins at what was not acknowledged. The spool has one class.
func newReader(h link.Home, st *home.State, peer home.ID) *reader {
	r := &reader{home: h, st: st, peer: peer}
	for _, info := range st.SpoolInfo(peer) {
		if info.Class == "" {
			r.pos = info.Start
		}
	}
	return r
}

// next returns what follows, none if nothing waits. The slice is good until the next call.
func (r *reader) next() ([]home.Spooled, error) {
	for {
		key, onDisk := r.st.SpoolRun(r.peer, "", r.pos)
		if !onDisk {
			r.key, r.left = nil, nil
			r.refs = r.st.Spool(r.peer, "", r.pos, readMessages, readBytes, r.refs[:0])
			if len(r.refs) > 0 {
				return r.took(r.refs), nil
			}
			if _, onDisk = r.st.SpoolRun(r.peer, "", r.pos); !onDisk { // else it left memory in between
				return nil, nil
			}
			continue
		}
		if err := r.load(key); err != nil {
			return nil, err
		}
		for len(r.left) > 0 && r.left[0].Seq <= r.pos {
			r.left = r.left[1:]
		}
		if n := min(len(r.left), readMessages); n > 0 {
			return r.took(r.left[:n]), nil
		}
		r.key = nil // it was trimmed while it was read
	}
}

func (r *reader) took(refs []home.Spooled) []home.Spooled {
	r.pos = refs[len(refs)-1].Seq
	return refs
}

// load reads a run, unless it is the one that is being read.
func (r *reader) load(key []byte) (err error) {
	if bytes.Equal(key, r.key) {
		return nil
	}
	r.key, r.left = key, nil
	if r.left, err = r.home.SpoolRun(key); err == nil {
		return nil
	}
	if again, ok := r.st.SpoolRun(r.peer, "", r.pos); !ok || !bytes.Equal(again, key) {
		return nil //nolint:nilerr // dropped at the spool's limit meanwhile, and counted there
	}
	return fmt.Errorf("read a run of the spool: %w", err)
}

// body completes a message that the state has only on disk; not ok if it was dropped meanwhile.
func (r *reader) body(ref *home.Spooled) (ok bool, err error) {
	if !ref.Evicted {
		return true, nil
	}
	m, err := r.home.Body(ref.Seq)
	switch {
	case err == nil:
		ref.Message = m
		return true, nil
	case !r.st.Spools(r.peer, "", ref.Seq):
		return false, nil //nolint:nilerr // dropped at the spool's limit meanwhile, and counted there
	}
	return false, fmt.Errorf("read message %d of the spool: %w", ref.Seq, err)
}

// feed gives what is spooled to the connections, as far as there is room.
func (t *term) feed(ctx context.Context) error {
	if err := t.waitSettled(ctx); err != nil {
		return nil //nolint:nilerr // the term ended
	}
	r := newReader(t.l.m.o.Home, t.st, t.l.peer())
	for ctx.Err() == nil {
		refs, err := r.next()
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			await(ctx, t.l.spooled)
			continue
		}
		for i := range refs {
			if t.waitRoom(ctx); ctx.Err() != nil {
				return nil
			}
			if err := t.dispatch(ctx, r, &refs[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitRoom waits until one more message may get under way, or ctx ends.
func (t *term) waitRoom(ctx context.Context) {
	for t.ledger.full() && ctx.Err() == nil {
		await(ctx, t.ledger.room)
	}
}

func await(ctx context.Context, c <-chan struct{}) {
	select {
	case <-c:
	case <-ctx.Done():
	}
}

// dispatch gives one message to the connection that has its publisher.
func (t *term) dispatch(ctx context.Context, r *reader, ref *home.Spooled) error {
	ok, err := r.body(ref)
	if err != nil {
		return err
	}
	t.ledger.add(ref, size(&ref.Message))
	held := t.held[ref.Seq]
	reason := DropReason("")
	if !held { // else the broker has it
		reason = t.mayNot(ref)
	}
	if !ok || reason != "" {
		t.l.counts.drop(reason, 1)
		t.ledger.done(ref.Seq)
		return nil
	}
	f := &flight{seq: ref.Seq, msg: ref.Message, maybe: ref.Seq <= t.high && t.fed < t.l.m.o.Window}
	t.fed++
	c := t.lanes[int(ref.Message.Publisher%uint32(len(t.lanes)))]
	if held {
		return c.takeUp(ctx, f)
	}
	c.enqueue(f)
	return nil
}

func size(m *home.Message) int { return len(m.Topic) + len(m.Payload) + len(m.Forward) + 64 }

// mayNot says why a spooled message does not go out; "" if it does. It was spooled under the policy and
// the rules of its time.
func (t *term) mayNot(ref *home.Spooled) DropReason {
	m, policy := &ref.Message, t.l.policy()
	switch {
	case m.Withheld:
		return DropResidency
	case m.Namespace != t.l.cfg.Namespace || !t.l.mayGo(policy, m.Topic):
		return DropPolicyOut
	case !t.st.MayLeave(m.Namespace, m.Topic, string(t.l.peer())):
		return DropResidency
	case policy.Trimmed("", ref.Seq, m.Topic):
		return DropOperator
	case hops(m.Trail) >= maxHops:
		return DropLoop
	case m.Expires == 0 || m.Expires > t.st.Now():
		return ""
	case ref.RetainVersion == 0:
		return DropExpired
	}
	// The message is gone, but that it replaced what the topic retained before is not.
	m.Payload, m.Forward, m.Expires = nil, nil, 0
	return ""
}

// trimEvery bounds the entries that acknowledgements cost.
const trimEvery = 20 * time.Millisecond

// runTrims drops from the spool what is done with, one entry at a time.
func (t *term) runTrims(ctx context.Context) error {
	for {
		select {
		case <-t.ledger.trims:
		case <-ctx.Done():
			return nil
		}
		e := t.ledger.trimmable()
		_, err := t.proposeWait(ctx, &home.Trim{Peer: t.l.peer(), Epoch: e.epoch, To: e.seq})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("trim the spool: %w", err)
		}
		t.ledger.trimmed(e)
		if group.Pause(ctx, trimEvery) != nil {
			return nil
		}
	}
}
