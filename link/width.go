package link

import (
	"fmt"
	"time"
)

// How a tunnel finds the number of connections that carry what it sends.
const (
	lookEvery = 250 * time.Millisecond
	settling  = time.Second // after a change; as much again is measured
	lossy     = 0.0005      // of the packets; below, a connection fills the path by itself
	step      = 4           // times the connections are tried: what new ones carry varies much at first
	worthIt   = 0.2         // of what they should carry in addition, more connections must carry
	calmFor   = time.Minute // before half of them are given up
	vainLeast = 30 * time.Second
	vainMost  = 10 * time.Minute // before more are tried again where more carried nothing
)

// glance is what was seen of a tunnel's sending side since the last look.
type glance struct {
	over          time.Duration
	held          time.Duration // with something to send that no connection could take
	bytes         uint64        // that connections took
	packets, lost uint64
	have          int // connections
}

func (g glance) plus(h glance) glance {
	return glance{g.over + h.over, g.held + h.held, g.bytes + h.bytes, g.packets + h.packets, g.lost + h.lost, h.have}
}

func (g glance) rate() float64 { return float64(g.bytes) / max(g.over.Seconds(), 1e-3) }

// limited says that the connections, and neither the spool nor the receiver, set the
// pace.
func (g glance) limited() bool { return 2*g.held > g.over }

// width decides how many connections carry what a tunnel sends. It multiplies them
// while they set the pace, packets are lost, and more carry noticeably more; it halves
// them after a minute in which a quarter would have done. It is pure.
type width struct {
	most int

	n       int // connections wanted
	changed time.Time
	seen    glance // since things settled
	old     glance // packets of before, fading
	trial   trial
	full    float64 // what n carry when they set the pace, bytes a second
	needed  time.Time
	limited bool          // they set the pace when it was looked last
	again   time.Time     // more are not tried before
	vain    time.Duration // the wait after the next trial in vain
}

// trial is a larger number that has to prove itself.
type trial struct {
	from  int     // connections; 0: there is no trial
	rate  float64 // that they carried
	doubt bool    // it was too little once
}

// passes says whether what n connections carry is worth it.
func (t trial) passes(rate float64, n int) bool {
	return rate >= t.rate*(1+worthIt*(float64(n)/float64(t.from)-1))
}

// lastWidth is what the last tunnel over QUIC came to, and when it ended.
type lastWidth struct {
	n  int
	at time.Time
}

// start begins where the last tunnel was, if that was just now: it ended because a
// connection did, or it comes back from a detour.
func (w *width) start(now time.Time, last lastWidth) {
	w.n, w.needed, w.changed, w.vain = 1, now, now, vainLeast
	if now.Sub(last.at) < calmFor {
		w.n = max(min(last.n, w.most), 1)
	}
}

// look takes a glance and returns how many connections are wanted.
func (w *width) look(now time.Time, g glance) int {
	w.old.packets, w.old.lost = fade(w.old.packets, g.packets), fade(w.old.lost, g.lost)
	if now.Sub(w.changed) < settling {
		return w.n
	}
	if w.seen = w.seen.plus(g); w.seen.over >= settling {
		w.decide(now)
		w.seen = glance{}
	}
	return w.n
}

// scale keeps fractions of packets.
const scale = 1 << 10

// fade forgets a sum over some seconds.
func fade(sum, more uint64) uint64 { return sum - sum/16 + more*scale }

// loss is the part of the packets that was lost lately.
func (w *width) loss() float64 {
	return float64(w.old.lost) / max(float64(w.old.packets), 1)
}

func (w *width) decide(now time.Time) {
	rate, limited := w.seen.rate(), w.seen.limited()
	w.limited = limited
	if w.full = max(w.full, rate); limited {
		w.full = rate
	}
	if 4*rate > w.full {
		w.needed = now
	}
	if w.trial.from > 0 && !w.judge(now, rate, limited) {
		return
	}
	switch {
	case limited && w.n < w.most && w.loss() >= lossy && !now.Before(w.again):
		w.trial = trial{from: w.n, rate: rate}
		w.set(now, min(step*w.n, w.most))
	case w.n > 1 && now.Sub(w.needed) >= calmFor:
		w.full /= 2
		w.needed = now
		w.set(now, w.n/2)
	}
}

// judge ends a trial, or gives it a second chance; it says whether there is more to
// decide.
func (w *width) judge(now time.Time, rate float64, limited bool) bool {
	come := w.seen.have >= w.n
	switch {
	case come && (!limited || w.trial.passes(rate, w.n)):
		w.trial, w.vain = trial{}, vainLeast
		return true
	case come && !w.trial.doubt:
		w.trial.doubt = true
		return false
	}
	w.again = now.Add(w.vain)
	w.vain = min(2*w.vain, vainMost)
	w.set(now, w.trial.from)
	w.trial = trial{}
	return false
}

func (w *width) set(now time.Time, n int) {
	w.n, w.changed = max(n, 1), now
}

// why says for people why there are several.
func (w *width) why() string { return fmt.Sprintf("%.2g%% of the packets are lost", 100*w.loss()) }
