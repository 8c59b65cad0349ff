package e2e

import (
	"context"
	"testing"
	"time"

	"causeway/internal/trial"
)

// SIGTERM under load ends the node with exit code 0; after it was started again nothing that it
// had acknowledged is missing.
func TestSIGTERM_ExitsZeroAndLosesNothing(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	one := newStream(t, eu, eu, "one", 1, 3_000)
	two := newStream(t, eu, eu, "two", 2, 1_000)
	began := time.Now()
	one.from.allow(one.n)
	two.from.allow(two.n)
	one.awaitGot(500)
	two.awaitGot(50)

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := tr.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	if eu.Running() {
		t.Fatal("it still runs")
	}
	restart(t, eu, 0)

	one.finish()
	two.finish()
	settle("QoS 1", one.from, one.to, time.Since(began)).check(t, one.n, 1)
	settle("QoS 2", two.from, two.to, time.Since(began)).check(t, two.n, 2)
}
