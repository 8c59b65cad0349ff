package agent

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds    = flag.Uint64("seeds", 15, "how many seeds")
	oneSeed  = flag.Uint64("seed", 0, "run this one alone, and tell its story")
	longTest = 90 * time.Second // of faults, by the world's clock
)

// trouble does things to a world, and heals some of it, for a while.
func (w *world) trouble(r *rand.Rand, forces bool) {
	any := func() string { return w.names[r.IntN(len(w.names))] }
	for end := time.Now().Add(longTest); time.Now().Before(end); {
		n, o := any(), any()
		switch r.IntN(12) {
		case 0, 1:
			w.cutOff(n, r.IntN(2) == 0, o)
		case 2:
			w.cutOff(n, r.IntN(2) == 0, w.names...)
		case 3, 4:
			w.heal()
		case 5:
			w.down(n)
		case 6, 7:
			w.up(n, false)
		case 8:
			w.down(n)
			w.up(n, r.IntN(2) == 0)
		case 9:
			w.mu.Lock()
			w.slow[n] = time.Duration(r.IntN(1500)) * time.Millisecond
			w.mu.Unlock()
		case 10:
			w.order(r, n, o, Switchover, false)
		case 11:
			w.order(r, n, o, Failover, forces && r.IntN(3) == 0)
		}
		w.pass(time.Duration(r.IntN(4000)) * time.Millisecond)
	}
}

// order is an operator who tries something; it may be refused.
func (w *world) order(r *rand.Rand, at, to string, act Action, force bool) {
	w.mu.Lock()
	run := w.sites[at].run
	w.mu.Unlock()
	if run == nil || run.agent == nil {
		return
	}
	o := Order{Home: "eu", To: to, Force: force, Wait: time.Duration(r.IntN(5)) * time.Second}
	w.ended.Go(func() {
		if _, err := run.agent.Begin(w.ctx, act, o); err == nil {
			w.mu.Lock()
			w.note("an operator orders %s at %s to %s, forced %v", act, at, to, force)
			w.mayTwo = w.mayTwo || force
			w.mu.Unlock()
		}
	})
}

// recover ends all trouble: then one region serves, and everybody else follows it.
func (w *world) recover() {
	w.heal()
	for _, n := range w.names {
		w.up(n, false)
	}
	w.wait("one serves", 3*time.Minute, func() bool { return len(w.serving()) == 1 })
	w.pass(20 * time.Second)
	w.wait("one serves, and goes on", 3*time.Minute, func() bool { return len(w.serving()) == 1 })
	host := w.serving()[0]
	w.wait("the others follow "+host, time.Minute, func() bool {
		for _, n := range w.names {
			if c := w.sites[n].copy; c != nil && c.State().Epoch.Host != host {
				return false
			}
		}
		return true
	})
}

// TestSeeds has regions and witnesses fail, be cut off in one direction or both, slow
// down and come back, with operators who order things all the while. In auto no two
// regions serve at once but by force, no epoch has two hosts, no promise is taken back
// and nothing acknowledged is on no disk; and when it is over one region serves.
func TestSeeds(t *testing.T) {
	from, to := uint64(1), *seeds
	if *oneSeed > 0 {
		from, to = *oneSeed, *oneSeed
	}
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 7))
				names := [][]string{{"eu", "us", "w1"}, {"eu", "us", "ap"}, {"eu", "us", "ap", "w1", "w2"}}[seed%3]
				w := newWorld(t, seed, autoPolicy, names...)
				w.clocks(r, 0.05)
				for _, n := range names {
					w.up(n, false)
				}
				w.trouble(r, seed%4 == 0)
				w.recover()
				w.finish()
				if f := w.faults(); len(f) > 0 || *oneSeed > 0 {
					w.story()
					if len(f) > 0 {
						t.Errorf("seed %d: %v", seed, f)
					}
				}
			})
		})
	}
}

// clocks gives each site a clock that runs wrong by up to a part.
func (w *world) clocks(r *rand.Rand, by float64) {
	for _, n := range w.names {
		w.sites[n].pace = 1 - by + 2*by*r.Float64()
	}
}

// A search that finds nothing proves nothing: each planted mistake is found.
func TestSeeds_PlantedMistakes(t *testing.T) {
	for name, plant := range map[string]func(*world, *rand.Rand){
		"disks forget promises":              func(w *world, _ *rand.Rand) { w.forgetful = true },
		"clocks differ by more than allowed": func(w *world, r *rand.Rand) { w.clocks(r, 0.4) },
		"who handed over goes on":            func(w *world, _ *rand.Rand) { w.deaf = true },
		"a host relies on more than is held": func(w *world, _ *rand.Rand) { w.settings.Lease = 2 * testTerms.Lease },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				var found []string
				synctest.Test(t, func(t *testing.T) {
					r := rand.New(rand.NewPCG(seed, 7))
					w := newWorld(t, seed, autoPolicy, "eu", "us", "w1")
					plant(w, r)
					for _, n := range w.names {
						w.up(n, false)
					}
					w.trouble(r, false)
					w.finish()
					found = w.faults()
				})
				if len(found) > 0 {
					t.Logf("seed %d: %v", seed, found)
					return
				}
			}
			t.Error("nothing was found")
		})
	}
}
