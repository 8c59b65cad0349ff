package app

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/config"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/sibling"
	"causeway/internal/supervise"
	"causeway/link/foreign"
)

// newCluster binds the ports towards the other nodes of the region, if there are
// any.
func (a *App) newCluster() (err error) {
	k := &a.cfg.Cluster
	if !k.Configured() {
		return nil
	}
	o := cluster.Options{Region: a.cfg.Region, Node: a.cfg.Node, Role: cluster.Role(a.cfg.Role), Software: a.opts.Build.Version,
		Self: a.dir.self, Identity: a.opts.NodeIdentity, Listen: k.Listen, Streams: k.Streams, Advertise: k.Advertise,
		Join:    cluster.Join{Method: cluster.JoinMethod(k.Join.Method), Nodes: k.Join.Nodes, Name: k.Join.Name},
		Network: a.opts.Cluster, Wall: a.opts.Wall, Logger: a.log.With("component", "cluster")}
	if o.Identity == nil {
		o.Identity = a.certs
	}
	if o.Network == nil {
		if o.GossipKey, err = readGossipKey(k.GossipKey); err != nil {
			return err
		}
	}
	if a.cluster, err = cluster.New(o); err != nil {
		return err
	}
	for _, h := range a.homes {
		h.newSiblings()
	}
	return nil
}

func (h *homeService) newSiblings() {
	a := h.a
	o := sibling.Options{Node: home.NodeID(a.cfg.Node), Streams: a.cluster, Log: h, Edge: edge{h}, Forward: h.forwardHere,
		Logger: a.log.With("component", "sibling", "home", string(h.id)), MaxMessage: int(a.cfg.Limits.Packet) + 1<<20}
	if !h.own() {
		o.Home = h.id
	}
	h.siblings = sibling.New(o)
}

// raise makes the incarnation of a home's run at least n, and tells the others.
func (a *App) raise(n home.Incarnation) (home.Incarnation, error) {
	i, err := a.dir.raise(n)
	if a.cluster != nil {
		a.cluster.Refresh()
	}
	return i, err
}

