package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// where is who serves a session, as a test wants it.
type where struct {
	mu      sync.Mutex
	homes   map[string]home.ID // by client id; "" stands for all others
	changed chan struct{}
	known   func() bool // another region serves it; nil: nobody knows of one
}

func (w *where) Of(k home.SessionKey) (home.ID, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	elsewhere := w.known != nil && w.known()
	if id, ok := w.homes[k.ClientID]; ok {
		return id, elsewhere
	}
	return w.homes[""], elsewhere
}

func (w *where) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *where) set(client string, id home.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.homes[client] = id
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// newTwo starts a broker that serves eu and us; who may be served is in the where.
func newTwo(t *testing.T, change ...func(*Options)) (*lab, *testHome, *where) {
	us := newTestHome(t)
	w := &where{homes: map[string]home.ID{"": "eu"}}
	l := newLab(t, append([]func(*Options){piped, func(o *Options) {
		o.Homes, o.Where = append(o.Homes, HomeOptions{ID: "us", Home: us}), w
	}}, change...)...)
	us.sink.Store(l.s.House("us"))
	stop := l.stop
	l.stop = func() { stop(); us.stop() }
	return l, us, w
}

// A client id may have a session in each of two homes that a node serves: what happens to the one is nothing to the
// other.
func TestHomes_DoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, w := newTwo(t)
		ineu := l.pipe(packet.V5)
		ineu.connectOK("dev", persistent)
		ineu.subscribe(1, "a")
		w.set("", "us")
		inus, sender := l.pipe(packet.V5), l.pipe(packet.V5)
		if ack := inus.connectOK("dev", persistent); ack.SessionPresent {
			t.Error("us has the session of eu")
		}
		inus.subscribe(1, "a")
		sender.connectOK("sender")
		for qos := range byte(3) {
			sender.send(packet.AppendPublish(nil, packet.V5, pub("a", fmt.Sprint("q", qos), qos, uint16(qos))))
		}
		for range 3 {
			f, err := inus.next(time.Second)
			if err != nil || f.h.Type != packet.PUBLISH {
				t.Fatalf("the device of us got %v, %v", f.h.Type, err)
			}
		}
		if f, err := ineu.next(time.Second); err == nil {
			t.Errorf("the device of eu got %s for a message of us", f.h.Type)
		}
		if n := 0; l.s.House("us").Kick(key("dev")) {
			l.s.Clients(func(c Client) bool { n++; return c.Session != key("dev") || c.Home == "eu" })
			if _, ok := l.s.House("eu").Client(key("dev")); !ok {
				t.Errorf("the device of eu was kicked, too; %d clients", n)
			}
		}
		l.stop()
	})
}

// A CONNECT waits for the home of its session without an answer, for as long as clients do: an error would make them
// give up, and so would a new session in the wrong home.
func TestConnect_ParkedWhileTheHomeIsNotKnown(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		known bool
	}{"known in time": {7 * time.Second, true}, "not known in time": {9 * time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, us, w := newTwo(t)
				w.set("", "")
				d := l.pipe(packet.V311)
				began := time.Now()
				go func() {
					time.Sleep(c.after)
					us.unready.Store(true) // eu it is; us would be another minute
					w.set("", "us")
					w.set("", "eu")
				}()
				d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: "dev", ReceiveMaximum: 9}))
				f, err := d.next(time.Minute)
				took := time.Since(began)
				switch {
				case c.known && (err != nil || f.h.Type != packet.CONNACK || took < c.after):
					t.Errorf("got %v, %v after %v", f.h.Type, err, took)
				case !c.known && (err == nil || took != l.s.opt.ParkTime):
					t.Errorf("got %v, %v after %v; want a closed connection after %v", f.h.Type, err, took, l.s.opt.ParkTime)
				}
				if _, ok := l.s.House("us").Client(key("dev")); ok {
					t.Error("served by us")
				}
				time.Sleep(c.after)
				l.stop()
			})
		})
	}
}

