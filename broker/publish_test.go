package broker

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestPublish_EveryQoSToEveryQoS(t *testing.T) {
	l := newLab(t)
	for _, v := range versions {
		for sub := range byte(3) {
			d := l.connect(v, fmt.Sprintf("sub-%s-%d", v, sub))
			d.subscribe(sub, fmt.Sprintf("t/%s/%d", v, sub))
			for qos := range byte(3) {
				p := l.connect(v, "pub")
				topic, text := fmt.Sprintf("t/%s/%d", v, sub), fmt.Sprintf("q%d", qos)
				p.exchange(pub(topic, text, qos, 7))
				got := d.wantMessage(text)
				if got.QoS != min(qos, sub) || string(got.Topic) != topic || got.Dup || got.Retain {
					t.Errorf("%s: published at %d, subscribed at %d: got %+v", v, qos, sub, got)
				}
				d.acknowledge(got)
				d.silent()
			}
		}
	}
}

// exchange publishes and goes through the acknowledgements.
func (d *device) exchange(p *packet.OutPublish) {
	d.t.Helper()
	d.publish(p)
	switch p.QoS {
	case 1:
		d.ack(packet.PUBACK, p.PacketID)
	case 2:
		d.ack(packet.PUBREC, p.PacketID)
		d.sendAck(packet.PUBREL, p.PacketID)
		d.ack(packet.PUBCOMP, p.PacketID)
	}
}

// acknowledge takes a message over.
func (d *device) acknowledge(p packet.Publish) {
	d.t.Helper()
	switch p.QoS {
	case 1:
		d.sendAck(packet.PUBACK, p.PacketID)
	case 2:
		d.sendAck(packet.PUBREC, p.PacketID)
		d.ack(packet.PUBREL, p.PacketID)
		d.sendAck(packet.PUBCOMP, p.PacketID)
	}
}

// PUBACK and PUBREC come after the commit, in the order of their PUBLISH, however many are on their way.
func TestPublish_PipelinedAcksAfterCommitInOrder(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "pipe")
	l.home.hold()
	var b []byte
	for i := uint16(1); i <= 200; i++ {
		b = packet.AppendPublish(b, d.v, pub("a", "x", 1+byte(i%2), i))
	}
	d.send(b)
	eventually(t, "all proposed", func() bool { return l.home.proposed(home.KindPublish) == 200 })
	if f, err := d.next(50 * time.Millisecond); err == nil {
		t.Fatalf("%s before the commit", f.h.Type)
	}
	l.home.release()
	for i := uint16(1); i <= 200; i++ {
		d.ack([]packet.Type{packet.PUBACK, packet.PUBREC}[i%2], i)
	}
}

// An inbound QoS 2 id is known until PUBREL, by the id and not by DUP: MQTT.js re-sends with DUP=0.
func TestPublish_QoS2Once(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(2, "a")
	d := l.connect(packet.V5, "dev", persistent)
	d.publish(pub("a", "one", 2, 9))
	d.ack(packet.PUBREC, 9)
	d.nc.Close()

	d = l.connect(packet.V5, "dev", persistent)
	again := pub("a", "one", 2, 9)
	d.publish(again)
	d.ack(packet.PUBREC, 9)
	again.Dup = true
	d.publish(again)
	d.ack(packet.PUBREC, 9)
	d.sendAck(packet.PUBREL, 9)
	d.ack(packet.PUBCOMP, 9)
	d.sendAck(packet.PUBREL, 9) // the PUBCOMP was lost
	if code := d.ack(packet.PUBCOMP, 9); code != packet.Success {
		t.Errorf("PUBCOMP %s for an unknown id", code)
	}
	d.exchange(pub("a", "two", 2, 9))
	sub.wantMessage("one")
	sub.wantMessage("two")
	sub.silent()
}

func TestPublish_PropertiesPassThrough(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribeWith(packet.Subscribe{PacketID: 1, SubscriptionID: 42, Filters: []packet.Subscription{{Filter: "a/+", QoS: 1}}})
	forward := []byte{0x01, 1, 0x03, 0, 1, 'j', 0x26, 0, 1, 'k', 0, 1, 'v', 0x26, 0, 1, 'k', 0, 1, 'w'}
	p := pub("a/b", "x", 1, 1)
	p.Forward, p.MessageExpiry = forward, 100
	d := l.connect(packet.V5, "dev")
	d.exchange(p)
	got := sub.message()
	if !bytes.Equal(got.Forward, forward) || len(got.SubscriptionIDs) != 1 || got.SubscriptionIDs[0] != 42 {
		t.Errorf("got %+v", got)
	}
	if left := got.MessageExpiry.Value; left < 1 || left > 100 {
		t.Errorf("expiry %d", left)
	}
}

