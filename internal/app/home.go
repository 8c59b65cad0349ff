package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker"
	"causeway/internal/config"
	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/sibling"
	"causeway/internal/store"
	"causeway/internal/supervise"
	"causeway/link"
)

// ReplicaOptions are what a test may change of the home's replica.
type ReplicaOptions = replica.Options

// homeService runs this node's copy of a home. Each run opens it anew from the
// disk, as another incarnation; between two runs there is none, and connections
// that need one wait. It is the Home of broker and links.
type homeService struct {
	a  *App
	id home.ID

	// What serves it, fixed after New.
	house    *broker.House
	links    *link.Manager     // nil without links to regions
	siblings *sibling.Siblings // nil in a region of one node

	opened atomic.Pointer[replica.Replica] // while it is open
	live   atomic.Pointer[replica.Replica] // while it serves, or could
	ran    atomic.Bool
	shut   atomic.Int64 // when it was closed last, counted from the start of the node; 0: never

	lone     atomic.Bool                // the region began to host without the former host, and the shipping has not seen it
	hushed   atomic.Bool                // no node sends to devices, by the leader's word; of this run of the node
	draining atomic.Bool                // the leader takes no entry; the same
	astray   atomic.Pointer[home.Epoch] // of the host that said last that our copy went another way
	shipping shipping
	queues   queueAges
	formers  formers

	documents *documents
	objects   *objects
	loginUsers
	tokens   regionTokens
	progress atomic.Pointer[replica.Progress] // of this run
	cutOff   atomic.Bool                      // it could not be served here for isolatedAfter
	served   atomic.Bool                      // this node was ready since it was opened, or its region hosts it

	mu        sync.Mutex
	why       string    // why there is none; guarded by mu
	heardHost time.Time // when something came from the host last; zero: never; guarded by mu
}

func newHomeService(a *App, id home.ID) *homeService {
	h := &homeService{a: a, id: id, shipping: shipping{said: make(chan struct{}, 1)}, formers: formers{turn: newTurn()}}
	h.documents = &documents{h: h}
	h.objects = newObjects(h)
	h.progress.Store(&replica.Progress{})
	return h
}

// own says that it is the region's own home.
func (h *homeService) own() bool { return h == h.a.home }

// segmentBytes is the size of a file of the log, which takes its space at once:
// small enough for the disk of a factory's node.
const segmentBytes = 16 << 20

// A leaf runs on what stands in a cabinet: bodies of messages that stay in memory,
// and log that is kept until the next snapshot.
const (
	leafMemory = 32 << 20
	leafLog    = 16 << 20
)

var errNoHome = errors.New("the home is not open")

func (h *homeService) current() *replica.Replica { return h.live.Load() }

// services are the parts that serve the home.
func (h *homeService) services() []service {
	name := h.named
	return []service{
		{name("home"), h.run, true},
		{name("objects"), h.runObjects, true},
		{name("siblings"), h.runSiblings, h.siblings != nil},
		{name("isolation"), h.watchIsolation, h.siblings != nil || takeoverConfigured(h.a.cfg)},
		{"link port", h.a.runEndpoint, h.own() && h.a.shared()},
		{name("links"), h.runLinks, h.links != nil},
		{name("handover"), func(ctx context.Context) error { return h.a.roaming.run(ctx, h) }, h.a.roaming.linked() && !h.a.replicant()},
		{name("set aside"), h.watchRetired, takeoverConfigured(h.a.cfg) && !h.a.replicant()},
		{name("owed"), h.watchOwed, takeoverConfigured(h.a.cfg) && !h.a.replicant()},
		{name("shipping"), h.watchShipping, h.links != nil && takeoverConfigured(h.a.cfg)},
	}
}

// named is what a part that serves the home is called.
func (h *homeService) named(part string) string {
	if h.own() {
		return part
	}
	return part + " " + string(h.id)
}

