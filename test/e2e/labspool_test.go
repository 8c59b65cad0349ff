package e2e

import (
	"bytes"
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/lab"
)

// The path is away for so long that the spool reaches its limit. The oldest of what waits is
// dropped: as much as the link says, and nothing else; the rest arrives in order.
func TestLab_SpoolAtItsLimit(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary, func(w *wide, o *trial.Options) {
		w.pad = append([]byte(" "), bytes.Repeat([]byte("x"), 4000)...)
		o.Link = "spool: { bytes: 1MiB, at_limit: drop-oldest }"
	})
	rounds, away := 1, 5*time.Second
	if *wholeLab {
		rounds, away = 3, 20*time.Second
	}
	for range rounds {
		// The spool holds what the peer has not acknowledged, also what is on its way: for the
		// numbers to be equal nothing may be, neither before nor when the spool overflows.
		w.rest()
		w.idle.Store(false)
		w.outage(away, w.pause)
		back := time.Now()
		w.rest()
		t.Logf("%v without a path: %v to all that was left in the spools", away, time.Since(back).Round(time.Millisecond))
		w.idle.Store(false)
		w.caughtUp("after the outage")
	}
	w.rest()
	w.freeze()
	for i, region := range []string{"eu", "us"} {
		s := w.flows[i]
		l := settle(s.name, s.from, s.to, time.Since(w.began))
		shown := w.link(region).Dropped
		t.Logf("%v; the link says that %d were dropped", l, shown)
		if l.lost == 0 || int64(l.lost) != shown {
			t.Errorf("%s: %d did not arrive, the link says that %d were dropped", s.name, l.lost, shown)
		}
		if n := s.to.holes(); n != rounds {
			t.Errorf("%s: what did not arrive has %d gaps, want one for each of %d outages: the oldest", s.name, n, rounds)
		}
		l.lost = 0
		l.check(t, s.from.sent(), 2)
	}
}

// rest pauses and waits until everything is acknowledged by the peers, too.
func (w *wide) rest() {
	w.t.Helper()
	w.pause()
	for _, region := range []string{"eu", "us"} {
		await(w.t, region+" to have nothing waiting", func() bool {
			l := w.link(region)
			return l.LagMessages == 0 && l.SpoolMessages == 0
		})
	}
}

// pause ends the load for now and waits until everything is acknowledged.
func (w *wide) pause() {
	w.t.Helper()
	w.idle.Store(true)
	for _, d := range w.publishers {
		await(w.t, "everything to be acknowledged", func() bool { acked, _ := d.progress(); return acked == d.sent() })
	}
}

// holes counts the places at which numbers are missing in what arrived.
func (d *device) holes() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := 0
	for _, x := range d.got {
		if x > last+1 {
			n++
		}
		last = max(last, x)
	}
	return n
}
