package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
)

// The copies of one home in several regions. Here a region is one site: its nodes, and
// what goes wrong among them, are the other world's (world.go). A record is on a site's
// disk the moment it is written; it is on another's when shipping has brought it there.
//
//	device ─▶ site that serves ─▶ home.State, log ── shipping, late or cut ──▶ site that stands by
//	                                   │                                            │ promoted
//	                                   └── fenced: Export ──▶ Reconcile ────────────▶ site that serves
//
// The checker knows what devices sent and saw, and when and where: what was not shipped
// when a site was lost may come late and may come twice; it may be lost only if the
// disks never came back.

// CopiesOptions are those of a run of Copies.
type CopiesOptions struct {
	Seed     uint64
	Messages int // from each publisher
	Faults   int // sites lost, cut off, switched over
	Trace    int
	Plant    CopiesFault
	Scenario bool // what happens is said, not left to chance
	Resident bool // us may not store what one of the publishers sends
}

// CopiesFault is a mistake planted on purpose.
type CopiesFault int

// Mistakes that devices notice.
const (
	NoCopiesFault CopiesFault = iota
	ForgetRefs                // reconcile takes messages without who waits for them
	ForgetSuffix              // a fenced copy is overwritten by the one in force
	SameEpoch                 // a site serves without beginning an epoch
	TrustIDs                  // an unplanned promotion passes for a planned one: nobody doubts ids [E4, E5]
	NoPubrel                  // an inherited id is used without releasing it [E5]
	ServeHanded               // who handed over goes on
	LeaveOut                  // shipping leaves a record out
	OneName                   // copies that went on from one fork are taken for one
	SkipOwed                  // what may not be stored where it is to be delivered is skipped for good
	ForgetOld                 // nothing is brought back from a copy that was set aside
)

// copies is a run.
type copies struct {
	Timeline
	opt     CopiesOptions
	sites   []*site
	devices []*roamer
	losses  []loss
	calm    bool
	trace   []string
	said    []string
	number  uint64 // of the highest epoch
	moving  bool   // a takeover is under way
}

// loss is an unplanned promotion: what the lost site did since then the new host had
// not heard of.
type loss struct {
	of    *site
	since time.Duration
	until time.Duration // when it served no more
	gone  bool          // its disks are, too
}

const copiesHome = home.ID("eu")

// RunCopies runs a home's copies through losses and switchovers and returns what the
// checker found; nil is good.
func RunCopies(opt CopiesOptions) error {
	_, err := playCopies(opt)
	return err
}

func newCopies(opt CopiesOptions) *copies {
	w := &copies{opt: opt, Timeline: NewTimeline(opt.Seed, 0xC0B1E5), number: 1}
	for _, name := range []string{"eu", "us", "ap"} {
		w.sites = append(w.sites, newSite(w, name))
	}
	eu := w.sites[0]
	eu.found()
	for _, s := range w.sites[1:] {
		s.copyOf(eu)
	}
	for _, s := range w.sites {
		s.ship()
	}
	return w
}

func playCopies(opt CopiesOptions) (*copies, error) {
	w := newCopies(opt)
	w.people()
	w.run(time.Second)
	for _, d := range w.devices {
		if d.subscribes && !d.subscribed {
			return w, w.failf("%s is not subscribed after a quiet second", d.id)
		}
		d.working = true
		d.step()
	}
	for i := range opt.Faults {
		w.after(time.Duration(i)*800*time.Millisecond+w.upTo(800*time.Millisecond), w.fault)
	}
	w.run(time.Second + time.Duration(opt.Faults)*800*time.Millisecond)
	w.settle()
	if w.bad != nil {
		return w, w.bad
	}
	return w, w.check()
}

// settle mends everything and lets all that is due happen.
func (w *copies) settle() {
	w.calm = true
	w.say("all is mended")
	for _, s := range w.sites {
		if !s.up && !s.ruined {
			s.start()
		}
		s.cut, s.held, s.deaf = false, false, false
	}
	for range 40 {
		w.run(w.now + 500*time.Millisecond)
		w.bringHome()
		if w.bad != nil || w.quiet() {
			break
		}
	}
	w.run(w.now + time.Second)
}

func (w *copies) quiet() bool {
	host := w.host()
	if host == nil {
		return false
	}
	for _, s := range w.sites {
		if !s.ruined && s != host && s.state.Position() != host.state.Position() {
			return false
		}
	}
	for _, d := range w.devices {
		x, _ := host.state.Session(d.key)
		if d.working && !d.done() || d.subscribes && x.Queued > 0 || host.state.Status().Owed > 0 {
			return false
		}
	}
	return true
}

// host is the site that serves at the highest epoch.
func (w *copies) host() (h *site) {
	for _, s := range w.sites {
		if s.serves() && (h == nil || s.state.Epoch().Compare(h.state.Epoch()) > 0) {
			h = s
		}
	}
	return h
}

