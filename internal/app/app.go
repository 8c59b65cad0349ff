package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/broker"
	"causeway/internal/admin"
	"causeway/internal/audit"
	"causeway/internal/cluster"
	"causeway/internal/config"
	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/home"
	"causeway/internal/readiness"
	"causeway/internal/replica"
	"causeway/internal/store"
	"causeway/internal/supervise"
	"causeway/internal/takeover/agent"
	"causeway/internal/trace"
	"causeway/link"
	"causeway/link/foreign"
)

// Options of a node.
type Options struct {
	Config  *config.Config
	Sources *config.Sources // where each value came from; nil is fine
	Build   admin.Build
	Logger  *slog.Logger // default slog.Default()
	// Load reads the configuration again, for Reload; nil: only files it names are.
	Load     func() (*config.Config, *config.Sources, error)
	LogLevel *slog.LevelVar // of Logger; nil: it does not change

	// For tests, which bring a disk and a network of their own.

	FS           store.FS                       // default the real one
	ListenLinks  func() (net.PacketConn, error) // default UDP at link.listen; links then have no TCP
	Listeners    map[string]net.Listener        // by the name of the device listener
	LinkIdentity link.Identity                  // default from identity
	DialForeign  foreign.Dialer                 // default TCP
	NodeIdentity cluster.Identity               // default from identity
	Cluster      cluster.Network                // default the real one
	NoAdmin      bool                           // no socket, no ports
	Replica      func(*ReplicaOptions)          // sizes
	LookTime     time.Duration                  // of one look at a spool; default 5 s
	Backoff      supervise.Backoff              // of services that fail
	// Part stands for a service, or a part of one, before it is run.
	Part func(name string, run supervise.Func) supervise.Func
	Wall func() time.Time // the node's clock on the wall; default time.Now
	Pace float64          // how fast leases and promises count; default 1
}

// App is a node.
type App struct {
	// fixed after New
	opts     Options
	cfg      *config.Config
	log      *slog.Logger
	health   *health.Node
	metrics  *admin.Metrics
	tree     *supervise.Tree
	admin    *admin.Server
	audit    *audit.Log // nil without an admin API
	ready    *readiness.Registry
	events   *admin.Events // what parts of the node tell operators who listen
	broker   *broker.Server
	endpoint *link.Endpoint   // nil without links to regions
	foreign  *foreign.Manager // nil without links to foreign brokers
	cluster  *cluster.Cluster // nil in a region of one node
	certs    *identities
	auth     *broker.Auth
	dir      *dataDir
	started  time.Time

	home      *homeService   // the region's own
	homes     []*homeService // all that it has a copy of; its own is the first
	documents *documents     // of its own
	where     *where
	roaming   *roaming
	guard     guard
	followed  followed
	tried     tried                          // owned by runRollout
	file      atomic.Pointer[config.Config]  // what the node file says now
	sources   atomic.Pointer[config.Sources] // of file
	reloading sync.Mutex

	backups *backups

	// For homes that other regions may take over; nil while none is.
	book       *book
	votes      *agent.Votes
	deciding   *deciding
	evacuating *evacuating
	watching   *watching
	traces     *trace.Book
	aside      aside // nil: nothing is ever set aside
	assembly   assembly
}

