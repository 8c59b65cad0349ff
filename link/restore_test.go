package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// The receiver comes back from a backup, behind what we trimmed. What is gone is
// told and counted on both sides, and the link goes on. [B7]
func TestRestore_ReceiverBehindOurTrim(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		eu.home.publish(t, "a", 0, 100)
		drained(t, eu, "us", 10*time.Second)
		backup := len(us.home.log)
		eu.home.publish(t, "a", 100, 200)
		drained(t, eu, "us", 10*time.Second)
		us.start(us.crash()[:backup])
		eu.home.publish(t, "a", 200, 300)
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), append(numbered("eu", "a", 0, 100), numbered("eu", "a", 200, 300)...))
		if a, b := eu.status("us").Counters.GapsOut, us.status("eu").Counters.GapsIn; a != 1 || b != 1 {
			t.Errorf("gaps counted: %d sent, %d received; want 1 and 1", a, b)
		}
	})
}

// The sender comes back from a backup without a new epoch: its next numbers are
// known to the receiver, which would skip them. It holds them back and says so.
func TestRestore_SenderBehindTheReceiver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		backup := len(eu.home.log)
		eu.home.publish(t, "a", 0, 100)
		drained(t, eu, "us", 10*time.Second)
		eu.start(eu.crash()[:backup])
		up(t, eu, "us")
		eu.home.publish(t, "a", 500, 550)
		time.Sleep(10 * time.Second)
		s := eu.status("us")
		if s.Counters.Held == 0 || s.LagMessages != 50 || s.Counters.MessagesOut != 0 {
			t.Errorf("held %d, lag %d, sent %d", s.Counters.Held, s.LagMessages, s.Counters.MessagesOut)
		}
		if !strings.Contains(s.Reason, "without raising its epoch") {
			t.Errorf("reason %q", s.Reason)
		}
	})
}

// Expiry counts over an outage, in home time; a retained message that expired in
// the spool still replaces what it replaced.
func TestExpiry_OverAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		retained := func(payload string, expiry uint32) {
			eu.home.do(t, &home.Publish{Topic: "state", Payload: []byte(payload), QoS: 1, Retain: true, Expiry: expiry})
		}
		retained("for ever", 0)
		drained(t, eu, "us", 10*time.Second)
		fresh := 0
		have := func() []string { // what a new subscriber gets
			fresh++
			id := fmt.Sprint("fresh", fresh)
			us.home.subscribe(t, id, "state")
			return us.home.queue(t, id)
		}
		if got := have(); len(got) != 1 {
			t.Fatalf("retained: %q", got)
		}
		w.wan.setCut(ip("eu"), ip("us"), true)
		retained("for ten seconds", 10)
		for i, expiry := range []uint32{10, 0, 3600} {
			eu.home.do(t, &home.Publish{Topic: "a", Payload: fmt.Append(nil, "m", i), QoS: 1, Expiry: expiry})
		}
		time.Sleep(time.Minute)
		eu.home.do(t, &home.Tick{})
		w.wan.setCut(ip("eu"), ip("us"), false)
		drained(t, eu, "us", 20*time.Second)
		same(t, us.home.queue(t, "dev"), []string{"m1", "m2"})
		if got := have(); len(got) != 0 {
			t.Errorf("what expired was not replaced: %q", got)
		}
		if n := eu.status("us").Counters.Dropped[DropExpired]; n != 1 {
			t.Errorf("%d dropped as expired, want 1", n)
		}
	})
}

// Messages larger than a frame cross, alone, between small ones.
func TestLink_LargeMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		for i, n := range []int{10, 2 << 20, 10, 300 << 10, 900 << 10, 10} {
			b := append(fmt.Appendf(nil, "m%d|", i), make([]byte, n)...)
			eu.home.do1(t, &home.Publish{Topic: "a", Payload: b, QoS: 1})
		}
		eu.home.do(t, &home.Tick{})
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), []string{"m0", "m1", "m2", "m3", "m4", "m5"})
	})
}

// Two classes: each has a stream and a cursor of its own, and a full window of
// one does not hold the other.
func TestLink_ClassesAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		p := peerTo("us")
		p.Compress = wire.CodecNone
		eu := w.tuned("eu", func(o *tuning) { o.SendWindow = 64 << 10 }, p)
		eu.home.do(t, &home.SetPeer{Peer: "us", Classes: []home.Class{{Name: "commands", Filters: []string{"cmd/#"}}}})
		us.home.subscribe(t, "dev", "cmd/#")
		us.home.subscribe(t, "bulk", "bulk/#")
		wantsKnown(t, eu, us)
		eu.home.publishNoise(t, "bulk/a", 0, 5000)
		eu.home.publish(t, "cmd/a", 0, 5)
		eventually(t, 2*time.Second, "commands overtook the bulk", func() bool {
			at, _ := us.home.st.Cursor(sourceOf(eu), "commands")
			return at >= 5005
		})
		if eu.status("us").LagMessages == 0 {
			t.Error("the bulk was as fast: nothing was shown")
		}
		drained(t, eu, "us", time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "cmd/a", 0, 5))
		same(t, us.home.queue(t, "bulk"), numbered("eu", "bulk/a", 0, 5000))
	})
}

func TestStartAt(t *testing.T) {
	for _, c := range []struct {
		name string
		c    wire.Cursor
		want start
	}{
		{"never heard of us", wire.Cursor{}, start{at: 40}},
		{"at the start", wire.Cursor{Known: true, Seq: 40}, start{at: 40}},
		{"ahead of the trim", wire.Cursor{Known: true, Seq: 60}, start{at: 60}},
		{"at the newest", wire.Cursor{Known: true, Seq: 100}, start{at: 100}},
		{"behind the trim", wire.Cursor{Known: true, Seq: 39}, start{at: 39, gap: true}},
		{"ahead of the home", wire.Cursor{Known: true, Seq: 101}, start{at: 101, ahead: true}},
	} {
		if got := startAt(&c.c, 40, 100); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestFlight_AcksCoverOlderEpochs(t *testing.T) {
	e1, e2 := home.Epoch{Number: 1, Host: "eu"}, home.Epoch{Number: 2, Host: "us"}
	var f flight
	for _, s := range []span{{e1, 10, 5}, {e1, 20, 5}, {e2, 30, 5}, {e2, 40, 5}} {
		f.add(s)
	}
	for _, c := range []struct {
		epoch home.Epoch
		to    home.Seq
		bytes int
	}{{e1, 9, 20}, {e1, 10, 15}, {e1, 99, 10}, {e2, 29, 10}, {e2, 30, 5}, {e1, 40, 5}, {e2, 40, 0}} {
		if f.acked(c.epoch, c.to); f.bytes != c.bytes {
			t.Errorf("after an ack of %s to %d: %d bytes under way, want %d", c.epoch, c.to, f.bytes, c.bytes)
		}
	}
}

// A topic that must not leave any more does not, also from a spool that was
// filled before.
func TestSpool_ObeysThePolicyOfTheDay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "#")
		wantsKnown(t, eu, us)
		w.wan.setCut(ip("eu"), ip("us"), true)
		eu.home.publish(t, "secret/a", 0, 5)
		eu.home.publish(t, "public", 0, 5)
		eu.home.do(t, &home.SetPeer{Peer: "us", Never: []string{"secret/#"}, Retained: true})
		w.wan.setCut(ip("eu"), ip("us"), false)
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "public", 0, 5))
		if n := eu.status("us").Counters.Dropped[DropPolicyOut]; n != 5 {
			t.Errorf("%d dropped by policy, want 5", n)
		}
	})
}
