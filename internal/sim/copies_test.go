package sim

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func copiesOptions(seed uint64) CopiesOptions {
	return CopiesOptions{Seed: seed, Messages: 25, Faults: 1 + int(seed%4), Trace: *trace}
}

// Regions are lost, cut off, switched over and come back, one behind the other: what
// was acknowledged arrives, once at QoS 2 where it had been shipped, and in order.
func TestCopies_Seeds(t *testing.T) {
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
				if err := RunCopies(copiesOptions(seed)); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds from %d", *seeds, *first)
}

func residentCopies(seed uint64) CopiesOptions {
	o := copiesOptions(seed)
	o.Resident = true
	return o
}

// One of the regions may not store what one of the publishers sends: it is not there, and
// comes once where it may be.
func TestCopies_ResidentSeeds(t *testing.T) {
	for seed := range uint64(60) {
		if err := RunCopies(residentCopies(seed)); err != nil {
			t.Fatal(err)
		}
	}
}

// Each planted mistake is found by what devices saw.
func TestCopies_PlantedFaults(t *testing.T) {
	for name, plant := range map[string]CopiesFault{
		"reconcile forgets who waits":            ForgetRefs,
		"a fenced copy is overwritten":           ForgetSuffix,
		"a site serves without a new epoch":      SameEpoch,
		"an unplanned epoch passes for planned":  TrustIDs,
		"inherited ids are used as they are":     NoPubrel,
		"who handed over goes on":                ServeHanded,
		"shipping leaves a record out":           LeaveOut,
		"two copies of one fork pass for one":    OneName,
		"what is owed is skipped":                SkipOwed,
		"a copy that was set aside is forgotten": ForgetOld,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(0); seed < 2000; seed++ {
				o := copiesOptions(seed)
				o.Plant, o.Resident = plant, plant == SkipOwed || plant == ForgetOld
				if err := RunCopies(o); err != nil {
					what, _, _ := strings.Cut(err.Error(), "\n")
					t.Log(what)
					return
				}
			}
			t.Fatal("2000 seeds did not notice")
		})
	}
}
