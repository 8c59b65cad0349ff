package home

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// A region that took a home over without the lost host's word may have messages of which
// it has the number only, since it may not store them. [E11] Their owners skip them, so
// that what is behind them is delivered, and the home owes them from then on:
//
//	queue --Owe--> owed --Repay, by a region that has the body--> end of the queue
//	                |
//	                +-- expiry, end of the session, more than a queue may have --> dropped
//
// What is owed keeps its number, so that a copy that comes back can say that the device
// had it. A message that nobody skipped yet gets its body where it stands.

// Owe sets aside references that this region cannot deliver: it may not store what they
// refer to. Outcome.Count is how many.
type Owe struct {
	Session SessionKey
	Epoch   SessionEpoch
	Refs    []Range
}

// Repay brings messages back that the home has the number of only, or owes. Who hosts
// the home proposes it, with what it has in its own copy or in one that was set aside.
// Outcome.Count is how many references were owed and go to queues.
type Repay struct{ Messages []Repaid }

// Repaid is a message that comes back.
type Repaid struct {
	Seq       Seq // in this home
	Namespace string
	Replay    Replay // what becomes of it where it is owed
	Whole     bool   // the rest is there: topic, properties and body
	Retained  bool   // it is retained, under no topic where that is not known
	Topic     string
	Forward   []byte
	Payload   []byte
	Withheld  bool         // in shipped form: neither topic nor payload
	Sessions  []SessionKey // that are owed it
	Groups    []string     // shared subscriptions that are, as "group/filter"
}

// Kinds of the operations.
func (*Owe) Kind() Kind   { return KindOwe }
func (*Repay) Kind() Kind { return KindRepay }

func (op *Owe) append(b []byte) []byte {
	return appendRanges(binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch)), op.Refs)
}

func (op *Repay) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(op.Messages)))
	for i := range op.Messages {
		m := &op.Messages[i]
		b = appendString(binary.AppendUvarint(b, uint64(m.Seq)), m.Namespace)
		b = append(b, byte(m.Replay), flag(m.Whole, 1)|flag(m.Withheld, 2)|flag(m.Retained, 4))
		if m.Whole {
			b = appendBytes(appendBytes(appendString(b, m.Topic), m.Forward), m.Payload)
		}
		b = binary.AppendUvarint(b, uint64(len(m.Sessions)))
		for _, k := range m.Sessions {
			b = appendSession(b, k)
		}
		b = appendStrings(b, m.Groups)
	}
	return b
}

func (r *reader) repay() Op {
	op := &Repay{}
	for range r.count(6) {
		m := Repaid{Seq: Seq(r.uvarint()), Namespace: r.namespace(), Replay: Replay(r.byte())}
		flags := r.byte()
		m.Withheld, m.Retained = flags&2 != 0, flags&4 != 0
		if m.Whole = flags&1 != 0; m.Whole {
			m.Topic, m.Forward, m.Payload = r.string(), r.bytes(), r.bytes()
		}
		for range r.count(2) {
			m.Sessions = append(m.Sessions, r.session())
		}
		m.Groups = r.strings()
		op.Messages = append(op.Messages, m)
	}
	return op
}

func (op *Repay) size() int {
	n := 64
	for i := range op.Messages {
		n += op.Messages[i].Size()
	}
	return n
}

// Size of a message as an operation grows, in bytes, roughly.
func (m *Repaid) Size() int {
	n := 64 + len(m.Topic) + len(m.Forward) + len(m.Payload)
	for _, k := range m.Sessions {
		n += 8 + len(k.Namespace) + len(k.ClientID)
	}
	for _, g := range m.Groups {
		n += 8 + len(g)
	}
	return n
}

func (m *Repaid) veil() {
	m.Topic, m.Forward, m.Payload, m.Withheld = "", nil, nil, true
}

// owedFrom is where the numbers of owed references begin: above all that a queue can have.
const owedFrom = 1 << 61

// debts are what a home owes and lacks.
type debts struct {
	owing       map[*session]struct{} // sessions that are owed something
	owingGroups map[*Group]struct{}
	owed        int              // references
	lacks       map[Seq]*message // of which this copy has the number only
}

