package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Evacuations are how devices are sent from one node of the region to the others.
type Evacuations interface {
	// Evacuations lists the nodes that are being evacuated, or were and take no devices, by name.
	Evacuations() ([]Evacuation, error)
	// StartEvacuation begins one, or with dryRun says what it would do; it refuses with every reason there is.
	StartEvacuation(ctx context.Context, o EvacuationOrder, dryRun bool) (EvacuationChange, error)
	// StopEvacuation has the node take devices again, however far it was.
	StopEvacuation(ctx context.Context, node, by string, dryRun bool) ([]string, error)

	// Rebalance tells of the one under way, or the last; ErrNotFound if there was none.
	Rebalance() (Rebalance, error)
	StartRebalance(ctx context.Context, o RebalanceOrder, dryRun bool) (RebalanceChange, error)
	StopRebalance(ctx context.Context, by string, dryRun bool) ([]string, error)
}

// EvacuationOrder is how an operator wants a node evacuated. Fields that are nil take the default.
type EvacuationOrder struct {
	Node            string
	ConnEvictRate   *int
	SessEvictRate   *int
	WaitHealthCheck *time.Duration
	WaitTakeover    *time.Duration
	Reason, By      string
}

// RebalanceOrder is how an operator wants nodes balanced.
type RebalanceOrder struct {
	EvacuationOrder          // its Node is not used
	Nodes           []string // none: all
	AbsConn         *int
	RelConn         *float64
}

// Evacuation is how far the evacuation of a node is.
type Evacuation struct {
	Node   string    `json:"node"`  // or the region
	State  string    `json:"state"` // waiting_health_check, evicting_conns, waiting_takeover, evicting_sessions, prohibiting
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	Began  time.Time `json:"began"`
	Since  time.Time `json:"since"` // of the state
	Held   string    `json:"held"`  // why it does not go on; ""

	Connections      int `json:"connections"` // that the node has now
	ConnectionsBegan int `json:"connections_began"`
	Sessions         int `json:"sessions"` // that the node owns now
	SessionsBegan    int `json:"sessions_began"`
	Elsewhere        int `json:"elsewhere"` // sessions attached to the other nodes now
	ElsewhereBegan   int `json:"elsewhere_began"`

	ExpectedSeconds Seconds `json:"expected_seconds"` // that it was to take when it began
	LeftSeconds     Seconds `json:"left_seconds"`     // until the node may be stopped

	ConnEvictRate          int     `json:"conn_evict_rate"`
	SessEvictRate          int     `json:"sess_evict_rate"`
	WaitHealthCheckSeconds Seconds `json:"wait_health_check_seconds"`
	WaitTakeoverSeconds    Seconds `json:"wait_takeover_seconds"`

	Done         bool             `json:"done"`          // the node takes no devices and has none
	Removable    bool             `json:"removable"`     // done, and the home keeps a majority without it
	NotRemovable string           `json:"not_removable"` // why not; ""
	Steps        []EvacuationStep `json:"steps"`
}

// EvacuationStep is when it came to a state.
type EvacuationStep struct {
	State string    `json:"state"`
	At    time.Time `json:"at"`
}

// EvacuationChange says what beginning one does.
type EvacuationChange struct {
	Action          string   `json:"action"`
	Target          string   `json:"target"` // the node, or the region
	DryRun          bool     `json:"dry_run"`
	Effects         []string `json:"effects"`
	Connections     int      `json:"connections"`
	Sessions        int      `json:"sessions"`
	ExpectedSeconds Seconds  `json:"expected_seconds"`
}

// Rebalance is how far the balancing of the region's nodes is.
type Rebalance struct {
	State           string           `json:"state"`
	By              string           `json:"by"`
	Began           time.Time        `json:"began"`
	Since           time.Time        `json:"since"`
	Ended           *time.Time       `json:"ended"`   // null: it is under way
	Outcome         string           `json:"outcome"` // done, partly, stopped; "" while under way
	Detail          string           `json:"detail"`
	ExpectedSeconds Seconds          `json:"expected_seconds"`
	LeftSeconds     Seconds          `json:"left_seconds"`
	Nodes           []RebalanceNode  `json:"nodes"`
	Steps           []EvacuationStep `json:"steps"`
}

// RebalanceNode is what a node gives or takes.
type RebalanceNode struct {
	Node        string `json:"node"`
	Donor       bool   `json:"donor"`
	Connections int    `json:"connections"` // now
	Has         int    `json:"has"`         // of a donor: when it began
	Leave       int    `json:"leave"`       // of a donor: what it keeps
}