// keep runs a part of the home's under supervision of its own. It is link.Options.Keep.
func (h *homeService) keep(ctx context.Context, part string, run func(context.Context) error) {
	h.a.keep(ctx, h.named(part), run)
}

// run opens and serves the home until ctx ends. A home that cannot be opened at
// the node's first start ends the node: the operator is looking. Later failures
// are repaired by opening it again.
func (h *homeService) run(ctx context.Context) error {
	err := h.serve(ctx)
	for errors.Is(err, replica.ErrAdopted) && ctx.Err() == nil { // another copy has come in; it is in place now
		err = h.serve(ctx)
	}
	h.progress.Store(&replica.Progress{})
	if err == nil {
		return nil
	}
	h.setWhy(err.Error())
	if !h.ran.Load() && !errors.Is(err, replica.ErrLost) && !errors.Is(err, replica.ErrBehind) {
		return &supervise.Fatal{Err: err}
	}
	return err
}

func (h *homeService) serve(ctx context.Context) (err error) {
	dir, run, err := h.a.dir.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.a.dir.close()) }()
	r, err := h.a.openCopy(ctx, dir, h.replicaOptions(run))
	if err != nil {
		return err
	}
	return h.runReplica(ctx, r)
}

// replicaOptions are those of this run of the home.
func (h *homeService) replicaOptions(run home.Incarnation) replica.Options {
	cfg := h.a.cfg
	progress := &replica.Progress{}
	h.progress.Store(progress)
	ro := replica.Options{Progress: progress, Home: h.id, Epoch: home.Epoch{Number: 1, Host: string(h.id)}, Node: home.NodeID(cfg.Node),
		Incarnation: run, Sink: sink{h}, Logger: h.a.log.With("component", "home"),
		OnFatal: func(err error) { h.leave(err) }, Voters: cfg.Cluster.Voters, Waiting: h.waiting}
	if h.a.cluster != nil {
		ro.Cluster = h.a.cluster
		ro.RaiseIncarnation = h.a.raise
		h.a.cluster.Refresh()
	}
	if takeoverConfigured(cfg) {
		ro.Lease, ro.Hush = h.leased, h.hushed.Load
		ro.Region, ro.RaiseIncarnation, ro.Known = cfg.Region, h.a.raise, h.a.knownRun
	}
	ro.MaxOpBytes = maxOpBytes(int(cfg.Limits.Packet))
	ro.QueueBytes = max(64<<20, 2*int64(ro.MaxOpBytes))
	ro.SegmentBytes = segmentBytes
	if cfg.Leaf {
		ro.MemoryBudget, ro.SnapshotBytes = leafMemory, leafLog
	}
	if h.a.opts.Wall != nil {
		ro.Wall = h.a.opts.Wall
	}
	if change := h.a.opts.Replica; change != nil {
		change(&ro)
	}
	return ro
}

// openCopy opens a home as the node's role has it: a core keeps it in the data
// directory, a replicant follows a core and keeps nothing.
func (a *App) openCopy(ctx context.Context, dir *store.Dir, ro replica.Options) (*replica.Replica, error) {
	if a.replicant() {
		return replica.Follow(ctx, ro)
	}
	folder := homeFolder(ro.Home)
	at, err := a.dir.home(folder)
	if err != nil {
		return nil, err
	}
	ro.FS, ro.Dir, ro.Disk = a.opts.FS, at, string(dir.DiskUUID())
	r, err := replica.Open(ctx, ro)
	if errors.Is(err, replica.ErrLost) {
		err = errors.Join(err, a.setAside(folder, err))
	}
	return r, err
}

// replicant says that this node has connections only.
func (a *App) replicant() bool { return a.cfg.Role == config.RoleReplicant }

// maxOpBytes is how large an operation may be. Whatever comes in one packet has
// to fit, since one that never fits would be proposed for ever: a SUBSCRIBE of
// one-letter filters grows most, to less than five times its packet.
func maxOpBytes(packet int) int { return max(16<<20, 5*packet) }

