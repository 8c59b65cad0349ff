package home

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MoveStep is a step in which a home gives a session away.
type MoveStep uint8

// The steps.
const (
	// MoveBegin lets the session stand still for another home: its device is closed, and
	// nobody attaches it. What comes for it still waits here.
	MoveBegin MoveStep = 1
	// MoveTaken says that the other home has it. What homes in Settled number reaches it
	// there without this one.
	MoveTaken MoveStep = 2
	// MoveDone says that the other home needs nothing more of it: it is removed.
	MoveDone MoveStep = 3
	// MoveBack says that the other home does not take it. It goes on here.
	MoveBack MoveStep = 4
	// MoveEnd ends the session, since its device has one in another home that counts.
	MoveEnd MoveStep = 5
	// MoveRegain says that the other home took it and knows nothing of it any more: it went back to
	// a copy from before. What was left here is the session again, unless there is another one by now.
	MoveRegain MoveStep = 6
)

// Move gives a session to another home. The outcome is CodeUnknown if there is no such
// session, CodeGap if it was attached since Seen, CodeVoid if it is under way for another
// claim. Begin has Formers, all runs of nodes that may still send for it, and Epoch.
type Move struct {
	Step    MoveStep
	Session SessionKey
	To      ID
	Claim   uint64       // the number of the asking, at the other home
	Seen    SessionEpoch // Begin, End: 0 is any
	Settled []ID         // Taken
}

// Kind of the operation.
func (*Move) Kind() Kind { return KindMove }

func (op *Move) append(b []byte) []byte {
	b = appendSession(append(b, byte(op.Step)), op.Session)
	b = binary.AppendUvarint(appendString(b, string(op.To)), op.Claim)
	return appendIDs(binary.AppendUvarint(b, uint64(op.Seen)), op.Settled)
}

func (r *reader) move() Op {
	return &Move{Step: MoveStep(r.byte()), Session: r.session(), To: ID(r.string()), Claim: r.uvarint(), Seen: SessionEpoch(r.uvarint()), Settled: r.ids()}
}

func (s *State) move(op *Move) Outcome {
	x := s.departing(op.Session, op.To, op.Claim)
	if op.Step == MoveBegin || op.Step == MoveEnd {
		if x == nil {
			x = s.sessions[op.Session]
		}
		switch {
		case x == nil || op.Session.Namespace == LinkSpace:
			return Outcome{Code: CodeUnknown}
		case x.leaves() != nil && (x.leaves().to != op.To || x.leaves().claim != op.Claim):
			return Outcome{Code: CodeVoid}
		case op.Seen != 0 && x.epoch > op.Seen:
			return Outcome{Code: CodeGap}
		}
	} else if x == nil {
		return Outcome{Code: CodeUnknown}
	}
	l := x.leaves()
	switch op.Step {
	case MoveBegin:
		return s.moveBegin(x, op)
	case MoveTaken:
		s.moveTaken(x, l, op.Settled)
	case MoveDone:
		s.moveDone(x)
	case MoveBack:
		if l.taken {
			return Outcome{Code: CodeVoid}
		}
		s.moveBack(x, l)
	case MoveRegain:
		if !l.taken {
			return Outcome{Code: CodeVoid}
		}
		s.moveRegain(x, l)
	case MoveEnd:
		return s.moveEnd(x)
	default:
		return Outcome{Code: CodeVoid}
	}
	s.roamed(op.Session)
	return Outcome{}
}

// leave takes a session from its owner, whose device is somewhere else.
func (s *State) departs(x *session) {
	if !x.attached() {
		return
	}
	s.formers.forget(s.time)
	s.formers.lost(x.key, x.owner, s.time)
	s.sink.Ended(x.key, x.epoch, x.owner, EndMoved)
	how := gone
	if s.willGrace() > 0 { // as for a device that comes to another node
		how = left
	}
	s.detachSession(x, how)
}

func (s *State) moveBegin(x *session, op *Move) Outcome {
	if l := x.leaves(); l != nil {
		return Outcome{Epoch: x.epoch, Formers: s.formersOf(x.key, Owner{})}
	}
	if x.still() {
		return Outcome{Code: CodeVoid}
	}
	if x.transient || x.expiry == 0 {
		return Outcome{Code: CodeNoSubscribers} // it ends where its connection does
	}
	s.departs(x)
	l := &leaving{to: op.To, claim: op.Claim, since: s.time}
	s.takeFromGroups(x, l)
	l.refs = x.nextRef
	if x.will != nil {
		l.willIn = uint32(max(0, x.willAt.Sub(s.time)) / time.Second)
	}
	x.willAt, x.expireAt, x.moved = 0, 0, false
	s.roams(x).leaving = l
	s.indexRoaming(x)
	s.note(effectRoamed, x.id, l.refs)
	s.roamed(x.key)
	return Outcome{Epoch: x.epoch, Formers: s.formersOf(x.key, Owner{})}
}

