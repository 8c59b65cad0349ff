package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations to about 3 %, in buckets that double every 32.
type Histogram struct {
	counts [1024]uint64
	n      uint64
	max    time.Duration
}

const fine = 5 // bits of a bucket's place between two powers of two

// Add counts d.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// bucket counts in microseconds: exactly up to 2^fine, then by powers of two.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 1<<fine {
		return int(us)
	}
	shift := bits.Len64(us) - fine - 1
	return min(shift<<fine+int(us>>shift), len(Histogram{}.counts)-1)
}

// upper is the largest duration of a bucket.
func upper(b int) time.Duration {
	if b < 1<<fine {
		return time.Duration(b) * time.Microsecond
	}
	shift := b>>fine - 1
	return time.Duration((uint64(b-shift<<fine)+1)<<shift-1) * time.Microsecond
}

// Merge adds what another counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count is how many were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the q-quantile, 0 to 1; 0 if nothing was added.
func (h *Histogram) Quantile(q float64) time.Duration {
	want, seen := q*float64(h.n), uint64(0)
	for i, n := range h.counts {
		if seen += n; n > 0 && float64(seen) >= want {
			return min(upper(i), h.max)
		}
	}
	return 0
}
