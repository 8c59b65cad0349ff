package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestDeliver_EvictedBodies(t *testing.T) {
	l := newLab(t)
	l.home.evict.Store(true)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	sender.publish1("a", "from disk", 1)
	d.acknowledge(d.wantMessage("from disk"))
	eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
	l.home.badDisk.Store(true)
	sender.publish1("a", "lost?", 2)
	if code := d.closed(); code != 0 {
		t.Errorf("closed with %s", code)
	}
	l.home.badDisk.Store(false)
	d = l.connect(packet.V5, "dev", persistent)
	d.wantMessage("lost?")
}

// What the region may not store is passed over. The home keeps it, once it knows how, until another region serves it.
func TestDeliver_WithheldIsOwed(t *testing.T) {
	for _, level := range []uint32{2, home.LevelOf(home.KindOwe)} {
		t.Run(fmt.Sprint("feature level ", level), func(t *testing.T) {
			l := newLab(t)
			if l.home.do(&home.Raise{Level: level}); level > 2 {
				l.home.promote()
			}
			l.home.secrets.Store(true)
			d := l.connect(packet.V5, "dev", persistent)
			d.subscribe(1, "#")
			sender := l.connect(packet.V5, "sender")
			for i, topic := range []string{"secret", "a", "secret", "a"} {
				sender.publish1(topic, fmt.Sprint(i), uint16(i+1))
			}
			d.acknowledge(d.wantMessage("1"))
			d.acknowledge(d.wantMessage("3"))
			eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
			owed, want := l.home.state.Status().Owed, 0
			if level > 2 {
				want = 2
			}
			if owed != want || l.home.dropped.Load() != int64(2-want) {
				t.Errorf("%d are owed and %d dropped", owed, l.home.dropped.Load())
			}
		})
	}
}

func TestDeliver_FanOutMergesOverlaps(t *testing.T) {
	l := newLab(t)
	subs := make([]*device, 3*fewRecipients)
	for i := range subs {
		subs[i] = l.connect(packet.V5, fmt.Sprint("sub", i))
		for n, f := range []string{"a", "+", "#"} {
			subs[i].subscribeWith(packet.Subscribe{PacketID: 1, SubscriptionID: uint32(n + 1), Filters: []packet.Subscription{{Filter: f}}})
		}
	}
	sender := l.connect(packet.V5, "sender")
	sender.publish(pub("a", "x", 0, 0))
	for _, d := range subs {
		p := d.wantMessage("x")
		slices.Sort(p.SubscriptionIDs)
		if !slices.Equal(p.SubscriptionIDs, []uint32{1, 2, 3}) {
			t.Errorf("ids %v", p.SubscriptionIDs)
		}
		d.silent()
	}
}

func TestDeliver_MemoryPolicyAndAnAbsentSession(t *testing.T) {
	l := newLab(t)
	l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "#", Policy: home.PolicyMemory}}})
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	d.nc.Close()
	eventually(t, "detached", func() bool { return l.home.proposed(home.KindDetach) == 1 })
	l.connect(packet.V5, "sender").publish1("a", "x", 1)
	if n := l.s.Stats().Dropped[DropAway].Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestDeliver_ExpiredInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "#", Policy: home.PolicyMemory}}})
		d, sender := l.pipe(packet.V5), l.pipe(packet.V5)
		d.connectOK("dev", func(p *packet.Connect) { p.ReceiveMaximum = 1 })
		d.subscribe(1, "a")
		sender.connectOK("sender")
		sender.publish1("a", "first", 1)
		p := pub("a", "too old", 1, 2)
		p.MessageExpiry = 5
		sender.publish(p)
		sender.ack(packet.PUBACK, 2)
		first := d.wantMessage("first")
		time.Sleep(10 * time.Second)
		sender.publish1("a", "third", 3)
		d.acknowledge(first)
		d.acknowledge(d.wantMessage("third"))
		if n := l.s.Stats().Dropped[DropMemoryExpired].Load(); n != 1 {
			t.Errorf("%d expired", n)
		}
		l.stop()
	})
}

// An expiry of 0 seconds is allowed, and is not "never".
func TestPublish_ExpiryOfZeroSeconds(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	d.nc.Close()
	eventually(t, "detached", func() bool { return l.home.proposed(home.KindDetach) == 1 })
	sender := l.connect(packet.V5, "sender")
	// topic "a", packet id 1, properties: message expiry 0, payload "x"
	sender.send([]byte{0x32, 12, 0, 1, 'a', 0, 1, 5, 0x02, 0, 0, 0, 0, 'x'})
	sender.ack(packet.PUBACK, 1)
	if q := l.home.state.Peek(key("dev"), 0, 1); len(q) != 1 || q[0].Message.Expires == 0 {
		t.Errorf("queued %+v", q)
	}
}

