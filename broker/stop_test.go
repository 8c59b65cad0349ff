package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestStop_ClosesWithoutDisconnectAndDetaches(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent, withWill(60))
	l.stopAsync()
	if code := d.closed(); code != 0 {
		t.Errorf("closed with %s", code)
	}
	l.stop()
	x, ok := l.home.state.Session(key("dev"))
	if !ok || x.Owner != (home.Owner{}) || !x.Will {
		t.Errorf("session %+v, %v", x, ok)
	}
	if err := l.s.ServeConn(nil2(t), "tcp"); !errors.Is(err, ErrStopped) {
		t.Errorf("a connection after the stop: %v", err)
	}
}

func nil2(t *testing.T) net.Conn {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a
}

func (l *lab) stopAsync() { go l.stop() }

func TestStop_DisconnectWhenAskedFor(t *testing.T) {
	l := newLab(t, func(o *Options) { o.DrainDisconnect = true })
	d := l.connect(packet.V5, "dev")
	d.silent() // it is served: a connection that is still being made just ends
	l.stopAsync()
	if code := d.closed(); code != packet.ServerShuttingDown {
		t.Errorf("closed with %s", code)
	}
}

// Connections are closed at a pace, so that they do not all redial in one second.
func TestStop_Paced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped, func(o *Options) { o.DrainRate, o.DrainTime = 50, time.Minute })
		for i := range 100 {
			l.connectPipe(string(rune('A' + i)))
		}
		began := time.Now()
		l.stop()
		if took := time.Since(began); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("100 connections at 50 a second took %v", took)
		}
	})
}

// A publisher hears about everything it sent before its connection ends, and nothing it sends afterwards is taken: what
// is acknowledged and what it has to send again are apart.
func TestStop_AnswersWhatIsUnderWay(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V311, "dev", persistent)
	l.home.hold()
	for id := uint16(1); id <= 20; id++ {
		d.publish(pub("a", "x", 1+byte(id%2), id))
	}
	eventually(t, "all are proposed", func() bool { return l.home.proposed(home.KindPublish) == 20 })
	l.stopAsync()
	c := l.house.sessions.get(key("dev"))
	eventually(t, "its turn comes", c.leaving.Load)
	d.publish(pub("a", "late", 1, 21))
	d.send(packet.AppendPingreq(nil))
	if f := d.read(); f.h.Type != packet.PINGRESP { // so the late one was read
		t.Fatalf("got %s", f.h.Type)
	}
	l.home.release()
	for id := uint16(1); id <= 20; id++ {
		d.ack([]packet.Type{packet.PUBACK, packet.PUBREC}[id%2], id)
	}
	if f, err := d.next(patience); err == nil {
		t.Errorf("after the last acknowledgement came %s", f.h.Type)
	}
	d.nc.Close()
	l.stop()
	if n := l.home.proposed(home.KindPublish); n != 20 {
		t.Errorf("%d publishes were proposed", n)
	}
}

// A device with more on its way than is read gets the end of the stream, not a reset that takes along the last
// acknowledgements.
func TestStop_EndsWithoutReset(t *testing.T) {
	l := newLab(t, func(o *Options) { o.SettleTime, o.ReceiveMaximum = 50*time.Millisecond, 10 })
	d := l.connect(packet.V311, "dev", persistent)
	l.home.hold()
	d.send(bytes.Repeat(packet.AppendPublish(nil, packet.V311, pub("a", "late", 1, 1)), 1000))
	eventually(t, "it is not read any more", func() bool { return l.home.proposed(home.KindPublish) == 10 })
	l.stopAsync()
	if _, err := d.next(patience); !errors.Is(err, io.EOF) {
		t.Errorf("the connection ended with %v", err)
	}
	d.nc.Close()
	l.home.release()
}

// A subscriber's exchanges are completed, and none is begun: the next node has nothing to send again.
func TestStop_TakesInWhatTheDeviceAcknowledges(t *testing.T) {
	l := newLab(t, func(o *Options) { o.SettleTime = time.Minute })
	d := l.connect(packet.V311, "dev", persistent)
	d.subscribe(2, "a")
	other := l.connect(packet.V5, "other")
	other.publish(pub("a", "one", 2, 1))
	other.ack(packet.PUBREC, 1)
	id := d.wantMessage("one").PacketID
	c := l.house.sessions.get(key("dev"))
	l.stopAsync()
	eventually(t, "its turn comes", c.leaving.Load)
	two := &home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", QoS: 2, Payload: []byte("two")}
	if o := l.home.do(two); o.Code != home.CodeOK {
		t.Fatal(o)
	}
	d.sendAck(packet.PUBREC, id)
	d.ack(packet.PUBREL, id)
	d.sendAck(packet.PUBCOMP, id)
	if f, err := d.next(patience); err == nil {
		t.Errorf("after PUBREL came %s", f.h.Type)
	}
	d.nc.Close()
	l.stop()
	x, _ := l.home.state.Session(key("dev"))
	if x.Queued != 1 {
		t.Errorf("%d messages wait, want the one that was not sent", x.Queued)
	}
	if q := l.home.state.Peek(key("dev"), 0, 10); len(q) != 1 || q[0].Received {
		t.Errorf("queue %+v", q)
	}
}

