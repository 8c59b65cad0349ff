package app

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"causeway/broker"
)

// guardEvery is how often a node notes what it refuses.
const guardEvery = time.Second

// guardWindow is for how long before a change a node looks at itself, to compare.
const guardWindow = 60 * time.Second

// What a guard counts.
const (
	guardConnects    = "connects_refused"
	guardPublishes   = "publishes_denied"
	guardSubscribes  = "subscribes_denied"
	guardDisconnects = "disconnects"
	guardErrorAcks   = "error_acks"
)

var guardKinds = []string{guardConnects, guardPublishes, guardSubscribes, guardDisconnects, guardErrorAcks}

// guardSample is what a node had refused up to a moment.
type guardSample struct {
	at          time.Time
	counts      map[string]int64
	connections int64
	trying      bool // a file was tried here: nothing of it is usual
}

// guardRates are events a second, and how many connections there are.
type guardRates struct {
	PerSecond   map[string]float64 `json:"per_second"`
	Events      map[string]int64   `json:"events"`
	Connections int64              `json:"connections"`
	Seconds     float64            `json:"seconds"`
}

// guard remembers what a node refused lately.
type guard struct {
	mu      sync.Mutex
	samples []guardSample // oldest first, guardEvery apart
}

func (g *guard) note(s guardSample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.samples = append(g.samples, s)
	if most := int(2*guardWindow/guardEvery) + 2; len(g.samples) > most {
		g.samples = slices.Delete(g.samples, 0, len(g.samples)-most)
	}
}

// between are the rates of a stretch of time, as far as it is remembered.
func (g *guard) between(from, to time.Time) guardRates {
	g.mu.Lock()
	defer g.mu.Unlock()
	var first, last *guardSample
	for i := range g.samples {
		s := &g.samples[i]
		if s.at.Before(from) || s.at.After(to) {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
	}
	if first == nil {
		return guardRates{}
	}
	return ratesOf(first, last)
}

func ratesOf(first, last *guardSample) guardRates {
	r := guardRates{PerSecond: map[string]float64{}, Events: map[string]int64{}, Connections: max(first.connections, last.connections), Seconds: last.at.Sub(first.at).Seconds()}
	for _, k := range guardKinds {
		n := last.counts[k] - first.counts[k]
		r.Events[k] = n
		if r.Seconds > 0 {
			r.PerSecond[k] = float64(n) / r.Seconds
		}
	}
	return r
}

// usual are the rates of a stretch of time as they usually were: of each second the median, so that a short storm in it
// does not hide the next one. Seconds in which a file was tried do not count.
func (g *guard) usual(from, to time.Time) guardRates {
	r := g.between(from, to)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range guardKinds {
		each := []float64{}
		for i := 1; i < len(g.samples); i++ {
			a, b := &g.samples[i-1], &g.samples[i]
			if d := b.at.Sub(a.at).Seconds(); d > 0 && !a.trying && !b.trying && !a.at.Before(from) && !b.at.After(to) {
				each = append(each, float64(b.counts[k]-a.counts[k])/d)
			}
		}
		if len(each) == 0 {
			each = append(each, 0)
		}
		slices.Sort(each)
		if r.PerSecond != nil {
			r.PerSecond[k] = each[(len(each)-1)/2]
		}
	}
	return r
}

// guardTerms say what counts as harm.
type guardTerms struct {
	Least  int64   // events, before anything is judged
	Factor float64 // of what it was before
	Floor  float64 // events a second that are always allowed
}

var usualTerms = guardTerms{Least: 10, Factor: 2, Floor: 1}

// harm is a kind of refusal that got worse.
type harm struct {
	Kind   string  `json:"kind"`
	Before float64 `json:"before"` // a second
	Now    float64 `json:"now"`
	Others float64 `json:"others"` // on the nodes that have it as before, for as many connections
	Events int64   `json:"events"`
}

func (h harm) String() string {
	return fmt.Sprintf("%s: %d in all, %.1f a second; before %.1f, on other nodes %.1f", h.Kind, h.Events, h.Now, h.Before, h.Others)
}

// judge says what got worse since a change. What got as much worse on nodes that have nothing of the change is not
// its fault.
func judge(before, now guardRates, others []guardRates, t guardTerms) (list []harm) {
	for _, k := range guardKinds {
		h := harm{Kind: k, Before: before.PerSecond[k], Now: now.PerSecond[k], Events: now.Events[k]}
		for _, o := range others {
			scale := 1.0
			if o.Connections > 0 && now.Connections > 0 {
				scale = float64(now.Connections) / float64(o.Connections)
			}
			h.Others = max(h.Others, o.PerSecond[k]*scale)
		}
		allowed := max(t.Factor*h.Before, h.Before+t.Floor, t.Factor*h.Others)
		if h.Events >= t.Least && h.Now > allowed {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b harm) int { return cmp.Compare(b.Now, a.Now) })
	return list
}

// guardNow counts what the broker refused so far.
func (a *App) guardNow() guardSample {
	st := a.broker.Stats()
	s := guardSample{at: time.Now(), counts: map[string]int64{}}
	for _, l := range st.Listeners {
		for _, r := range []broker.ConnectResult{broker.ConnectBadLogin, broker.ConnectNotAuthorized, broker.ConnectQuota, broker.ConnectOverQuota, broker.ConnectUnsupported} {
			s.counts[guardConnects] += l.Connects[r].Load()
		}
		for i := range l.Connected {
			s.connections += l.Connected[i].Load()
		}
	}
	s.counts[guardPublishes] = st.Dropped[broker.DropDenied].Load()
	s.counts[guardSubscribes] = st.DeniedSubscribes.Load()
	s.counts[guardErrorAcks] = st.Dropped[broker.DropRefused].Load() + st.Dropped[broker.DropQuota].Load()
	for _, r := range []broker.EndReason{broker.EndGone, broker.EndKeepAlive, broker.EndProtocol, broker.EndSlow, broker.EndInternal} {
		s.counts[guardDisconnects] += st.Disconnects[r].Load()
	}
	return s
}
