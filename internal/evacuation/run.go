package evacuation

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is where an evacuation is. The names are those that operators of EMQX know.
//
//	waiting_health_check --wait_health_check, leads nothing--> evicting_conns --no connection--> waiting_takeover
//	  --wait_takeover--> evicting_sessions --no session--> prohibiting
//
// It is begun and stopped by an operator, in any state. From evicting_conns on no new connections are taken.
type State string

// The states, in their order.
const (
	WaitingHealthCheck State = "waiting_health_check" // load balancers hear that no more devices are to come
	EvictingConns      State = "evicting_conns"       // connections are closed at a pace
	WaitingTakeover    State = "waiting_takeover"     // devices come back elsewhere and take their sessions along
	EvictingSessions   State = "evicting_sessions"    // sessions that the node still owns are let go of at a pace
	Prohibiting        State = "prohibiting"          // the node may be stopped; it takes no connections
)

var order = []State{WaitingHealthCheck, EvictingConns, WaitingTakeover, EvictingSessions, Prohibiting}

// Known says whether it is a state.
func (s State) Known() bool { return slices.Contains(order, s) }

// Shut says that new connections are turned away.
func (s State) Shut() bool { return slices.Index(order, s) >= slices.Index(order, EvictingConns) }

// Options of an evacuation. Zero fields are taken as they are; Defaults are what is meant where nothing was said.
type Options struct {
	ConnEvictRate   int           `json:"conn_evict_rate"` // connections closed a second
	SessEvictRate   int           `json:"sess_evict_rate"` // sessions let go of a second
	WaitHealthCheck time.Duration `json:"wait_health_check"`
	WaitTakeover    time.Duration `json:"wait_takeover"`
}

// Defaults are EMQX's.
func Defaults() Options {
	return Options{ConnEvictRate: 500, SessEvictRate: 500, WaitHealthCheck: time.Minute, WaitTakeover: time.Minute}
}

// The bounds of Options.
const (
	MostRate = 100_000
	MostWait = 24 * time.Hour
)

// Validate says what is wrong with the options, by the names of the flags.
func (o Options) Validate() error {
	var all []error
	for _, r := range []struct {
		name string
		v    int
	}{{"conn-evict-rate", o.ConnEvictRate}, {"sess-evict-rate", o.SessEvictRate}} {
		if r.v < 1 || r.v > MostRate {
			all = append(all, fmt.Errorf("%s is %d; it must be 1 to %d a second", r.name, r.v, MostRate))
		}
	}
	for _, w := range []struct {
		name string
		v    time.Duration
	}{{"wait-health-check", o.WaitHealthCheck}, {"wait-takeover", o.WaitTakeover}} {
		if w.v < 0 || w.v > MostWait {
			all = append(all, fmt.Errorf("%s is %s; it must be 0 to %s", w.name, w.v, MostWait))
		}
	}
	return errors.Join(all...)
}

// Run is the evacuation of one node, as its document keeps it.
type Run struct {
	Node    string    `json:"node"`
	Options Options   `json:"options"`
	State   State     `json:"state"`
	Began   time.Time `json:"began"`
	Since   time.Time `json:"since"` // of State
	By      string    `json:"by"`
	Reason  string    `json:"reason"`

	// When it began: what was to be done, and how long that was expected to take.
	Connections int           `json:"connections"`
	Sessions    int           `json:"sessions"`
	Elsewhere   int           `json:"elsewhere"` // sessions that other nodes had
	Expected    time.Duration `json:"expected"`

	Steps []Step `json:"steps"` // the states it has been in; the last is State
}

// Step is when a run came to a state.
type Step struct {
	State State     `json:"state"`
	At    time.Time `json:"at"`
}

// Seen is what there is at a node.
type Seen struct {
	Connections int  // that devices have there
	Sessions    int  // that it owns in the homes it serves, with or without a connection
	Elsewhere   int  // sessions that other nodes own
	Leads       bool // some home's log
	Others      int  // other nodes that take devices
}

// Begin is the run that begins now.
func Begin(node, by, reason string, o Options, now time.Time, seen Seen) *Run {
	r := &Run{Node: node, Options: o, State: WaitingHealthCheck, Began: now, Since: now, By: by, Reason: reason,
		Connections: seen.Connections, Sessions: seen.Sessions, Elsewhere: seen.Elsewhere, Steps: []Step{{WaitingHealthCheck, now}}}
	r.Expected = r.Left(now, seen)
	return r
}

// Next returns the run in the state that follows from what is seen, and nil while there is none to go on to.
func (r *Run) Next(now time.Time, seen Seen) *Run {
	if r.Held(seen) != "" || r.waits(now) > 0 {
		return nil
	}
	switch r.State {
	case WaitingHealthCheck:
		if seen.Leads {
			return nil
		}
		return r.in(EvictingConns, now)
	case EvictingConns:
		if seen.Connections > 0 {
			return nil
		}
		return r.in(WaitingTakeover, now)
	case WaitingTakeover:
		return r.in(EvictingSessions, now)
	case EvictingSessions:
		if seen.Connections > 0 || seen.Sessions > 0 {
			return nil
		}
		return r.in(Prohibiting, now)
	}
	return nil
}

func (r *Run) in(s State, now time.Time) *Run {
	next := *r
	next.State, next.Since = s, now
	next.Steps = append(slices.Clone(r.Steps), Step{s, now})
	return &next
}

// Held says why the run does not go on and no connection is closed, "" if it does: a device that is closed must have
// somewhere to go. While it is held the node takes new connections, for the same reason. A node that is empty already
// stays closed: it may be on its way out.
func (r *Run) Held(seen Seen) string {
	if seen.Others == 0 && r.State != Prohibiting {
		return "no other node of the region takes devices"
	}
	return ""
}

// waits is how long its state lasts yet whatever is seen. A clock that was set back makes it wait anew, not for longer.
func (r *Run) waits(now time.Time) time.Duration {
	passed := max(0, now.Sub(r.Since))
	switch r.State {
	case WaitingHealthCheck:
		return max(0, r.Options.WaitHealthCheck-passed)
	case WaitingTakeover:
		return max(0, r.Options.WaitTakeover-passed)
	}
	return 0
}

// Left is how long the run takes until it is prohibiting, if nothing holds it.
func (r *Run) Left(now time.Time, seen Seen) time.Duration {
	until := func(s State) bool { return slices.Index(order, r.State) <= slices.Index(order, s) }
	left := r.waits(now)
	if until(EvictingConns) {
		left += spent(seen.Connections, r.Options.ConnEvictRate) + r.Options.WaitTakeover
	}
	if until(EvictingSessions) {
		// A session ends with its connection, or loses its owner: what is left for its own turn are the others.
		left += spent(max(0, seen.Sessions-seen.Connections), r.Options.SessEvictRate)
	}
	return left
}

// spent is how long n take at so many a second.
func spent(n, rate int) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}

// Done says that there is nothing left to do but to stop the node, or the run.
func (r *Run) Done() bool { return r.State == Prohibiting }
