package supervise

import (
	"slices"
	"time"
)

// State is where in its life a service is.
type State string

// The states of a service.
const (
	StateWaiting   State = "waiting" // added, not started yet
	StateRunning   State = "running"
	StateBackoff   State = "backoff"   // failed; NextStart says when it starts again
	StateIsolated  State = "isolated"  // failed again and again: as backoff, and only tried once in a Backoff.Max
	StateDone      State = "done"      // ended by itself with ErrDone
	StateFailed    State = "failed"    // ended with a Fatal
	StateStopped   State = "stopped"   // ended because it was asked to
	StateContained State = "contained" // not a service: something that panicked and is not started again, see Crashed
	StateStuck     State = "stuck"     // was asked to and did not in time
)

// Status is the record of one service.
type Status struct {
	Name        string
	State       State
	Since       time.Time // of State
	Restarts    int       // since Add, or the first Keep
	Panics      int       // of the failures, and all that was Crashed
	LastError   string    // "" when it never failed
	LastErrorAt time.Time // zero when it never failed
	NextStart   time.Time // in StateBackoff and StateIsolated, otherwise zero
}

// Status returns a copy of every service's record, in the order of Add, then of the parts, and of what was
// contained.
func (t *Tree) Status() []Status {
	t.mu.Lock()
	entries := slices.Concat(t.entries, t.parts, t.contained)
	t.mu.Unlock()
	out := make([]Status, 0, len(entries))
	for _, e := range entries {
		e.mu.Lock()
		out = append(out, e.status)
		e.mu.Unlock()
	}
	return out
}
