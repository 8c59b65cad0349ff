package broker

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestDeliver_QueueSurvivesTheConnection(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(2, "a")
	d.send(packet.AppendDisconnect(nil, packet.Success, ""))
	d.closed()
	sender := l.connect(packet.V5, "sender")
	for i := range 500 {
		sender.publish1("a", fmt.Sprint(i), uint16(i+1))
	}
	d = l.dial(packet.V5)
	if ack := d.connectOK("dev", persistent); !ack.SessionPresent {
		t.Fatal("session not present")
	}
	for i := range 500 {
		d.acknowledge(d.wantMessage(fmt.Sprint(i)))
	}
	d.silent()
	eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
}

// What was sent and not acknowledged comes again with DUP and the same packet id; what was received is only completed.
func TestDeliver_ResumeWithDupAndPubrel(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(2, "a")
	sender := l.connect(packet.V5, "sender")
	sender.exchange(pub("a", "q1", 1, 1))
	sender.exchange(pub("a", "q2", 2, 2))
	sender.exchange(pub("a", "q2 received", 2, 3))
	first, second, third := d.wantMessage("q1"), d.wantMessage("q2"), d.wantMessage("q2 received")
	d.sendAck(packet.PUBREC, third.PacketID)
	d.ack(packet.PUBREL, third.PacketID)
	d.nc.Close()
	eventually(t, "detached", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Owner == home.Owner{} })
	sender.exchange(pub("a", "new", 1, 4))

	d = l.dial(packet.V5)
	d.connectOK("dev", persistent)
	for _, want := range []packet.Publish{first, second} {
		if got := d.message(); got.PacketID != want.PacketID || !got.Dup || got.QoS != want.QoS {
			t.Errorf("got %+v again for %+v", got, want)
		}
	}
	d.ack(packet.PUBREL, third.PacketID)
	if got := d.wantMessage("new"); got.Dup {
		t.Error("DUP on a message that was never sent")
	}
	d.sendAck(packet.PUBCOMP, third.PacketID)
	d.sendAck(packet.PUBACK, first.PacketID)
	d.acknowledge(packet.Publish{QoS: 2, PacketID: second.PacketID})
	eventually(t, "one is left", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 1 })
}

// PUBREL goes out only when the PUBREC is in the log. [A4]
func TestDeliver_PubrelAfterCommit(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(2, "a")
	l.connect(packet.V5, "sender").exchange(pub("a", "x", 2, 1))
	got := d.message()
	l.home.hold()
	d.sendAck(packet.PUBREC, got.PacketID)
	if f, err := d.next(50 * time.Millisecond); err == nil {
		t.Fatalf("%s before the commit", f.h.Type)
	}
	l.home.release()
	d.ack(packet.PUBREL, got.PacketID)
}

// The device's Receive Maximum is kept, and a place is free when the acknowledgement is in the log. [C2]
func TestDeliver_ReceiveMaximum(t *testing.T) {
	for _, kind := range []string{"queue", "memory"} {
		t.Run(kind, func(t *testing.T) {
			l := newLab(t)
			d := l.dial(packet.V5)
			d.connectOK("dev", func(p *packet.Connect) {
				p.ReceiveMaximum = 3
				if kind == "queue" {
					persistent(p)
				}
			})
			d.subscribe(2, "a")
			sender := l.connect(packet.V5, "sender")
			for i := range uint16(20) {
				sender.exchange(pub("a", fmt.Sprint(i), 1+byte(i%2), i+1))
			}
			var open []packet.Publish
			for i := range 20 {
				open = append(open, d.wantMessage(fmt.Sprint(i)))
				if len(open) == 3 {
					d.silent()
					d.acknowledge(open[0])
					open = open[1:]
				}
			}
		})
	}
}

