package link

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"causeway/internal/home"
)

func TestLive_InOrderAndCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.SetPeer{Peer: "us", Out: []string{"live/#"}, Never: []string{"live/secret"}, Retained: true})
		eu.m.Forward("us", liveMsg("before"), wanted)
		up(t, eu, "us")
		up(t, us, "eu")
		for i := range 500 {
			eu.m.Forward("us", liveMsg(fmt.Sprint(i)), wanted)
		}
		eu.m.Forward("us", &home.Message{Topic: "live/secret"}, wanted)
		eu.m.Forward("us", &home.Message{Topic: "elsewhere"}, wanted)
		eu.m.Forward("nobody", liveMsg("x"), wanted)
		now := eu.home.st.Now()
		eu.m.Forward("us", &home.Message{Topic: "live/b", Expires: now - 1}, wanted)
		eu.m.Forward("us", &home.Message{Topic: "live/b", Namespace: "cars", QoS: 1, Retain: true, Forward: []byte{38}, Expires: now.Add(time.Minute)}, wanted)
		eventually(t, 5*time.Second, "all delivered", func() bool { return len(us.delivered()) == 501 })
		got := us.delivered()
		for i, m := range got[:500] {
			if string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Payload)
			}
		}
		last := got[500]
		left := last.Expires.Sub(us.home.st.Now())
		if last.Namespace != "cars" || last.QoS != 1 || !last.Retain || string(last.Forward) != "&" || left > time.Minute || left < 58*time.Second {
			t.Errorf("got %+v with %v left", last, left)
		}
		// What came by a link is not sent on, whoever tries.
		us.m.Forward("eu", got[0], wanted)
		time.Sleep(time.Second)
		if n := us.status("eu").Counters; n.Dropped[DropRelayed] != 1 || n.LiveOut != 0 {
			t.Errorf("relayed: %+v", n)
		}
		c := eu.status("us").Counters
		want := map[DropReason]uint64{DropLinkDown: 1, DropPolicyOut: 2, DropExpired: 1, DropLiveFull: 0, DropRelayed: 0, DropPolicyIn: 0}
		for r, n := range want {
			if c.Dropped[r] != n {
				t.Errorf("%d dropped as %s, want %d", c.Dropped[r], r, n)
			}
		}
		if c.LiveOut != 501 {
			t.Errorf("%d sent", c.LiveOut)
		}
	})
}

// The network cannot keep up: what does not fit is dropped and counted, what
// fits arrives in order, and Forward never waits.
func TestLive_QueueIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.tuned("eu", func(o *tuning) { o.LiveQueue = 100 }, peerTo("us"))
		up(t, eu, "us")
		began := time.Now()
		for i := range 1000 {
			eu.m.Forward("us", liveMsg(fmt.Sprint(i)), wanted)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("Forward waited %v", d)
		}
		time.Sleep(2 * time.Second)
		c := eu.status("us").Counters
		got := us.delivered()
		if dropped := c.Dropped[DropLiveFull]; dropped == 0 || int(dropped)+len(got) != 1000 || c.LiveOut != uint64(len(got)) {
			t.Errorf("%d dropped, %d sent, %d delivered of 1000", dropped, c.LiveOut, len(got))
		}
		last := -1
		for _, m := range got {
			var i int
			if _, err := fmt.Sscan(string(m.Payload), &i); err != nil {
				t.Fatal(err)
			}
			if i <= last {
				t.Fatalf("%d after %d", i, last)
			}
			last = i
		}
	})
}

// A message waits while the link breaks: it is dropped, not delivered late.
func TestLive_NotLateAfterABreak(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		w.wan.setCut(ip("eu"), ip("us"), true)
		for i := range 50 {
			eu.m.Forward("us", liveMsg(fmt.Sprint("late ", i)), wanted)
			time.Sleep(time.Second)
		}
		w.wan.setCut(ip("eu"), ip("us"), false)
		up(t, eu, "us")
		eu.m.Forward("us", liveMsg("new"), wanted)
		eventually(t, 5*time.Second, "delivered", func() bool { return len(us.delivered()) > 0 })
		if got := string(us.delivered()[0].Payload); got != "new" {
			t.Errorf("got %q first", got)
		}
		if n := eu.status("us").Counters.Dropped[DropLinkDown]; n < 40 {
			t.Errorf("%d dropped as link_down", n)
		}
	})
}

// What waits for the link's rate when the tunnel ends is dropped, counted, and takes no
// room in the queue any more.
func TestLive_ThrottledWhenTheTunnelEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.SetPeer{Peer: "us", Rate: 20_000})
		up(t, eu, "us")
		const messages = 50
		for range messages {
			payload := make([]byte, 10_000)
			_, _ = rand.Read(payload) // nothing to compress
			eu.m.Forward("us", liveMsg(string(payload)), wanted)
		}
		time.Sleep(3 * time.Second)
		w.wan.setCut(ip("eu"), ip("us"), true)
		eventually(t, time.Minute, "the tunnel to end", func() bool { return eu.status("us").State != Up })
		time.Sleep(time.Second)
		c := eu.status("us").Counters
		if n := c.LiveOut + c.Dropped[DropLinkDown]; n != messages || c.LiveOut == 0 {
			t.Errorf("%d sent and %d dropped of %d", c.LiveOut, c.Dropped[DropLinkDown], messages)
		}
		if n := eu.peer("us").live.bytes.Load(); n != 0 {
			t.Errorf("%d bytes of nothing are in the queue", n)
		}
	})
}
