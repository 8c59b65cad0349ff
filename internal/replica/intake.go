package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

// A copy of the state that comes from another region goes through the group's log, as its
// records do, into a store of its own on each node. So each node has it, whoever leads, and
// a transfer that broke goes on where it was. The copy there is stays in use beside it. Once
// all has come, one more entry makes each node put the new copy in the old one's place: a node
// writes down that it is to, and opens the home again.
//
// In the home's folder:
//
//	intake/    the store that is being filled
//	INTAKE     what it is a copy of; not there: what intake/ holds is of no use
//	ADOPT      intake/ is whole, and takes the place of state/ at the next start
const (
	intakeDir  = "intake"
	intakeFile = "INTAKE"
	adoptFile  = "ADOPT"
)

// ErrAdopted ends a run whose copy of the home was replaced by one that came from the host:
// opened again, it goes on from that one.
var ErrAdopted = errors.New("another copy of the home has come in whole and takes the old one's place")

// intake is a copy that is coming in. The goroutine that applies fills it.
type intake struct {
	mu    sync.Mutex
	at    home.CopyPosition // guarded by mu: what it is a copy of
	store *store.Store      // guarded by mu; nil: nothing is coming in, or this node missed a part
	last  []byte            // guarded by mu: last key
	keys  uint64            // guarded by mu
	dirty bool              // guarded by mu: not flushed
}

// whole is what an entry of kind extWhole holds.
type whole struct {
	At   home.CopyPosition `json:"at"`
	Keys uint64            `json:"keys"`
}

// pairsExt are the extensions of a part of the copy at a position.
func pairsExt(at home.CopyPosition) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{extPairs}, at.Records), at.Chain)
}

// flush makes durable what has come so far: the state must not say that it has applied what
// would be lost of this.
func (in *intake) flush() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil || !in.dirty {
		return nil
	}
	_, err := in.store.Flush()
	in.dirty = err != nil
	return err
}

// holds says whether all of a copy is here up to the last entry that was applied.
func (in *intake) holds() (at home.CopyPosition, last []byte, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.at, bytes.Clone(in.last), in.store != nil
}

// close ends the use of the store.
func (in *intake) close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil {
		return nil
	}
	s := in.store
	in.store = nil
	return s.Close()
}

// openIntake goes on with what an earlier run had of a copy that is coming in.
func (r *core) openIntake() error {
	b, err := store.ReadFile(r.opts.FS, r.path(intakeFile), maxControl)
	if store.IsNotExist(err) {
		return r.opts.FS.RemoveAll(r.path(intakeDir))
	}
	in := &r.intake
	in.mu.Lock()
	defer in.mu.Unlock()
	if err == nil {
		err = json.Unmarshal(b, &in.at)
	}
	if err != nil {
		return fmt.Errorf("read what is coming in: %w", err)
	}
	if in.store, err = r.openIntakeStore(); err != nil {
		return err
	}
	in.last, in.keys, err = in.store.Last()
	return err
}

func (r *core) openIntakeStore() (*store.Store, error) {
	o := r.opts.Store
	o.Logger, o.OnFatal = r.log, r.fail
	return store.Open(r.opts.FS, r.path(intakeDir), o)
}

// dropIntake removes what came in so far.
func (r *core) dropIntake() error {
	if err := r.opts.FS.Remove(r.path(intakeFile)); err != nil && !store.IsNotExist(err) {
		return err
	}
	if err := store.SyncDir(r.opts.FS, r.opts.Dir); err != nil {
		return err
	}
	return errors.Join(r.intake.close(), r.opts.FS.RemoveAll(r.path(intakeDir)))
}

