package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"causeway/internal/trial"
)

// Two devices share a subscription; one dies in the middle of its work. What it had not
// acknowledged goes to the other: nothing is lost, and nothing was done by nobody.
func TestSharedSubscription_MemberKilled(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	defer devices.Wait()
	defer cancel()
	mortal, kill := context.WithCancel(ctx)
	defer kill()
	const n = 2_000
	a := &device{addr: us.MQTT, id: "a", clean: true, filter: "$share/crew/work/#", qos: 1}
	b := &device{addr: us.MQTT, id: "b", filter: "$share/crew/work/#", qos: 1}
	from := &device{addr: eu.MQTT, id: "from", topic: "work/1", qos: 1, window: 64}
	devices.Go(func() { a.run(mortal) })
	devices.Go(func() { b.run(ctx) })
	devices.Go(func() { from.run(ctx) })
	await(t, "both to be members", func() bool { return a.isSubscribed() && b.isSubscribed() })
	awaitRoute(t, eu, "work/1", 0, 1)
	began := time.Now()

	from.allow(n)
	await(t, "both to work", func() bool { return a.distinct() > 100 && b.distinct() > 100 })
	kill()
	await(t, "all work to be acknowledged and handed out", func() bool {
		acked, _ := from.progress()
		return acked >= n && len(union(a, b)) >= n
	})

	all := &device{got: union(a, b), connects: 1}
	l := settle("shared", from, all, time.Since(began))
	t.Logf("sent %d, acknowledged %d, a did %d, b did %d, lost %d, %.1f s", l.sent, l.acked, a.distinct(), b.distinct(), l.lost, l.took.Seconds())
	if l.acked != n || l.lost != 0 {
		t.Errorf("%d acknowledged, %d lost", l.acked, l.lost)
	}
	if both := a.distinct() + b.distinct() - n; both > 1100 { // at most what a had in flight, once
		t.Errorf("%d messages went to both", both)
	}
}

// union returns the numbers that one of two devices got.
func union(a, b *device) []int {
	seen := map[int]bool{}
	var all []int
	for _, d := range []*device{a, b} {
		d.mu.Lock()
		for _, n := range d.got {
			if !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
		d.mu.Unlock()
	}
	return all
}

func (d *device) isSubscribed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subscribed
}