func readGossipKey(ref config.SecretRef) ([]byte, error) {
	b, err := os.ReadFile(ref.Path())
	if err != nil {
		return nil, fmt.Errorf("cluster.gossip_key: %w; make one with: causeway ca gossip-key", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("cluster.gossip_key: %s does not hold a key in base64; make one with: causeway ca gossip-key", ref.Path())
	}
	return key, nil
}

// edge is the broker as siblings see it; it is made after them.
type edge struct{ h *homeService }

func (e edge) DeliverFromSibling(m *home.Message)               { e.h.house.DeliverFromSibling(m) }
func (e edge) DeliverToSession(d home.Delivery)                 { e.h.house.DeliverToSession(d) }
func (e edge) Yield(k home.SessionKey, epoch home.SessionEpoch) { e.h.house.Yield(k, epoch) }

// forwarder takes messages for peer regions to the node that has the links.
type forwarder struct{ h *homeService }

// Forward implements broker.Forwarder.
func (f forwarder) Forward(peer home.ID, m *home.Message, c home.Claim) {
	h := f.h
	if h.siblings == nil || h.leads() {
		h.forwardHere(peer, m, c)
		return
	}
	if r := h.current(); r != nil {
		if leader, ok := r.Leader(); ok {
			h.siblings.Forward(leader, peer, m, c)
		}
	}
}

func (h *homeService) forwardHere(peer home.ID, m *home.Message, c home.Claim) {
	switch f := h.foreign(); {
	case f != nil && f.Has(peer):
		f.Forward(peer, m)
	case h.links != nil:
		h.links.Forward(peer, m, c)
	}
}

// foreign is the home's links to brokers of another make: those of the region's
// own home, nil without any.
func (h *homeService) foreign() *foreign.Manager {
	if !h.own() {
		return nil
	}
	return h.a.foreign
}

// runCluster ends the node when gossip and streams fail: their ports are bound once, and a core node without them serves
// nobody. Who runs the process starts it again.
func (a *App) runCluster(ctx context.Context) error {
	err := group.Protect(func() error { return a.cluster.Run(ctx) })
	if err != nil && ctx.Err() == nil {
		return &supervise.Fatal{Err: err}
	}
	return err
}

func (h *homeService) runSiblings(ctx context.Context) error { return h.siblings.Run(ctx) }

// officeEvery is how often a node looks whether it leads the home.
const officeEvery = 100 * time.Millisecond

// runLinks runs the links while this node leads the home: a region speaks to
// another with one voice. The peers dial all nodes, and find the one that answers.
func (h *homeService) runLinks(ctx context.Context) error {
	if h.a.shared() {
		return h.runAtLeader(ctx, h.links.Run)
	}
	return h.runAtLeader(ctx, h.links.RunWithEndpoint)
}

// shared says that the links of several homes, or calls, begin and end at one port.
func (a *App) shared() bool { return a.endpoint != nil && takeoverConfigured(a.cfg) }

// runEndpoint keeps the port open while this node leads one of the homes.
func (a *App) runEndpoint(ctx context.Context) error {
	if a.cluster == nil {
		return a.endpoint.Run(ctx)
	}
	leads := func() bool { return slices.ContainsFunc(a.homes, (*homeService).leads) }
	return runWhile(ctx, leads, a.endpoint.Run)
}

// runAtLeader runs something whenever this node leads the home.
func (h *homeService) runAtLeader(ctx context.Context, run func(context.Context) error) error {
	if h.a.cluster == nil {
		return run(ctx)
	}
	return runWhile(ctx, h.leads, run)
}

// runWhile runs something whenever this node has an office.
func runWhile(ctx context.Context, leads func() bool, run func(context.Context) error) error {
	for ctx.Err() == nil {
		if !leads() {
			if !wait(ctx, officeEvery) {
				return nil
			}
			continue
		}
		if err := whileLeading(ctx, leads, run); err != nil {
			return err
		}
	}
	return nil
}

// whileLeading runs something until this node does not lead any more.
func whileLeading(ctx context.Context, leads func() bool, run func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- group.Protect(func() error { return run(ctx) }) }()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(officeEvery):
		}
		if !leads() {
			stop()
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isolatedAfter is for how long a node that may not speak for its sessions keeps
// their connections: after it the devices are better off elsewhere. [C1]
const (
	isolatedAfter  = 5 * time.Second
	isolationEvery = time.Second
)

// watchIsolation closes the connections of a node that has been cut off from its
// region, whose region has had no lease, or whose home has been closed for as long: it
// may be opened again soon, or never, and a device that only listens would not notice.
func (h *homeService) watchIsolation(ctx context.Context) error {
	var i isolation
	for wait(ctx, isolationEvery) {
		begins := i.begins(h.inTouch(), time.Now())
		if h.cutOff.Store(i.begun); !begins {
			continue
		}
		_, why := h.Ready()
		if n := h.closeStale(ctx); n > 0 {
			h.a.log.Warn("this node is isolated: its connections are closed, so that their devices go elsewhere", "home", string(h.id), "connections", n, "reason", why)
		}
	}
	return nil
}

// stalePoll is how soon the closing of connections ends once the node is fresh again.
const stalePoll = 20 * time.Millisecond

// inTouch says that this node may speak for its sessions, or does not since its leader wants nobody to: while the home is handed
// over devices wait where they are, however long that takes.
func (h *homeService) inTouch() bool {
	if h.Fresh() {
		return true
	}
	r := h.live.Load()
	return r != nil && r.Hushed()
}

// closeStale closes the home's connections at a pace until there are none or the node is
// in touch again: the devices of a whole region may be on their way to another.
func (h *homeService) closeStale(ctx context.Context) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	closed := make(chan int, 1)
	go func() {
		n := 0
		h.a.contain("isolation", func() { n = h.house.CloseAtPace(ctx, departRate) })
		closed <- n
	}()
	for t := time.NewTicker(stalePoll); ; {
		select {
		case n := <-closed:
			t.Stop()
			if !h.inTouch() {
				h.house.CloseAll() // those that were closing, and whose reader waits for the home
			}
			return n
		case <-t.C:
			if h.inTouch() {
				stop()
			}
		}
	}
}

// isolation is that a node has not been fresh for isolatedAfter.
type isolation struct {
	since time.Time // not fresh; zero: it is
	begun bool
}

// begins says, once, that it begins.
func (i *isolation) begins(fresh bool, now time.Time) bool {
	switch {
	case fresh:
		*i = isolation{}
	case i.since.IsZero():
		i.since = now
	case !i.begun && now.Sub(i.since) > isolatedAfter:
		i.begun = true
		return true
	}
	return false
}

// leads says that this node leads the home.
func (h *homeService) leads() bool {
	r := h.live.Load()
	return r != nil && r.Leads()
}

// Applied and WaitApplied are what siblings ask of the log.

// Applied is the index of the log applied here.
func (h *homeService) Applied() uint64 {
	if r := h.live.Load(); r != nil {
		return r.Applied()
	}
	return 0
}

// Alive are the runs of nodes that the home has not declared dead.
func (h *homeService) Alive() (list []home.Owner) {
	for _, n := range h.State().Nodes() {
		if !n.Down {
			list = append(list, n.Owner)
		}
	}
	return list
}

// WaitApplied waits until an index is applied here.
func (h *homeService) WaitApplied(ctx context.Context, index uint64) error {
	if r := h.live.Load(); r != nil {
		return r.WaitApplied(ctx, index)
	}
	return errNoHome
}
