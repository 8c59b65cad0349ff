package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// Errors of Propose and Room, and of done.
var (
	// ErrFull: too many bytes wait. Wait with Room, then propose again.
	ErrFull = errors.New("the home's queue of proposals is full")
	// ErrStopped: the replica stops or failed. Of done it means that the outcome
	// is unknown.
	ErrStopped = errors.New("the home's replica has stopped")
	// ErrTooLarge: the operation is larger than MaxOpBytes.
	ErrTooLarge = errors.New("the operation is too large for the log")
	// ErrLost: this disk has lost something that the others were told it holds, and
	// they have a leader without it. Its votes must not count any more: set the copy
	// aside, as another disk (store.Dir.SetAside), and open again. [B1]
	ErrLost = errors.New("the disk counts as wiped")
	// ErrNoBody: the message is referred to no more.
	ErrNoBody = errors.New("the message's body is gone")
)

// Replica is a home on this node. Open makes one, Run runs it. The other
// methods may be called from any goroutine at any time.
type Replica struct {
	// Set by Open.
	opts      Options
	log       *slog.Logger
	id        raft.ServerID
	owner     home.Owner
	state     *home.State
	store     *store.Store
	logs      *raftlog.Log
	guard     *guard
	cache     raft.LogStore // what raft reads and writes: guard, with the newest entries in memory
	transport raft.Transport
	raft      *raft.Raft
	fsm       *fsm
	queue     *queue
	batcher   *batcher
	forwarder *forwarder
	merger    *merger
	clock     clock
	stats     *stats
	contacts  *contacts
	fresh     *freshness
	digests   *digests
	silence   silence
	walls     walls
	water     watermark

	checkpoints checkpoints

	holds     atomic.Bool   // there is a copy here, with log or state
	up        atomic.Bool   // raft was made
	entered   atomic.Bool   // this node leads and has applied what was committed before
	raising   atomic.Bool   // a Raise is under way
	resending atomic.Bool   // resendSoon has a timer running
	leaderCh  chan bool     // holds the newest word of whether there is a leader
	again     chan struct{} // holds one token: send again what is under way
	handing   turn          // one hand-over at a time
	hurry     chan struct{} // holds one token: ask now what is committed
	beatCame  chan struct{} // holds one token: a heartbeat came
	loops     sync.WaitGroup
	stopLoops context.CancelFunc

	whyMu sync.Mutex
	why   string // Open waits; guarded by whyMu

	streamsMu sync.Mutex
	streams   map[*cluster.Stream]byte // accepted ones, and what they are for

	order    sync.Mutex // makes taking proposals from the queue and adding their answers one step
	dispatch dispatcher

	flushMu sync.Mutex     // one flush at a time
	flushed store.Position // guarded by flushMu: what the store has

	running  atomic.Bool
	failOnce sync.Once
	failed   chan struct{} // closed once failErr is set
	failErr  error
}

// Propose queues op for the home's log. It never blocks. A nil error means that
// done (which may be nil) will be called once, in the order of Propose, after
// the operation is committed, synced and applied here, or with an error, which
// means that nobody knows whether it will be. done must not block; it may call
// Propose. op's slices belong to the home from now on.
//
// Errors: ErrFull, ErrTooLarge, ErrStopped.
func (r *Replica) Propose(op home.Op, done func(home.Outcome, error)) error {
	err := r.queue.push(op, done)
	if errors.Is(err, ErrFull) {
		r.stats.refused.Add(1)
	}
	return err
}

// Room waits until Propose has room for any operation. It returns ctx's error,
// or ErrStopped.
func (r *Replica) Room(ctx context.Context) error { return r.queue.waitRoom(ctx) }

// State is the home's state, for queries only.
func (r *Replica) State() *home.State { return r.state }

// Owner is this run of the node, as its entries name it.
func (r *Replica) Owner() home.Owner { return r.owner }

// Now estimates home time. It never goes back, and is not behind the state's.
func (r *Replica) Now() home.Time { return r.clock.now() }

