package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func withWill(delay uint32) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.Will = &packet.Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: delay}
	}
}

func TestWill_FiresUnlessTheDeviceSaysGoodbye(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(0, "will")
	for name, c := range map[string]struct {
		v     packet.Version
		leave func(*device)
		fires bool
	}{
		"DISCONNECT":           {packet.V5, func(d *device) { d.send(packet.AppendDisconnect(nil, packet.Success, "")) }, false},
		"DISCONNECT 3.1.1":     {packet.V311, func(d *device) { d.send([]byte{0xE0, 0}) }, false},
		"DISCONNECT with will": {packet.V5, func(d *device) { d.send(packet.AppendDisconnect(nil, packet.DisconnectWithWill, "")) }, true},
		"closed":               {packet.V5, func(d *device) { d.nc.Close() }, true},
		"protocol error":       {packet.V5, func(d *device) { d.send([]byte{0x20, 2, 0, 0}) }, true},
	} {
		d := l.connect(c.v, "dev", withWill(0))
		before := l.home.proposed(home.KindDetach)
		c.leave(d)
		if c.fires {
			sub.wantMessage("gone")
			continue
		}
		eventually(t, name+": detached", func() bool { return l.home.proposed(home.KindDetach) > before })
		l.home.do(&home.Tick{})
		sub.silent()
	}
}

func TestWill_DelayIsCancelledByComingBack(t *testing.T) {
	l := newLab(t)
	sub := l.connect(packet.V5, "sub")
	sub.subscribe(0, "will")
	d := l.connect(packet.V5, "dev", persistent, withWill(60))
	d.nc.Close()
	eventually(t, "detached", func() bool { return l.home.proposed(home.KindDetach) == 1 })
	l.connect(packet.V5, "dev", persistent)
	l.home.do(&home.Tick{})
	sub.silent()
}

func TestDisconnect_SessionExpiry(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.send(packet.AppendDisconnectPacket(nil, packet.V5, &packet.Disconnect{SessionExpiry: packet.Some(uint32(0))}))
	d.closed()
	eventually(t, "the session is gone", func() bool { _, ok := l.home.state.Session(key("dev")); return !ok })

	d = l.connect(packet.V5, "dev")
	d.send(packet.AppendDisconnectPacket(nil, packet.V5, &packet.Disconnect{SessionExpiry: packet.Some(uint32(9))}))
	if code := d.closed(); code != packet.ProtocolError {
		t.Errorf("raised from 0: closed with %s", code)
	}
}

// On a virtual clock: one and a half keep-alives after the last packet, to the second, and no sooner for a device that
// pings.
func TestKeepAlive_OneAndAHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.pipe(packet.V5)
		d.connectOK("dev", func(p *packet.Connect) { p.KeepAlive = 10 })
		for range 5 {
			time.Sleep(14 * time.Second)
			d.silent()
		}
		began := time.Now()
		f, err := d.next(time.Minute)
		if err != nil || f.h.Type != packet.DISCONNECT {
			t.Fatalf("got %v, %v", f.h.Type, err)
		}
		if waited := time.Since(began); waited < 15*time.Second || waited > 15*time.Second+time.Millisecond {
			t.Errorf("after %v", waited)
		}
		if p, _ := packet.DecodeServerDisconnect(f.body); p.Code != packet.KeepAliveTimeout {
			t.Errorf("code %s", p.Code)
		}
		l.stop()
		if n := l.s.Stats().Disconnects[EndKeepAlive].Load(); n != 1 {
			t.Errorf("%d counted", n)
		}
	})
}

func TestKeepAlive_OffWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.pipe(packet.V311)
		d.connectOK("dev")
		time.Sleep(1000 * time.Hour)
		d.silent()
		l.stop()
	})
}

func TestConnect_SlowOneIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.pipe(packet.V5)
		began := time.Now()
		for _, b := range []byte{0x10, 20, 0, 4} {
			time.Sleep(2 * time.Second)
			d.send([]byte{b})
		}
		if f, err := d.next(time.Minute); err == nil {
			t.Errorf("answered with %s", f.h.Type)
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("after %v", waited)
		}
		l.stop()
		if n := l.s.Stats().Listeners["tcp"].Connects[ConnectTimeout].Load(); n != 1 {
			t.Errorf("%d counted", n)
		}
	})
}

// While the home is not ready CONNACK is withheld; most clients wait, and an error would make some give up for good.
func TestConnect_ParkedUntilTheHomeIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.home.unready.Store(true)
		a := l.pipe(packet.V5)
		time.AfterFunc(5*time.Second, func() { l.home.unready.Store(false) })
		began := time.Now()
		a.connectOK("a")
		if waited := time.Since(began); waited < 5*time.Second || waited > 5*time.Second+2*soonPoll {
			t.Errorf("answered after %v", waited)
		}
		l.home.unready.Store(true)
		b := l.pipe(packet.V5)
		b.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "b", ReceiveMaximum: 9}))
		began = time.Now()
		if f, err := b.next(time.Minute); err == nil {
			t.Errorf("answered with %s", f.h.Type)
		}
		if waited := time.Since(began); waited != 8*time.Second {
			t.Errorf("closed after %v", waited)
		}
		l.stop()
	})
}

// An Attach that commits after its device was let go is detached again: nobody else would.
func TestConnect_AttachCommitsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		l.home.hold()
		d := l.pipe(packet.V5)
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "d", ReceiveMaximum: 9, SessionExpiry: 900}))
		if _, err := d.next(time.Minute); err == nil || isTimeout(err) {
			t.Errorf("not closed: %v", err)
		}
		l.home.release()
		synctest.Wait()
		if x, ok := l.home.state.Session(key("d")); !ok || x.Owner != (home.Owner{}) {
			t.Errorf("session %+v, %v", x, ok)
		}
		l.connectPipe("d").silent()
		l.stop()
	})
}

func (l *lab) connectPipe(id string) *device {
	d := l.pipe(packet.V5)
	d.connectOK(id, persistent)
	return d
}

// The rest of its life is told with the message; at the end of it, it is not delivered.
func TestDeliver_MessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		d := l.connectPipe("dev")
		d.subscribe(1, "a")
		d.nc.Close()
		sender := l.pipe(packet.V5)
		sender.connectOK("sender")
		for i, expiry := range []uint32{10, 100, 0} {
			p := pub("a", "x", 1, uint16(i+1))
			p.MessageExpiry = expiry
			sender.publish(p)
			sender.ack(packet.PUBACK, p.PacketID)
		}
		time.Sleep(30 * time.Second)
		l.home.do(&home.Tick{})
		d = l.connectPipe("dev")
		if p := d.message(); p.MessageExpiry != packet.Some(uint32(70)) {
			t.Errorf("expiry %+v", p.MessageExpiry)
		}
		if p := d.message(); p.MessageExpiry.Set {
			t.Errorf("expiry %+v", p.MessageExpiry)
		}
		synctest.Wait()
		if x, _ := l.home.state.Session(key("dev")); x.Queued != 2 {
			t.Errorf("%d queued", x.Queued)
		}
		l.stop()
	})
}
