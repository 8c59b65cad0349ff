package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
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

// Replica is a home on this node. Open makes one of a core node, Follow one of a
// replicant; Run runs it. The other methods may be called from any goroutine at
// any time.
type Replica struct {
	// Set by Open or Follow.
	opts      Options
	log       *slog.Logger
	role      role
	state     *home.State
	fsm       *fsm
	queue     *queue
	batcher   *batcher
	forwarder *forwarder
	clock     clock
	stats     *stats
	fresh     *freshness
	digests   *digests
	walls     walls
	water     watermark
	shipped   *shipped
	other     otherHost

	run        atomic.Pointer[home.Owner] // of this node, in the home
	hosting    atomic.Bool                // this region hosts the home
	heir       atomic.Bool                // the home was handed over to this region
	tenure     atomic.Uint64              // how often that changed
	registered atomic.Bool                // and this run of the node is known to it

	resending atomic.Bool   // resendSoon has a timer running
	leaderCh  chan bool     // holds the newest word of whether there is a leader
	again     chan struct{} // holds one token: send again what is under way
	hurry     chan struct{} // holds one token: ask now what is committed
	beatCame  chan struct{} // holds one token: a heartbeat came
	loops     sync.WaitGroup
	stopLoops context.CancelFunc

	whyMu sync.Mutex
	why   string // what is waited for; guarded by whyMu

	order    sync.Mutex // makes taking proposals from the queue and adding their answers one step
	dispatch dispatcher

	running  atomic.Bool
	failOnce sync.Once
	failed   chan struct{} // closed once failErr is set
	failErr  error
}

// role is what a node's part in the region decides: how it has the home's log.
// A core keeps a copy and votes, a replicant follows one. What else a Replica
// does is the same for both.
type role interface {
	// leader is the node that leads the home, as far as this one knows.
	leader() (home.NodeID, bool)
	// leads says that this node was elected, inOffice that it has also applied
	// what was committed before it was.
	leads() bool
	inOffice() bool
	// sure says whether this node leads and a majority followed it a moment ago,
	// up to when, and what is committed.
	sure(now time.Time) (commit uint64, held time.Time, ok bool)
	// take gets entries of this node while it leads.
	take(entries []home.Entry)
	// reached says that all that can be applied up to an index is.
	reached(index uint64) bool
	// applied hears of each record that was applied, with its term; appliedMore
	// when a few were.
	applied(term uint64)
	appliedMore()
	// recorded hears the number of each record and its index.
	recorded(n, index uint64)

	body(seq home.Seq) (home.Message, error)
	spoolRun(key []byte) ([]home.Spooled, error)
	// unwell says why a node that is fresh cannot serve; "" if it can.
	unwell() string
	// staleness says why the node is not fresh.
	staleness() string
	// explain may act on the error that stops the home, and makes it clear.
	explain(err error) error
	group(ctx context.Context) (term uint64, list []Server, err error)
	change(ctx context.Context, act string, node home.NodeID, dryRun bool) error
	figures(*Stats)
	// host and standBy hear, from the goroutine that applies, that the region begins or ends
	// to host the home. superseded is the epoch for which this copy was retired; zero if it was not.
	host()
	standBy()
	superseded() home.Epoch
	handOver()
	close() error
}

func newReplica(opts Options) *Replica {
	r := &Replica{opts: opts, log: opts.Logger, failed: make(chan struct{}), stats: newStats(), queue: newQueue(opts),
		fresh: newFreshness(), digests: newDigests(), shipped: newShipped(), leaderCh: make(chan bool, 1), again: make(chan struct{}, 1),
		hurry: make(chan struct{}, 1), beatCame: make(chan struct{}, 1)}
	r.setRun(opts.Incarnation)
	return r
}

// self is this run of the node, as its entries name it.
func (r *Replica) self() home.Owner { return *r.run.Load() }

func (r *Replica) setRun(i home.Incarnation) {
	r.run.Store(&home.Owner{Node: r.opts.Node, Incarnation: i})
}

// begin takes the state as it was applied up to an index; records of the log up
// to old were made before this run.
func (r *Replica) begin(state *home.State, at store.Position, now home.Time, old uint64) {
	r.state = state
	r.clock.start(now)
	r.fsm = &fsm{r: r, state: state, before: old, applied: at}
	r.fsm.index.Store(at.Index)
	r.forwarder = &forwarder{r: r, mu: newTurn()}
	r.batcher = newBatcher(r.queue, r.opts, r.forwarder, r.leaderCh, r.again)
	r.hosting.Store(r.hosts())
}