// beginIntake applies an entry: a copy begins to come in.
func (r *core) beginIntake(at store.Position, data []byte) error {
	in := &r.intake
	if in.begun(at) {
		return nil
	}
	var copyAt home.CopyPosition
	err := json.Unmarshal(data, &copyAt)
	if err == nil {
		err = r.dropIntake()
	}
	if err != nil {
		return r.stopAt(at, err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store, err = r.openIntakeStore(); err == nil {
		// Its position says which entries it has.
		if err = in.store.NewBatch().Commit(at.Index, at.Term); err == nil {
			_, err = in.store.Flush()
		}
	}
	if err == nil {
		err = store.WriteFileAtomic(r.opts.FS, r.opts.Dir, intakeFile, data)
	}
	if err != nil {
		return r.stopAt(at, err)
	}
	in.at, in.last, in.keys = copyAt, nil, 0
	return nil
}

// begun says that an entry is in the store already: it is applied again after a start.
func (in *intake) begun(at store.Position) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.store != nil && in.store.Applied().Index >= at.Index
}

// fillIntake applies an entry: a part of the copy. One that does not follow on the last, or is
// of another copy, is skipped: raft may have lost the part before it, and a sink that another
// has ended may have some under way. A node that missed the beginning skips all.
func (r *core) fillIntake(at store.Position, l *raft.Log) error {
	in := &r.intake
	if in.begun(at) {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil || !bytes.Equal(l.Extensions, pairsExt(in.at)) {
		return errSkipped
	}
	batch := in.store.NewBatch()
	last, keys, first := in.last, in.keys, true
	err := eachPair(l.Data, func(key, value []byte) error {
		switch {
		case first && !bytes.Equal(key, last), !first && bytes.Compare(key, last) <= 0:
			return errSkipped
		case !first:
			batch.Set(key, value)
			last, keys = key, keys+1
		}
		first = false
		return nil
	})
	if err != nil {
		batch.Discard()
		return errSkipped
	}
	if err := batch.Commit(at.Index, at.Term); err != nil {
		return r.stopAt(at, err)
	}
	in.last, in.keys, in.dirty = bytes.Clone(last), keys, true
	return nil
}

// endIntake applies an entry: the copy is whole and takes the old one's place. A node that has
// missed a part fetches the state from one that has not.
func (r *core) endIntake(at store.Position, data []byte) error {
	var w whole
	if err := json.Unmarshal(data, &w); err != nil {
		return r.stopAt(at, err)
	}
	if r.hosting.Load() && r.state.ID() != "" {
		return ErrHosting // promoted meanwhile, with the copy it had
	}
	if at, _, ok := r.intake.holds(); ok && at != w.At {
		return errSkipped
	}
	if err := r.checkIntake(w); err != nil {
		r.fsm.breakOff(err)
		r.fail(errors.Join(fmt.Errorf("%w: %w", ErrBehind, err), r.setAside(err)))
		return err
	}
	err := r.intake.end(at)
	if err == nil {
		err = store.WriteFileAtomic(r.opts.FS, r.opts.Dir, adoptFile, nil)
	}
	if err != nil {
		return r.stopAt(at, err)
	}
	r.fsm.breakOff(ErrAdopted)
	r.fail(ErrAdopted)
	return nil
}

// checkIntake looks whether the copy is what it should be.
func (r *core) checkIntake(w whole) error {
	in := &r.intake
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.store == nil {
		return errors.New("this node missed a part of the copy that came in")
	}
	if in.keys != w.Keys {
		return fmt.Errorf("the copy that came in has %d keys here, and %d were sent", in.keys, w.Keys)
	}
	return nil
}

// end makes the store one of a state that has applied the log up to there.
func (in *intake) end(at store.Position) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.store.NewBatch().Commit(at.Index, at.Term); err != nil {
		return err
	}
	_, err := in.store.Flush()
	return err
}

// adopt puts a copy that came in whole in the place of the old one. Each step may be cut short
// and is done again.
func (r *core) adopt() error {
	fs := r.opts.FS
	due, err := store.Exists(fs, r.path(adoptFile))
	if err != nil || !due {
		return err
	}
	there, err := store.Exists(fs, r.path(intakeDir))
	if err != nil {
		return err
	}
	if there { // not moved yet
		if err := r.dropState(); err != nil {
			return err
		}
		if err := fs.Rename(r.path(intakeDir), r.path(stateDir)); err != nil {
			return err
		}
	}
	for _, name := range []string{intakeFile, quarantineFile, asideFile} {
		if err := fs.Remove(r.path(name)); err != nil && !store.IsNotExist(err) {
			return err
		}
	}
	// Before what says that it is to be moved goes, the new name must stay.
	if err := store.SyncDir(fs, r.opts.Dir); err != nil {
		return err
	}
	if err := fs.Remove(r.path(adoptFile)); err != nil {
		return err
	}
	return store.SyncDir(fs, r.opts.Dir)
}

// CopySink takes a copy of the state that comes from the host. One goroutine uses it.
type CopySink struct {
	r     *core
	at    home.CopyPosition
	last  []byte
	keys  uint64
	under []raft.ApplyFuture // parts that raft has, oldest first
	err   error
}

// What a sink may have under way, and how large an entry of it is.
const (
	intakeParts = 8
	intakePart  = 256 << 10
)

// Incoming begins to take a copy of the home as of a position, beside the one there is, which
// stays in use until the new one is whole. With resume it goes on with one of the same position that
// was begun, be it by another leader; else it begins anew. One at a time: a second ends the
// first. Errors: ErrHosting (Retire first), ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Incoming(ctx context.Context, at home.CopyPosition, resume bool) (*CopySink, error) {
	c, ok := r.role.(*core)
	if !ok {
		return nil, ErrNotLeader
	}
	if at.Records == 0 {
		return nil, fmt.Errorf("a copy at %+v holds nothing", at)
	}
	if err := c.mayIntake(); err != nil {
		return nil, err
	}
	// What came before is applied then, and an earlier sink's parts are refused.
	if err := c.commit(ctx, raft.Log{Extensions: []byte{extEntered}}); err != nil {
		return nil, err
	}
	s := &CopySink{r: c, at: at}
	has, last, ok := c.intake.holds()
	if resume && ok && has == at {
		s.last = last
		c.intake.mu.Lock()
		s.keys = c.intake.keys
		c.intake.mu.Unlock()
		return s, nil
	}
	b, err := json.Marshal(at)
	if err == nil {
		err = c.commit(ctx, raft.Log{Extensions: []byte{extBegin}, Data: b})
	}
	if err != nil {
		return nil, err
	}
	r.log.Info("a copy of the home begins to come in", "records", at.Records, "epoch", at.Epoch.String())
	return s, nil
}

