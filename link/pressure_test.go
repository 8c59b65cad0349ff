package link

import (
	"testing"
	"time"

	"causeway/internal/home"
)

// A backlog several times as large as the queue of the device that wants it, which is
// connected and reads slower than the link delivers: nothing runs over.
func TestPressure_BacklogLargerThanTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, &home.Configure{Revision: 1, Limits: home.Limits{QueueMessages: 100_000}})
		e := us.home.do(t, &home.Attach{Session: key("dev"), Expiry: 1 << 31}).Epoch
		us.home.do(t, &home.Subscribe{Session: key("dev"), Epoch: e, Filters: []home.Subscription{{Filter: "e", QoS: 1}}})
		eu := w.region("eu", peerTo("us"))
		wantsKnown(t, eu, us)
		eu.home.do(t, &home.PausePeer{Peer: "us", Paused: true})
		const total = 300_000
		for at := 0; at < total; at += 10_000 {
			eu.home.publish(t, "e", at, at+10_000)
		}
		eu.home.do(t, &home.PausePeer{Peer: "us"})
		// 20,000 a second
		next := uint64(1)
		eventually(t, 2*time.Minute, "the device to have all of it", func() bool {
			q := us.home.st.Queue(key("dev"), e, next-1, 200, nil)
			if n := len(q); n > 0 {
				last := q[n-1].Ref
				us.home.do(t, &home.Ack{Session: key("dev"), Epoch: e, Done: []home.Range{{From: next, To: last}}})
				next = last + 1
			}
			time.Sleep(5 * time.Millisecond)
			return next > total
		})
		if c := us.status("eu").Counters; c.Slowed < time.Second {
			t.Errorf("frames waited %v for the device", c.Slowed)
		}
	})
}

// A device that is connected and reads nothing holds nobody up for long.
func TestPressure_ADeviceThatReadsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, &home.Configure{Revision: 1, Limits: home.Limits{QueueMessages: 20_000}})
		us.home.subscribe(t, "stuck", "e")
		us.home.subscribe(t, "dev", "other")
		eu := w.region("eu", peerTo("us"))
		wantsKnown(t, eu, us)
		eu.home.publish(t, "e", 0, 60_000)
		eu.home.publish(t, "other", 0, 1)
		took := drained(t, eu, "us", time.Minute)
		if n := len(us.home.queue(t, "dev")); n != 1 || took > 20*time.Second {
			t.Errorf("%d messages for the other device, after %s", n, took)
		}
	})
}
