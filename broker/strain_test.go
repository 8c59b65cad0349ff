package broker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A fleet storms in at a node whose log takes a while: it is let in more slowly as long as that is so, and at its pace once it
// is not. A log that takes as long in calm strains nobody.
func TestAdmission_SlowsDownWhileNewcomersStrainTheHome(t *testing.T) {
	for name, c := range map[string]struct {
		calm, during time.Duration // what an Attach takes
		slowed       bool
	}{
		"quick":                 {5 * time.Millisecond, 20 * time.Millisecond, false},
		"slow under the storm":  {5 * time.Millisecond, 400 * time.Millisecond, true},
		"slow always":           {300 * time.Millisecond, 400 * time.Millisecond, false},
		"nothing comes through": {5 * time.Millisecond, time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{stats: newStats(nil)}
				s.SetAdmission(1000)
				a := &s.admission
				var takes, in atomic.Int64
				attach := func() {
					done := a.attaching()
					time.Sleep(time.Duration(takes.Load()))
					done()
				}
				takes.Store(int64(c.calm))
				for range 50 {
					attach()
				}
				takes.Store(int64(c.during))
				for range 60_000 {
					a.enter("cars", false, &arrival{let: func() { in.Add(1); go attach() }, drop: func() {}})
				}
				time.Sleep(10 * time.Second)
				if n := in.Load(); c.slowed != (n < 5000) || n < 500 || n > 10_100 {
					t.Errorf("%d are in after ten seconds at a thousand each", n)
				}
				if n := s.Admission().PerSecond; c.slowed != (n < 900) {
					t.Errorf("they come in at %v a second", n)
				}
				takes.Store(int64(c.calm))
				time.Sleep(c.during + 20*time.Second)
				before := in.Load()
				time.Sleep(5 * time.Second)
				if n := in.Load() - before; n < 4900 && s.Admission().Waiting > 0 {
					t.Errorf("%d come in within five seconds although nothing strains the node", n)
				}
				a.close()
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// Who is let in at thousands a second comes in together with others, at the pace all the same; who is let in slowly, alone.
func TestAdmission_LetsThemInTogether(t *testing.T) {
	for _, c := range []struct {
		pace  float64
		group int // who come in at the same moment, once the first have
	}{{2000, 8}, {10, 1}} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{stats: newStats(nil)}
			s.SetAdmission(c.pace)
			at := map[time.Time]int{} // owned by who lets in, until that ends
			for range int(c.pace) * 2 {
				s.admission.enter("cars", false, &arrival{let: func() { at[time.Now()]++ }, drop: func() {}})
			}
			began, in := time.Now(), 0
			time.Sleep(time.Second + together/2)
			s.admission.close()
			time.Sleep(time.Second)
			synctest.Wait()
			for when, n := range at {
				in += n
				if after := when.Sub(began); after > 2*burst && n != c.group {
					t.Errorf("%d come in after %v", n, after)
				}
			}
			if want := int(c.pace); in < want-want/20 || in > want+want/20+1 {
				t.Errorf("%d are in after a second at %v", in, c.pace)
			}
		})
	}
}
