package link

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/home"
)

// shipped is eu's home, shipped to regions that stand by for it.
type shipped struct {
	w     *world
	eu    *node
	src   *testSource
	at    map[string]*standby
	sites map[string]*site

	mu   sync.Mutex
	told []Shipped
}

// ship begins to ship eu's home to regions in this order.
func ship(t *testing.T, w *world, tune func(*tuning), to ...string) *shipped {
	x := &shipped{w: w, src: &testSource{}, at: map[string]*standby{}, sites: map[string]*site{}}
	var peers []Peer
	for _, name := range to {
		n := w.tuned(name, standsBy("eu", to...), peerFrom("eu"))
		s := newStandby("eu")
		x.at[name], x.sites[name] = s, n.also("eu", RoleStandby, Options{Home: standbyHome{s}, Standby: s})
		peers = append(peers, peerTo(name))
	}
	x.eu = w.tuned("eu", func(o *tuning) {
		standsBy("eu", to...)(o)
		x.src.h = o.Home.(*testHome)
		o.Source = x.src
		o.Shipped = func(s Shipped) {
			x.mu.Lock()
			x.told = append(x.told, s)
			x.mu.Unlock()
		}
		tune(o)
	}, peers...)
	return x
}

func plainly(*tuning) {}

func (x *shipped) close() {
	x.w.close()
	for _, s := range x.at {
		s.stop()
		<-s.done
	}
}

func (x *shipped) status(region string) CopyStatus {
	for _, c := range x.eu.m.Copies() {
		if c.Region == region {
			return c
		}
	}
	return CopyStatus{}
}

// last is what Shipped was told last.
func (x *shipped) last() Shipped {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.told) == 0 {
		return Shipped{}
	}
	return x.told[len(x.told)-1]
}

// publish publishes messages in many records.
func (x *shipped) publish(t *testing.T, from, to int) {
	for i := from; i < to; i++ {
		x.eu.home.do(t, &home.Publish{Topic: "events/a", Payload: fmt.Appendf(nil, "%d", i), QoS: 1})
	}
}

// A home is shipped to its standby, record by record, and all of it; what the standby has
// is told.
func TestShip_StandbyFollows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 20*time.Millisecond), plainly, "us")
		defer x.close()
		x.publish(t, 0, 100)
		t.Logf("follows after %v", follows(t, x.eu, x.at["us"], 10*time.Second))
		x.publish(t, 100, 300)
		t.Logf("200 records more after %v", follows(t, x.eu, x.at["us"], time.Second))
		eventually(t, 2*time.Second, "it is told", func() bool {
			return x.last() == Shipped{Region: "us", Records: x.eu.home.st.Position().Records, Healthy: true}
		})
		c := x.status("us")
		if c.State != CopyFollows || !c.Counts || c.LagRecords != 0 || c.Lag != 0 || c.Link.State != Up || c.Copies != 1 {
			t.Errorf("shipping %+v", c)
		}
		if there := x.sites["us"].m.Copies(); len(there) != 1 || there[0].Region != "eu" || there[0].At != x.eu.home.st.Position() {
			t.Errorf("there it says %+v", there)
		}
		if len(x.eu.m.Status()) != 1 {
			t.Errorf("shipping is listed as a link: %+v", x.eu.m.Status())
		}
	})
}

// The standby's region dials: its host cannot.
// A copy that came in whole is opened anew, and the host goes on shipping at once: it was refused meanwhile, asked again only
// after ten seconds, and acknowledged without its standby until then.
func TestShip_StandbyOpensWhatCameIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 20*time.Millisecond), plainly, "us")
		defer x.close()
		us := x.at["us"]
		us.mu.Lock()
		us.reopens = time.Second
		us.mu.Unlock()
		x.publish(t, 0, 100)
		eventually(t, 5*time.Second, "it counts", func() bool { return x.last().Healthy })
		if x.status("us").Copies != 1 {
			t.Errorf("shipping %+v", x.status("us"))
		}
	})
}

func TestShip_StandbyDials(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		us := w.tuned("us", func(o *tuning) {
			standsBy("eu", "us")(o)
			o.Addresses = func(region string) []string { return map[string][]string{"eu": {addrOf("eu")}}[region] }
		})
		s := newStandby("eu")
		defer func() { w.close(); s.stop(); <-s.done }()
		us.also("eu", RoleStandby, Options{Home: standbyHome{s}, Standby: s})
		eu, _ := w.shipsTo("eu", []string{"us"})
		eu.home.publish(t, "events/a", 0, 100)
		follows(t, eu, s, 10*time.Second)
	})
}

