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
	return Options{Seed: seed, Regions: 1 + int(seed%3), Nodes: nodes, Aged: seed%7 == 0, Hurry: seed%2 == 1, Grace: seed%11 < 4, Messages: 20, Faults: 8, Trace: *trace}
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

// A checker that cannot fail proves nothing: each planted mistake is found by what
// devices saw, within some seeds. The search begins a little before the seed that
// found it last.
func TestPlantedFaults_AreFound(t *testing.T) {
	for _, tc := range []struct {
		name  string
		plant Fault
		first uint64
	}{
		{"no sync", NoSync, 0},
		{"leader does not sync", LeaderNoSync, 0},
		{"followers do not sync", FollowersNoSync, 0},
		{"commit without a majority", CommitAlone, 0},
		{"a wiped disk votes", WipedVotes, 325},
		{"proposals without numbers", NoNumbers, 125},
		{"wall clock", WallClock, 325},
		{"declared dead unheard", EarlyDown, 0},
		{"former run stays attached", NoNodeUp, 0},
		{"no yield", NoYield, 105},
		{"no freshness", NoFreshness, 975},
		{"no session epochs", NoEpochs, 100},
		{"new packet ids", NewPacketIDs, 0},
		{"no wills", NoWills, 0},
		{"ack on cut", AckOnCut, 0},
		{"ack before commit", AckFirst, 0},
		{"pubcomp before commit", ReleaseFirst, 200},
		{"late unsubscribe", LateUnsubscribe, 0},
		{"trim on send", TrimOnSend, 0},
		{"forgotten cursors", ForgetCursors, 255},
		{"no versions", NoVersions, 0},
		{"a global group in two regions", GroupTwice, 0},
		{"a global group nowhere", GroupNowhere, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for seed := tc.first; seed < tc.first+3000; seed++ {
				o := options(seed)
				o.Regions, o.Plant, o.Outside = 2, tc.plant, true
				o.Hurry = o.Hurry && tc.plant != NoYield && tc.plant != NoFreshness // there are no twins in a hurry
				if err := Run(o); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("%s: %s", tc.name, what)
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
		w, err := play(options(8))
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