// While another region is known to serve the session a CONNECT is not parked for long: the next dial may lead there. While
// that is not known, it is; and a switchover that comes to an end here finds it waiting.
func TestConnect_ParkedWhileAnotherRegionServes(t *testing.T) {
	for name, c := range map[string]struct {
		from, to, here time.Duration // known from, to; served here from; 0: not
		want           time.Duration // until it is closed; 0: it is served
		lapsed         bool          // its home is the one here, and was closed for its devices to go elsewhere
	}{
		"known":              {to: time.Minute, want: 2 * time.Second},
		"known late":         {from: 3 * time.Second, to: time.Minute, want: 3 * time.Second},
		"not known any more": {to: 1900 * time.Millisecond, want: 8 * time.Second},
		"comes here":         {to: time.Second, here: time.Second},
		"may be there":       {to: time.Minute, want: 2 * time.Second, lapsed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, us, w := newTwo(t)
				if w.set("", ""); c.lapsed {
					us.unready.Store(true)
					w.set("", "us")
				}
				began := time.Now()
				w.known = func() bool { d := time.Since(began); return c.from <= d && d < c.to }
				if c.here > 0 {
					go func() {
						time.Sleep(c.here)
						w.set("", "us")
					}()
				}
				d := l.pipe(packet.V311)
				d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: "dev", ReceiveMaximum: 9}))
				f, err := d.next(time.Minute)
				took := time.Since(began)
				switch {
				case c.want == 0 && (err != nil || f.h.Type != packet.CONNACK):
					t.Errorf("got %v, %v after %v", f.h.Type, err, took)
				case c.want > 0 && (err == nil || took < c.want || took > c.want+lookParked):
					t.Errorf("got %v, %v after %v; want a closed connection after %v", f.h.Type, err, took, c.want)
				}
				l.stop()
			})
		})
	}
}

// Devices of a home that is served elsewhere now are closed so many a second, without DISCONNECT, and nobody else is.
func TestCloseAtPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, w := newTwo(t)
		var gone []time.Duration
		var mu sync.Mutex
		var reading sync.WaitGroup
		const devices, rate = 200, 100
		began := time.Now()
		for i := range devices {
			d := l.pipe(packet.V5)
			d.connectOK(fmt.Sprint("dev", i), persistent)
			reading.Go(func() {
				f, err := d.next(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if gone = append(gone, time.Since(began)); err == nil {
					t.Errorf("got %s before the end", f.h.Type)
				}
			})
		}
		w.set("", "us")
		other := l.pipe(packet.V5)
		other.connectOK("other")
		if n := l.s.House("eu").CloseAtPace(t.Context(), rate); n != devices {
			t.Errorf("%d closed", n)
		}
		reading.Wait()
		slices.Sort(gone)
		if last := gone[devices-1]; last < devices*time.Second/rate-50*time.Millisecond || last > devices*time.Second/rate+50*time.Millisecond {
			t.Errorf("the last of %d was closed after %v, at %d a second", devices, last, rate)
		}
		if early := gone[devices/4]; early > time.Second {
			t.Errorf("a quarter was closed after %v", early)
		}
		other.ping()
		l.stop()
	})
}

func (d *device) ping() {
	d.t.Helper()
	d.send([]byte{byte(packet.PINGREQ) << 4, 0})
	if f := d.read(); f.h.Type != packet.PINGRESP {
		d.t.Fatalf("got %s, want PINGRESP", f.h.Type)
	}
}

// Two namespaces come back: the fleet does not keep the few waiting, and the rate holds over both.
func TestAdmission_FairBetweenNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		s.PaceConnects(100, time.Minute)
		var mu sync.Mutex
		in := map[string][]time.Duration{}
		var all sync.WaitGroup
		began := time.Now()
		enter := func(ns string) {
			all.Go(func() {
				if s.admission.wait(ns, false, nil) {
					mu.Lock()
					in[ns] = append(in[ns], time.Since(began))
					mu.Unlock()
				}
			})
		}
		for range 1000 {
			enter("cars")
		}
		time.Sleep(time.Second)
		for range 20 {
			enter("plants")
		}
		all.Wait()
		last := func(ns string) time.Duration { return slices.Max(in[ns]) }
		if got := last("plants"); got > 1500*time.Millisecond {
			t.Errorf("the few were in after %v", got)
		}
		if got, want := last("cars"), 1020*10*time.Millisecond; got < want-100*time.Millisecond || got > want {
			t.Errorf("all were in after %v, want %v", got, want)
		}
		if len(in["cars"]) != 1000 || len(in["plants"]) != 20 {
			t.Errorf("in: %v", slices.Collect(maps.Keys(in)))
		}
	})
}

