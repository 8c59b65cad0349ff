package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/evacuation"
)

// Evacuations implements admin.Evacuations.
func (n node) Evacuations() ([]admin.Evacuation, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	var list []admin.Evacuation
	var cluster admin.Cluster
	for _, run := range n.a.evacuations() {
		if run.Done() && cluster.Home == "" {
			cluster, _ = n.Cluster() // without an answer nobody is removable
		}
		list = append(list, n.evacuation(run, &cluster))
	}
	return list, nil
}

func (n node) evacuation(r *evacuation.Run, c *admin.Cluster) admin.Evacuation {
	seen := n.a.seen(r.Node)
	e := admin.Evacuation{Node: r.Node, State: string(r.State), Reason: r.Reason, By: r.By, Began: r.Began.UTC(), Since: r.Since.UTC(), Held: r.Held(seen),
		Connections: seen.Connections, ConnectionsBegan: r.Connections, Sessions: seen.Sessions, SessionsBegan: r.Sessions, Elsewhere: seen.Elsewhere, ElsewhereBegan: r.Elsewhere,
		ExpectedSeconds: admin.SecondsOf(r.Expected), LeftSeconds: admin.SecondsOf(r.Left(time.Now(), seen)), ConnEvictRate: r.Options.ConnEvictRate, SessEvictRate: r.Options.SessEvictRate,
		WaitHealthCheckSeconds: admin.SecondsOf(r.Options.WaitHealthCheck), WaitTakeoverSeconds: admin.SecondsOf(r.Options.WaitTakeover), Done: r.Done(), Steps: steps(r.Steps)}
	switch {
	case !r.Done():
		e.NotRemovable = "it is not done"
	case seen.Leads:
		e.NotRemovable = "it leads a home: another node has to catch up first"
	default:
		e.NotRemovable = withoutVotes(c, r.Node)
	}
	e.Removable = e.NotRemovable == ""
	return e
}

func steps(all []evacuation.Step) (list []admin.EvacuationStep) {
	for _, s := range all {
		list = append(list, admin.EvacuationStep{State: string(s.State), At: s.At.UTC()})
	}
	return list
}

// withoutVotes says why the home would not have a majority without some nodes, "" if it would.
func withoutVotes(c *admin.Cluster, nodes ...string) string {
	have := 0
	for _, x := range c.Nodes {
		if x.Alive && (x.State == "voter" || x.State == "leader") && !slices.Contains(nodes, x.Node) {
			have++
		}
	}
	if have < c.Quorum.Need {
		return fmt.Sprintf("without it %d votes are left, and a decision takes %d of %d", have, c.Quorum.Need, c.Voters)
	}
	return ""
}

// StartEvacuation implements admin.Evacuations.
func (n node) StartEvacuation(ctx context.Context, o admin.EvacuationOrder, dryRun bool) (admin.EvacuationChange, error) {
	if _, err := n.state(); err != nil {
		return admin.EvacuationChange{}, err
	}
	options, err := paceOf(o)
	if err != nil {
		return admin.EvacuationChange{}, err
	}
	if err := n.mayEvacuate(o.Node); err != nil {
		return admin.EvacuationChange{}, err
	}
	run := evacuation.Begin(o.Node, o.By, o.Reason, options, time.Now(), n.a.seen(o.Node))
	c := admin.EvacuationChange{Connections: run.Connections, Sessions: run.Sessions, ExpectedSeconds: admin.SecondsOf(run.Expected), Effects: []string{
		fmt.Sprintf("load balancers hear that %s takes no more devices, and are given %s to notice", o.Node, options.WaitHealthCheck),
		"what it leads is handed to other nodes",
		fmt.Sprintf("it takes no new connections, and its %d connections are closed at %d a second; their devices come back at %d other nodes", run.Connections, options.ConnEvictRate, n.a.seen(o.Node).Others),
		"sessions, queues and wills stay as they are: they are in the home",
		fmt.Sprintf("it may be stopped after about %s, and takes no devices until causeway ctl evacuation stop --node %s", run.Expected.Round(time.Second), o.Node),
	}}
	if dryRun {
		return c, nil
	}
	return c, n.writeDocument(ctx, nodeDocument(o.Node), 0, run, o.By, "start")
}