// A home changes hands: its former host stands by and dials before the new one hosts it, again and again, and follows at once when
// it does, however long that took.
func TestShip_FormerHostIsBackAtOnce(t *testing.T) {
	for _, promoted := range []time.Duration{700 * time.Millisecond, 4 * time.Second, 20 * time.Second} {
		t.Run(promoted.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				us := w.tuned("us", func(o *tuning) {
					standsBy("eu", "us")(o)
					o.Addresses = func(region string) []string { return map[string][]string{"eu": {addrOf("eu")}}[region] }
				})
				s := newStandby("eu")
				defer func() { w.close(); s.stop(); <-s.done }()
				var role atomic.Int32
				role.Store(int32(RoleStandby))
				src := &testSource{}
				eu := w.tuned("eu", func(o *tuning) {
					standsBy("eu", "us")(o)
					src.h = o.Home.(*testHome)
					o.Source, o.Role = src, func() Role { return Role(role.Load()) }
				})
				us.also("eu", RoleStandby, Options{Home: standbyHome{s}, Standby: s})
				eu.home.publish(t, "events/a", 0, 10)
				time.Sleep(promoted)
				role.Store(int32(RoleHost))
				t.Logf("follows %v after the promotion", follows(t, eu, s, time.Second))
			})
		})
	}
}

// Loss, packets twice, and cuts: the standby goes on where it was, and nothing is shipped
// twice but what was under way.
func TestShip_BadNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 30*time.Millisecond), plainly, "us")
		defer x.close()
		x.w.wan.set(0.03, 0.03)
		follows(t, x.eu, x.at["us"], 20*time.Second)
		for i := range 5 {
			x.w.wan.setCut(ip("eu"), ip("us"), i%2 == 0)
			x.publish(t, i*200, i*200+200)
			time.Sleep(5 * time.Second)
		}
		x.w.wan.setCut(ip("eu"), ip("us"), false)
		follows(t, x.eu, x.at["us"], 20*time.Second)
		c := x.status("us")
		if c.Copies != 1 {
			t.Errorf("%d copies: a reconnect begins with what is there", c.Copies)
		}
		if c.Link.Counters.Tunnels < 2 {
			t.Errorf("the network was not bad: %+v", c.Link)
		}
		if x.at["us"].doubled > 400 {
			t.Errorf("%d records came twice", x.at["us"].doubled)
		}
	})
}

// A standby that applies slowly slows its shipping, and nothing else: what is under way is
// bounded, the lag is told, and it is not waited for.
func TestShip_SlowStandby(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const window = 16 << 10
		x := ship(t, newWorld(t, 10*time.Millisecond), func(o *tuning) { o.SendWindow = window }, "us")
		defer x.close()
		follows(t, x.eu, x.at["us"], 10*time.Second)
		had := x.at["us"].rest(true)
		x.eu.home.publishNoise(t, "events/a", 0, 2000)
		time.Sleep(20 * time.Second)
		c := x.status("us")
		if c.LagRecords == 0 || c.LagMessages < 1900 || c.Lag < 15*time.Second || c.LagBytes == 0 || c.State == CopyFollows {
			t.Errorf("behind by %d records, %d messages, %d bytes, %v: %s", c.LagRecords, c.LagMessages, c.LagBytes, c.Lag, c.State)
		}
		if s := x.last(); s.Healthy || s.Region != "us" || int(s.Records) > had {
			t.Errorf("told %+v, it has %d", s, had)
		}
		s := x.eu.m.shipments()[0]
		s.mu.Lock()
		under := s.bytes
		s.mu.Unlock()
		if under > window+shipBytes+maxFrame {
			t.Errorf("%d bytes are under way", under)
		}
		x.at["us"].rest(false)
		follows(t, x.eu, x.at["us"], 20*time.Second)
		eventually(t, 5*time.Second, "healthy again", func() bool { return x.last().Healthy })
	})
}

// rest makes the standby apply nothing for a while; it returns how many records it has.
func (s *standby) rest(on bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = on
	return len(s.log)
}

// maxFrame is above what one record of these tests has.
const maxFrame = 2 << 20

