package group

import (
	"context"
	"math/rand/v2"
	"time"
)

// Wake signals a channel of capacity 1 and never blocks.
func Wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Pause sleeps for d unless ctx ends first; the error is its cause.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Backoff gives growing, jittered waits from Least to Most, so that two ends or
// many leaves do not dial in step.
type Backoff struct {
	Least, Most time.Duration

	next time.Duration
}

// Reset begins again at Least.
func (b *Backoff) Reset() { b.next = 0 }

// Begin makes the next wait the one behind d.
func (b *Backoff) Begin(d time.Duration) { b.next = d }

// Wait is how long to wait: half of its length to all of it, which doubles each time.
func (b *Backoff) Wait() time.Duration {
	b.next = min(max(b.Least, 2*b.next), b.Most)
	return b.next/2 + rand.N(b.next/2+1)
}
