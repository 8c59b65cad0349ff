package broker

import (
	"slices"
	"testing"
	"time"

	"causeway/broker/packet"
)

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

func TestConnect_EveryVersion(t *testing.T) {
	l := newLab(t)
	for _, v := range versions {
		d := l.connect(v, "dev-"+v.String())
		d.silent()
		info, ok := l.house.Client(key("dev-" + v.String()))
		if !ok || info.Version != v {
			t.Errorf("%s: client %+v, %v", v, info, ok)
		}
	}
	if n := l.s.Stats().Listeners["tcp"].Connects[ConnectOK].Load(); n != 3 {
		t.Errorf("%d connects counted", n)
	}
}

func TestConnect_PropertiesOfConnack(t *testing.T) {
	l := newLab(t, func(o *Options) {
		o.KeepAliveMax, o.ReceiveMaximum, o.TopicAliasMax, o.PacketMax = 30*time.Second, 77, 9, 1<<20
	})
	d := l.dial(packet.V5)
	ack := d.connectOK("", func(p *packet.Connect) { p.KeepAlive = 600 })
	if ack.AssignedClientID == "" || ack.ServerKeepAlive != packet.Some(uint16(30)) || ack.ReceiveMaximum != 77 ||
		ack.TopicAliasMaximum != 9 || ack.MaximumPacketSize != 1<<20 {
		t.Errorf("CONNACK %+v", ack)
	}
	if _, ok := l.house.Client(key(ack.AssignedClientID)); !ok {
		t.Errorf("no session %q", ack.AssignedClientID)
	}
}

func TestConnect_EmptyClientID(t *testing.T) {
	l := newLab(t)
	if ack := l.dial(packet.V311).hello("", func(p *packet.Connect) { p.CleanStart = false }); ack.Code != packet.ClientIdentifierNotValid {
		t.Errorf("3.1.1 without clean session: %s", ack.Code)
	}
	if ack := l.dial(packet.V311).hello(""); ack.Code != packet.Success {
		t.Errorf("3.1.1 with clean session: %s", ack.Code)
	}
}

func TestConnect_EnhancedAuthIsRefused(t *testing.T) {
	l := newLab(t)
	ack := l.dial(packet.V5).hello("x", func(p *packet.Connect) { p.AuthMethod = "SCRAM" })
	if ack.Code != packet.BadAuthenticationMethod {
		t.Errorf("CONNACK %s", ack.Code)
	}
}

func TestConnect_Malformed(t *testing.T) {
	l := newLab(t)
	for name, b := range map[string][]byte{
		"not CONNECT":    packet.AppendPingreq(nil),
		"http":           []byte("GET / HTTP/1.1\r\n\r\n"),
		"reserved flag":  {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0},
		"length 5 bytes": {0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1},
	} {
		d := l.dial(packet.V311)
		d.send(b)
		if f, err := d.next(patience); err == nil {
			t.Errorf("%s: answered with %s", name, f.h.Type)
		} else if isTimeout(err) {
			t.Errorf("%s: not closed", name)
		}
	}
	if n := l.s.Stats().Malformed.Load(); n != 4 {
		t.Errorf("%d counted, want 4", n)
	}
	l.connect(packet.V5, "still-serving").silent()
}

// A stranger who announces a large packet is refused at the header: nothing is held for it.
func TestConnect_OversizedBeforeConnect(t *testing.T) {
	l := newLab(t)
	d := l.dial(packet.V5)
	d.send([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F})
	if f, err := d.next(patience); err == nil && f.h.Type != packet.CONNACK {
		t.Errorf("answered with %s", f.h.Type)
	} else if err != nil && isTimeout(err) {
		t.Error("not closed")
	}
	eventually(t, "the refusal is counted", func() bool {
		return l.s.Stats().Listeners["tcp"].Connects[ConnectMalformed].Load() == 1
	})
}

func TestConnect_UnsupportedVersion(t *testing.T) {
	l := newLab(t)
	d := l.dial(packet.V311)
	d.send([]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 9, 2, 0, 0, 0, 1, 'x'})
	f := d.read()
	if f.h.Type != packet.CONNACK {
		t.Fatalf("got %s", f.h.Type)
	}
}

