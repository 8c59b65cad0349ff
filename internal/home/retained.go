package home

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"causeway/routing"
)

// tombstoneLife is how long a deletion is remembered at least, so that an older
// message still on its way from a peer cannot bring the topic back.
const tombstoneLife = 24 * time.Hour

// retained is the retained message of a topic, or the memory of its deletion.
// Versions (n, home) are ordered; the higher one wins on every home. [D7]
type retained struct {
	topic   string
	version uint64
	home    ID
	msg     *message // nil: deleted
	kept    bool     // a standby may not store it
	seq     Seq      // when this home learnt of it
	at      Time
}

// retainedTree holds a namespace's retained messages by topic level.
type retainedTree struct {
	root  retainedNode
	count int // without tombstones
}

type retainedNode struct {
	children map[string]*retainedNode
	here     *retained
}

type tombstone struct {
	space *space
	topic string
	seq   Seq
	at    Time
}

func (t *retainedTree) get(topic string) *retained {
	n := &t.root
	for level := range strings.SplitSeq(topic, "/") {
		if n = n.children[level]; n == nil {
			return nil
		}
	}
	return n.here
}

func (t *retainedTree) put(r *retained) {
	n := &t.root
	for level := range strings.SplitSeq(r.topic, "/") {
		next := n.children[level]
		if next == nil {
			if n.children == nil {
				n.children = map[string]*retainedNode{}
			}
			next = &retainedNode{}
			n.children[strings.Clone(level)] = next
		}
		n = next
	}
	n.here = r
}

func (t *retainedTree) remove(topic string) { t.root.remove(strings.Split(topic, "/")) }

// remove reports whether the node became empty.
func (n *retainedNode) remove(levels []string) bool {
	if len(levels) == 0 {
		n.here = nil
	} else if c := n.children[levels[0]]; c != nil && c.remove(levels[1:]) {
		delete(n.children, levels[0])
	}
	return n.here == nil && len(n.children) == 0
}

// match returns what the filter matches, sorted by topic.
func (t *retainedTree) match(filter string) []*retained {
	var list []*retained
	t.root.match(strings.Split(filter, "/"), true, &list)
	slices.SortFunc(list, func(a, b *retained) int { return cmp.Compare(a.topic, b.topic) })
	return list
}

func (n *retainedNode) match(levels []string, first bool, list *[]*retained) {
	if len(levels) == 0 {
		if n.here != nil {
			*list = append(*list, n.here)
		}
		return
	}
	switch level := levels[0]; level {
	case "#": // also the parent level [MQTT-4.7.1-2]
		n.all(first, list)
	case "+":
		for name, c := range n.children {
			if !first || !strings.HasPrefix(name, "$") { // [MQTT-4.7.2-1]
				c.match(levels[1:], false, list)
			}
		}
	default:
		if c := n.children[level]; c != nil {
			c.match(levels[1:], false, list)
		}
	}
}

func (n *retainedNode) all(first bool, list *[]*retained) {
	if n.here != nil {
		*list = append(*list, n.here)
	}
	for name, c := range n.children {
		if !first || !strings.HasPrefix(name, "$") {
			c.all(false, list)
		}
	}
}

// each visits every retained message and tombstone, in no order.
func (t *retainedTree) each(f func(*retained)) { t.root.each(f) }

func (n *retainedNode) each(f func(*retained)) {
	if n.here != nil {
		f(n.here)
	}
	for _, c := range n.children {
		c.each(f)
	}
}

// maxRetainVersion keeps what a peer says from wrapping the count.
const maxRetainVersion = 1 << 63

// keepable says whether a topic may have a retained message: every level costs a
// node.
func keepable(topic string) bool { return strings.Count(topic, "/") < routing.MaxLevels }

// retain makes m the retained message of its topic (or deletes it, when its
// payload is empty) if version (n, home) is the highest seen. n 0 means the
// next one, by this home. It returns the version now in force and whether m won.
func (s *State) retain(m *message, n uint64, home ID) (version uint64, won bool) {
	if n > maxRetainVersion || !keepable(m.Topic) || m.place.isGiven() && m.place.noKeep {
		if m.place != nil && !m.place.given {
			m.place.noKeep = true
		}
		return 0, false
	}
	sp := s.space(m.Namespace)
	old := s.replaced(sp, m)
	if n == 0 {
		// A peer may remember what was forgotten here, so the count goes on above it.
		n, home = s.forgotten+1, s.id
		if old != nil {
			n = old.version + 1
		}
	} else if old != nil && cmp.Or(cmp.Compare(n, old.version), cmp.Compare(home, old.home)) <= 0 {
		return old.version, false
	}
	switch {
	case old == nil:
	case old.msg != nil:
		s.dropRetained(sp, old)
	default:
		s.graves--
	}
	r := &retained{topic: strings.Clone(m.Topic), version: n, home: home, seq: m.Seq, at: s.time, kept: m.kept}
	if m.Withheld {
		r.topic = veiled(m.Seq)
	}
	if old != nil {
		s.veils -= one(old.kept)
	}
	if s.veils += one(r.kept); old != nil && old.topic != r.topic {
		sp.retained.remove(old.topic)
		s.changes.retained(sp, old.topic)
	}
	if len(m.Payload) > 0 && !m.expired(s.time) {
		r.msg = m
		m.pinned = true
		s.hold(m)
		sp.retained.count++
	} else {
		s.dig(tombstone{sp, r.topic, r.seq, s.time})
	}
	sp.retained.put(r)
	s.note(effectRetained, uint64(r.seq), r.version)
	s.changes.retained(sp, r.topic)
	if r.msg != nil && m.Expires != 0 {
		s.arm(timer{at: m.Expires, kind: timerRetained, key: SessionKey{sp.name, r.topic}})
	}
	return n, true
}

