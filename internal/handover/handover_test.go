package handover

import (
	"flag"
	"strings"
	"testing"
)

var (
	seeds = flag.Int("handover.seeds", 24, "how many seeds to run")
	first = flag.Uint64("handover.seed", 0, "the first seed; with -handover.seeds 1 it replays one run")
)

// Devices roam while regions are cut off from each other and die at any step: nothing that was
// acknowledged is lost, QoS 2 comes once, publishers stay in order, a session is always there,
// and in the end each device has one.
func TestWorld_Seeds(t *testing.T) {
	worlds(t, false)
}

// The same while homes go on at their standbys, as planned, or with what those have: then nothing is
// lost that was acknowledged, and a session is always there.
func TestWorld_Failovers(t *testing.T) {
	worlds(t, true)
}

// Seeds that found something once.
func TestWorld_FoundBefore(t *testing.T) {
	for _, seed := range []uint64{400289, 400883} { // a new session beside one that is known to be where nobody answers
		if _, err := play(seed, 2+int(seed%2), 150, true, none); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func worlds(t *testing.T, fails bool) {
	merged := 0
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		w, err := play(seed, 2+int(seed%2), 150, fails, none)
		if merged += w.merged; err != nil {
			t.Errorf("seed %d: %v", seed, err)
			if *seeds == 1 {
				t.Log(strings.Join(w.said[max(0, len(w.said)-9000):], "\n"))
			}
		}
	}
	if t.Logf("in %d seeds from %d, %d times a session was one of two", *seeds, *first, merged); merged == 0 && *seeds > 20 {
		t.Error("no device ever had two sessions")
	}
}

// The checker sees each of these mistakes.
func TestWorld_NoticesMistakes(t *testing.T) {
	for _, plant := range []fault{noHold, noStrays, eager, twoServe, forgetClaim, unshipped} {
		t.Run(string(plant), func(t *testing.T) {
			for seed := range uint64(60) {
				if _, err := play(seed, 2+int(seed%2), 60, plant == unshipped, plant); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Fatal("60 seeds did not notice")
		})
	}
}