func TestConnect_SecondConnectIsAProtocolError(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "twice")
	d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "twice", ReceiveMaximum: 1}))
	if code := d.closed(); code != packet.ProtocolError {
		t.Errorf("closed with %s", code)
	}
}

// Packets may follow CONNECT before CONNACK. [MQTT-3.1.4-6]
func TestConnect_PacketsBehindIt(t *testing.T) {
	l := newLab(t)
	d := l.dial(packet.V5)
	b := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "eager", ReceiveMaximum: 10})
	b = packet.AppendSubscribe(b, packet.V5, &packet.Subscribe{PacketID: 5, Filters: []packet.Subscription{{Filter: "a"}}})
	b = packet.AppendPublish(b, packet.V5, pub("a", "first", 1, 6))
	d.send(b)
	if f := d.read(); f.h.Type != packet.CONNACK {
		t.Fatalf("got %s, want CONNACK", f.h.Type)
	}
	var answers []packet.Type
	messages := 0 // of a new subscription they may come before its SUBACK [MQTT-3.8.4]
	for range 3 {
		if f := d.read(); f.h.Type == packet.PUBLISH {
			messages++
		} else {
			answers = append(answers, f.h.Type)
		}
	}
	if messages != 1 || !slices.Equal(answers, []packet.Type{packet.SUBACK, packet.PUBACK}) {
		t.Errorf("got %v and %d messages", answers, messages)
	}
}

func TestConnect_TakeOverOnThisNode(t *testing.T) {
	l := newLab(t)
	old := l.connect(packet.V5, "car", persistent)
	old.subscribe(1, "cmd")
	d := l.dial(packet.V5)
	if ack := d.connectOK("car", persistent); !ack.SessionPresent {
		t.Error("session not present")
	}
	if code := old.closed(); code != packet.SessionTakenOver {
		t.Errorf("closed with %s", code)
	}
	l.connect(packet.V5, "sender").publish1("cmd", "go", 1)
	d.wantMessage("go")
}

// A device that is thrown out by its twin and redials at once: the log decides, the last one stays connected.
func TestConnect_TakeOverStorm(t *testing.T) {
	l := newLab(t)
	for range 50 {
		d := l.dial(packet.V5)
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "twin", ReceiveMaximum: 9, SessionExpiry: 60}))
	}
	eventually(t, "all attached", func() bool { return l.s.Stats().Listeners["tcp"].Connects[ConnectOK].Load() == 50 })
	eventually(t, "one is left", func() bool {
		return l.s.Stats().Listeners["tcp"].Open.Load() == 1 && l.s.Stats().Disconnects[EndTakenOver].Load() == 49
	})
	if x, _ := l.home.state.Session(key("twin")); x.Owner != l.home.owner {
		t.Errorf("session %+v", x)
	}
}

func TestConnect_MaxConnections(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Listeners[0].MaxConnections = 2 })
	a := l.connect(packet.V5, "a")
	l.connect(packet.V5, "b")
	if _, err := l.dial(packet.V5).next(patience); err == nil || isTimeout(err) {
		t.Errorf("third connection: %v", err)
	}
	a.nc.Close()
	eventually(t, "room again", func() bool { return l.s.Stats().Listeners["tcp"].Open.Load() == 1 })
	l.connect(packet.V5, "c")
}

// A listener may speak some versions only; of the others a device hears so in its own.
func TestConnect_VersionsOfAListener(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Listeners[0].Versions = []packet.Version{packet.V311, packet.V5} })
	for v, want := range map[packet.Version]bool{packet.V31: false, packet.V311: true, packet.V5: true} {
		ack := l.dial(v).hello("dev")
		if ok := ack.Code == packet.Success; ok != want || !ok && ack.Code != packet.UnsupportedProtocolVersion {
			t.Errorf("version %d: %s", v, ack.Code)
		}
	}
	eventually(t, "it is counted", func() bool { return l.s.Stats().Listeners["tcp"].Connects[ConnectUnsupported].Load() == 1 })
}
