package routing

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

func TestBucketIsOneCacheLine(t *testing.T) {
	if size := unsafe.Sizeof(bucket[string, int]{}); size != 64 {
		t.Errorf("%d bytes", size)
	}
}

// TestIndexLikeMap also has hashes that collide in a few bits, in most and in all, which leads to long buckets.
func TestIndexLikeMap(t *testing.T) {
	for name, c := range map[string]struct {
		keys int
		hash func(int) uint64
	}{
		"good":      {400, func(k int) uint64 { return uint64(k+1) * 0x9e3779b97f4a7c15 }},
		"same tags": {400, func(k int) uint64 { return uint64(k) }},
		"low bits":  {30, func(k int) uint64 { return uint64(k+1) * 0x9e3779b97f4a7c15 << 32 }},
		"seven":     {100, func(k int) uint64 { return uint64(k%7) * 0x9e3779b97f4a7c15 }},
		"one":       {30, func(int) uint64 { return 42 }},
	} {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { indexSteps(t, c.keys, c.hash) }) })
	}
}

func indexSteps(t *rapid.T, keys int, hash func(int) uint64) {
	steps := 2 * keys
	var ix index[int, int]
	ref := map[int]int{}
	draw := newDice(t)
	for step := range steps {
		k := draw(keys)
		old := ix.get(hash(k), k)
		if want, held := ref[k]; held != (old != nil) || held && old.val != want {
			t.Fatalf("step %d: get(%d) = %v, want %d, %v", step, k, old, want, held)
		}
		growing := step*4/steps%2 == 0
		next := &cell[int, int]{hash: hash(k), key: k, val: step}
		switch {
		case old == nil && growing == (draw(10) < 8):
			ix.insert(next)
			ref[k] = step
		case old != nil && growing:
			ix.replace(old, next)
			ref[k] = step
		case old != nil:
			ix.remove(old)
			delete(ref, k)
		}
	}
	sane(t, &ix, len(ref))
	for k, want := range ref {
		if c := ix.get(hash(k), k); c == nil || c.val != want {
			t.Fatalf("get(%d) = %v, want %d", k, c, want)
		}
	}
}

// sane fails if the index holds anything but n cells, or more buckets than they need.
func sane(t interface{ Fatalf(string, ...any) }, ix *index[int, int], n int) {
	d := ix.dir.Load()
	if n == 0 {
		if d != nil || ix.cells != 0 {
			t.Fatalf("buckets are left of an empty index")
		}
		return
	}
	if min, max := uint64(n+fill-1)/fill, 2*uint64(n)/fill+2; d.count < min || d.count > max {
		t.Fatalf("%d buckets for %d cells, want %d to %d", d.count, n, min, max)
	}
	found := 0
	for i := range uint64(len(d.chunks)-1)*chunkSize + uint64(len(d.chunks[len(d.chunks)-1])) {
		all := d.bucket(i).all()
		if i >= d.count && len(all) > 0 {
			t.Fatalf("bucket %d of %d has cells", i, d.count)
		}
		for extra := d.bucket(i).more.Load(); extra != nil; extra = extra.more.Load() {
			if extra.tags.Load() == 0 {
				t.Fatalf("bucket %d has an empty one behind it", i)
			}
		}
		found += len(all)
	}
	if found != n || ix.cells != n {
		t.Fatalf("%d cells, %d counted, want %d", found, ix.cells, n)
	}
}

// TestIndexThroughChunks grows over several chunks and back.
func TestIndexThroughChunks(t *testing.T) {
	const n = 4 * chunkSize * fill
	var ix index[int, int]
	put := func(k int) { ix.insert(&cell[int, int]{hash: uint64(k) * 0x9e3779b97f4a7c15, key: k}) }
	for k := range n {
		put(k)
	}
	sane(t, &ix, n)
	for i, k := range rand.Perm(n) {
		ix.remove(ix.get(uint64(k)*0x9e3779b97f4a7c15, k))
		if i%(n/8) == 0 {
			sane(t, &ix, n-i-1)
		}
	}
	sane(t, &ix, 0)
}

func TestWithTag(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tags, tag := rapid.Uint64().Draw(t, "tags"), rapid.Uint64Range(1, 255).Draw(t, "tag")
		at := rapid.IntRange(0, 7).Draw(t, "at")
		tags = tags&^(0xff<<(8*at)) | tag<<(8*at)
		found := withTag(tags, tag)
		first := true
		for i := range 8 {
			is, got := tags>>(8*i)&0xff == tag, found>>(8*i)&0xff == 0x80
			if is && !got || first && got && !is {
				t.Fatalf("byte %d of %016x, tag %02x: %016x", i, tags, tag, found)
			}
			first = first && !is
		}
	})
}
