package simlab

import (
	"testing"
	"time"
)

func TestLinkCut_SpoolDrainsInOrder(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		// given a link that breaks for ten minutes
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "us", "sub", 2, "t/#")
		settle(t, l)
		publish(pub, 50, Message{Topic: "t/a", QoS: 1})
		await(t, l, "the first messages", func() bool { return messages(sub, pub) == 50 })
		l.Net.Cut("eu", "us")
		// when eu goes on publishing, and a flock of both sides' retries has failed
		for range 10 {
			publish(pub, 50, Message{Topic: "t/a", QoS: 2, Size: 300})
			time.Sleep(time.Minute)
		}
		if !pub.Idle() {
			t.Error("eu's publishers wait for a remote region")
		}
		if n := messages(sub, pub); n != 50 {
			t.Errorf("%d messages crossed a cut link", n-50)
		}
		// then all of it comes, in order, once, within seconds of the repair
		l.Net.Heal("eu", "us")
		healed := time.Now()
		await(t, l, "the spool to drain", func() bool { return messages(sub, pub) == 550 })
		if took := time.Since(healed); took > 15*time.Second {
			t.Errorf("500 messages took %s to drain", took)
		}
		check(t, l)
		await(t, l, "the spool to be trimmed", func() bool { s, _ := l.Link("eu", "us"); return s.LagMessages == 0 })
	})
}

func TestUnwantedTopic_SendsNothing(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		// given a peer that wants one topic, after which the link is silent
		pub, sub := publisher(l, "eu", "pub"), subscriber(l, "us", "sub", 1, "wanted/#")
		settle(t, l)
		// when others are published, at all three QoS
		for qos := range byte(3) {
			publish(pub, 100, Message{Topic: "unwanted/x", QoS: qos, Size: 100})
		}
		check(t, l)
		time.Sleep(time.Minute)
		// then nothing of them crosses: no message, no frame but those of canaries, which
		// another tunnel may send again
		s, _ := l.Link("eu", "us")
		if c := s.Counters; c.FramesOut > c.CanariesOut+c.Tunnels || c.MessagesOut != 0 || c.LiveOut != 0 || c.WireOut > 40*c.FramesOut {
			t.Errorf("the link carried what nobody wants: %+v", c)
		}
		if s.LagMessages != 0 {
			t.Errorf("%d unwanted messages are spooled", s.LagMessages)
		}
		// and the counter does count
		pub.Publish(Message{Topic: "wanted/x", QoS: 1})
		await(t, l, "the wanted message", func() bool { return messages(sub, pub) == 1 })
		if s, _ := l.Link("eu", "us"); s.Counters.MessagesOut != 1 {
			t.Errorf("one wanted message: %+v", s.Counters)
		}
	})
}

func TestRetainedDeletion_ReachesPeerAfterOutage(t *testing.T) {
	in(t, Options{}, func(t *testing.T, l *Lab) {
		// given two retained messages that us has, too
		pub, first := publisher(l, "eu", "pub"), subscriber(l, "us", "first", 1, "r/#")
		settle(t, l)
		pub.Publish(Message{Topic: "r/goes", QoS: 1, Retain: true})
		pub.Publish(Message{Topic: "r/stays", QoS: 1, Retain: true})
		await(t, l, "both to cross", func() bool { return messages(first, pub) == 2 })
		if got := retained(t, l, "us", "early"); len(got) != 2 {
			t.Fatalf("us retains %v", got)
		}
		// when one is deleted while the link is down, and us restarts before it is up
		l.Net.Cut("eu", "us")
		time.Sleep(30 * time.Second)
		pub.Publish(Message{Topic: "r/goes", QoS: 1, Retain: true, Empty: true})
		await(t, l, "the deletion's acknowledgement", pub.Idle)
		l.Region("us").Crash()
		if err := l.Region("us").Start(); err != nil {
			t.Fatal(err)
		}
		l.Net.Heal("eu", "us")
		await(t, l, "the link", func() bool { return l.Linked("eu", "us") })
		await(t, l, "the spool to drain", func() bool { s, _ := l.Link("eu", "us"); return s.LagMessages == 0 })
		// then a new subscriber in us is given the other one only
		if got := retained(t, l, "us", "late"); len(got) != 1 || got[0] != "r/stays" {
			t.Errorf("us still retains %v", got)
		}
	})
}

// retained lists the topics of the retained messages that a new subscriber is
// given.
func retained(t *testing.T, l *Lab, region, id string) (topics []string) {
	d := subscriber(l, region, id, 1, "r/#")
	await(t, l, "the subscription of "+id, d.Granted)
	time.Sleep(5 * time.Second)
	for _, s := range d.Seen() {
		if s.Retain {
			topics = append(topics, s.Topic)
		}
	}
	return topics
}
