package replica

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/store"
)

// fsm applies committed records to the state, in order. Its methods run on one
// goroutine: raft's, or that of the stream a replicant follows.
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

	// answers are those of the record being applied, if it is ours. The
	// applying goroutine only.
	answers []answers
	// over is why this run of the node is over, once it is. Apply goroutine only.
	over error
	// turned: the record being applied says who hosts the home; begun: it begins an epoch; handed: it hands it
	// over. Apply goroutine only.
	turned, begun, handed bool

	index atomic.Uint64 // applied.Index for anyone
	term  atomic.Uint64 // of the last record
}

// answers are the outcomes of one of our entries.
type answers struct {
	n        uint64
	outcomes []home.Outcome
	cut      bool // the home was handed over within the entry: nothing comes of the rest
}

// errDown ends a run of the node that the others have given up: its sessions are
// detached, and nothing it says counts any more. Opened again it is another run.
var errDown = errors.New("the others declared this run of the node dead, since it was silent for too long")

// errUsed ends a run whose number was given before.
var errUsed = errors.New("the home knows this incarnation of the node already: " +
	"the data directory was restored or copied; give the node a new name, or remove all of the directory and let it rejoin")

// errReplaced ends a run whose node was started elsewhere, or again.
var errReplaced = errors.New("another run of this node has taken its place: give each node a name and a data directory of its own")

// record applies a record of the log. The first that cannot be applied stops the
// home; what follows it is ignored.
func (f *fsm) record(at store.Position, data []byte) {
	if f.known(at) {
		return
	}
	if err := f.apply(at, data); err != nil {
		f.r.fail(fmt.Errorf("apply index %d of home %s: %w; the home stops rather than guess: "+
			"run the version that wrote the record, or restore this node's copy", at.Index, f.r.opts.Home, err))
		return
	}
	f.complete()
	f.term.Store(at.Term)
	if f.turned {
		f.turned = false
		f.r.turn(f.begun)
	}
	f.r.role.applied(at.Term)
}

// breakOff keeps the state from being used or kept.
func (f *fsm) breakOff(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

// other passes an entry that is no record.
func (f *fsm) other(at store.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil && at.Index > f.applied.Index {
		f.moveTo(at)
	}
}

// known says that an entry changes nothing: it is in the state already, or the
// home stopped before it.
func (f *fsm) known(at store.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken != nil || at.Index <= f.applied.Index
}

// position is how far the state is.
func (f *fsm) position() store.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

// moveTo records that the log is applied up to there. Guarded by mu.
func (f *fsm) moveTo(at store.Position) {
	f.applied = at
	f.index.Store(at.Index)
}

func (f *fsm) apply(at store.Position, data []byte) error {
	rec, err := home.DecodeRecord(data)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.applyRecord(&rec, at.Index)
	}
	if err != nil {
		f.broken = err
		return err
	}
	f.moveTo(at)
	return nil
}

func (f *fsm) applyRecord(rec *home.Record, index uint64) error {
	if rec.Home != f.r.opts.Home {
		return fmt.Errorf("the record is of home %q: %w", rec.Home, home.ErrCorrupt)
	}
	f.answers, f.begun, f.handed = f.answers[:0], false, false
	start := time.Now()
	err := f.applyState(rec)
	f.r.stats.apply.observe(time.Since(start))
	if err != nil {
		return err
	}
	f.r.clock.heard(rec.Time, index > f.before)
	records, sum := f.state.Chain()
	f.r.role.recorded(records, index)
	if index%digestEvery == 0 {
		f.r.digests.add(digest{index: index, sum: sum})
	}
	return f.checkOwn(rec)
}

// applyState turns a panic into an error: it stops this home like any record
// that cannot be applied, and leaves the process to say why.
func (f *fsm) applyState(rec *home.Record) error {
	return group.Protect(func() error { return f.applyTo(rec) })
}

func (f *fsm) applyTo(rec *home.Record) error {
	if !f.r.hosting.Load() {
		return f.state.Apply(rec, quiet{f.r.opts.Sink}, f.watch)
	}
	return f.state.Apply(rec, f.r.opts.Sink, f.collect)
}

// watch notices who hosts the home. It is called with the state locked.
func (f *fsm) watch(e *home.Entry, i int, o home.Outcome) {
	switch e.Ops[i].Kind() {
	case home.KindGenesis:
		f.turned = true
	case home.KindPromote:
		f.turned = true
		f.begun = f.begun || o.Code == home.CodeOK
	case home.KindHand:
		f.turned = true
		f.handed = f.handed || o.Code == home.CodeOK
	}
}

// quiet is the sink of a copy that stands by: its sessions are other regions', its documents are for all.
type quiet struct{ sink home.Sink }

// Documented implements home.DocumentSink.
func (q quiet) Documented(name string) {
	if d, ok := q.sink.(home.DocumentSink); ok {
		d.Documented(name)
	}
}

func (quiet) Deliver(home.Delivery)                                                {}
func (quiet) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (quiet) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (quiet) Spooled(home.ID)                                                      {}
func (quiet) Wanted()                                                              {}
func (quiet) Dropped(string, home.DropReason, int)                                 {}

// collect keeps the outcomes of our own entries, and hears when this run of the
// node is over. It is called with the state locked.
func (f *fsm) collect(e *home.Entry, i int, o home.Outcome) {
	self, behind := f.r.self(), f.handed
	f.watch(e, i, o)
	if behind {
		// Void: who proposed it hears that the home was handed over, also of what was behind
		// the handing over in the same entry.
		if n := len(f.answers); n > 0 && e.Owner == self && f.answers[n-1].n == e.N {
			f.answers[n-1].cut = true
		}
		return
	}
	switch op := e.Ops[i].(type) {
	case *home.NodeDown:
		if op.Owner == self && o.Code == home.CodeOK {
			f.over = errDown
		}
	case *home.Promote:
		return // it is no proposal: who writes it waits for the log
	case *home.NodeUp:
		if e.Owner.Node == self.Node && e.Owner.Incarnation > self.Incarnation {
			f.over = errReplaced
		}
	}
	if e.Owner != self {
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
	if !f.r.hosting.Load() || f.handed || f.begun {
		return nil
	}
	head, self := f.r.queue.head(), f.r.self()
	for i := range rec.Entries {
		e := &rec.Entries[i]
		if e.Owner == self && e.N == head && (len(f.answers) == 0 || f.answers[0].n != head) {
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
