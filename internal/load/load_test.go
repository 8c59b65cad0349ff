package load

import (
	"testing"
	"time"
)

func TestHistogram_Quantiles(t *testing.T) {
	var a, b Histogram
	for i := range 1000 {
		h := &a
		if i%2 == 1 {
			h = &b
		}
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	a.Merge(&b)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := a.Quantile(q); got < want || got > want*104/100 {
			t.Errorf("quantile %v is %s, want %s or up to 4 %% more", q, got, want)
		}
	}
	if a.Count() != 1000 || a.Max() != time.Second {
		t.Errorf("counted %d up to %s", a.Count(), a.Max())
	}
	for d := time.Microsecond; d < time.Hour; d = d*9/8 + time.Microsecond {
		if up := upper(bucket(d)); d.Truncate(time.Microsecond) > up || up > d*104/100+time.Microsecond {
			t.Fatalf("%s is counted as up to %s", d, up)
		}
	}
}

func TestStream_CountsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name                     string
		acked, got               []uint64
		lost, doubled, reordered uint64
	}{
		{"all well", []uint64{0, 1, 2}, []uint64{0, 1, 2}, 0, 0, 0},
		{"sent again after a break", []uint64{0, 1, 2}, []uint64{0, 1, 0, 1, 2}, 0, 2, 0},
		{"one lost", []uint64{0, 1, 2}, []uint64{0, 2}, 1, 0, 0},
		{"never acknowledged", []uint64{0, 1}, []uint64{0, 1, 2}, 0, 0, 0},
		{"overtaken", []uint64{0, 1, 2}, []uint64{0, 2, 1}, 0, 0, 1},
		{"nothing came", []uint64{0, 1}, nil, 2, 0, 0},
	} {
		var s Stream
		s.Sent.Store(3)
		for _, n := range c.acked {
			s.acked.set(n)
		}
		for _, n := range c.got {
			s.take(n)
		}
		var sums Sums
		sums.Add(&s)
		if sums.Lost != c.lost || sums.Doubled != c.doubled || sums.Reordered != c.reordered {
			t.Errorf("%s: %+v", c.name, sums)
		}
	}
}

// What was sent before the first arrival is told from what was lost behind it.
func TestStream_UnheardIsBeforeTheFirstArrival(t *testing.T) {
	var s Stream
	s.Sent.Store(5)
	for n := range uint64(5) {
		s.acked.set(n)
	}
	s.take(2)
	s.take(4)
	var sums Sums
	sums.Add(&s)
	if sums.Lost != 3 || sums.Unheard != 2 {
		t.Errorf("%d lost, %d of them unheard; want 3 and 2", sums.Lost, sums.Unheard)
	}
}
