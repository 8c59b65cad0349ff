package home

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"
)

// session is a device's session.
//
//	          attach                    detach, node down
//	(none) ------------> attached ------------------------> detached
//	   ^                  ^    |                              |   |
//	   |                  |    | transient: end               |   | expiry, clean start,
//	   |                  +----|------ attach ----------------+   | end session
//	   +-----------------------+----------------------------------+
type session struct {
	key       SessionKey
	id        uint64 // of this life of the session: the epoch that created it
	epoch     SessionEpoch
	owner     Owner // zero while detached; set by own and disown
	transient bool  // ends with its connection; only shared subscriptions queue for it
	expiry    uint32
	window    uint16
	will      *Will        // of the connection, or waiting for willAt
	willAt    Time         // 0: not armed
	fresh     SessionEpoch // with which its device began anew: what a session of it has that is older is nothing to it. 0: it did not
	moved     bool         // the will waits for the device to come back somewhere else
	expireAt  Time         // 0: not running out
	resumed   uint64
	nextRef   uint64 // last given
	subs      map[string]*subscription
	inbound   map[uint16]uint64 // QoS 2 ids in use by the device, with a hash of what they carried
	queue     queue
	owed      *queue       // what the region that served could not deliver, under numbers above owedFrom; nil: nothing
	inherited *inheritance // of unplanned promotions; nil: the session began after them
	roam      *roaming     // nil: it never moved

	seen atomic.Pointer[Owner] // owner, for readers without the lock

	// Of the publish being applied: where in hits this session is.
	hit int
	gen uint64

	// Of write-behind.
	unstored uint64 // references numbered above it were never written
	dirty    bool
	ended    bool
}

// subscription is one filter of a session.
type subscription struct {
	Subscription
	target *Target // nil for a shared one
	member *member // nil for a plain one
	joined uint64
}

func (x *session) attached() bool { return x.owner != Owner{} }

// freshElsewhere says that its device began anew in another home, from which the session came.
func (x *session) freshElsewhere() bool { return x.fresh != 0 && uint64(x.fresh) != x.id }

// own makes an owner's the session; the zero Owner detaches it.
func (s *State) own(x *session, o Owner) {
	was := x.attached()
	s.index(x, o)
	if x.owner = o; x.attached() != was {
		s.counts.moved(x)
	}
	if o == (Owner{}) {
		x.seen.Store(nil)
		return
	}
	x.seen.Store(&s.owned[o].owner)
}

// index moves a session between the sets of its owners.
func (s *State) index(x *session, to Owner) {
	if old := s.owned[x.owner]; old != nil {
		delete(old.sessions, x)
		if len(old.sessions) == 0 {
			delete(s.owned, x.owner)
		}
	}
	if to == (Owner{}) {
		return
	}
	set := s.owned[to]
	if set == nil {
		set = &ownedSessions{owner: to, sessions: map[*session]struct{}{}}
		s.owned[to] = set
	}
	set.sessions[x] = struct{}{}
}

// ownedSessions are the sessions that a run of a node owns.
type ownedSessions struct {
	owner    Owner
	sessions map[*session]struct{}
}

func (x *session) sendWindow() int {
	if x.window == 0 || x.window > MaxWindow {
		return MaxWindow
	}
	return int(x.window)
}

// current returns the session if epoch is the one in force and it is attached.
func (s *State) current(k SessionKey, e SessionEpoch) *session {
	x := s.sessions[k]
	if x == nil || x.epoch != e || !x.attached() {
		return nil
	}
	return x
}

