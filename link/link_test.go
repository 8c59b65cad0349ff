package link

import (
	"testing"
	"time"

	"go.uber.org/goleak"
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