// New builds a node from its configuration. It reads files and binds the device
// listeners and the admin socket, so that what cannot work is said at once;
// nothing runs yet.
func New(o Options) (_ *App, err error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.FS == nil {
		o.FS = store.DiskFS()
	}
	if o.Sources == nil {
		o.Sources = &config.Sources{}
	}
	a := &App{opts: o, cfg: o.Config, log: o.Logger.With("region", o.Config.Region, "node", o.Config.Node), started: time.Now()}
	a.file.Store(o.Config)
	a.sources.Store(o.Sources)
	a.health = health.New(a.log)
	a.metrics = admin.NewMetrics(o.Build)
	a.dir = &dataDir{a: a}
	a.home = newHomeService(a, home.ID(o.Config.Region))
	a.homes, a.documents = []*homeService{a.home}, a.home.documents
	for _, region := range o.Config.StandbyOf() {
		a.homes = append(a.homes, newHomeService(a, home.ID(region)))
	}
	for _, h := range a.homes { // before any other part says that it is well
		a.health.Register(h.named("home"), h.check)
	}
	a.where = &where{a: a}
	a.roaming = newRoaming(a)
	a.evacuating = newEvacuating(a)
	a.backups = newBackups(a)
	a.watching = newWatching(a)
	a.traces = &trace.Book{}
	if takeoverConfigured(o.Config) && !a.replicant() {
		a.book = &book{a: a, turn: newTurn()}
	}
	a.events = &admin.Events{}
	a.newReadiness()
	a.tree = supervise.New(supervise.Options{Logger: a.log, Backoff: o.Backoff, StopTimeout: 30 * time.Second})
	for _, part := range []func() error{a.newIdentities, a.newCluster, a.newAgent, a.newLinks, a.newForeign, a.newBroker, a.newAdmin, a.supervise} {
		if err := part(); err != nil {
			a.release()
			return nil, err
		}
	}
	return a, nil
}

// release closes what New bound when it could not finish.
func (a *App) release() {
	if a.admin != nil {
		_ = a.admin.Close()
	}
	if a.cluster != nil {
		_ = a.cluster.Close()
	}
	if a.broker != nil {
		// A server that is asked to stop before it runs only closes its listeners.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.broker.Run(ended)
	}
}

// service is a part that runs under supervision.
type service struct {
	name string
	run  supervise.Func
	on   bool
}

func (a *App) supervise() error {
	services := []service{
		{"health", a.health.Run, true},
		{"admin", a.runAdmin, a.admin != nil},
		{"readiness", a.ready.Run, a.admin != nil},
		{"certificates", a.certs.watch, a.certs != nil},
		{"revocation lists", a.certs.work, a.certs != nil},
		{"cluster", a.runCluster, a.cluster != nil},
		{"backups", a.backups.run, !a.replicant()},
	}
	for _, h := range a.homes {
		services = append(services, h.services()...)
	}
	if a.book != nil {
		services = append(services, service{"votes", a.book.run, true}, service{"lead", a.followLead, a.cluster != nil},
			service{"takeover", a.runAgent, true})
	}
	services = append(services,
		service{"rollout", a.runRollout, true},
		service{"disk", a.watchDisk, len(a.cfg.Links) > 0 && !a.replicant()},
		service{"foreign links", a.runForeign, a.foreign != nil},
		service{"broker", a.broker.Run, true},
		service{"devices", a.watching.work, true},
		service{"admission", a.followAdmission, true},
		service{"evacuation", a.evacuating.work, true})
	for _, s := range services {
		if !s.on {
			continue
		}
		if err := a.tree.Add(s.name, a.part(s.name, s.run)); err != nil {
			return err
		}
	}
	return nil
}

// Run runs the node until ctx ends, then stops it gracefully. An error means
// that the node could not go on: it should be started again by who runs it.
func (a *App) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var announcing sync.WaitGroup
	announcing.Go(func() {
		select {
		case <-ctx.Done():
			a.announceStop(running)
			stop()
		case <-running.Done():
		}
	})
	defer announcing.Wait()
	defer stop()
	return a.tree.Run(running)
}

// announceStop says that the node is going to stop while it still serves as ever: load balancers send nobody new, and
// another node leads.
func (a *App) announceStop(ctx context.Context) {
	a.health.Stop("asked to stop")
	var leading sync.WaitGroup
	for _, h := range a.homes {
		leading.Go(func() { a.contain("home", h.handOver) })
	}
	wait(ctx, a.nodeConfig().StopNotice)
	leading.Wait()
}

func (a *App) runAdmin(ctx context.Context) error {
	return errors.Join(a.admin.Run(ctx), a.audit.Close())
}