// A device that does not acknowledge holds the stop up for SettleTime.
func TestStop_SettlesForALimitedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.connectPipe("dev")
		d.subscribe(1, "a")
		l.home.do(&home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", QoS: 1, Payload: []byte("one")})
		d.wantMessage("one")
		began := time.Now()
		l.stop()
		if took := time.Since(began); took < time.Second || took > 1100*time.Millisecond {
			t.Errorf("took %v, want the SettleTime of 1s", took)
		}
	})
}

// A home that does not commit cannot keep a node from stopping.
func TestStop_IsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped, func(o *Options) { o.DrainTime = 5 * time.Second })
		l.connectPipe("dev")
		l.home.hold()
		l.home.setRoom(0)
		began := time.Now()
		l.stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestOpen_PortInUse(t *testing.T) {
	l := newLab(t)
	addr := l.s.Addr("tcp").String()
	s, err := New(Options{Homes: one(l.home), Listeners: []Listener{{Name: "free", Address: "127.0.0.1:0"}, {Name: "cars", Address: addr}}})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Open()
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), `"cars"`) || !strings.Contains(err.Error(), addr) {
		t.Errorf("error %v", err)
	}
	if s.Addr("free") != nil {
		if c, err := net.Dial("tcp", s.Addr("free").String()); err == nil {
			c.Close()
			t.Error("the other listener stayed open")
		}
	}
}

func TestNew_BadOptions(t *testing.T) {
	h := newTestHome(t)
	defer h.stop()
	for want, o := range map[string]Options{
		"Options.Home":        {},
		"a name of its own":   {Homes: one(h), Listeners: []Listener{{Name: "a"}, {Name: "a"}}},
		"needs a certificate": {Homes: one(h), Listeners: []Listener{{Name: "a", Transport: TLS}}},
		"is not known":        {Homes: one(h), Listeners: []Listener{{Name: "a", Transport: "quic"}}},
		"must begin with /":   {Homes: one(h), Listeners: []Listener{{Name: "a", Transport: WS, Path: "mqtt"}}},
		"ReceiveMaximum":      {Homes: one(h), ReceiveMaximum: 70000},
		"bound is negative":   {Homes: one(h), Listeners: []Listener{{Name: "a", MaxConnections: -1}}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// flakyListener fails as accept does when the process has no file descriptors left.
type flakyListener struct {
	net.Listener
	fails int
}

func (f *flakyListener) Accept() (net.Conn, error) {
	if f.fails > 0 {
		f.fails--
		return nil, syscall.EMFILE
	}
	return f.Listener.Accept()
}

func TestAccept_SurvivesEMFILE(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(o *Options) { o.Listeners[0].Net = &flakyListener{Listener: ln, fails: 4} })
	l.connect(packet.V5, "dev").silent()
	if n := l.s.Stats().AcceptErrors.Load(); n != 4 {
		t.Errorf("%d errors counted", n)
	}
}

func TestPace(t *testing.T) {
	p := newPace(100)
	now := time.Unix(1000, 0)
	var waited time.Duration
	for range 60 {
		waited = p.wait(now)
	}
	if waited != 500*time.Millisecond { // 60 at 100/s, 10 of them are a burst after silence
		t.Errorf("the 60th waits %v", waited)
	}
}

// Rooms, epochs and outcomes: a delivery that comes before the outcome of the Attach it belongs to is not lost.
func TestSessions_DeliveryBeforeTheOutcomeOfAttach(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(0, "a")
	d.nc.Close()
	eventually(t, "detached", func() bool { return l.home.proposed(home.KindDetach) == 1 })
	d = l.dial(packet.V5)
	l.home.hold()
	d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9, SessionExpiry: 900}))
	eventually(t, "Attach is proposed", func() bool { return l.home.proposed(home.KindAttach) == 2 })
	op := &home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", Payload: []byte("early")}
	if err := l.home.Propose(op, func(home.Outcome, error) {}); err != nil {
		t.Fatal(err)
	}
	l.home.release() // both are applied as one record
	if f := d.read(); f.h.Type != packet.CONNACK {
		t.Fatalf("got %s", f.h.Type)
	}
	d.wantMessage("early")
}

func TestRun_EndsWithItsContext(t *testing.T) {
	h := newTestHome(t)
	defer h.stop()
	s, err := New(Options{Homes: one(h), Listeners: []Listener{{Name: "x", Address: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}
