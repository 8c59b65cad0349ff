package broker

import (
	"context"
	"errors"
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

// A home that does not commit cannot keep a node from stopping.
func TestStop_IsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
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
	s, err := New(Options{Home: l.home, Listeners: []Listener{{Name: "free", Address: "127.0.0.1:0"}, {Name: "cars", Address: addr}}})
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
		"a name of its own":   {Home: h, Listeners: []Listener{{Name: "a"}, {Name: "a"}}},
		"needs a certificate": {Home: h, Listeners: []Listener{{Name: "a", Transport: TLS}}},
		"is not known":        {Home: h, Listeners: []Listener{{Name: "a", Transport: "quic"}}},
		"must begin with /":   {Home: h, Listeners: []Listener{{Name: "a", Transport: WS, Path: "mqtt"}}},
		"ReceiveMaximum":      {Home: h, ReceiveMaximum: 70000},
		"bound is negative":   {Home: h, Listeners: []Listener{{Name: "a", MaxConnections: -1}}},
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
	s, err := New(Options{Home: h, Listeners: []Listener{{Name: "x", Address: "127.0.0.1:0"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}