// nodeConfig is what the node file says now, as far as it could be taken over without a restart.
func (a *App) nodeConfig() *config.Config { return a.file.Load() }

// Ready says whether the node serves devices, and if not, why.
func (a *App) Ready() (bool, string) {
	r := a.health.Report()
	return r.State == health.Ready, r.Reason
}

// Addr is where a device listener listens, or nil.
func (a *App) Addr(listener string) net.Addr { return a.broker.Addr(listener) }

// Broker is the node's edge, for tests that bring connections of their own.
func (a *App) Broker() *broker.Server { return a.broker }

// Links are the links of the region's own home, nil without any.
func (a *App) Links() *link.Manager { return a.home.links }

// State is the region's own home, nil while it is not open.
func (a *App) State() *home.State {
	if r := a.home.current(); r != nil {
		return r.State()
	}
	return nil
}

// Replica is this node's copy of the home, nil while it is not open.
func (a *App) Replica() *replica.Replica { return a.home.current() }

// Disk is the UUID of the data directory, empty while it is not open.
func (a *App) Disk() string {
	s, err := a.dir.self()
	if err != nil {
		return ""
	}
	return s.Disk
}

func (a *App) newBroker() (err error) {
	a.auth, err = broker.NewAuth(broker.AuthOptions{Home: a.home.id, Regional: true, PasswordFile: a.cfg.Auth.PasswordFile, ACLFile: a.cfg.Auth.ACLFile,
		CertUsername: broker.CertName(a.cfg.Auth.Cert.Username), CertClientID: broker.CertName(a.cfg.Auth.Cert.ClientID), BindClientID: a.cfg.Auth.Cert.BindClientID})
	if err != nil {
		return err
	}
	l := &a.cfg.Limits
	o := broker.Options{Where: a.where, Claims: a.roaming, Gate: a.watching, Watcher: a.watching, Trace: a.traces, Panicked: func(p *group.Panic) { a.tree.Crashed("connections", p) }, Authenticator: a.auth, Logger: a.log.With("component", "broker"),
		PacketMax: int(l.Packet), ReceiveMaximum: l.ReceiveMaximum, Inflight: l.Inflight, TopicAliasMax: l.TopicAliasMax,
		KeepAliveMax: l.KeepaliveMax, AckLatency: a.ackLatency(), ConnectStage: a.connectStage()}
	if l.TopicAliasMax == 0 {
		o.TopicAliasMax = -1
	}
	for _, h := range a.homes {
		o.Homes = append(o.Homes, h.brokerOptions())
	}
	for i := range a.cfg.Listeners {
		bl, err := a.listener(&a.cfg.Listeners[i])
		if err != nil {
			return err
		}
		o.Listeners = append(o.Listeners, bl)
	}
	if a.broker, err = broker.New(o); err != nil {
		return err
	}
	a.broker.SetAdmission(float64(a.cfg.Takeover.Admission)) // always: a fleet also comes before a promotion, or without one
	for _, h := range a.homes {
		h.house = a.broker.House(h.id)
	}
	return a.broker.Open()
}

// brokerOptions are what the broker has to know of the home.
func (h *homeService) brokerOptions() broker.HomeOptions {
	o := broker.HomeOptions{ID: h.id, Home: h}
	if h.links != nil || h.foreign() != nil || h.siblings != nil { // the links may be another node's
		o.Forwarder = forwarder{h}
	}
	if h.siblings != nil {
		o.Siblings = h.siblings
	}
	return o
}

func (a *App) listener(l *config.Listener) (broker.Listener, error) {
	bl := broker.Listener{Name: l.Name, Transport: broker.Transport(l.Type), Address: l.Listen, Net: a.opts.Listeners[l.Name],
		Namespace: l.Namespace, Path: l.Path, MaxConnections: l.MaxConnections, ConnectTimeout: l.ConnectTimeout,
		ConnectRate: float64(l.ConnectRate), Proxy: l.ProxyProtocol == config.ProxyV2, ServerReference: l.ServerReference}
	for v, name := range protocols {
		if slices.Contains(l.Versions, name) {
			bl.Versions = append(bl.Versions, v)
		}
	}
	for _, m := range l.Auth {
		bl.Methods = append(bl.Methods, broker.Method(m))
	}
	if l.Type.Secure() {
		dev, err := a.certs.device(l)
		if err != nil {
			return bl, fmt.Errorf("listener %q: %w", l.Name, err)
		}
		bl.TLS = dev
	}
	return bl, nil
}