// Body reads the body of a message that the state has evicted from memory. It
// reads the disk. ErrNoBody: the last reference was removed meanwhile.
func (r *Replica) Body(seq home.Seq) (home.Message, error) {
	v, err := r.store.Get(home.BodyKey(seq))
	if errors.Is(err, store.ErrNotFound) {
		return home.Message{}, fmt.Errorf("message %d of home %s: %w", seq, r.opts.Home, ErrNoBody)
	}
	if err != nil {
		return home.Message{}, fmt.Errorf("read message %d of home %s: %w", seq, r.opts.Home, err)
	}
	m, err := home.DecodeBody(seq, v)
	if err != nil {
		return home.Message{}, fmt.Errorf("read message %d of home %s: %w", seq, r.opts.Home, err)
	}
	return m, nil
}

// SpoolRun reads a run of a peer's spool that the state has only on disk, from where State.
// SpoolRun says. ErrNoBody: it was trimmed meanwhile.
func (r *Replica) SpoolRun(key []byte) ([]home.Spooled, error) {
	v, err := r.store.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNoBody
	}
	if err != nil {
		return nil, fmt.Errorf("read a run of a spool of home %s: %w", r.opts.Home, err)
	}
	return r.state.DecodeRun(v)
}

// hungDisk is how long a write may take before the home counts as not served.
const hungDisk = 5 * time.Second

// Ready says whether the home is served here, or why not.
func (r *Replica) Ready() (ok bool, reason string) {
	switch err := r.failure(); {
	case err != nil:
		return false, err.Error()
	case r.queue.refuses() != nil:
		return false, "stopping"
	case !r.running.Load():
		return false, "starting"
	case !r.fresh.now():
		return false, r.stale()
	case r.unseated() != "":
		return false, r.unseated()
	case r.guard.Stalled(hungDisk):
		return false, fmt.Sprintf("the disk at %s has not answered a write for more than %s", r.opts.Dir, hungDisk)
	}
	return true, ""
}

// Fresh says whether this node may speak for its sessions: it has applied what a
// leader, sure of its office, said was committed a moment ago. [C1]
func (r *Replica) Fresh() bool { return r.fresh.now() }

// Stale is for how long the node has not been fresh; 0 if it is.
func (r *Replica) Stale() time.Duration { return r.fresh.age() }

// stale says why the node is not fresh.
func (r *Replica) stale() string {
	age := r.fresh.age().Round(100 * time.Millisecond)
	leader, ok := r.Leader()
	switch {
	case !ok:
		return fmt.Sprintf("no leader is heard, for %s: %s", age, r.whoAnswers())
	case leader == r.opts.Node:
		return fmt.Sprintf("this node leads, but no majority has answered it for %s: %s", age, r.whoAnswers())
	}
	return fmt.Sprintf("catching up: %d entries that leader %s says were committed are not applied here, for %s", r.behind(), leader, age)
}

// behind is how many entries were heard to be committed and are not applied here.
func (r *Replica) behind() uint64 {
	newest, applied := r.fresh.newest.Load(), r.fsm.index.Load()
	return newest - min(newest, applied)
}

// unseated says why this copy does not count as one of the home's yet: it has no
// vote while the home lacks one, or a former disk of this node has one. Who
// replaces disks one after the other goes by what is ready, and must not take the
// next before this one's vote is in its place.
func (r *Replica) unseated() string {
	if r.opts.Cluster == nil {
		return ""
	}
	voters, own, former := 0, false, false
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		node, _ := splitID(string(s.ID))
		own = own || s.ID == r.id
		former = former || s.ID != r.id && node == r.opts.Node
	}
	switch {
	case !own && (former || voters < r.opts.Voters):
		return fmt.Sprintf("catching up: this copy has no vote yet; it is %d entries behind", r.behind())
	case own && former:
		return "catching up: this copy votes, and the vote of the node's former disk is still to go"
	}
	return ""
}

// Applied is the index of the log applied here.
func (r *Replica) Applied() uint64 { return r.fsm.index.Load() }

// WaitApplied waits until an index of the log is applied here.
func (r *Replica) WaitApplied(ctx context.Context, index uint64) error {
	return r.water.await(ctx, r.failed, func() bool { return r.reached(index) })
}

