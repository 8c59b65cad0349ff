package home

import "sort"

type refState uint8

const (
	refQueued   refState = iota
	refReceived          // PUBREC'd
	refGone
)

// ref is a reference of a session's queue. QoS, flags and subscription ids are
// frozen when it is enqueued, so a later SUBSCRIBE cannot change a re-delivery.
type ref struct {
	num    uint64
	msg    *message
	group  *member // the shared subscription that assigned it
	subIDs []uint32
	qos    byte
	retain bool
	state  refState
	asWas  bool // it has, or is to get, a packet id under which the device may have the message
	stored bool
	dirty  bool
}

// queue holds a session's unacknowledged references in order. References in the
// middle leave a hole until those before them are gone.
type queue struct {
	refs    []ref
	live    int
	bytes   uint64
	soonest Time // nothing that may be dropped expires before it; 0: nothing expires
}

func (q *queue) push(r ref) {
	q.refs = append(q.refs, r)
	q.live++
	q.bytes += uint64(r.msg.size)
	q.expires(r.msg.Expires)
}

func (q *queue) expires(at Time) {
	if at != 0 && (q.soonest == 0 || at < q.soonest) {
		q.soonest = at
	}
}

// find returns the live reference with the given number.
func (q *queue) find(num uint64) *ref {
	i := q.from(num)
	if i == len(q.refs) || q.refs[i].num != num || q.refs[i].state == refGone {
		return nil
	}
	return &q.refs[i]
}

// from returns the index of the first reference numbered num or more.
func (q *queue) from(num uint64) int {
	if n := len(q.refs); n > 0 && q.refs[0].num+uint64(n-1) == q.refs[n-1].num { // dense
		if num <= q.refs[0].num {
			return 0
		}
		return int(min(num-q.refs[0].num, uint64(n)))
	}
	return sort.Search(len(q.refs), func(i int) bool { return q.refs[i].num >= num })
}

// drop marks a reference gone and gives back the space at the head. The pointer
// is invalid afterwards.
func (q *queue) drop(r *ref) {
	q.live--
	q.bytes -= uint64(r.msg.size)
	*r = ref{num: r.num, state: refGone}
	n := 0
	for n < len(q.refs) && q.refs[n].state == refGone {
		n++
	}
	q.refs = q.refs[n:]
	if len(q.refs) == 0 {
		q.refs = nil
	}
}

// sentThrough returns the number of the n-th live reference: those up to it may
// have been sent by an owner whose window was n.
func (q *queue) sentThrough(n int) uint64 {
	var last uint64
	for i := range q.refs {
		if q.refs[i].state == refGone {
			continue
		}
		last = q.refs[i].num
		if n--; n == 0 {
			break
		}
	}
	return last
}

// enqueue appends a message to the session's queue; false means that a limit
// dropped it.
func (s *State) enqueue(x *session, m *message, r ref) bool {
	l := s.config.Load().limits()
	if r.group == nil && x.queue.full(&l, m) {
		if s.dropExpired(x); x.queue.full(&l, m) {
			s.sink.Dropped("queue", DropQueueFull, 1)
			if x.attached() {
				s.fill = 100
			}
			return false
		}
	}
	if r.group == nil && s.overQuota(&x.queue, m) {
		s.sink.Dropped("queue", DropQuota, 1)
		return false
	}
	x.nextRef++
	r.num, r.msg = x.nextRef, m
	s.hold(m)
	x.queue.push(r)
	s.counts.waits(m, 1)
	s.note(effectQueued, x.id<<32^r.num, uint64(m.Seq)<<2|uint64(r.qos))
	s.changes.session(x)
	if x.attached() {
		s.fill = max(s.fill, x.queue.fill(&l))
		s.sink.Queued(x.key, x.epoch, x.owner)
	}
	return true
}

// fill is how full the queue is, in percent.
func (q *queue) fill(l *Limits) uint8 {
	return uint8(min(100, max(uint64(q.live)*100/uint64(l.QueueMessages), q.bytes*100/l.QueueBytes)))
}

func (q *queue) full(l *Limits, m *message) bool {
	return q.live >= int(l.QueueMessages) || q.bytes+uint64(m.size) > l.QueueBytes
}

