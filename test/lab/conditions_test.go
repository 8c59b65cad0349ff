package lab

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func newSchedule() *schedule { return &schedule{rng: rand.New(rand.NewPCG(1, 2))} }

const ms = time.Millisecond

func TestSchedule_DelayAndJitterKeepTheOrder(t *testing.T) {
	s, c := newSchedule(), Conditions{Delay: 40 * ms, Jitter: 10 * ms}
	last, least, most := time.Duration(0), time.Hour, time.Duration(0)
	for i := range 10000 {
		now := time.Duration(i) * 2 * ms
		at, f := s.next(&c, now, 1000)
		if f != passes || at < last {
			t.Fatalf("packet %d arrives at %v after one at %v, fate %d", i, at, last, f)
		}
		last, least, most = at, min(least, at-now), max(most, at-now)
	}
	if least < 40*ms || least > 42*ms || most < 48*ms || most > 50*ms {
		t.Errorf("between %v and %v, want 40 to 50 ms", least, most)
	}
}

func TestSchedule_Loss(t *testing.T) {
	s, c := newSchedule(), Conditions{Loss: 0.01}
	n := 0
	for range 100000 {
		if _, f := s.next(&c, 0, 1000); f == lost {
			n++
		}
	}
	if math.Abs(float64(n)-1000) > 120 {
		t.Errorf("%d of 100000 lost, want about 1000", n)
	}
}

func TestSchedule_RateAndQueue(t *testing.T) {
	s, c := newSchedule(), Conditions{Rate: 1_000_000, Queue: 10_000, Delay: 5 * ms}
	var last time.Duration
	passed := 0
	for range 100 { // at once
		at, f := s.next(&c, 0, 1000)
		if f == overflows {
			continue
		}
		passed++
		if want := time.Duration(passed)*ms + 5*ms; at != want {
			t.Fatalf("packet %d arrives at %v, want %v", passed, at, want)
		}
		last = at
	}
	if passed != 11 { // the queue, and the one that is being sent
		t.Errorf("%d passed, want 11 (the last at %v)", passed, last)
	}
	if at, f := s.next(&c, time.Second, 1000); f != passes || at != time.Second+6*ms {
		t.Errorf("after a pause: %v, fate %d", at, f)
	}
}

func TestSchedule_ReorderMTUDown(t *testing.T) {
	s, c := newSchedule(), Conditions{Delay: 40 * ms, Reorder: 0.1}
	early := 0
	for range 10000 {
		if at, _ := s.next(&c, 0, 100); at == 20*ms {
			early++
		}
	}
	if early < 900 || early > 1100 {
		t.Errorf("%d of 10000 reordered, want about 1000", early)
	}
	for _, x := range []struct {
		c    Conditions
		size int
		want fate
	}{
		{Conditions{MTU: 1228}, 1228, passes}, {Conditions{MTU: 1228}, 1229, tooLarge}, {Conditions{Down: true}, 20, cut}, {Conditions{}, 1500, passes},
	} {
		if _, f := s.next(&x.c, 0, x.size); f != x.want {
			t.Errorf("%+v, %d bytes: fate %d, want %d", x.c, x.size, f, x.want)
		}
	}
}