func TestDeliver_PacketIDsOfQueueAndMemoryAreApart(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	l.connect(packet.V5, "sender").publish1("a", "queued", 1)
	if p := d.wantMessage("queued"); p.PacketID != 1 {
		t.Errorf("packet id %d", p.PacketID)
	}
	clean := l.connect(packet.V5, "clean")
	clean.subscribe(1, "b")
	l.connect(packet.V5, "sender").publish1("b", "memory", 1)
	if p := clean.wantMessage("memory"); p.PacketID != home.FirstLocalID {
		t.Errorf("packet id %d", p.PacketID)
	}
	// An acknowledgement from one space does not touch the other.
	d.sendAck(packet.PUBACK, home.FirstLocalID)
	d.silent()
	if x, _ := l.home.state.Session(key("dev")); x.Queued != 1 {
		t.Errorf("%d queued", x.Queued)
	}
	if n := l.s.Stats().UnknownAcks.Load(); n != 1 {
		t.Errorf("%d unknown acks", n)
	}
}

func TestDeliver_UnknownAndUntimelyAcks(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.sendAck(packet.PUBREC, 77)
	d.ack(packet.PUBREL, 77) // so that it lets go
	d.sendAck(packet.PUBCOMP, 77)
	d.sendAck(packet.PUBACK, 78)
	d.subscribe(2, "a")
	l.connect(packet.V5, "sender").exchange(pub("a", "x", 2, 1))
	got := d.message()
	d.sendAck(packet.PUBCOMP, got.PacketID) // without PUBREC
	if code := d.closed(); code != packet.ProtocolError {
		t.Errorf("closed with %s", code)
	}
}

func TestDeliver_NegativePubrecEndsTheExchange(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(2, "a")
	l.connect(packet.V5, "sender").exchange(pub("a", "x", 2, 1))
	got := d.message()
	d.send(packet.AppendAck(nil, d.v, packet.PUBREC, got.PacketID, packet.QuotaExceeded))
	eventually(t, "it left the queue", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
	d.silent()
}

// Acks are gathered: many of them cost few operations.
func TestDeliver_AcksAreGathered(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	for i := range uint16(300) {
		sender.publish1("a", "x", i+1)
	}
	var acks []byte
	for range 300 {
		acks = packet.AppendAck(acks, d.v, packet.PUBACK, d.message().PacketID, packet.Success)
	}
	l.home.hold()
	d.send(acks[:4])
	eventually(t, "the first goes at once", func() bool { return l.home.proposed(home.KindAck) == 1 })
	d.send(acks[4:])
	d.silent()
	l.home.release()
	eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
	if n := l.home.proposed(home.KindAck); n > 3 {
		t.Errorf("%d operations for 300 acks", n)
	}
}

// What the device acknowledged right before it said goodbye does not come again.
func TestDeliver_AckThenDisconnect(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	l.connect(packet.V5, "sender").publish1("a", "x", 1)
	b := packet.AppendAck(nil, d.v, packet.PUBACK, d.message().PacketID, packet.Success)
	d.send(packet.AppendDisconnect(b, packet.Success, ""))
	d.closed()
	eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
}

func TestDeliver_MaximumPacketSize(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent, func(p *packet.Connect) { p.MaximumPacketSize = 100 })
	d.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	sender.publish1("a", string(make([]byte, 200)), 1)
	p := pub("a", string(make([]byte, 200)), 0, 0)
	sender.publish(p)
	sender.publish1("a", "fits", 2)
	d.acknowledge(d.wantMessage("fits"))
	eventually(t, "both were dropped", func() bool {
		x, _ := l.home.state.Session(key("dev"))
		return x.Queued == 0 && l.s.Stats().Dropped[DropMemoryTooLarge].Load() == 1 && l.home.dropped.Load() == 1
	})
}