// dropExpired makes room in a full queue: what nobody would deliver any more must
// not keep out what somebody would. What was possibly sent stays: the device may
// hold its packet id. [C2]
func (s *State) dropExpired(x *session) {
	q := &x.queue
	if q.soonest == 0 || q.soonest > s.time {
		return
	}
	sent := x.resumed
	if x.attached() {
		sent = max(sent, q.sentThrough(x.sendWindow()))
	}
	var gone []uint64
	q.soonest = 0
	q.each(Range{sent + 1, ^uint64(0)}, func(r *ref) {
		if r.msg.expired(s.time) {
			gone = append(gone, r.num)
		} else {
			q.expires(r.msg.Expires)
		}
	})
	for _, num := range gone {
		if r := q.find(num); r != nil {
			s.remove(x, r)
		}
	}
	if len(gone) > 0 {
		s.sink.Dropped("queue", DropExpired, len(gone))
	}
}

// remove takes a reference off the queue; the shared subscription that assigned
// it may send its member another.
func (s *State) remove(x *session, r *ref) {
	if r.stored {
		s.changes.deleteRef(x.id, r.num)
	}
	m, g := r.msg, r.group
	s.note(effectRemoved, x.id<<32^r.num, uint64(m.Seq))
	x.queue.drop(r)
	s.counts.waits(m, -1)
	s.changes.session(x)
	s.release(m)
	if g != nil {
		g.assigned--
		s.freed(g.group)
	}
}

func (s *State) ack(op *Ack) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	for _, rg := range op.Received {
		x.queue.each(rg, func(r *ref) {
			if r.state == refQueued {
				r.state = refReceived
				s.note(effectReceived, x.id<<32^r.num, 0)
				s.changes.ref(x, r)
			}
		})
	}
	s.cleared(x, op.Cleared)
	return Outcome{Count: s.removeRanges(x, op.Done)}
}

func (s *State) skip(op *Skip) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	n := s.removeRanges(x, op.Refs)
	reason := DropExpired
	switch op.Reason {
	case SkipTooLarge:
		reason = DropTooLarge
	case SkipDenied:
		reason = DropDenied
	case SkipWithheld:
		reason = DropResidency
	}
	if n > 0 {
		s.sink.Dropped("queue", reason, n)
	}
	return Outcome{Count: n}
}

func (s *State) removeRanges(x *session, ranges []Range) (n int) {
	last := x.nextRef // removing one may bring another in, which is not meant
	for _, rg := range ranges {
		for next := rg.From; ; {
			r := x.queue.next(next)
			if r == nil || r.num > min(rg.To, last) {
				break
			}
			next = r.num + 1
			s.remove(x, r)
			n++
		}
	}
	return n
}

// next returns the first live reference numbered num or more.
func (q *queue) next(num uint64) *ref {
	for i := q.from(num); i < len(q.refs); i++ {
		if q.refs[i].state != refGone {
			return &q.refs[i]
		}
	}
	return nil
}

// each calls f for the live references in a range.
func (q *queue) each(rg Range, f func(*ref)) {
	for i := q.from(rg.From); i < len(q.refs) && q.refs[i].num <= rg.To; i++ {
		if q.refs[i].state != refGone {
			f(&q.refs[i])
		}
	}
}

// Queue appends to dst the references numbered above after, in order, at most
// max. None come when epoch is not the session's current one, and none whose
// packet id could collide with one still in use.
func (s *State) Queue(k SessionKey, e SessionEpoch, after uint64, max int, dst []Queued) []Queued {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.current(k, e)
	if x == nil || len(x.queue.refs) == 0 {
		return dst
	}
	first := x.queue.refs[0].num
	for i := x.queue.from(after + 1); i < len(x.queue.refs) && max > 0; i++ {
		r := &x.queue.refs[i]
		if r.num-first >= maxUnackedSpan {
			break
		}
		if r.state == refGone {
			continue
		}
		dst = append(dst, Queued{Ref: r.num, Seq: r.msg.Seq, Message: r.msg.Message, Evicted: r.msg.evicted, QoS: r.qos,
			Retain: r.retain, SubIDs: r.subIDs, Received: r.state == refReceived, ReleaseFirst: x.releaseFirst(r)})
		max--
	}
	return dst
}
