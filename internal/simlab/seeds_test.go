package simlab

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

var (
	seeds = flag.Int("simlab.seeds", 30, "how many seeds to run")
	first = flag.Uint64("simlab.seed", 1, "the first seed; with -simlab.seeds 1 it replays one schedule of faults")
)

// Whatever crashes, wherever the network is cut and whichever disk fails:
// nothing acknowledged is lost, QoS 2 comes once, and in order.
func TestSeeds(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSchedule(seed)
				if err := inLab(s.options, s.run); err != nil {
					t.Errorf("seed %d (its faults come at the same times again: -run TestSeeds -simlab.seeds 1 -simlab.seed %d):\n%s\n%v", seed, seed, s, err)
				}
			})
		})
	}
}

// Schedules that a lying disk survives would prove nothing of an honest one.
func TestSeeds_ALyingDiskIsFound(t *testing.T) {
	for seed := *first; seed < *first+10; seed++ {
		found := ""
		synctest.Test(t, func(*testing.T) {
			s := newSchedule(seed)
			s.options.Lying = true
			if err := inLab(s.options, s.run); err != nil {
				found, _, _ = strings.Cut(err.Error(), "\n")
			}
		})
		if found != "" {
			t.Logf("found by seed %d: %s", seed, found)
			return
		}
	}
	t.Fatal("ten seeds did not notice")
}
