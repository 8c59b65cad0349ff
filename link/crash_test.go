package link

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// trapped is a home that panics at a peer's frame, as often as armed says.
type trapped struct {
	Home
	of    home.ID
	armed atomic.Int32
}

func (h *trapped) Propose(op home.Op, done func(home.Outcome, error)) error {
	if f, ok := op.(*home.Frame); ok && f.Source.Home == h.of && h.armed.Add(-1) >= 0 {
		panic("planted in a receiver")
	}
	return h.Home.Propose(op, done)
}

// crashes counts what the parts of a Manager panicked with.
type crashes struct {
	mu sync.Mutex
	n  map[string]int
}

// keep is Options.Keep.
func (c *crashes) keep(ctx context.Context, name string, run func(context.Context) error) {
	group.Keep(ctx, name, func(ctx context.Context) error {
		err := group.Protect(func() error { return run(ctx) })
		if group.Panicked(err) != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.n[name]++
		}
		return err
	})
}

// A goroutine of a tunnel panics under load, three times, at the side that was dialled. Only that link ends, and is started
// again by who keeps it and counts; the other link's tunnel stays. What was on its way comes, once and in order.
func TestCrash_ATunnelsPanicIsItsLinks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		trap, c := &trapped{of: "eu"}, &crashes{n: map[string]int{}}
		us := w.tuned("us", func(o *tuning) { trap.Home, o.Home, o.Keep = o.Home, trap, c.keep }, peerFrom("eu"), peerFrom("ap"))
		eu, ap := w.region("eu", peerTo("us")), w.region("ap", peerTo("us"))
		us.home.subscribe(t, "dev", "e/#")
		us.home.subscribe(t, "other", "a/#")
		wantsKnown(t, eu, us)
		wantsKnown(t, ap, us)
		since := us.status("ap").Since
		for i := range 3 {
			trap.armed.Store(1)
			eu.home.publish(t, "e/x", 100*i, 100*i+100)
			ap.home.publish(t, "a/x", 100*i, 100*i+100)
			drained(t, ap, "us", time.Second)
			drained(t, eu, "us", time.Minute)
		}
		same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, 300))
		same(t, us.home.queue(t, "other"), numbered("ap", "a/x", 0, 300))
		if s := us.status("ap").Since; s != since {
			t.Error("the other link's tunnel ended")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.n) != 1 || c.n["link eu"] != 3 {
			t.Errorf("panics: %v", c.n)
		}
	})
}