func newDebts() debts {
	return debts{owing: map[*session]struct{}{}, owingGroups: map[*Group]struct{}{}, lacks: map[Seq]*message{}}
}

func (s *State) owe(op *Owe) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	if len(s.lineage) == 1 { // it came with a session of another home, and no copy of this one has it
		return s.skip(&Skip{op.Session, op.Epoch, op.Refs, SkipWithheld})
	}
	n, last := 0, x.nextRef // removing one may bring another in, which is not meant
	for _, rg := range op.Refs {
		for next := rg.From; ; n++ {
			r := x.queue.next(next)
			if r == nil || r.num > min(rg.To, last) {
				break
			}
			next = r.num + 1
			s.oweRef(x, r)
		}
	}
	return Outcome{Count: n}
}

// oweRef sets a reference aside. What a shared subscription assigned is owed to that, but
// for QoS 2 that the device may have under its packet id.
func (s *State) oweRef(x *session, r *ref) {
	kept, m := *r, r.msg
	sent := r.qos == 2 && r.num <= x.resumed
	s.hold(m)
	defer s.release(m)
	s.remove(x, r)
	switch {
	case kept.state == refReceived: // the device has it
	case kept.group != nil && !sent:
		s.oweGroup(kept.group.group, m)
	default:
		kept.num, kept.group, kept.asWas, kept.stored, kept.dirty = owedFrom+kept.num, nil, sent, true, false
		s.oweTo(x, kept)
	}
}

func (s *State) oweTo(x *session, r ref) {
	if x.owed == nil {
		x.owed = &queue{}
		s.owing[x] = struct{}{}
	}
	q, l := x.owed, s.config.Load().limits()
	for q.live > 0 && q.full(&l, r.msg) {
		s.unowe(x, q.next(0))
		s.sink.Dropped("queue", DropResidency, 1)
	}
	s.hold(r.msg)
	i := q.from(r.num)
	q.refs = slices.Insert(q.refs, i, r)
	q.live++
	q.bytes += uint64(r.msg.size)
	q.expires(r.msg.Expires)
	s.counts.waits(r.msg, 1)
	s.owed++
	s.note(effectOwed, x.id<<32^r.num, uint64(r.msg.Seq))
	s.changes.ref(x, &q.refs[i])
	s.changes.session(x)
}

// unowe takes out a reference. The caller has a reference of its own to the message if it
// goes on.
func (s *State) unowe(x *session, r *ref) {
	s.changes.deleteRef(x.id, r.num)
	m := r.msg
	s.note(effectOwed, x.id<<32^r.num, 0)
	if x.owed.drop(r); x.owed.live == 0 {
		x.owed = nil
		delete(s.owing, x)
	}
	s.counts.waits(m, -1)
	s.owed--
	s.changes.session(x)
	s.release(m)
}

// forgive drops everything that a session is owed.
func (s *State) forgive(x *session, reason DropReason) {
	n := 0
	for ; x.owed != nil; n++ {
		s.unowe(x, x.owed.next(0))
	}
	if n > 0 {
		s.sink.Dropped("queue", reason, n)
	}
}

// owedNumbers are the numbers in the queue of what a session is owed, in order.
func (x *session) owedNumbers() (list []uint64) {
	if x.owed != nil {
		x.owed.each(Range{0, ^uint64(0)}, func(r *ref) { list = append(list, r.num-owedFrom) })
	}
	return list
}

// oweGroup has a shared subscription be owed a message.
func (s *State) oweGroup(g *Group, m *message) {
	l := s.config.Load().limits()
	for len(g.owed) > 0 && (len(g.owed) >= int(l.QueueMessages) || g.owedBytes+uint64(m.size) > l.QueueBytes) {
		s.unoweGroup(g, 0)
		s.sink.Dropped("group", DropResidency, 1)
	}
	s.hold(m)
	i, _ := slices.BinarySearchFunc(g.owed, m.Seq, func(r groupRef, seq Seq) int { return compareSeqs(r.msg.Seq, seq) })
	g.owed = slices.Insert(g.owed, i, groupRef{msg: m, at: s.time})
	g.owedBytes += uint64(m.size)
	s.owingGroups[g] = struct{}{}
	s.owed++
	s.note(effectOwed, uint64(len(g.owed)), uint64(m.Seq))
	s.changes.group(g)
}

