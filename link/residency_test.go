package link

import (
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

var piiInEU = &home.Configure{Revision: 2, Residency: []home.Residency{{Filter: "pii/#", Regions: []string{"eu"}}}}

// A rule holds for what waits for the peer already: it is not sent, it is counted, and
// what lies around it crosses.
func TestResidency_OfWhatIsSpooledAlready(t *testing.T) {
	for _, evicted := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 10*time.Millisecond)
			defer w.close()
			us := w.region("us", peerFrom("eu"))
			eu := w.region("eu", peerTo("us"))
			us.home.subscribe(t, "dev", "#")
			wantsKnown(t, eu, us)
			w.wan.setCut(ip("eu"), ip("us"), true)
			eu.home.publish(t, "pii/a", 0, 50)
			eu.home.publish(t, "events/a", 0, 50)
			eu.home.do(t, &home.Publish{Topic: "pii/kept", Payload: []byte("secret"), QoS: 1, Retain: true})
			if evicted {
				eu.home.spill()
			}
			eu.home.do(t, piiInEU)
			eu.home.publish(t, "pii/a", 50, 60)
			w.wan.setCut(ip("eu"), ip("us"), false)
			drained(t, eu, "us", 30*time.Second)
			same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 50))
			if n := eu.status("us").Counters.Dropped[DropResidency]; n != 51 {
				t.Errorf("%d messages are counted as kept back, want 51", n)
			}
			if us.home.st.Status().Retained != 0 {
				t.Error("a retained message crossed")
			}
		})
	}
}

// A copy that took over has of some messages the number only, since its region may not store them. They are not sent, they are
// counted, and what lies around them crosses.
func TestResidency_OfWhatACopyHasTheNumberOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		eu.home.do(t, &home.Raise{Level: 2}) // copies in other regions
		us.home.subscribe(t, "dev", "#")
		wantsKnown(t, eu, us)
		w.wan.setCut(ip("eu"), ip("us"), true)
		eu.home.publish(t, "pii/a", 0, 50)
		eu.home.publish(t, "events/a", 0, 50)
		eu.home.do(t, piiInEU)
		eu.home.veil(t, "ap")
		eu.home.do(t, &home.Configure{Revision: 3})
		w.wan.setCut(ip("eu"), ip("us"), false)
		drained(t, eu, "us", 30*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 50))
		if n := eu.status("us").Counters.Dropped[DropResidency]; n != 50 {
			t.Errorf("%d messages are counted as kept back, want 50", n)
		}
	})
}

// What is in no log is kept back, too, on both sides, each by its own rules.
func TestResidency_OfWhatIsInNoLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		send := func() {
			eu.m.Forward("us", &home.Message{Topic: "pii/a", Payload: []byte("x")}, wanted)
			eu.m.Forward("us", &home.Message{Topic: "events/a", Payload: []byte("y")}, wanted)
			time.Sleep(100 * time.Millisecond)
		}
		us.home.do(t, piiInEU)
		send()
		if n := len(us.delivered()); n != 1 || us.status("eu").Counters.Dropped[DropResidency] != 1 {
			t.Errorf("%d delivered where the receiver has the rule, %v", n, us.status("eu").Counters.Dropped)
		}
		us.home.do(t, &home.Configure{Revision: 3})
		eu.home.do(t, piiInEU)
		send()
		if n := len(us.delivered()); n != 2 || eu.status("us").Counters.Dropped[DropResidency] != 1 {
			t.Errorf("%d delivered where the sender has the rule, %v", n-1, eu.status("us").Counters.Dropped)
		}
	})
}

// What cannot come is not asked for; when the rule goes, it is.
func TestResidency_OfInterest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, piiInEU)
		eu := w.region("eu", peerTo("us"))
		us.home.subscribe(t, "dev", "pii/secret/name", "events/#", "#")
		told := func(want int) func() bool {
			return func() bool { info, _ := eu.home.st.Peer("us"); return info.Filters == want }
		}
		eventually(t, 5*time.Second, "eu to know two filters", told(2))
		snap, _ := eu.home.st.PeerInterest("us")
		for f := range snap.All() {
			if f.Filter == "pii/secret/name" {
				t.Errorf("%v is told", f)
			}
		}
		us.home.do(t, &home.Configure{Revision: 3})
		eventually(t, 20*time.Second, "eu to know all of them", told(3))
		us.home.do(t, piiInEU)
		eventually(t, 20*time.Second, "eu to know two again", told(2))
	})
}

// A peer that asks what becomes of a topic is told of the rule, and not of who wants it.
func TestResidency_OfAView(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		us.home.do(t, piiInEU)
		us.home.subscribe(t, "dev", "#")
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		up(t, us, "eu")
		for topic, want := range map[string]TopicView{"pii/a": {}, "events/a": {MayCome: true, Wanted: true}} {
			if v := us.peer("eu").current().view(&wire.Question{View: true, Topic: topic}); *v.Topic != want {
				t.Errorf("%s: %+v, want %+v", topic, *v.Topic, want)
			}
		}
	})
}
