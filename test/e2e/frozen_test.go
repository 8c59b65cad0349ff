package e2e

import (
	"context"
	"sync"
	"syscall"
	"testing"

	"causeway/internal/trial"
)

// A node stands still for a while with a device connected to it, as a machine does that swaps or is moved. The device's
// messages go on, and it comes back at another node. When the first node goes on as if nothing had been, it hears of the
// messages before it hears that it has lost the session; it sends nothing to the old connection. [C1]
func TestNodeFrozen_SendsNothingForASessionThatIsElsewhere(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		devices.Wait()
	})
	from := &device{addr: nodes[0].MQTT, id: "frozen-from", topic: "frozen", qos: 1, window: 8}
	was := &device{addr: nodes[1].MQTT, id: "frozen", filter: "frozen", qos: 1}
	is := &device{addr: nodes[2].MQTT, id: "frozen", filter: "frozen", qos: 1}
	devices.Go(func() { from.run(ctx) })
	ended := make(chan struct{})
	devices.Go(func() {
		defer close(ended)
		_ = was.connection(ctx) // and not another
	})
	await(t, "the device to be subscribed", was.isSubscribed)
	from.allow(50)
	await(t, "the first messages", func() bool { acked, _ := from.progress(); return acked == 50 && was.distinct() == 50 })

	pid := nodes[1].PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	from.allow(100)
	await(t, "the publisher to be answered without the node", func() bool { acked, _ := from.progress(); return acked == 100 })
	devices.Go(func() { is.run(ctx) })
	await(t, "the device to go on elsewhere", func() bool { return is.distinct() == 50 })
	from.allow(150)
	await(t, "what is published then", func() bool { return is.distinct() == 100 })
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-ended // the node has heard it
	if n := was.distinct(); n != 50 {
		t.Errorf("the old connection got %d messages, want the 50 from before", n)
	}
	is.mu.Lock()
	defer is.mu.Unlock()
	if is.lostState > 0 {
		t.Error("the session was forgotten")
	}
}