// Propose queues op for the home's log. It never blocks. A nil error means that
// done (which may be nil) will be called once, in the order of Propose, after
// the operation is committed, synced and applied here, or with an error, which
// means that nobody knows whether it will be. done must not block; it may call
// Propose. op's slices belong to the home from now on.
//
// Errors: ErrFull, ErrTooLarge, ErrStandby, ErrStopped.
func (r *Replica) Propose(op home.Op, done func(home.Outcome, error)) error {
	err := r.queue.push(op, done)
	if errors.Is(err, ErrFull) {
		r.stats.refused.Add(1)
	}
	return err
}

// Room waits until Propose has room for any operation. It returns ctx's error,
// ErrStandby, or ErrStopped.
func (r *Replica) Room(ctx context.Context) error { return r.queue.waitRoom(ctx) }

// State is the home's state, for queries only.
func (r *Replica) State() *home.State { return r.state }

// Owner is this run of the node, as its entries name it: another one each time the region
// begins to host the home.
func (r *Replica) Owner() home.Owner { return r.self() }

// Now estimates home time. It never goes back, and is not behind the state's.
func (r *Replica) Now() home.Time { return r.clock.now() }

// Body reads the body of a message that the state has evicted from memory. It
// reads the disk, or asks another node. ErrNoBody: the last reference was removed meanwhile.
func (r *Replica) Body(seq home.Seq) (home.Message, error) { return r.role.body(seq) }

// SpoolRun reads a run of a peer's spool that the state has only on disk, from where State.
// SpoolRun says. ErrNoBody: it was trimmed meanwhile.
func (r *Replica) SpoolRun(key []byte) ([]home.Spooled, error) { return r.role.spoolRun(key) }

// Ready says whether the home is served here, or why not.
func (r *Replica) Ready() (ok bool, reason string) {
	switch err := r.failure(); {
	case err != nil:
		return false, err.Error()
	case r.queue.refuses() != nil:
		return false, "stopping"
	case !r.running.Load():
		return false, "starting"
	case !r.hosting.Load():
		return false, r.standsBy()
	case r.opts.Lease != nil && !r.opts.Lease():
		return false, "fenced: this region has no lease on the home"
	case !r.fresh.now():
		return false, r.role.staleness()
	case !r.registered.Load():
		return false, "starting"
	}
	why := r.role.unwell()
	return why == "", why
}

// Fresh says whether this node may speak for its sessions: it has applied what a
// leader, sure of its office, said was committed a moment ago, and the region hosts the home. [C1]
func (r *Replica) Fresh() bool { return r.hosting.Load() && r.fresh.now() }

// Hushed says that this node does not speak for its sessions since its leader said so a moment ago, as while the home is handed
// over: it is not cut off.
func (r *Replica) Hushed() bool { return r.hosting.Load() && r.fresh.isHushed() }

// Stale is for how long the node has not been fresh; 0 if it is.
func (r *Replica) Stale() time.Duration { return r.fresh.age() }

// behind is how many entries were heard to be committed and are not applied here.
func (r *Replica) behind() uint64 {
	newest, applied := r.fresh.newest.Load(), r.fsm.index.Load()
	return newest - min(newest, applied)
}

// Applied is the index of the log applied here.
func (r *Replica) Applied() uint64 { return r.fsm.index.Load() }

// WaitApplied waits until an index of the log is applied here.
func (r *Replica) WaitApplied(ctx context.Context, index uint64) error {
	return r.water.await(ctx, r.failed, func() bool { return r.role.reached(index) })
}

// Stats reads the figures.
func (r *Replica) Stats() Stats {
	s := Stats{
		Leader: r.Leads(), Fresh: r.Fresh(), Mismatches: r.digests.counts(), NodeDowns: r.stats.nodeDowns.Load(), Applied: r.fsm.index.Load(),
		QueueLimit: r.opts.QueueBytes,
		Ops:        r.stats.ops.Load(), OpsFailed: r.stats.opsFailed.Load(), Refused: r.stats.refused.Load(),
		Resent: r.batcher.resent.Load(), Snapshots: r.stats.snapshots.Load(),
		FlushedBytes: r.stats.flushedBytes.Load(), ResidentBytes: r.stats.resident.Load(),
		Commit: r.stats.commit.read(), Fsync: r.stats.fsync.read(), Apply: r.stats.apply.read(),
		Flush: r.stats.flush.read(), FlushStall: r.stats.flushStall.read(),
		BatchOps: r.stats.batchOps.read(), BatchBytes: r.stats.batchBytes.read(),
	}
	s.Ready, s.Reason = r.Ready()
	s.WaitingOps, s.QueueBytes = r.queue.held()
	r.role.figures(&s)
	return s
}