// runReplica serves the home. It stops after the broker and the links did, which
// are above it in the tree.
func (h *homeService) runReplica(ctx context.Context, r *replica.Replica) error {
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		ended <- group.Protect(func() error { return r.Run(running) })
		stop()
	}()
	h.opened.Store(r)
	defer h.opened.Store(nil)
	h.documents.change()
	h.objects.read() // before anybody is served
	h.a.follow()
	if !takeoverConfigured(h.a.cfg) { // else it may be for another region to serve, and is configured when it is ours
		if err := h.keepConfigured(running, r); err != nil {
			stop()
			return errors.Join(err, <-ended)
		}
	}
	h.ran.Store(true)
	// A connection of a former run has lost its session by now. It heard so, unless
	// the state was fetched: then nobody told.
	h.house.CloseAll()
	h.served.Store(false)
	h.enableDirectory(r)
	h.live.Store(r)
	h.setWhy("")
	var keeping sync.WaitGroup
	keep := func(part string, f func(context.Context, *replica.Replica)) {
		keeping.Go(func() {
			h.keep(running, part, func(ctx context.Context) error {
				f(ctx, r)
				return supervise.ErrDone
			})
		})
	}
	keep("office", h.watchOffice)
	keep("hosting", h.watchHosting)
	keep("heir", h.watchHeir)
	if h.links != nil {
		keep("rank of peers", h.rankPeers)
	}
	err := <-ended
	h.close()
	stop()
	keeping.Wait()
	return err
}

// keepConfigured waits until the home has a configuration: the leader's.
func (h *homeService) keepConfigured(ctx context.Context, r *replica.Replica) error {
	for {
		if r.Leads() {
			return h.configure(ctx, r)
		}
		if r.State().Config().Revision > 0 {
			return nil
		}
		h.setWhy("the home's leader has not configured it yet")
		if !wait(ctx, officeEvery) {
			return ctx.Err()
		}
	}
}

// watchOffice configures the home each time this node becomes its leader, or its
// region the host.
func (h *homeService) watchOffice(ctx context.Context, r *replica.Replica) {
	for r.WaitHosting(ctx, true) == nil && r.WaitLeads(ctx, true) == nil {
		if !r.Hosting() {
			continue
		}
		changed, ours, level := h.objects.next(), h.a.regionChanged(), r.State().Level()
		if err := h.configure(ctx, r); err != nil {
			if ctx.Err() == nil && !errors.Is(err, replica.ErrStandby) { // it has only begun to host
				h.a.log.Warn("configure the home", "error", err)
			}
			if !wait(ctx, officeEvery) {
				return
			}
			continue
		}
		if h.waitOut(ctx, r, level, changed, ours) != nil {
			return
		}
	}
}

// waitOut waits until this node does not lead the home any more, or its region does
// not host it, or its feature level is another one, or it may name standbys, or one of
// the channels is closed.
func (h *homeService) waitOut(ctx context.Context, r *replica.Replica, level uint32, changed, ours <-chan struct{}) error {
	either, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		_ = r.WaitHosting(either, false)
	}()
	go func() {
		defer stop()
		for level == r.State().Level() && !(h.adopting(r) && h.mayAdopt()) && !h.votersTurn(either, r) {
			select {
			case <-changed:
				return
			case <-ours:
				return
			case <-either.Done():
				return
			case <-time.After(levelEvery):
			}
		}
	}()
	if err := r.WaitLeads(either, false); either.Err() == nil {
		return err
	}
	return ctx.Err()
}

// levelEvery is how often the host looks whether its home's feature level was raised.
const levelEvery = time.Second

// handOver gives the leadership away at the beginning of a planned stop.
func (h *homeService) handOver() {
	if r := h.live.Load(); r != nil {
		r.HandOver()
	}
}

