package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"causeway/internal/admin"
	"causeway/internal/evacuation"
	"causeway/internal/home"
	"causeway/internal/takeover/agent"
)

// leaving is this node's part in the evacuation of its region. The document is the home's: it is heard of here also while
// another region serves the home, and by replicants.
type leaving struct {
	mu       sync.Mutex
	run      *evacuation.Region
	revision uint64
	held     string    // why the home is not handed over; ""
	empty    time.Time // since when this node has no connection

	// Owned by evacuating.work.
	tried time.Time // when the home was ordered to go last
}

func (a *App) regionDocument() string { return "region/" + a.cfg.Region }

func (e *evacuating) heardRegion(d home.Document) {
	if d.Name != e.a.regionDocument() {
		return
	}
	run, err := readDocument[evacuation.Region](d)
	if err != nil || run != nil && !run.State.Known() {
		e.a.log.Error("the evacuation of this region is not understood; it stays as it is", "document", d.Name, "revision", d.Revision, "error", err)
		return
	}
	l := &e.leaving
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run, l.revision = run, d.Revision
	l.held, l.empty = "", time.Time{}
}

// region is the evacuation of the region that is in force, nil if none is; and what there is here.
func (e *evacuating) region() (run *evacuation.Region, revision uint64, seen evacuation.RegionSeen) {
	l := &e.leaving
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run == nil {
		return nil, l.revision, seen
	}
	seen = evacuation.RegionSeen{Serves: e.a.hostsAny(), Own: e.a.home.hosts(), Connections: e.a.broker.Connections(), Empty: l.empty}
	if s := e.a.State(); s != nil {
		seen.Epoch = s.Epoch().Number
	}
	if l.run.Over(seen) {
		return nil, l.revision, seen
	}
	return l.run, l.revision, seen
}

// departRate is how many connections a second this node closes when it serves a home no more.
func (e *evacuating) departRate() int {
	if run, _, _ := e.region(); run != nil {
		return run.Options.ConnEvictRate
	}
	return departRate
}

// stepRegion does what is due for the region, and says whether its door is to be shut. While a home is served here it is
// open, whatever load balancers were told: devices are not turned away from where their sessions are.
func (e *evacuating) stepRegion(ctx context.Context) (shut bool) {
	run, revision, seen := e.region()
	if run == nil {
		e.forgetRegion(ctx)
		return false
	}
	if next := run.Next(time.Now()); next != nil && e.a.home.leads() && time.Since(e.failed) > time.Second {
		if !e.writeRegion(ctx, revision, next) {
			e.failed = time.Now()
		}
		return false
	}
	if run.State != evacuation.EvictingConns {
		return false
	}
	if seen.Serves {
		e.handRegion(ctx, run)
		return false
	}
	l := &e.leaving
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case seen.Connections > 0:
		l.empty = time.Time{}
	case l.empty.IsZero():
		l.empty = time.Now()
	}
	return true
}

// forgetRegion removes the document of an evacuation that is over.
func (e *evacuating) forgetRegion(ctx context.Context) {
	l := &e.leaving
	l.mu.Lock()
	over, revision := l.run != nil, l.revision
	l.mu.Unlock()
	if !over || !e.a.home.leads() || !e.a.home.hosts() || time.Since(e.failed) < time.Second {
		return
	}
	if !e.writeRegion(ctx, revision, nil) {
		e.failed = time.Now()
	}
}

func (e *evacuating) writeRegion(ctx context.Context, revision uint64, next *evacuation.Region) bool {
	var body []byte
	note := "over"
	var err error
	if next != nil {
		note = string(next.State)
		body, err = json.Marshal(next)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeWithin)
		defer cancel()
		_, err = e.a.documents.set(ctx, e.a.regionDocument(), revision, body, "node "+e.a.cfg.Node, note)
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errDocumentChanged) {
			e.a.log.Warn("the evacuation of the region cannot be written; it stays where it is", "state", note, "error", err)
		}
		return false
	}
	e.a.log.Info("evacuation of the region", "state", note)
	return true
}

// handAgain is how soon a switchover that was refused or given up is tried again: one that is given up has stopped
// devices for some seconds.
const handAgain = 30 * time.Second

