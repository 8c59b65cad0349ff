package group

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
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

// Protect turns a panic of fn into an error.
func Protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return fn()
}
