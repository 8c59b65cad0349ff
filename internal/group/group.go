package group

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Group runs goroutines that end together: the first error cancels the context
// of all, with that error as its cause. A panic is an error: bytes from a peer
// must not end the process.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// New returns a group that ends with parent at the latest. Wait must follow.
func New(parent context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancelCause(parent)
	return g
}

// Do starts fn. It may be called while another fn of the group runs.
func (g *Group) Do(fn func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := Protect(func() error { return fn(g.ctx) }); err != nil {
			g.cancel(err)
		}
	})
}

// Wait returns when all have ended, with the first error or the parent's.
func (g *Group) Wait() error {
	g.wg.Wait()
	err := context.Cause(g.ctx)
	g.cancel(nil)
	return err
}

// Panic is what a function panicked with, as an error. Its text has no stack: that is for a log.
type Panic struct {
	Value any
	Stack []byte
}

// Error is one line.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Panicked returns the panic that an error comes from, or nil.
func Panicked(err error) *Panic {
	var p *Panic
	errors.As(err, &p)
	return p
}

// Protect turns a panic of fn into an error.
func Protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}

// keepPause is how long Keep waits after a failure.
const keepPause = 5 * time.Second

// Keep runs a part again and again until ctx ends. It is what does so where there is no supervisor, who counts and waits
// longer each time.
func Keep(ctx context.Context, _ string, run func(context.Context) error) {
	for ctx.Err() == nil {
		if Protect(func() error { return run(ctx) }) != nil {
			_ = Pause(ctx, keepPause)
		}
	}
}
