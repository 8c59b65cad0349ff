package foreign

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// group runs goroutines that end together: the first error cancels the context of all, with that error as its cause. A
// panic is an error: bytes from a broker must not end the process.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newGroup(parent context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancelCause(parent)
	return g
}

func (g *group) do(fn func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := protect(func() error { return fn(g.ctx) }); err != nil {
			g.cancel(err)
		}
	})
}

// wait returns when all have ended, with the first error or the parent's.
func (g *group) wait() error {
	g.wg.Wait()
	err := context.Cause(g.ctx)
	g.cancel(nil)
	return err
}

// protect turns a panic of fn into an error.
func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return fn()
}

// wake signals a channel of capacity 1 and never blocks.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause sleeps for d unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backoff gives growing, jittered waits.
type backoff struct{ least, most, next time.Duration }

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait() time.Duration {
	b.next = min(max(b.least, 2*b.next), b.most)
	return b.next/2 + rand.N(b.next/2+1)
}
