package supervise

import "time"

// Backoff is the wait before a failed service starts again: Min after the first failure, twice as
// long after each further one, at most Max. A service that ran for Healthy begins again at Min.
// There is no jitter: the services of one node are few, and none of them dials another node in its
// first act without a back-off of its own.
type Backoff struct {
	Min     time.Duration // default 100ms
	Max     time.Duration // default 30s
	Healthy time.Duration // default 1m
}

func (b Backoff) withDefaults() Backoff {
	if b.Min <= 0 {
		b.Min = 100 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 30 * time.Second
	}
	if b.Healthy <= 0 {
		b.Healthy = time.Minute
	}
	b.Max = max(b.Max, b.Min)
	return b
}

// after is the wait after so many failures in a row.
func (b Backoff) after(failures int) time.Duration {
	d := b.Min
	for i := 1; i < failures && d < b.Max; i++ {
		d *= 2
	}
	return min(d, b.Max)
}
