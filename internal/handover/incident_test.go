package handover

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"causeway/internal/home"
)

// until runs the world until something is so.
func (w *world) until(what string, so func() bool) {
	for end := w.Now() + time.Minute; w.Violation() == nil && !so(); w.Run(w.Now() + time.Millisecond) {
		if w.Now() > end {
			w.fail("not within a minute: %s", what)
		}
	}
}

// quiet runs the world until nothing is on its way any more, and holds it to what always holds.
func (w *world) quiet(t *testing.T) {
	t.Helper()
	w.until("nothing is on its way", w.settled)
	w.Run(w.Now() + 5*time.Second)
	if w.Violation() == nil {
		w.check()
	}
	if err := w.Violation(); err != nil {
		t.Error(err)
	}
}

func (s *site) publish(topic string, n int) {
	s.do(&home.Publish{Topic: topic, Payload: fmt.Append(nil, n), QoS: 2})
}

// firsts are the messages of a topic that a device got, in the order in which they came first.
func (d *device) firsts(topic string) (list []int) {
	for _, num := range d.seen[topic] {
		if !slices.Contains(list, num) {
			list = append(list, num)
		}
	}
	return list
}

// merge has a device get a session in each of two regions while these are cut off from each other,
// with other subscriptions in either, and says how many messages it never got. What only one of the two had comes in order.
func merge(t *testing.T, plant fault) (missing int) {
	w := newWorld(1, 3, plant)
	eu, us, ap := w.sites[0], w.sites[1], w.sites[2]
	d := w.add("device", 1, true, false, eu)
	d.late = true // it takes a new session where the other one is not to be had
	w.until("it is in eu", func() bool { return d.conn != nil && d.conn.ready })
	w.Run(w.Now() + time.Second)
	w.part(eu, us)
	d.goTo(us)
	n := 0
	for range 5 {
		n++
		eu.publish("t/eu", n)
		ap.publish("t/ap", n)
	}
	w.until("it is in us", func() bool { return d.conn != nil && d.conn.s == us && d.conn.ready })
	us.do(&home.Subscribe{Session: d.key, Epoch: d.conn.epoch, Filters: []home.Subscription{{Filter: "only/#", QoS: 2}}})
	w.Run(w.Now() + time.Second)
	w.join(eu, us)
	only := 0
	for w.merged == 0 || !w.settled() || only < 40 {
		n, only = n+1, only+1
		eu.publish("t/eu", n)
		ap.publish("t/ap", n)
		ap.publish("only/ap", only)
		us.publish("only/us", only)
		if w.Run(w.Now() + 10*time.Millisecond); w.Violation() != nil || only > 2000 {
			break
		}
	}
	w.quiet(t)
	for topic, n := range map[string]int{"t/eu": n, "t/ap": n, "only/ap": only, "only/us": only} {
		first := d.firsts(topic)
		if missing += n - len(first); topic[0] == 'o' && !slices.IsSorted(first) {
			t.Errorf("%s came in the order %v", topic, d.seen[topic])
		}
	}
	return missing
}

func TestIncident_SessionsOfOneDeviceAreMerged(t *testing.T) {
	if n := merge(t, none); n > 0 {
		t.Errorf("%d messages never came", n)
	}
	if n := merge(t, discards); n == 0 {
		t.Error("nothing is missing though one session was ended with what waited for it")
	}
}

func (w *world) here(d *device, s *site) {
	w.until(d.id+" is in "+string(s.id), func() bool { return d.conn != nil && d.conn.s == s && d.conn.ready })
}

// A device begins anew while the region with its old session is cut off, and goes on to a third region: what
// it gave up does not come back once the regions see each other again.
func TestIncident_ItBeganAnewAndWentOn(t *testing.T) {
	w := newWorld(1, 3, none)
	eu, us, ap := w.sites[0], w.sites[1], w.sites[2]
	d := w.add("device", 1, true, false, eu)
	d.late = true
	w.here(d, eu)
	w.Run(w.Now() + time.Second)
	w.part(eu, us)
	w.part(eu, ap)
	d.clean = true
	d.goTo(us)
	eu.publish("t/eu", 1)
	w.here(d, us)
	us.publish("t/us", 1)
	d.goTo(ap)
	w.here(d, ap)
	w.join(eu, us)
	w.join(eu, ap)
	w.Run(w.Now() + 2*time.Second)
	ap.publish("t/ap", 1)
	w.quiet(t)
	if got := fmt.Sprint(d.seen); got != "map[t/ap:[1] t/us:[1]]" {
		t.Errorf("got %v", got)
	}
}