// RebalanceChange says what beginning one does.
type RebalanceChange struct {
	Action          string          `json:"action"`
	Target          string          `json:"target"`
	DryRun          bool            `json:"dry_run"`
	Effects         []string        `json:"effects"`
	Nodes           []RebalanceNode `json:"nodes"`
	ExpectedSeconds Seconds         `json:"expected_seconds"`
}

func (a *api) listEvacuations(*http.Request, *query) (any, error) {
	all, err := a.node.Evacuations()
	if err != nil {
		return nil, fmt.Errorf("evacuations: %w", err)
	}
	for i := range all {
		all[i].Steps = list(all[i].Steps)
	}
	return Page[Evacuation]{Items: list(all)}, nil
}

func (a *api) getEvacuation(r *http.Request, _ *query) (any, error) {
	all, err := a.node.Evacuations()
	if err != nil {
		return nil, fmt.Errorf("evacuations: %w", err)
	}
	for _, e := range all {
		if e.Node == r.PathValue("node") {
			e.Steps = list(e.Steps)
			return e, nil
		}
	}
	return nil, fmt.Errorf("evacuation of node %s: %w", r.PathValue("node"), ErrNotFound)
}

// paceParams are the parameters of whatever closes connections at a pace. Only a node that is evacuated lets go of
// sessions, at sess_evict_rate.
var paceParams = []string{"dry_run", "conn_evict_rate", "wait_health_check", "wait_takeover", "reason"}

func (q *query) evacuation(r *http.Request, by string) EvacuationOrder {
	return EvacuationOrder{Node: r.PathValue("node"), ConnEvictRate: q.count("conn_evict_rate"), SessEvictRate: q.count("sess_evict_rate"),
		WaitHealthCheck: q.wait("wait_health_check"), WaitTakeover: q.wait("wait_takeover"), Reason: q.text("reason"), By: by}
}

// count is a number that may be left out.
func (q *query) count(name string) *int {
	s := q.values.Get(name)
	if s == "" {
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		q.wrong(name, "as a whole number")
	}
	return &n
}

// wait is a duration that may be left out, or 0.
func (q *query) wait(name string) *time.Duration {
	switch s := q.values.Get(name); s {
	case "":
		return nil
	case "0", "0s":
		return new(time.Duration)
	}
	d := q.duration(name)
	return &d
}

func (a *api) startEvacuation(r *http.Request, q *query) (any, error) {
	o, dry := q.evacuation(r, a.caller(r)), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	c, err := a.node.StartEvacuation(r.Context(), o, dry)
	if err != nil {
		return nil, fmt.Errorf("evacuate %s: %w", o.Node, err)
	}
	c.Action, c.Target, c.DryRun, c.Effects = "evacuate", o.Node, dry, list(c.Effects)
	return c, nil
}

func (a *api) stopEvacuation(r *http.Request, q *query) (any, error) {
	node, dry := r.PathValue("node"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.StopEvacuation(r.Context(), node, a.caller(r), dry)
	if err != nil {
		return nil, fmt.Errorf("stop the evacuation of %s: %w", node, err)
	}
	return Change{Action: "stop the evacuation", Target: node, DryRun: dry, Effects: list(effects)}, nil
}

func (a *api) getRebalance(*http.Request, *query) (any, error) {
	b, err := a.node.Rebalance()
	if err != nil {
		return nil, fmt.Errorf("rebalance: %w", err)
	}
	b.Nodes, b.Steps = list(b.Nodes), list(b.Steps)
	return b, nil
}

func (a *api) startRebalance(r *http.Request, q *query) (any, error) {
	o := RebalanceOrder{EvacuationOrder: q.evacuation(r, a.caller(r)), Nodes: splitList(q.text("nodes")), AbsConn: q.count("abs_conn_threshold")}
	if s := q.text("rel_conn_threshold"); s != "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			q.wrong("rel_conn_threshold", "as a number such as 1.1")
		}
		o.RelConn = &f
	}
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	c, err := a.node.StartRebalance(r.Context(), o, dry)
	if err != nil {
		return nil, fmt.Errorf("rebalance: %w", err)
	}
	c.Action, c.DryRun, c.Effects, c.Nodes = "rebalance", dry, list(c.Effects), list(c.Nodes)
	return c, nil
}

// splitList reads names with commas between.
func splitList(s string) (names []string) {
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func (a *api) stopRebalance(r *http.Request, q *query) (any, error) {
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.StopRebalance(r.Context(), a.caller(r), dry)
	if err != nil {
		return nil, fmt.Errorf("stop the rebalance: %w", err)
	}
	return Change{Action: "stop the rebalance", Target: "the nodes of the region", DryRun: dry, Effects: list(effects)}, nil
}
