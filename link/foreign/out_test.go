package foreign

import (
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestOut_TrimmedOnPubackOnly(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 1)
		p := s.published()
		l.settle()
		l.want("spooled before the PUBACK", l.home.spooled("old"), 1)
		s.ack(packet.PUBACK, p.PacketID, packet.Success)
		l.settle()
		l.want("spooled after it", l.home.spooled("old"), 0)
	})
}

// The connection is lost between PUBLISH and PUBACK.
func TestOut_LostConnection_SendsAgain(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 1)
		l.home.publish("d", "v/1", "b", 2)
		first, second := s.published(), s.published()
		s.Close()
		s = l.accept(true, packet.Connack{})
		for _, want := range []packet.Publish{first, second} {
			p := s.published()
			l.want("message", string(p.Payload), string(want.Payload))
			l.want("id", p.PacketID, want.PacketID)
			l.want("DUP", p.Dup, true)
		}
	})
}

// The node is killed between PUBLISH and PUBREC: another one sends under the same packet id, so that the broker knows
// what it has.
func TestOut_KilledNode_SendsUnderTheSameID(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 2)
		first := s.published()
		l.settle()
		l.home.hold(true)
		s.ack(packet.PUBREC, first.PacketID, packet.Success)
		s.nothing() // the home does not know yet
		l.halt()
		l.home.drop()
		l.home.hold(false)
		l.start(outOnly)
		s = l.accept(true, packet.Connack{})
		again := s.published()
		l.want("id", again.PacketID, first.PacketID)
		l.want("DUP", again.Dup, true)
		s.ack(packet.PUBREC, again.PacketID, packet.PacketIdentifierInUse) // it has it
		s.next(packet.PUBREL)
		s.ack(packet.PUBCOMP, again.PacketID, packet.Success)
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
	})
}

// The node is killed once the broker was told to release: another one does not send the message again.
func TestOut_KilledNode_ReleasesWhatTheBrokerHas(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 2)
		l.home.publish("d", "v/1", "b", 1)
		a, _ := s.published(), s.published()
		s.ack(packet.PUBREC, a.PacketID, packet.Success)
		l.want("released", s.acked(packet.PUBREL).PacketID, a.PacketID)
		l.halt()
		l.start(outOnly)
		s = l.accept(true, packet.Connack{})
		l.want("released again", s.acked(packet.PUBREL).PacketID, a.PacketID)
		s.ack(packet.PUBCOMP, a.PacketID, packet.PacketIdentifierNotFound) // it was released before
		b := s.published()
		l.want("message", string(b.Payload), "b")
		s.ack(packet.PUBACK, b.PacketID, packet.Success)
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
		l.want("remembered", len(l.home.st.Received("old")), 0)
	})
}

// What the broker had when it lost its session is sent again, also by the next node.
func TestOut_KilledNode_BrokerForgotTheSession(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 2)
		s.ack(packet.PUBREC, s.published().PacketID, packet.Success)
		s.next(packet.PUBREL)
		l.halt()
		l.start(outOnly)
		s = l.accept(false, packet.Connack{})
		l.want("message", string(s.published().Payload), "a")
		l.want("remembered", len(l.home.st.Received("old")), 0)
		l.halt()
		l.start(outOnly)
		s = l.accept(true, packet.Connack{})
		l.want("message", string(s.published().Payload), "a")
	})
}

// The home commits nothing any more, as that of a leader which was cut off, while the broker goes on: what is sent beyond
// the trims stays within what the next node takes for sent, so that it is not released before it is sent again.
func TestOut_HomeStands_NothingBeyondTheWindow(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		l.halt()
		for _, qos := range []byte{1, 1, 2} {
			l.home.publish("d", "v/1", "a", qos)
		}
		l.home.hold(true)
		l.window = 2
		l.start(outOnly)
		s := l.accept(false, packet.Connack{})
		for range 2 {
			s.ack(packet.PUBACK, s.published().PacketID, packet.Success)
		}
		s.nothing()
		l.home.hold(false)
		l.want("QoS behind the trims", s.published().QoS, byte(2))
	})
}

