package routing

import (
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
)

// TestManyStaysDense: whatever the order in which most of a long list leaves, few blocks remain.
func TestManyStaysDense(t *testing.T) {
	const n, every = 10_000, 50
	leavers := make([]int, 0, n)
	for i := range n {
		if i%every != 0 {
			leavers = append(leavers, i)
		}
	}
	backwards := slices.Clone(leavers)
	slices.Reverse(backwards)
	shuffled := slices.Clone(leavers)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for name, order := range map[string][]int{"forwards": leavers, "backwards": backwards, "shuffled": shuffled} {
		m := new(many[int])
		for i := range n {
			m.add(i)
		}
		for _, x := range order {
			if !m.remove(x) || m.remove(x) {
				t.Fatalf("%s: remove(%d)", name, x)
			}
		}
		blocks := 0
		for b, prev := m.first.Load(), (*block[int])(nil); b != nil; b, prev = b.next.Load(), b {
			if blocks++; b.prev != prev {
				t.Fatalf("%s: block %d does not know the one before", name, blocks)
			}
		}
		if left := m.appendTo(nil); len(left) != n/every || !slices.IsSorted(left) {
			t.Errorf("%s: left %v", name, left)
		}
		if most := n / every / (blockSize / 4); blocks > most {
			t.Errorf("%s: %d blocks for %d subscribers, at most %d", name, blocks, n/every, most)
		}
	}
}

// TestSubsChangeSize: one, few, many and back, each in time.
func TestSubsChangeSize(t *testing.T) {
	list := subs[int]{one: 0}
	for i := 1; i < 100; i++ {
		list, _ = list.with(i)
		if got := list.more.many != nil; got != (i >= mostFew) {
			t.Errorf("with %d subscribers: many is %v", i+1, got)
		}
	}
	for i := 99; i > 0; i-- {
		var left int
		if list, left, _ = list.without(i); left != i {
			t.Errorf("left %d, want %d", left, i)
		}
		if got := list.more != nil && list.more.many != nil; got != (left >= mostFew/2) {
			t.Errorf("with %d subscribers: many is %v", left, got)
		}
	}
	if list.more != nil || list.one != 0 {
		t.Errorf("%+v", list)
	}
}

// TestMatchWaitsForAWriteUnderWay: a Match that begins and could end within one write does not use what it saw.
func TestMatchWaitsForAWriteUnderWay(t *testing.T) {
	table := NewTable[int]()
	table.Add("a", 1)
	table.begin()
	table.exact.remove(table.exact.get(maphash.String(seed, "a"), "a"))
	result := make(chan []int, 1)
	go func() { result <- table.Match("a", nil) }()
	for range 10_000 {
		runtime.Gosched()
	}
	table.addExact("a", 1)
	table.end()
	if got := <-result; !slices.Equal(got, []int{1}) {
		t.Errorf("Match returned %v", got)
	}
}
