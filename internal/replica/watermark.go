package replica

import (
	"context"
	"sync"
	"sync/atomic"
)

// watermark lets many wait for an index to be applied.
type watermark struct {
	waiting atomic.Int32 // so that raising costs nothing while nobody waits

	mu   sync.Mutex
	wait []waiter
}

type waiter struct {
	until func() bool
	ch    chan struct{}
}

// raise wakes those whose condition holds now.
func (w *watermark) raise() {
	if w.waiting.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.wait[:0]
	for _, x := range w.wait {
		if x.until() {
			close(x.ch)
			w.waiting.Add(-1)
			continue
		}
		left = append(left, x)
	}
	clear(w.wait[len(left):])
	w.wait = left
}

// await waits until the condition holds; it is looked at when something was
// applied. failed ends the waiting with ErrStopped.
func (w *watermark) await(ctx context.Context, failed <-chan struct{}, until func() bool) error {
	w.waiting.Add(1) // before the look: what is applied after it wakes us
	if until() {
		w.waiting.Add(-1)
		return nil
	}
	x := waiter{until: until, ch: make(chan struct{})}
	w.mu.Lock()
	w.wait = append(w.wait, x)
	w.mu.Unlock()
	w.raise()
	select {
	case <-x.ch:
		return nil
	case <-failed:
		w.leave(x)
		return ErrStopped
	case <-ctx.Done():
		w.leave(x)
		return ctx.Err()
	}
}

func (w *watermark) leave(x waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.wait {
		if w.wait[i].ch == x.ch {
			w.wait = append(w.wait[:i], w.wait[i+1:]...)
			w.waiting.Add(-1)
			return
		}
	}
}
