package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"causeway/internal/home"
	"causeway/routing"
)

// pair makes two regions; a device of us subscribes.
func pair(t *testing.T, filters ...string) (w *world, us, eu *node) {
	return pairBy(t, peerTo, filters...)
}

func pairBy(t *testing.T, to func(string) Peer, filters ...string) (w *world, us, eu *node) {
	w = newWorld(t, 10*time.Millisecond)
	us = w.region("us", peerFrom("eu"))
	eu = w.region("eu", to("us"))
	us.home.subscribe(t, "dev", filters...)
	wantsKnown(t, eu, us)
	return w, us, eu
}

// While the sender is paused nothing crosses; the tunnel stays and the spool grows.
// It goes on at once, with everything, in order.
func TestPause_OfTheSender(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, us, eu := pair(t, "e")
		defer w.close()
		eu.home.publish(t, "e", 0, 10)
		drained(t, eu, "us", time.Second)
		eu.home.do(t, &home.PausePeer{Peer: "us", Paused: true})
		eu.home.publish(t, "e", 10, 500)
		eu.m.Forward("us", liveMsg("x"), wanted)
		time.Sleep(time.Minute)
		if n := len(us.home.queue(t, "dev")); n != 10 {
			t.Errorf("%d messages crossed, want 10", n)
		}
		s := eu.status("us")
		if s.State != Up || s.Counters.Tunnels != 1 || s.LagMessages != 490 || s.Counters.Dropped[DropPaused] != 1 {
			t.Errorf("while paused: %s, %d tunnels, %d waiting, %d dropped", s.State, s.Counters.Tunnels, s.LagMessages, s.Counters.Dropped[DropPaused])
		}
		eu.home.do(t, &home.PausePeer{Peer: "us"})
		if took := drained(t, eu, "us", 5*time.Second); took > time.Second {
			t.Errorf("it took %v to go on", took)
		}
		same(t, us.home.queue(t, "dev"), numbered("eu", "e", 0, 500))
	})
}

// A receiver that is paused takes nothing, however long; the peer keeps it, and the
// rest of the tunnel works.
func TestPause_OfTheReceiver(t *testing.T) {
	// The peer opens a stream anew every half a minute: more than there may be at a time.
	t.Run("udp", func(t *testing.T) { pausedReceiver(t, peerTo, 3*time.Hour) })
	t.Run("tcp", func(t *testing.T) { pausedReceiver(t, peerOverTCP, 5*time.Minute) })
}

func pausedReceiver(t *testing.T, to func(string) Peer, long time.Duration) {
	bubble(t, func(t *testing.T) {
		w, us, eu := pairBy(t, to, "e")
		defer w.close()
		eu.home.publish(t, "e", 0, 10)
		drained(t, eu, "us", time.Second)
		us.home.do(t, &home.PausePeer{Peer: "eu", Paused: true, For: long + time.Minute})
		eu.home.publish(t, "e", 10, 5000)
		eu.m.Forward("us", liveMsg("x"), wanted)
		time.Sleep(long)
		us.home.subscribe(t, "late", "f") // interest crosses
		wantsKnown(t, eu, us)
		if n := len(us.home.queue(t, "dev")); n != 10 {
			t.Errorf("%d messages were taken, want 10", n)
		}
		if n := len(us.delivered()); n != 0 || us.status("eu").Counters.Dropped[DropPaused] != 1 {
			t.Errorf("%d messages in no log were taken, %d dropped", n, us.status("eu").Counters.Dropped[DropPaused])
		}
		if s := eu.status("us"); s.State != Up || s.Counters.Tunnels != 1 || s.LagMessages != 4990 || !strings.Contains(s.Reason, "takes nothing") {
			t.Errorf("while paused: %s (%s), %d tunnels, %d waiting", s.State, s.Reason, s.Counters.Tunnels, s.LagMessages)
		}
		time.Sleep(time.Minute)
		us.home.do(t, &home.Tick{}) // its time is over
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e", 0, 5000))
		if s := eu.status("us"); s.Reason != "" {
			t.Errorf("afterwards: %s", s.Reason)
		}
	})
}

// A pause in the middle of a stream, on either side, loses and doubles nothing.
func TestPause_UnderLoad(t *testing.T) {
	t.Run("udp", func(t *testing.T) { pausedUnderLoad(t, peerTo) })
	t.Run("tcp", func(t *testing.T) { pausedUnderLoad(t, peerOverTCP) })
}