// fail stops the home for err; the first error counts. It may be called from
// any goroutine and with locks of raft or store held.
func (r *Replica) fail(err error) {
	r.failOnce.Do(func() {
		err = r.role.explain(err)
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
	var void []proposal
	if n := len(a.outcomes); a.cut && n < len(ps) {
		ps, void = ps[:n], ps[n:]
	}
	if err == nil && ps != nil && len(ps) != len(a.outcomes) {
		err = fmt.Errorf("entry %d of %s has %d operations in the log and %d here", a.n, r.self(), len(a.outcomes), len(ps))
	}
	// After a failure nothing is acknowledged, not even what was kept.
	failure := err
	if failure == nil {
		failure = r.failure()
	}
	r.dispatch.add(r.completions(ps, a.outcomes, failure))
	r.dispatch.add(returned(void, ErrStandby))
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

// handBack answers everything that is not done with err; nothing is taken any more.
func (r *Replica) handBack(err error) { r.giveBack(err, r.queue.fail) }

// giveBack answers with err what take removes from the queue.
func (r *Replica) giveBack(err error, take func(error) []proposal) {
	r.order.Lock()
	left := take(err)
	r.stats.opsFailed.Add(uint64(len(left)))
	r.dispatch.add(returned(left, err))
	r.order.Unlock()
	r.dispatch.drain()
}

// returned are proposals that nothing came of.
func returned(ps []proposal, err error) []completion {
	cs := make([]completion, len(ps))
	for i, p := range ps {
		cs[i] = completion{proposal: p, err: err}
	}
	return cs
}

// Leader is the node that leads the home, as far as this one knows.
func (r *Replica) Leader() (home.NodeID, bool) { return r.role.leader() }

// Leads says that this node leads and has applied all that was committed before.
func (r *Replica) Leads() bool { return r.role.inOffice() }

// HandOver gives the leadership away before a planned stop, so that the others
// need not wait for it to be missed.
func (r *Replica) HandOver() { r.role.handOver() }

// Change does what an operator asks of the group: "leave", "force-leave" or
// "transfer", with a node; here if this node leads, else at the leader. With
// dryRun it only says whether it would be refused. Errors: *RefusedError.
func (r *Replica) Change(ctx context.Context, act string, node home.NodeID, dryRun bool) error {
	if r.role.inOffice() {
		return r.role.change(ctx, act, node, dryRun)
	}
	leader, ok := r.Leader()
	if !ok {
		return refuse("no leader is heard: %s", r.whoAnswers())
	}
	_, err := r.ask(ctx, leader, control{Kind: act, Node: node, Dry: dryRun})
	return err
}

// Server is a copy of the home, as a node knows it.
type Server struct {
	Node  home.NodeID
	Disk  string
	Voter bool
	Heard time.Duration // since it last answered this leader; 0 if this node does not lead
	Lag   uint64        // entries it lacks; 0 if this node does not lead
}

// Group lists the copies of the home, and raft's term. A replicant asks a core.
func (r *Replica) Group(ctx context.Context) (term uint64, list []Server, err error) {
	return r.role.group(ctx)
}

// leaderChanged tells the batcher, and asks the new leader what is committed.
func (r *Replica) leaderChanged(known bool) {
	select {
	case <-r.leaderCh: // what was not heard is overtaken
	default:
	}
	r.leaderCh <- known
	nudge(r.hurry)
}

// resendIn is how long after a failure everything under way is sent again.
const resendIn = 50 * time.Millisecond

// resendSoon has everything under way sent again: part of it did not get to the
// leader.
func (r *Replica) resendSoon() {
	if !r.resending.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(resendIn, func() {
		r.resending.Store(false)
		nudge(r.again)
	})
}

// wait notes what is waited for.
func (r *Replica) wait(why string) {
	r.whyMu.Lock()
	changed := r.why != why
	r.why = why
	r.whyMu.Unlock()
	if changed {
		r.opts.Waiting(why)
	}
}

func (r *Replica) waits() string {
	r.whyMu.Lock()
	defer r.whyMu.Unlock()
	return r.why
}