// A device that once began anew got a second session while the regions were cut off from each other: what
// waited in that one, which it did not give up, is not lost.
func TestIncident_ItBeganAnewLongAgo(t *testing.T) {
	w := newWorld(1, 2, none)
	eu, us := w.sites[0], w.sites[1]
	d := w.add("device", 1, true, false, us)
	d.late, d.clean = true, true
	w.here(d, us)
	w.Run(w.Now() + time.Second)
	w.part(eu, us)
	d.goTo(eu)
	w.here(d, eu)
	d.goTo(us)
	eu.publish("t/eu", 1)
	for range 3 { // of the two, this one counts
		w.here(d, us)
		w.Run(w.Now() + 100*time.Millisecond)
		d.goTo(us)
	}
	w.here(d, us)
	w.join(eu, us)
	w.quiet(t)
	if w.merged != 1 || len(d.firsts("t/eu")) != 1 {
		t.Errorf("merged %d times, got %v", w.merged, d.seen)
	}
}

// backup is the home as it is now.
func (s *site) backup() *copied {
	s.keepCopy()
	b := s.copy
	s.keepCopy()
	return b
}

// restore has the home go on from a backup, at an epoch of its own.
func (s *site) restore(b *copied) {
	s.copy = b
	s.goOn(false)
}

// The home that took a session is restored from a backup of before, while the home where it was still keeps
// what a third one that cannot be asked sends: the session goes on from there, with what waited.
func TestIncident_TheNewHomeIsRestored(t *testing.T) {
	w := newWorld(1, 3, none)
	eu, us, ap := w.sites[0], w.sites[1], w.sites[2]
	d := w.add("device", 1, true, false, eu)
	w.here(d, eu)
	w.Run(w.Now() + time.Second)
	backup := us.backup()
	w.part(ap, us)
	d.goTo(us)
	w.here(d, us)
	w.until("eu knows that us has it", func() bool { _, out := eu.state.Roaming(); return len(out) == 1 && out[0].Taken })
	d.goTo(ap) // which does not hear of it
	for n := range 3 {
		eu.publish("t/eu", n+1)
	}
	us.restore(backup)
	w.Run(w.Now() + 2*time.Minute)
	w.join(ap, us)
	w.here(d, ap)
	w.quiet(t)
	if got := len(d.firsts("t/eu")); got != 3 {
		t.Errorf("%d of 3 messages came", got)
	}
}

// The home that a session left is restored from a backup that was made before, or in the middle of it: the
// device has one session in the end, and gets all that comes.
func TestIncident_TheOldHomeIsRestored(t *testing.T) {
	for _, middle := range []bool{false, true} {
		w := newWorld(1, 2, none)
		eu, us := w.sites[0], w.sites[1]
		d := w.add("device", 1, true, false, eu)
		w.here(d, eu)
		w.Run(w.Now() + time.Second)
		backup := eu.backup()
		d.goTo(us)
		if middle {
			w.until("it leaves", func() bool { _, leaves := eu.state.DepartureOf(d.key); return leaves })
			backup = eu.backup()
		}
		w.here(d, us)
		w.quiet(t)
		eu.publish("t/eu", 1)
		us.publish("t/us", 1)
		w.Run(w.Now() + time.Second)
		eu.restore(backup)
		w.Run(w.Now() + time.Second)
		eu.publish("t/eu", 2)
		us.publish("t/us", 2)
		w.Run(w.Now() + 30*time.Second)
		w.quiet(t)
		if a, b := d.firsts("t/eu"), d.firsts("t/us"); len(a) != 2 || len(b) != 2 {
			t.Errorf("middle %t: got %v and %v", middle, a, b)
		}
	}
}