// handRegion orders the homes that are served here to their standbys, the region's own last: with it goes the document.
// The node that decides for the region does it, whichever that is by then.
func (e *evacuating) handRegion(ctx context.Context, run *evacuation.Region) {
	d := e.a.deciding
	if d == nil || !d.AtWork() {
		return
	}
	h := e.nextHome()
	if h == nil {
		return
	}
	busy, outcome := actOf(d.Agent, h.id)
	if busy || time.Since(e.leaving.tried) < handAgain {
		return
	}
	e.leaving.tried = time.Now()
	to := run.To
	if !h.own() {
		to = e.a.standbyFor(h)
	}
	_, err := d.Begin(ctx, agent.Switchover, agent.Order{Home: h.id, To: to, By: run.By})
	why := outcome
	if err != nil {
		why = err.Error()
		e.a.log.Warn("the region is evacuated, and its home cannot go yet", "home", string(h.id), "to", to, "error", err)
	}
	l := &e.leaving
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = why
}

// nextHome is the next home to go; nil: none is served here.
func (e *evacuating) nextHome() (next *homeService) {
	for _, h := range e.a.homes {
		if h.hosts() && (next == nil || next.own()) {
			next = h
		}
	}
	return next
}

// actOf says whether an order is under way with a home, and how the last one failed.
func actOf(a *agent.Agent, id home.ID) (busy bool, failed string) {
	for _, h := range a.Homes() {
		if h.Home != id || h.Act == nil {
			continue
		}
		if h.Act.Outcome == "" {
			return true, ""
		}
		if h.Act.Action == agent.Switchover && h.Act.Outcome != agent.Done {
			return false, h.Act.Detail
		}
	}
	return false, ""
}

// standbyFor is the first standby of a home that is connected, as its log lists them.
func (a *App) standbyFor(h *homeService) string {
	for _, x := range a.deciding.Homes() {
		if x.Home != h.id {
			continue
		}
		for _, region := range x.Copy.Settings.Standbys {
			if x.Copy.Shipped[region].Connected {
				return region
			}
		}
		if len(x.Copy.Settings.Standbys) > 0 {
			return x.Copy.Settings.Standbys[0]
		}
	}
	return ""
}

// unheard is an error while this node knows of no evacuation of its region and there may be one: its copy of the home is
// not open, or what the document says was not taken in.
func (e *evacuating) unheard() error {
	d, _ := e.a.documents.get(e.a.regionDocument()) // without a revision if there is none
	l := &e.leaving
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.run != nil:
		return nil
	case e.a.home.opened.Load() == nil:
		return fmt.Errorf("%w: %s", admin.ErrUnavailable, e.a.home.reason())
	case d.Revision != l.revision:
		return fmt.Errorf("%w: revision %d of the document %s is not taken in yet", admin.ErrUnavailable, d.Revision, e.a.regionDocument())
	}
	return nil
}

// RegionEvacuation implements admin.RegionEvacuations.
func (n node) RegionEvacuation() (admin.Evacuation, error) {
	e := n.a.evacuating
	if err := e.unheard(); err != nil {
		return admin.Evacuation{}, err
	}
	run, _, seen := e.region()
	if run == nil {
		return admin.Evacuation{}, admin.ErrNotFound
	}
	e.leaving.mu.Lock()
	held := e.leaving.held
	e.leaving.mu.Unlock()
	if !seen.Serves || run.State != evacuation.EvictingConns {
		held = ""
	}
	now := time.Now()
	at := run.At(now, seen)
	return admin.Evacuation{Node: run.Region, State: string(at), Reason: run.Reason, By: run.By, Began: run.Began.UTC(), Since: run.Since.UTC(), Held: held,
		Connections: seen.Connections, ConnectionsBegan: run.Connections, SessionsBegan: run.Sessions, ExpectedSeconds: admin.SecondsOf(run.Expected),
		LeftSeconds: admin.SecondsOf(run.Left(now, seen)), ConnEvictRate: run.Options.ConnEvictRate,
		WaitHealthCheckSeconds: admin.SecondsOf(run.Options.WaitHealthCheck), WaitTakeoverSeconds: admin.SecondsOf(run.Options.WaitTakeover), Done: at == evacuation.Prohibiting}, nil
}

