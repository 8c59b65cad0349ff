package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"

	"causeway/internal/group"
)

// entry is one service with its record. Between two calls of launch:
//
//	waiting -> running -> backoff -> running … -> isolated -> running …
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
	now     chan struct{} // holds one token: an operator wants it started now

	// written by launch while the tree's mu is held
	token suture.ServiceToken
	ended chan struct{} // closed when the branch is gone
	fatal chan<- error

	mu       sync.Mutex
	status   Status
	failures int // in a row
}

func newEntry(t *Tree, name string, s Service) *entry {
	e := &entry{name: name, service: s, log: t.log.With("service", name), backoff: t.backoff, now: make(chan struct{}, 1)}
	e.status = Status{Name: name, State: StateWaiting, Since: time.Now()}
	return e
}

// launch hangs the service under root.
func (e *entry) launch(root *suture.Supervisor, fatal chan<- error) {
	e.ended, e.fatal = make(chan struct{}), fatal
	e.token = root.Add(branch{e, e.ended})
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
	case StateWaiting, StateBackoff, StateIsolated:
		e.set(StateStopped)
	}
	return true
}

// branch is a service as the root sees it: it ends when the service will not be started again.
type branch struct {
	e     *entry
	ended chan struct{}
}

// Serve keeps the service running.
func (b branch) Serve(ctx context.Context) error {
	defer close(b.ended)
	b.e.keep(ctx)
	return suture.ErrDoNotRestart
}

// keep runs the service again and again, until ctx ends or it is not to be started again.
func (e *entry) keep(ctx context.Context) {
	for e.once(ctx) {
		next := time.NewTimer(e.pause())
		select {
		case <-next.C:
		case <-e.now:
		case <-ctx.Done():
		}
		next.Stop()
		if ctx.Err() != nil {
			e.stopped(nil)
			return
		}
	}
}

// once runs the service once and says whether it shall be started again.
func (e *entry) once(ctx context.Context) bool {
	e.begin()
	err := e.run(ctx)
	switch {
	case ctx.Err() != nil:
		e.stopped(err)
		return false
	case errors.Is(err, ErrDone):
		e.record(StateDone, nil)
		return false
	case isFatal(err):
		e.failed(err)
		return false
	case err == nil:
		err = errors.New("it returned although nobody stopped it")
	}
	e.restart(err)
	return true
}

// pause is how long the next start is away.
func (e *entry) pause() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Until(e.status.NextStart)
}

func isFatal(err error) bool {
	var f *Fatal
	return errors.As(err, &f)
}

// run calls the service and turns a panic, of it or of a goroutine that it waited for, into an
// error. The stack is logged here and nowhere else.
func (e *entry) run(ctx context.Context) error {
	err := errors.New("it ended its goroutine")
	var one sync.WaitGroup
	one.Go(func() { err = group.Protect(func() error { return e.service.Run(ctx) }) })
	one.Wait()
	if p := group.Panicked(err); p != nil {
		e.panicked(p)
	}
	return err
}

// panicked counts a panic and logs where it was.
func (e *entry) panicked(p *group.Panic) {
	e.mu.Lock()
	e.status.Panics++
	e.mu.Unlock()
	e.log.Error("service panicked", "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
}

// containedEvery is how often the stacks of what is contained are logged.
const containedEvery = 10 * time.Second

// contain notes a panic of what is not started again.
func (e *entry) contain(p *group.Panic) {
	e.mu.Lock()
	last := e.status.LastErrorAt
	e.set(StateContained)
	e.fail(p)
	if time.Since(last) < containedEvery {
		e.status.Panics++
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	e.panicked(p)
}

// begin records a start.
func (e *entry) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.State == StateBackoff || e.status.State == StateIsolated {
		e.status.Restarts++
		e.status.NextStart = time.Time{}
	}
	e.set(StateRunning)
}

// restart records a failure that a new start may repair. One that fails again and again is isolated:
// it is only tried now and then, and everything else goes on without it.
func (e *entry) restart(err error) {
	e.mu.Lock()
	if time.Since(e.status.Since) >= e.backoff.Healthy {
		e.failures = 0
	}
	e.failures++
	wait, state := e.backoff.after(e.failures), StateBackoff
	if wait == e.backoff.Max {
		state = StateIsolated
	}
	e.set(state)
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

// inherit goes on with the record of an earlier part of the name.
func (e *entry) inherit(old *entry) {
	old.mu.Lock()
	defer old.mu.Unlock()
	e.status.Restarts, e.status.Panics, e.status.LastError, e.status.LastErrorAt = old.status.Restarts, old.status.Panics, old.status.LastError, old.status.LastErrorAt
}

// fine says that it never failed.
func (e *entry) fine() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status.LastError == ""
}

// hurry ends the pause before the next start.
func (e *entry) hurry() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status.State != StateBackoff && e.status.State != StateIsolated {
		return ErrNotWaiting
	}
	group.Wake(e.now)
	return nil
}