// A reason in words is left out when it would not fit the device's Maximum Packet Size.
func TestDisconnect_ReasonStringFits(t *testing.T) {
	l := newLab(t)
	small := func(p *packet.Connect) { p.MaximumPacketSize = 24 }
	d := l.dial(packet.V5)
	d.connectOK("dev", small)
	d.send([]byte{0x20, 2, 0, 0})
	f := d.read()
	if p, err := packet.DecodeServerDisconnect(f.body); err != nil || p.Code != packet.ProtocolError || p.ReasonString != "" {
		t.Errorf("DISCONNECT %+v, %v", p, err)
	}
	auth := func(p *packet.Connect) { p.AuthMethod = "x" }
	if ack := l.dial(packet.V5).hello("dev", small, auth); ack.ReasonString != "" {
		t.Errorf("CONNACK %+v", ack)
	}
	if ack := l.dial(packet.V5).hello("dev", auth); ack.ReasonString == "" {
		t.Error("no reason where there is room")
	}
}

// When all connections together hold too much, those that are far behind pay, not those that keep up.
func TestBounds_MemoryOfAllConnections(t *testing.T) {
	l := newLab(t, func(o *Options) { o.MemoryTotal = 1 })
	l.connect(packet.V5, "dev")
	c := l.house.sessions.get(key("dev"))
	l.s.stats.MemoryBytes.Add(1000)
	defer l.s.stats.MemoryBytes.Add(-1000)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.hasRoom(behind) || c.hasRoom(behind+1) {
		t.Error("the bound is elsewhere")
	}
}

func TestQuota_SessionsAndSubscriptionsAndRetained(t *testing.T) {
	l := newLab(t)
	l.home.configure(home.Configure{Revision: 1, Limits: home.Limits{Sessions: 2, Subscriptions: 1, Retained: 1}})
	d := l.connect(packet.V5, "a")
	if codes := d.subscribe(0, "x", "y"); codes[0] != packet.GrantedQoS0 || codes[1] != packet.QuotaExceeded {
		t.Errorf("SUBACK %v", codes)
	}
	l.connect(packet.V5, "b")
	if ack := l.dial(packet.V5).hello("c"); ack.Code != packet.QuotaExceeded {
		t.Errorf("CONNACK %s", ack.Code)
	}
	if ack := l.dial(packet.V311).hello("c"); ack.Code == packet.Success {
		t.Error("3.1.1 was let in")
	}
	kept := pub("r/1", "x", 1, 1)
	kept.Retain = true
	d.exchange(kept)
	kept.Topic = "r/2"
	d.publish(kept)
	if code := d.ack(packet.PUBACK, 1); code != packet.QuotaExceeded {
		t.Errorf("PUBACK %s", code)
	}
	if n := l.s.Stats().Dropped[DropRefused].Load(); n != 1 {
		t.Errorf("%d refused", n)
	}
}

// Acks and skips wait for room in the log without anybody else waiting for them.
func TestDeliver_AcksWaitForRoom(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent, func(p *packet.Connect) { p.MaximumPacketSize = 100 })
	d.subscribe(1, "a")
	sender := l.connect(packet.V5, "sender")
	for i := range uint16(20) {
		sender.publish1("a", "x", i+1)
	}
	l.home.hold()
	l.home.setRoom(0)
	for range 20 {
		d.sendAck(packet.PUBACK, d.message().PacketID)
	}
	d.silent()
	l.home.setRoom(1)
	l.home.release()
	eventually(t, "the queue is empty", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
	l.home.setRoom(1 << 20)
	sender.publish1("a", strings.Repeat("x", 200), 99)
	sender.publish1("a", "y", 100)
	d.acknowledge(d.wantMessage("y"))
	eventually(t, "the large one is skipped", func() bool { x, _ := l.home.state.Session(key("dev")); return x.Queued == 0 })
}

