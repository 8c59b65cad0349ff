package simlab

import (
	"flag"
	"fmt"
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
				if err := run(s); err != nil {
					t.Errorf("seed %d (its faults come at the same times again: -run TestSeeds -simlab.seeds 1 -simlab.seed %d):\n%s\n%v", seed, seed, s, err)
				}
			})
		})
	}
}
