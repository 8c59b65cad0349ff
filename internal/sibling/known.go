package sibling

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Known calls done, once, when every sibling has applied what this node has
// applied now, or has lost its freshness: after Lapse and a round's gathering at
// the latest. While nothing runs it calls at once. done is called without locks,
// one after the other, and must not block.
func (s *Siblings) Known(done func()) {
	if !s.known.add(done) {
		done()
	}
}

// gatherFor is how long a round that is not answered yet holds up the next one:
// so many subscriptions cost one question a sibling, and one that keeps silent
// costs Lapse/gatherFor questions at a time.
const gatherFor = 10 * time.Millisecond

// known gathers who waits for the siblings.
type known struct {
	s    *Siblings
	wake chan struct{} // holds one token: somebody waits, or a round is over

	mu      sync.Mutex
	live    bool // run will come for those who wait
	waiting []func()
	over    []*round
}

// round is those who wait for one index.
type round struct {
	k       *known
	waiting []func()
	began   time.Time
	left    atomic.Int64 // siblings that have not answered
	ended   atomic.Bool
	lapse   *time.Timer // run's
	asked   []asked
}

type asked struct {
	n      *node
	number uint64
}

// open lets callers wait for a run that follows.
func (k *known) open() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live = true
}

func (k *known) add(done func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.live {
		return false
	}
	k.waiting = append(k.waiting, done)
	nudge(k.wake)
	return true
}

// run asks, and calls those whose rounds are over, until ctx ends. Who waits then
// is called, too: nobody will come back to them.
func (k *known) run(ctx context.Context) {
	open := map[*round]struct{}{}
	defer k.close(open)
	var last *round
	gathered := time.NewTimer(0)
	defer gathered.Stop()
	for {
		select {
		case <-k.wake:
		case <-gathered.C:
		case <-ctx.Done():
			return
		}
		for _, r := range k.finished() {
			delete(open, r)
			r.lapse.Stop()
			r.call()
		}
		if last != nil && !last.ended.Load() {
			if left := gatherFor - time.Since(last.began); left > 0 {
				gathered.Reset(left)
				continue
			}
		}
		if waiting := k.taken(); len(waiting) > 0 {
			last = k.begin(waiting)
			open[last] = struct{}{}
		}
	}
}

func (k *known) finished() []*round {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.over
	k.over = nil
	return list
}

func (k *known) taken() []func() {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.waiting
	k.waiting = nil
	return list
}

func (k *known) close(open map[*round]struct{}) {
	for r := range open {
		r.end()
	}
	k.mu.Lock()
	k.live = false
	k.over = nil
	waiting := k.waiting
	k.waiting = nil
	k.mu.Unlock()
	for r := range open {
		r.lapse.Stop()
		r.call()
	}
	for _, done := range waiting {
		done()
	}
}

// begin asks the siblings that may be fresh whether they have applied what is
// applied here. Who they are is in what is applied: a run that was declared dead
// is not fresh, and one that registers later will have applied all this.
func (k *known) begin(waiting []func()) *round {
	s := k.s
	index := s.o.Log.Applied()
	runs := s.o.Log.Alive()
	r := &round{k: k, waiting: waiting, began: time.Now()}
	r.left.Store(int64(len(runs)) + 1)
	for _, o := range runs {
		n := s.node(o.Node)
		if n == nil { // this one
			r.answered()
			continue
		}
		q := &question{f: frame{kind: kindApplied, index: index}, run: o.Incarnation, done: r.answered}
		r.asked = append(r.asked, asked{n, n.ask(q)})
	}
	r.lapse = time.AfterFunc(s.o.Lapse, r.end)
	r.answered()
	return r
}

// answered counts one down; begin counts as one, so that the round is whole when
// the last answer comes.
func (r *round) answered() {
	if r.left.Add(-1) == 0 {
		r.end()
	}
}

// end ends the round: all have answered, or the rest has lost its freshness.
func (r *round) end() {
	if !r.ended.CompareAndSwap(false, true) {
		return
	}
	for _, a := range r.asked {
		a.n.take(a.number)
	}
	k := r.k
	k.mu.Lock()
	k.over = append(k.over, r)
	k.mu.Unlock()
	nudge(k.wake)
}

func (r *round) call() {
	for _, done := range r.waiting {
		done()
	}
}