func TestDeliver_TopicAliasOutbound(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", func(p *packet.Connect) { p.TopicAliasMaximum = 1 })
	d.subscribe(0, "#")
	sender := l.connect(packet.V5, "sender")
	for _, topic := range []string{"long/topic/1", "long/topic/1", "long/topic/2", "long/topic/1"} {
		sender.publish(pub(topic, "x", 0, 0))
	}
	for i, want := range []string{"long/topic/1", "", "long/topic/2", "long/topic/1"} {
		if p := d.message(); string(p.Topic) != want || p.TopicAlias != 1 {
			t.Errorf("message %d: topic %q alias %d", i, p.Topic, p.TopicAlias)
		}
	}
}

func TestDeliver_SubscriptionOptions(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev")
	kept := pub("kept", "old", 1, 1)
	kept.Retain = true
	d.exchange(kept)
	d.subscribeWith(packet.Subscribe{PacketID: 1, SubscriptionID: 1, Filters: []packet.Subscription{
		{Filter: "own", QoS: 1, NoLocal: true},
		{Filter: "both/#", QoS: 0},
		{Filter: "kept", QoS: 1, RetainAsPublished: true},
	}})
	d.subscribeSecond()
	if p := d.wantMessage("old"); !p.Retain {
		t.Error("retained message without RETAIN")
	}
	d.exchange(pub("own", "not to me", 1, 2))
	d.publish(pub("own", "not to me", 0, 0))
	d.silent()
	d.publish(pub("both/x", "once", 0, 0))
	p := d.wantMessage("once")
	if len(p.SubscriptionIDs) != 2 {
		t.Errorf("ids %v", p.SubscriptionIDs)
	}
	kept.Payload = []byte("new")
	d.publish(kept)
	seen := 0
	for range 2 { // PUBACK and PUBLISH in either order
		if f := d.read(); f.h.Type == packet.PUBLISH {
			if p := d.asPublish(f); !p.Retain || string(p.Payload) != "new" {
				t.Errorf("retain as published: %+v", p)
			}
			seen++
		}
	}
	if seen != 1 {
		t.Error("no message")
	}
}

// subscribeSecond adds an overlapping filter with another subscription id.
func (d *device) subscribeSecond() {
	d.t.Helper()
	d.send(packet.AppendSubscribe(nil, d.v, &packet.Subscribe{PacketID: 2, SubscriptionID: 2,
		Filters: []packet.Subscription{{Filter: "both/+", QoS: 1, RetainHandling: 2}}}))
	d.suback()
}

func TestDeliver_SharedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		a, b, sender := l.pipe(packet.V5), l.pipe(packet.V311), l.pipe(packet.V5)
		a.connectOK("a")
		b.connectOK("b")
		sender.connectOK("sender")
		a.subscribe(1, "$share/g/x")
		b.subscribe(1, "$share/g/x")
		var n atomic.Int64
		for _, d := range []*device{a, b} {
			go func() {
				for f, err := d.next(time.Hour); err == nil; f, err = d.next(time.Hour) {
					n.Add(1)
					if p := d.asPublish(f); p.QoS == 1 {
						_, _ = d.nc.Write(packet.AppendAck(nil, d.v, packet.PUBACK, p.PacketID, packet.Success))
					}
				}
			}()
		}
		for i := range uint16(10) {
			sender.publish1("x", fmt.Sprint(i), i+1)
			sender.publish(pub("x", "q0", 0, 0))
		}
		synctest.Wait()
		if n := n.Load(); n != 20 {
			t.Errorf("%d deliveries of 20 messages", n)
		}
		l.stop()
	})
}

func TestDeliver_NoLocalOnSharedIsAProtocolError(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "a")
	d.send(packet.AppendSubscribe(nil, d.v, &packet.Subscribe{PacketID: 1,
		Filters: []packet.Subscription{{Filter: "$share/g/x", NoLocal: true}}}))
	if code := d.closed(); code != packet.ProtocolError {
		t.Errorf("closed with %s", code)
	}
}

