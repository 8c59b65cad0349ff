package home

import (
	"cmp"
	"slices"
	"sync/atomic"
)

type groupKey struct{ space, name, filter string }

func (k groupKey) compare(o groupKey) int {
	return cmp.Or(cmp.Compare(k.space, o.space), cmp.Compare(k.filter, o.filter), cmp.Compare(k.name, o.name))
}

// Group is a shared subscription: $share/name/filter. It has a queue of its own.
// A reference is assigned to an attached member inside the member's window, and
// comes back, in order, when the member goes before it acknowledged. Assignment
// is part of Apply, so every replica assigns alike. [C3]
type Group struct {
	key     groupKey
	target  *Target
	members []*member // by joining
	next    int       // member to try first
	queue   []groupRef
	bytes   uint64
	dirty   bool

	owed      []groupRef // what the region that served could not deliver
	owedBytes uint64

	returned []groupRef // by the member that is leaving, on their way into queue

	global bool      // one with the groups of that name in other regions
	shares []share   // of peers
	told   [2]string // what peers are asked for because of it
	gen    uint64    // of the message being applied that came by a link: the group has it

	view atomic.Pointer[groupView]
	size atomic.Int64
	turn atomic.Uint64
}

// groupView is a group as readers without the lock see it.
type groupView struct {
	online []MemberInfo // attached members
	away   []candidate  // peers that have members, best first
	global bool
}

type groupRef struct {
	msg    *message
	at     Time // since when it waits
	stored bool
}

// member is a session's part in a group.
type member struct {
	group    *Group
	session  *session
	sub      *subscription
	assigned int
}

func (s *State) join(x *session, sub *subscription, old *subscription, name, filter string) {
	g := s.group(groupKey{x.key.Namespace, name, filter})
	if old != nil { // the same filter again: the member stays, with new options
		sub.member, sub.joined = old.member, old.joined
		sub.member.sub = sub
	} else {
		s.joins++
		sub.joined = s.joins
		s.note(effectJoined, x.id, sub.joined)
		sub.member = &member{group: g, session: x, sub: sub}
		g.members = append(g.members, sub.member)
	}
	g.changed(s)
}

// group returns a group, creating it.
func (s *State) group(key groupKey) *Group {
	g := s.groups[key]
	if g == nil {
		g = &Group{key: key, global: s.spans(key.space, key.name)}
		g.target = &Target{Group: g}
		g.publish(s)
		s.groups[key] = g
		s.space(key.space).table.Add(key.filter, g.target)
	}
	return g
}

// retire forgets a group that nobody has a part in and nothing waits for.
func (s *State) retire(g *Group) {
	if len(g.members)+len(g.shares)+len(g.queue)+len(g.owed) == 0 && s.groups[g.key] == g {
		delete(s.groups, g.key)
		s.space(g.key.space).table.Remove(g.key.filter, g.target)
	}
}

// kept says that a group is more than what peers ask for, which is kept as such.
func (g *Group) kept() bool { return g != nil && len(g.members)+len(g.queue)+len(g.owed) > 0 }

func (s *State) leave(x *session, m *member) {
	g := m.group
	if m.assigned > 0 {
		s.reclaim(x, m)
		s.keepAssigned(x, m)
	}
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	if len(g.members) == 0 {
		g.next = 0 // it is not kept
		if !g.global {
			s.dropQueue(g, DropSessionEnd)
		}
	}
	g.changed(s)
	s.retire(g)
}

func (s *State) dropQueue(g *Group, reason DropReason) {
	s.forgiveGroup(g, reason)
	for i := range g.queue {
		s.dropGroupRef(g, &g.queue[i])
	}
	if len(g.queue) > 0 {
		s.sink.Dropped("group", reason, len(g.queue))
		s.changes.group(g)
	}
	g.queue = nil
}

func (s *State) dropGroupRef(g *Group, r *groupRef) {
	if r.stored {
		s.changes.delete(groupRefKey(g.key, r.msg.Seq))
	}
	g.bytes -= uint64(r.msg.size)
	s.release(r.msg)
}

// changed follows a change of membership, of who is attached, or of the scope.
func (g *Group) changed(s *State) {
	g.publish(s)
	g.tell(s)
	s.changes.group(g)
	g.pump(s)
}

// publish shows readers without the lock who takes part.
func (g *Group) publish(s *State) {
	g.global = s.spans(g.key.space, g.key.name)
	v := groupView{away: g.candidates(s), global: g.global}
	for _, m := range g.members {
		if m.session.attached() {
			v.online = append(v.online, MemberInfo{m.session.key, m.session.epoch, m.session.owner, m.sub.QoS, m.sub.RetainAsPublished, m.sub.ID})
		}
	}
	g.view.Store(&v)
	g.size.Store(int64(len(g.members)))
}

// offer queues a message for the group and assigns what can be assigned.
func (g *Group) offer(s *State, m *message) {
	l := s.config.Load().limits()
	if len(g.queue) >= int(l.QueueMessages) || g.bytes+uint64(m.size) > l.QueueBytes {
		s.sink.Dropped("group", DropQueueFull, 1)
		return
	}
	s.hold(m)
	s.note(effectGroupQueued, uint64(m.Seq), uint64(len(g.queue)))
	g.queue = append(g.queue, groupRef{msg: m, at: s.time})
	g.bytes += uint64(m.size)
	s.changes.group(g)
	g.pump(s)
}

