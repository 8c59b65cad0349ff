package routing

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Table says who wants a topic: pairs of a filter and a subscriber. All methods may be called concurrently.
//
// Match takes no lock. It reads what a writer may be changing and then looks whether there was a write meanwhile; if
// so it starts again, and the third time it keeps writers out. So it sees either all or nothing of each write: one
// that returned is seen by every Match that begins later, and a subscriber that adds one filter before it removes
// another is never missed in between. DESIGN.md beside this file has the figures and what was tried instead.
//
// Filters are kept as given and not checked: ask ValidFilter first. A filter it refuses does no harm; its misplaced
// wildcards are taken literally and match nothing that can be published. The Table keeps the string given to Add: do
// not hand in a slice of a large buffer.
type Table[S comparable] struct {
	mu      sync.Mutex    // serialises writers
	writes  atomic.Uint64 // odd while a write is under way
	exact   index[string, subs[S]]
	wild    trie[S]
	pairs   atomic.Int64
	filters atomic.Int64
}

// effect is what a write did: a pair came or went, and with it perhaps the filter.
type effect struct{ pair, filter bool }

// NewTable returns an empty table. It takes about 150 bytes, so there may be one per namespace.
func NewTable[S comparable]() *Table[S] { return new(Table[S]) }

// Add records that s wants filter and reports whether that is new. An s that wants several filters is one pair for
// each.
func (t *Table[S]) Add(filter string, s S) (added bool) {
	t.begin()
	defer t.end()
	if wild(filter) {
		return t.count(t.wild.add(filter, s), +1)
	}
	return t.count(t.addExact(filter, s), +1)
}

// Remove takes an Add back and reports whether there was one.
func (t *Table[S]) Remove(filter string, s S) (removed bool) {
	t.begin()
	defer t.end()
	if wild(filter) {
		return t.count(t.wild.remove(filter, s), -1)
	}
	return t.count(t.removeExact(filter, s), -1)
}

func (t *Table[S]) begin() {
	t.mu.Lock()
	t.writes.Add(1)
}

func (t *Table[S]) end() {
	t.writes.Add(1)
	t.mu.Unlock()
}

func (t *Table[S]) count(done effect, by int64) bool {
	if done.pair {
		t.pairs.Add(by)
	}
	if done.filter {
		t.filters.Add(by)
	}
	return done.pair
}

// Match appends to dst the subscribers of every filter that matches topic, each once per filter, and returns dst. It
// allocates nothing but what dst needs to grow.
//
// The order is the same wherever the same Adds and Removes were made in the same order: first the filter without a
// wildcard, then those with one (at each level "#" before the level's own text before "+"), and within a filter the
// order in which its subscribers came.
func (t *Table[S]) Match(topic string, dst []S) []S {
	given := len(dst)
	for range 2 {
		before := t.writes.Load()
		if before%2 != 0 {
			break
		}
		dst = t.match(topic, dst[:given])
		if t.writes.Load() == before {
			return dst
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.match(topic, dst[:given])
}

func (t *Table[S]) match(topic string, dst []S) []S {
	if c := t.exact.get(maphash.String(seed, topic), topic); c != nil {
		dst = c.val.appendTo(dst)
	}
	return t.wild.match(topic, dst)
}

// Len is the number of (filter, subscriber) pairs.
func (t *Table[S]) Len() int { return int(t.pairs.Load()) }

// Filters is the number of distinct filters.
func (t *Table[S]) Filters() int { return int(t.filters.Load()) }

func (t *Table[S]) addExact(filter string, s S) effect {
	hash := maphash.String(seed, filter)
	old := t.exact.get(hash, filter)
	if old == nil {
		t.exact.insert(&cell[string, subs[S]]{hash: hash, key: filter, val: subs[S]{one: s}})
		return effect{pair: true, filter: true}
	}
	next, added := old.val.with(s)
	t.replaceExact(old, next)
	return effect{pair: added}
}

func (t *Table[S]) removeExact(filter string, s S) effect {
	old := t.exact.get(maphash.String(seed, filter), filter)
	if old == nil {
		return effect{}
	}
	next, left, removed := old.val.without(s)
	if left == 0 {
		t.exact.remove(old)
		return effect{pair: true, filter: true}
	}
	t.replaceExact(old, next)
	return effect{pair: removed}
}

// replaceExact puts in a new cell if the list is another: what readers can reach in a cell stays as it is.
func (t *Table[S]) replaceExact(old *cell[string, subs[S]], next subs[S]) {
	if next != old.val {
		t.exact.replace(old, &cell[string, subs[S]]{hash: old.hash, key: old.key, val: next})
	}
}