func (s *State) unoweGroup(g *Group, i int) {
	r := g.owed[i]
	if r.stored {
		s.changes.delete(groupRefKey(g.key, r.msg.Seq))
	}
	g.owedBytes -= uint64(r.msg.size)
	if g.owed = slices.Delete(g.owed, i, i+1); len(g.owed) == 0 {
		g.owed = nil
		delete(s.owingGroups, g)
	}
	s.owed--
	s.note(effectOwed, uint64(len(g.owed)), 0)
	s.changes.group(g)
	s.release(r.msg)
}

func (s *State) forgiveGroup(g *Group, reason DropReason) {
	n := len(g.owed)
	for len(g.owed) > 0 {
		s.unoweGroup(g, len(g.owed)-1)
	}
	if n > 0 {
		s.sink.Dropped("group", reason, n)
	}
}

// ageDebts drops what expired.
func (s *State) ageDebts() {
	n := 0
	for x := range s.owing {
		q := x.owed
		if q.soonest == 0 || q.soonest > s.time {
			continue
		}
		q.soonest = 0
		var gone []uint64
		q.each(Range{0, ^uint64(0)}, func(r *ref) {
			if r.msg.expired(s.time) {
				gone = append(gone, r.num)
			} else {
				q.expires(r.msg.Expires)
			}
		})
		for _, num := range gone {
			s.unowe(x, q.find(num))
			n++
		}
	}
	for g := range s.owingGroups {
		for i := len(g.owed) - 1; i >= 0; i-- {
			if f := &g.owed[i]; f.msg.expired(s.time) || len(g.members) == 0 && s.time.Sub(f.at) > keepQueue {
				s.unoweGroup(g, i)
				n++
			}
		}
		s.retire(g)
	}
	if n > 0 {
		s.sink.Dropped("queue", DropExpired, n)
	}
}

func (s *State) repay(op *Repay) Outcome {
	n := 0
	for i := range op.Messages {
		e := &op.Messages[i]
		if s.refill(e); e.Whole && e.Retained {
			s.uncover(e, i)
		}
		for _, k := range e.Sessions {
			if x := s.sessions[k]; x != nil && x.owed != nil {
				n += one(s.pay(x, e))
			}
		}
		for _, text := range e.Groups {
			name, filter, _ := strings.Cut(text, "/")
			if g := s.groups[groupKey{e.Namespace, name, filter}]; g != nil {
				n += one(s.payGroup(g, e))
			}
		}
	}
	return Outcome{Count: n}
}

// refill gives a message its body, in a copy that lacks it and may store it.
func (s *State) refill(e *Repaid) {
	m := s.lacks[e.Seq]
	if m == nil || !e.Whole || e.Withheld || m.Namespace != e.Namespace {
		return
	}
	delete(s.lacks, e.Seq)
	m.Topic, m.Forward, m.Payload, m.Withheld, m.shared = strings.Clone(e.Topic), slices.Clone(e.Forward), slices.Clone(e.Payload), false, nil
	if m.stored && !m.evicted {
		s.resident -= int64(m.size)
	}
	m.stored, m.evicted = false, false
	s.changes.bodies = append(s.changes.bodies, m)
	if m.pinned {
		s.changes.retained(s.space(m.Namespace), veiled(m.Seq))
	}
}

// uncover puts a retained message under its topic again, unless that has a newer one.
func (s *State) uncover(e *Repaid, item int) {
	pl := s.place(e.Namespace, e.Topic, true, e.Withheld, item)
	sp := s.space(e.Namespace)
	r := sp.retainedBySeq(e.Seq, e.Topic)
	if r == nil || r.msg == nil || !e.Withheld && !keepable(e.Topic) {
		return
	}
	other := sp.retained.get(e.Topic)
	if pl.isGiven() {
		other = sp.retainedBySeq(pl.old, e.Topic)
	} else if pl != nil && other != nil {
		pl.old = other.seq
	}
	gone := other
	if other == r {
		return
	} else if other != nil && cmp.Or(cmp.Compare(other.version, r.version), cmp.Compare(other.home, r.home)) >= 0 {
		gone = r
	}
	if gone != nil {
		if s.veils -= one(gone.kept); gone.msg != nil {
			s.dropRetained(sp, gone)
		} else {
			s.graves--
		}
		sp.retained.remove(gone.topic)
		s.changes.retained(sp, gone.topic)
	}
	if gone == r || e.Withheld {
		return
	}
	sp.retained.remove(r.topic)
	s.changes.retained(sp, r.topic)
	r.topic = strings.Clone(e.Topic)
	sp.retained.put(r)
	s.changes.retained(sp, r.topic)
	if r.msg.Expires != 0 {
		s.arm(timer{at: r.msg.Expires, kind: timerRetained, key: SessionKey{sp.name, r.topic}})
	}
}

