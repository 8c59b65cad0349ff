package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"
)

// entry is one service with its record. Between two calls of launch:
//
//	waiting -> running -> backoff -> running …
//	              |-> done      ErrDone
//	              |-> failed    Fatal
//	              |-> stopped   asked to
//	              `-> stuck     asked to, and did not in time
type entry struct {
	// fixed after Add
	name    string
	service Service
	log     *slog.Logger
	backoff Backoff

	// written by launch while the tree's mu is held
	token suture.ServiceToken
	ended chan struct{} // closed when the branch is gone
	fatal chan<- error

	mu       sync.Mutex
	status   Status
	failures int // in a row
}

// patience is how long a service's own supervisor waits for it to stop: always longer than
// entry.stop, which decides.
const patience = 24 * time.Hour

// launch hangs the service under root, in a supervisor of its own: suture's back-off holds up
// every restart of one supervisor, and here a crash delays nobody else.
func (e *entry) launch(root *suture.Supervisor, fatal chan<- error) {
	s := spec()
	s.BackoffJitter = waiter{e}
	s.Timeout = patience
	own := suture.New(e.name, s)
	own.Add(runner{e})
	e.ended, e.fatal = make(chan struct{}), fatal
	e.token = root.Add(branch{own, e.ended})
}

// stop asks the service to end and reports whether it did within the limit.
func (e *entry) stop(root *suture.Supervisor, limit time.Duration) bool {
	_ = root.Remove(e.token) // it fails only when the root has gone, and its services with it
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-e.ended:
	case <-timer.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.status.State {
	case StateRunning:
		e.set(StateStuck)
		e.log.Error("service does not stop and is left behind", "after", limit)
		return false
	case StateWaiting, StateBackoff:
		e.set(StateStopped)
	}
	return true
}

// branch is a service's own supervisor as the root sees it. It hides the supervisor from suture,
// which would replace its hooks.
type branch struct {
	own   *suture.Supervisor
	ended chan struct{}
}

// Serve runs the supervisor of one service.
func (b branch) Serve(ctx context.Context) error {
	defer close(b.ended)
	_ = b.own.Serve(ctx)
	return suture.ErrDoNotRestart
}

// waiter gives suture the length of a back-off.
type waiter struct{ e *entry }

// Jitter returns the wait that the last failure asks for.
func (w waiter) Jitter(time.Duration) time.Duration {
	w.e.mu.Lock()
	defer w.e.mu.Unlock()
	return w.e.backoff.after(w.e.failures)
}

// runner is the service as suture sees it.
type runner struct{ e *entry }

// Serve runs the service once and says what shall happen next.
func (r runner) Serve(ctx context.Context) error {
	e := r.e
	e.begin()
	err := e.run(ctx)
	switch {
	case ctx.Err() != nil:
		e.stopped(err)
		return suture.ErrDoNotRestart
	case errors.Is(err, ErrDone):
		e.record(StateDone, nil)
		return suture.ErrDoNotRestart
	case isFatal(err):
		e.failed(err)
		return suture.ErrDoNotRestart
	case err == nil:
		err = errors.New("it returned although nobody stopped it")
	}
	e.restart(err)
	// suture compares what it gets with sentinels that a service may carry in its chain.
	return errors.New(err.Error())
}

func isFatal(err error) bool {
	var f *Fatal
	return errors.As(err, &f)
}

// run calls the service and turns a panic into an error. The stack is logged here and nowhere
// else.
func (e *entry) run(ctx context.Context) (err error) {
	returned := false
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
			e.log.Error("service panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		} else if !returned {
			err = errors.New("it ended its goroutine")
		}
	}()
	err = e.service.Run(ctx)
	returned = true
	return err
}

// begin records a start.
func (e *entry) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.State == StateBackoff {
		e.status.Restarts++
		e.status.NextStart = time.Time{}
	}
	e.set(StateRunning)
}

// restart records a failure that a new start may repair.
func (e *entry) restart(err error) {
	e.mu.Lock()
	if time.Since(e.status.Since) >= e.backoff.Healthy {
		e.failures = 0
	}
	e.failures++
	wait := e.backoff.after(e.failures)
	e.set(StateBackoff)
	e.fail(err)
	e.status.NextStart = e.status.Since.Add(wait)
	restarts := e.status.Restarts
	e.mu.Unlock()
	e.log.Warn("service failed and will be started again", "error", err, "after", wait, "restarts", restarts)
}

// failed records a Fatal and ends the tree.
func (e *entry) failed(err error) {
	e.record(StateFailed, err)
	e.log.Error("service failed for good", "error", err)
	e.passOn(err)
}

// stopped records the end that was asked for. An error on the way out is worth a line: something
// may not have been written.
func (e *entry) stopped(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrDone) {
		err = nil
	}
	e.record(StateStopped, err)
	if err == nil {
		return
	}
	e.log.Warn("service stopped with an error", "error", err)
	if isFatal(err) {
		e.passOn(err)
	}
}

// passOn hands a Fatal to Tree.Run; the first one counts.
func (e *entry) passOn(err error) {
	select {
	case e.fatal <- fmt.Errorf("service %s: %w", e.name, err):
	default:
	}
}

func (e *entry) record(s State, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.set(s)
	if err != nil {
		e.fail(err)
	}
}

// set changes the state; the caller holds mu.
func (e *entry) set(s State) { e.status.State, e.status.Since = s, time.Now() }

// fail keeps the newest error; the caller holds mu.
func (e *entry) fail(err error) {
	e.status.LastError, e.status.LastErrorAt = err.Error(), time.Now()
}