// setAside makes the disk count as wiped: the next run joins the region with an
// empty copy, as another disk.
func (a *App) setAside(folder string, why error) error {
	a.log.Error("this node's copy of the home is set aside, and the node rejoins as one with a new disk", "kept", folder+".aside", "reason", why)
	return a.dir.setAside(folder, why.Error())
}

func (h *homeService) waiting(why string) {
	h.setWhy(why)
	h.a.log.Info("the home is being opened", "home", string(h.id), "waits", why)
}

// leave makes the node say at once that it does not serve, and why.
func (h *homeService) leave(err error) {
	h.close()
	h.progress.Store(&replica.Progress{})
	h.setWhy(err.Error())
	if errors.Is(err, replica.ErrAdopted) {
		h.a.log.Info("the copy that came in takes the old one's place", "home", string(h.id))
		return
	}
	h.a.log.Error("the home stopped", "home", string(h.id), "reason", err)
}

// close lets nobody use the replica any more.
func (h *homeService) close() {
	if h.live.Swap(nil) != nil {
		h.shut.Store(int64(time.Since(h.a.started)))
	}
}

// shutFor is for how long it has not been open, in this life of the node.
func (h *homeService) shutFor() time.Duration {
	return time.Since(h.a.started) - time.Duration(h.shut.Load())
}

func (h *homeService) setWhy(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.why = why
}

