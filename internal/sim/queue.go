package sim

import (
	"fmt"
	"time"

	"causeway/internal/home"
)

// queue is what a node proposed and does not know the outcome of: entries,
// numbered, on their way to whoever leads, and what waits to become one. [A2]
type queue struct {
	waiting  []proposal
	making   bool
	n        uint64
	flights  []*flight
	stream   *stream
	resend   time.Duration // when to send all again
	resendIn time.Duration
}

type proposal struct {
	op   home.Op
	done func(home.Outcome)
}

type flight struct {
	n         uint64
	proposals []proposal
	entry     []byte
}

// landing is an entry of the node's own that was applied.
type landing struct {
	n    uint64
	outs []home.Outcome
}

// stream is a connection with the leader: in order, one way, and without a word
// when it breaks. Some are slow, so what was sent again by another may be there
// first.
type stream struct {
	to    *node
	life  int
	delay time.Duration
	lane  lane
}

// Not applied for this long, everything under way is sent again.
const (
	resendAfter = 500 * time.Millisecond
	resendMax   = 4 * time.Second
)

// propose queues an operation for the next entry.
func (n *node) propose(op home.Op, done func(home.Outcome)) {
	if !n.up {
		return
	}
	q := &n.queue
	q.waiting = append(q.waiting, proposal{op, done})
	if !q.making {
		q.making = true
		n.soon(n.w.upTo(time.Millisecond), func() { q.make(n) })
	}
}

func (q *queue) make(n *node) {
	if n.w.opt.Plant == NoNodeUp && q.n == 0 && !q.goesOn(n) {
		n.soon(20*time.Millisecond, func() { q.make(n) })
		return
	}
	q.making = false
	q.n++
	f := &flight{n: q.n, proposals: q.waiting}
	q.waiting = nil
	e := home.Entry{Owner: n.owner, N: f.n}
	for _, p := range f.proposals {
		e.Ops = append(e.Ops, p.op)
	}
	f.entry = e.Append(nil)
	q.flights = append(q.flights, f)
	n.forward(f)
}

// goesOn continues the numbers of a former run, once they are known and nothing of
// that run is under way any more: a mistake.
func (q *queue) goesOn(n *node) bool {
	i, at := n.state.Incarnation(n.name)
	if i == n.owner.Incarnation {
		q.n = at
	}
	return n.isFresh() && n.w.now-n.born > time.Second
}

// forward sends entries to the leader, if one is known; the next one gets them.
func (n *node) forward(list ...*flight) {
	if n.office != nil {
		for _, f := range list {
			n.office.take(f.entry)
		}
		return
	}
	to, q := n.leader, &n.queue
	if to == nil {
		return
	}
	if q.stream == nil || q.stream.to != to || q.stream.life != to.life {
		q.stream = &stream{to: to, life: to.life}
		if !n.w.calm && n.w.rnd.IntN(6) == 0 {
			q.stream.delay = n.w.upTo(700 * time.Millisecond)
		}
	}
	s := q.stream
	for _, f := range list {
		n.w.deliver(&s.lane, s.delay, func() {
			if to.up && to.life == s.life && n.w.reaches(n, to) && to.office != nil {
				to.office.take(f.entry)
			}
		})
	}
}

// again sends everything under way again, in order, by a new stream.
func (q *queue) again(n *node) {
	q.stream = nil
	q.resendIn = min(max(2*q.resendIn, resendAfter), resendMax)
	q.resend = n.w.now + q.resendIn
	n.forward(q.flights...)
}

func (q *queue) tick(n *node) {
	if len(q.flights) == 0 {
		q.resendIn, q.resend = 0, n.w.now+resendAfter
		return
	}
	if n.w.now >= q.resend {
		q.again(n)
	}
}

// leaderChanged sends to the new leader, who does not know what is under way.
func (q *queue) leaderChanged(n *node) {
	q.resendIn = 0
	q.again(n)
}

// own finds the node's entries in a record, with the numbers they were sent under.
func (q *queue) own(n *node, rec *home.Record) map[*home.Entry]uint64 {
	var own map[*home.Entry]uint64
	for i := range rec.Entries {
		if e := &rec.Entries[i]; e.Owner == n.owner {
			if own == nil {
				own = map[*home.Entry]uint64{}
			}
			own[e] = e.N
		}
	}
	return own
}

// land tells the proposers of an entry what came of it.
func (q *queue) land(n *node, l landing) error {
	if n.w.opt.Plant == NoNumbers && (len(q.flights) == 0 || q.flights[0].n != l.n) {
		return nil // what was applied twice
	}
	if len(q.flights) == 0 || q.flights[0].n != l.n || len(q.flights[0].proposals) != len(l.outs) {
		return fmt.Errorf("entry %d with %d operations was applied: %w", l.n, len(l.outs), errUsed)
	}
	f := q.flights[0]
	q.flights = q.flights[1:]
	q.resendIn, q.resend = 0, n.w.now+resendAfter
	for i, o := range l.outs {
		if done := f.proposals[i].done; done != nil {
			done(o)
		}
	}
	return nil
}
