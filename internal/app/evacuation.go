package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"causeway/broker"
	"causeway/internal/evacuation"
	"causeway/internal/group"
	"causeway/internal/health"
	"causeway/internal/home"
)

// nodeDocument is where the evacuation of a node is kept.
func nodeDocument(node string) string { return "node/" + node }

const rebalanceDocument = "rebalance"

// evacuating is what this node does about its own evacuation, and its part in a rebalance.
//
// What is in force is what the home's documents say, as far as this node has heard: while the home is closed that stays
// as it was. Only the node itself moves its run on, from the revision it knows, so that a crash or a stop by an operator
// in between is never overwritten.
type evacuating struct {
	a *App

	changed chan struct{} // a document came

	mu       sync.Mutex // guards what follows
	run      *evacuation.Run
	revision uint64
	balance  *evacuation.Rebalance
	balanced uint64 // its revision

	// Owned by work.
	closing context.CancelFunc // of the eviction that runs; nil: none does
	closed  chan struct{}      // closed when it ended
	closes  time.Time          // the rebalance whose share was closed, by when it began
	handed  time.Time          // when leaderships were handed over last
	failed  time.Time          // when the run could not be written last
	shut    bool

	leaving leaving
}

func newEvacuating(a *App) *evacuating { return &evacuating{a: a, changed: make(chan struct{}, 1)} }

const evacuateEvery = 200 * time.Millisecond

// work does what the documents ask for until ctx ends. Connections stay as they are then: the node stops, or this part
// is started again.
func (e *evacuating) work(ctx context.Context) error {
	e.a.health.Register("evacuation", e.condition)
	g := group.New(ctx)
	for _, watch := range []func(context.Context){
		func(ctx context.Context) { e.a.documents.watch(ctx, nodeDocument(e.a.cfg.Node), e.heardRun) },
		func(ctx context.Context) { e.a.documents.watch(ctx, rebalanceDocument, e.heardBalance) },
		func(ctx context.Context) { e.a.documents.watch(ctx, e.a.regionDocument(), e.heardRegion) },
		func(ctx context.Context) { e.a.tellMoves(ctx, nodeDocument("")) },
		func(ctx context.Context) { e.a.tellMoves(ctx, rebalanceDocument) },
	} {
		g.Do(func(ctx context.Context) error { watch(ctx); return nil })
	}
	g.Do(e.steps)
	return g.Wait()
}

func (e *evacuating) steps(ctx context.Context) error {
	defer e.stopClosing()
	tick := time.NewTicker(evacuateEvery)
	defer tick.Stop()
	for {
		e.step(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.changed:
		case <-tick.C:
		}
	}
}

func (e *evacuating) heardRun(d home.Document) {
	if d.Name != nodeDocument(e.a.cfg.Node) {
		return
	}
	run, err := readDocument[evacuation.Run](d)
	if err == nil && run != nil && !run.State.Known() {
		err = fmt.Errorf("there is no state %q", run.State)
	}
	if !e.a.documents.understood(d, err) {
		return
	}
	e.heard(func() { e.run, e.revision = run, d.Revision })
}

func (e *evacuating) heardBalance(d home.Document) {
	if d.Name != rebalanceDocument {
		return
	}
	b, err := readDocument[evacuation.Rebalance](d)
	if !e.a.documents.understood(d, err) {
		return
	}
	e.heard(func() { e.balance, e.balanced = b, d.Revision })
}

