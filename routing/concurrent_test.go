package routing

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// beside runs readers until write returns. A reader gets a slice to match into and returns what is wrong, or "".
func beside(t *testing.T, write func(), read func(dst []int) string) {
	t.Helper()
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			dst := make([]int, 0, 4096)
			for ; !stop.Load(); runtime.Gosched() { // on few cores the writer wants its turn
				if wrong := read(dst); wrong != "" {
					t.Error(wrong)
					return
				}
			}
		})
	}
	write()
	stop.Store(true)
	readers.Wait()
}

// TestConcurrent_FinishedAddIsSeen: a Match that begins after an Add returned has it, while the indexes grow.
func TestConcurrent_FinishedAddIsSeen(t *testing.T) {
	const n = 3000
	table := NewTable[int]()
	var finished atomic.Int64
	write := func() {
		for i := range n {
			table.Add(fmt.Sprintf("exact/%d", i), i)
			table.Add(fmt.Sprintf("+/%d", i), i)
			table.Add("all", i)
			finished.Store(int64(i + 1))
		}
	}
	beside(t, write, func(dst []int) string {
		done := int(finished.Load())
		for i := max(0, done-3); i < done; i++ {
			if got := table.Match(fmt.Sprintf("exact/%d", i), dst[:0]); !slices.Equal(got, []int{i, i}) {
				return fmt.Sprintf("filter %d of %d finished ones: %v", i, done, got)
			}
		}
		got := table.Match("all", dst[:0])
		if len(got) < done {
			return fmt.Sprintf("%d subscribers of %d finished ones", len(got), done)
		}
		for i, s := range got {
			if i != s {
				return fmt.Sprintf("place %d has subscriber %d", i, s)
			}
		}
		return ""
	})
}

// TestConcurrent_WriteIsAllOrNothing: a subscriber that takes a new filter before it gives up the old one is never
// missed, one that leaves a list and joins it again is never seen twice, and who stays is always seen, while filters
// beside them come and go so that buckets split and join.
func TestConcurrent_WriteIsAllOrNothing(t *testing.T) {
	const mover, stayer, crowd = 1, 2, 10
	table := NewTable[int]()
	table.Add("a/b", mover)
	table.Add("a/+", stayer)
	for i := range 100 {
		table.Add("a/#", crowd+i)
	}
	write := func() {
		for i := range 3000 {
			for _, f := range [][2]string{{"+/b", "a/b"}, {"a/b", "+/b"}} {
				table.Add(f[0], mover)
				table.Remove(f[1], mover)
			}
			table.Remove("a/#", crowd+i%100)
			table.Add("a/#", crowd+i%100)
			if beside := fmt.Sprintf("a/%d", i/2%700); i/700%2 == 0 {
				table.Add(beside, i)
				table.Add(beside+"/+", i)
			} else {
				table.Remove(beside, i)
				table.Remove(beside+"/+", i)
			}
		}
	}
	beside(t, write, func(dst []int) string {
		got := table.Match("a/b", dst)
		slices.Sort(got)
		movers := 0
		for movers < len(got) && got[movers] == mover {
			movers++
		}
		rest := got[movers:]
		if movers != 1 && movers != 2 || len(rest) < 100 || len(rest) > 101 || rest[0] != stayer || len(slices.Compact(rest)) != len(rest) {
			return fmt.Sprintf("%d of the mover, then %v", movers, rest)
		}
		return ""
	})
}

// TestConcurrent_Writers: writers at the same time lose nothing.
func TestConcurrent_Writers(t *testing.T) {
	table := NewTable[int]()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 500 {
				table.Add(fmt.Sprintf("%d/%d", w, i), w)
				table.Add("#", w*500+i)
				if i%2 == 0 {
					table.Remove(fmt.Sprintf("%d/%d", w, i), w)
				}
			}
		})
	}
	writers.Wait()
	if table.Len() != 4*250+2000 || table.Filters() != 4*250+1 || len(table.Match("x", nil)) != 2000 {
		t.Errorf("Len %d, Filters %d", table.Len(), table.Filters())
	}
}