// mayIntake says why no copy can come in now.
func (r *core) mayIntake() error {
	switch {
	case r.failure() != nil:
		return ErrStopped
	case r.hosting.Load() && r.state.ID() != "":
		return ErrHosting
	case !r.inOffice():
		return ErrNotLeader
	}
	return nil
}

// After is the last key that is here: go on behind it. nil: begin at the start.
func (s *CopySink) After() []byte { return s.last }

// Put takes the next chunk of Copier.Next. It returns when there is room for another; an
// error ends the sink.
func (s *CopySink) Put(ctx context.Context, chunk []byte) error {
	if s.err == nil {
		s.err = s.put(ctx, chunk)
	}
	return s.err
}

func (s *CopySink) put(ctx context.Context, chunk []byte) error {
	part := appendPair(nil, s.last, nil)
	err := eachPair(chunk, func(key, value []byte) error {
		if len(key) == 0 || key[0] == 0 {
			return fmt.Errorf("key %q of the copy: %w", key, errFrame)
		}
		if s.last != nil && bytes.Compare(key, s.last) <= 0 {
			return fmt.Errorf("key %q of the copy comes behind key %q: %w", key, s.last, errFrame)
		}
		s.last = append(s.last[:0], key...)
		s.keys++
		part = appendPair(part, key, value)
		if len(part) < intakePart {
			return nil
		}
		err := s.give(ctx, part)
		part = appendPair(nil, s.last, nil)
		return err
	})
	if err == nil {
		err = s.give(ctx, part)
	}
	return err
}

// give gives a part to raft, and waits for older ones.
func (s *CopySink) give(ctx context.Context, part []byte) error {
	if err := s.r.mayIntake(); err != nil {
		return err
	}
	if err := s.settle(ctx, intakeParts-1); err != nil {
		return err
	}
	s.under = append(s.under, s.r.raft.ApplyLog(raft.Log{Extensions: pairsExt(s.at), Data: part}, 0))
	return nil
}

