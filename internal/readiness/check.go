package readiness

import (
	"context"
	"fmt"
	"time"
)

// State is what a check found.
type State string

// States, from the best to the worst. What was not looked at yet is pending.
const (
	StateOK      State = "ok"
	StatePending State = "pending"
	StateWarn    State = "warn"
	StateFail    State = "fail" // a blocker: do not drill, and do not rely on a failover
	StateSkip    State = "skip" // not for this node to say, or nothing to look at; it does not count
)

// Result is what a check found, why, and what helps.
type Result struct {
	State  State
	Reason string
	Fix    string // a command or an act; "" when there is nothing to do
	// Age is that of the oldest thing that was looked at and has to be new enough, such as a backup; 0: there is none.
	Age time.Duration
}

// Aged is a result with the age of what was looked at.
func (r Result) Aged(d time.Duration) Result {
	r.Age = d
	return r
}

// OK is the result that all is well.
func OK(format string, args ...any) Result {
	return Result{State: StateOK, Reason: fmt.Sprintf(format, args...)}
}

// Skip is the result of a check that is not this node's to make.
func Skip(format string, args ...any) Result {
	return Result{State: StateSkip, Reason: fmt.Sprintf(format, args...)}
}

// Warn is the result of something that is to be mended soon.
func Warn(fix, format string, args ...any) Result {
	return Result{State: StateWarn, Reason: fmt.Sprintf(format, args...), Fix: fix}
}

// Fail is the result of a blocker.
func Fail(fix, format string, args ...any) Result {
	return Result{State: StateFail, Reason: fmt.Sprintf(format, args...), Fix: fix}
}

// Worst is the worst of several results; of equals the first.
func Worst(results ...Result) Result {
	var worst Result
	for i, r := range results {
		if i == 0 || rank(r.State) > rank(worst.State) {
			worst = r
		}
	}
	return worst
}

func rank(s State) int {
	switch s {
	case StateSkip:
		return -1
	case StateOK:
		return 0
	case StatePending:
		return 1
	case StateWarn:
		return 2
	}
	return 3
}

// Check is one thing that has to be well.
type Check struct {
	// Name is a word for programs and metrics: standby_lag, capacity.
	Name string
	// Every is the pause between two runs. Default a minute.
	Every time.Duration
	// Within bounds a run; one that takes longer is a blocker. Default 10 s.
	Within time.Duration
	// Run looks. It must end soon after ctx does; it is never called while it runs.
	// A panic is a result that fails.
	Run func(ctx context.Context) Result
}

const (
	defaultEvery  = time.Minute
	defaultWithin = 10 * time.Second
)