func (w *copies) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if w.opt.Scenario {
		w.said = append(w.said, line)
	}
	if len(w.trace) < 5000 {
		w.trace = append(w.trace, fmt.Sprintf("%10v ", w.now.Round(10*time.Microsecond))+line)
	}
}

func (w *copies) failf(format string, args ...any) error {
	tail := w.trace[max(0, len(w.trace)-max(w.opt.Trace, 40)):]
	return fmt.Errorf("seed %d: %s\n%s", w.opt.Seed, fmt.Sprintf(format, args...), strings.Join(tail, "\n"))
}

func (w *copies) violate(format string, args ...any) {
	if w.bad == nil {
		w.bad = w.failf(format, args...)
	}
}

// fault does one bad or planned thing to the region that hosts.
func (w *copies) fault() {
	h := w.host()
	if w.calm || h == nil || w.moving {
		return
	}
	switch w.rnd.IntN(6) {
	case 0, 1:
		w.lose(h)
	case 2:
		w.isolate(h)
	case 3, 4:
		w.switchOver(h)
	default:
		s := w.sites[w.rnd.IntN(len(w.sites))]
		if s.up {
			s.crash()
			w.after(w.upTo(300*time.Millisecond), s.start)
		}
	}
}

// lag holds up shipping for a while before a loss, so that there is something to lose.
func (w *copies) lag(h *site, then func()) {
	w.moving = true
	h.held = w.rnd.IntN(4) > 0
	w.after(w.upTo(300*time.Millisecond), then)
}

// lose has the region of the host die; another takes over. Its disks come back later,
// or never.
func (w *copies) lose(h *site) {
	w.lag(h, func() {
		if !h.up {
			w.moving = false
			return
		}
		ruin := !w.opt.Resident && w.rnd.IntN(8) == 0 && !slices.ContainsFunc(w.sites, func(s *site) bool { return s.ruined })
		h.crash()
		h.held = false
		w.after(50*time.Millisecond+w.upTo(200*time.Millisecond), func() {
			w.takeOver(h, ruin)
			if ruin {
				h.ruined = true
				w.say("the disks of %s are lost", h.name)
				return
			}
			w.after(w.upTo(900*time.Millisecond), h.start)
		})
	})
}

// isolate cuts the host off from the other regions, not from its devices: both sides
// write until it hears of the new epoch.
func (w *copies) isolate(h *site) {
	w.lag(h, func() {
		w.say("%s is cut off, and serves on", h.name)
		h.cut, h.held = true, false
		w.after(50*time.Millisecond+w.upTo(200*time.Millisecond), func() {
			w.takeOver(h, false)
			w.after(w.upTo(900*time.Millisecond), func() { h.cut = false; w.say("%s is reached again", h.name) })
		})
	})
}

// takeOver promotes the site that has most, or, by an operator's word, one that has less: an old
// copy, of an earlier epoch even. Then several sites have what it has not.
func (w *copies) takeOver(from *site, ruin bool) {
	w.moving = false
	forced := !ruin && !w.opt.Scenario && (w.rnd.IntN(4) == 0 || w.opt.Plant == OneName)
	var best *site
	for _, s := range w.sites {
		if s == from || !s.up || s.cut || s.diverged || s.state.ID() == "" {
			continue
		}
		if best == nil || best.state.Position().Behind(s.state.Position()) != forced {
			best = s
		}
	}
	if best == nil || from.serves() && !from.cut || !forced && best.state.Position().Epoch != from.state.Position().Epoch {
		from.cut = false
		return
	}
	before := best.records()
	w.losses = append(w.losses, loss{of: from, since: best.heardUpTo, until: -1, gone: ruin})
	for _, s := range w.sites {
		if forced && s != best && s != from && best.state.Position().Behind(s.state.Position()) {
			w.losses = append(w.losses, loss{of: s, since: best.heardUpTo, until: w.now})
		}
	}
	best.promote(false)
	w.say("%s takes over from %s, which was %d records ahead", best.name, from.name, int64(from.records()-before))
}

// switchOver moves the home as planned.
func (w *copies) switchOver(h *site) {
	w.handTo(h, w.sites[w.rnd.IntN(len(w.sites))])
}

func (w *copies) handTo(h, to *site) {
	if to == h || !to.up || to.diverged || to.cut || h.cut || to.state.Epoch() != h.state.Epoch() {
		return
	}
	w.moving = true
	h.do(&home.Hand{Epoch: h.state.Epoch(), To: to.name})
	if w.rnd.IntN(3) == 0 { // one of its nodes has not heard
		h.late()
	}
	w.say("%s hands over to %s", h.name, to.name)
	h.close()
	if w.opt.Plant == ServeHanded {
		h.deaf = true
	}
	w.finish(h, to)
}

// finish waits until the new host has the last word of the old one.
func (w *copies) finish(h, to *site) {
	w.after(10*time.Millisecond, func() {
		if _, ok := to.state.Handed(); !ok || !to.up {
			w.finish(h, to)
			return
		}
		w.moving = false
		to.promote(true)
		w.say("%s has the home", to.name)
	})
}