func (s *State) attach(owner Owner, op *Attach) Outcome {
	limits := s.config.Load().limits()
	s.formers.forget(s.time)
	x := s.sessions[op.Session]
	if x != nil && (op.Seen != 0 && x.epoch > op.Seen || x.still()) {
		return Outcome{Code: CodeVoid}
	}
	if w := s.wishes[op.Session]; w != nil && x == nil && !w.over && s.time <= w.until {
		return Outcome{Code: CodeVoid}
	}
	if x != nil && x.attached() {
		if x.owner != owner {
			s.formers.lost(x.key, x.owner, s.time)
		}
		s.sink.Ended(x.key, x.epoch, x.owner, EndTakenOver)
		s.detachSession(x, s.departure(x, owner))
	}
	x = s.sessions[op.Session]
	if x != nil && x.moved {
		x.will = nil
	}
	if x != nil && (op.CleanStart || x.hollow()) {
		s.endSession(x)
		x = nil
	}
	present := x != nil
	if !present {
		if uint64(len(s.sessions)) >= limits.Sessions {
			return Outcome{Code: CodeQuota}
		}
		x = &session{key: op.Session, id: uint64(s.epoch + 1), transient: op.Expiry == 0}
		if op.CleanStart {
			x.fresh = s.epoch + 1
		}
		s.admit(x)
	}
	s.epoch++
	x.epoch = s.epoch
	s.own(x, owner)
	x.expiry = min(op.Expiry, limits.SessionExpiryMax)
	x.window, x.will = op.Window, op.Will
	x.willAt, x.expireAt, x.moved = 0, 0, false
	if x.will != nil {
		s.place(x.key.Namespace, x.will.Topic, false, x.will.Withheld, 0) // so that it can be withheld
		w := *x.will
		w.kept = w.Withheld || s.restricted(x.key.Namespace, w.Topic)
		w.Payload, w.Forward = slices.Clone(w.Payload), slices.Clone(w.Forward)
		x.will = &w
	}
	s.changes.session(x)
	for _, g := range x.groups() {
		g.changed(s)
	}
	return Outcome{SessionPresent: present, Arriving: x.arriving() != nil, Epoch: x.epoch, Expiry: x.expiry, Resumed: x.resumed, Formers: s.formersOf(x.key, owner)}
}

func (s *State) detach(op *Detach) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	if op.SetExpiry && !x.transient { // [MQTT-3.14.2-2]: 0 cannot become more
		x.expiry = min(op.Expiry, s.config.Load().limits().SessionExpiryMax)
	}
	how := gone
	switch {
	case op.DropWill:
		how = left
	case op.Moved:
		how = moved
	}
	s.detachSession(x, how)
	return Outcome{}
}

// departure is how a session lost its owner.
type departure uint8

const (
	left  departure = iota // with a word, or it is somewhere else already: no will
	gone                   // without a word
	moved                  // by the region's doing: it may be on its way to another node
)

// departure says how a session leaves its owner for another one. With a grace for
// wills a device that comes to another node, or to another run of its node, was moved:
// it comes back before its node was found to be gone.
func (s *State) departure(x *session, to Owner) departure {
	if x.owner != to && s.willGrace() > 0 {
		return left
	}
	return gone
}

func (s *State) willGrace() uint32 { return max(s.config.Load().Limits.WillGrace, s.grace) }

// detachSession ends ownership, arms or fires the will, and starts the
// session's expiry or ends it.
func (s *State) detachSession(x *session, how departure) {
	s.disown(x)
	s.detached(x, how)
}

// disown ends ownership. What the owner may have sent is known from here on.
func (s *State) disown(x *session) {
	x.resumed = max(x.resumed, x.queue.sentThrough(x.sendWindow()))
	s.own(x, Owner{})
	s.note(effectSession, x.id, x.resumed)
	s.changes.session(x)
}

// detached does what follows from the loss of the owner.
func (s *State) detached(x *session, how departure) {
	if how == left {
		x.will = nil
	}
	x.moved = how == moved && x.will != nil && s.willGrace() > 0
	s.returnAssigned(x)
	if x.expiry == 0 || x.transient {
		if x.moved {
			s.hollowOut(x)
		} else {
			s.endSession(x)
		}
		return
	}
	if x.will != nil {
		delay := x.will.Delay
		if x.moved {
			delay = max(delay, s.willGrace())
		}
		if delay == 0 {
			s.fireWill(x)
		} else {
			x.willAt = s.time.Add(seconds(min(delay, x.expiry)))
			s.arm(timer{x.willAt, timerWill, x.key, x.epoch})
		}
	}
	if x.expiry != neverExpires {
		s.expireIn(x, x.expiry)
	}
	s.note(effectTimed, uint64(x.willAt), uint64(x.expireAt))
	for _, g := range x.groups() {
		g.changed(s)
	}
}

// expireIn ends the session when it has been away for so many seconds.
func (s *State) expireIn(x *session, n uint32) {
	x.expireAt = s.time.Add(seconds(n))
	s.arm(timer{x.expireAt, timerSession, x.key, x.epoch})
}

// hollowOut ends a session but for its will, which waits for the grace.
func (s *State) hollowOut(x *session) {
	s.empty(x)
	x.inbound = nil
	s.expireIn(x, s.willGrace())
	s.note(effectTimed, uint64(x.willAt), uint64(x.expireAt))
}

// hollow says that nothing is left of the session but its will.
func (x *session) hollow() bool { return x.moved && (x.expiry == 0 || x.transient) }

