package link

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// Manager runs the links of a home copy at a node. Forward, Spooled and Wanted never
// block and may be called at any time, also before Run.
type Manager struct {
	ep       *Endpoint
	id       home.ID
	o        Options // fixed after New, but for Peers
	instance uint64  // of this Manager, told to peers

	running atomic.Bool
	peers   atomic.Pointer[map[linkKey]*peer] // replaced, never changed
	changed chan struct{}                     // peers was replaced

	mu         sync.Mutex // guards what peers is made of
	configured []Peer
	sources    map[linkKey]bool // fenced copies of peers' homes that may have something for us
	standbys   []string         // as they were asked for last
	role       Role             // likewise

	shipping chan struct{} // something happened to a standby
	shipMu   sync.Mutex
	trail    trail  // guarded by shipMu
	counted  string // the standby that counts; likewise
}

// linkKey names what a Manager keeps up: a link to the host of another home, wherever
// that is; what a fenced copy at a region still has; shipping to a standby at a region,
// or from our host, wherever that is; calls with a region.
type linkKey struct {
	purpose wire.Purpose
	id      home.ID
	region  string
}

// logger names the link in the log: one that is not with the host of another home says
// what it is for.
func (k linkKey) logger(m *Manager, cfg *Peer) *slog.Logger {
	switch {
	case k.purpose == wire.PurposeLink:
		return m.o.Logger.With("peer", cfg.name())
	case k.region == "":
		return m.o.Logger.With("purpose", k.purpose, "home", k.id)
	}
	return m.o.Logger.With("peer", k.region, "purpose", k.purpose, "home", k.id)
}

// part is what the link is called among the parts of the node.
func (k linkKey) part() string {
	switch {
	case k.purpose == wire.PurposeLink:
		return "link " + string(k.id)
	case k.purpose == wire.PurposeCalls:
		return "calls " + k.region
	case k.purpose == wire.PurposeDrain:
		return "drain of " + k.region
	case k.region == "":
		return "shipping from the host"
	}
	return "shipping to " + k.region
}

// shippedTo lists the regions of which there are links for shipping: to the standbys if
// our copy hosts, "" for the host if it stands by.
func (m *Manager) shippedTo() []string {
	switch m.role {
	case RoleHost:
		return slices.DeleteFunc(slices.Clone(m.standbys), func(r string) bool { return r == m.ep.o.Region })
	case RoleStandby:
		return []string{""}
	}
	return nil
}

func keyOf(p *Peer) linkKey {
	if p.Calls {
		return linkKey{purpose: wire.PurposeCalls, region: p.Region}
	}
	return linkTo(p.ID)
}

func linkTo(id home.ID) linkKey { return linkKey{purpose: wire.PurposeLink, id: id} }

// New returns a Manager for the links in o. It opens nothing before Run.
func New(e *Endpoint, o Options) (*Manager, error) {
	if o.ID == "" {
		o.ID = home.ID(e.o.Region)
	}
	if err := o.validate(e.o.Region); err != nil {
		return nil, err
	}
	return newManager(e, o)
}

func newManager(e *Endpoint, o Options) (*Manager, error) {
	o = o.withDefaults()
	m := &Manager{ep: e, id: o.ID, o: o, instance: rand.Uint64(), changed: make(chan struct{}, 1), shipping: make(chan struct{}, 1), sources: map[linkKey]bool{}}
	m.peers.Store(&map[linkKey]*peer{})
	if err := m.Reconfigure(o.Peers); err != nil {
		return nil, err
	}
	e.add(m)
	return m, nil
}

// Close makes the Endpoint forget the Manager, which does not run: its home has no copy
// at this node any more.
func (m *Manager) Close() { m.ep.drop(m) }

// Reconfigure replaces the set of links. Links that stay keep their tunnel, and
// use a changed policy from now on; their spools are not touched.
func (m *Manager) Reconfigure(peers []Peer) error {
	if err := validatePeers(m.ep.o.Region, m.id, peers); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configured = slices.Clone(peers)
	m.arrange()
	return nil
}

// arrange makes peers what it should be. It is called with mu held.
func (m *Manager) arrange() {
	old := *m.peers.Load()
	next := make(map[linkKey]*peer, len(m.configured))
	keep := func(k linkKey, cfg Peer) {
		p := old[k]
		if p == nil || p.config().region() != cfg.region() {
			p = newPeer(m, k, cfg)
		}
		p.configure(cfg)
		next[k] = p
	}
	for _, cfg := range m.configured {
		keep(keyOf(&cfg), cfg)
	}
	for k := range m.sources {
		if link := next[linkTo(k.id)]; link != nil {
			keep(k, Peer{ID: k.id, Region: k.region, Compress: link.config().Compress})
		}
	}
	for _, region := range m.shippedTo() {
		keep(linkKey{wire.PurposeShip, m.id, region}, Peer{ID: m.id, Region: region, Compress: wire.CodecZstd})
	}
	m.peers.Store(&next)
	group.Wake(m.changed)
}