// settle waits until at most so many parts are under way.
func (s *CopySink) settle(ctx context.Context, most int) error {
	for len(s.under) > most {
		f := s.under[0]
		if err := await(ctx, f); err != nil {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		if f.Response() != nil {
			return fmt.Errorf("%w: a part of it was lost, or another copy was begun", ErrIncomplete)
		}
		s.under = s.under[1:]
	}
	return nil
}

// Finish says that all has come. When it returns nil a majority of the region's nodes has all
// of the copy and has agreed to go on from it; each run of the home then ends with ErrAdopted,
// to be opened again. ErrIncomplete: too many nodes have missed a part; begin anew.
// ErrOtherChain: the copy there is has what this one lacks, and was not retired.
func (s *CopySink) Finish(ctx context.Context) error {
	if s.err == nil {
		s.err = s.finish(ctx)
	}
	if s.err != nil {
		return s.err
	}
	s.err = ErrAdopted
	return nil
}

func (s *CopySink) finish(ctx context.Context) error {
	r := s.r
	if err := s.settle(ctx, 0); err != nil {
		return err
	}
	if err := r.mayIntake(); err != nil {
		return err
	}
	if err := r.proveIntake(s.at); err != nil {
		return err
	}
	if err := r.enoughHave(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(whole{s.at, s.keys})
	if err != nil {
		return err
	}
	err = r.commit(ctx, raft.Log{Extensions: []byte{extWhole}, Data: b})
	if errors.Is(r.failure(), ErrAdopted) {
		return nil
	}
	return err
}

// proveIntake loads what has come, as the next start will.
func (r *core) proveIntake(want home.CopyPosition) error {
	in := &r.intake
	in.mu.Lock()
	s, at := in.store, in.at
	in.mu.Unlock()
	if s == nil || at != want {
		return ErrIncomplete
	}
	state, err := home.Load(func(fn func(key, value []byte) error) error { return s.Scan(nil, fn) })
	if err != nil {
		return fmt.Errorf("load the copy that came in: %w", err)
	}
	if state.ID() != r.opts.Home {
		return fmt.Errorf("the copy that came in is of home %q, and this is a copy of %s", state.ID(), r.opts.Home)
	}
	if got := state.Position(); got != at {
		return fmt.Errorf("the copy that came in is at %+v, and was announced as %+v", got, at)
	}
	return r.losesNothing(state)
}

// losesNothing says whether the copy that came in may take the place of the one there is: what
// only that one has must be kept aside first. Who offered it may have asked before all that is
// in the log here was applied.
func (r *core) losesNothing(next *home.State) error {
	own := r.state.Position()
	if r.state.ID() == "" || r.quarantine.Load() != nil || r.superseded().Compare(own.Epoch) > 0 {
		return nil
	}
	fork, diverged := r.state.ForkFrom(next.Lineage())
	if diverged && !fork.Void || next.Position().Behind(own) {
		return fmt.Errorf("this copy has %d records at epoch %s, of which the one that came in, with %d at epoch %s, lacks some; they are to be set aside: %w",
			own.Records, own.Epoch, next.Position().Records, next.Epoch(), ErrOtherChain)
	}
	return nil
}

// enoughHave says whether a majority of the voters has all of what came in: who has missed a
// part must find a leader to fetch it from.
func (r *core) enoughHave(ctx context.Context) error {
	at, last, _ := r.intake.holds()
	voters, have := 0, 0
	var missed []home.NodeID
	for _, s := range r.survey() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == r.id {
			have++
			continue
		}
		a, err := r.ask(ctx, s.node, control{Kind: "intake", Last: r.fsm.index.Load()})
		if err == nil && a.Intake != nil && a.Intake.At == at && bytes.Equal(a.Intake.Last, last) {
			have++
		} else {
			missed = append(missed, s.node)
		}
	}
	if have <= voters/2 {
		return fmt.Errorf("%w: %v have missed a part of it", ErrIncomplete, missed)
	}
	return nil
}

// came is what a node has of a copy that is coming in.
type came struct {
	At   home.CopyPosition `json:"at"`
	Last []byte            `json:"last"`
}

// showIntake answers the leader: what is here once an index is applied.
func (r *core) showIntake(ctx context.Context, index uint64) *came {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout/2)
	defer cancel()
	if r.WaitApplied(ctx, index) != nil {
		return nil
	}
	at, last, ok := r.intake.holds()
	if !ok {
		return nil
	}
	return &came{at, last}
}