// A standby that takes nothing says why; the next one of the list takes its place, and
// gives it back once the first has caught up. What is told never goes back for one region.
func TestShip_StandbyRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 10*time.Millisecond), plainly, "us", "ap")
		defer x.close()
		us, ap := x.at["us"], x.at["ap"]
		x.publish(t, 0, 50)
		follows(t, x.eu, us, 10*time.Second)
		time.Sleep(2 * time.Second)
		if ap.sinks != 0 {
			t.Error("the second standby was shipped to, too")
		}
		us.mu.Lock()
		us.refuses = errors.New("its disk is full")
		us.mu.Unlock()
		x.publish(t, 50, 100)
		took := follows(t, x.eu, ap, 20*time.Second)
		eventually(t, 5*time.Second, "ap counts", func() bool { s := x.last(); return s.Region == "ap" && s.Healthy })
		t.Logf("the next standby follows after %v", took)
		eventually(t, 10*time.Second, "us says why", func() bool { // not while it is asked again
			return strings.Contains(x.sites["us"].m.Copies()[0].Reason+x.status("us").Reason, "its disk is full")
		})
		us.mu.Lock()
		us.refuses = nil
		us.mu.Unlock()
		x.publish(t, 100, 150)
		took = eventually(t, 30*time.Second, "us counts again", func() bool { s := x.last(); return s.Region == "us" && s.Healthy })
		t.Logf("the first one counts again after %v", took)
		time.Sleep(2 * time.Second)
		asked := ap.asked
		x.publish(t, 150, 200)
		follows(t, x.eu, us, 5*time.Second)
		if ap.asked != asked {
			t.Error("both are shipped to")
		}
		x.neverGoesBack(t)
	})
}

// neverGoesBack: of a region that counts never less is told than before.
func (x *shipped) neverGoesBack(t *testing.T) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	most := map[string]uint64{}
	for _, s := range x.told {
		if s.Records < most[s.Region] {
			t.Fatalf("told %d records of %q after %d", s.Records, s.Region, most[s.Region])
		}
		most[s.Region] = s.Records
	}
}

// The first standby is away, and comes back far behind.
func TestShip_OrderOfStandbys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 10*time.Millisecond), plainly, "us", "ap")
		defer x.close()
		follows(t, x.eu, x.at["us"], 10*time.Second)
		x.w.wan.setCut(ip("eu"), ip("us"), true)
		x.publish(t, 0, 100)
		follows(t, x.eu, x.at["ap"], 20*time.Second)
		eventually(t, 5*time.Second, "ap counts", func() bool { return x.last() == Shipped{"ap", x.eu.home.st.Position().Records, true} })
		if c := x.status("us"); c.State != CopyAway {
			t.Errorf("us is %s", c.State)
		}
		x.w.wan.setCut(ip("eu"), ip("us"), false)
		eventually(t, 20*time.Second, "us counts again", func() bool { return x.last().Region == "us" })
		if at, _ := x.at["us"].Position(); at != x.eu.home.st.Position() {
			t.Errorf("it counts at %+v, before it has caught up", at)
		}
	})
}

// The log does not reach back to where the standby is: it takes a copy, and has its old one
// until that is whole. A break in the middle costs what was under way.
func TestShip_CopyGoesOnAfterABreak(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 20*time.Millisecond), plainly, "us")
		defer x.close()
		us := x.at["us"]
		x.publish(t, 0, 10)
		follows(t, x.eu, us, 10*time.Second)
		old, _ := us.Position()
		x.w.wan.setCut(ip("eu"), ip("us"), true)
		for i := range 100 {
			x.eu.home.publishNoise(t, "events/a", 20*i, 20*i+20)
		}
		x.src.oldest.Store(x.eu.home.st.Position().Records - 1)
		time.Sleep(5 * time.Second)
		copies := x.src.copies.Load()
		us.mu.Lock()
		us.slow = 50 * time.Millisecond
		us.mu.Unlock()
		x.w.wan.setCut(ip("eu"), ip("us"), false)
		part := func() int {
			us.mu.Lock()
			defer us.mu.Unlock()
			if us.partial == nil {
				return 0
			}
			return len(us.partial.log)
		}
		eventually(t, 30*time.Second, "a part of the copy", func() bool { return part() > 20 })
		x.w.wan.setCut(ip("eu"), ip("us"), true)
		time.Sleep(10 * time.Second)
		if at, _ := us.Position(); at != old {
			t.Errorf("the old copy was at %+v, and is at %+v", old, at)
		}
		if x.src.open.Load() != 1 {
			t.Errorf("%d copies are kept", x.src.open.Load())
		}
		x.w.wan.setCut(ip("eu"), ip("us"), false)
		took := follows(t, x.eu, us, time.Minute)
		t.Logf("whole %v after the break was over, %d resumed", took, us.resumed)
		if n := x.src.copies.Load() - copies; n != 1 || us.resumed != 1 {
			t.Errorf("%d copies were begun, %d resumed", n, us.resumed)
		}
		eventually(t, time.Second, "the copy is let go", func() bool { return x.src.open.Load() == 0 })
	})
}