// pump assigns queued references to attached members with room, in turn.
func (g *Group) pump(s *State) {
	for len(g.queue) > 0 {
		m := g.candidate()
		if m == nil {
			return
		}
		r := g.queue[0]
		g.queue = g.queue[1:]
		s.changes.group(g)
		g.assign(s, m, r.msg)
		s.dropGroupRef(g, &r)
	}
	g.queue = nil
}

// freed lets a group use the room that a member has again. While a message meets
// its subscribers that waits until it met them all: they come in no order, and
// whoever made room first would get what another replica gives to another.
func (s *State) freed(g *Group) {
	if s.fanning {
		s.idle = append(s.idle, g)
		return
	}
	g.pump(s)
}

func (s *State) pumpFreed() {
	if len(s.idle) == 0 {
		return
	}
	slices.SortFunc(s.idle, func(a, b *Group) int { return a.key.compare(b.key) })
	for _, g := range s.idle {
		g.pump(s)
	}
	clear(s.idle)
	s.idle = s.idle[:0]
}

func (g *Group) candidate() *member {
	for i := range g.members {
		at := (g.next + i) % len(g.members)
		m := g.members[at]
		if m.session.attached() && m.assigned < m.session.sendWindow() {
			g.next = (at + 1) % len(g.members)
			return m
		}
	}
	return nil
}

func (g *Group) assign(s *State, m *member, msg *message) {
	x, sub := m.session, m.sub
	qos := min(msg.QoS, sub.QoS)
	var ids []uint32
	if sub.ID != 0 {
		ids = []uint32{sub.ID}
	}
	retain := msg.Retain && sub.RetainAsPublished
	if qos == 0 {
		s.sink.Deliver(Delivery{Session: x.key, Epoch: x.epoch, Owner: x.owner, Message: msg.view(), Retain: retain, SubIDs: ids})
		return
	}
	m.assigned++
	s.enqueue(x, msg, ref{group: m, subIDs: ids, qos: qos, retain: retain})
}

// returnAssigned gives back to its groups what a detaching session was assigned
// at QoS 1. QoS 2 stays with the session, or ends with it. [MQTT-4.8.2-4]
func (s *State) returnAssigned(x *session) {
	for _, sub := range x.subs {
		if sub.member != nil && sub.member.assigned > 0 {
			s.reclaim(x, nil)
			return
		}
	}
}

// reclaim gives back what x was assigned by a member's group, or by all groups.
func (s *State) reclaim(x *session, of *member) {
	var nums []uint64
	x.queue.each(Range{0, ^uint64(0)}, func(r *ref) {
		if r.group != nil && (of == nil || r.group == of) && r.qos == 1 {
			nums = append(nums, r.num)
		}
	})
	var back []*Group
	for _, num := range nums {
		r := x.queue.find(num)
		msg, m := r.msg, r.group
		s.hold(msg)
		r.group = nil
		s.remove(x, r)
		m.assigned--
		g := m.group
		if g.returned == nil {
			back = append(back, g)
		}
		g.returned = append(g.returned, groupRef{msg: msg, at: s.time})
	}
	for _, g := range back {
		g.takeBack(s)
	}
}

// keepAssigned makes what the session still holds of a group it leaves its own:
// QoS 2 that is in flight.
func (s *State) keepAssigned(x *session, m *member) {
	x.queue.each(Range{0, ^uint64(0)}, func(r *ref) {
		if r.group == m {
			r.group = nil
			s.changes.ref(x, r)
		}
	})
}

// takeBack puts what a member returned in the places its age gives it: most
// times before all that waits.
func (g *Group) takeBack(s *State) {
	for i := range g.returned {
		g.bytes += uint64(g.returned[i].msg.size)
		s.note(effectGroupReturned, uint64(g.returned[i].msg.Seq), 0)
	}
	g.queue, g.returned = append(g.returned, g.queue...), nil
	byAge := func(a, b groupRef) int { return compareSeqs(a.msg.Seq, b.msg.Seq) }
	if !slices.IsSortedFunc(g.queue, byAge) {
		slices.SortFunc(g.queue, byAge)
	}
	s.changes.group(g)
}

// MemberInfo is who gets a message that a group takes at most once.
type MemberInfo struct {
	Session  SessionKey
	Epoch    SessionEpoch
	Owner    Owner
	QoS      byte
	RetainAs bool
	SubID    uint32
}

// Pick returns the next attached member, in turn. It may be called without the
// state's lock; deliveries at QoS 0 use it.
func (g *Group) Pick() (MemberInfo, bool) {
	on := g.view.Load().online
	if len(on) == 0 {
		return MemberInfo{}, false
	}
	return on[g.turn.Add(1)%uint64(len(on))], true
}

// Describe names the group and counts its members as of the last change.
func (g *Group) Describe() (name string, members, attached int) {
	return sharedPrefix + g.text(), int(g.size.Load()), len(g.view.Load().online)
}
