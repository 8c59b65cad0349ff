package routing

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// trie holds the wildcard filters, a node for each level. All nodes but the root are in one index, found by the node
// above and the level's text; so a node with one child costs no more than its share of a node with a million.
type trie[S comparable] struct {
	root  level[S]
	kids  index[edge[S], level[S]]
	nodes uint64 // ever made; the writer's
}

// level is what may follow the levels of a filter that led here.
type level[S comparable] struct {
	own  atomic.Pointer[subs[S]]  // of the filter that ends here
	rest atomic.Pointer[subs[S]]  // of the filter that ends here with "/#"
	plus atomic.Pointer[level[S]] // the next level is "+"
	kids atomic.Int64             // next levels with a text, in trie.kids
	id   uint64                   // fixed; part of its children's hashes
}

// edge is the way to a node: the text of a level, below the node above it.
type edge[S comparable] struct {
	from *level[S]
	text string
}

// match appends the subscribers of all filters that match topic. Order: at each level "#", then the level's own text,
// then "+"; where the topic ends, the filter that ends there and then its "/#".
func (t *trie[S]) match(topic string, dst []S) []S {
	if hidden(topic) { // [MQTT-4.7.2-1]
		text, tail, more := strings.Cut(topic, "/")
		return t.matchText(&t.root, text, tail, more, dst)
	}
	return t.matchBelow(&t.root, topic, dst)
}

// matchBelow is for a topic that has more levels than led to l.
func (t *trie[S]) matchBelow(l *level[S], levels string, dst []S) []S {
	if rest := l.rest.Load(); rest != nil {
		dst = rest.appendTo(dst)
	}
	text, tail, more := strings.Cut(levels, "/")
	dst = t.matchText(l, text, tail, more, dst)
	if plus := l.plus.Load(); plus != nil {
		dst = t.matchAt(plus, tail, more, dst)
	}
	return dst
}

func (t *trie[S]) matchText(l *level[S], text, tail string, more bool, dst []S) []S {
	if l.kids.Load() == 0 {
		return dst
	}
	if c := t.kids.get(l.hash(text), edge[S]{l, text}); c != nil {
		return t.matchAt(&c.val, tail, more, dst)
	}
	return dst
}

func (t *trie[S]) matchAt(l *level[S], tail string, more bool, dst []S) []S {
	if more {
		return t.matchBelow(l, tail, dst)
	}
	if own := l.own.Load(); own != nil {
		dst = own.appendTo(dst)
	}
	if rest := l.rest.Load(); rest != nil { // "sport/#" includes its parent "sport" (4.7.1.2)
		dst = rest.appendTo(dst)
	}
	return dst
}

// hash of the child text. Ids are spread by an odd multiplier, so that equal texts below different nodes differ.
func (l *level[S]) hash(text string) uint64 {
	return maphash.String(seed, text) ^ l.id*0x9e3779b97f4a7c15
}

func (t *trie[S]) add(filter string, s S) effect { return t.addBelow(&t.root, filter, s) }

func (t *trie[S]) addBelow(l *level[S], filter string, s S) effect {
	text, tail, more := strings.Cut(filter, "/")
	switch {
	case text == "#" && !more:
		return addTo(&l.rest, s)
	case more:
		return t.addBelow(t.childOrNew(l, text), tail, s)
	default:
		return addTo(&t.childOrNew(l, text).own, s)
	}
}

func (t *trie[S]) child(l *level[S], text string) *level[S] {
	if text == "+" {
		return l.plus.Load()
	}
	if c := t.kids.get(l.hash(text), edge[S]{l, text}); c != nil {
		return &c.val
	}
	return nil
}

func (t *trie[S]) childOrNew(l *level[S], text string) *level[S] {
	if kid := t.child(l, text); kid != nil {
		return kid
	}
	t.nodes++
	if text == "+" {
		l.plus.Store(&level[S]{id: t.nodes})
		return l.plus.Load()
	}
	c := &cell[edge[S], level[S]]{hash: l.hash(text), key: edge[S]{l, text}}
	c.val.id = t.nodes
	t.kids.insert(c)
	l.kids.Add(1)
	return &c.val
}

func (t *trie[S]) remove(filter string, s S) effect { return t.removeBelow(&t.root, filter, s) }

func (t *trie[S]) removeBelow(l *level[S], filter string, s S) (done effect) {
	text, tail, more := strings.Cut(filter, "/")
	if text == "#" && !more {
		return removeFrom(&l.rest, s)
	}
	kid := t.child(l, text)
	switch {
	case kid == nil:
		return effect{}
	case more:
		done = t.removeBelow(kid, tail, s)
	default:
		done = removeFrom(&kid.own, s)
	}
	if kid.empty() {
		t.prune(l, text)
	}
	return done
}

func (l *level[S]) empty() bool {
	return l.own.Load() == nil && l.rest.Load() == nil && l.plus.Load() == nil && l.kids.Load() == 0
}

func (t *trie[S]) prune(l *level[S], text string) {
	if text == "+" {
		l.plus.Store(nil)
		return
	}
	t.kids.remove(t.kids.get(l.hash(text), edge[S]{l, text}))
	l.kids.Add(-1)
}

func addTo[S comparable](list *atomic.Pointer[subs[S]], s S) effect {
	old := list.Load()
	if old == nil {
		list.Store(&subs[S]{one: s})
		return effect{pair: true, filter: true}
	}
	next, added := old.with(s)
	if next != *old {
		list.Store(&next)
	}
	return effect{pair: added}
}

func removeFrom[S comparable](list *atomic.Pointer[subs[S]], s S) effect {
	old := list.Load()
	if old == nil {
		return effect{}
	}
	next, left, removed := old.without(s)
	switch {
	case left == 0:
		list.Store(nil)
	case next != *old:
		list.Store(&next)
	}
	return effect{pair: removed, filter: left == 0}
}