func (e *evacuating) heard(set func()) {
	e.mu.Lock()
	set()
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// readDocument decodes a document; nil if it is not there.
func readDocument[T any](d home.Document) (*T, error) {
	if d.Body == nil {
		return nil, nil
	}
	v := new(T)
	return v, json.Unmarshal(d.Body, v)
}

func (e *evacuating) inForce() (run *evacuation.Run, revision uint64, b *evacuation.Rebalance, balanced uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run, e.revision, e.balance, e.balanced
}

// condition is what load balancers hear.
func (e *evacuating) condition() health.Condition {
	run, _, b, _ := e.inForce()
	c := health.Condition{State: health.Evacuating}
	switch {
	case run != nil:
		c.Reason = fmt.Sprintf("evacuating: %s, %d of %d connections left", run.State, e.a.broker.Connections(), run.Connections)
		c.Next = "causeway ctl evacuation status"
	case b != nil && b.Donor(e.a.cfg.Node) != nil:
		c.Reason = fmt.Sprintf("rebalance: %s, it has %d connections and keeps %d", b.State, e.a.broker.Connections(), b.Donor(e.a.cfg.Node).Leave)
		c.Next = "causeway ctl rebalance status"
	default:
		region, _, seen := e.region()
		if region == nil {
			return health.OK()
		}
		c.Reason = fmt.Sprintf("the region is evacuated to %s: %s, %d connections left here", region.To, region.At(time.Now(), seen), seen.Connections)
		c.Next = "causeway ctl region evacuate " + region.Region + " --status"
	}
	return c
}

// step looks once and does what is due.
func (e *evacuating) step(ctx context.Context) {
	run, revision, b, balanced := e.inForce()
	leaving := e.stepRegion(ctx)
	if run == nil {
		e.turnAway(leaving)
		e.share(ctx, b)
		e.coordinate(ctx, b, balanced)
		return
	}
	if e.a.home.current() == nil {
		return // nothing is known; whatever is under way goes on
	}
	seen := e.a.seen(e.a.cfg.Node)
	if next := run.Next(time.Now(), seen); next != nil && time.Since(e.failed) > time.Second {
		if e.write(ctx, run.Node, revision, next) {
			return // it is heard of as it is applied
		}
		e.failed = time.Now()
	}
	held := run.Held(seen) != ""
	e.turnAway(leaving || run.State.Shut() && !held)
	if run.State.Shut() && !held {
		e.keepClosing(ctx, broker.Eviction{PerSecond: run.Options.ConnEvictRate})
	} else {
		e.stopClosing()
	}
	if seen.Leads && time.Since(e.handed) > 2*time.Second && seen.Others > 0 {
		e.handed = time.Now()
		e.handOver()
	}
	if run.State == evacuation.EvictingSessions && !held {
		e.letGo(run.Options.SessEvictRate)
	}
}

// write moves the run on. An operator may have stopped it meanwhile: then it is not written.
func (e *evacuating) write(ctx context.Context, node string, revision uint64, next *evacuation.Run) bool {
	body, err := json.Marshal(next)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeWithin)
		defer cancel()
		_, err = e.a.documents.set(ctx, nodeDocument(node), revision, body, "node "+e.a.cfg.Node, string(next.State))
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errDocumentChanged) {
			e.a.log.Warn("the evacuation cannot be written; it stays where it is", "state", next.State, "error", err)
		}
		return false
	}
	e.a.log.Info("evacuation", "state", next.State, "since_begin", next.Since.Sub(next.Began).Round(time.Millisecond))
	return true
}

const writeWithin = 5 * time.Second

func (e *evacuating) turnAway(on bool) {
	if e.shut != on {
		e.shut = on
		e.a.broker.TurnAway(on)
	}
}

// keepClosing closes connections at the pace, also those that come yet, until it is stopped.
func (e *evacuating) keepClosing(ctx context.Context, x broker.Eviction) {
	if e.closing != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	e.closing, e.closed = cancel, done
	go func() {
		defer close(done)
		e.a.contain("evacuation", func() { e.close(ctx, x) })
	}()
}

func (e *evacuating) close(ctx context.Context, x broker.Eviction) {
	for ctx.Err() == nil {
		if n := e.a.broker.Evict(ctx, x); n > 0 {
			e.a.log.Info("connections closed for others to take them", "connections", n)
		}
		if x.Most > 0 || !wait(ctx, evacuateEvery) {
			return
		}
	}
}

func (e *evacuating) stopClosing() {
	if e.closing == nil {
		return
	}
	e.closing()
	<-e.closed
	e.closing = nil
}

// share closes what this node has too many of, once a rebalance.
func (e *evacuating) share(ctx context.Context, b *evacuation.Rebalance) {
	var d *evacuation.Donor
	if b != nil && b.State == evacuation.EvictingConns {
		d = b.Donor(e.a.cfg.Node)
	}
	if d == nil {
		e.stopClosing()
		return
	}
	if e.closes.Equal(b.Began) {
		return
	}
	if most := min(d.Has, e.a.broker.Connections()) - d.Leave; most > 0 {
		e.closes = b.Began
		e.keepClosing(ctx, broker.Eviction{PerSecond: b.Options.ConnEvictRate, Most: most})
	}
}

