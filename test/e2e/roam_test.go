package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/internal/trial"
)

// handedOver is the part of a node's file that lets sessions move.
func handedOver(string) string { return "handover: { enabled: true, min_dwell: 0s }\n" }

// goes takes a device to another region, from one moment to the next.
func (d *device) goes(n *trial.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr = n.MQTT
	if d.conn != nil {
		d.conn.Close()
	}
}

// runs keeps devices connected until the test ends.
func runs(t *testing.T, devices ...*device) {
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, d := range devices {
		all.Go(func() { d.run(ctx) })
	}
	t.Cleanup(func() { stop(); all.Wait() })
}

// A device with a full queue roams between two regions that both live, while others publish, and
// one that publishes roams as well: nothing is lost, QoS 2 comes once, in order, and its session
// is always there.
func TestRoam_SessionFollowsItsDevice(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: handedOver})
	eu, us := tr.Node("eu"), tr.Node("us")
	reader := &device{addr: eu.MQTT, id: "reader", filter: "in/#", qos: 2}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); reader.run(ctx) }()
	await(t, "the subscription", func() bool { reader.mu.Lock(); defer reader.mu.Unlock(); return reader.subscribed })
	stop()
	<-ended

	const waiting, total = 1000, 3000
	writer := &device{addr: eu.MQTT, id: "writer", topic: "in/a", qos: 2, window: 50, publish: waiting}
	mover := &device{addr: us.MQTT, id: "mover", topic: "other", qos: 2, window: 20, publish: 500}
	watcher := &device{addr: us.MQTT, id: "watcher", filter: "other", qos: 2}
	runs(t, writer, mover, watcher)
	await(t, "a thousand messages that wait", func() bool { acked, _ := writer.progress(); return acked == waiting })

	reader.addr = us.MQTT
	began := time.Now()
	runs(t, reader)
	await(t, "the first of them in the other region", func() bool { _, got := reader.progress(); return got > 0 })
	t.Logf("the first message after %v", time.Since(began).Round(time.Millisecond))
	writer.mu.Lock()
	writer.publish = total
	writer.mu.Unlock()
	for i := range 6 {
		at := []*trial.Node{eu, us}[i%2]
		time.Sleep(300 * time.Millisecond) // time between two places, not to wait for something
		reader.goes(at)
		mover.goes(at)
	}
	await(t, "all messages", func() bool {
		acked, _ := writer.progress()
		return acked == total && reader.distinct() == total && watcher.distinct() == 500
	})
	time.Sleep(500 * time.Millisecond) // for what would come twice
	for d, want := range map[*device]int{reader: total, watcher: 500} {
		d.mu.Lock()
		if !slices.IsSorted(d.got) || len(d.got) != want || d.problem != nil {
			t.Errorf("%s got %d messages, %d wanted, in order: %t, %v", d.id, len(d.got), want, slices.IsSorted(d.got), d.problem)
		}
		d.mu.Unlock()
	}
	for _, d := range []*device{reader, mover} {
		d.mu.Lock()
		t.Logf("%s: %d connections, outages %s", d.id, d.connects, fmt.Sprint(d.outages))
		if d.lostState > 1 || d == mover && d.lostState > 0 {
			t.Errorf("%s found no session %d times", d.id, d.lostState)
		}
		d.mu.Unlock()
	}
}