// A subscriber that does not read costs itself: the publisher and the other subscriber go on without waiting for a
// moment, what does not fit is dropped and counted, and its connection ends when a write stays unfinished.
func TestDeliver_SlowSubscriberSlowsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped, func(o *Options) { o.MemoryMessages, o.WriteTimeout = 100, 20*time.Second })
		slow, fast, sender := l.pipe(packet.V5), l.pipe(packet.V5), l.pipe(packet.V5)
		slow.connectOK("slow")
		slow.subscribe(0, "a")
		fast.connectOK("fast")
		fast.subscribe(1, "a")
		sender.connectOK("sender")
		began := time.Now()
		for i := range 300 {
			sender.publish1("a", "x", uint16(i+1))
			fast.acknowledge(fast.wantMessage("x"))
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the others waited %v", waited)
		}
		// One round of it is in the write that is stuck, 100 wait.
		if n := l.s.Stats().Dropped[DropMemoryFull].Load(); n < 100 || n > 200 {
			t.Errorf("%d dropped", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := l.s.Stats().Disconnects[EndSlow].Load(); n != 1 {
			t.Errorf("%d closed for being slow", n)
		}
		if n := l.s.Stats().MemoryBytes.Load(); n != 0 {
			t.Errorf("%d bytes are still held", n)
		}
		l.stop()
	})
}

// On a real socket the kernel's buffers fill first.
func TestDeliver_StuckSocketIsClosed(t *testing.T) {
	l := newLab(t, func(o *Options) { o.WriteTimeout = 200 * time.Millisecond })
	slow := l.connect(packet.V5, "slow", persistent)
	slow.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	text := string(make([]byte, 1<<20))
	closed := func() bool { return l.s.Stats().Disconnects[EndSlow].Load() == 1 }
	for i := 0; i < 64 && !closed(); i++ {
		sender.publish1("a", text, uint16(i+1))
	}
	eventually(t, "the slow one is closed", closed)
	sender.silent()
}

// A clean session that cannot take its QoS 1 messages is closed with the reason, not silently robbed of them.
func TestDeliver_OverflowAtQoS1ClosesTheConnection(t *testing.T) {
	l := newLab(t, func(o *Options) { o.MemoryMessages = 5 })
	d := l.connect(packet.V5, "dev", func(p *packet.Connect) { p.ReceiveMaximum = 1 })
	d.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	for i := range uint16(8) {
		sender.publish1("a", "x", i+1)
	}
	if code := d.closed(); code != packet.QuotaExceeded {
		t.Errorf("closed with %s", code)
	}
}

func TestDeliver_OperatorEndsASession(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	l.home.do(&home.EndSession{Session: key("dev")})
	if code := d.closed(); code != packet.AdministrativeAction {
		t.Errorf("closed with %s", code)
	}
	d = l.connect(packet.V5, "dev", persistent)
	if !l.house.Kick(key("dev")) {
		t.Error("nobody to kick")
	}
	d.closed()
}

// A home that stops withholds acknowledgements; devices are closed without a word and come back.
func TestDeliver_HomeStops(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	l.home.hold()
	d.publish(pub("a", "x", 1, 1))
	eventually(t, "proposed", func() bool { return l.home.proposed(home.KindPublish) == 1 })
	l.home.stop()
	if code := d.closed(); code != 0 {
		t.Errorf("closed with %s", code)
	}
}

// When the home starts again under a running broker, a new incarnation owns nothing: devices of the old one are closed,
// or they would wait for ever for what they subscribed to.
func TestDeliver_HomeRestartedUnderUs(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	l.home.setOwner(home.Owner{Node: "n1", Incarnation: 2})
	l.home.do(&home.NodeUp{})
	if code := d.closed(); code != 0 {
		t.Errorf("closed with %s", code)
	}
	d = l.dial(packet.V5)
	if ack := d.connectOK("dev", persistent); !ack.SessionPresent {
		t.Error("the session is gone")
	}
}
