package replica

import (
	"sync"
	"sync/atomic"
	"time"
)

// freshness says until when this node may speak for its sessions: it must have
// applied everything that a leader, sure of its office, said was committed in
// answer to a question asked at most freshFor ago. The time that counts is that
// of the question, by this node's own monotonic clock: an answer that lay in a
// buffer while the process was stopped proves nothing. [C1]
type freshness struct {
	started time.Time
	until   atomic.Int64  // nanoseconds since started
	hushed  atomic.Int64  // likewise: until when the leader's word that nobody shall speak counts
	newest  atomic.Uint64 // highest index heard to be committed

	mu      sync.Mutex
	waiting []heard // answers about what is not applied yet, oldest first
}

// heard is an answer: everything up to commit was committed, and the question
// was asked at the time.
type heard struct {
	at     time.Time
	commit uint64
}

// maxHeard bounds the answers that wait. A node that is further behind than
// that many is not fresh by the older ones any more.
const maxHeard = 8

func newFreshness() *freshness {
	f := &freshness{started: time.Now()}
	f.until.Store(-1)
	return f
}

// now says whether the node is fresh. It is cheap enough for every write.
func (f *freshness) now() bool { return int64(time.Since(f.started)) < f.until.Load() }

// age is how long ago the node was fresh last; 0 if it is.
func (f *freshness) age() time.Duration {
	return max(0, time.Since(f.started)-time.Duration(f.until.Load()))
}

// hear takes an answer. reached says whether an index is applied here.
func (f *freshness) hear(h heard, reached func(uint64) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, h)
	f.newest.Store(max(f.newest.Load(), h.commit))
	f.settle(reached)
	if over := len(f.waiting) - maxHeard; over > 0 {
		f.waiting = append(f.waiting[:0], f.waiting[over:]...)
	}
}

// applied looks again at the answers that waited.
func (f *freshness) applied(reached func(uint64) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settle(reached)
}

func (f *freshness) settle(reached func(uint64) bool) {
	n := 0
	for n < len(f.waiting) && reached(f.waiting[n].commit) {
		until := f.waiting[n].at.Add(freshFor).Sub(f.started)
		if int64(until) > f.until.Load() {
			f.until.Store(int64(until))
		}
		n++
	}
	f.waiting = append(f.waiting[:0], f.waiting[n:]...)
}

// hush ends the freshness by the word of a leader that was asked at the time.
func (f *freshness) hush(at time.Time) {
	f.lose()
	f.hushed.Store(int64(at.Add(freshFor).Sub(f.started)))
}

// isHushed says that the node is not cut off: its leader said a moment ago that nobody shall speak.
func (f *freshness) isHushed() bool { return int64(time.Since(f.started)) < f.hushed.Load() }

// lose ends the freshness: what was heard counts for nothing any more.
func (f *freshness) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = f.waiting[:0]
	f.until.Store(min(f.until.Load(), int64(time.Since(f.started))))
}
