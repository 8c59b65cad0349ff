package sim

import (
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds = flag.Int("sim.seeds", 2000, "how many seeds to run")
	first = flag.Uint64("sim.seed", 1, "the first seed; with -sim.seeds 1 it replays one run")
)

func options(seed uint64) Options {
	return Options{Seed: seed, Regions: 1 + int(seed%3), Messages: 30, Faults: 6}
}

// Whatever crashes and wherever the network is cut: nothing acknowledged is
// lost, QoS 2 comes once, and in order.
func TestSeeds(t *testing.T) {
	var next, failed atomic.Uint64
	next.Store(*first)
	end := *first + uint64(*seeds)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for failed.Load() < 3 {
				seed := next.Add(1) - 1
				if seed >= end {
					return
				}
				if err := Run(options(seed)); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds from %d", *seeds, *first)
}

// A checker that cannot fail proves nothing: each planted mistake is found
// within a few seeds.
func TestPlantedFaults_AreFound(t *testing.T) {
	for name, plant := range map[string]Fault{"no sync": NoSync, "ack before commit": AckFirst, "trim on send": TrimOnSend,
		"forgotten cursors": ForgetCursors, "new packet ids": NewPacketIDs, "no wills": NoWills, "ack on cut": AckOnCut,
		"no versions": NoVersions, "late unsubscribe": LateUnsubscribe} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(1000) {
				o := options(seed)
				o.Regions, o.Plant = 2, plant
				if Run(o) != nil {
					t.Logf("found by seed %d", seed)
					return
				}
			}
			t.Fatal("1000 seeds did not notice")
		})
	}
}

func TestSeed_ReplaysExactly(t *testing.T) {
	trace := func() []string {
		o := options(7)
		o.Plant = NoSync
		w := Run(o)
		if w == nil {
			return nil
		}
		return []string{w.Error()}
	}
	a, b := trace(), trace()
	if len(a) != len(b) || len(a) > 0 && a[0] != b[0] {
		t.Fatalf("two runs of one seed differ:\n%v\n%v", a, b)
	}
}
