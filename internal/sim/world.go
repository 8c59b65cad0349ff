package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
)

// Options of a run.
type Options struct {
	Seed     uint64
	Regions  int  // 1 to 3
	Nodes    int  // of each region; 3 of them have a vote
	Aged     bool // sessions have lived for long: packet ids begin again
	Hurry    bool // home time runs fast
	Grace    bool // wills wait for who lost its connection by the region's doing
	Resident bool // what some publish must not leave their region
	Messages int  // from each publisher
	Faults   int  // crashes, cuts and the like
	Trace    int  // lines of what happened that a failure shows; 60 and more
	Plant    Fault
	Scenario bool // what happens is said; nothing happens by chance
	Outside  bool // only what devices saw counts, not what copies find out about themselves
}

// World is one run.
type World struct {
	Timeline
	opt     Options
	disks   int
	regions []*region
	links   []*link
	cuts    map[[2]*node]int // directions in which nothing goes
	devices []*device
	calm    bool // not yet, or no more, faults; everything may settle
	trace   []string
	said    []string // for a scenario: what devices saw, and what became of the log
}

// Run runs a world to its end and returns what the checker found; nil is good.
func Run(opt Options) error {
	_, err := play(opt)
	return err
}

func play(opt Options) (*World, error) {
	w := newWorld(opt)
	w.people()
	if err := w.begin(); err != nil {
		return w, err
	}
	w.calm = false
	for _, d := range w.devices {
		d.publishing = true
		w.after(0, d.step)
		d.watch()
		if d.role == hopper || strings.HasSuffix(d.id, "member1") || d.role == worker && d != w.anchor() {
			w.after(w.upTo(time.Second), d.hop)
		}
	}
	if opt.Resident {
		if err := w.confine(); err != nil {
			return w, err
		}
	}
	for range opt.Faults {
		w.after(w.upTo(troubles), w.fault)
	}
	w.run(w.now + troubles + time.Second)
	w.relent()
	for end := w.now + 30*time.Second; w.now < end && !w.settled(); {
		w.run(w.now + 500*time.Millisecond)
	}
	w.run(w.now + time.Second + w.grace())
	if w.bad != nil {
		return w, w.bad
	}
	return w, w.check()
}

// begin lets leaders be elected, and sessions, subscriptions and interest settle.
func (w *World) begin() error {
	w.run(2 * time.Second)
	for range 8 {
		for _, d := range w.devices {
			if d.role.listens() && !d.subscribed {
				w.run(w.now + 500*time.Millisecond)
				break
			}
		}
	}
	for _, d := range w.devices {
		if d.role.listens() && !d.subscribed {
			return w.failf("%s is not subscribed after six quiet seconds", d.id)
		}
	}
	return w.bad
}

// anchor is the worker that never leaves its group, so that there is always one
// somewhere.
func (w *World) anchor() *device {
	r := w.regions[w.opt.Seed/3%uint64(len(w.regions))]
	i := slices.IndexFunc(w.devices, func(d *device) bool { return d.r == r && d.role == worker })
	return w.devices[i]
}

// troubles is how long things go wrong.
const troubles = 3 * time.Second

func newWorld(opt Options) *World {
	w := &World{opt: opt, Timeline: NewTimeline(opt.Seed, 0xCA05E), cuts: map[[2]*node]int{}, calm: true}
	for _, name := range []home.ID{"eu", "us", "ap"}[:opt.Regions] {
		w.regions = append(w.regions, newRegion(w, name, opt.Nodes))
	}
	for _, from := range w.regions {
		for _, to := range w.regions {
			if from != to {
				w.links = append(w.links, newLink(w, from, to))
			}
		}
	}
	for _, n := range w.nodes() {
		n.start()
	}
	return w
}

// grace is how long wills wait for devices that are moved.
func (w *World) grace() time.Duration {
	if w.opt.Grace {
		return 2 * time.Second
	}
	return 0
}

// limits are those of all homes, but for what a run changes on the way.
func (w *World) limits() home.Limits {
	return home.Limits{SessionExpiryMax: 2 * sessionExpiry, WillGrace: uint32(w.grace() / time.Second)}
}

// hurry is how much faster home time runs than the wires, in some runs: what a home
// remembers for a day, it forgets within the run. It forgets within milliseconds,
// too, from whom a session was taken a moment ago, so there are no twins then.
func (w *World) hurry() time.Duration {
	if w.opt.Hurry {
		return 10_000
	}
	return 1
}

func (w *World) nodes() (list []*node) {
	for _, r := range w.regions {
		list = append(list, r.nodes...)
	}
	return list
}

func (w *World) people() {
	for _, r := range w.regions {
		for _, a := range cast(r.id, w.opt.Nodes > 1) {
			w.devices = append(w.devices, newDevice(r, a))
		}
	}
	for _, d := range w.devices {
		d.connect()
	}
}

// reaches says that what a node sends arrives at another.
func (w *World) reaches(from, to *node) bool { return w.cuts[[2]*node{from, to}] == 0 }

// latency is a delay on the wire.
func (w *World) latency() time.Duration { return 100*time.Microsecond + w.upTo(5*time.Millisecond) }

func (w *World) logf(format string, args ...any) {
	if len(w.trace) < 20000 {
		w.trace = append(w.trace, fmt.Sprintf("%10v ", w.now.Round(10*time.Microsecond))+fmt.Sprintf(format, args...))
	}
}

// say is logf for what a scenario shows as well.
func (w *World) say(format string, args ...any) {
	w.logf(format, args...)
	if w.opt.Scenario {
		w.said = append(w.said, fmt.Sprintf(format, args...))
	}
}

// violate notes that a promise was broken, and ends the run.
func (w *World) violate(format string, args ...any) {
	if w.bad == nil {
		w.bad = w.failf(format, args...)
	}
}

// inside notes what a copy finds out about itself. Devices need not notice.
func (w *World) inside(format string, args ...any) {
	if !w.opt.Outside {
		w.violate(format, args...)
	}
}

func (w *World) failf(format string, args ...any) error {
	tail := w.trace[max(0, len(w.trace)-max(w.opt.Trace, 60)):]
	return fmt.Errorf("seed %d: %s\n%s", w.opt.Seed, fmt.Sprintf(format, args...), strings.Join(tail, "\n"))
}