func TestPublish_TopicAliasInbound(t *testing.T) {
	l := newLab(t, func(o *Options) { o.TopicAliasMax = 3 })
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(0, "#")
	d := l.connect(packet.V5, "dev")
	p := pub("long/topic", "1", 0, 0)
	p.TopicAlias = 3
	d.publish(p)
	p.OmitTopic, p.Payload = true, []byte("2")
	d.publish(p)
	for _, want := range []string{"1", "2"} {
		if got := sub.wantMessage(want); string(got.Topic) != "long/topic" {
			t.Errorf("topic %q", got.Topic)
		}
	}
	p.TopicAlias = 2
	d.publish(p)
	if code := d.closed(); code != packet.ProtocolError {
		t.Errorf("unknown alias: %s", code)
	}
	d = l.connect(packet.V5, "dev")
	p.TopicAlias, p.OmitTopic = 4, false
	d.publish(p)
	if code := d.closed(); code != packet.TopicAliasInvalid {
		t.Errorf("alias above the maximum: %s", code)
	}
}

func TestPublish_TooLarge(t *testing.T) {
	l := newLab(t, func(o *Options) { o.PacketMax, o.ConnectPacketMax = 2048, 2048 })
	d := l.connect(packet.V5, "dev")
	d.send([]byte{0x30, 0x80, 0x20}) // 4096 bytes are to follow; they never do
	if code := d.closed(); code != packet.PacketTooLarge {
		t.Errorf("closed with %s", code)
	}
}

func TestPublish_LargePayloadBothWays(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(1, "big")
	d := l.connect(packet.V5, "dev")
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	p := pub("big", "", 1, 1)
	p.Payload = body
	d.exchange(p)
	got := sub.message()
	if !bytes.Equal(got.Payload, body) {
		t.Errorf("got %d bytes", len(got.Payload))
	}
	sub.acknowledge(got)
	d.exchange(pub("big", "small", 1, 2))
	sub.wantMessage("small")
}

func TestPublish_DecoderErrorCostsOneConnection(t *testing.T) {
	l := newLab(t)
	other := l.connect(packet.V311, "other")
	for name, b := range map[string][]byte{
		"truncated v5 SUBSCRIBE": {0x82, 3, 0, 1, 0},
		"PUBLISH without topic":  {0x30, 0},
		"QoS 3":                  {0x36, 5, 0, 1, 'a', 0, 1},
		"CONNACK from a client":  {0x20, 2, 0, 0},
		"PUBREL with flags 0":    {0x60, 2, 0, 1},
	} {
		d := l.connect(packet.V5, "bad")
		d.send(b)
		if code := d.closed(); !code.Failed() {
			t.Errorf("%s: closed with %s", name, code)
		}
	}
	other.silent()
}

// While the device's unacknowledged messages reach the bound it is not read, and never told off: clients exceed
// Receive Maximum when they re-send.
func TestPublish_ReceiveMaximumStopsReading(t *testing.T) {
	l := newLab(t, func(o *Options) { o.ReceiveMaximum = 10 })
	d := l.connect(packet.V5, "dev")
	l.home.hold()
	var b []byte
	for i := uint16(1); i <= 50; i++ {
		b = packet.AppendPublish(b, d.v, pub("a", "x", 1, i))
	}
	d.send(b)
	eventually(t, "the bound is reached", func() bool {
		c, _ := l.house.Client(key("dev"))
		return c.Unanswered == 10 && l.home.proposed(home.KindPublish) >= 10
	})
	if n := l.home.proposed(home.KindPublish); n != 10 {
		t.Errorf("%d proposed", n)
	}
	l.home.release()
	for i := uint16(1); i <= 50; i++ {
		d.ack(packet.PUBACK, i)
	}
}

func TestPublish_HomeWithoutRoomSlowsThePublisher(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev")
	l.home.hold()
	l.home.setRoom(3)
	var b []byte
	for i := uint16(1); i <= 20; i++ {
		b = packet.AppendPublish(b, d.v, pub("a", "x", 1, i))
	}
	d.send(b)
	eventually(t, "the log is full", func() bool { return l.home.proposed(home.KindPublish) == 3 })
	l.home.release()
	for i := uint16(1); i <= 20; i++ {
		d.ack(packet.PUBACK, i)
	}
}

func TestPublish_RetainedQoS0KeepsOrderWithLaterOnes(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(0, "a")
	d := l.connect(packet.V5, "dev")
	l.home.hold()
	kept := pub("a", "first", 0, 0)
	kept.Retain = true
	d.publish(kept)
	d.publish(pub("a", "second", 0, 0))
	eventually(t, "both in the log", func() bool { return l.home.proposed(home.KindPublish) == 2 })
	l.home.release()
	sub.wantMessage("first")
	sub.wantMessage("second")
	eventually(t, "the log has none of it any more", func() bool { c, _ := l.house.Client(key("dev")); return c.Unanswered == 0 })
	d.publish(pub("a", "third", 0, 0))
	sub.wantMessage("third")
	if n := l.home.proposed(home.KindPublish); n != 2 {
		t.Errorf("%d publishes in the log", n)
	}
}