// takeFromGroups ends the session's part in shared subscriptions. What waits in one that
// nobody else has a part in goes along.
func (s *State) takeFromGroups(x *session, l *leaving) {
	for _, f := range x.filters() {
		sub := x.subs[f]
		if sub.member == nil {
			continue
		}
		l.shared = append(l.shared, sub.Subscription)
		g := sub.member.group
		if len(g.members) == 1 {
			s.inheritQueue(x, g, sub)
		}
		s.unsubscribeFilter(x, f)
	}
}

func (s *State) inheritQueue(x *session, g *Group, sub *subscription) {
	list := g.queue
	g.queue = nil
	for i := range list {
		if qos := min(list[i].msg.QoS, sub.QoS); qos > 0 {
			r := ref{qos: qos, retain: list[i].msg.Retain && sub.RetainAsPublished}
			if sub.ID != 0 {
				r.subIDs = []uint32{sub.ID}
			}
			s.enqueue(x, list[i].msg, r)
		}
		s.dropGroupRef(g, &list[i])
	}
	s.changes.group(g)
}

// moveTaken notes what reaches the session where it is now. From here on it is no session
// of this home any more, but a place where messages for it are gathered: it gives up the
// session's key, so that the session may come back before that is over.
func (s *State) moveTaken(x *session, l *leaving, settled []ID) {
	if !l.taken {
		l.taken = true
		s.unlist(x)
		if s.peers[l.to] != nil { // so that it is known from now on, not only once that home tells it
			s.dirAdd(l.to, s.directoryOf(l.to), x.key.Hash())
		}
		s.rename(x, x.key.left(l.to, l.claim))
	}
	for _, id := range settled {
		if !slices.Contains(l.settled, id) {
			l.settled = append(l.settled, id)
		}
	}
	s.note(effectRoamed, x.id, uint64(len(l.settled)))
	s.changes.session(x)
}

// left is the key of what a session left behind for a claim. No device has it: a client id
// is UTF-8 [MQTT-1.5.4-1].
func (k SessionKey) left(to ID, claim uint64) SessionKey {
	return SessionKey{k.Namespace, fmt.Sprintf("%s\xff%s/%d", k.ClientID, to, claim)}
}

// Device returns the key of the session that left something behind under k, or k.
func (k SessionKey) Device() SessionKey {
	id, _, _ := strings.Cut(k.ClientID, "\xff")
	return SessionKey{k.Namespace, id}
}

// remains says that k is that of what a session left behind.
func (k SessionKey) remains() bool { return strings.Contains(k.ClientID, "\xff") }

// departing returns the session that is given to a claim, or what it left behind.
func (s *State) departing(k SessionKey, to ID, claim uint64) *session {
	for _, k := range [...]SessionKey{k, k.left(to, claim)} {
		if x := s.sessions[k]; x != nil && x.leaves() != nil && x.leaves().to == to && x.leaves().claim == claim {
			return x
		}
	}
	return nil
}

func (s *State) rename(x *session, k SessionKey) {
	s.changes.delete(sessionKey(x.key))
	delete(s.sessions, x.key)
	delete(s.roamers, x.key)
	x.key = k
	s.sessions[k] = x
	for _, f := range x.filters() {
		s.changes.sub(x, f)
	}
	s.indexRoaming(x)
}

// moveDone removes what is left of a session that another home has.
func (s *State) moveDone(x *session) {
	x.will = nil
	for r := x.queue.next(0); r != nil; r = x.queue.next(0) {
		r.group = nil
		s.remove(x, r)
	}
	s.endSession(x)
}

// moveBack lets the session go on here. Should the other home have had it for a while, and have forgotten
// it, its device may hold ids of that: they are released before they are used. [E5]
func (s *State) moveBack(x *session, l *leaving) {
	x.roam.leaving = nil
	if x.inherited == nil {
		x.inherited = &inheritance{}
	}
	x.inherited.mayHold(l.refs+1, x.nextRef+packetIDs)
	for _, sub := range l.shared {
		sub.RetainHandling = 2
		s.subscribeFilter(x, sub)
	}
	if x.will != nil {
		x.willAt = s.time.Add(seconds(min(l.willIn, x.expiry)))
		s.arm(timer{x.willAt, timerWill, x.key, x.epoch})
	}
	if x.expiry != neverExpires {
		s.expireIn(x, x.expiry)
	}
	s.indexRoaming(x)
	s.note(effectTimed, uint64(x.willAt), uint64(x.expireAt))
}

