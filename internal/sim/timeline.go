package sim

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Timeline is the time of a run: what happens, in one goroutine, on a clock of its own, with the
// chances that a seed gives. It ends at the first violation.
type Timeline struct {
	rnd    *rand.Rand
	now    time.Duration
	events events
	order  uint64
	bad    error // the first violation
}

// NewTimeline begins a run. kind tells kinds of runs apart that have the same seed.
func NewTimeline(seed, kind uint64) Timeline {
	return Timeline{rnd: rand.New(rand.NewPCG(seed, kind))}
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

func (t *Timeline) after(d time.Duration, do func()) {
	t.order++
	heap.Push(&t.events, event{t.now + d, t.order, do})
}

func (t *Timeline) upTo(d time.Duration) time.Duration { return time.Duration(t.rnd.Int64N(int64(d))) }

// run does what happens until a time, or until a promise is broken.
func (t *Timeline) run(until time.Duration) {
	for len(t.events) > 0 && t.events[0].at <= until && t.bad == nil {
		e := heap.Pop(&t.events).(event)
		t.now = e.at
		e.do()
	}
	t.now = until
}

// After has something happen.
func (t *Timeline) After(d time.Duration, do func()) { t.after(d, do) }

// UpTo is a time below d.
func (t *Timeline) UpTo(d time.Duration) time.Duration { return t.upTo(d) }

// Run does what happens until a time, or until the first violation.
func (t *Timeline) Run(until time.Duration) { t.run(until) }

// Now is the time since the beginning.
func (t *Timeline) Now() time.Duration { return t.now }

// Pick is a number below n.
func (t *Timeline) Pick(n int) int { return t.rnd.IntN(n) }

// Violated ends the run; of several violations the first counts.
func (t *Timeline) Violated(err error) {
	if t.bad == nil {
		t.bad = err
	}
}

// Violation is what ended the run; nil: nothing did.
func (t *Timeline) Violation() error { return t.bad }