// At each step of a move, and at each question and answer, one thing goes wrong once: the message is lost, the
// link is cut, a node dies, or a home goes on at its standby, as planned or without what that has not got.
// Without many seeds only some of the steps are tried.
func TestIncident_EachStep(t *testing.T) {
	stride := 9
	if *seeds > 100 {
		stride = 1
	}
	for what, strike := range map[string]func(*site){
		"the message is lost": func(*site) {},
		"the link is cut": func(s *site) {
			s.w.part(s.w.sites[0], s.w.sites[1])
			s.w.After(time.Second, func() { s.w.join(s.w.sites[0], s.w.sites[1]) })
		},
		"a node dies":               (*site).crash,
		"the other one dies":        func(s *site) { s.other().crash() },
		"a switchover":              func(s *site) { s.goOn(true) },
		"a switchover of the other": func(s *site) { s.other().goOn(true) },
		"a failover":                func(s *site) { s.goOn(false) },
		"a failover of the other":   func(s *site) { s.other().goOn(false) },
		"a failover of a third":     func(s *site) { s.w.sites[2].goOn(false) },
	} {
		t.Run(what, func(t *testing.T) {
			for at, steps := 1, 1; at <= steps; at += stride {
				w := newWorld(7, 3, none)
				w.strike.what = strike
				for _, s := range w.sites {
					w.add("pub2-"+string(s.id), 2, false, false, s).most = 40
				}
				w.add("roampub", 2, false, true, w.sites[0]).most = 40
				sub := w.add("sub", 2, true, true, w.sites[0])
				w.add("rest", 2, true, false, w.sites[2])
				w.Run(3 * time.Second)
				for _, d := range w.devices {
					d.step()
				}
				w.Run(w.Now() + 700*time.Millisecond)
				w.strike.step, w.strike.at = 0, at
				sub.goTo(w.sites[1])
				w.devices[3].goTo(w.sites[1])
				w.Run(w.Now() + 300*time.Millisecond)
				sub.goTo(w.sites[0])
				w.quiet(t)
				if steps = w.strike.step; t.Failed() {
					t.Fatalf("step %d", at)
				}
			}
		})
	}
}

func (s *site) other() *site {
	if s == s.w.sites[0] {
		return s.w.sites[1]
	}
	return s.w.sites[0]
}

// The region that a session was on its way to is cut off before it said that it has it. The device is back where
// it was: it is kept waiting, unless a region that does not answer is not to be waited for.
func TestIncident_CutOffOnItsWay(t *testing.T) {
	for _, create := range []bool{false, true} {
		w := newWorld(1, 2, none)
		w.create = create
		eu, us := w.sites[0], w.sites[1]
		d := w.add("device", 1, true, false, eu)
		w.here(d, eu)
		w.Run(w.Now() + time.Second)
		eu.publish("t/eu", 1)
		w.until("it has it", func() bool { return len(d.seen) > 0 })
		d.goTo(us)
		w.until("it leaves", func() bool { _, leaves := eu.state.DepartureOf(d.key); return leaves })
		w.part(eu, us)
		d.goTo(eu)
		eu.publish("t/eu", 2)
		w.Run(w.Now() + 20*time.Second)
		if served := d.conn != nil; served != create {
			t.Errorf("create %t: the device is served: %t", create, served)
		}
		w.join(eu, us)
		w.here(d, eu)
		w.quiet(t)
		if got := d.firsts("t/eu"); len(got) != 2 {
			t.Errorf("create %t: got %v", create, got)
		}
	}
}

// The region that has a session cannot be asked, and another one says that it has it: no new one is created, unless
// a region that does not answer is not to be waited for.
func TestIncident_AnotherOneKnowsWhereItIs(t *testing.T) {
	for _, late := range []bool{false, true} {
		w := newWorld(1, 3, none)
		eu, us, ap := w.sites[0], w.sites[1], w.sites[2]
		w.part(us, ap) // from the beginning: us knows nothing of what is in ap
		d := w.add("device", 1, true, false, ap)
		d.late = late
		w.here(d, ap)
		w.Run(w.Now() + time.Second)
		d.goTo(us)
		w.Run(w.Now() + 20*time.Second)
		if served := d.conn != nil; served != late {
			t.Errorf("late %t: the device is served: %t", late, served)
		}
		w.join(us, ap)
		w.here(d, us)
		eu.publish("t/eu", 1)
		w.quiet(t)
	}
}
