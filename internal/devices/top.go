package devices

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"
)

// Top counts what devices do and keeps those that do it most, in bounded memory (space-saving: Metwally, Agrawal and El
// Abbadi, 2005): who is not among the counted takes the place of the one with least, and begins with its count as the
// error. A device that does more than one in len(places) of all is always among them. It counts in windows: the present
// one and the one before, so that it tells of now.
type Top struct {
	places int
	window time.Duration

	mu     sync.Mutex
	began  time.Time
	now    sketch
	before sketch
}

// Counted is a device and how often; it may be Error less.
type Counted struct {
	Key   Key
	Count int64
	Error int64
}

// NewTop makes one.
func NewTop(places int, window time.Duration) *Top {
	return &Top{places: places, window: window, now: newSketch(), before: newSketch()}
}

// Add counts, and returns how often the device surely did it in the present window.
func (t *Top) Add(k Key, n int64, at time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(at)
	return t.now.add(k, n, t.places)
}

// turn begins another window if it is time.
func (t *Top) turn(at time.Time) {
	switch passed := at.Sub(t.began); {
	case passed < t.window:
		return
	case passed < 2*t.window:
		t.before = t.now
	default:
		t.before = newSketch()
	}
	t.now, t.began = newSketch(), at
}

// Most returns those that did most in the last two windows, at most n, and since when they are counted.
func (t *Top) Most(n int, at time.Time) (list []Counted, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(at)
	sum := map[Key]Counted{}
	for _, s := range []sketch{t.before, t.now} {
		for k, c := range s.of {
			x := sum[k]
			sum[k] = Counted{k, x.Count + c.count, x.Error + c.error}
		}
	}
	for _, c := range sum {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Counted) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.ClientID, b.Key.ClientID))
	})
	since = t.began
	if len(t.before.of) > 0 {
		since = since.Add(-t.window)
	}
	return list[:min(n, len(list))], since
}

// Forget drops the counts of a device, and returns of how many windows it had some; with keep it only counts.
func (t *Top) Forget(k Key, keep bool) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []sketch{t.before, t.now} {
		c := s.of[k]
		if c == nil {
			continue
		}
		n++
		if !keep {
			delete(s.of, k)
			heap.Remove(s.least, c.at)
		}
	}
	return n
}

// sketch is the counters of a window: by device, and as a heap with the least on top.
type sketch struct {
	of    map[Key]*counter
	least *counters
}

type counter struct {
	key          Key
	count, error int64
	at           int // in the heap
}

func newSketch() sketch { return sketch{of: map[Key]*counter{}, least: &counters{}} }

func (s *sketch) add(k Key, n int64, places int) (surely int64) {
	c := s.of[k]
	switch {
	case c != nil:
		c.count += n
		heap.Fix(s.least, c.at)
	case len(s.of) < places:
		c = &counter{key: k, count: n}
		s.of[k] = c
		heap.Push(s.least, c)
	default:
		c = (*s.least)[0]
		delete(s.of, c.key)
		c.key, c.error = k, c.count
		c.count += n
		s.of[k] = c
		heap.Fix(s.least, 0)
	}
	return c.count - c.error
}

// counters is a heap.Interface.
type counters []*counter

func (h counters) Len() int           { return len(h) }
func (h counters) Less(i, j int) bool { return h[i].count < h[j].count }
func (h counters) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *counters) Push(x any) {
	c := x.(*counter)
	c.at = len(*h)
	*h = append(*h, c)
}
func (h *counters) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}
