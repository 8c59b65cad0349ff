package routing

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// index is a hash map for one writer and any number of readers, by linear hashing: it grows by one bucket at a time,
// which takes from the bucket whose turn it is the cells that belong to the new one. So no write ever copies or
// rehashes the whole, where a Go map stops for tens of microseconds now and then, and a clone of a million entries takes
// 145 ms. It shrinks the same way. The zero index is empty and has no buckets.
//
// Readers take no lock. What they can see during a write (cells on their way to another bucket) is put right by Table,
// which looks again.
type index[K comparable, V any] struct {
	dir   atomic.Pointer[directory[K, V]]
	cells int // the writer's
}

// directory is immutable, but for the buckets themselves. All chunks but the first have chunkSize buckets; a small
// index has the first one only, which grows to chunkSize by doubling. Buckets from count on are empty.
type directory[K comparable, V any] struct {
	chunks [][]bucket[K, V]
	count  uint64
}

// bucket is one cache line: a byte of hash for each place, zero where there is none, so that a look-up goes only to the
// cell it wants and one for a key that is not there goes to none.
type bucket[K comparable, V any] struct {
	tags  atomic.Uint64
	cells [places]atomic.Pointer[cell[K, V]]
	more  atomic.Pointer[bucket[K, V]] // when all places are taken
}

// cell is one entry. Hash and key are fixed; val is the user's concern.
type cell[K comparable, V any] struct {
	hash uint64
	key  K
	val  V
}

const (
	places    = 6
	fill      = 3   // cells a bucket, on average; half full, so that few need more
	chunkSize = 128 // buckets
)

// tagOf takes the hash's top bits, since the low ones number the bucket. It is never zero.
func tagOf(hash uint64) uint64 { return hash>>56 | 1 }

const everyByte = 0x0101010101010101

// withTag returns a word with the top bit set of each byte of tags that is tag; a byte above one that is may be set
// wrongly, which costs a comparison.
func withTag(tags, tag uint64) uint64 {
	differ := tags ^ tag*everyByte
	return (differ - everyByte) &^ differ & (everyByte << 7)
}

// at returns the bucket of hash. Buckets are numbered by the low bits of the hash; a number that does not exist yet is
// still part of the one without its highest bit.
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
	tag := tagOf(hash)
	for b := d.at(hash); b != nil; b = b.more.Load() {
		for found := withTag(b.tags.Load(), tag); found != 0; found &= found - 1 {
			i := bits.TrailingZeros64(found) / 8
			if i >= places {
				break
			}
			if c := b.cells[i].Load(); c != nil && c.hash == hash && c.key == key {
				return c
			}
		}
	}
	return nil
}

// insert adds c, whose key is not in the index.
func (ix *index[K, V]) insert(c *cell[K, V]) {
	if ix.dir.Load() == nil {
		ix.dir.Store(&directory[K, V]{chunks: [][]bucket[K, V]{make([]bucket[K, V], 1)}, count: 1})
	}
	ix.dir.Load().at(c.hash).put(c)
	ix.cells++
	if uint64(ix.cells) > fill*ix.dir.Load().count {
		ix.grow()
	}
}

// replace puts next in the place of old, which has the same key.
func (ix *index[K, V]) replace(old, next *cell[K, V]) {
	b, i := ix.find(old)
	b.cells[i].Store(next)
}

// remove takes out c.
func (ix *index[K, V]) remove(c *cell[K, V]) {
	b, i := ix.find(c)
	b.clear(i)
	if first := ix.dir.Load().at(c.hash); first.more.Load() != nil {
		first.put(first.drain()...) // so that no bucket stays behind empty
	}
	ix.cells--
	switch {
	case ix.cells == 0:
		ix.dir.Store(nil)
	case 2*uint64(ix.cells) < fill*(ix.dir.Load().count-1):
		ix.shrink()
	}
}

// find returns the place of c, which is there.
func (ix *index[K, V]) find(c *cell[K, V]) (b *bucket[K, V], i int) {
	for b = ix.dir.Load().at(c.hash); ; b = b.more.Load() {
		for i = range b.cells {
			if b.cells[i].Load() == c {
				return b, i
			}
		}
	}
}

// grow adds one bucket and moves to it what belongs there.
func (ix *index[K, V]) grow() {
	old := ix.dir.Load()
	next := &directory[K, V]{chunks: old.chunks, count: old.count + 1}
	switch last := len(old.chunks) - 1; {
	case old.count < uint64(last*chunkSize+len(old.chunks[last])):
	case len(old.chunks[last]) < chunkSize:
		next.chunks = [][]bucket[K, V]{doubled(old.chunks[last])}
	default: // readers of old do not look behind its length, so the two may share an array
		next.chunks = append(old.chunks, make([]bucket[K, V], chunkSize))
	}
	ix.dir.Store(next)
	from := next.bucket(parent(old.count))
	for _, c := range from.drain() {
		next.at(c.hash).put(c)
	}
}

// parent is the bucket that holds what bucket i will hold.
func parent(i uint64) uint64 { return i &^ (1 << (bits.Len64(i) - 1)) }

// shrink gives the cells of the last bucket back to the one they came from.
func (ix *index[K, V]) shrink() {
	old := ix.dir.Load()
	next := &directory[K, V]{chunks: old.chunks, count: old.count - 1}
	if last := len(old.chunks) - 1; last > 0 && next.count == uint64(last*chunkSize) {
		next.chunks = slices.Clone(old.chunks[:last]) // an array of its own: readers of old look at the chunk that goes
	}
	next.bucket(parent(next.count)).put(old.bucket(next.count).drain()...)
	ix.dir.Store(next)
}

// doubled moves the buckets; readers of the old ones find them as they were.
func doubled[K comparable, V any](chunk []bucket[K, V]) []bucket[K, V] {
	out := make([]bucket[K, V], 2*len(chunk))
	for i := range chunk {
		out[i].put(chunk[i].all()...)
	}
	return out
}

// put writes cells into free places.
func (b *bucket[K, V]) put(cells ...*cell[K, V]) {
	for _, c := range cells {
		b.putOne(c)
	}
}

func (b *bucket[K, V]) putOne(c *cell[K, V]) {
	for ; ; b = b.more.Load() {
		for i := range b.cells {
			if b.cells[i].Load() == nil {
				b.cells[i].Store(c)
				b.tags.Store(b.tags.Load() | tagOf(c.hash)<<(8*i))
				return
			}
		}
		if b.more.Load() == nil {
			b.more.Store(new(bucket[K, V]))
		}
	}
}

func (b *bucket[K, V]) clear(i int) {
	b.tags.Store(b.tags.Load() &^ (0xff << (8 * i)))
	b.cells[i].Store(nil)
}

// all returns the bucket's cells and drain takes them out.

func (b *bucket[K, V]) all() (cells []*cell[K, V]) {
	cells = make([]*cell[K, V], 0, 2*places)
	for ; b != nil; b = b.more.Load() {
		for i := range b.cells {
			if c := b.cells[i].Load(); c != nil {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func (b *bucket[K, V]) drain() []*cell[K, V] {
	cells := b.all()
	b.more.Store(nil)
	for i := range b.cells {
		b.clear(i)
	}
	return cells
}