// coordinate moves a rebalance on where the region's own home is led.
func (e *evacuating) coordinate(ctx context.Context, b *evacuation.Rebalance, revision uint64) {
	if b == nil || !b.Active() || !e.a.home.leads() {
		return
	}
	next := b.Next(time.Now(), e.a.loads())
	if next == nil {
		return
	}
	body, err := json.Marshal(next)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeWithin)
		defer cancel()
		_, err = e.a.documents.set(ctx, rebalanceDocument, revision, body, "node "+e.a.cfg.Node, string(next.State))
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, errDocumentChanged) {
		e.a.log.Warn("the rebalance cannot be written; it stays where it is", "state", next.State, "error", err)
	}
}

// handOver gives the leadership of all homes, and of the region's votes, to others. It may have to wait for one of them
// to catch up, which is asked for again.
func (e *evacuating) handOver() {
	for _, h := range e.a.homes {
		if h.leads() {
			h.handOver()
		}
	}
	if e.a.book != nil {
		if r := e.a.book.live.Load(); r != nil && r.Leads() {
			r.HandOver()
		}
	}
}

// letGo detaches sessions that this node owns and that have no connection here, a step's worth of them.
func (e *evacuating) letGo(rate int) {
	n := max(1, int(float64(rate)*evacuateEvery.Seconds()))
	for _, h := range e.a.homes {
		r := h.current()
		if r == nil || !r.Hosting() {
			continue
		}
		for _, s := range r.State().OwnedBy(r.Owner(), n) {
			if _, here := h.house.Client(s.Key); here {
				continue
			}
			// Of another epoch by then it is void.
			_ = r.Propose(&home.Detach{Session: s.Key, Epoch: s.Epoch, Moved: true}, func(home.Outcome, error) {})
			if n--; n <= 0 {
				return
			}
		}
	}
}

// seen is what there is at a node of the region, as this one knows: its own connections exactly, of others the sessions.
func (a *App) seen(node string) evacuation.Seen {
	s := evacuation.Seen{}
	owned, up := a.owned()
	s.Sessions = owned[node]
	for other, n := range owned {
		if other != node {
			s.Elsewhere += n
		}
	}
	s.Connections = s.Sessions
	if node == a.cfg.Node {
		s.Connections = a.broker.Connections()
	}
	for _, h := range a.homes {
		if r := h.current(); r != nil {
			leader, _ := r.Leader()
			s.Leads = s.Leads || a.cluster != nil && string(leader) == node
		}
	}
	away := a.shutNodes()
	for _, m := range a.members() {
		if m.Node != node && m.Alive && up[m.Node] && !slices.Contains(away, m.Node) {
			s.Others++
		}
	}
	return s
}

// owned counts the sessions of the homes served here that nodes of the region own, and says which nodes speak to them.
func (a *App) owned() (sessions map[string]int, up map[string]bool) {
	sessions, up = map[string]int{}, map[string]bool{}
	for _, h := range a.homes {
		r := h.current()
		if r == nil || !r.Hosting() {
			continue
		}
		for _, n := range r.State().Nodes() {
			sessions[string(n.Owner.Node)] += n.Attached
			up[string(n.Owner.Node)] = up[string(n.Owner.Node)] || !n.Down
		}
	}
	return sessions, up
}

// shutNodes are the nodes with an evacuation: they take no devices, or soon will not.
func (a *App) shutNodes() (nodes []string) {
	for _, r := range a.evacuations() {
		nodes = append(nodes, r.Node)
	}
	return nodes
}

// evacuations are those of all nodes.
func (a *App) evacuations() (list []*evacuation.Run) {
	const prefix = "node/"
	for _, x := range a.documents.list() {
		if len(x.Name) <= len(prefix) || x.Name[:len(prefix)] != prefix {
			continue
		}
		if d, ok := a.documents.get(x.Name); ok {
			if run, err := readDocument[evacuation.Run](d); err == nil && run != nil {
				list = append(list, run)
			}
		}
	}
	return list
}

// loads are how many devices the nodes have that take some.
func (a *App) loads() (list []evacuation.Load) {
	owned, up := a.owned()
	away := a.shutNodes()
	for _, m := range a.members() {
		if m.Alive && up[m.Node] && !slices.Contains(away, m.Node) {
			list = append(list, evacuation.Load{Node: m.Node, Connections: owned[m.Node]})
		}
	}
	return list
}
