package simlab

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
)

var disasterSeeds = flag.Int("simlab.disasters", 6, "how many seeds of lost regions to run")

// Whole regions die, are cut off one-sidedly or altogether, flap, lose their witness, come
// back in the middle of the next loss, and both sides write: nothing acknowledged is lost, and
// once all is mended everything is exact again.
func TestDisasters(t *testing.T) {
	for seed := *first; seed < *first+uint64(*disasterSeeds); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				x := newDisaster(seed)
				if err := inLab(x.options, x.run); err != nil {
					t.Errorf("seed %d (its faults come at the same times again: -run TestDisasters -simlab.disasters 1 -simlab.seed %d):\n%s\n%v", seed, seed, x, err)
				}
			})
		})
	}
}
