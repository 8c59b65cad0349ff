package evacuation

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Load is how many connections a node has.
type Load struct {
	Node        string
	Connections int
}

// Thresholds say from which difference on connections are moved: both have to be exceeded by the mean of the nodes that
// have more than the mean over that of the others.
type Thresholds struct {
	AbsConn int     `json:"abs_conn_threshold"`
	RelConn float64 `json:"rel_conn_threshold"`
}

// DefaultThresholds are EMQX's.
func DefaultThresholds() Thresholds { return Thresholds{AbsConn: 1000, RelConn: 1.1} }

// Validate says what is wrong with the thresholds, by the names of the flags.
func (t Thresholds) Validate() error {
	var all []error
	if t.AbsConn < 1 {
		all = append(all, fmt.Errorf("abs-conn-threshold is %d; it must be 1 or more", t.AbsConn))
	}
	if !(t.RelConn > 1) || math.IsInf(t.RelConn, 0) {
		all = append(all, fmt.Errorf("rel-conn-threshold is %v; it must be above 1", t.RelConn))
	}
	return errors.Join(all...)
}

// Donor is a node that gives connections away, until it has Leave.
type Donor struct {
	Node  string `json:"node"`
	Has   int    `json:"has"` // when it was decided
	Leave int    `json:"leave"`
}

// Plan is who gives and who takes.
type Plan struct {
	Donors     []Donor  `json:"donors"` // none: the nodes are balanced
	Recipients []string `json:"recipients"`
	Reason     string   `json:"reason"` // why there is nothing to do; ""
}

// Balance decides who gives connections to whom. Nodes that have more than the mean give what they have above it.
func Balance(nodes []Load, t Thresholds) Plan {
	var p Plan
	if len(nodes) < 2 {
		p.Reason = "there are not two nodes to balance"
		return p
	}
	total := 0
	for _, n := range nodes {
		total += n.Connections
	}
	mean := (total + len(nodes) - 1) / len(nodes)
	given, taken := 0, 0
	for _, n := range sorted(nodes) {
		if n.Connections > mean {
			p.Donors = append(p.Donors, Donor{n.Node, n.Connections, mean})
			given += n.Connections
		} else {
			p.Recipients = append(p.Recipients, n.Node)
			taken += n.Connections
		}
	}
	if len(p.Donors) == 0 {
		return Plan{Reason: fmt.Sprintf("no node has more than the mean of %d connections", mean)}
	}
	donors, recipients := float64(given)/float64(len(p.Donors)), float64(taken)/float64(len(p.Recipients))
	switch {
	case donors-recipients < float64(t.AbsConn):
		return Plan{Reason: fmt.Sprintf("those above the mean have %.0f connections, the others %.0f: the difference is below abs-conn-threshold %d", donors, recipients, t.AbsConn)}
	case donors < recipients*t.RelConn:
		return Plan{Reason: fmt.Sprintf("those above the mean have %.0f connections, the others %.0f: the ratio is below rel-conn-threshold %v", donors, recipients, t.RelConn)}
	}
	return p
}

func sorted(nodes []Load) []Load {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Load) int { return cmp.Compare(a.Node, b.Node) })
	return nodes
}

// Rebalance is the balancing of a region's nodes, as its document keeps it. Donors tell load balancers that no more
// devices are to come, and close what they have too many of, each at the pace; they go on taking connections, since a
// device may know no other node.
//
//	waiting_health_check --wait_health_check--> evicting_conns --every donor is done, or had twice the time-->
//	  waiting_takeover --wait_takeover--> ended
//
// It has no evicting_sessions: sessions are where their devices go.
type Rebalance struct {
	Options    Options    `json:"options"`
	Thresholds Thresholds `json:"thresholds"`
	Plan       Plan       `json:"plan"`
	State      State      `json:"state"`
	Began      time.Time  `json:"began"`
	Since      time.Time  `json:"since"`
	By         string     `json:"by"`

	Expected time.Duration `json:"expected"`
	Steps    []Step        `json:"steps"`

	Ended   time.Time `json:"ended"`   // zero: it is under way
	Outcome string    `json:"outcome"` // done, stopped, partly; "" while under way
	Detail  string    `json:"detail"`
}