// fireWill publishes the session's will, once.
func (s *State) fireWill(x *session) {
	w := x.will
	x.will, x.willAt, x.moved = nil, 0, false
	s.changes.session(x)
	if w == nil {
		return
	}
	m := newMessage(Message{Namespace: x.key.Namespace, Topic: w.Topic, Payload: w.Payload, Forward: w.Forward, QoS: w.QoS, Retain: w.Retain})
	if w.Expiry != 0 {
		m.Expires = s.time.Add(seconds(w.Expiry))
	}
	pl := s.place(m.Namespace, m.Topic, w.Retain, w.Withheld || w.kept, noItem)
	switch {
	case pl.isGiven():
		if pl.code != CodeOK {
			return
		}
	case w.Withheld: // of a host that could store it; this one cannot
		s.sink.Dropped("home", DropResidency, 1)
		pl.refuse(CodeVoid)
		return
	case !s.mayStay(m.Namespace, m.Topic):
		s.sink.Dropped("home", DropResidency, 1)
		pl.refuse(CodeVoid)
		return
	}
	s.settle(m, pl, w.Withheld, w.Size)
	m.kept = m.kept || w.kept
	s.willFired(x, m)
	s.publish(m, x)
}

// endSession deletes a session; a will that was not dropped fires.
// [MQTT-3.1.2-10]
func (s *State) endSession(x *session) {
	s.own(x, Owner{})
	x.ended = true
	s.note(effectEnded, x.id, uint64(x.epoch))
	s.changes.session(x)
	s.roamingEnds(x)
	s.halfEnds(x)
	s.dismiss(x)
	s.fireWill(x)
	s.empty(x)
}

// empty takes from a session that ends what it subscribed to and what waits for it.
func (s *State) empty(x *session) {
	for _, f := range x.filters() {
		s.unsubscribeFilter(x, f)
	}
	s.forgive(x, DropSessionEnd)
	dropped := 0
	for len(x.queue.refs) > 0 {
		r := &x.queue.refs[0]
		r.group = nil
		s.remove(x, r)
		dropped++
	}
	if dropped > 0 {
		s.sink.Dropped("queue", DropSessionEnd, dropped)
	}
}

// end serves an operator's wish to delete a session.
func (s *State) end(op *EndSession) Outcome {
	x := s.sessions[op.Session]
	if x == nil {
		return Outcome{Code: CodeUnknown}
	}
	if x.attached() {
		s.formers.lost(x.key, x.owner, s.time)
		s.sink.Ended(x.key, x.epoch, x.owner, EndDeleted)
		s.disown(x) // what was sent stays sent while its will meets its own queue
		s.returnAssigned(x)
	}
	if !op.PublishWill || x.leaves() != nil { // of one that leaves the other home has the will
		x.will = nil
	}
	s.endSession(x)
	return Outcome{}
}

// ownerGone detaches every session of an owner, in the order of their keys.
func (s *State) ownerGone(o Owner, reason EndReason) {
	if s.owned[o] == nil {
		return
	}
	list := make([]*session, 0, len(s.owned[o].sessions))
	for x := range s.owned[o].sessions {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *session) int { return compareKeys(a.key, b.key) })
	// All are away before the first will is published: a group must not give it to
	// a member that went with the others, and the owner sent it to nobody.
	for _, x := range list {
		s.sink.Ended(x.key, x.epoch, o, reason)
		s.disown(x)
	}
	for _, x := range list {
		s.detached(x, moved)
	}
}

func compareKeys(a, b SessionKey) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ClientID, b.ClientID))
}

// release is an inbound PUBREL. An unknown id is no error: the PUBCOMP was lost.
func (s *State) releaseInbound(op *Release) Outcome {
	x := s.current(op.Session, op.Epoch)
	if x == nil {
		return Outcome{Code: CodeVoid}
	}
	if _, known := x.inbound[op.PacketID]; known {
		delete(x.inbound, op.PacketID)
		s.note(effectReleased, x.id, uint64(op.PacketID))
		s.changes.session(x)
	}
	return Outcome{}
}

// filters lists the session's filters in order.
func (x *session) filters() []string {
	list := make([]string, 0, len(x.subs))
	for f := range x.subs {
		list = append(list, f)
	}
	slices.Sort(list)
	return list
}

// groups lists the groups the session is a member of, in order.
func (x *session) groups() (list []*Group) {
	for _, sub := range x.subs {
		if sub.member != nil {
			list = append(list, sub.member.group)
		}
	}
	slices.SortFunc(list, func(a, b *Group) int { return a.key.compare(b.key) })
	return list
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// contentHash tells two messages under one inbound packet id apart. [E4]
func contentHash(topic string, payload []byte) uint64 {
	h := fnv.New64a()
	h.Write([]byte(topic))
	h.Write([]byte{0})
	h.Write(payload)
	return h.Sum64()
}