// A device acknowledges and goes while its Ack waits for room in the log: it does not get the message again.
func TestDeliver_AcksThatWaitForRoomComeBeforeTheDetach(t *testing.T) {
	l := newLab(t)
	devices := make([]*device, 20)
	for i := range devices {
		devices[i] = l.connect(packet.V5, fmt.Sprint("dev", i), persistent)
		devices[i].subscribe(1, "a")
	}
	l.connect(packet.V5, "sender").publish1("a", "x", 1)
	l.home.hold()
	l.home.setRoom(0)
	for i, d := range devices {
		d.acknowledge(d.wantMessage("x"))
		c := l.house.sessions.get(key(fmt.Sprint("dev", i)))
		eventually(t, "its Ack waits", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.stuck
		})
		d.nc.Close()
		eventually(t, "it is gone", func() bool { return l.house.sessions.get(c.key) == nil })
	}
	l.home.setRoom(1 << 20)
	l.home.release()
	for i := range devices {
		eventually(t, "detached", func() bool {
			x, _ := l.home.state.Session(key(fmt.Sprint("dev", i)))
			return x.Owner == (home.Owner{})
		})
		if x, _ := l.home.state.Session(key(fmt.Sprint("dev", i))); x.Queued != 0 {
			t.Errorf("dev%d acknowledged, and is sent the message again", i)
		}
	}
}

// Two Attach of one client id in one record: the first is over before its outcome is told.
func TestSessions_EndedBeforeTheOutcomeOfAttach(t *testing.T) {
	l := newLab(t)
	l.home.hold()
	hello := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9, SessionExpiry: 900})
	first, second := l.dial(packet.V5), l.dial(packet.V5)
	first.send(hello)
	eventually(t, "first Attach", func() bool { return l.home.proposed(home.KindAttach) == 1 })
	second.send(hello)
	eventually(t, "second Attach", func() bool { return l.home.proposed(home.KindAttach) == 2 })
	l.home.release()
	first.closed()
	if f := second.read(); f.h.Type != packet.CONNACK {
		t.Fatalf("got %s", f.h.Type)
	}
	second.silent()
	if n := len(l.house.sessions.shard(key("dev")).attaching); n != 0 {
		t.Errorf("%d still attaching", n)
	}
}

func TestServeConn_UnknownListenerAndBound(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Listeners[0].MaxConnections = 1 })
	if err := l.s.ServeConn(nil2(t), "other"); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("error %v", err)
	}
	l.connect(packet.V5, "dev")
	if err := l.s.ServeConn(nil2(t), "tcp"); err == nil || !strings.Contains(err.Error(), "its bound") {
		t.Errorf("error %v", err)
	}
}

func TestClients_WhatAnOperatorSees(t *testing.T) {
	l := newLab(t)
	for i := range 20 {
		l.connect(packet.V5, fmt.Sprint("dev", i), persistent, func(p *packet.Connect) { p.KeepAlive = 60 })
	}
	n := 0
	l.s.Clients(func(c Client) bool {
		if n++; c.Version != packet.V5 || c.Expiry != time.Hour || c.KeepAlive != time.Minute || c.Listener != "tcp" || c.Remote == "" {
			t.Errorf("client %+v", c)
		}
		return n < 7
	})
	if n != 7 {
		t.Errorf("asked %d times", n)
	}
	if l.house.Kick(key("nobody")) {
		t.Error("kicked nobody")
	}
}

func TestStats_Labels(t *testing.T) {
	seen := map[string]bool{}
	for r := range ConnectResults {
		seen["connect "+ConnectResult(r).String()] = true
	}
	for r := range EndReasons {
		seen["end "+EndReason(r).String()] = true
	}
	for r := range DropReasons {
		seen["drop "+Drop(r).Place()+Drop(r).String()] = true
	}
	if len(seen) != ConnectResults+EndReasons+DropReasons {
		t.Errorf("labels are not distinct: %v", seen)
	}
}

// A flood of strangers costs a line a second and a count.
func TestQuietLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		q := newQuietLog(slog.New(slog.NewTextHandler(&out, nil)))
		for range 100 {
			q.warn("refused", "n", 1)
		}
		q.warn("other")
		time.Sleep(2 * time.Second)
		q.warn("refused")
		text := out.String()
		if strings.Count(text, "msg=refused") != 2 || strings.Count(text, "msg=other") != 1 || !strings.Contains(text, "left_out=99") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestAckLatency_IsTold(t *testing.T) {
	type told struct {
		p   home.Policy
		qos byte
	}
	ch := make(chan told, 10)
	l := newLab(t, func(o *Options) {
		o.AckLatency = func(p home.Policy, qos byte, d time.Duration) { ch <- told{p, qos} }
	})
	l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "fast", Policy: home.PolicyMemory}}})
	d := l.connect(packet.V5, "dev")
	d.exchange(pub("slow", "", 1, 1))
	d.exchange(pub("fast", "", 1, 2))
	d.exchange(pub("fast", "", 2, 3))
	d.publish(pub("fast", "", 0, 0))
	d.silent()
	for _, want := range []told{{home.PolicyRegion, 1}, {home.PolicyMemory, 1}, {home.PolicyRegion, 2}} {
		if got := <-ch; got != want {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
	if len(ch) != 0 {
		t.Error("told of QoS 0")
	}
}
