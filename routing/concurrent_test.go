package routing

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// beside runs readers until write returns, which is told how many reads were made. A reader gets a slice to match into
// and returns what is wrong, or "".
func beside(t *testing.T, write func(reads *atomic.Int64), read func(dst []int) string) {
	t.Helper()
	var stop atomic.Bool
	var reads atomic.Int64
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			dst := make([]int, 0, 4096)
			for !stop.Load() {
				if wrong := read(dst); wrong != "" && !stop.Swap(true) {
					t.Error(wrong)
				}
				if reads.Add(1)%16 == 0 {
					runtime.Gosched() // on few cores the writer wants its turn
				}
			}
		})
	}
	write(&reads)
	stop.Store(true)
	readers.Wait()
}

// TestConcurrent_FinishedAddIsSeen: a Match that begins after an Add returned has it, while the indexes grow.
func TestConcurrent_FinishedAddIsSeen(t *testing.T) {
	const n = 3000
	table := NewTable[int]()
	var finished atomic.Int64
	write := func(reads *atomic.Int64) {
		for i := range n {
			table.Add(fmt.Sprintf("exact/%d", i), i)
			table.Add(fmt.Sprintf("+/%d", i), i)
			table.Add("all", i)
			finished.Store(int64(i + 1))
			for reads.Load() < int64(i) && !t.Failed() {
				runtime.Gosched()
			}
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
// beside them come and go so that buckets split and join. The crowd stands between the mover's two filters in the order
// of a Match, which gives the writer time.
func TestConcurrent_WriteIsAllOrNothing(t *testing.T) {
	const mover, crowd = 0, 2000
	table := NewTable[int]()
	table.Add("a/b", mover)
	for i := range crowd {
		table.Add("#", 1+i)
	}
	write := func(reads *atomic.Int64) {
		for i := 0; reads.Load() < 8_000 && !t.Failed(); i++ {
			for _, f := range [][2]string{{"+/b", "a/b"}, {"a/b", "+/b"}} {
				table.Add(f[0], mover)
				table.Remove(f[1], mover)
			}
			table.Remove("#", 1+i%crowd)
			table.Add("#", 1+i%crowd)
			if beside := fmt.Sprintf("a/%d", i%500); i/500%2 == 0 {
				table.Add(beside, i%500)
				table.Add(beside+"/+", i%500)
			} else {
				table.Remove(beside, i%500)
				table.Remove(beside+"/+", i%500)
			}
		}
	}
	beside(t, write, func(dst []int) string {
		var times [1 + crowd]int
		got := table.Match("a/b", dst)
		for _, s := range got {
			times[s]++
		}
		movers := times[mover]
		if movers < 1 || movers > 2 || slices.Max(times[1:]) > 1 || len(got)-movers < crowd-1 {
			return fmt.Sprintf("the mover %d times, %d of %d others, one of them %d times", movers, len(got)-movers, crowd, slices.Max(times[1:]))
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
