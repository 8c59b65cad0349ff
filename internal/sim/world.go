package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"causeway/internal/home"
)

// Fault is a mistake planted on purpose.
type Fault int

// The faults a test plants to see that the checker can fail.
const (
	NoFault         Fault = iota
	NoSync                // a crash loses what was committed after the last flush
	AckFirst              // PUBACK and PUBREC go out before the commit
	TrimOnSend            // the link drops a frame's messages when it was sent
	ForgetCursors         // a restarted home has no link cursors: known frames count again
	NewPacketIDs          // after a reconnect the queue gets fresh packet ids
	NoWills               // a connection that is cut takes its will along
	AckOnCut              // what was sent on a connection that is cut counts as acknowledged
	NoVersions            // retained messages cross without their version
	LateUnsubscribe       // an UNSUBSCRIBE takes effect before it was sent
)

// Options of a run.
type Options struct {
	Seed     uint64
	Regions  int // 1 to 3; each has one node
	Messages int // from each publisher
	Faults   int // crashes and cuts
	Plant    Fault
}

// World is one run.
type World struct {
	opt     Options
	rnd     *rand.Rand
	now     time.Duration
	events  events
	order   uint64
	nodes   []*node
	links   []*link
	devices []*device
	calm    bool // no more faults; everything may settle
	trace   []string
}

// Run runs a world to its end and returns what the checker found; nil is good.
func Run(opt Options) error {
	w := &World{opt: opt, rnd: rand.New(rand.NewPCG(opt.Seed, 0xCA05E))}
	w.build()
	w.run(2 * time.Second) // sessions, subscriptions and interest settle
	for _, d := range w.devices {
		if d.listens() && !d.subscribed {
			return w.failf("%s is not subscribed after two quiet seconds", d.id)
		}
	}
	for _, d := range w.devices {
		d.publishing = true
		w.after(0, d.step)
		if d.hops() {
			w.after(w.upTo(time.Second), d.hop)
		}
	}
	for range opt.Faults {
		w.after(w.upTo(3*time.Second), w.fault)
	}
	w.run(w.now + 4*time.Second)
	w.calm = true
	for _, n := range w.nodes {
		n.start()
	}
	for _, l := range w.links {
		l.heal()
	}
	w.run(w.now + 20*time.Second)
	return w.check()
}

func (w *World) build() {
	names := []string{"eu", "us", "ap"}[:w.opt.Regions]
	for _, name := range names {
		w.nodes = append(w.nodes, newNode(w, home.ID(name)))
	}
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			if from != to {
				w.links = append(w.links, newLink(w, from, to))
			}
		}
	}
	for _, n := range w.nodes {
		n.start()
		for i := range 2 {
			w.devices = append(w.devices,
				newDevice(w, n, fmt.Sprintf("%s-pub%d", n.id, i), byte(i+1), publisher),
				newDevice(w, n, fmt.Sprintf("%s-sub%d", n.id, i), byte(i+1), subscriber),
				newDevice(w, n, fmt.Sprintf("%s-member%d", n.id, i), 2, member))
		}
		w.devices = append(w.devices, newDevice(w, n, fmt.Sprintf("%s-keeper", n.id), 1, keeper),
			newDevice(w, n, fmt.Sprintf("%s-hopper", n.id), 2, hopper))
	}
	for _, d := range w.devices {
		d.connect()
	}
}

// fault does one bad thing and, most times, mends it later.
func (w *World) fault() {
	if w.calm {
		return
	}
	switch w.rnd.IntN(6) {
	case 0, 1:
		n := w.nodes[w.rnd.IntN(len(w.nodes))]
		n.crash()
		w.after(w.upTo(500*time.Millisecond), n.start)
	case 2, 3:
		w.devices[w.rnd.IntN(len(w.devices))].cut()
	default:
		if len(w.links) == 0 {
			return
		}
		l := w.links[w.rnd.IntN(len(w.links))]
		l.cut()
		w.after(w.upTo(time.Second), l.heal)
	}
}

func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rnd.Int64N(int64(d))) }

// latency is a delay on the wire or the disk.
func (w *World) latency() time.Duration { return 100*time.Microsecond + w.upTo(5*time.Millisecond) }

func (w *World) logf(format string, args ...any) {
	if len(w.trace) < 20000 {
		w.trace = append(w.trace, fmt.Sprintf("%10v ", w.now)+fmt.Sprintf(format, args...))
	}
}

func (w *World) failf(format string, args ...any) error {
	tail := w.trace[max(0, len(w.trace)-40):]
	return fmt.Errorf("seed %d: %s\n%s", w.opt.Seed, fmt.Sprintf(format, args...), strings.Join(tail, "\n"))
}

// event is something that happens at a time; order settles ties.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *World) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now + d, w.order, do})
}

// run does what happens until a time.
func (w *World) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = until
}
