package replica

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

// fsm is raft's view of the home: committed records go in, in order. Its
// methods run on raft's apply goroutine.
type fsm struct {
	r     *Replica
	state *home.State
	// before is the last index of the log at start: a record behind it was made by
	// a leader that lived after that.
	before uint64

	// mu keeps a record and the position after it one step for the flush.
	mu      sync.Mutex
	applied store.Position // guarded by mu
	broken  error          // guarded by mu; set: the state is not to be used or kept

	// answers are those of the record being applied, if it is ours. Apply
	// goroutine only.
	answers []answers
	// over is why this run of the node is over, once it is. Apply goroutine only.
	over error

	index     atomic.Uint64 // applied.Index for anyone
	term      atomic.Uint64 // of the last record
	sinceSnap logSize       // of what came after the newest snapshot
}

// logSize counts records and their bytes.
type logSize struct {
	entries atomic.Uint64
	bytes   atomic.Int64
}

// answers are the outcomes of one of our entries.
type answers struct {
	n        uint64
	outcomes []home.Outcome
}

// errDown ends a run of the node that the others have given up: its sessions are
// detached, and nothing it says counts any more. Opened again it is another run.
var errDown = errors.New("the others declared this run of the node dead, since it was silent for too long")

// errUsed ends a run whose number was given before.
var errUsed = errors.New("the home knows this incarnation of the node already: " +
	"the data directory was restored or copied; give the node a new name, or remove all of the directory and let it rejoin")

// errReplaced ends a run whose node was started elsewhere, or again.
var errReplaced = errors.New("another run of this node has taken its place: give each node a name and a data directory of its own")

// ApplyBatch implements raft.BatchingFSM. Nobody waits for the responses.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		f.Apply(l)
	}
	f.r.appliedMore()
	return make([]any, len(logs))
}

// Apply implements raft.FSM. The first record that cannot be applied stops the
// home; what follows it is ignored.
func (f *fsm) Apply(l *raft.Log) any {
	f.sinceSnap.entries.Add(1)
	f.sinceSnap.bytes.Add(int64(len(l.Data)))
	if f.skip(l) {
		return nil
	}
	if err := f.apply(l); err != nil {
		f.r.fail(fmt.Errorf("apply index %d of home %s: %w; the home stops rather than guess: "+
			"run the version that wrote the record, or restore this node's copy", l.Index, f.r.opts.Home, err))
		return nil
	}
	f.complete()
	f.term.Store(l.Term)
	f.r.merger.applied(l.Term)
	return nil
}

// skip says that l changes nothing: it is in the state already, is raft's own,
// or the home stopped before it.
func (f *fsm) skip(l *raft.Log) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil || l.Index <= f.applied.Index {
		return true
	}
	if l.Type == raft.LogCommand {
		return false
	}
	f.moveTo(l)
	return true
}

// moveTo records that l is applied. Guarded by mu.
func (f *fsm) moveTo(l *raft.Log) {
	f.applied = store.Position{Index: l.Index, Term: l.Term}
	f.index.Store(l.Index)
}

func (f *fsm) apply(l *raft.Log) error {
	rec, err := home.DecodeRecord(l.Data)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.applyRecord(&rec, l)
	}
	if err != nil {
		f.broken = err
		return err
	}
	f.moveTo(l)
	return nil
}

func (f *fsm) applyRecord(rec *home.Record, l *raft.Log) error {
	if rec.Home != f.r.opts.Home {
		return fmt.Errorf("the record is of home %q: %w", rec.Home, home.ErrCorrupt)
	}
	f.answers = f.answers[:0]
	start := time.Now()
	err := f.applyState(rec)
	f.r.stats.apply.observe(time.Since(start))
	if err != nil {
		return err
	}
	f.r.clock.heard(rec.Time, l.Index > f.before)
	if l.Index%digestEvery == 0 {
		_, sum := f.state.Chain()
		f.r.digests.add(digest{index: l.Index, sum: sum})
	}
	return f.checkOwn(rec)
}

// applyState turns a panic into an error: it stops this home like any record
// that cannot be applied, and leaves the process to say why.
func (f *fsm) applyState(rec *home.Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f.r.log.Error("panic while applying a record", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f.state.Apply(rec, f.r.opts.Sink, f.collect)
}

// collect keeps the outcomes of our own entries, and hears when this run of the
// node is over. It is called with the state locked.
func (f *fsm) collect(e *home.Entry, i int, o home.Outcome) {
	switch op := e.Ops[i].(type) {
	case *home.NodeDown:
		if op.Owner == f.r.owner && o.Code == home.CodeOK {
			f.over = errDown
		}
	case *home.NodeUp:
		if e.Owner.Node == f.r.owner.Node && e.Owner.Incarnation > f.r.owner.Incarnation {
			f.over = errReplaced
		}
	}
	if e.Owner != f.r.owner {
		return
	}
	if i == 0 {
		f.answers = append(f.answers, answers{n: e.N, outcomes: make([]home.Outcome, 0, len(e.Ops))})
	}
	a := &f.answers[len(f.answers)-1]
	a.outcomes = append(a.outcomes, o)
}

// checkOwn finds out that this run of the node is over, or that another had its
// number: an entry of ours that the home skipped though it is the next.
func (f *fsm) checkOwn(rec *home.Record) error {
	if f.over != nil {
		f.r.fail(f.over)
		return nil
	}
	head := f.r.queue.head()
	for i := range rec.Entries {
		e := &rec.Entries[i]
		if e.Owner == f.r.owner && e.N == head && (len(f.answers) == 0 || f.answers[0].n != head) {
			return fmt.Errorf("entry %d of %s was refused: %w", e.N, e.Owner, errUsed)
		}
	}
	return nil
}

// complete answers the proposals of the record just applied.
func (f *fsm) complete() {
	for _, a := range f.answers {
		if err := f.r.land(a); err != nil {
			f.r.fail(fmt.Errorf("%w: %w", err, errUsed))
			return
		}
	}
}

// Snapshot implements raft.FSM: a marker, since the store is the state. [B2]
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	return &snapshot{f: f, mark: mark{
		Version: markVersion, Home: f.r.opts.Home, Applied: f.applied,
		Epoch: f.state.Epoch(), Time: f.state.Now(),
	}}, nil
}

// Restore implements raft.FSM. Raft calls it for a snapshot that a leader sent,
// which the transport does not let in.
func (f *fsm) Restore(in io.ReadCloser) error {
	err := fmt.Errorf("home %s: a snapshot marker holds no state to restore; bring the store's files first", f.r.opts.Home)
	f.r.fail(err)
	return errors.Join(err, in.Close())
}

// appliedMore tells those who wait for what was just applied.
func (r *Replica) appliedMore() {
	r.fresh.applied(r.reached)
	r.water.raise()
	if t, ok := r.transport.(*transport); ok {
		t.push()
	}
}

// reached says that everything up to an index of the log is applied here. What
// raft writes for itself at the start of a term is not shown to the state, so the
// last indexes may hold nothing to apply.
func (r *Replica) reached(index uint64) bool {
	applied := r.fsm.index.Load()
	if applied >= index {
		return true
	}
	if index-applied > fewOwn {
		return false
	}
	var l raft.Log
	for i := applied + 1; i <= index; i++ {
		if r.cache.GetLog(i, &l) != nil || l.Type == raft.LogCommand || l.Type == raft.LogConfiguration {
			return false
		}
	}
	return true
}

// fewOwn is how many entries of raft's own may stand in a row.
const fewOwn = 4
