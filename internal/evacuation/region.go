package evacuation

import (
	"slices"
	"time"
)

// Region is the evacuation of a whole region, as the document of its home keeps it.
//
// Only its beginning and the order to let go are written: once another region serves the home this one can write nothing
// into it. What follows is seen, by each node for itself:
//
//	waiting_health_check --wait_health_check, written--> evicting_conns --serves no home, no connection--> waiting_takeover
//	  --wait_takeover--> prohibiting
//
// It is over when the region serves its home again, whoever had it do so: at a later epoch than it began at.
type Region struct {
	Region  string    `json:"region"`
	To      string    `json:"to"` // region that takes the home
	Options Options   `json:"options"`
	State   State     `json:"state"` // waiting_health_check or evicting_conns
	Epoch   uint64    `json:"epoch"` // of the home when it began
	Began   time.Time `json:"began"`
	Since   time.Time `json:"since"` // of State
	By      string    `json:"by"`
	Reason  string    `json:"reason"`

	Connections int           `json:"connections"` // when it began
	Sessions    int           `json:"sessions"`
	Nodes       int           `json:"nodes"` // that close connections at the same time
	Expected    time.Duration `json:"expected"`
}

// RegionSeen is what there is in a region, as one of its nodes sees it.
type RegionSeen struct {
	Epoch       uint64 // of the home
	Serves      bool   // this region serves some home
	Own         bool   // it serves its own
	Connections int    // at this node
	Empty       time.Time
}

// BeginRegion is the evacuation that begins now.
func BeginRegion(r Region, now time.Time) *Region {
	r.State, r.Began, r.Since = WaitingHealthCheck, now, now
	r.Expected = r.Left(now, RegionSeen{Connections: r.Connections / max(1, r.Nodes), Serves: true})
	return &r
}

// Next is what is to be written next; nil: nothing yet.
func (r *Region) Next(now time.Time) *Region {
	if r.State != WaitingHealthCheck || r.waits(now) > 0 {
		return nil
	}
	next := *r
	next.State, next.Since = EvictingConns, now
	return &next
}

// Over says that the region serves its home again.
func (r *Region) Over(seen RegionSeen) bool { return seen.Own && seen.Epoch > r.Epoch }

// At is the state as a node sees it.
func (r *Region) At(now time.Time, seen RegionSeen) State {
	switch {
	case r.State == WaitingHealthCheck:
		return r.State
	case seen.Serves || seen.Connections > 0:
		return EvictingConns
	case seen.Empty.IsZero() || now.Sub(seen.Empty) < r.Options.WaitTakeover:
		return WaitingTakeover
	}
	return Prohibiting
}

func (r *Region) waits(now time.Time) time.Duration {
	return max(0, r.Options.WaitHealthCheck-max(0, now.Sub(r.Since)))
}

// Left is how long it takes until the node is done, beside the switchover.
func (r *Region) Left(now time.Time, seen RegionSeen) time.Duration {
	closing := spent(seen.Connections, r.Options.ConnEvictRate) + r.Options.WaitTakeover
	switch r.At(now, seen) {
	case WaitingHealthCheck:
		return r.waits(now) + closing
	case EvictingConns:
		return closing
	case WaitingTakeover:
		if seen.Empty.IsZero() {
			return r.Options.WaitTakeover
		}
		return max(0, r.Options.WaitTakeover-max(0, now.Sub(seen.Empty)))
	}
	return 0
}

// Earliest is the state of a region whose nodes are in these.
func Earliest(states []State) State {
	return slices.MinFunc(states, func(x, y State) int { return slices.Index(order, x) - slices.Index(order, y) })
}