// A session that the broker kept may hold ids of messages that are gone: a new one is not taken for them.
func TestOut_NewMessage_ReleasesItsIDFirst(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(true, packet.Connack{})
		seq := l.home.publish("d", "v/1", "a", 2)
		l.want("released", s.acked(packet.PUBREL).PacketID, uint16(seq)+1)
		s.ack(packet.PUBCOMP, uint16(seq)+1, packet.PacketIdentifierNotFound)
		p := s.published()
		l.want("DUP", p.Dup, false)
		s.ack(packet.PUBREC, p.PacketID, packet.Success)
		l.want("released", s.acked(packet.PUBREL).PacketID, p.PacketID)
		s.ack(packet.PUBCOMP, p.PacketID, packet.Success)
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
	})
}

func TestOut_LostConnection_PubrelFirst(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 2)
		l.home.publish("d", "v/1", "b", 2)
		a, b := s.published(), s.published()
		s.ack(packet.PUBREC, a.PacketID, packet.Success)
		s.next(packet.PUBREL)
		s.Close()
		s = l.accept(true, packet.Connack{})
		l.want("released", s.acked(packet.PUBREL).PacketID, a.PacketID)
		l.want("sent again", s.published().PacketID, b.PacketID)
		s.ack(packet.PUBCOMP, a.PacketID, packet.Success)
		s.ack(packet.PUBREC, b.PacketID, packet.Success)
		s.next(packet.PUBREL)
		s.ack(packet.PUBCOMP, b.PacketID, packet.Success)
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
	})
}

func TestOut_BrokerForgotTheSession_SendsAnew(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 2)
		p := s.published()
		s.ack(packet.PUBREC, p.PacketID, packet.Success)
		s.next(packet.PUBREL)
		s.Close()
		s = l.accept(false, packet.Connack{})
		again := s.published()
		l.want("message", string(again.Payload), "a")
		l.want("DUP", again.Dup, false)
	})
}

func TestOut_RefusedMessage_DoesNotBlock(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.home.publish("d", "v/1", "a", 1)
		l.home.publish("d", "v/1", "b", 2)
		s.ack(packet.PUBACK, s.published().PacketID, packet.NotAuthorized)
		s.ack(packet.PUBREC, s.published().PacketID, packet.PayloadFormatInvalid)
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
		l.want("refused", l.dropped(DropRefused), 2)
		l.want("reason", l.m.Status()[0].Reason, "the broker refuses messages: payload format invalid")
	})
}

func TestOut_NoRoom_SendsAgainLater(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{ReceiveMaximum: 1})
		l.home.publish("d", "v/1", "a", 1)
		l.home.publish("d", "v/1", "b", 1)
		began := time.Now()
		s.ack(packet.PUBACK, s.published().PacketID, packet.QuotaExceeded)
		again := s.published()
		l.want("message", string(again.Payload), "a")
		if waited := time.Since(began); waited < 200*time.Millisecond {
			t.Errorf("again after %v", waited)
		}
		s.ack(packet.PUBACK, again.PacketID, packet.Success)
		l.want("message", string(s.published().Payload), "b")
		l.want("put off", l.m.Status()[0].Counters.PutOff, 1)
	})
}

// Two connections finish out of order: what is not done keeps its place in the spool.
func TestOut_TrimsUpToWhatIsNotDone(t *testing.T) {
	two := func(l *Link) { l.In, l.Connections = nil, 2 }
	run(t, two, func(l *lab) {
		conns := []*script{l.accept(false, packet.Connack{}), l.accept(false, packet.Connack{})}
		for _, device := range []string{"a", "b", "c", "d"} {
			l.home.publish(device, "v/"+device, "1", 1)
			l.home.publish(device, "v/"+device, "2", 1)
		}
		l.settle()
		var first []packet.Publish
		for _, s := range conns {
			if len(s.packets) == 0 || len(s.packets)%2 != 0 {
				t.Fatalf("one connection has %d of 8 messages", len(s.packets))
			}
		}
		for n := len(conns[1].packets); n > 0; n-- {
			p := conns[1].published()
			first = append(first, p)
			conns[1].ack(packet.PUBACK, p.PacketID, packet.Success)
		}
		l.settle()
		if left := l.home.spooled("old"); left < len(conns[0].packets) {
			t.Errorf("%d are spooled, %d are not acknowledged", left, len(conns[0].packets))
		}
		for n := len(conns[0].packets); n > 0; n-- {
			conns[0].ack(packet.PUBACK, conns[0].published().PacketID, packet.Success)
		}
		l.settle()
		l.want("spooled", l.home.spooled("old"), 0)
		for i := 0; i+1 < len(first); i += 2 { // each publisher's are on one connection, in order
			if string(first[i].Topic) == string(first[i+1].Topic) && string(first[i].Payload) != "1" {
				t.Errorf("%s: %s before %s", first[i].Topic, first[i].Payload, first[i+1].Payload)
			}
		}
	})
}