// ackLatency makes the observers once: a lookup a PUBACK would cost more than
// the observation.
func (a *App) ackLatency() func(home.Policy, byte, time.Duration) {
	var by [4][3]admin.Observe
	for _, p := range []home.Policy{home.PolicyRegion, home.PolicyMemory, home.PolicyStandby} {
		for q := range byte(3) {
			by[p][q] = a.metrics.PublishAck(policyName(p), q)
		}
	}
	return func(p home.Policy, q byte, d time.Duration) {
		if int(p) < len(by) && q < 3 && by[p][q] != nil {
			by[p][q](d)
		}
	}
}

// connectStage makes the observers once, as ackLatency does.
func (a *App) connectStage() func(broker.Stage, time.Duration) {
	var by [broker.Stages]admin.Observe
	for i := range by {
		by[i] = a.metrics.ConnectStage(broker.Stage(i).String())
	}
	return func(s broker.Stage, d time.Duration) { by[s](d) }
}

func policyName(p home.Policy) string {
	switch p {
	case home.PolicyMemory:
		return "memory"
	case home.PolicyStandby:
		return "standby"
	}
	return "region"
}

// canaryEvery is how often a link is tried from end to end: several times before an
// operator is called, and seldom enough that an idle region stays idle.
const canaryEvery = 2 * time.Second

func (a *App) newLinks() (err error) {
	if len(a.cfg.RegionLinks()) == 0 || a.replicant() { // the node that leads has the links
		return nil
	}
	if a.endpoint, err = a.newEndpoint(); err != nil {
		return err
	}
	for _, h := range a.homes {
		if h.links, err = link.New(a.endpoint, h.linkOptions()); err != nil {
			return err
		}
	}
	return nil
}

// newEndpoint makes what the tunnels of all homes begin and end at.
func (a *App) newEndpoint() (_ *link.Endpoint, err error) {
	o := link.EndpointOptions{Region: a.cfg.Region, Leaf: a.cfg.Leaf, Software: a.opts.Build.Version, Identity: a.opts.LinkIdentity,
		Listen: a.opts.ListenLinks, Logger: a.log.With("component", "link"), Relay: relayRules(a.cfg.Link.Relay),
		Hosts: a.hostsOf, Addresses: a.addressesOf}
	if o.Identity == nil {
		o.Identity = a.certs
	}
	if o.Listen == nil {
		o.Listen = a.listenLinks
		if a.cfg.Link.ListenTCP != "" {
			o.ListenTCP = a.listenLinksTCP
		}
	}
	if o.ResetKey, err = a.certs.resetKey(); err != nil {
		return nil, err
	}
	return link.NewEndpoint(o)
}

func (a *App) listenLinks() (net.PacketConn, error) {
	at := a.cfg.Link.Listen
	if at == "" {
		at = ":0" // only to dial from
	}
	addr, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		return nil, fmt.Errorf("link.listen %q: %w; use host:port", at, err)
	}
	c, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("link.listen %q: %w; end what uses that UDP port, or choose another", at, err)
	}
	return c, nil
}

func (a *App) listenLinksTCP() (net.Listener, error) {
	at := a.cfg.Link.ListenTCP
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("link.listen_tcp %q: %w; end what uses that TCP port, choose another, or set it to \"\"", at, err)
	}
	return l, nil
}

// local gives what links bring to the broker, which is made after the links.
type local struct{ h *homeService }

func (l local) DeliverFromPeer(m *home.Message, c home.Claim) { l.h.house.DeliverFromPeer(m, c) }
