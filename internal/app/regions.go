package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"causeway/internal/admin"
	"causeway/internal/audit"
	"causeway/internal/home"
	"causeway/internal/takeover"
	"causeway/internal/takeover/agent"
)

// deciding is the agent of this node and where else to ask while it is not at work.
type deciding struct {
	*agent.Agent
	// at is the node that decides for the region, as far as is known; "".
	at func() string
}

// aside is what copies that were set aside have more than the hosts of their homes.
type aside interface {
	Divergence(ctx context.Context, id string) (admin.Divergence, error)
	Reconcile(ctx context.Context, o admin.ReconcileOrder, dryRun bool) ([]string, error)
}

var errNoStandby = admin.Refuse("takeover", "the node file names no region that stands by another", "list regions with standby_of, then start the nodes again")

// decider is the agent, or why there is none to ask here.
func (n node) decider() (*agent.Agent, error) {
	d := n.a.deciding
	switch {
	case d == nil:
		return nil, errNoStandby
	case !d.AtWork():
		if at := d.at(); at != "" && at != n.a.cfg.Node {
			return nil, &admin.Elsewhere{Node: at}
		}
		return nil, fmt.Errorf("%w: no node decides for the region now", admin.ErrUnavailable)
	}
	return d.Agent, nil
}

// noteServed tells the agent at which epochs this node knew homes to be served, until
// ctx ends: should the node come to decide, it goes on with them although nobody can be
// asked. [E2]
func (a *App) noteServed(ctx context.Context) {
	for wait(ctx, time.Second) {
		for _, h := range a.homes {
			if r := h.opened.Load(); r != nil && r.Fresh() {
				a.deciding.Inherit(h.id, r.State().Epoch())
			}
		}
	}
}

// RegionHomes implements admin.Takeover.
func (n node) RegionHomes() ([]admin.RegionHome, error) {
	if n.a.deciding == nil {
		return nil, nil
	}
	d, err := n.decider()
	if err != nil {
		return nil, err
	}
	var list []admin.RegionHome
	for _, h := range d.Homes() {
		list = append(list, n.regionHome(&h))
	}
	return list, nil
}

func (n node) regionHome(h *agent.HomeStatus) admin.RegionHome {
	c, s := &h.Copy, &h.Copy.Settings
	r := admin.RegionHome{Home: string(h.Home), Region: n.a.cfg.Region, Node: n.a.cfg.Node, Role: h.Role, Standing: h.Standing, Reason: h.Reason,
		Epoch: c.Epoch.Number, Host: c.Epoch.Host, InForceEpoch: h.InForce.Number, InForceHost: h.InForce.Host, HandedTo: c.Handed, Mode: "manual", Isolation: "serve",
		Records: c.Records, Sessions: c.Size.Sessions, QueuedBytes: c.Size.Queued, LeaseSeconds: h.Lease.Seconds(), DownAfterSeconds: s.DownAfter.Seconds(),
		FleetSeconds: n.fleetSeconds(c.Size.Sessions), Short: h.Short, Held: h.Held, Act: regionAct(h.Act)}
	if s.Mode == takeover.Auto {
		r.Mode = "auto"
	}
	if s.Votes() {
		r.Isolation = "self-fence"
	}
	for _, region := range s.Standbys {
		sh := c.Shipped[region]
		r.Standbys = append(r.Standbys, admin.RegionStandby{Region: region, Connected: sh.Connected, Records: sh.Records, LagMessages: sh.Messages, LagBytes: sh.Bytes, LagSeconds: sh.Lag.Seconds()})
	}
	for _, v := range h.Voters {
		voter := admin.RegionVoter{Name: v.Voter, Votes: v.Votes, HeardSeconds: v.Heard.Seconds(), Answer: v.Answer}
		if v.Promised != (home.Epoch{}) {
			voter.Promised = v.Promised.String()
		}
		r.Voters = append(r.Voters, voter)
	}
	return r
}