// A storm of one namespace keeps nobody of another waiting, who left takes no turn, and the queue says how long it is.
func TestAdmission_StormOfOneNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{stats: newStats(nil)}
		s.SetAdmission(100)
		began := time.Now()
		in := map[string][]time.Duration{}
		dropped := 0
		var mu sync.Mutex
		enter := func(ns string, gone bool) {
			note := func(f func()) func() { return func() { mu.Lock(); defer mu.Unlock(); f() } }
			w := &arrival{let: note(func() { in[ns] = append(in[ns], time.Since(began)) }), gone: func() bool { return gone }, drop: note(func() { dropped++ })}
			if !s.admission.enter(ns, false, w) {
				w.let()
			}
		}
		for i := range 2000 {
			enter("cars", i > 100 && i%2 == 1) // of those that wait every other one gives up
		}
		a := s.Admission()
		if a.Waiting < 1990 || a.PerSecond != 100 || a.Drain != time.Duration(a.Waiting)*10*time.Millisecond || len(a.ByName) != 1 || a.ByName[0] != (InNamespace{"cars", a.Waiting}) { // a few are in already
			t.Errorf("the queue says %+v", a)
		}
		time.Sleep(time.Second)
		for range 20 {
			enter("plants", false)
		}
		time.Sleep(time.Second)
		mu.Lock()
		if n := len(in["plants"]); n != 20 {
			t.Errorf("%d of 20 of the quiet namespace are in after a second of a storm of another", n)
		}
		mu.Unlock()
		time.Sleep(20 * time.Second)
		mu.Lock()
		if n := len(in["cars"]); n != 1050 || dropped != 950 {
			t.Errorf("%d let in, %d dropped, want 1050 and 950", n, dropped)
		} else if last := in["cars"][n-1]; last > 10800*time.Millisecond {
			t.Errorf("the last was let in after %v: those that left took turns", last)
		}
		dropped = 0
		mu.Unlock()
		for range 1000 {
			enter("cars", false)
		}
		s.admission.close()
		enter("cars", false)
		time.Sleep(time.Second)
		if a := s.Admission(); a.Waiting != 0 || dropped < 990 {
			t.Errorf("after the stop %d wait and %d were dropped", a.Waiting, dropped)
		}
	})
}

// Who waits when the time of pacing is over is let in, and nobody waits after it.
func TestAdmission_Ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		s.PaceConnects(1, 3*time.Second)
		began := time.Now()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { s.admission.wait("ns", false, nil) })
		}
		all.Wait()
		if took := time.Since(began); took > 3100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		s.admission.wait("ns", false, nil)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		s.PaceConnects(1, time.Hour)
		s.admission.wait("ns", false, nil)
		if s.admission.wait("ns", false, ended.Done()) {
			t.Error("let in at once")
		}
		time.Sleep(5 * time.Second)
	})
}

// What an operator set holds on when the pace of a promotion is over.
func TestAdmission_RuleOutlivesAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{stats: &Stats{}}
		s.SetAdmission(5000)
		s.RuleConnects(10, time.Hour)
		s.PaceConnects(5000, time.Minute)
		if n := s.Admission().PerSecond; n != 5000 {
			t.Errorf("%v a second during a promotion's pace", n)
		}
		s.SetAdmission(2000)
		if n := s.Admission().PerSecond; n != 2000 {
			t.Errorf("%v a second during a promotion's pace that was changed", n)
		}
		s.SetAdmission(5000)
		time.Sleep(2 * time.Minute)
		if a := s.Admission(); a.PerSecond != 10 || a.Until.IsZero() {
			t.Errorf("%v a second until %v, and 10 were set for an hour", a.PerSecond, a.Until)
		}
		s.RuleConnects(0, 0)
		if n := s.Admission().PerSecond; n != 5000 {
			t.Errorf("%v a second once the rule was taken back", n)
		}
	})
}