// StartRegionEvacuation implements admin.RegionEvacuations.
func (n node) StartRegionEvacuation(ctx context.Context, o admin.EvacuationOrder, to string, connections int, dryRun bool) (admin.EvacuationChange, error) {
	var c admin.EvacuationChange
	if o.Node != n.a.cfg.Region {
		return c, admin.Refuse("region", "this is a node of region "+n.a.cfg.Region, "ask a node of "+o.Node+", or name this region")
	}
	if _, err := n.decider(); err != nil {
		return c, err
	}
	s, err := n.state()
	if err != nil {
		return c, err
	}
	options, err := paceOf(o)
	if err != nil {
		return c, err
	}
	if to == "" {
		to = n.a.standbyFor(n.a.home)
	}
	effects, err := n.mayLeave(ctx, to)
	if err != nil {
		return c, err
	}
	sessions := 0
	for _, x := range s.SessionCounts() {
		sessions += x.Attached + x.Detached
	}
	_, revision, _ := n.a.evacuating.region() // of one that is over, or 0
	run := evacuation.BeginRegion(evacuation.Region{Region: o.Node, To: to, Options: options, Epoch: s.Epoch().Number, By: o.By, Reason: o.Reason,
		Connections: connections, Sessions: sessions, Nodes: max(1, len(n.a.loads()))}, time.Now())
	c = admin.EvacuationChange{Connections: connections, Sessions: sessions, ExpectedSeconds: admin.SecondsOf(run.Expected), Effects: append(append([]string{
		fmt.Sprintf("load balancers hear that %s takes no more devices, and are given %s to notice", o.Node, options.WaitHealthCheck)}, effects...),
		fmt.Sprintf("then its %d connections are closed at %d a second at each of %d nodes, and it takes no new ones; until it is closed a device is connected and not served", connections, options.ConnEvictRate, run.Nodes),
		fmt.Sprintf("it is empty after about %s, and stays so until it serves its home again: causeway ctl region failback %s", run.Expected.Round(time.Second), o.Node))}
	if dryRun {
		return c, nil
	}
	return c, n.writeDocument(ctx, n.a.regionDocument(), revision, run, o.By, "start")
}

// mayLeave refuses with every reason why the region is not to be evacuated, and says what the switchovers do.
func (n node) mayLeave(ctx context.Context, to string) (effects []string, err error) {
	no := &admin.Refused{}
	refuse := func(condition, reason, fix string) {
		no.Reasons = append(no.Reasons, admin.Refusal{Condition: condition, Reason: reason, Fix: fix})
	}
	if run, _, _ := n.a.evacuating.region(); run != nil {
		refuse("under_way", "the region is being evacuated, or was", "causeway ctl region evacuate "+run.Region+" --status")
	}
	if !n.a.home.hosts() {
		refuse("hosting", "another region serves the home of this one: its devices are there already", "causeway ctl region status")
	}
	if to == "" {
		refuse("standby", "no region stands by the home", "list regions with standby_of, then start the nodes again")
	}
	if b := n.a.rebalance(); b != nil && b.Active() {
		refuse("rebalance", "the nodes are being balanced", "wait, or: causeway ctl rebalance stop")
	}
	if len(no.Reasons) > 0 {
		return nil, no
	}
	for _, h := range n.a.homes {
		if !h.hosts() {
			continue
		}
		target := to
		if !h.own() {
			target = n.a.standbyFor(h)
		}
		plan, err := n.PlanRegion(ctx, admin.RegionOrder{Act: admin.RegionSwitchover, Home: string(h.id), To: target})
		var refused *admin.Refused
		switch {
		case errors.As(err, &refused):
			no.Reasons = append(no.Reasons, refused.Reasons...)
		case err != nil:
			return nil, err
		}
		for _, x := range plan.Effects {
			effects = append(effects, "switchover of "+string(h.id)+" to "+target+": "+x)
		}
	}
	if len(no.Reasons) > 0 {
		return nil, no
	}
	return effects, nil
}

// StopRegionEvacuation implements admin.RegionEvacuations.
func (n node) StopRegionEvacuation(ctx context.Context, region, by string, dryRun bool) ([]string, error) {
	run, revision, seen := n.a.evacuating.region()
	switch {
	case run == nil || run.Region != region:
		return nil, fmt.Errorf("evacuation of region %s: %w", region, admin.ErrNotFound)
	case !seen.Own:
		return nil, admin.Refuse("hosting", "its home is served by another region: it cannot take devices", "causeway ctl region failback "+region+": with that it is over")
	}
	effects := []string{"the home stays here, and load balancers hear that the region takes devices"}
	if dryRun {
		return effects, nil
	}
	return effects, n.removeDocument(ctx, n.a.regionDocument(), revision, by, "stop")
}
