package routing

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// index is a hash map for one writer and any number of readers, by linear hashing: it grows by a few buckets at a time,
// each taking from the bucket whose turn it is the cells that belong to the new one. So no write ever copies or
// rehashes the whole, where a Go map stops for tens of microseconds now and then, and a clone of a million entries takes
// 145 ms. It shrinks the same way. The zero index is empty and has no buckets.
//
// Readers take no lock. What they can see during a write (cells on their way to another bucket) is put right by Table,
// which looks again. They always come to an end: a chain is never a circle, and a cell that was taken out never returns.
type index[K comparable, V any] struct {
	dir   atomic.Pointer[directory[K, V]]
	cells int // the writer's
}

// directory is immutable, but for what its buckets point to. All chunks but the first have chunkSize buckets; a small
// index has the first one only, which grows to chunkSize by doubling. Buckets from count on are empty.
type directory[K comparable, V any] struct {
	chunks [][]bucket[K, V]
	count  uint64 // a multiple of step
}

type bucket[K comparable, V any] = atomic.Pointer[cell[K, V]]

// cell is one entry. Hash and key are fixed; val is the user's concern.
type cell[K comparable, V any] struct {
	next atomic.Pointer[cell[K, V]]
	hash uint64
	key  K
	val  V
}

const (
	chunkSize = 512
	step      = 8 // buckets that come or go at a time; also the fewest
	perCell   = 2 // buckets wanted for each cell: a look-up then touches 1.3 cells, each of them a cache miss
)

// at returns the bucket of hash. Buckets are numbered by the low bits of the hash; numbers that do not exist yet are
// still part of the one without their highest bit.
func (d *directory[K, V]) at(hash uint64) *bucket[K, V] {
	mask := uint64(1)<<bits.Len64(d.count-1) - 1
	i := hash & mask
	if i >= d.count {
		i &= mask >> 1
	}
	return d.bucket(i)
}

func (d *directory[K, V]) bucket(i uint64) *bucket[K, V] { return &d.chunks[i/chunkSize][i%chunkSize] }

// get returns key's cell or nil. It does not allocate.
func (ix *index[K, V]) get(hash uint64, key K) *cell[K, V] {
	d := ix.dir.Load()
	if d == nil {
		return nil
	}
	c := d.at(hash).Load()
	for c != nil && (c.hash != hash || c.key != key) {
		c = c.next.Load()
	}
	return c
}

// insert adds c, whose key is not in the index.
func (ix *index[K, V]) insert(c *cell[K, V]) {
	if ix.dir.Load() == nil {
		ix.dir.Store(&directory[K, V]{chunks: [][]bucket[K, V]{make([]bucket[K, V], step)}, count: step})
	}
	b := ix.dir.Load().at(c.hash)
	c.next.Store(b.Load())
	b.Store(c)
	ix.cells++
	if ix.dir.Load().count < perCell*uint64(ix.cells) {
		ix.grow()
	}
}

// replace puts next in the place of old, which has the same key.
func (ix *index[K, V]) replace(old, next *cell[K, V]) {
	next.next.Store(old.next.Load())
	ix.linkTo(old).Store(next)
}

// remove takes out c.
func (ix *index[K, V]) remove(c *cell[K, V]) {
	ix.linkTo(c).Store(c.next.Load())
	ix.cells--
	switch {
	case ix.cells == 0:
		ix.dir.Store(nil)
	case ix.dir.Load().count > 2*perCell*uint64(ix.cells)+step:
		ix.shrink()
	}
}

// linkTo returns what points to c.
func (ix *index[K, V]) linkTo(c *cell[K, V]) *atomic.Pointer[cell[K, V]] {
	link := ix.dir.Load().at(c.hash)
	for link.Load() != c {
		link = &link.Load().next
	}
	return link
}

// grow adds step buckets and moves to them what belongs there.
func (ix *index[K, V]) grow() {
	old := ix.dir.Load()
	next := &directory[K, V]{chunks: old.chunks, count: old.count + step}
	switch last := len(old.chunks) - 1; {
	case old.count < uint64(last*chunkSize+len(old.chunks[last])):
	case len(old.chunks[last]) < chunkSize:
		next.chunks = [][]bucket[K, V]{doubled(old.chunks[last])}
	default: // readers of old do not look behind its length, so the two may share an array
		next.chunks = append(old.chunks, make([]bucket[K, V], chunkSize))
	}
	for i := old.count; i < next.count; i++ {
		next.split(i)
	}
	ix.dir.Store(next)
}

// parent is the bucket that held what bucket i holds before there was a bucket i, and bit what tells the two apart.
func parent(i uint64) (from, bit uint64) {
	bit = 1 << (bits.Len64(i) - 1)
	return i &^ bit, bit
}

func (d *directory[K, V]) split(i uint64) {
	from, bit := parent(i)
	stay, move := d.bucket(from), d.bucket(i)
	for c := stay.Load(); c != nil; c = c.next.Load() {
		if c.hash&bit == 0 {
			stay.Store(c)
			stay = &c.next
		} else {
			move.Store(c)
			move = &c.next
		}
	}
	stay.Store(nil)
	move.Store(nil)
}

// shrink gives the cells of the last step buckets back to those they came from.
func (ix *index[K, V]) shrink() {
	old := ix.dir.Load()
	next := &directory[K, V]{chunks: old.chunks, count: old.count - step}
	for i := old.count - 1; i >= next.count; i-- {
		from, _ := parent(i)
		end := old.bucket(from)
		for end.Load() != nil {
			end = &end.Load().next
		}
		end.Store(old.bucket(i).Load())
		old.bucket(i).Store(nil)
	}
	if last := len(old.chunks) - 1; last > 0 && next.count == uint64(last*chunkSize) {
		next.chunks = slices.Clone(old.chunks[:last]) // an array of its own: readers of old look at the chunk that goes
	}
	ix.dir.Store(next)
}

func doubled[K comparable, V any](chunk []bucket[K, V]) []bucket[K, V] {
	out := make([]bucket[K, V], 2*len(chunk))
	for i := range chunk {
		out[i].Store(chunk[i].Load())
	}
	return out
}