func pausedUnderLoad(t *testing.T, to func(string) Peer) {
	bubble(t, func(t *testing.T) {
		w, us, eu := pairBy(t, to, "e")
		defer w.close()
		for i := range 10 {
			at, peer := eu, home.ID("us")
			if i%2 == 1 {
				at, peer = us, "eu"
			}
			eu.home.publish(t, "e", 500*i, 500*i+250)
			at.home.do(t, &home.PausePeer{Peer: peer, Paused: true})
			eu.home.publish(t, "e", 500*i+250, 500*i+500)
			time.Sleep(time.Second)
			at.home.do(t, &home.PausePeer{Peer: peer})
		}
		drained(t, eu, "us", time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e", 0, 5000))
	})
}

// What an operator dropped by filter is not sent, is counted, and holds back
// nothing; what comes later is not meant.
func TestSpool_TrimmedByFilter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, us, eu := pair(t, "#")
		defer w.close()
		eu.home.do(t, &home.PausePeer{Peer: "us", Paused: true})
		eu.home.publish(t, "a", 0, 5)
		eu.home.publish(t, "b", 0, 5)
		eu.home.do(t, &home.DropSpooled{Peer: "us", Filter: "a", AllClasses: true})
		eu.home.publish(t, "a", 5, 8)
		eu.home.do(t, &home.PausePeer{Peer: "us"})
		drained(t, eu, "us", time.Second)
		same(t, us.home.queue(t, "dev"), append(numbered("eu", "b", 0, 5), numbered("eu", "a", 5, 8)...))
		if n := eu.status("us").Counters.Dropped[DropOperator]; n != 5 {
			t.Errorf("%d counted, want 5", n)
		}
		if n := len(eu.home.st.LinkPolicy("us").Trims); n != 0 {
			t.Errorf("%d rules are left", n)
		}
	})
}

// A change of rate is obeyed in the middle of a backlog; another link is not slowed.
func TestRate_BoundsOneLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us, ap := w.region("us", peerFrom("eu")), w.region("ap", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"), peerTo("ap"))
		us.home.subscribe(t, "dev", "#")
		ap.home.subscribe(t, "dev", "#")
		wantsKnown(t, eu, us)
		wantsKnown(t, eu, ap)
		const rate = 100_000
		eu.home.do(t, &home.SetPeer{Peer: "us", Rate: rate})
		eu.home.publishNoise(t, "e", 0, 6000) // 3 MB
		drained(t, eu, "ap", 5*time.Second)
		sent := func() float64 { return float64(eu.status("us").Counters.WireOut) }
		time.Sleep(time.Second)
		from := sent()
		time.Sleep(10 * time.Second)
		if got := (sent() - from) / 10; got < 0.9*rate || got > 1.1*rate {
			t.Errorf("%.0f bytes a second, want %d", got, rate)
		}
		if n := eu.status("us").Counters.Throttled; n < 8*time.Second {
			t.Errorf("held back for %v", n)
		}
		if n := eu.status("ap").Counters.Throttled; n != 0 {
			t.Errorf("the other link was held back for %v", n)
		}
		eu.home.do(t, &home.SetPeer{Peer: "us"})
		drained(t, eu, "us", 5*time.Second)
		same(t, headers(us.home.queue(t, "dev")), numbered("eu", "e", 0, 6000))
	})
}

// headers are noisy messages without the noise.
func headers(list []string) []string {
	for i := range list {
		list[i], _, _ = strings.Cut(list[i], "|")
	}
	return list
}

// Messages in no log go before a backlog that takes all of the rate.
func TestRate_LiveGoesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, us, eu := pair(t, "#")
		defer w.close()
		eu.home.do(t, &home.SetPeer{Peer: "us", Rate: 50_000})
		eu.home.publishNoise(t, "e", 0, 3000)
		time.Sleep(3 * time.Second)
		for i := range 100 {
			eu.m.Forward("us", liveMsg(fmt.Sprint(i)), wanted)
			time.Sleep(50 * time.Millisecond)
			if n := len(us.delivered()); n < i-2 {
				t.Fatalf("%d of %d arrived", n, i)
			}
		}
	})
}

func TestMeter_Decisions(t *testing.T) {
	const rate = 1_000_000 // a burst is 100,000
	for _, c := range []struct {
		bytes float64
		share float64
		want  time.Duration
	}{
		{100_000, spoolShare, 0},
		{1, liveShare, 0},
		{1, spoolShare, 50 * time.Millisecond},
		{40_000, spoolShare, 10 * time.Millisecond},
		{-50_000, liveShare, 50 * time.Millisecond},
		{-50_000, spoolShare, 100 * time.Millisecond},
	} {
		if got := until(c.bytes, rate, c.share); (got - c.want).Abs() > 2*time.Microsecond {
			t.Errorf("%v bytes, share %v: wait %v, want %v", c.bytes, c.share, got, c.want)
		}
	}
	if got := gathered(-1000, 2*time.Millisecond, rate); got != 1000 {
		t.Errorf("gathered %v", got)
	}
	if got := gathered(0, time.Hour, rate); got != burst(rate) {
		t.Errorf("a burst of %v", got)
	}
	if got := burst(10); got != leastBurst {
		t.Errorf("the least burst is %v", got)
	}
}

