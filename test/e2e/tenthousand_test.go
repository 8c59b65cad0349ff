package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"causeway/internal/trial"
)

// Ten thousand numbered messages go from eu to us at QoS 1, two thousand beside them at QoS 2.
// Under way eu's node is killed once, us's node is killed once, and the tunnel is cut once.
// Nothing acknowledged is lost, nothing at QoS 2 comes twice, both streams keep their order.
func TestTenThousandNumbered_NodesKilledAndTunnelCut(t *testing.T) {
	tr, cable := startWithRelay(t, "")
	eu, us := tr.Node("eu"), tr.Node("us")
	one := newStream(t, eu, us, "one", 1, 10_000)
	two := newStream(t, eu, us, "two", 2, 2_000)
	began := time.Now()
	upTo := func(percent int) {
		one.from.allow(one.n * percent / 100)
		two.from.allow(two.n * percent / 100)
	}

	upTo(30)
	one.awaitAcked(1_000)
	two.awaitAcked(200)
	eu.Kill()
	restart(t, eu, 0)
	upTo(60)
	one.awaitGot(4_000)
	two.awaitGot(800)
	us.Kill()
	restart(t, us, 1)

	cable.cut()
	before := cable.bytes.Load()
	upTo(80)
	one.awaitAcked(8_000) // eu serves its devices on its own
	two.awaitAcked(1_600)
	crossed, got := cable.bytes.Load()-before, one.got()
	t.Logf("while cut: %d bytes crossed, eu acknowledged up to 8000, us had got %d", crossed, got)
	if crossed > 2*1500 { // a packet each way was past the check
		t.Errorf("%d bytes crossed the cut tunnel", crossed)
	}
	if got >= 8_000 {
		t.Error("us has what was published behind the cut: the cut shows nothing")
	}
	cable.heal()

	upTo(100)
	one.finish()
	two.finish()
	took := time.Since(began)
	settle("QoS 1", one.from, one.to, took).check(t, one.n, 1)
	settle("QoS 2", two.from, two.to, took).check(t, two.n, 2)
}

// stream is a device that publishes and one that subscribes, both with a session to keep.
type stream struct {
	t        *testing.T
	n        int
	from, to *device
}

func newStream(t *testing.T, from, to *trial.Node, name string, qos byte, n int) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		devices.Wait()
	})
	s := &stream{t: t, n: n,
		from: &device{addr: from.MQTT, id: name + "-from", topic: "stream/" + name, qos: qos, window: 32},
		to:   &device{addr: to.MQTT, id: name + "-to", filter: "stream/" + name, qos: qos},
	}
	for _, d := range []*device{s.from, s.to} {
		devices.Go(func() { d.run(ctx) })
	}
	if from == to {
		awaitRoute(t, from, "stream/"+name, 1, 0)
	} else {
		awaitRoute(t, from, "stream/"+name, 0, 1)
	}
	return s
}

func (s *stream) got() int { _, got := s.to.progress(); return got }

func (s *stream) awaitAcked(n int) {
	s.t.Helper()
	await(s.t, "messages to be acknowledged", func() bool { acked, _ := s.from.progress(); return acked >= n })
}

func (s *stream) awaitGot(n int) {
	s.t.Helper()
	await(s.t, "messages to arrive", func() bool { return s.got() >= n })
}

// finish waits until everything was acknowledged and has arrived, and shows what is missing.
func (s *stream) finish() {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Log(settle(s.from.topic, s.from, s.to, 0), s.from.problem, s.to.problem)
		}
	}()
	s.awaitAcked(s.n)
	await(s.t, "everything to arrive", func() bool { return s.to.distinct() >= s.n })
}