// configuration is what Reconfigure was given last. It is not changed.
func (m *Manager) configuration() []Peer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.configured
}

// Run serves the links until ctx ends, which is not an error, on the sockets of the
// Endpoint, which runs beside it. It may be called again after it returned.
func (m *Manager) Run(ctx context.Context) error {
	m.running.Store(true)
	defer m.running.Store(false)
	m.look()
	var shipping sync.WaitGroup
	if m.o.Source != nil {
		shipping.Go(func() { m.o.Keep(ctx, "shipping choice", m.runShipping) })
	}
	m.runPeers(ctx)
	shipping.Wait()
	return nil
}

// RunWithEndpoint runs the Manager and its Endpoint, for a node of one home: tunnels end
// before the sockets do. It returns when ctx ends, which is not an error, or when the
// sockets fail.
func (m *Manager) RunWithEndpoint(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sockets, closeSockets := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		err := m.ep.Run(sockets)
		cancel() // they failed, or nothing is left to do
		ended <- err
	}()
	err := m.Run(ctx)
	closeSockets()
	return errors.Join(err, <-ended)
}

// Endpoint is what the Manager's tunnels begin and end at.
func (m *Manager) Endpoint() *Endpoint { return m.ep }

// rolePoll is how often a Manager looks what its copy is now.
const rolePoll = 100 * time.Millisecond

// runPeers keeps one running peer for each one there should be.
func (m *Manager) runPeers(ctx context.Context) {
	running := map[*peer]context.CancelFunc{}
	var all sync.WaitGroup
	defer all.Wait()
	poll := time.NewTicker(rolePoll)
	defer poll.Stop()
	for {
		want := map[*peer]bool{}
		for _, p := range *m.peers.Load() {
			want[p] = true
			if running[p] != nil {
				continue
			}
			peerCtx, cancel := context.WithCancel(ctx)
			running[p] = cancel
			all.Go(func() { m.o.Keep(peerCtx, p.key.part(), p.run) })
		}
		for p, cancel := range running {
			if !want[p] {
				cancel()
				delete(running, p)
			}
		}
		select {
		case <-m.changed:
		case <-poll.C:
			m.look()
		case <-ctx.Done():
			for _, cancel := range running {
				cancel()
			}
			return
		}
	}
}

// look rearranges the links when our copy has become something else, or has other
// standbys.
func (m *Manager) look() {
	role, standbys := m.o.Role(), m.o.Standbys()
	m.mu.Lock()
	defer m.mu.Unlock()
	if role == m.role && slices.Equal(standbys, m.standbys) {
		return
	}
	m.role, m.standbys = role, slices.Clone(standbys)
	if role != RoleHost {
		clear(m.sources)
	}
	m.arrange()
}

// Spooled says that a peer's spool grew: part of home.Sink.
func (m *Manager) Spooled(id home.ID) {
	if p := (*m.peers.Load())[linkTo(id)]; p != nil {
		p.wakeSenders()
	}
}

// Wanted says that what this home wants of its peers changed: part of home.Sink.
func (m *Manager) Wanted() {
	for _, p := range *m.peers.Load() {
		group.Wake(p.wanted)
	}
}

// Forward sends a message that is in no log to a peer: at most once, in the
// order of calls. It never blocks; a message that cannot go at once is dropped
// and counted. Neither the message nor the claim may be changed afterwards.
func (m *Manager) Forward(id home.ID, msg *home.Message, c home.Claim) {
	if p := (*m.peers.Load())[linkTo(id)]; p != nil {
		p.forward(liveItem{msg, c})
	}
}

// Status describes the links with other homes, by name.
func (m *Manager) Status() []Status {
	return m.statusOf(wire.PurposeLink)
}

// Drains describes what comes of fenced copies of other homes, by name.
func (m *Manager) Drains() []Status { return m.statusOf(wire.PurposeDrain) }

// Callers describes the tunnels that are for calls alone, by region.
func (m *Manager) Callers() []Status { return m.statusOf(wire.PurposeCalls) }

func (m *Manager) statusOf(purpose wire.Purpose) []Status {
	var list []Status
	for k, p := range *m.peers.Load() {
		if k.purpose == purpose {
			list = append(list, p.status())
		}
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Region, b.Region))
	})
	return list
}