func regionAct(s *agent.ActStatus) *admin.RegionAct {
	if s == nil {
		return nil
	}
	a := &admin.RegionAct{Action: string(s.Action), To: s.To, By: s.By, Began: s.Began.UTC(), Step: s.Step, Outcome: s.Outcome, Detail: s.Detail, MessagesLeft: s.Messages}
	if !s.Ended.IsZero() {
		ended := s.Ended.UTC()
		a.Ended = &ended
	}
	for _, step := range s.Steps {
		a.Steps = append(a.Steps, admin.RegionStep{Name: step.Name, At: step.At.UTC()})
	}
	return a
}

// PlanRegion implements admin.Takeover.
func (n node) PlanRegion(ctx context.Context, o admin.RegionOrder) (admin.RegionChange, error) {
	d, err := n.decider()
	if err != nil {
		return admin.RegionChange{}, err
	}
	return n.ordered(d.Plan(ctx, agent.Action(o.Act), order(o)))
}

// BeginRegion implements admin.Takeover.
func (n node) BeginRegion(ctx context.Context, o admin.RegionOrder) (admin.RegionChange, error) {
	d, err := n.decider()
	if err != nil {
		return admin.RegionChange{}, err
	}
	return n.ordered(d.Begin(ctx, agent.Action(o.Act), order(o)))
}

func order(o admin.RegionOrder) agent.Order {
	return agent.Order{Home: home.ID(o.Home), To: o.To, Force: o.Force, Wait: o.Within, By: o.By}
}

// ordered says what the agent says in the words of the API.
func (n node) ordered(p agent.Plan, err error) (admin.RegionChange, error) {
	var refused *agent.Refused
	switch {
	case errors.As(err, &refused):
		r := &admin.Refused{}
		for _, x := range refused.Reasons {
			r.Reasons = append(r.Reasons, admin.Refusal{Condition: x.Condition, Reason: x.Reason, Fix: x.Fix})
		}
		return admin.RegionChange{}, r
	case errors.Is(err, agent.ErrNoCopy):
		return admin.RegionChange{}, fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	case agent.IsElsewhere(err):
		return admin.RegionChange{}, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	case err != nil:
		return admin.RegionChange{}, err
	}
	return admin.RegionChange{Effects: p.Effects, Risk: p.Risk, Confirm: p.Confirm, Node: n.a.cfg.Node}, nil
}

// Divergence implements admin.Takeover.
func (n node) Divergence(ctx context.Context, id string) (admin.Divergence, error) {
	if n.a.aside == nil {
		return admin.Divergence{}, fmt.Errorf("%w: no copy was set aside", admin.ErrNotFound)
	}
	return n.a.aside.Divergence(ctx, id)
}

// Reconcile implements admin.Takeover.
func (n node) Reconcile(ctx context.Context, o admin.ReconcileOrder, dryRun bool) ([]string, error) {
	if n.a.aside == nil {
		return nil, fmt.Errorf("%w: no copy was set aside", admin.ErrNotFound)
	}
	return n.a.aside.Reconcile(ctx, o, dryRun)
}

// auditTakeover keeps what was done without an operator, or came of an order.
func (a *App) auditTakeover(action, target, outcome, detail string) {
	if a.audit == nil {
		return
	}
	act := audit.Act{State: audit.Done, Who: "takeover", Action: action, Target: target, Reason: detail}
	if outcome != agent.Done {
		act.State, act.Reason = audit.Failed, outcome+": "+detail
	}
	if _, err := a.audit.Add(act); err != nil {
		a.log.Error("the audit log cannot be written", "who", act.Who, "action", action, "target", target, "error", err)
	}
}

// fleetSeconds is how long the devices of a home take to be let in: at the pace of admission, on all
// nodes of the region.
func (n node) fleetSeconds(sessions int) float64 {
	nodes := 0
	for _, m := range n.a.members() {
		if m.Alive {
			nodes++
		}
	}
	if rate := float64(n.a.region().Takeover.Admission) * float64(max(nodes, 1)); rate > 0 {
		return float64(sessions) / rate
	}
	return 0
}
