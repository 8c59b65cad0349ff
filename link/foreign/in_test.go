package foreign

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestIn_AcknowledgedOnceCommitted(t *testing.T) {
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		sub := s.subscribed()
		l.want("filter", sub.Filters[0], packet.Subscription{Filter: "#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 1})
		received := l.home.subscribe("d", "v/#")
		l.home.hold(true)
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: 1, Payload: []byte("a")})
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 2, Payload: []byte("b")})
		s.nothing()
		l.home.hold(false)
		l.want("id", s.acked(packet.PUBACK).PacketID, 1)
		l.want("id", s.acked(packet.PUBREC).PacketID, 2)
		s.ack(packet.PUBREL, 2, packet.Success)
		l.want("id", s.acked(packet.PUBCOMP).PacketID, 2)
		l.settle()
		l.want("received", received(), []string{"a", "b"})
		l.want("spooled for this link", l.home.spooled("old"), 0)
		l.want("spooled for another", l.home.spooled("other"), 2)
	})
}

// The node is killed between commit and acknowledgement: QoS 2 comes once.
func TestIn_KilledBetweenCommitAndAck(t *testing.T) {
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		received := l.home.subscribe("d", "v/#")
		l.home.hold(true)
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 7, Payload: []byte("a")})
		l.settle()
		l.halt()
		l.home.hold(false)
		l.start(nil)
		s = l.accept(true, packet.Connack{})
		s.subscribed()
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 7, Payload: []byte("a"), Dup: true})
		s.acked(packet.PUBREC)
		s.ack(packet.PUBREL, 7, packet.Success)
		s.acked(packet.PUBCOMP)
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 7, Payload: []byte("a")}) // a new one under the id
		s.acked(packet.PUBREC)
		l.settle()
		l.want("received", received(), []string{"a", "a"})
	})
}

// A broker that has lost its session gives its ids to other messages.
func TestIn_BrokerForgotTheSession_IDsAreNew(t *testing.T) {
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		received := l.home.subscribe("d", "v/#")
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 7, Payload: []byte("a")})
		s.acked(packet.PUBREC)
		s.Close()
		s = l.accept(false, packet.Connack{})
		s.subscribed()
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 7, Payload: []byte("a")})
		s.acked(packet.PUBREC)
		l.settle()
		l.want("received", received(), []string{"a", "a"})
	})
}

// What another node has taken over is not acknowledged by this one.
func TestIn_FencedNode_DoesNotAcknowledge(t *testing.T) {
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		l.home.do(&home.Attach{Session: home.LinkSession("old"), Expiry: 100})
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: 1, Payload: []byte("a")})
		for g := range s.packets {
			if g.h.Type == packet.PUBACK {
				t.Error("it acknowledges")
			}
		}
		l.want("spooled", l.home.spooled("other"), 0)
		l.accept(true, packet.Connack{})
	})
}

func TestIn_Loops(t *testing.T) {
	trail := func(s string) []byte { return packet.AppendUserProperty([]byte{1, 1}, trailProperty, s) }
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		received := l.home.subscribe("d", "v/#")
		for i, from := range []string{"eu/old", "us/x eu/other ap/x", "a/a b/b c/c d/d e/e f/f g/g h/h"} {
			s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: uint16(i + 1), Payload: []byte("a"), Forward: trail(from)})
			s.acked(packet.PUBACK)
		}
		l.want("loops", l.dropped(DropLoop), 3)
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: 9, Payload: []byte("new"), Forward: trail("us/x  other/y")})
		s.acked(packet.PUBACK)
		l.settle()
		l.want("received", received(), []string{"new"})
		l.want("spooled for a region that it came through", l.home.spooled("other"), 0)
		q := l.home.st.Peek(home.SessionKey{Namespace: "ns", ClientID: "d"}, 0, 1)[0].Message
		l.want("properties", q.Forward, []byte{1, 1})
		l.want("trail", q.Trail, "us/x other/y")
	})
}

// A broker of 3.1.1 that is no bridge's friend gives back what it got: once for each.
func TestIn_EchoesOf311(t *testing.T) {
	old := func(l *Link) { l.Version, l.Connections = packet.V311, 3 }
	run(t, old, func(l *lab) {
		s := l.greeted()
		l.want("bridge", len(s.connect.User), 1)
		s.send(packet.AppendConnack(nil, s.v, &packet.Connack{Code: packet.UnsupportedProtocolVersion}))
		s = l.accept(false, packet.Connack{}) // plain 3.1.1, and the only connection
		l.want("bridge", len(s.connect.User), 0)
		s.subscribed()
		received := l.home.subscribe("d", "v/#")
		l.home.publish("p", "v/1", "a", 1)
		p := s.published()
		s.ack(packet.PUBACK, p.PacketID, packet.Success)
		for id := uint16(1); id <= 2; id++ {
			s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: id, Payload: []byte("a")})
			s.acked(packet.PUBACK)
		}
		l.settle()
		l.want("received", received(), []string{"a", "a"}) // the device's, and the second from there
		l.want("loops", l.dropped(DropLoop), 1)
		l.want("spooled", l.home.spooled("old"), 0)
		l.want("connections", l.m.Status()[0].Connections, 1)
	})
}

