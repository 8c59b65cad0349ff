package routing

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// many is a long list of subscribers: blocks in the order of arrival, and an index from subscriber to place. Adding
// writes behind the end of the last block, removing sets a bit, and two neighbours with few left become one; so the
// list is never copied and its blocks are a quarter full at least.
type many[S comparable] struct {
	first atomic.Pointer[block[S]]

	// The writer's.
	last  *block[S]
	where index[S, place[S]]
}

type place[S comparable] struct {
	in *block[S]
	at int
}

const blockSize = 64

// block is part of a many. A reader loads used, then gone: places below used are written once and never again.
type block[S comparable] struct {
	next atomic.Pointer[block[S]]
	used atomic.Int64
	gone atomic.Uint64 // bit i: the subscriber at place i left
	subs [blockSize]S
	prev *block[S] // the writer's
}

func newMany[S comparable](list []S) *many[S] {
	m := new(many[S])
	for _, x := range list {
		m.add(x)
	}
	return m
}

func (m *many[S]) size() int { return m.where.cells }

func (m *many[S]) appendTo(dst []S) []S {
	for b := m.first.Load(); b != nil; b = b.next.Load() {
		dst = b.appendTo(dst)
	}
	return dst
}

func (b *block[S]) appendTo(dst []S) []S {
	used := b.used.Load()
	gone := b.gone.Load()
	if gone == 0 {
		return append(dst, b.subs[:used]...)
	}
	for i, x := range b.subs[:used] {
		if gone&(1<<i) == 0 {
			dst = append(dst, x)
		}
	}
	return dst
}

// left is how many of the block's subscribers are still there.
func (b *block[S]) left() int { return int(b.used.Load()) - bits.OnesCount64(b.gone.Load()) }

func (m *many[S]) add(x S) (added bool) {
	hash := maphash.Comparable(seed, x)
	if m.where.get(hash, x) != nil {
		return false
	}
	if m.last == nil || m.last.used.Load() == blockSize {
		m.link(m.last, new(block[S]), nil)
	}
	m.where.insert(&cell[S, place[S]]{hash: hash, key: x, val: m.last.push(x)})
	return true
}

// push writes x behind the last place; there is room.
func (b *block[S]) push(x S) place[S] {
	at := b.used.Load()
	b.subs[at] = x
	b.used.Store(at + 1)
	return place[S]{b, int(at)}
}

func (m *many[S]) remove(x S) (removed bool) {
	c := m.where.get(maphash.Comparable(seed, x), x)
	if c == nil {
		return false
	}
	b := c.val.in
	m.where.remove(c)
	b.gone.Store(b.gone.Load() | 1<<c.val.at)
	switch next := b.next.Load(); {
	case b.left() == 0:
		m.unlink(b)
	case next != nil && b.left()+next.left() <= blockSize/2:
		m.join(b, next)
	case b.prev != nil && b.prev.left()+b.left() <= blockSize/2:
		m.join(b.prev, b)
	}
	return true
}

// join puts one block with what is left of a and b, which are neighbours, in their place.
func (m *many[S]) join(a, b *block[S]) {
	both := new(block[S])
	for _, x := range b.appendTo(a.appendTo(nil)) {
		m.where.get(maphash.Comparable(seed, x), x).val = both.push(x)
	}
	m.link(a.prev, both, b.next.Load())
}

func (m *many[S]) unlink(b *block[S]) {
	next := b.next.Load()
	if next != nil {
		next.prev = b.prev
	} else {
		m.last = b.prev
	}
	m.linkAfter(b.prev).Store(next)
}

// link puts b between prev and next, either of which may be nil for the list's end.
func (m *many[S]) link(prev, b, next *block[S]) {
	b.prev = prev
	b.next.Store(next)
	if next != nil {
		next.prev = b
	} else {
		m.last = b
	}
	m.linkAfter(prev).Store(b)
}

// linkAfter returns what points to the block after b, or to the first.
func (m *many[S]) linkAfter(b *block[S]) *atomic.Pointer[block[S]] {
	if b == nil {
		return &m.first
	}
	return &b.next
}