func TestOut_WhatTheBrokerTakes(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{MaximumQoS: packet.Some[byte](1), RetainAvailable: packet.Some(false), MaximumPacketSize: 100, ReceiveMaximum: 2})
		l.home.publish("d", "v/1", string(make([]byte, 100)), 1)
		forward := packet.AppendUserProperty(nil, "k", "v")
		l.home.do(&home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "r", Payload: []byte("kept"), Forward: forward, Expiry: 100, QoS: 2, Retain: true})
		p := s.published()
		l.want("QoS", p.QoS, 1)
		l.want("RETAIN", p.Retain, false)
		l.want("expiry", p.MessageExpiry.Value, 100)
		own, rest := packet.CutUserProperty(p.Forward, trailProperty)
		l.want("trail", own, []string{"eu/old"})
		l.want("properties", rest, forward)
		l.home.publish("d", "v/1", "b", 1)
		l.home.publish("d", "v/1", "c", 1)
		l.want("message", string(s.published().Payload), "b")
		s.nothing() // two are not acknowledged
		l.want("too large", l.dropped(DropTooLarge), 1)
	})
}

func TestOut_311HasNoProperties(t *testing.T) {
	old := func(l *Link) { l.In, l.Version = nil, packet.V311 }
	run(t, old, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		l.want("level", s.connect.Version, packet.V311)
		l.home.do(&home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "r", Payload: []byte("kept"), Forward: packet.AppendUserProperty(nil, "k", "v"), QoS: 2, Retain: true})
		p := s.published()
		l.want("QoS, RETAIN, message", []any{p.QoS, p.Retain, string(p.Payload)}, []any{2, true, "kept"})
		l.want("without properties", l.m.Status()[0].Counters.Bare, 1)
	})
}

func TestOut_LiveMessages(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		live := func(topic string, qos byte) {
			l.m.Forward("old", &home.Message{Namespace: "ns", Topic: topic, Payload: []byte("x"), QoS: qos})
		}
		live("v/early", 0)
		s := l.accept(false, packet.Connack{})
		l.settle()
		live("v/0", 0)
		l.want("topic", string(s.published().Topic), "v/0")
		live("v/1", 1)
		l.want("QoS", s.published().QoS, 1)
		s.Close()
		s = l.accept(true, packet.Connack{})
		s.nothing() // at most once
		l.want("dropped", l.dropped(DropLinkDown), 2)
	})
}

// A broker that ends the connection over one message, and says no more than why: that one is found and dropped.
func TestOut_DisconnectedOverOneMessage(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		for _, payload := range []string{"a", "bad", "c"} {
			l.home.publish("d", "v/1", payload, 1)
			s.published()
		}
		s.send(packet.AppendDisconnect(nil, packet.NotAuthorized, ""))
		s = l.accept(true, packet.Connack{})
		a := s.published()
		s.nothing()
		s.ack(packet.PUBACK, a.PacketID, packet.Success)
		l.want("alone", string(s.published().Payload), "bad")
		s.send(packet.AppendDisconnect(nil, packet.NotAuthorized, ""))
		s = l.accept(true, packet.Connack{})
		c := s.published()
		l.want("after it", string(c.Payload), "c")
		l.home.publish("d", "v/1", "d", 1)
		l.want("at once", string(s.published().Payload), "d")
		l.want("refused", l.dropped(DropRefused), 1)
	})
}

// Two connections end one after the other: what waits to be sent again keeps its place, and is new to a broker that
// has lost the session.
func TestOut_LostTwice(t *testing.T) {
	run(t, outOnly, func(l *lab) {
		s := l.accept(false, packet.Connack{ReceiveMaximum: 3})
		for _, payload := range []string{"a", "b", "c", "d"} {
			l.home.publish("d", "v/1", payload, 2)
		}
		for range 3 {
			s.published()
		}
		s.Close()
		s = l.accept(true, packet.Connack{ReceiveMaximum: 1})
		l.want("message", string(s.published().Payload), "a")
		s.Close()
		s = l.accept(false, packet.Connack{})
		for _, want := range []string{"a", "b", "c", "d"} {
			p := s.published()
			l.want("message", string(p.Payload), want)
			l.want("DUP", p.Dup, false)
		}
	})
}