func TestIn_PolicyAndCanaries(t *testing.T) {
	cfg := func(l *Link) {
		l.In, l.Never, l.CanaryTopic = []string{"v/#", "causeway/#"}, []string{"v/pii/#"}, "causeway/canary/eu/old"
	}
	run(t, cfg, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.want("filters", len(s.subscribed().Filters), 3)
		sent := s.published()
		l.want("canary", string(sent.Topic), "causeway/canary/eu/old")
		for id, topic := range []string{"w", "v/pii/x", "causeway/canary/us/x"} {
			s.publish(packet.OutPublish{Topic: topic, QoS: 1, PacketID: uint16(id + 1)})
			s.acked(packet.PUBACK)
		}
		l.want("policy", l.dropped(DropPolicyIn), 2)
		l.want("round trip", l.m.Status()[0].Canaries.RoundTrip, time.Duration(0))
		l.settle()
		s.publish(packet.OutPublish{Topic: string(sent.Topic), Payload: sent.Payload})
		s.ack(packet.PUBACK, sent.PacketID, packet.Success)
		l.settle()
		c := l.m.Status()[0].Canaries
		if c.RoundTrip == 0 || c.InAge != c.OutAge || c.InAge <= c.RoundTrip {
			t.Errorf("%+v", c)
		}
		l.want("spooled", l.home.spooled("other"), 0)
	})
}

// A broker of 3.1.1 cannot be told how large a message may be.
func TestIn_TooLarge_IsDropped(t *testing.T) {
	old := func(l *Link) { l.Version = packet.V311 }
	run(t, old, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		received := l.home.subscribe("d", "v/#")
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 2, PacketID: 5, Payload: make([]byte, 3<<20)})
		l.want("id", s.acked(packet.PUBREC).PacketID, 5)
		s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: 6, Payload: []byte("a")})
		l.want("id", s.acked(packet.PUBACK).PacketID, 6)
		l.settle()
		l.want("received", received(), []string{"a"})
		l.want("dropped", l.dropped(DropTooLarge), 1)
	})
}

// A broker that takes us for a bridge and gives back what it got all the same: the canary tells.
func TestIn_EchoesOfABridge(t *testing.T) {
	old := func(l *Link) { l.Version, l.CanaryTopic = packet.V311, "causeway/canary/eu/old" }
	for _, returns := range []bool{false, true} {
		run(t, old, func(l *lab) {
			s := l.accept(false, packet.Connack{})
			s.subscribed()
			canary := s.published()
			received := l.home.subscribe("d", "v/#")
			if returns {
				s.publish(packet.OutPublish{Topic: string(canary.Topic), Payload: canary.Payload})
			}
			l.settle()
			l.want("canaries return", l.m.Status()[0].Returns, returns)
			l.home.publish("p", "v/1", "a", 1)
			s.published()
			s.publish(packet.OutPublish{Topic: "v/1", QoS: 1, PacketID: 1, Payload: []byte("a")})
			s.acked(packet.PUBACK)
			l.settle()
			want := []string{"a", "a"} // the second is a device's over there
			if returns {
				want = want[:1]
			}
			l.want("received", received(), want)
		})
	}
}

// A broker that sends for ever and reads nothing is given up, whatever it makes us say.
func TestIn_BrokerThatReadsNothing(t *testing.T) {
	for name, b := range map[string][]byte{
		"acknowledgements": packet.AppendPublish(nil, packet.V5, &packet.OutPublish{Topic: canaryLevels + "x", QoS: 1, PacketID: 1}),
		"releases":         packet.AppendAck(nil, packet.V5, packet.PUBREC, 9, packet.Success),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, nil, func(l *lab) {
				s := l.accept(false, packet.Connack{})
				s.subscribed()
				full := bytes.Repeat(b, 100)
				for n := 0; ; n++ {
					if _, err := s.Write(full); err != nil {
						break
					}
					if n > 4*maxUnsaid/100 {
						t.Fatalf("%d packets were taken", 100*n)
					}
				}
				for range s.packets { // what came before nobody read
				}
				l.settle()
				if st := l.m.Status()[0]; !strings.Contains(st.Reason, "does not read") {
					t.Errorf("the reason is %q", st.Reason)
				}
			})
		})
	}
}
