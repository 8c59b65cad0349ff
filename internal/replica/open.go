package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/replica/raftlog"
	"causeway/internal/store"
)

// Raft's timing, measured for three voters on one disk: kill to commit 0.4-0.5
// s, no false election under an fsync hog.
const (
	heartbeatTimeout   = 200 * time.Millisecond
	electionTimeout    = 400 * time.Millisecond
	leaderLeaseTimeout = 200 * time.Millisecond
	commitTimeout      = 50 * time.Millisecond
	maxAppendEntries   = 64 // a count without a byte bound: 16 MiB of full entries
)

// Open opens the home in its folder, or creates it there: it opens store and
// log, checks that they belong together and to this home, applies what the
// store had not seen, becomes leader, and registers this incarnation of the
// node. When it returns, the home's former sessions of this node are detached
// and Run may serve. ctx bounds Open only.
func Open(ctx context.Context, opts Options) (_ *Replica, err error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	r := &Replica{opts: opts, log: opts.Logger, failed: make(chan struct{}), stats: newStats(),
		owner: home.Owner{Node: opts.Node, Incarnation: opts.Incarnation}, queue: newQueue(opts)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open home %s in %s: %w", opts.Home, opts.Dir, errors.Join(err, r.abandon()))
		}
	}()
	start := time.Now()
	if err := r.openState(); err != nil {
		return nil, err
	}
	snapshots, err := r.openLog()
	if err != nil {
		return nil, err
	}
	tail, err := r.inspect(snapshots)
	if err != nil {
		return nil, err
	}
	r.startClock(tail)
	if err := r.startRaft(snapshots, tail); err != nil {
		return nil, err
	}
	if err := r.register(ctx, tail); err != nil {
		return nil, err
	}
	r.log.Info("home opened", "epoch", r.state.Epoch().String(), "applied", r.fsm.index.Load(),
		"replayed", r.fsm.index.Load()-r.flushed.Index, "took", time.Since(start).Round(time.Millisecond))
	return r, nil
}