// paceOf are the options of an order, with the defaults.
func paceOf(o admin.EvacuationOrder) (evacuation.Options, error) {
	p := evacuation.Defaults()
	override(&p.ConnEvictRate, o.ConnEvictRate)
	override(&p.SessEvictRate, o.SessEvictRate)
	override(&p.WaitHealthCheck, o.WaitHealthCheck)
	override(&p.WaitTakeover, o.WaitTakeover)
	if err := p.Validate(); err != nil {
		return p, admin.BadRequest(err.Error(), "leave it out for the default")
	}
	return p, nil
}

func override[T any](v *T, with *T) {
	if with != nil {
		*v = *with
	}
}

// mayEvacuate refuses with every reason why a node is not to be evacuated.
func (n node) mayEvacuate(name string) error {
	m := n.member(name)
	if m.Node == "" {
		return fmt.Errorf("node %s: %w", name, admin.ErrNotFound)
	}
	no := &admin.Refused{}
	refuse := func(condition, reason, fix string) {
		no.Reasons = append(no.Reasons, admin.Refusal{Condition: condition, Reason: reason, Fix: fix})
	}
	away := n.a.shutNodes()
	if slices.Contains(away, name) {
		refuse("under_way", "it is being evacuated, or was and takes no devices", "causeway ctl evacuation status --node "+name)
	}
	if !m.Alive {
		refuse("alive", "node "+name+" is not seen: its devices are elsewhere already", "start it, or if it is gone for good: causeway ctl cluster force-leave "+name)
	}
	if n.a.seen(name).Others == 0 {
		refuse("others", "no other node of the region takes devices: those of "+name+" would have nowhere to go", "start another node, or stop the evacuation of one: causeway ctl evacuation status")
	}
	if b := n.a.rebalance(); b != nil && b.Active() {
		refuse("rebalance", "the nodes are being balanced", "wait, or: causeway ctl rebalance stop")
	}
	if c, err := n.Cluster(); err != nil {
		refuse("quorum", "who votes is not known: "+err.Error(), "causeway ctl cluster status")
	} else if why := withoutVotes(&c, append(away, name)...); why != "" && n.a.cluster != nil {
		refuse("quorum", why, "start the core node that is missing: causeway ctl cluster status")
	}
	if len(no.Reasons) > 0 {
		return no
	}
	return nil
}

// StopEvacuation implements admin.Evacuations.
func (n node) StopEvacuation(ctx context.Context, name, by string, dryRun bool) ([]string, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	d, ok := n.a.documents.get(nodeDocument(name))
	if !ok {
		return nil, fmt.Errorf("evacuation of node %s: %w", name, admin.ErrNotFound)
	}
	effects := []string{"node " + name + " takes devices again, and load balancers hear so", "who was closed stays where it is: causeway ctl rebalance start brings nodes level"}
	if dryRun {
		return effects, nil
	}
	return effects, n.removeDocument(ctx, d.Name, d.Revision, by, "stop")
}

// Rebalance implements admin.Evacuations.
func (n node) Rebalance() (admin.Rebalance, error) {
	if _, err := n.state(); err != nil {
		return admin.Rebalance{}, err
	}
	b := n.a.rebalance()
	if b == nil {
		return admin.Rebalance{}, admin.ErrNotFound
	}
	loads := n.a.loads()
	out := admin.Rebalance{State: string(b.State), By: b.By, Began: b.Began.UTC(), Since: b.Since.UTC(), Outcome: b.Outcome, Detail: b.Detail, ExpectedSeconds: admin.SecondsOf(b.Expected),
		LeftSeconds: admin.SecondsOf(b.Left(time.Now(), loads)), Nodes: rebalanceNodes(&b.Plan, loads), Steps: steps(b.Steps)}
	if !b.Ended.IsZero() {
		ended := b.Ended.UTC()
		out.Ended = &ended
	}
	return out, nil
}

func rebalanceNodes(p *evacuation.Plan, loads []evacuation.Load) (list []admin.RebalanceNode) {
	now := map[string]int{}
	for _, l := range loads {
		now[l.Node] = l.Connections
	}
	for _, d := range p.Donors {
		list = append(list, admin.RebalanceNode{Node: d.Node, Donor: true, Connections: now[d.Node], Has: d.Has, Leave: d.Leave})
	}
	for _, name := range p.Recipients {
		list = append(list, admin.RebalanceNode{Node: name, Connections: now[name]})
	}
	return list
}