// pay gives a session what it is owed, at the end of its queue: late, by the policy of
// replay, and never past its expiry.
func (s *State) pay(x *session, e *Repaid) bool {
	i := slices.IndexFunc(x.owed.refs, func(r ref) bool { return r.state != refGone && r.msg.Seq == e.Seq })
	if i < 0 {
		return false
	}
	r := x.owed.refs[i]
	m := r.msg
	s.hold(m)
	defer s.release(m)
	s.unowe(x, &x.owed.refs[i])
	if !s.late(m, e) {
		return false
	}
	if r.asWas { // the device may have it: it goes by the packet id that it had
		num := r.num - owedFrom
		x.nextRef = num + (x.nextRef-num)/packetIDs*packetIDs + packetIDs - 1
		if h := x.inherited; h != nil && h.stale.From <= h.stale.To { // the ids between come another time
			h.stale.To += packetIDs
		}
	}
	return s.enqueue(x, m, ref{qos: r.qos, retain: r.retain, subIDs: r.subIDs, asWas: r.asWas})
}

// payGroup gives a shared subscription what it is owed, in the place that its age gives it.
func (s *State) payGroup(g *Group, e *Repaid) bool {
	i := slices.IndexFunc(g.owed, func(r groupRef) bool { return r.msg.Seq == e.Seq })
	if i < 0 {
		return false
	}
	m := g.owed[i].msg
	s.hold(m)
	defer s.release(m)
	s.unoweGroup(g, i)
	late, l := s.late(m, e), s.config.Load().limits()
	if late && (len(g.queue) >= int(l.QueueMessages) || g.bytes+uint64(m.size) > l.QueueBytes) {
		s.sink.Dropped("group", DropQueueFull, 1)
		late = false
	}
	if late {
		s.hold(m)
		g.returned = append(g.returned, groupRef{msg: m, at: s.time})
		g.takeBack(s)
		g.pump(s)
	}
	s.retire(g)
	return late
}

// late says whether a message that is owed is delivered.
func (s *State) late(m *message, e *Repaid) bool {
	switch {
	case m.expired(s.time):
		s.sink.Dropped("queue", DropExpired, 1)
	case e.Replay != ReplayDeliver:
		s.sink.Dropped("queue", DropReplay, 1)
	default:
		return true
	}
	return false
}

// Debt is a message that is owed, or of which this copy has the number only.
type Debt struct {
	Seq       Seq
	Namespace string
	Source    Source // where it was numbered first, and as what
	SourceSeq Seq
	At        Time // when it was published; 0: not known
	Lacking   bool // this copy has the number only
	Retained  bool
	Sessions  []SessionKey // that are owed it
	Groups    []string     // shared subscriptions that are
}

// Owes says whether anything is owed, or this copy has the number only of some message that
// waits.
func (s *State) Owes() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.owed+len(s.lacks) > 0
}

