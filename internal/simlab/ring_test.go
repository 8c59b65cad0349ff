package simlab

import (
	"testing"
	"time"
)

// A message crosses each link once and comes back by none. [D6]
func TestRingOfThree_DoesNotEcho(t *testing.T) {
	in(t, Options{Regions: []string{"eu", "us", "ap"}}, func(t *testing.T, l *Lab) {
		// given three regions, all linked with all, where everybody wants everything
		pub := publisher(l, "eu", "pub")
		subs := []*Device{subscriber(l, "eu", "s1", 2, "#"), subscriber(l, "us", "s2", 1, "#"), subscriber(l, "ap", "s3", 2, "#")}
		settle(t, l)
		// when one of them publishes, at all three QoS
		publish(pub, 20, Message{Topic: "t/0"})
		publish(pub, 20, Message{Topic: "t/1", QoS: 1})
		publish(pub, 20, Message{Topic: "t/2", QoS: 2})
		// then each sees each message once, and no link carries more than eu's
		check(t, l)
		for _, s := range subs {
			if n := messages(s, pub); n != 60 {
				t.Errorf("%s saw %d messages, want 60", s.ID, n)
			}
		}
		time.Sleep(time.Minute)
		for _, r := range l.Regions() {
			for _, p := range l.Regions() {
				s, ok := l.Link(r.Name, p.Name)
				if want := map[bool]uint64{true: 60}[r.Name == "eu"]; ok && s.Counters.MessagesOut+s.Counters.LiveOut != want {
					t.Errorf("%s sent %s %d messages and %d live ones, want %d", r.Name, p.Name, s.Counters.MessagesOut, s.Counters.LiveOut, want)
				}
			}
		}
	})
}