func TestPublish_MemoryPolicy(t *testing.T) {
	l := newLab(t)
	l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "fast/#", Policy: home.PolicyMemory}}})
	sub := l.connect(packet.V5, "sub", persistent)
	sub.subscribe(2, "#")
	d := l.connect(packet.V5, "dev")
	l.home.hold()
	if code := d.publish1("fast/a", "1", 1); code != packet.Success {
		t.Errorf("PUBACK %s", code)
	}
	got := sub.wantMessage("1")
	if got.QoS != 1 || got.PacketID < home.FirstLocalID {
		t.Errorf("got %+v", got)
	}
	sub.acknowledge(got)
}

func TestPublish_MemoryAckWaitsForEarlierOnes(t *testing.T) {
	l := newLab(t)
	l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "fast/#", Policy: home.PolicyMemory}}})
	d := l.connect(packet.V5, "dev")
	l.home.hold()
	d.publish(pub("slow", "", 1, 1))
	d.publish(pub("fast/a", "", 1, 2))
	if f, err := d.next(50 * time.Millisecond); err == nil {
		t.Fatalf("%s overtakes", f.h.Type)
	}
	l.home.release()
	d.ack(packet.PUBACK, 1)
	if code := d.ack(packet.PUBACK, 2); code != packet.NoMatchingSubscribers {
		t.Errorf("PUBACK %s", code)
	}
}

func TestPublish_DollarTopicsAreTheServers(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev")
	if code := d.publish1("$SYS/x", "", 1); code != packet.NotAuthorized {
		t.Errorf("PUBACK %s", code)
	}
	if n := l.s.Stats().Dropped[DropDenied].Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
}

type forwarded struct {
	peer  home.ID
	m     *home.Message
	claim home.Claim
}

type testForwarder chan forwarded

func (f testForwarder) Forward(peer home.ID, m *home.Message, c home.Claim) {
	f <- forwarded{peer, m, c}
}

func TestPublish_QoS0GoesToPeersThatWantIt(t *testing.T) {
	out := make(testForwarder, 10)
	l := newLab(t, func(o *Options) { o.Homes[0].Forwarder = out })
	l.home.do(&home.SetPeer{Peer: "us"})
	l.home.do(&home.Interest{Peer: "us", Epoch: home.Epoch{Number: 1, Host: "us"}, Full: true, Version: 1,
		Add: []home.InterestFilter{{Namespace: "ns", Filter: "x/#"}, {Namespace: "ns", Filter: "x/y"}}})
	d := l.connect(packet.V5, "dev")
	d.publish(pub("other", "no", 0, 0))
	d.publish(pub("x/y", "yes", 0, 0))
	f := <-out
	if f.peer != "us" || string(f.m.Payload) != "yes" || f.m.Namespace != "ns" {
		t.Errorf("forwarded %+v", f)
	}
	if len(out) != 0 {
		t.Errorf("forwarded twice")
	}
}

// A message that came by a link is delivered here and goes nowhere else. [D6]
func TestPublish_FromPeerIsNotForwarded(t *testing.T) {
	out := make(testForwarder, 10)
	l := newLab(t, func(o *Options) { o.Homes[0].Forwarder = out })
	l.home.do(&home.SetPeer{Peer: "ap"})
	l.home.do(&home.Interest{Peer: "ap", Epoch: home.Epoch{Number: 1, Host: "ap"}, Full: true, Version: 1,
		Add: []home.InterestFilter{{Namespace: "ns", Filter: "#"}}})
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(1, "a")
	l.house.DeliverFromPeer(&home.Message{Namespace: "ns", Topic: "a", Payload: []byte("hi"), QoS: 0}, home.Claim{Live: true})
	sub.wantMessage("hi")
	if len(out) != 0 {
		t.Error("forwarded")
	}
}

// The id of a message at QoS 2 that is refused is free, also if the home took a message of that id before: it may have been
// this one, whose PUBREC was lost, and the device sends no PUBREL after an error. [MQTT-4.3.3]
func TestPublish_RefusedIDIsFree(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(0, "t")
	d := l.connect(packet.V5, "dev")
	d.publish(pub("t", "first", 2, 2))
	d.ack(packet.PUBREC, 2)
	d.publish(pub("$SYS/x", "", 2, 2))
	if code := d.ack(packet.PUBREC, 2); code != packet.NotAuthorized {
		t.Errorf("PUBREC %s", code)
	}
	d.publish(pub("t", "second", 2, 2))
	d.ack(packet.PUBREC, 2)
	for _, want := range []string{"first", "second"} {
		if m := sub.message(); string(m.Payload) != want {
			t.Errorf("got %q, want %q", m.Payload, want)
		}
	}
}