// Stats reads the figures.
func (r *Replica) Stats() Stats {
	s := Stats{
		Leader: r.Leads(), Fresh: r.fresh.now(), Mismatches: r.digests.counts(), NodeDowns: r.stats.nodeDowns.Load(), Applied: r.fsm.index.Load(),
		Flushed: r.store.Applied().Index, Durable: r.store.DurableApplied(),
		QueueLimit: r.opts.QueueBytes,
		Ops:        r.stats.ops.Load(), OpsFailed: r.stats.opsFailed.Load(), Refused: r.stats.refused.Load(),
		Resent: r.batcher.resent.Load(), Snapshots: r.stats.snapshots.Load(),
		FlushedBytes: r.stats.flushedBytes.Load(), ResidentBytes: r.stats.resident.Load(),
		LogLast: r.raft.LastIndex(), Writing: r.guard.Running(),
		Commit: r.stats.commit.read(), Fsync: r.stats.fsync.read(), Apply: r.stats.apply.read(),
		Flush: r.stats.flush.read(), FlushStall: r.stats.flushStall.read(),
		BatchOps: r.stats.batchOps.read(), BatchBytes: r.stats.batchBytes.read(),
	}
	s.Ready, s.Reason = r.Ready()
	s.WaitingOps, s.QueueBytes = r.queue.held()
	// An error leaves 0: a figure is no reason to stop.
	s.LogFirst, _ = r.logs.FirstIndex()
	s.LogBytes, _ = r.logs.DiskBytes()
	return s
}

// fail stops the home for err; the first error counts. It may be called from
// any goroutine and with locks of raft or store held.
func (r *Replica) fail(err error) {
	r.failOnce.Do(func() {
		if errors.Is(err, errDiverged) || r.opts.Cluster != nil && errors.Is(err, store.ErrDamaged) {
			err = errors.Join(err, r.setAside(err))
		}
		err = store.ExplainDiskError(r.opts.FS, r.opts.Dir, err)
		r.failErr = err
		close(r.failed)
		r.queue.close(fmt.Errorf("%w: %w", ErrStopped, err))
	})
}

// failure is why the home stopped, or nil.
func (r *Replica) failure() error {
	select {
	case <-r.failed:
		return r.failErr
	default:
		return nil
	}
}

// land answers the proposals of our entry that was just applied.
func (r *Replica) land(a answers) error {
	r.order.Lock()
	ps, err := r.queue.land(a.n)
	if err == nil && ps != nil && len(ps) != len(a.outcomes) {
		err = fmt.Errorf("entry %d of %s has %d operations in the log and %d here", a.n, r.owner, len(a.outcomes), len(ps))
	}
	// After a failure nothing is acknowledged, not even what was kept.
	failure := err
	if failure == nil {
		failure = r.failure()
	}
	r.dispatch.add(r.completions(ps, a.outcomes, failure))
	r.order.Unlock()
	r.dispatch.drain()
	return err
}

func (r *Replica) completions(ps []proposal, outcomes []home.Outcome, err error) []completion {
	cs := make([]completion, len(ps))
	now := time.Now()
	for i, p := range ps {
		cs[i].proposal = p
		if err != nil {
			cs[i].err = fmt.Errorf("%w: %w", ErrStopped, err)
			continue
		}
		cs[i].outcome = outcomes[i]
		r.stats.commit.observe(now.Sub(p.since))
	}
	if err != nil {
		r.stats.opsFailed.Add(uint64(len(ps)))
	} else {
		r.stats.ops.Add(uint64(len(ps)))
	}
	return cs
}

// handBack answers everything that is not done with err.
func (r *Replica) handBack(err error) {
	r.order.Lock()
	left := r.queue.fail(err)
	cs := make([]completion, len(left))
	for i, p := range left {
		cs[i] = completion{proposal: p, err: err}
	}
	r.stats.opsFailed.Add(uint64(len(left)))
	r.dispatch.add(cs)
	r.order.Unlock()
	r.dispatch.drain()
}