func (s *State) moveRegain(x *session, l *leaving) {
	k := x.key.Device()
	if s.sessions[k] != nil {
		s.moveDone(x)
		return
	}
	s.rename(x, k)
	l.taken = false
	s.moveBack(x, l)
	s.list(x)
}

func (s *State) moveEnd(x *session) Outcome {
	o := Outcome{Count: x.queue.live}
	k, id := x.key, x.id
	s.departs(x)
	if now := s.sessions[k]; now == x && x.id == id { // it did not end with its connection
		x.will = nil
		s.endSession(x)
	}
	o.Formers = s.formersOf(k, Owner{})
	s.roamed(k)
	return o
}

// Leaving describes a session as it is given to another home, without its queue.
type Leaving struct {
	Epoch   Epoch // of the home
	Session SessionExport
	Stale   Range
	WillIn  uint32
	Last    uint64 // the newest reference that waits for it here
	Common  uint64 // the last reference that the copy of the epoch asked about has as well
	Waits   []ID   // homes of whose messages some may still come from where the session was before
}

// Leaving returns a session that stands still for a claim. of is the epoch in which it was given before; zero if it was not.
func (s *State) Leaving(k SessionKey, to ID, claim uint64, of Epoch) (Leaving, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.departing(k, to, claim)
	if x == nil {
		return Leaving{}, false
	}
	l := x.leaves()
	o := Leaving{Epoch: s.currentEpoch(), Session: x.export(), WillIn: l.willIn, Last: x.nextRef, Common: x.inherited.common(of)}
	o.Session.Session, o.Session.NextRef = k, l.refs
	o.Session.Left, o.Session.Received = nil, nil
	o.Session.Subs = append(o.Session.Subs, l.shared...)
	if x.inherited != nil {
		o.Stale = x.inherited.stale
	}
	if a := x.arriving(); a != nil {
		o.Waits = slices.Clone(a.waits)
	}
	return o, true
}

// Gone returns what waits of a session that stands still for a claim, in references above
// after, up to about max bytes, as a region may have it. until says up to where that is all.
// Expires is the time that a message has left. body reads a body that is on the disk only;
// it is called without the lock.
func (s *State) Gone(k SessionKey, to ID, claim uint64, after uint64, max int, region string, body func(Seq) (Message, error)) (list []MessageExport, until uint64, ok bool, err error) {
	list, until, evicted, ok := s.gone(k, to, claim, after, max)
	for i := range list {
		m := &list[i]
		if evicted[i] {
			read, err := body(m.Seq)
			if err != nil {
				return nil, 0, true, err
			}
			expires := m.Expires
			m.Message = read
			m.Expires = expires
		}
		if !m.Withheld && !s.MayLeave(m.Namespace, m.Topic, region) {
			m.veil()
		}
	}
	return list, until, ok, nil
}

func (s *State) gone(k SessionKey, to ID, claim uint64, after uint64, max int) (list []MessageExport, until uint64, evicted []bool, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.departing(k, to, claim)
	if x == nil {
		return nil, 0, nil, false
	}
	size := 0
	for i := x.queue.from(after + 1); i < len(x.queue.refs); i++ {
		r := &x.queue.refs[i]
		if r.state == refGone {
			continue
		}
		n := 96 + int(r.msg.size)
		if len(list) > 0 && size+n > max {
			return list, list[len(list)-1].Refs[0].Num, evicted, true
		}
		size += n
		list = append(list, s.goneRef(x, r))
		evicted = append(evicted, r.msg.evicted)
	}
	return list, x.nextRef, evicted, true
}

func (s *State) goneRef(x *session, r *ref) MessageExport {
	m := r.msg
	o := MessageExport{Message: m.Message, Source: Source{s.id, s.epochOf(m.Seq)}, SourceSeq: m.Seq, Size: m.size,
		Refs: []RefExport{{Session: x.key.Device(), Life: x.id, Num: r.num, QoS: r.qos, Retain: r.retain, Received: r.state == refReceived, SubIDs: r.subIDs}}}
	if m.source != nil {
		o.Source, o.SourceSeq, o.Class = m.source.Source, m.sourceSeq, m.source.class
	}
	if m.Expires != 0 {
		o.Expires = Time(max(1, m.Expires.Sub(s.time)))
	}
	return o
}