// abandon closes what a failed Open had opened.
func (r *Replica) abandon() error {
	var errs []error
	r.queue.close(ErrStopped)
	if r.raft != nil {
		errs = append(errs, r.raft.Shutdown().Error())
	}
	r.handBack(ErrStopped)
	if r.logs != nil {
		errs = append(errs, r.logs.Close())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}

// openState opens the store and loads the state it holds.
func (r *Replica) openState() (err error) {
	o := r.opts.Store
	o.Logger, o.OnFatal = r.log, r.fail
	fs := r.opts.FS
	if r.store, err = store.Open(fs, fs.PathJoin(r.opts.Dir, "state"), o); err != nil {
		return err
	}
	r.flushed = r.store.Applied()
	r.state, err = home.Load(func(fn func(key, value []byte) error) error { return r.store.Scan(nil, fn) })
	if err != nil {
		return fmt.Errorf("load the state: %w", err)
	}
	if id := r.state.ID(); id != "" && id != r.opts.Home {
		return fmt.Errorf("it holds home %q: point the node at the folder of home %q, or correct its region", id, r.opts.Home)
	}
	if known, _ := r.state.Incarnation(r.opts.Node); known >= r.opts.Incarnation {
		return fmt.Errorf("incarnation %d of node %s is not new, the home knows %d: "+
			"the node's data directory was restored or copied; give the node a new name, or restore all of its directory",
			r.opts.Incarnation, r.opts.Node, known)
	}
	return nil
}

// openLog opens the log and the snapshots, with the guard before the log.
func (r *Replica) openLog() (raft.SnapshotStore, error) {
	fs := r.opts.FS
	logs, err := raftlog.Open(fs, fs.PathJoin(r.opts.Dir, "log"),
		raftlog.Options{SegmentBytes: r.opts.SegmentBytes, Logger: r.log})
	if err != nil {
		return nil, err
	}
	r.logs = logs
	watchdog := raftlog.NewWatchdog(logs, raftlog.WatchdogOptions{Observe: r.stats.fsync.observe, OnFatal: r.fail})
	r.guard = &guard{Watchdog: watchdog, fail: r.fail}
	return raftlog.OpenSnapshots(fs, fs.PathJoin(r.opts.Dir, "snapshots"), r.log)
}

// tail is what Open learns of the log before raft does.
type tail struct {
	last     uint64    // last index of log and snapshots
	commands bool      // the log holds records
	time     home.Time // of the last record, if there is one
}

// inspect checks that log, snapshots and store belong together.
func (r *Replica) inspect(snapshots raft.SnapshotStore) (t tail, err error) {
	list, err := snapshots.List()
	if err != nil {
		return t, fmt.Errorf("list snapshots: %w", err)
	}
	first, err := r.guard.FirstIndex()
	if err != nil {
		return t, fmt.Errorf("first index of the log: %w", err)
	}
	if t.last, err = r.guard.LastIndex(); err != nil {
		return t, fmt.Errorf("last index of the log: %w", err)
	}
	var snap uint64
	if len(list) > 0 {
		snap = list[0].Index
	}
	end := t.last
	t.last = max(t.last, snap)
	if err := belong(r.flushed.Index, snap, first, t.last); err != nil {
		return t, err
	}
	return t, r.inspectRecords(&t, first, end)
}

// belong says whether a store at applied, the newest snapshot at snap and a log
// from first to last are of one home at one time. Whatever raft was told is on
// disk must be in one of them.
func belong(applied, snap, first, last uint64) error {
	const restore = "it was restored or damaged in part; restore the whole folder, or remove all of it and let the node rejoin"
	switch {
	case applied < snap:
		return fmt.Errorf("the store has applied index %d, but a snapshot says %d and the log may be gone up to there: %s", applied, snap, restore)
	case applied > last:
		return fmt.Errorf("the store has applied index %d, but the log ends at %d: %s", applied, last, restore)
	case first > snap+1:
		return fmt.Errorf("the log begins at index %d, but the newest snapshot is of %d: %s", first, snap, restore)
	}
	return nil
}

// inspectRecords looks at the first and the last record of the log: whose they
// are, and when the last was written.
func (r *Replica) inspectRecords(t *tail, first, last uint64) error {
	if last == 0 {
		return nil
	}
	for i := first; i <= last && !t.commands; i++ {
		rec, err := r.readRecord(i)
		if err != nil {
			return err
		}
		if rec != nil {
			t.commands = true
			if rec.Home != r.opts.Home {
				return fmt.Errorf("its log is of home %q: point the node at the folder of home %q, or correct its region", rec.Home, r.opts.Home)
			}
		}
	}
	for i := last; i >= first && t.commands && t.time == 0; i-- {
		rec, err := r.readRecord(i)
		if err != nil {
			return err
		}
		if rec != nil {
			t.time = rec.Time
		}
	}
	return nil
}

// readRecord reads a record of the log; nil if the entry is raft's own.
func (r *Replica) readRecord(index uint64) (*home.Record, error) {
	var l raft.Log
	if err := r.guard.GetLog(index, &l); err != nil {
		return nil, fmt.Errorf("read entry %d of the log: %w", index, err)
	}
	if l.Type != raft.LogCommand {
		return nil, nil
	}
	rec, err := home.DecodeRecord(l.Data)
	if err != nil {
		return nil, fmt.Errorf("entry %d of the log: %w", index, err)
	}
	return &rec, nil
}

// bigStep is a difference between home time and wall clock that an operator
// should hear of. [B6]
const bigStep = time.Minute

// startClock starts home time at the later of what the home has seen and the
// wall clock.
func (r *Replica) startClock(t tail) {
	switch ahead := r.clock.start(max(r.state.Now(), t.time)); {
	case ahead < -bigStep:
		r.log.Warn("the wall clock is behind home time; home time goes on from where it was", "behind", -ahead)
	case ahead > bigStep:
		r.log.Info("home time moves on to the wall clock; what expired meanwhile goes now", "by", ahead)
	}
}

// startRaft starts raft with this node as the only voter. Raft applies what it
// appended itself from memory, so a log cache (128 entries) would only pin
// entries; it belongs with the transport to siblings, which read from it.
func (r *Replica) startRaft(snapshots raft.SnapshotStore, t tail) (err error) {
	r.fsm = &fsm{r: r, state: r.state, before: t.last, applied: r.flushed}
	r.fsm.index.Store(r.flushed.Index)
	conf := r.raftConfig()
	addr, transport := raft.NewInmemTransport(raft.ServerAddress(conf.LocalID))
	if t.last == 0 {
		if err := r.bootstrap(raft.Server{ID: conf.LocalID, Address: addr}); err != nil {
			return err
		}
	}
	if r.raft, err = newRaft(conf, r.fsm, r.guard, r.guard, snapshots, transport); err != nil {
		return err
	}
	r.guard.live.Store(true)
	r.batcher = newBatcher(r.queue, r.opts, r.owner,
		&leader{home: r.opts.Home, clock: &r.clock, raft: r.raft, fail: r.fail}, r.raft.LeaderCh(), r.stats)
	if members := r.raft.GetConfiguration().Configuration().Servers; !votes(members, conf.LocalID) {
		return fmt.Errorf("the log's members are %v, and node %s is not one: the folder is another node's, or this one was renamed",
			members, conf.LocalID)
	}
	return r.hurryElection()
}

func votes(members []raft.Server, id raft.ServerID) bool {
	return slices.ContainsFunc(members, func(s raft.Server) bool { return s.ID == id && s.Suffrage == raft.Voter })
}

// termKey is where raft keeps its current term.
var termKey = []byte("CurrentTerm")

// bootstrap makes this node the only voter of a new log. It does what raft's
// BootstrapCluster does, but a start that was cut short between the term and the
// entry is taken up again instead of being refused for ever.
func (r *Replica) bootstrap(self raft.Server) error {
	term, err := r.guard.GetUint64(termKey)
	if err != nil {
		return fmt.Errorf("read raft's term: %w", err)
	}
	if term > 1 {
		return fmt.Errorf("raft has seen term %d, but the log is empty: it was lost; "+
			"restore the whole folder, or remove all of it and let the node rejoin", term)
	}
	if err := r.guard.SetUint64(termKey, 1); err != nil {
		return fmt.Errorf("bootstrap the log: %w", err)
	}
	servers := raft.Configuration{Servers: []raft.Server{self}}
	entry := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(servers)}
	if err := r.guard.StoreLog(entry); err != nil {
		return fmt.Errorf("bootstrap the log: %w", err)
	}
	return nil
}

