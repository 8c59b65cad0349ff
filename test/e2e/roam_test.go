package e2e

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/internal/trial"
)

// handedOver is the part of a node's file that lets sessions move.
func handedOver(string) string { return "handover: { enabled: true, min_dwell: 0s }\n" }

// runs keeps devices connected until the test ends.
func runs(t *testing.T, devices ...*device) {
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, d := range devices {
		all.Go(func() { d.run(ctx) })
	}
	t.Cleanup(func() { stop(); all.Wait() })
}

// A device that has a thousand messages of QoS 2 waiting comes to another region while both live: it
// gets each of them once, in order, from its session there.
func TestRoam_QueueFollowsItsDevice(t *testing.T) {
	if !*wholeLab {
		t.Skip("hand-over of sessions is not finished and off by default (docs/handover.md): run with -lab")
	}
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

	const waiting = 1000
	writer := &device{addr: eu.MQTT, id: "writer", topic: "in/a", qos: 2, window: 50, publish: waiting}
	runs(t, writer)
	await(t, "a thousand messages that wait", func() bool { acked, _ := writer.progress(); return acked == waiting })
	reader.addr = us.MQTT
	began := time.Now()
	runs(t, reader)
	await(t, "the first of them in the other region", func() bool { _, got := reader.progress(); return got > 0 })
	t.Logf("the first message after %v", time.Since(began).Round(time.Millisecond))
	await(t, "all of them", func() bool { return reader.distinct() == waiting })
	reader.mu.Lock()
	defer reader.mu.Unlock()
	if !slices.IsSorted(reader.got) || len(reader.got) != waiting || reader.problem != nil {
		t.Errorf("got %d messages, in order: %t, %v", len(reader.got), slices.IsSorted(reader.got), reader.problem)
	}
}
