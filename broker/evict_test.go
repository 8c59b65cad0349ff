package broker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// Connections are closed at the pace, no faster in any second and not slower over all, each heard of once; who comes
// meanwhile goes too.
func TestEvict_KeepsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		const n, rate = 100, 20
		for i := range n {
			l.connectPipe(fmt.Sprint("dev-", i))
		}
		time.Sleep(time.Minute) // a burst is not saved up for
		began := time.Now()
		var at []time.Duration
		closed := map[string]int{}
		done := l.s.Evict(t.Context(), Eviction{PerSecond: rate, Closed: func(id home.ID, o SessionOwner) {
			at = append(at, time.Since(began))
			closed[o.Session.ClientID]++
			if len(at) == n/2 {
				l.connectPipe("late")
			}
			if id != "eu" || o.Epoch == 0 {
				t.Errorf("closed %s %+v", id, o)
			}
		}})
		took := time.Since(began)
		synctest.Wait()
		if done != n+1 || len(closed) != n+1 || l.s.Connections() != 0 {
			t.Errorf("closed %d (%d distinct), %d are left", done, len(closed), l.s.Connections())
		}
		if took < 5*time.Second || took > 5300*time.Millisecond {
			t.Errorf("%d at %d a second took %s", done, rate, took)
		}
		for i := range at {
			if j := i + rate + 1; j < len(at) && at[j]-at[i] < 900*time.Millisecond {
				t.Errorf("%d were closed within %s, from %s on", rate+1, at[j]-at[i], at[i])
			}
		}
	})
}

func TestEvict_AsManyAsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		for i := range 10 {
			l.connectPipe(fmt.Sprint("dev-", i))
		}
		if n := l.s.Evict(t.Context(), Eviction{PerSecond: 100, Most: 4}); n != 4 {
			t.Errorf("closed %d", n)
		}
		synctest.Wait()
		if n := l.s.Connections(); n != 6 {
			t.Errorf("%d are left", n)
		}
	})
}

// The device finds its session as it was: its will has not fired, what is under way was answered, and it was told
// nothing that makes clients give up.
func TestEvict_TheSessionGoesOnElsewhere(t *testing.T) {
	l := newLab(t)
	l.home.do(&home.Configure{Revision: 1, Limits: home.Limits{SessionExpiryMax: 7200, QueueMessages: 100, QueueBytes: 1 << 20, Subscriptions: 10, WillGrace: 30}})
	sub := l.connect(packet.V5, "sub", persistent)
	sub.subscribe(1, "will")
	d := l.connect(packet.V5, "dev", persistent, withWill(0))
	l.home.hold()
	for id := uint16(1); id <= 20; id++ {
		d.publish(pub("a", "x", 1, id))
	}
	eventually(t, "all are proposed", func() bool { return l.home.proposed(home.KindPublish) == 20 })
	evicted := make(chan int, 1)
	go func() { evicted <- l.s.Evict(context.Background(), Eviction{PerSecond: 1000}) }()
	c := l.house.sessions.get(key("dev"))
	eventually(t, "its turn comes", c.leaving.Load)
	l.home.release()
	for id := uint16(1); id <= 20; id++ {
		d.ack(packet.PUBACK, id)
	}
	if code := d.closed(); code != 0 {
		t.Errorf("it was told %s", code)
	}
	if n := <-evicted; n != 2 {
		t.Errorf("%d closed", n)
	}
	eventually(t, "the sessions are detached", func() bool { return l.home.proposed(home.KindDetach) == 2 })
	if x, ok := l.home.state.Session(key("dev")); !ok || x.Owner != (home.Owner{}) || !x.Will {
		t.Errorf("session %+v, %v", x, ok)
	}
	if x, _ := l.home.state.Session(key("sub")); x.Queued != 0 {
		t.Error("the will has fired")
	}
	if n := l.s.Stats().Disconnects[EndEvicted].Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
}

// Where a listener says so an MQTT 5 device is told where to go; one that takes only small packets hears that it should.
func TestEvict_ServerReference(t *testing.T) {
	const where = "mqtt-b.example.com:8883"
	l := newLab(t, func(o *Options) { o.Listeners[0].ServerReference = where })
	tiny := func(p *packet.Connect) { p.MaximumPacketSize = 30 }
	for name, c := range map[string]struct {
		v    packet.Version
		code packet.Code
		ref  string
		with func(*packet.Connect)
	}{
		"v5":    {packet.V5, packet.UseAnotherServer, where, persistent},
		"tiny":  {packet.V5, packet.UseAnotherServer, "", tiny},
		"3.1.1": {packet.V311, 0, "", persistent},
	} {
		d := l.connect(c.v, name, c.with)
		d.silent()
		l.s.Evict(t.Context(), Eviction{PerSecond: 1000})
		f, err := d.next(patience)
		if c.code == 0 {
			if err == nil {
				t.Errorf("%s got %s", name, f.h.Type)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := packet.DecodeServerDisconnect(f.body)
		if err != nil || got.Code != c.code || got.ServerReference != c.ref {
			t.Errorf("%s got %+v, %v", name, got, err)
		}
		d.nc.Close()
	}
}

// Who stops an eviction leaves the others served.
func TestEvict_Stopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		for i := range 10 {
			l.connectPipe(fmt.Sprint("dev-", i))
		}
		ctx, stop := context.WithTimeout(t.Context(), 450*time.Millisecond)
		defer stop()
		n := l.s.Evict(ctx, Eviction{PerSecond: 10})
		synctest.Wait()
		if left := l.s.Connections(); n < 4 || n > 5 || left != 10-n {
			t.Errorf("closed %d, %d are left", n, left)
		}
		l.s.each(func(c *conn) {
			if c.leaving.Load() {
				t.Errorf("%s is parted from by half", c.key.ClientID)
			}
		})
	})
}

func TestTurnAway(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev")
	l.s.TurnAway(true)
	if code := l.dial(packet.V5).closed(); code != 0 {
		t.Errorf("turned away with %s", code)
	}
	d.send(packet.AppendPingreq(nil))
	if f := d.read(); f.h.Type != packet.PINGRESP {
		t.Errorf("who is there got %s", f.h.Type)
	}
	if n := l.s.Stats().Listeners["tcp"].Connects[ConnectTurnedAway].Load(); n != 1 {
		t.Errorf("%d counted", n)
	}
	l.s.TurnAway(false)
	l.connect(packet.V5, "dev2")
}