// rebalance is the one under way or the last; nil: none.
func (a *App) rebalance() *evacuation.Rebalance {
	d, ok := a.documents.get(rebalanceDocument)
	if !ok {
		return nil
	}
	b, err := readDocument[evacuation.Rebalance](d)
	if err != nil {
		return nil
	}
	return b
}

// StartRebalance implements admin.Evacuations.
func (n node) StartRebalance(ctx context.Context, o admin.RebalanceOrder, dryRun bool) (admin.RebalanceChange, error) {
	var c admin.RebalanceChange
	if _, err := n.state(); err != nil {
		return c, err
	}
	options, err := paceOf(o.EvacuationOrder)
	if err != nil {
		return c, err
	}
	th := evacuation.DefaultThresholds()
	override(&th.AbsConn, o.AbsConn)
	override(&th.RelConn, o.RelConn)
	if err := th.Validate(); err != nil {
		return c, admin.BadRequest(err.Error(), "leave it out for the default")
	}
	loads := n.a.loads()
	for _, name := range o.Nodes {
		if !slices.ContainsFunc(loads, func(l evacuation.Load) bool { return l.Node == name }) {
			return c, admin.Refuse("nodes", "node "+name+" takes no devices now, or is not of this region", "causeway ctl cluster status; causeway ctl evacuation status")
		}
	}
	if len(o.Nodes) > 0 {
		loads = slices.DeleteFunc(loads, func(l evacuation.Load) bool { return !slices.Contains(o.Nodes, l.Node) })
	}
	d, _ := n.a.documents.get(rebalanceDocument)
	if b := n.a.rebalance(); b != nil && b.Active() {
		return c, admin.Refuse("under_way", "the nodes are being balanced", "causeway ctl rebalance status")
	}
	plan := evacuation.Balance(loads, th)
	if plan.Reason != "" {
		return c, admin.Refuse("balanced", plan.Reason, "nothing is to be done; lower --abs-conn-threshold or --rel-conn-threshold to balance all the same")
	}
	b := evacuation.BeginRebalance(plan, o.By, options, th, time.Now())
	c = admin.RebalanceChange{Target: strings.Join(o.Nodes, ", "), Nodes: rebalanceNodes(&plan, loads), ExpectedSeconds: admin.SecondsOf(b.Expected)}
	if c.Target == "" {
		c.Target = "the nodes of the region"
	}
	for _, x := range plan.Donors {
		c.Effects = append(c.Effects, fmt.Sprintf("%s has %d connections and closes %d of them at %d a second; load balancers send it nobody meanwhile", x.Node, x.Has, x.Has-x.Leave, options.ConnEvictRate))
	}
	c.Effects = append(c.Effects, fmt.Sprintf("it takes about %s", b.Expected.Round(time.Second)))
	if dryRun {
		return c, nil
	}
	return c, n.writeDocument(ctx, rebalanceDocument, d.Revision, b, o.By, "start")
}

// StopRebalance implements admin.Evacuations.
func (n node) StopRebalance(ctx context.Context, by string, dryRun bool) ([]string, error) {
	if _, err := n.state(); err != nil {
		return nil, err
	}
	d, _ := n.a.documents.get(rebalanceDocument)
	b := n.a.rebalance()
	if b == nil || !b.Active() {
		return nil, fmt.Errorf("a rebalance under way: %w", admin.ErrNotFound)
	}
	effects := []string{"no more connections are closed, and donors take devices from load balancers again", "who was closed stays where it is"}
	if dryRun {
		return effects, nil
	}
	return effects, n.writeDocument(ctx, rebalanceDocument, d.Revision, b.End(evacuation.OutcomeStopped, "by "+by, time.Now()), by, "stop")
}

// writeDocument writes a document from the revision that the caller looked at.
func (n node) writeDocument(ctx context.Context, name string, seen uint64, v any, by, note string) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = n.a.documents.set(ctx, name, seen, body, by, note)
	return documentError(err)
}

func (n node) removeDocument(ctx context.Context, name string, seen uint64, by, note string) error {
	_, err := n.a.documents.set(ctx, name, seen, nil, by, note)
	return documentError(err)
}
