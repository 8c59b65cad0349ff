package admin

import (
	"context"
	"time"
)

func (f *fake) Evacuations() ([]Evacuation, error) {
	if f.st.Node == "" {
		return nil, f.down
	}
	return []Evacuation{{Node: "eu-1", State: "evicting_conns", Reason: "kernel", By: "ops", Began: noon, Since: noon, Connections: 900, ConnectionsBegan: 1000, Sessions: 900, SessionsBegan: 1000,
		ExpectedSeconds: 122, LeftSeconds: 60.5, ConnEvictRate: 500, SessEvictRate: 500, NotRemovable: "900 connections are left", Steps: []EvacuationStep{{"evicting_conns", noon}}}}, f.down
}

func (f *fake) StartEvacuation(_ context.Context, o EvacuationOrder, dryRun bool) (EvacuationChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return EvacuationChange{}, f.refuse
	}
	if !dryRun {
		var rate int // what may be left out
		var health time.Duration
		if o.ConnEvictRate != nil {
			rate = *o.ConnEvictRate
		}
		if o.WaitHealthCheck != nil {
			health = *o.WaitHealthCheck
		}
		f.do("evacuate %s rate=%d health=%s by=%s reason=%s", o.Node, rate, health, o.By, o.Reason)
	}
	return EvacuationChange{Connections: 1000, ExpectedSeconds: 122}, f.down
}

func (f *fake) StopEvacuation(_ context.Context, node, by string, dryRun bool) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("stop the evacuation of %s by=%s", node, by)
	}
	return nil, f.down
}

func (f *fake) Rebalance() (Rebalance, error) {
	if f.st.Node == "" {
		return Rebalance{}, f.down
	}
	ended := noon.Add(time.Minute)
	return Rebalance{State: "waiting_takeover", By: "ops", Began: noon, Since: noon, Ended: &ended, Outcome: "done", ExpectedSeconds: 60,
		Nodes: []RebalanceNode{{Node: "eu-1", Donor: true, Has: 9, Leave: 5, Connections: 5}}, Steps: []EvacuationStep{{"evicting_conns", noon}}}, f.down
}

func (f *fake) StartRebalance(_ context.Context, o RebalanceOrder, dryRun bool) (RebalanceChange, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("rebalance %v", o.Nodes)
	}
	return RebalanceChange{Target: "eu-1, eu-2", ExpectedSeconds: 60, Nodes: []RebalanceNode{{Node: "eu-1", Donor: true}}}, f.down
}

func (f *fake) StopRebalance(context.Context, string, bool) ([]string, error) { return nil, f.down }
