package replica

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
)

// merger is the leader's end of all proposers' streams: it makes records of the
// entries that all nodes send, since the log costs by the record. What it holds
// is lost with the leadership; the proposers send it again.
type merger struct {
	r        *core
	batching Batching
	limit    int64 // bytes held; fixed

	wake chan struct{} // holds one token

	mu       sync.Mutex
	room     *sync.Cond
	leading  bool
	last     int  // of the entries, up to the one that hands the home over: nothing goes behind it; 0 none
	sealed   bool // that one is on its way
	entries  [][]byte
	sizes    []size
	ops      int
	patient  int // of the ops, those of entries of devices that come or go
	bytes    int64
	flights  []int // operations of each record given to raft, not applied yet
	flightOp int
	term     uint64 // raft's, of this leadership
	lastSent time.Time
	lastOps  int
}

// size is how many operations an entry has, and whether all of them can wait a little.
type size struct {
	ops     int
	patient bool
}

func sizeOf(ops []home.Op) size {
	return size{len(ops), slices.ContainsFunc(ops, func(op home.Op) bool { return hasteOf(op) == patient }) &&
		!slices.ContainsFunc(ops, func(op home.Op) bool { return hasteOf(op) == urgent })}
}

func newMerger(r *core) *merger {
	m := &merger{r: r, batching: r.opts.Batching, limit: r.opts.QueueBytes, wake: make(chan struct{}, 1)}
	m.room = sync.NewCond(&m.mu)
	return m
}

// lead begins a leadership in one of raft's terms, with nothing held; in term 0 it
// ends one.
func (m *merger) lead(term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leading && m.term == term {
		return
	}
	m.leading, m.term, m.last, m.sealed = term != 0, term, 0, false
	m.entries, m.sizes, m.ops, m.patient, m.bytes, m.flights, m.flightOp = nil, nil, 0, 0, 0, nil, 0
	m.room.Broadcast()
	nudge(m.wake)
}

// add takes an encoded entry, which belongs to the merger from now on. It waits
// for room; false: this node does not lead.
func (m *merger) add(entry []byte, ops []home.Op) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.leading && m.bytes > m.limit {
		m.room.Wait()
	}
	if !m.leading {
		return false
	}
	n := sizeOf(ops)
	m.entries, m.sizes = append(m.entries, entry), append(m.sizes, n)
	if m.last == 0 && slices.ContainsFunc(ops, func(op home.Op) bool { return op.Kind() == home.KindHand }) {
		m.last = len(m.entries)
	}
	m.count(n, 1)
	m.bytes += int64(len(entry))
	nudge(m.wake)
	return true
}

// count adds an entry to what is held, or with -1 takes it away. Guarded by mu.
func (m *merger) count(n size, sign int) {
	m.ops += sign * n.ops
	if n.patient {
		m.patient += sign * n.ops
	}
}

func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// take implements role.
func (r *core) take(entries []home.Entry) {
	for i := range entries {
		r.merger.add(entries[i].Append(nil), entries[i].Ops)
	}
}

// run makes records until ctx ends.
func (m *merger) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if d := m.step(); d >= 0 {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-timer.C:
		}
	}
}

// step sends what is due and returns when to look again.
func (m *merger) step() time.Duration {
	for {
		m.mu.Lock()
		d := m.batching.wait(load{ops: m.ops, urgent: m.ops - m.patient, patient: m.patient, bytes: int(m.bytes), flights: len(m.flights), flightOps: m.flightOp,
			sinceSent: time.Since(m.lastSent), lastOps: m.lastOps, draining: m.r.queue.refuses() != nil, leaderless: !m.leading || m.sealed})
		if d == 0 && !m.r.leased() {
			d = leaseEvery
		}
		if d != 0 {
			m.mu.Unlock()
			return d
		}
		entries, ops := m.take()
		m.mu.Unlock()
		m.r.stats.batchOps.add(float64(ops))
		m.append(entries)
	}
}

// take removes what fits one record; an entry larger than that goes alone.
// Guarded by mu.
func (m *merger) take() (entries [][]byte, ops int) {
	k, bytes := 0, int64(0)
	for k < len(m.entries) && ops < m.batching.MaxOps && (m.last == 0 || k < m.last) {
		n := int64(len(m.entries[k]))
		if k > 0 && bytes+n > int64(m.batching.MaxBytes) {
			break
		}
		bytes += n
		ops += m.sizes[k].ops
		m.count(m.sizes[k], -1)
		k++
	}
	entries = m.entries[:k:k]
	m.entries, m.sizes = m.entries[k:], m.sizes[k:]
	if m.last > 0 {
		m.last -= k
		m.sealed = m.last == 0
	}
	m.bytes -= bytes
	m.flights = append(m.flights, ops)
	m.flightOp += ops
	m.lastSent, m.lastOps = time.Now(), ops
	m.room.Broadcast()
	return entries, ops
}

// enter begins the leadership's log with a record of its own, without entries:
// once it is applied here, everything that was committed before is.
func (m *merger) enter() {
	m.mu.Lock()
	m.flights = append(m.flights, 0)
	m.mu.Unlock()
	m.append(nil)
}

// append gives a record to raft. It blocks while raft's own buffer is full.
func (m *merger) append(entries [][]byte) {
	r := m.r
	// The buffer is the record's for good: raft, its cache and the home's bodies
	// refer to it.
	b := home.AppendRecord(nil, r.opts.Home, r.clock.now(), entries)
	r.stats.batchBytes.add(float64(len(b)))
	if len(b) > raftMaxEntry {
		r.fail(fmt.Errorf("a record of %d bytes does not fit the log's limit of %d", len(b), raftMaxEntry))
		return
	}
	// Nobody waits for the future: that a record is done is known by its being
	// applied, and what is lost is lost with the leadership.
	r.raft.ApplyLog(raft.Log{Data: b}, 0)
}

// raftMaxEntry is the largest entry the log takes.
const raftMaxEntry = 63 << 20

// applied hears that a record of a term was applied here.
func (m *merger) applied(term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.term != term || len(m.flights) == 0 {
		return
	}
	m.flightOp -= m.flights[0]
	m.flights = m.flights[1:]
	if len(m.flights) == 0 {
		m.sealed = false // the region hosts the home still, so it was void
	}
	nudge(m.wake)
}
