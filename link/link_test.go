package link

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/internal/home"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A device publishes in one region, a device of another that subscribed gets it:
// once, in order. The spool is empty afterwards.
func TestLink_DeliversOnceInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		eu.home.publish(t, "events/a", 0, 1000)
		took := drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 1000))
		s, r := eu.status("us"), us.status("eu")
		t.Logf("1000 messages in %v: %d frames, %d acks, %d raw and %d wire bytes", took, s.Counters.FramesOut, r.Counters.AcksOut, s.Counters.RawOut, s.Counters.WireOut)
		if s.Counters.MessagesOut != 1000 || r.Counters.MessagesIn != 1000 || s.Counters.Resyncs != 0 {
			t.Errorf("sent %d, received %d, resyncs %d", s.Counters.MessagesOut, r.Counters.MessagesIn, s.Counters.Resyncs)
		}
		if s.RTT < 35*time.Millisecond || s.RTT > 60*time.Millisecond || s.Software != "test" || !s.Dialled || r.Dialled {
			t.Errorf("status %+v", s)
		}
	})
}

// A topic nobody wants over there sends nothing there.
func TestLink_UnwantedSendsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		eu.home.publish(t, "private/a", 0, 500)
		time.Sleep(5 * time.Second)
		if c := eu.status("us").Counters; c.FramesOut != 0 || c.WireOut != 0 || c.MessagesOut != 0 {
			t.Fatalf("sent %d frames of %d bytes", c.FramesOut, c.WireOut)
		}
		eu.home.publish(t, "events/a", 0, 1)
		drained(t, eu, "us", time.Second)
		if c := eu.status("us").Counters; c.MessagesOut != 1 {
			t.Fatalf("sent %d messages, want 1", c.MessagesOut)
		}
	})
}

// What is not wanted lies between what is. Spans cover it, and nothing at their
// edges is lost.
func TestLink_SpansCoverTheUnwanted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "e/#")
		wantsKnown(t, eu, us)
		for i := range 200 {
			if i%3 > 0 {
				eu.home.publish(t, "e/x", i, i+1)
			} else {
				eu.home.do1(t, &home.Publish{Topic: "e/x", Payload: fmt.Appendf(nil, "eu e/x %d", i), QoS: 1})
				eu.home.do1(t, &home.Publish{Topic: "unwanted", QoS: 1})
			}
			time.Sleep(time.Duration(i%7) * time.Millisecond)
		}
		eu.home.do(t, &home.Tick{})
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, 200))
		if at, _ := us.home.st.Cursor(sourceOf(eu), ""); at > eu.home.st.HighSeq() {
			t.Errorf("a cursor at %d, the last number is %d", at, eu.home.st.HighSeq())
		}
	})
}

// The link is cut under load for a minute. What was wanted stays wanted, what
// was published is spooled, and all of it arrives, once and in order.
func TestLink_CutAndHeal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		total := 0
		load := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); total += 10 {
				eu.home.publish(t, "events/a", total, total+10)
				time.Sleep(10 * time.Millisecond)
			}
		}
		load(time.Second)
		w.wan.setCut(ip("eu"), ip("us"), true)
		load(2 * time.Second)
		if s := eu.status("us"); s.LagMessages < 1000 || s.LagAge < time.Second {
			t.Errorf("cut: lag of %d messages, %v", s.LagMessages, s.LagAge)
		}
		time.Sleep(time.Minute)
		if s := eu.status("us"); s.State == Up || s.InterestFilters != 1 {
			t.Errorf("cut for a minute: %s, %d filters", s.State, s.InterestFilters)
		}
		w.wan.setCut(ip("eu"), ip("us"), false)
		healed := time.Now()
		up(t, eu, "us")
		t.Logf("up again %v after the heal", time.Since(healed))
		load(time.Second)
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, total))
	})
}

// A bad network: loss, doubled packets, 80 ms there and back.
func TestLink_LossAndDuplicates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		w.wan.set(0.03, 0.03)
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		eu.home.publishNoise(t, "events/a", 0, 3000)
		took := drained(t, eu, "us", time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 3000))
		s := eu.status("us")
		t.Logf("3000 messages in %v, %d of %d packets lost", took, s.LostCount, s.PacketsSent)
		if s.LostCount == 0 {
			t.Error("no packet was lost: the network was not bad")
		}
	})
}