// reason says why the home does not serve.
func (h *homeService) reason() string {
	if r := h.live.Load(); r != nil {
		if why := standsBy(r, h.a.cfg.Region); why != "" {
			return why
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why == "" {
		return "the home is being opened"
	}
	return h.why
}

func (h *homeService) check() health.Condition {
	if ok, _ := h.Ready(); ok {
		h.served.Store(true)
		return health.OK()
	}
	switch r := h.live.Load(); {
	case r != nil && !r.Hosting():
		return h.standing(r)
	case r != nil && h.held():
		return h.heldBack()
	case !h.own() && r == nil: // devices that need it are parked; the others are served
		return health.Condition{State: health.Ready, Reason: "home " + string(h.id) + ": " + h.reason()}
	}
	c := health.Condition{State: health.Starting, Reason: h.reason()}
	p := h.progress.Load().Read()
	switch r := h.live.Load(); {
	case r != nil && h.served.Load() && !r.Fresh() && (r.FreshWithin(pauseFor) || r.Hushed()):
		return health.OK()
	case r == nil && (p.From != "" || p.Applying):
		h.catchingUp(&c, p)
	case r == nil && h.ran.Load():
		// Not failed: the node mends this by itself, and who restarts processes
		// should leave it alone.
		c.Reason = "the home stopped: " + c.Reason
		c.Next = "remove the cause; the home is opened again by itself (causeway ctl services)"
	case r == nil:
	case h.a.cluster != nil && r.CatchingUp():
		_, c.Reason = r.Ready()
		h.catchingUp(&c, p)
	case h.served.Load() && !r.Fresh() && !h.leased(): // one that is founded waits for its first lease
		_, c.Reason = r.Ready()
		c.State, c.Next = health.Isolated, "look at the network to the other regions and witnesses: causeway ctl region status"
	case h.a.cluster != nil && !r.Fresh():
		_, c.Reason = r.Ready()
		c.State, c.Next = health.Isolated, "look at the other nodes and the network between them: causeway ctl cluster status"
	default:
		_, c.Reason = r.Ready()
	}
	return c
}

// pauseFor is for how long a node may not know what is committed and still counts
// as ready. An election takes half a second or so, and all nodes of the region wait
// for it: if they called themselves isolated at once, the load balancer would close
// the connections of all their devices. A home that was not served yet has nothing to
// pause: one that is founded with standbys waits for its first lease.
const pauseFor = 2 * time.Second

// catchingUp says how far this copy of the home is.
func (h *homeService) catchingUp(c *health.Condition, p replica.CatchUp) {
	c.State, c.Next = health.CatchingUp, "wait; causeway ctl status --watch shows the progress"
	c.Progress = &health.Progress{From: string(p.From), Fetched: p.Fetched, Total: p.Total, Behind: p.Behind}
	if p.Behind > 0 {
		c.Reason += fmt.Sprintf("; %d entries behind", p.Behind)
	}
}

// configure brings the home's limits, ack policies and peers to what is configured of the
// region: as operations, since apply reads no node's configuration. [A8] Of another region's
// home only what its objects say: the rest is as its own region has left it.
func (h *homeService) configure(ctx context.Context, r *replica.Replica) error {
	for r.State().ID() == "" { // not founded yet
		if !wait(ctx, officeEvery) || !r.Leads() {
			return ctx.Err()
		}
	}
	// A new home gets its feature level first: afterwards only an operator raises it.
	for end := time.Now().Add(raisedIn); !r.Raised() && time.Now().Before(end); {
		if !wait(ctx, officeEvery) || !r.Leads() {
			return ctx.Err()
		}
	}
	if r.State().Config().Revision > 0 && (h.a.home.objects.inForce().problem != "" || h.objects.inForce().problem != "") {
		return nil // the home keeps what it was told by who understood it
	}
	if err := h.configureTakeover(ctx, r); err != nil {
		return err
	}
	f := h.objects.inForce()
	cfg, shared := f.cfg, f.objects.Has("shared")
	want := configureOp(cfg)
	if !h.own() {
		if f.objects == nil {
			return nil
		}
		want = overridden(r.State().Config(), want, f.objects)
	}
	if have := r.State().Config(); have.Revision == 0 || have.Limits != want.Limits || !slices.Equal(have.Acks, want.Acks) || !sameResidency(have.Residency, want.Residency) {
		want.Revision = have.Revision + 1
		if err := proposeWait(ctx, r, want); err != nil {
			return err
		}
	}
	if op := sharedOp(cfg); (h.own() || shared) && !sameOp(r.State().Shared(), op) {
		if err := proposeWait(ctx, r, op); err != nil {
			return err
		}
	}
	if err := h.configureQuotas(ctx, r, cfg); err != nil {
		return err
	}
	for i := range cfg.Links {
		if !h.own() {
			break
		}
		if err := h.configureLink(ctx, r, &cfg.Links[i]); err != nil {
			return err
		}
	}
	return nil
}

// raisedIn is how long a new home waits for a node that was there as it was founded and is not heard of any more.
const raisedIn = 10 * time.Second

// configureQuotas enters what the home has to keep to of namespaces' quotas.
func (h *homeService) configureQuotas(ctx context.Context, r *replica.Replica, cfg *config.Config) error {
	op := &home.SetQuotas{}
	for _, n := range cfg.Namespaces {
		if n.Quota.Queued > 0 || n.Quota.Retained > 0 {
			op.Quotas = append(op.Quotas, home.NamespaceQuota{Namespace: n.Name, Queued: uint64(n.Quota.Queued), Retained: uint64(n.Quota.Retained)})
		}
	}
	if !h.own() && !h.objects.inForce().objects.Has("namespaces") || sameOp(r.State().Quotas(), op) {
		return nil
	}
	if h.tooOld(r, op, "the quotas of namespaces") {
		return nil
	}
	return proposeWait(ctx, r, op)
}

// tooOld says that the home's feature level does not have an operation yet: what it would configure
// waits for an operator to raise it, and everything else goes on.
func (h *homeService) tooOld(r *replica.Replica, op home.Op, what string) bool {
	have, need := r.State().Level(), home.LevelOf(op.Kind())
	if have >= need {
		return false
	}
	h.a.log.Warn(what+" are not in force yet", "home", string(h.id), "level", have, "needs", need, "fix", "causeway ctl upgrade finalize, once all nodes and standbys run this version")
	return true
}

// overridden is the configuration in force with the sections that objects have.
func overridden(have, want *home.Configure, o *config.Objects) *home.Configure {
	next := *have
	if o.Has("limits") {
		next.Limits = want.Limits
	}
	if o.Has("ack") {
		next.Acks = want.Acks
	}
	if o.Has("residency") {
		next.Residency = want.Residency
	}
	return &next
}

func (h *homeService) configureLink(ctx context.Context, r *replica.Replica, l *config.Link) error {
	op := setPeerOp(l)
	have := r.State().LinkPolicy(op.Peer)
	if !(have != nil && sameOp(&have.Base, op)) && !(l.IsForeign() && len(l.Out) == 0) {
		if err := proposeWait(ctx, r, op); err != nil {
			return err
		}
	}
	if l.IsForeign() {
		return h.foreignInterest(ctx, r, l)
	}
	return nil
}

func sameResidency(a, b []home.Residency) bool {
	return slices.EqualFunc(a, b, func(x, y home.Residency) bool {
		return x.Namespace == y.Namespace && x.Filter == y.Filter && slices.Equal(x.Regions, y.Regions)
	})
}

func sameOp(a, b home.Op) bool {
	return bytes.Equal(home.AppendOp(nil, a), home.AppendOp(nil, b))
}

// proposeWait proposes and waits for the outcome.
func proposeWait(ctx context.Context, r *replica.Replica, op home.Op) error {
	_, err := outcomeOf(ctx, r, op)
	return err
}

func outcomeOf(ctx context.Context, r *replica.Replica, op home.Op) (home.Outcome, error) {
	type result struct {
		o   home.Outcome
		err error
	}
	done := make(chan result, 1)
	for {
		err := r.Propose(op, func(o home.Outcome, err error) { done <- result{o, err} })
		if err == nil {
			break
		}
		if !errors.Is(err, replica.ErrFull) {
			return home.Outcome{}, err
		}
		if err := r.Room(ctx); err != nil {
			return home.Outcome{}, err
		}
	}
	select {
	case res := <-done:
		return res.o, res.err
	case <-ctx.Done():
		return home.Outcome{}, ctx.Err()
	}
}

func configureOp(cfg *config.Config) *home.Configure {
	l := &cfg.Limits
	op := &home.Configure{Limits: home.Limits{SessionExpiryMax: uint32(min(l.SessionExpiryMax/time.Second, 0xFFFFFFFF)), QueueMessages: uint32(l.QueueMessages),
		QueueBytes: uint64(l.QueueBytes), Subscriptions: uint32(l.Subscriptions), WillGrace: uint32((l.WillGrace + time.Second - 1) / time.Second)}}
	for _, r := range cfg.Ack {
		p := home.PolicyRegion
		switch r.Policy {
		case config.AckMemory:
			p = home.PolicyMemory
		case config.AckStandby:
			p = home.PolicyStandby
		}
		op.Acks = append(op.Acks, home.AckPolicy{Filter: r.Filter, Policy: p})
	}
	for _, r := range cfg.Residency {
		op.Residency = append(op.Residency, home.Residency{Namespace: r.Namespace, Filter: r.Filter, Regions: r.Regions})
	}
	return op
}

func sharedOp(cfg *config.Config) *home.SetShared {
	op := &home.SetShared{}
	for _, g := range cfg.Shared {
		out := home.GlobalGroup{Namespace: g.Namespace, Group: g.Group}
		for _, r := range g.Regions {
			out.Regions = append(out.Regions, home.ID(r))
		}
		op.Groups = append(op.Groups, out)
	}
	return op
}

func setPeerOp(l *config.Link) *home.SetPeer {
	op := &home.SetPeer{Peer: home.ID(l.Peer), In: orAll(l.In), Out: orAll(l.Out), Never: l.Never, InPrefix: l.InPrefix, QoSMax: byte(l.QoSMax),
		Rate: uint64(l.Rate), Retained: l.Retained, Refuse: l.Spool.AtLimit == config.SpoolRefuse, SpoolBytes: uint64(l.Spool.Bytes), SpoolAge: l.Spool.Age}
	for _, c := range l.Spool.Classes {
		op.Classes = append(op.Classes, home.Class{Name: c.Name, Filters: c.Filters})
	}
	return op
}

// orAll drops a list that lets everything through.
func orAll(filters []string) []string {
	if slices.Equal(filters, []string{"#"}) {
		return nil
	}
	return filters
}

// The Home of broker and links.

// Propose proposes to the home that is open now.
func (h *homeService) Propose(op home.Op, done func(home.Outcome, error)) error {
	if r := h.live.Load(); r != nil {
		return r.Propose(op, done)
	}
	return errNoHome
}

// Room waits until there is room.
func (h *homeService) Room(ctx context.Context) error {
	r := h.live.Load()
	switch {
	case r == nil:
		return errNoHome
	case !r.Hosting():
		return errNotHosted
	}
	return r.Room(ctx)
}

// AwaitShipped waits for the standby, if the home has one.
func (h *homeService) AwaitShipped(record uint64, done func()) {
	if len(h.a.cfg.Hosts(string(h.id))) == 1 {
		done()
	} else if r := h.live.Load(); r != nil {
		r.AwaitShipped(record, done)
	}
}

// nothing is what is asked while no home is open.
var nothing = home.New()

// Owes implements broker.Home.
func (h *homeService) Owes() bool { return h.State().Level() >= home.LevelOf(home.KindOwe) }

// State is for queries.
func (h *homeService) State() *home.State {
	if r := h.live.Load(); r != nil {
		return r.State()
	}
	return nothing
}

// Body reads an evicted message.
func (h *homeService) Body(seq home.Seq) (home.Message, error) {
	if r := h.live.Load(); r != nil {
		return r.Body(seq)
	}
	return home.Message{}, errNoHome
}

// SpoolRun reads a run of a spool.
func (h *homeService) SpoolRun(key []byte) ([]home.Spooled, error) {
	if r := h.live.Load(); r != nil {
		return r.SpoolRun(key)
	}
	return nil, errNoHome
}

// Queue reads a session's queue.
func (h *homeService) Queue(k home.SessionKey, e home.SessionEpoch, after uint64, max int, dst []home.Queued) []home.Queued {
	return h.State().Queue(k, e, after, max, dst)
}

// Match says who wants a topic.
func (h *homeService) Match(ns, topic string, dst []*home.Target) []*home.Target {
	return h.State().Match(ns, topic, dst)
}

// PolicyOf is the ack policy of a topic.
func (h *homeService) PolicyOf(topic string) home.Policy { return h.State().PolicyOf(topic) }

// SessionEpoch is the highest session epoch given, as far as this node knows.
func (h *homeService) SessionEpoch() home.SessionEpoch { return h.State().SessionEpoch() }

// Now estimates home time.
func (h *homeService) Now() home.Time {
	if r := h.live.Load(); r != nil {
		return r.Now()
	}
	return 0
}

// Owner is this run of the node.
func (h *homeService) Owner() home.Owner {
	if r := h.live.Load(); r != nil {
		return r.Owner()
	}
	return home.Owner{}
}

// Ready says whether the home serves.
func (h *homeService) Ready() (bool, string) {
	r := h.live.Load()
	if r == nil || !r.Hosting() {
		return false, h.reason()
	}
	if r.State().Config().Revision == 0 {
		return false, "the home's leader has not configured it yet"
	}
	return r.Ready()
}

// Fresh says whether this node may speak for its sessions.
func (h *homeService) Fresh() bool {
	r := h.live.Load()
	return r != nil && r.Hosting() && r.Fresh()
}
