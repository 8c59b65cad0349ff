package home

import (
	"cmp"
	"slices"
	"strings"
	"time"
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

// retain makes m the retained message of its topic (or deletes it, when its
// payload is empty) if version (n, home) is the highest seen. n 0 means the
// next one, by this home. It returns the version now in force and whether m won.
func (s *State) retain(m *message, n uint64, home ID) (version uint64, won bool) {
	sp := s.space(m.Namespace)
	old := sp.retained.get(m.Topic)
	if n == 0 {
		n, home = 1, s.id
		if old != nil {
			n = old.version + 1
		}
	} else if old != nil && cmp.Or(cmp.Compare(n, old.version), cmp.Compare(home, old.home)) <= 0 {
		return old.version, false
	}
	if old != nil && old.msg != nil {
		s.dropRetained(sp, old)
	}
	r := &retained{topic: strings.Clone(m.Topic), version: n, home: home, seq: m.Seq, at: s.time}
	if len(m.Payload) > 0 && !m.expired(s.time) {
		r.msg = m
		m.pinned = true
		s.hold(m)
		sp.retained.count++
		if m.Expires != 0 {
			s.timers.push(timer{at: m.Expires, kind: timerRetained, key: SessionKey{sp.name, r.topic}})
		}
	} else {
		s.tombs = append(s.tombs, tombstone{sp, r.topic, r.seq, s.time})
	}
	sp.retained.put(r)
	s.changes.retained(sp, r.topic)
	return n, true
}

func (s *State) dropRetained(sp *space, r *retained) {
	r.msg.pinned = false
	s.release(r.msg)
	r.msg = nil
	sp.retained.count--
}

func (s *State) expireRetained(ns, topic string, at Time) {
	sp := s.space(ns)
	r := sp.retained.get(topic)
	if r == nil || r.msg == nil || r.msg.Expires != at {
		return
	}
	s.dropRetained(sp, r)
	sp.retained.remove(topic)
	s.changes.retained(sp, topic)
}

// buryTombstones forgets deletions that every peer has heard of.
func (s *State) buryTombstones() {
	for len(s.tombs) > 0 {
		t := s.tombs[0]
		if len(s.peers) > 0 && (s.time.Sub(t.at) < tombstoneLife || !s.peersPassed(t.seq)) {
			return
		}
		s.tombs = s.tombs[1:]
		if r := t.space.retained.get(t.topic); r != nil && r.msg == nil && r.seq == t.seq {
			t.space.retained.remove(t.topic)
			s.changes.retained(t.space, t.topic)
		}
	}
	s.tombs = nil
}

// sendRetained gives a new subscription the retained messages it matches, at
// this place of the log. [A5]
func (s *State) sendRetained(x *session, sub *subscription, filter string) {
	for _, r := range s.space(x.key.Namespace).retained.match(filter) {
		if r.msg == nil || r.msg.expired(s.time) {
			continue
		}
		var ids []uint32
		if sub.ID != 0 {
			ids = []uint32{sub.ID}
		}
		s.give(x, r.msg, min(r.msg.QoS, sub.QoS), true, ids)
	}
}
