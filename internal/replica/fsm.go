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
	// before is the last index of the log at start: records up to it come from
	// earlier runs.
	before uint64

	// mu keeps a record and the position after it one step for the flush.
	mu      sync.Mutex
	applied store.Position // guarded by mu
	broken  error          // guarded by mu; set: the state is not to be used or kept

	// answers are those of the record being applied, if it is ours. Apply
	// goroutine only.
	answers []answer

	index     atomic.Uint64 // applied.Index for anyone
	sinceSnap logSize       // of what came after the newest snapshot
}

// logSize counts records and their bytes.
type logSize struct {
	entries atomic.Uint64
	bytes   atomic.Int64
}

// answer is the outcomes of one of our entries.
type answer struct {
	n        uint64
	outcomes []home.Outcome
}

// errRefused says that the home skipped an entry this node numbered afresh.
var errRefused = errors.New("the home does not take entries of this run of the node: " +
	"its incarnation was used before, or its siblings declared it down")

// ApplyBatch implements raft.BatchingFSM. Nobody waits for the responses.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		f.Apply(l)
	}
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
	f.r.clock.heard(rec.Time)
	return f.checkOwn(rec, l)
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

// collect keeps the outcomes of our own entries. It is called with the state
// locked.
func (f *fsm) collect(e *home.Entry, i int, o home.Outcome) {
	if e.Owner != f.r.owner {
		return
	}
	if i == 0 {
		f.answers = append(f.answers, answer{n: e.N, outcomes: make([]home.Outcome, 0, len(e.Ops))})
	}
	a := &f.answers[len(f.answers)-1]
	a.outcomes = append(a.outcomes, o)
}

// checkOwn finds what cannot be: an entry under our name that another run
// wrote, or one of ours that the home refused.
func (f *fsm) checkOwn(rec *home.Record, l *raft.Log) error {
	if len(f.answers) > 0 && l.Index <= f.before {
		return fmt.Errorf("entry %d of %s is from an earlier run: %w", f.answers[0].n, f.r.owner, errRefused)
	}
	head := f.r.queue.head()
	for i := range rec.Entries {
		e := &rec.Entries[i]
		if e.Owner != f.r.owner || e.N != head || l.Index <= f.before {
			continue
		}
		if len(f.answers) == 0 || f.answers[0].n != head {
			return fmt.Errorf("entry %d of %s was refused: %w", e.N, e.Owner, errRefused)
		}
		break
	}
	return nil
}

// complete answers the proposals of the record just applied.
func (f *fsm) complete() {
	for _, a := range f.answers {
		if err := f.r.land(a); err != nil {
			f.r.fail(err)
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
// which cannot happen with one voter.
func (f *fsm) Restore(in io.ReadCloser) error {
	err := fmt.Errorf("home %s: a snapshot marker holds no state to restore; bring the store's files first", f.r.opts.Home)
	f.r.fail(err)
	return errors.Join(err, in.Close())
}
