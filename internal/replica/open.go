package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
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
	commitTimeout      = 250 * time.Millisecond // what is committed is pushed; this is for a push that got lost
	maxAppendEntries   = 64                     // a count without a byte bound: 16 MiB of full entries
	logCache           = 128                    // entries kept in memory for followers: 32 MiB of full ones
)

// Open opens the home in its folder, or creates it there: it opens store and
// log, checks that they belong together and to this home, brings what is missing
// or too old from another copy, joins the group or founds it, applies what the
// store had not seen, and registers this incarnation of the node. When it
// returns, the home's former sessions of this node are detached and Run may
// serve; of a home that another region hosts, what is committed is applied; of one without a
// lease there is a leader. With other nodes it waits for them, telling Options.Waiting why. ctx
// bounds Open only.
func Open(ctx context.Context, opts Options) (*Replica, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	for {
		r, err := open(ctx, opts)
		if !errors.Is(err, ErrAdopted) { // else its log ended with a copy that came in whole
			return r, err
		}
	}
}

func open(ctx context.Context, opts Options) (_ *Replica, err error) {
	r := newCore(opts)
	defer func() {
		if err != nil {
			err = fmt.Errorf("open home %s in %s: %w", opts.Home, opts.Dir, errors.Join(err, r.abandon()))
		}
		if opts.Cluster == nil && (errors.Is(err, store.ErrDamaged) || errors.Is(err, raftlog.ErrDamaged)) {
			err = fmt.Errorf("%w; there is no other copy of this home: restore the whole data directory from a backup", err)
		}
	}()
	start := time.Now()
	snapshots, t, err := r.openCopy(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.startRaft(snapshots, t); err != nil {
		return nil, err
	}
	from := r.flushed.Index
	r.startServing()
	if err := r.Replica.open(ctx); err != nil {
		return nil, err
	}
	r.log.Info("home opened", "epoch", r.state.Epoch().String(), "applied", r.fsm.index.Load(),
		"replayed", r.fsm.index.Load()-from, "took", time.Since(start).Round(time.Millisecond))
	return r.Replica, nil
}

func newCore(opts Options) *core {
	r := &core{Replica: newReplica(opts), id: serverID(opts.Node, opts.Disk), contacts: newContacts(), handing: newTurn(),
		streams: map[*cluster.Stream]byte{}, checkpoints: checkpoints{mu: newTurn()}, followers: newFollowers(), abroad: abroad{standing: newStanding()}}
	r.role = r
	return r
}

// openCopy opens what is on the disk, after bringing it up to where the leader's
// log goes on from, if need be.
func (r *core) openCopy(ctx context.Context) (raft.SnapshotStore, tail, error) {
	snapshots, t, err := r.openFound()
	if err != nil {
		return nil, t, err
	}
	seat, err := r.takeSeat(ctx, t)
	if err != nil {
		return nil, t, err
	}
	if !seat.fetch {
		t.found = seat.found
		return snapshots, t, r.forgetIncoming()
	}
	if err := r.closeCopy(); err != nil {
		return nil, t, err
	}
	if err := r.fetch(ctx, t); err != nil {
		return nil, t, err
	}
	return r.openFiles()
}

// openFound opens what the last run left. What a group's copy has lost others
// have: that is noted in the tail, and not an error.
func (r *core) openFound() (snapshots raft.SnapshotStore, t tail, err error) {
	if err = r.recoverCopy(); err == nil {
		err = r.adopt()
	}
	if err == nil {
		snapshots, t, err = r.openFiles()
	}
	switch {
	case r.opts.Cluster == nil:
		return snapshots, t, err
	case errors.Is(err, raftlog.ErrDamaged):
		_ = r.closeCopy()
		return nil, tail{lost: err}, nil
	case errors.Is(err, store.ErrDamaged):
		_ = r.closeCopy() // says again what is wrong with it
		r.log.Error("the state of this copy is damaged: it is set aside and another is fetched", "error", err)
		if err := r.setAside(err); err != nil {
			return nil, t, err
		}
		return r.openFiles()
	}
	return snapshots, t, err
}

// openFiles opens store, log and snapshots, and checks that they belong
// together. A store that was set aside is not opened.
func (r *core) openFiles() (snapshots raft.SnapshotStore, t tail, err error) {
	if err := r.loadMarks(); err != nil {
		return nil, t, err
	}
	aside, err := r.isAside()
	if err != nil {
		return nil, t, err
	}
	if aside && r.opts.Cluster == nil {
		return nil, t, fmt.Errorf("its state was set aside (%s): %w", r.whyAside(), store.ErrDamaged)
	}
	if aside {
		r.state, r.flushed, t.torn = home.New(), store.Position{}, errors.New(r.whyAside())
	} else if err := r.openState(); err != nil {
		return nil, t, err
	}
	if err := r.openIntake(); err != nil {
		return nil, t, err
	}
	if snapshots, err = r.openLog(); err != nil {
		return nil, t, err
	}
	return snapshots, t, r.inspect(&t, snapshots)
}

// closeCopy closes what openFiles opened.
func (r *core) closeCopy() error {
	var errs []error
	if r.logs != nil {
		errs = append(errs, r.logs.Close())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	errs = append(errs, r.intake.close())
	r.logs, r.store = nil, nil
	return errors.Join(errs...)
}

// abandon closes what a failed Open had opened.
func (r *core) abandon() error {
	r.queue.close(ErrStopped)
	if r.up.Load() {
		return r.close()
	}
	r.stopServing()
	r.handBack(ErrStopped)
	if c, ok := r.transport.(raft.WithClose); ok { // raft did not start
		_ = c.Close()
	}
	return r.closeCopy()
}

// openState opens the store and loads the state it holds.
func (r *core) openState() (err error) {
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
	if known, _ := r.state.Incarnation(r.opts.Node); known >= r.self().Incarnation && r.opts.Cluster == nil && !r.elsewhere() {
		return fmt.Errorf("incarnation %d of node %s is not new, the home knows %d: "+
			"the node's data directory was restored or copied; give the node a new name, or restore all of its directory",
			r.self().Incarnation, r.opts.Node, known)
	}
	return nil
}

// openLog opens the log and the snapshots, with the guard before the log.
func (r *core) openLog() (raft.SnapshotStore, error) {
	fs := r.opts.FS
	logs, err := raftlog.Open(fs, fs.PathJoin(r.opts.Dir, "log"),
		raftlog.Options{SegmentBytes: r.opts.SegmentBytes, VerifySealed: r.opts.Cluster != nil, Logger: r.log})
	if err != nil {
		return nil, err
	}
	r.logs = logs
	watchdog := raftlog.NewWatchdog(logs, raftlog.WatchdogOptions{Observe: r.stats.fsync.observe, OnFatal: r.fail})
	r.guard = &guard{Watchdog: watchdog, fail: r.fail}
	r.cache = r.guard
	if r.opts.Cluster != nil {
		// What raft appends it reads again for each follower. The entries are shared,
		// and bounded like what is under way.
		if r.cache, err = raft.NewLogCache(logCache, r.guard); err != nil {
			return nil, err
		}
	}
	return raftlog.OpenSnapshots(fs, fs.PathJoin(r.opts.Dir, "snapshots"), r.log)
}

// tail is what Open learns of the copy before raft does.
type tail struct {
	term, last uint64    // of the last entry in log and snapshots
	commands   bool      // the log holds records
	time       home.Time // of the last record, if there is one
	torn       error     // the state is not to be used; the log is good
	lost       error     // the log lost something that others were told it holds
	found      bool      // this node is to found the group
}

// empty says that nothing was ever kept here.
func (t *tail) empty() bool { return t.last == 0 && t.torn == nil && t.lost == nil }

// holdings are what log, snapshots and store hold.
type holdings struct {
	applied, snap store.Position
	first, last   uint64 // of the log; last also of the snapshots
	term          uint64 // raft's
	fetched       uint64 // how far the store was when it was fetched
}

// inspect checks that log, snapshots and store belong together.
func (r *core) inspect(t *tail, snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	h := holdings{applied: r.flushed, fetched: r.fetchedTo()}
	if h.first, err = r.guard.FirstIndex(); err != nil {
		return fmt.Errorf("first index of the log: %w", err)
	}
	if h.last, err = r.guard.LastIndex(); err != nil {
		return fmt.Errorf("last index of the log: %w", err)
	}
	if h.term, err = r.guard.GetUint64(termKey); err != nil {
		return fmt.Errorf("raft's term: %w", err)
	}
	end := h.last
	if len(list) > 0 {
		h.snap = store.Position{Index: list[0].Index, Term: list[0].Term}
		h.last = max(h.last, h.snap.Index)
	}
	if t.last, t.term = h.last, h.snap.Term; end >= t.last && end > 0 {
		var l raft.Log
		if err := r.guard.GetLog(end, &l); err != nil {
			return fmt.Errorf("read entry %d of the log: %w", end, err)
		}
		t.term = l.Term
	}
	switch lost, torn := belong(h); {
	case lost != nil && r.opts.Cluster == nil:
		return lost
	case torn != nil && r.opts.Cluster == nil:
		return torn
	case lost != nil: // another copy has it all
		t.lost = lost
		return nil
	case torn != nil && t.torn == nil:
		t.torn = torn
	}
	if t.torn != nil {
		return nil
	}
	return r.inspectRecords(t, h.first, end)
}

// belong says whether a store, the newest snapshot, a log and raft's term are of
// one home at one time. Whatever raft was told is on disk must be in one of them.
// A store that was fetched is ahead of the log until that has caught up. lost: the
// log does not hold what others were told it holds. torn: the state is not whole,
// but the log is.
func belong(h holdings) (lost, torn error) {
	const restore = "it was restored or damaged in part; restore the whole folder, or remove all of it and let the node rejoin"
	switch seen := max(h.applied.Term, h.snap.Term); {
	case h.term < seen:
		return fmt.Errorf("the log knows of term %d, but store and snapshots are of term %d: its votes are lost: %s", h.term, seen, restore), nil
	case h.applied.Index > h.last && h.applied.Index > h.fetched:
		return fmt.Errorf("the store has applied index %d, but the log ends at %d: %s", h.applied.Index, h.last, restore), nil
	case h.applied.Index < h.snap.Index:
		return nil, fmt.Errorf("the store has applied index %d, but a snapshot says %d and the log may be gone up to there: %s",
			h.applied.Index, h.snap.Index, restore)
	case h.first > h.snap.Index+1:
		return nil, fmt.Errorf("the log begins at index %d, but the newest snapshot is of %d: %s", h.first, h.snap.Index, restore)
	}
	return nil, nil
}

// inspectRecords looks at the first and the last record of the log: whose they
// are, and when the last was written.
func (r *core) inspectRecords(t *tail, first, last uint64) error {
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
func (r *core) readRecord(index uint64) (*home.Record, error) {
	var l raft.Log
	if err := r.guard.GetLog(index, &l); err != nil {
		return nil, fmt.Errorf("read entry %d of the log: %w", index, err)
	}
	if !isRecord(&l) {
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

// startRaft starts raft on the copy that was opened.
func (r *core) startRaft(snapshots raft.SnapshotStore, t tail) (err error) {
	r.begin(r.state, r.flushed, max(r.state.Now(), t.time), t.last)
	r.flushedCopy = r.state.Position()
	r.tail.start(r.flushedCopy.Records, r.flushed.Index)
	r.merger = newMerger(r)
	conf := r.raftConfig()
	if r.opts.Cluster == nil {
		_, r.transport = raft.NewInmemTransport(raft.ServerAddress(r.id))
	} else {
		r.transport = newTransport(newStreams(r.opts.Cluster, r.protocol(RaftProtocol), r.id, r.restored), r)
	}
	if t.found {
		if err := r.bootstrap(raft.Server{ID: r.id, Address: raft.ServerAddress(r.id)}); err != nil {
			return err
		}
	}
	if r.raft, err = newRaft(conf, raftFSM{r}, r.cache, r.guard, snapshots, r.transport); err != nil {
		return err
	}
	if tr, ok := r.transport.(*transport); ok {
		tr.raft.Store(r.raft)
	}
	r.holds.Store(true)
	r.up.Store(true)
	r.guard.live.Store(true)
	members := r.servers()
	if r.opts.Cluster == nil && !votes(members, r.id) {
		return fmt.Errorf("the log's members are %v, and this node, %s, is not one: the folder is another node's, or this one was renamed",
			members, r.id)
	}
	if len(members) == 1 && votes(members, r.id) {
		return r.hurryElection()
	}
	return nil
}

func votes(members []raft.Server, id raft.ServerID) bool {
	return slices.ContainsFunc(members, func(s raft.Server) bool { return s.ID == id && s.Suffrage == raft.Voter })
}

// termKey is where raft keeps its current term.
var termKey = []byte("CurrentTerm")

// bootstrap makes this node the only voter of a new log. It does what raft's
// BootstrapCluster does, but a start that was cut short between the term and the
// entry is taken up again instead of being refused for ever.
func (r *core) bootstrap(self raft.Server) error {
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

func (r *core) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = r.id
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
func (r *core) hurryElection() error {
	conf := r.raft.ReloadableConfig()
	conf.HeartbeatTimeout = heartbeatTimeout
	if err := r.raft.ReloadConfig(conf); err != nil {
		return fmt.Errorf("set heartbeat timeout: %w", err)
	}
	return nil
}

// mayRegister says that the home exists as far as this node has applied it, or
// that it is this node's to create.
func (r *core) mayRegister() bool {
	if r.state.ID() != "" {
		return true
	}
	if !r.inOffice() {
		return false
	}
	voters := 0
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters < r.opts.Voters {
		r.wait(fmt.Sprintf("%d of %d core nodes are here: start the others, or set cluster.voters to how many there are", voters, r.opts.Voters))
		return false
	}
	return true
}