// Debts lists what is owed or lacking and is numbered above after, oldest first, at most max.
func (s *State) Debts(after Seq, max int) []Debt {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := map[Seq]*Debt{}
	at := func(m *message) *Debt {
		d := found[m.Seq]
		if d == nil {
			d = &Debt{Seq: m.Seq, Namespace: m.Namespace, Source: Source{s.id, s.epochOf(m.Seq)}, SourceSeq: m.Seq, At: m.at, Lacking: m.Withheld, Retained: m.pinned}
			if m.source != nil {
				d.Source, d.SourceSeq = m.source.Source, m.sourceSeq
			}
			found[m.Seq] = d
		}
		return d
	}
	for seq, m := range s.lacks {
		if seq > after {
			at(m)
		}
	}
	for x := range s.owing {
		x.owed.each(Range{0, ^uint64(0)}, func(r *ref) {
			if r.msg.Seq > after {
				d := at(r.msg)
				d.Sessions = append(d.Sessions, x.key)
			}
		})
	}
	for g := range s.owingGroups {
		for i := range g.owed {
			if m := g.owed[i].msg; m.Seq > after {
				d := at(m)
				d.Groups = append(d.Groups, spaced(g.key))
			}
		}
	}
	list := make([]Debt, 0, len(found))
	for _, d := range found {
		slices.SortFunc(d.Sessions, compareKeys)
		d.Sessions = d.Sessions[:min(len(d.Sessions), refsInPart)] // the others are found the next time
		slices.Sort(d.Groups)
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Debt) int { return cmp.Compare(a.Seq, b.Seq) })
	return list[:min(max, len(list))]
}

// ReplayOf says whether a message that comes late may be delivered. at is when it was
// published; 0: not known.
func (s *State) ReplayOf(topic string, at Time) Replay {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if at == 0 {
		at = s.time
	}
	if s.replay(topic, s.time.Sub(at)) {
		return ReplayDeliver
	}
	return ReplayReport
}

// Origins finds messages of a copy, which must not change, by where they were numbered
// first.
type Origins struct {
	s  *State
	of map[Numbered]Seq
}

// Numbered is a number that a home gave.
type Numbered struct {
	Source Source
	Seq    Seq
}

// Origins indexes what waits in this copy.
func (s *State) Origins() *Origins {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := &Origins{s, map[Numbered]Seq{}}
	add := func(m *message) {
		if m.source != nil {
			o.of[Numbered{m.source.Source, m.sourceSeq}] = m.Seq
		}
	}
	for _, x := range s.sessions {
		for _, q := range []*queue{&x.queue, x.owed} {
			if q != nil {
				q.each(Range{0, ^uint64(0)}, func(r *ref) { add(r.msg) })
			}
		}
	}
	for _, g := range s.groups {
		for _, list := range [][]groupRef{g.queue, g.owed} {
			for i := range list {
				add(list[i].msg)
			}
		}
	}
	return o
}

// Find returns the number that a message has in the copy, if the copy may have it.
func (o *Origins) Find(n Numbered) (Seq, bool) {
	if seq, ok := o.of[n]; ok {
		return seq, true
	}
	o.s.mu.RLock()
	defer o.s.mu.RUnlock()
	return n.Seq, n.Source.Home == o.s.id && n.Seq <= o.s.seq && o.s.epochOf(n.Seq) == n.Source.Epoch
}

// Repay makes the next operation by which a region that hosts the home brings back what it
// can, of messages numbered above after, of about max bytes; nil when there is nothing more.
// lost finds what this copy lacks, own reads a body that is on the disk only; both are
// called without the lock. last is up to where it looked.
func (s *State) Repay(after Seq, max int, region string, lost func(Debt) (Message, bool), own func(Seq) (Message, error)) (op *Repay, last Seq) {
	op, last = &Repay{}, after
	for size := 0; size < max; {
		list := s.Debts(last, debtsAtOnce)
		if len(list) == 0 {
			break
		}
		for i := range list {
			d := &list[i]
			if last = d.Seq; size >= max {
				return op, list[i-1].Seq
			}
			m, ok := Message{}, false
			if d.Lacking {
				m, ok = lost(*d)
			} else if read, err := own(d.Seq); err == nil {
				m, ok = read, true
			}
			if !ok || m.Withheld || !s.MayLeave(d.Namespace, m.Topic, region) {
				continue
			}
			e := Repaid{Seq: d.Seq, Namespace: d.Namespace, Replay: s.ReplayOf(m.Topic, d.At), Sessions: d.Sessions, Groups: d.Groups}
			if d.Lacking {
				e.Whole, e.Retained, e.Topic, e.Forward, e.Payload = true, d.Retained, m.Topic, m.Forward, m.Payload
			}
			op.Messages = append(op.Messages, e)
			size += e.Size()
		}
	}
	if len(op.Messages) == 0 {
		return nil, last
	}
	return op, last
}

const debtsAtOnce = 1024