// The receiver commits and dies before its acks arrive. The sender sends again
// from the receiver's cursor, not from its own memory.
func TestLink_ReceiverCrashBetweenCommitAndAck(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		up(t, eu, "us")
		eu.home.publish(t, "events/a", 0, 100)
		drained(t, eu, "us", 10*time.Second)
		w.wan.oneWay(ip("us"), ip("eu"), true) // acks are lost from here on
		eu.home.publish(t, "events/a", 100, 300)
		src := sourceOf(eu)
		eventually(t, 5*time.Second, "us has committed all", func() bool {
			at, _ := us.home.st.Cursor(src, "")
			return at >= 300
		})
		if lag := eu.status("us").LagMessages; lag == 0 {
			t.Fatal("an ack came through the cut")
		}
		us.start(us.crash())
		eu.home.publish(t, "events/a", 300, 400)
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 400))
		if n := us.status("eu").Counters.MessagesIn; n > 150 {
			t.Errorf("%d messages crossed after the crash, about 100 were missing", n)
		}
	})
}

// The receiver dies with frames proposed and not committed.
func TestLink_ReceiverCrashBeforeCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		us.home.hold(true)
		eu.home.publish(t, "events/a", 0, 200)
		time.Sleep(time.Second)
		us.start(us.crash())
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 200))
	})
}

// The sender dies in the middle of a backlog.
func TestLink_SenderCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 30*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		up(t, eu, "us")
		for i := range 5 {
			eu.home.publish(t, "events/a", i*200, (i+1)*200)
			time.Sleep(time.Duration(i) * 25 * time.Millisecond)
			eu.start(eu.crash())
		}
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 1000))
	})
}

// The network flaps every few seconds under load, in both directions.
func TestLink_ReconnectStorm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerTo("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "e/#")
		eu.home.subscribe(t, "dev", "u/#")
		wantsKnown(t, eu, us)
		wantsKnown(t, us, eu)
		n := 0
		for i := range 12 {
			w.wan.setCut(ip("eu"), ip("us"), i%2 == 0)
			for range 55 {
				eu.home.publish(t, "e/x", n, n+5)
				us.home.publish(t, "u/x", n, n+5)
				n += 5
				time.Sleep(100 * time.Millisecond)
			}
		}
		drained(t, eu, "us", time.Minute)
		drained(t, us, "eu", time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, n))
		same(t, eu.home.queue(t, "dev"), numbered("us", "u/x", 0, n))
		if got := eu.status("us").Counters.Tunnels; got < 3 {
			t.Errorf("%d tunnels: the network did not flap", got)
		}
	})
}

// Three regions in a ring, each wanting everything of both others: every message
// is delivered once in each region and crosses each link once.
func TestLink_RingOfThreeDoesNotEcho(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		nodes := []*node{
			w.region("eu", peerTo("us"), peerTo("ap")),
			w.region("us", peerFrom("eu"), peerTo("ap")),
			w.region("ap", peerFrom("eu"), peerFrom("us")),
		}
		for _, n := range nodes {
			n.home.subscribe(t, "dev", "#")
		}
		each := func(f func(a, b *node)) {
			for _, a := range nodes {
				for _, b := range nodes {
					if a != b {
						f(a, b)
					}
				}
			}
		}
		each(func(a, b *node) { wantsKnown(t, a, b) })
		for _, n := range nodes {
			n.home.publish(t, "from/"+n.name, 0, 50)
		}
		each(func(a, b *node) { drained(t, a, b.name, 20*time.Second) })
		time.Sleep(30 * time.Second) // an echo would go on
		for _, n := range nodes {
			got := map[string]int{}
			for _, m := range n.home.queue(t, "dev") {
				got[m]++
			}
			for _, from := range nodes {
				for _, m := range numbered(from.name, "from/"+from.name, 0, 50) {
					if got[m] != 1 {
						t.Errorf("%s has %q %d times", n.name, m, got[m])
					}
				}
			}
			if len(got) != 150 {
				t.Errorf("%s has %d messages, want 150", n.name, len(got))
			}
		}
		each(func(a, b *node) {
			if n := a.status(b.name).Counters.MessagesOut; n != 50 {
				t.Errorf("%d messages crossed from %s to %s, want 50", n, a.name, b.name)
			}
		})
	})
}

// One peer is away and its queues are full; another is served as ever.
func TestLink_BadPeerBlocksNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		ap := w.region("ap", peerFrom("eu"))
		eu := w.tuned("eu", func(o *tuning) { o.LiveQueue = 4 }, peerTo("us"), peerTo("ap"))
		us.home.subscribe(t, "dev", "#")
		ap.home.subscribe(t, "dev", "#")
		wantsKnown(t, eu, us)
		wantsKnown(t, eu, ap)
		us.home.hold(true) // up, and takes nothing
		eu.home.publish(t, "a", 0, 3000)
		for range 100 {
			eu.m.Forward("us", liveMsg("x"), wanted)
		}
		drained(t, eu, "ap", 10*time.Second)
		same(t, ap.home.queue(t, "dev"), numbered("eu", "a", 0, 3000))
		if lag := eu.status("us").LagMessages; lag != 3000 {
			t.Errorf("us acknowledged without committing: lag %d", lag)
		}
		us.home.hold(false)
		drained(t, eu, "us", 20*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "a", 0, 3000))
	})
}
