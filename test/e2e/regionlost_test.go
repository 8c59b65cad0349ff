package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/outage"
)

// A region of three nodes loses its power under load, its load balancer too, and comes back from its disks: nothing that
// was acknowledged is lost. When its disks are gone, the same ledger says what is.
func TestRegionLost_DisksBringAllBack(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	f := newOutage(t, outage.Options{Name: "power", Addrs: []string{addr}, Pairs: 40, Rate: 400, Patience: 3 * time.Second})
	lose := func(spoil func()) {
		f.published(t, 400)
		f.Loss()
		tr.Kill("eu")
		spoil()
		if err := tr.StartRegion("eu"); err != nil {
			t.Fatal(err)
		}
	}
	lose(func() {})
	if missing := f.settled(t); missing > 0 {
		t.Errorf("%d messages are missing", missing)
	}
	r := f.Report("three nodes were killed", outage.Marks{}, 0)
	t.Log(r)
	if r.Forgotten > 0 || r.FalseWills > 0 || r.DoubledQoS2 > 0 || r.Reordered > 0 {
		t.Error("a promise is broken")
	}
	lose(func() {
		for _, n := range tr.Region("eu") {
			if err := n.Wipe(); err != nil {
				t.Fatal(err)
			}
		}
	})
	f.published(t, 400)
	r = f.finish(t, "three nodes were killed, and their disks wiped", outage.Marks{}, 0)
	if broken := strings.Join(r.Broken(true), "; "); !strings.Contains(broken, "lost") || !strings.Contains(broken, "forgotten") {
		t.Errorf("the ledger does not see that the disks are gone: %q", broken)
	}
}

// fleetOutage is a fleet that ends with the test.
type fleetOutage struct {
	*outage.Fleet
	ctx context.Context
}

func newOutage(t *testing.T, o outage.Options) *fleetOutage {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	f, err := outage.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Stop)
	return &fleetOutage{f, ctx}
}

// published waits until so many more messages were acknowledged.
func (f *fleetOutage) published(t *testing.T, n uint64) {
	t.Helper()
	before := f.Acked()
	await(t, "messages to be acknowledged", func() bool { return f.Acked() >= before+n })
}

// settled waits until the fleet is served again and what was sent before the loss has passed, says what of it is
// missing, and lets the fleet go on.
func (f *fleetOutage) settled(t *testing.T) (missing uint64) {
	t.Helper()
	if err := f.AwaitServed(f.ctx); err != nil {
		t.Fatal(err)
	}
	missing, err := f.AwaitPassed(f.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return missing
}

// finish ends the load and reports what came of it all.
func (f *fleetOutage) finish(t *testing.T, what string, m outage.Marks, unavailable uint64) *outage.Report {
	t.Helper()
	f.Settle(f.ctx)
	r := f.Report(what, m, unavailable)
	t.Log(r)
	return r
}