// A copy that nobody comes back for is not kept for ever.
func TestShip_InterruptedCopyIsLetGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := ship(t, newWorld(t, 20*time.Millisecond), plainly, "us")
		defer x.close()
		s := x.eu.m.shipments()
		eventually(t, time.Second, "the standby is known", func() bool { s = x.eu.m.shipments(); return len(s) == 1 })
		c, err := x.src.Copy(t.Context(), "us")
		if err != nil {
			t.Fatal(err)
		}
		x.w.wan.setCut(ip("eu"), ip("us"), true)
		s[0].keep(c)
		time.Sleep(copyKept - time.Second)
		if x.src.open.Load() != 1 {
			t.Error("it was let go before its time")
		}
		time.Sleep(2 * time.Second)
		if x.src.open.Load() != 0 {
			t.Error("it is kept for ever")
		}
	})
}

// The standby has records that the host has not: it was its host, and was not shipped to
// the end. Nothing in it is replaced until it was set aside.
func TestShip_DivergedIsNeverReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		old := openHome(t, "eu", nil, nothing{})
		old.do(t, &home.Raise{Level: 2})
		old.do(t, &home.SetPeer{Peer: "us"})
		old.publish(t, "events/a", 0, 10)
		shipped := len(old.log)
		for i := range 5 { // and these were not shipped
			old.publish(t, "events/a", 10+i, 11+i)
		}
		log := old.stop()
		// us hosts the home at epoch 2; eu's copy is to stand by.
		s := newStandby("eu")
		for _, b := range log {
			if err := s.apply(home.Shipment{N: uint64(len(s.log) + 1), Data: b}); err != nil {
				t.Fatal(err)
			}
		}
		was := s.st.Position()
		told := make(chan home.CopyPosition, 100)
		eu := w.tuned("eu", standsBy("eu", "us"), peerFrom("us"))
		eu.also("eu", RoleStandby, Options{Home: standbyHome{s}, Standby: s, Diverged: func(_ home.ID, at home.CopyPosition) { told <- at }})
		us := w.tuned("us", standsBy("eu", "us"), peerTo("eu"))
		src := &testSource{}
		all := func() []string { return []string{"eu"} }
		site, h := us.hosts("eu", RoleHost, promoted(t, log[:shipped], home.Epoch{Number: 2, Host: "us"}),
			Options{Peers: []Peer{peerFrom("us")}, Source: src, Standbys: all})
		src.h = h
		defer func() { w.close(); s.stop(); <-s.done }()
		eventually(t, 20*time.Second, "it is told", func() bool { return len(told) > 0 })
		time.Sleep(30 * time.Second)
		if at, _ := s.Position(); at != was || s.sinks != 0 || s.asked != 0 {
			t.Errorf("the copy was at %+v, and is at %+v, with %d sinks", was, at, s.sinks)
		}
		if c := site.m.Copies(); len(c) != 1 || c[0].State == CopyFollows {
			t.Errorf("shipping %+v", c)
		}
		s.mu.Lock()
		s.retired = true
		s.mu.Unlock()
		took := eventually(t, 30*time.Second, "it follows", func() bool { at, _ := s.Position(); return at == h.st.Position() })
		t.Logf("follows %v after it was set aside", took)
	})
}

// What the log gives wrongly is noticed: nobody follows then, and the links go on.
func TestShip_FaultsOfTheLog(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func([]home.Shipment) []home.Shipment
		want  string
	}{
		{"a record is missing", func(l []home.Shipment) []home.Shipment {
			if len(l) > 2 {
				return append(l[:1:1], l[2:]...)
			}
			return l
		}, "follows record"},
		{"no anchor", func(l []home.Shipment) []home.Shipment { return l[1:] }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				x := ship(t, newWorld(t, 10*time.Millisecond), plainly, "us")
				defer x.close()
				follows(t, x.eu, x.at["us"], 10*time.Second)
				x.src.mu.Lock()
				x.src.fault = c.fault
				x.src.mu.Unlock()
				x.eu.home.hold(true)
				x.w.wan.setCut(ip("eu"), ip("us"), true)
				time.Sleep(5 * time.Second)
				x.eu.home.hold(false)
				x.publish(t, 0, 100)
				x.w.wan.setCut(ip("eu"), ip("us"), false)
				time.Sleep(10 * time.Second)
				if at, _ := x.at["us"].Position(); at == x.eu.home.st.Position() {
					t.Error("the standby follows a log with a hole")
				}
				if s := x.last(); s.Healthy {
					t.Errorf("told %+v", s)
				}
				if x.eu.status("us").State != Up {
					t.Error("it cost the link")
				}
			})
		})
	}
}