// The outcomes of a Rebalance.
const (
	OutcomeDone    = "done"
	OutcomePartly  = "partly" // a donor did not get rid of its connections in twice the time
	OutcomeStopped = "stopped"
)

// BeginRebalance is the rebalance of a plan that begins now.
func BeginRebalance(p Plan, by string, o Options, t Thresholds, now time.Time) *Rebalance {
	r := &Rebalance{Options: o, Thresholds: t, Plan: p, State: WaitingHealthCheck, Began: now, Since: now, By: by, Steps: []Step{{WaitingHealthCheck, now}}}
	r.Expected = o.WaitHealthCheck + r.evictTime() + o.WaitTakeover
	return r
}

// Active says that it is under way.
func (r *Rebalance) Active() bool { return r.Ended.IsZero() }

// Donor returns what a node gives; nil: nothing, or it is not the time.
func (r *Rebalance) Donor(node string) *Donor {
	if !r.Active() {
		return nil
	}
	for i := range r.Plan.Donors {
		if r.Plan.Donors[i].Node == node {
			return &r.Plan.Donors[i]
		}
	}
	return nil
}

// evictTime is how long the donor with most to give takes.
func (r *Rebalance) evictTime() (most time.Duration) {
	for _, d := range r.Plan.Donors {
		most = max(most, spent(d.Has-d.Leave, r.Options.ConnEvictRate))
	}
	return most
}

// slack is what is added to the time that donors have: what closes needs a moment to settle, and to be heard of.
const slack = 10 * time.Second

// Next returns the rebalance in the state that follows from what nodes have now; nil while there is none to go on to.
func (r *Rebalance) Next(now time.Time, nodes []Load) *Rebalance {
	passed := max(0, now.Sub(r.Since))
	switch {
	case !r.Active():
		return nil
	case r.State == WaitingHealthCheck && passed >= r.Options.WaitHealthCheck:
		return r.in(EvictingConns, now)
	case r.State == EvictingConns:
		open := r.open(nodes)
		switch {
		case len(open) == 0:
			return r.in(WaitingTakeover, now)
		case passed >= 2*r.evictTime()+slack:
			next := r.in(WaitingTakeover, now)
			next.Detail = fmt.Sprintf("%v still have more than their share", open)
			return next
		}
	case r.State == WaitingTakeover && passed >= r.Options.WaitTakeover:
		outcome := OutcomeDone
		if r.Detail != "" {
			outcome = OutcomePartly
		}
		return r.End(outcome, r.Detail, now)
	}
	return nil
}

// open lists the donors that have more than their share. A donor that is not there has nothing.
func (r *Rebalance) open(nodes []Load) (open []string) {
	for _, d := range r.Plan.Donors {
		for _, n := range nodes {
			if n.Node == d.Node && n.Connections > d.Leave {
				open = append(open, d.Node)
			}
		}
	}
	return open
}

// End returns it ended.
func (r *Rebalance) End(outcome, detail string, now time.Time) *Rebalance {
	next := *r
	next.Ended, next.Outcome, next.Detail = now, outcome, detail
	return &next
}

func (r *Rebalance) in(s State, now time.Time) *Rebalance {
	next := *r
	next.State, next.Since = s, now
	next.Steps = append(slices.Clone(r.Steps), Step{s, now})
	return &next
}

// Left is how long it takes yet, from what nodes have now.
func (r *Rebalance) Left(now time.Time, nodes []Load) time.Duration {
	if !r.Active() {
		return 0
	}
	passed := max(0, now.Sub(r.Since))
	switch r.State {
	case WaitingHealthCheck:
		return max(0, r.Options.WaitHealthCheck-passed) + r.evictTime() + r.Options.WaitTakeover
	case EvictingConns:
		var most time.Duration
		for _, d := range r.Plan.Donors {
			for _, n := range nodes {
				if n.Node == d.Node {
					most = max(most, spent(max(0, n.Connections-d.Leave), r.Options.ConnEvictRate))
				}
			}
		}
		return most + r.Options.WaitTakeover
	}
	return max(0, r.Options.WaitTakeover-passed)
}