// What comes from a peer has its place under a prefix: subscriptions, retained
// messages and their deletion, and QoS 0.
func TestPrefix_MapsWhatComesIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, &home.SetPeer{Peer: "eu", InPrefix: "eu/", Never: []string{"secret"}, Retained: true})
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "eu/a/#", "+/b", "a/#")
		eventually(t, 5*time.Second, "wanted", func() bool { return eu.status("us").InterestFilters == 2 })
		for _, topic := range []string{"a/x", "b", "secret", "eu/a/x", "c"} {
			eu.home.do(t, &home.Publish{Topic: topic, Payload: []byte(topic), QoS: 1, Retain: topic == "c"})
		}
		drained(t, eu, "us", time.Second)
		same(t, us.home.queue(t, "dev"), []string{"a/x", "b"})
		for _, m := range us.home.st.Peek(key("dev"), 0, 9) {
			if want := "eu/" + string(m.Message.Payload); m.Message.Topic != want {
				t.Errorf("appears as %s, want %s", m.Message.Topic, want)
			}
		}
		if _, ok := us.home.st.RetainedMessage("", "eu/c"); !ok {
			t.Error("the retained message has not crossed")
		}
		eu.home.do(t, &home.Publish{Topic: "c", QoS: 1, Retain: true})
		eventually(t, 5*time.Second, "deleted", func() bool { _, ok := us.home.st.RetainedMessage("", "eu/c"); return !ok })
		eu.m.Forward("us", liveMsg("x"), wanted)
		eu.m.Forward("us", &home.Message{Topic: strings.Repeat("x", routing.MaxBytes-2)}, wanted)
		eu.m.Forward("us", &home.Message{Topic: "$SYS/x"}, wanted)
		eventually(t, 5*time.Second, "delivered", func() bool { return len(us.delivered()) == 1 })
		if got := us.delivered()[0].Topic; got != "eu/live/a" {
			t.Errorf("in no log: appears as %s", got)
		}
		time.Sleep(time.Second)
		if d := us.status("eu").Counters.Dropped; d[DropTopicTooLong] != 1 || d[DropPolicyIn] != 1 || len(us.delivered()) != 1 {
			t.Errorf("dropped %v, delivered %d", d, len(us.delivered()))
		}
	})
}

// A message is asked for exactly when somebody here wants it under its mapped name.
func TestPrefix_AskedForIsWanted(t *testing.T) {
	pool := []string{"#", "+/#", "eu/#", "eu/+", "+/a", "eu/a/b", "x/y/#", "+/+/a", "x/+/a", "a", "$SYS/#", "eu/$SYS/#"}
	names := []string{"a", "b", "a/b", "a/a", "/a", "$SYS/a", "eu/a", "y/a"}
	rapid.Check(t, func(t *rapid.T) {
		policy := &home.LinkPolicy{SetPeer: home.SetPeer{
			InPrefix: rapid.SampledFrom([]string{"eu/", "x/y/", "/"}).Draw(t, "prefix"),
			In:       rapid.SliceOfN(rapid.SampledFrom([]string{"#", "a/#", "+", "+/a"}), 0, 2).Draw(t, "in"),
			Never:    rapid.SliceOfN(rapid.SampledFrom([]string{"b", "a/b"}), 0, 2).Draw(t, "never"),
		}}
		filters := rapid.SliceOfN(rapid.SampledFrom(pool), 1, 3).Draw(t, "filters")
		src := &wantedSet{Interest: routing.NewInterest(0)}
		for _, f := range filters {
			src.Add("", f)
		}
		topic := rapid.SampledFrom(names).Draw(t, "topic")
		asked := false
		for _, f := range newWants(src, policy, "eu", true).view().Snapshot().Filters {
			asked = asked || routing.Matches(f.Filter, topic)
		}
		mapped, why := hereTopic(policy, topic)
		wanted := false
		for _, f := range filters {
			wanted = wanted || why == "" && routing.Matches(f, mapped)
		}
		if got := asked && why == ""; got != wanted {
			t.Fatalf("topic %q, filters %q, policy %+v: crosses %t, wanted %t", topic, filters, policy.SetPeer, got, wanted)
		}
	})
}
