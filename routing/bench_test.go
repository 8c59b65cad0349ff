package routing

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// matcher is what the benchmarks need of a table, so that the alternatives of DESIGN.md can be measured beside it.
type matcher interface {
	Add(filter string, s int) bool
	Remove(filter string, s int) bool
	Match(topic string, dst []int) []int
}

const million = 1_000_000

// exactFilter and wildFilter are what a fleet's devices subscribe to: a command topic each, and some wildcards.
func exactFilter(i int) string { return fmt.Sprintf("fleet/%02d/vehicle/%08d/cmd", i%64, i) }

func wildFilter(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("fleet/%02d/vehicle/%08d/#", i%64, i)
	case 1:
		return fmt.Sprintf("fleet/+/vehicle/%08d/state/+", i)
	case 2:
		return fmt.Sprintf("plant/%d/line/+/alarm", i)
	default:
		return fmt.Sprintf("user/%d/#", i)
	}
}

func filters(n int, name func(int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = name(i)
	}
	return out
}

func filled(t matcher, exact, wild []string) matcher {
	for i, f := range exact {
		t.Add(f, i)
	}
	for i, f := range wild {
		t.Add(f, -i-1)
	}
	return t
}

func kinds() map[string]func() matcher {
	return map[string]func() matcher{
		"table":   func() matcher { return NewTable[int]() },
		"rwmutex": func() matcher { return newShardedTable() },
	}
}

func BenchmarkMatchExact1M(b *testing.B) {
	exact, wild := filters(million, exactFilter), filters(10_000, wildFilter)
	for name, empty := range kinds() {
		t := filled(empty(), exact, wild)
		topics := make([]string, 0, million) // in random order and, like a topic just decoded, not far from the cache
		for _, i := range rand.Perm(million) {
			topics = append(topics, strings.Clone(exact[i]))
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]int, 0, 16)
			began := cpuTime()
			for i := 0; b.Loop(); i++ {
				if dst = t.Match(topics[i%million], dst[:0]); len(dst) == 0 {
					b.Fatal("no match")
				}
			}
			reportCPU(b, began)
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime()
			b.RunParallel(func(pb *testing.PB) {
				dst := make([]int, 0, 16)
				for i := rand.IntN(million); pb.Next(); i++ {
					dst = t.Match(topics[i%million], dst[:0])
				}
			})
			reportCPU(b, began)
		})
	}
}

// BenchmarkMatchHot is all cores on one topic, which is in the cache: what is left is the way to read.
func BenchmarkMatchHot(b *testing.B) {
	exact, wild := filters(10_000, exactFilter), filters(100, wildFilter)
	for name, empty := range kinds() {
		t := filled(empty(), exact, wild)
		b.Run(name, func(b *testing.B) {
			began := cpuTime()
			b.RunParallel(func(pb *testing.PB) {
				dst := make([]int, 0, 16)
				for pb.Next() {
					dst = t.Match(exact[9_999], dst[:0])
				}
			})
			reportCPU(b, began)
		})
	}
}

func BenchmarkMatchWildcard(b *testing.B) {
	for _, n := range []int{10_000, million} {
		wild := filters(n, wildFilter)
		for name, empty := range kinds() {
			t := filled(empty(), nil, wild)
			topics := make([]string, 0, 1<<16)
			for i := range cap(topics) {
				topics = append(topics, fmt.Sprintf("fleet/%02d/vehicle/%08d/state/door", i%64, rand.IntN(n)))
			}
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]int, 0, 16)
				began := cpuTime()
				for i := 0; b.Loop(); i++ {
					dst = t.Match(topics[i%len(topics)], dst[:0])
				}
				reportCPU(b, began)
			})
		}
	}
}

// BenchmarkMatchFanOut matches one filter with very many subscribers.
func BenchmarkMatchFanOut(b *testing.B) {
	t := NewTable[int]()
	for i := range 100_000 {
		t.Add("fleet/all", i)
	}
	b.ReportAllocs()
	dst := make([]int, 0, 100_000)
	for b.Loop() {
		dst = t.Match("fleet/all", dst[:0])
	}
}

// BenchmarkSubscribeAt1M takes a filter out of a table of a million and puts it back; ns/op is for the Add alone, as
// are the percentiles.
func BenchmarkSubscribeAt1M(b *testing.B) {
	for side, name := range map[string]func(int) string{"exact": exactFilter, "wild": wildFilter} {
		all := filters(million, name)
		for kind, empty := range kinds() {
			t := filled(empty(), all, nil)
			b.Run(side+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				var took []time.Duration
				for b.Loop() {
					i := rand.IntN(million)
					t.Remove(all[i], i)
					began := time.Now()
					t.Add(all[i], i)
					took = append(took, time.Since(began))
				}
				reportPercentiles(b, took)
			})
			b.Run(side+"/"+kind+"/new", func(b *testing.B) {
				fresh := filters(b.N, func(i int) string { return "new/" + name(million+i) })
				took := make([]time.Duration, 0, b.N)
				b.ReportAllocs()
				b.ResetTimer()
				for i, f := range fresh {
					began := time.Now()
					t.Add(f, i)
					took = append(took, time.Since(began))
				}
				b.StopTimer()
				reportPercentiles(b, took)
			})
		}
	}
}

func reportPercentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))]) }
	b.ReportMetric(at(0.5), "p50-ns")
	b.ReportMetric(at(0.999), "p999-ns")
	b.ReportMetric(at(1), "max-ns")
}

// BenchmarkFill1M builds a table of a million from nothing, as a restart does, and reports the memory it keeps.
func BenchmarkFill1M(b *testing.B) {
	for side, name := range map[string]func(int) string{"exact": exactFilter, "wild": wildFilter} {
		all := filters(million, name)
		for kind, empty := range kinds() {
			b.Run(side+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				began := cpuTime()
				var t matcher
				for b.Loop() {
					t = filled(empty(), all, nil)
				}
				reportCPU(b, began)
				with := heap()
				runtime.KeepAlive(t)
				t = nil
				b.ReportMetric(float64(with-heap())/million, "B/filter")
			})
		}
	}
}

// reportCPU adds the processor time since began, of all threads: on a shared machine ns/op says more about the others.
func reportCPU(b *testing.B, began time.Duration) {
	b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
}

func cpuTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
