package sim

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seeds = flag.Int("sim.seeds", 2000, "how many seeds to run")
	first = flag.Uint64("sim.seed", 1, "the first seed; with -sim.seeds 1 it replays one run")
	trace = flag.Int("sim.trace", 60, "how many lines of what happened a failure shows")
)

func options(seed uint64) Options {
	nodes := []int{3, 3, 1, 3, 4}[seed%5]
	return Options{Seed: seed, Regions: 1 + int(seed%3), Nodes: nodes, Aged: seed%7 == 0, Hurry: seed%2 == 1, Messages: 20, Faults: 8, Trace: *trace}
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
// within some seeds.
func TestPlantedFaults_AreFound(t *testing.T) {
	for name, plant := range map[string]Fault{"no sync": NoSync, "leader does not sync": LeaderNoSync, "followers do not sync": FollowersNoSync,
		"commit without a majority": CommitAlone, "a wiped disk votes": WipedVotes, "proposals without numbers": NoNumbers,
		"wall clock": WallClock, "declared dead unheard": EarlyDown, "former run stays attached": NoNodeUp, "no yield": NoYield,
		"no freshness": NoFreshness, "no session epochs": NoEpochs, "new packet ids": NewPacketIDs, "no wills": NoWills, "ack on cut": AckOnCut,
		"ack before commit": AckFirst, "pubcomp before commit": ReleaseFirst, "late unsubscribe": LateUnsubscribe,
		"trim on send": TrimOnSend, "forgotten cursors": ForgetCursors, "no versions": NoVersions} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3000) {
				o := options(seed)
				o.Regions, o.Plant, o.Outside = 2, plant, true
				if err := Run(o); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("%s: %s", name, what)
					return
				}
			}
			t.Fatal("3000 seeds did not notice")
		})
	}
}

// The same seed, the same events.
func TestSeed_ReplaysExactly(t *testing.T) {
	run := func() []string {
		w, err := play(options(7))
		if err != nil {
			t.Fatal(err)
		}
		return append(w.trace, fmt.Sprint(w.order))
	}
	a, b := run(), run()
	if !slices.Equal(a, b) {
		t.Fatalf("two runs of one seed differ:\n%v\n%v", a, b)
	}
	if len(a) < 20 {
		t.Fatalf("little happened: %v", a)
	}
}