// newRaft is raft.NewRaft with its panic over an unreadable log as an error.
func newRaft(conf *raft.Config, f raft.FSM, logs raft.LogStore, stable raft.StableStore,
	snapshots raft.SnapshotStore, transport raft.Transport) (_ *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("start raft: %v", p)
		}
	}()
	r, err := raft.NewRaft(conf, f, logs, stable, snapshots, transport)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	return r, nil
}

func (r *Replica) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(r.opts.Node)
	// A hair more than meant, so that hurryElection lowers it.
	conf.HeartbeatTimeout = heartbeatTimeout + time.Millisecond
	conf.ElectionTimeout = electionTimeout
	conf.LeaderLeaseTimeout = leaderLeaseTimeout
	conf.CommitTimeout = commitTimeout
	conf.MaxAppendEntries = maxAppendEntries
	conf.BatchApplyCh = true
	conf.TrailingLogs = r.opts.TrailingEntries
	// The keeper decides about snapshots, by entries and bytes.
	conf.SnapshotInterval = 365 * 24 * time.Hour
	conf.NoSnapshotRestoreOnStart = true
	conf.NoLegacyTelemetry = true
	conf.Logger = raftLogger(r.log)
	return conf
}

// hurryElection lowers the heartbeat timeout by a hair, upon which raft looks at
// once whether a leader was heard of. The only voter need not wait for one.
func (r *Replica) hurryElection() error {
	conf := r.raft.ReloadableConfig()
	conf.HeartbeatTimeout = heartbeatTimeout
	if err := r.raft.ReloadConfig(conf); err != nil {
		return fmt.Errorf("set heartbeat timeout: %w", err)
	}
	return nil
}

// register waits until this node leads and has applied everything that was in
// the log, by way of its own first entry: Genesis if the home is new, and NodeUp.
func (r *Replica) register(ctx context.Context, t tail) error {
	if err := r.awaitLeader(ctx); err != nil {
		return err
	}
	if r.state.ID() == "" && !t.commands {
		if err := r.Propose(&home.Genesis{Home: r.opts.Home, Epoch: r.opts.Epoch}, nil); err != nil {
			return err
		}
	}
	up := make(chan error, 1)
	if err := r.Propose(&home.NodeUp{}, func(_ home.Outcome, err error) { up <- err }); err != nil {
		return err
	}
	r.batcher.step()
	select {
	case err := <-up:
		return err
	case <-r.failed:
		return r.failErr
	case <-ctx.Done():
		return fmt.Errorf("apply the log: %w", ctx.Err())
	}
}

func (r *Replica) awaitLeader(ctx context.Context) error {
	for !r.batcher.leading {
		select {
		case r.batcher.leading = <-r.raft.LeaderCh():
		case <-r.failed:
			return r.failErr
		case <-ctx.Done():
			return fmt.Errorf("become leader: %w", ctx.Err())
		}
	}
	return nil
}
