package replica

import (
	"container/heap"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// shipped is how far the standby of this home is, as far as this node has heard, and who waits
// for it. The leader is told, and tells each node on the stream on which that asks what is
// committed: with its next answer, or at once if the node says that somebody waits.
type shipped struct {
	mu       sync.Mutex
	records  uint64
	degraded bool
	since    time.Time // when records rose last
	waiting  shippedHeap
	changed  chan struct{} // closed at the next change
}

// shipWait is somebody who waits for a record.
type shipWait struct {
	record uint64
	done   func()
}

type shippedHeap []shipWait

func (h shippedHeap) Len() int           { return len(h) }
func (h shippedHeap) Less(i, j int) bool { return h[i].record < h[j].record }
func (h shippedHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *shippedHeap) Push(x any)        { *h = append(*h, x.(shipWait)) }
func (h *shippedHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = shipWait{}
	*h = old[:len(old)-1]
	return x
}

func newShipped() *shipped { return &shipped{changed: make(chan struct{})} }

// set notes how far the standby is and calls who waited for that.
func (s *shipped) set(records uint64, degraded bool) {
	s.mu.Lock()
	if records == s.records && degraded == s.degraded {
		s.mu.Unlock()
		return
	}
	if records > s.records {
		s.since = time.Now()
	}
	s.records, s.degraded = records, degraded
	var due []func()
	for len(s.waiting) > 0 && (degraded || s.waiting[0].record <= records) {
		due = append(due, heap.Pop(&s.waiting).(shipWait).done)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	for _, done := range due {
		done()
	}
}

// read returns what is known, and a channel that is closed when that changes.
func (s *shipped) read() (records uint64, degraded bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records, s.degraded, s.changed
}

// awaited says that somebody waits.
func (s *shipped) awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

// forget lets go of who waits: nobody will ever tell them. What was known of the standby is of
// this time as host: the next one has to find out anew.
func (s *shipped) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = nil
	s.records, s.degraded, s.since = 0, false, time.Time{}
}

// keepFor is for how long the log is kept for a standby that has not come further.
const keepFor = time.Hour

// needs is the first record that the standby lacks, if the log is to be kept for it.
func (s *shipped) needs() (record uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records + 1, s.records > 0 && time.Since(s.since) < keepFor
}

// SetShipped says how far the standby is: all records up to a number are applied there.
// degraded: nobody waits for it any more. The leader is told, again and again, and tells the
// region's nodes; on others it does nothing.
func (r *Replica) SetShipped(records uint64, degraded bool) {
	if r.role.inOffice() {
		r.shipped.set(records, degraded)
	}
}

// AwaitShipped calls done, once, when a record of this home (home.Outcome.Record) is applied
// in the standby region, or need not be waited for. It may call it before it returns. done must not block. What
// waits when the replica stops, or stands by, is never called.
func (r *Replica) AwaitShipped(record uint64, done func()) {
	s := r.shipped
	s.mu.Lock()
	if s.degraded || record <= s.records {
		s.mu.Unlock()
		done()
		return
	}
	first := len(s.waiting) == 0
	heap.Push(&s.waiting, shipWait{record, done})
	s.mu.Unlock()
	if first {
		nudge(r.hurry) // the leader hears that somebody waits
	}
}

// Shipped is what this node knows of it.
func (r *Replica) Shipped() (records uint64, degraded bool) {
	records, degraded, _ = r.shipped.read()
	return records, degraded
}

// awaits is the bit of a question's number that says that somebody waits for the standby.
const awaits = 1 << 63

// shippedEvery is how often a node that waits is told at most.
const shippedEvery = time.Millisecond

// teller tells one node how far the standby is, on its stream of answers.
type teller struct {
	r  *core
	mu sync.Mutex // one writes at a time
	w  io.Writer

	told     uint64 // guarded by mu
	degraded bool   // guarded by mu
	waits    chan bool
}

// answer writes an answer, and behind it how far the standby is if that has changed.
func (t *teller) answer(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b = t.news(b); len(b) == 0 {
		return nil
	}
	_, err := t.w.Write(b)
	return err
}

// news appends what the node has not been told. Guarded by mu.
func (t *teller) news(b []byte) []byte {
	records, degraded, _ := t.r.shipped.read()
	if records == t.told && degraded == t.degraded {
		return b
	}
	t.told, t.degraded = records, degraded
	number := uint64(0)
	if degraded {
		number = 1
	}
	b = append(binary.BigEndian.AppendUint64(b, number), answerShipped)
	return binary.BigEndian.AppendUint64(b, records)
}

// run tells the node at once while it waits, until stop is closed.
func (t *teller) run(stop <-chan struct{}) {
	waits := false
	for {
		_, _, changed := t.r.shipped.read()
		if !waits {
			changed = nil
		}
		select {
		case waits = <-t.waits:
		case <-changed:
		case <-stop:
			return
		}
		if waits && (t.answer(nil) != nil || !t.pause(stop)) {
			return
		}
	}
}

func (t *teller) pause(stop <-chan struct{}) bool {
	timer := time.NewTimer(shippedEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}

// shipHold is how many entries of the log the standby still needs; 0 if none has been heard
// of for long.
func (r *core) shipHold(last uint64) uint64 {
	record, ok := r.shipped.needs()
	if !ok {
		return 0
	}
	at, _ := r.tail.find(record)
	return last - min(last, at.index) + 1
}
