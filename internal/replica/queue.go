package replica

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"causeway/internal/home"
)

// opOverhead is what an operation costs in memory beside its bytes.
const opOverhead = 256

// proposal is an operation and who waits for it.
type proposal struct {
	op    home.Op
	done  func(home.Outcome, error) // may be nil
	bytes int
	haste haste
	since time.Time
}

// flight is an entry under way: sent once or more, not yet applied here.
type flight struct {
	owner     home.Owner
	n         uint64
	proposals []proposal
	bytes     int
}

func (f *flight) ops() []home.Op {
	ops := make([]home.Op, len(f.proposals))
	for i := range f.proposals {
		ops[i] = f.proposals[i].op
	}
	return ops
}

// queue holds what was proposed and is not done: first waiting, then in
// flights, in order throughout. It is bounded by bytes.
type queue struct {
	limit    int64 // bytes; fixed
	maxOp    int   // bytes; fixed
	batching Batching

	wake chan struct{} // holds one token: the batcher has reason to look

	mu        sync.Mutex
	waiting   []proposal
	waitBytes int
	hastes    [3]int     // of waiting, how many have each haste
	bytes     int64      // of all that is not done, with overhead
	owner     home.Owner // whose entries these are
	n         uint64
	flights   []*flight
	flightOps int
	paused    error         // set: nothing is taken until resume
	closed    error         // set: nothing more is taken
	failed    bool          // everything was handed back, nothing completes any more
	room      chan struct{} // closed when there is room; nil if nobody waits
	empty     chan struct{} // closed when closed and empty
}

func newQueue(o Options) *queue {
	return &queue{limit: o.QueueBytes, maxOp: o.MaxOpBytes, batching: o.Batching, paused: ErrStandby,
		wake: make(chan struct{}, 1), empty: make(chan struct{})}
}

// push takes an operation, or says why not. It never blocks.
func (q *queue) push(op home.Op, done func(home.Outcome, error)) error {
	size := home.OpSize(op)
	if size > q.maxOp {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, q.maxOp)
	}
	p := proposal{op: op, done: done, bytes: size, haste: hasteOf(op), since: time.Now()}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := cmp.Or(q.closed, q.paused); err != nil {
		return err
	}
	if q.bytes+p.cost() > q.limit {
		return ErrFull
	}
	q.bytes += p.cost()
	q.waiting = append(q.waiting, p)
	wasFull := q.batching.full(len(q.waiting)-1, q.waitBytes)
	q.waitBytes += size
	q.hastes[p.haste]++
	// Wake the batcher when its answer may change, not for every operation.
	if len(q.waiting) == 1 || p.haste != lazy && q.hastes[p.haste] == 1 || !wasFull && q.batching.full(len(q.waiting), q.waitBytes) {
		q.nudge()
	}
	return nil
}

func (p *proposal) cost() int64 { return int64(p.bytes) + opOverhead }

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// load reports what waits and what is under way.
func (q *queue) load() load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return load{ops: len(q.waiting), urgent: q.hastes[urgent], patient: q.hastes[patient], bytes: q.waitBytes, flights: len(q.flights),
		flightOps: q.flightOps, draining: q.closed != nil}
}

// take makes an entry of what waits, up to the limits of one; nil if nothing
// waits. An operation larger than an entry goes alone.
func (q *queue) take() *flight {
	q.mu.Lock()
	defer q.mu.Unlock()
	k, bytes := 0, 0
	for k < len(q.waiting) && k < q.batching.MaxOps {
		if k > 0 && bytes+q.waiting[k].bytes > q.batching.MaxBytes {
			break
		}
		bytes += q.waiting[k].bytes
		q.hastes[q.waiting[k].haste]--
		k++
	}
	if k == 0 {
		return nil
	}
	q.n++
	// The flight takes over its part of the array; what is appended goes behind it.
	f := &flight{owner: q.owner, n: q.n, proposals: q.waiting[:k:k], bytes: bytes}
	q.waiting = q.waiting[k:]
	q.waitBytes -= bytes
	q.flights = append(q.flights, f)
	q.flightOps += k
	return f
}

// pending are the flights that were not applied, in order.
func (q *queue) pending() []*flight {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*flight(nil), q.flights...)
}

// head is the number of the flight that will be applied next; 0 if there is none.
func (q *queue) head() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.flights) == 0 {
		return 0
	}
	return q.flights[0].n
}

// land removes the first flight, which is n, and returns its proposals. After
// fail it returns nil: they were handed back already.
func (q *queue) land(n uint64) ([]proposal, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed {
		return nil, nil
	}
	if len(q.flights) == 0 || q.flights[0].n != n {
		return nil, fmt.Errorf("entry %d of this node was applied, but it is not the one sent first", n)
	}
	f := q.flights[0]
	q.flights[0] = nil
	q.flights = q.flights[1:]
	q.flightOps -= len(f.proposals)
	for i := range f.proposals {
		q.bytes -= f.proposals[i].cost()
	}
	if q.room != nil && q.hasRoom() {
		close(q.room)
		q.room = nil
	}
	q.noteEmpty()
	q.nudge()
	return f.proposals, nil
}

// hasRoom says that any single operation would be taken. Guarded by mu.
func (q *queue) hasRoom() bool { return q.bytes+int64(q.maxOp)+opOverhead <= q.limit }

// waitRoom waits until there is room for any operation.
func (q *queue) waitRoom(ctx context.Context) error {
	for {
		q.mu.Lock()
		if q.closed != nil || q.paused != nil || q.hasRoom() {
			defer q.mu.Unlock()
			return cmp.Or(q.closed, q.paused)
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close refuses what comes from now on with err; what is there goes on. The
// first error stays.
func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return
	}
	q.closed = err
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	q.noteEmpty()
	q.nudge()
}

// noteEmpty closes empty once nothing can come and nothing is left. Guarded by mu.
func (q *queue) noteEmpty() {
	if q.closed != nil && !q.failed && len(q.waiting) == 0 && len(q.flights) == 0 {
		q.failed = true // nothing to hand back either
		close(q.empty)
	}
}

// fail hands back everything that is not done, in order. Nothing completes
// afterwards.
func (q *queue) fail(err error) []proposal {
	q.close(err)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failed {
		return nil
	}
	left := q.drop()
	q.failed = true
	close(q.empty)
	return left
}

// drop removes everything that is not done, and returns it in order. Guarded by mu.
func (q *queue) drop() (left []proposal) {
	for _, f := range q.flights {
		left = append(left, f.proposals...)
	}
	left = append(left, q.waiting...)
	q.flights, q.waiting, q.flightOps, q.waitBytes, q.hastes, q.bytes = nil, nil, 0, 0, [3]int{}, 0
	return left
}

// pause refuses what comes with err until resume, and hands back everything that is not done, in
// order.
func (q *queue) pause(err error) []proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = err
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	left := q.drop()
	q.noteEmpty()
	return left
}

// resume takes operations again, as an owner's that has not proposed anything yet.
func (q *queue) resume(owner home.Owner) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused, q.owner, q.n = nil, owner, 0
}

// held is how many operations and bytes are not done.
func (q *queue) held() (ops int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) + q.flightOps, q.bytes
}

// refuses is the error that push returns to everybody, or nil.
func (q *queue) refuses() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
