package link

import (
	"testing"
	"time"

	"causeway/internal/home"
)

// A peer is away for long, and what it missed lies on the disk. It gets all of it,
// once and in order, while the disk takes in more.
func TestBacklog_ComesFromTheDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.SetPeer{Peer: "us", SpoolBytes: 256 << 10})
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		w.wan.setCut(ip("eu"), ip("us"), true)
		total := 0
		load := func(n int) {
			for range n {
				eu.home.publish(t, "events/a", total, total+100)
				eu.home.spill()
				total += 100
			}
		}
		load(40)
		if _, ok := eu.home.st.SpoolRun("us", "", 0); !ok {
			t.Fatal("nothing left memory")
		}
		w.wan.setCut(ip("eu"), ip("us"), false)
		up(t, eu, "us")
		load(20)
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, total))
		if s := eu.status("us"); s.Counters.Held != 0 || s.LagBytes != 0 {
			t.Errorf("held %d, %d bytes of lag", s.Counters.Held, s.LagBytes)
		}
	})
}

// A spool on the disk meets its limit while it is being sent. What is left
// arrives in order, and the gap is told on both sides.
func TestBacklog_MeetsItsLimitWhileItIsSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.SetPeer{Peer: "us", SpoolBytes: 8 << 10})
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		us.home.hold(true) // it acknowledges nothing
		for i := range 60 {
			eu.home.publish(t, "events/a", 20*i, 20*i+20)
			eu.home.spill()
		}
		us.home.hold(false)
		drained(t, eu, "us", 30*time.Second)
		got := us.home.queue(t, "dev")
		want := numbered("eu", "events/a", 0, 1200)
		at := 0
		for _, m := range got {
			for at < len(want) && want[at] != m {
				at++
			}
			if at == len(want) {
				t.Fatalf("%q is twice or out of order", m)
			}
			at++
		}
		info := eu.home.st.SpoolInfo("us")[0]
		if len(got) == len(want) && info.Dropped == 0 || at != len(want) {
			t.Errorf("%d of %d arrived, %d were dropped, the last is %d", len(got), len(want), info.Dropped, at)
		}
	})
}

// With a bound on QoS a message crosses at that QoS and no higher.
func TestLink_CapsQoS(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.SetPeer{Peer: "us", QoSMax: 1})
		us.home.subscribe(t, "dev", "e")
		wantsKnown(t, eu, us)
		for qos := range byte(3) {
			eu.home.do(t, &home.Publish{Topic: "e", Payload: []byte{'0' + qos}, QoS: qos})
		}
		drained(t, eu, "us", time.Second)
		for _, q := range us.home.st.Peek(home.SessionKey{ClientID: "dev"}, 0, 9) {
			if want := min(q.Message.Payload[0]-'0', 1); q.Message.QoS != want {
				t.Errorf("%s crossed at QoS %d, want %d", q.Message.Payload, q.Message.QoS, want)
			}
		}
	})
}