// replaced is what was retained of a message's topic.
func (s *State) replaced(sp *space, m *message) *retained {
	if m.place.isGiven() {
		return sp.retainedBySeq(m.place.old, m.Topic)
	}
	old := sp.retained.get(m.Topic)
	if old != nil && m.place != nil {
		m.place.old = old.seq
	}
	return old
}

func (s *State) dropRetained(sp *space, r *retained) {
	r.msg.pinned = false
	s.release(r.msg)
	r.msg = nil
	sp.retained.count--
}

func (s *State) expireRetained(ns, topic string) {
	sp := s.space(ns)
	r := sp.retained.get(topic)
	s.dropRetained(sp, r)
	s.forget(sp, r)
}

// forget removes the last trace of a retained message.
func (s *State) forget(sp *space, r *retained) {
	s.forgotten = max(s.forgotten, r.version)
	s.veils -= one(r.kept)
	s.note(effectForgotten, uint64(r.seq), r.version)
	sp.retained.remove(r.topic)
	s.changes.retained(sp, r.topic)
}

// dig adds a tombstone. Those whose topic has a message again, or a newer
// tombstone, are swept when they are as many as the others.
func (s *State) dig(t tombstone) {
	s.graves++
	s.tombs = append(s.tombs, t)
	if len(s.tombs) > s.tombLimit {
		last := len(s.tombs) - 1 // not in its place yet
		live := slices.DeleteFunc(s.tombs[:last], func(t tombstone) bool { return !t.stands() })
		s.tombs = append(append([]tombstone(nil), live...), t)
		s.tombLimit = roomFor(len(s.tombs))
	}
}

func (t *tombstone) stands() bool {
	r := t.space.retained.get(t.topic)
	return r != nil && r.msg == nil && r.seq == t.seq
}

// buryTombstones forgets deletions that every peer has heard of. There are never
// more than there may be retained messages: above that the oldest go.
func (s *State) buryTombstones() {
	most := int(s.config.Load().limits().Retained)
	for len(s.tombs) > 0 {
		t := s.tombs[0]
		stands := t.stands()
		if stands && s.graves <= most && len(s.peers) > 0 && (s.time.Sub(t.at) < tombstoneLife || !s.peersPassed(t.seq)) {
			return
		}
		s.tombs = s.tombs[1:]
		if stands {
			s.graves--
			s.forget(t.space, t.space.retained.get(t.topic))
		}
	}
	s.tombs = nil
}

// retainedFor lists what is retained for a filter. Where a standby may not store some of
// it, what the host found is noted.
func (s *State) retainedFor(sp *space, filter string) (list []*retained) {
	if s.veils > 0 && s.given != nil {
		for _, seq := range s.nextGiven().retained {
			if r := sp.retainedBySeq(seq, ""); r != nil && r.msg != nil {
				list = append(list, r)
			}
		}
		return list
	}
	list = slices.DeleteFunc(sp.retained.match(filter), func(r *retained) bool {
		return r.msg == nil || r.msg.expired(s.time) || r.hidden()
	})
	if s.veils > 0 && s.noting() {
		p := &placing{spot: spot{s.entry, s.opAt, noItem}}
		for _, r := range list {
			p.retained = append(p.retained, r.seq)
		}
		s.made = append(s.made, p)
	}
	return list
}

// sendRetained gives a new subscription the retained messages it matches, at
// this place of the log. [A5]
func (s *State) sendRetained(x *session, sub *subscription, filter string) {
	for _, r := range s.retainedFor(s.space(x.key.Namespace), filter) {
		var ids []uint32
		if sub.ID != 0 {
			ids = []uint32{sub.ID}
		}
		s.give(x, r.msg, min(r.msg.QoS, sub.QoS), true, ids)
	}
}
