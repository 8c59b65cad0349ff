package replica

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// BenchmarkPropose publishes 256 B messages to a real disk, each matched to one
// durable session that acknowledges them, with a fixed number under way.
func BenchmarkPropose(b *testing.B) {
	for _, window := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("window=%d", window), func(b *testing.B) { benchPropose(b, window) })
	}
}

func benchPropose(b *testing.B, window int) {
	o := options(store.DiskFS(), 1)
	o.Dir, o.SegmentBytes, o.Store = b.TempDir(), 0, store.Options{}
	r := start(b, o)
	attached := r.do(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF})
	r.do(&home.Subscribe{Session: subscriber, Epoch: attached.Epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: 1}}})
	took := make([]time.Duration, b.N)
	done := make(chan struct{})
	left, next := b.N, 0
	var propose func()
	propose = func() { // called by one goroutine at a time: the starter, then done
		n := next
		next++
		since := time.Now()
		err := r.Propose(numbered(1, uint32(n), 256), func(_ home.Outcome, err error) {
			if err != nil {
				b.Error(err)
			}
			took[n] = time.Since(since)
			// The subscriber acknowledges what it got, a hundred at a time.
			if n%100 == 99 {
				_ = r.Propose(&home.Ack{Session: subscriber, Epoch: attached.Epoch,
					Done: []home.Range{{From: uint64(n) - 98, To: uint64(n) + 1}}}, nil)
			}
			if left--; left == 0 {
				close(done)
			} else if next < b.N {
				propose()
			}
		})
		if err != nil {
			b.Error(err)
		}
	}
	b.ResetTimer()
	first := make(chan struct{})
	// The first ones are proposed from a done as well, so that nothing races.
	_ = r.Propose(&home.Tick{}, func(home.Outcome, error) {
		for next < min(window, b.N) {
			propose()
		}
		close(first)
	})
	<-first
	<-done
	b.StopTimer()
	slices.Sort(took)
	s := r.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(s.BatchOps.Sum)/float64(s.BatchOps.Count), "ops/entry")
	b.ReportMetric(s.Fsync.Sum/float64(s.Fsync.Count)*1000, "fsync-ms")
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkShip ships a home's log to a copy that stands by, both on real disks: the processor
// time of a message at the host that took it in, and of both ends while it was shipped.
func BenchmarkShip(b *testing.B) {
	host := options(store.DiskFS(), 1)
	host.Dir, host.SegmentBytes, host.Store, host.Region = b.TempDir(), 0, store.Options{}, "eu"
	host.SnapshotEntries, host.SnapshotBytes = 1<<40, 1<<40
	src := start(b, host)
	src.subscribe()
	standby := host
	standby.Dir, standby.Region = b.TempDir(), "us"
	dst := start(b, standby)
	from := cpu(b)
	f := newFlood(src, 8, 64, 256)
	f.await(b.N)
	f.end()
	n := float64(len(f.await(0)))
	own := cpu(b) - from
	entries := src.Stats().BatchOps
	b.ResetTimer()
	from = cpu(b)
	at, last := home.CopyPosition{}, src.State().Position()
	for at.Records < last.Records {
		list, err := src.Tail(b.Context(), "us", at, 256<<10)
		if err == nil {
			err = dst.Append(b.Context(), list)
		}
		if err != nil {
			b.Fatal(err)
		}
		x := list[len(list)-1]
		at = home.CopyPosition{Epoch: last.Epoch, Records: x.N, Chain: x.Chain}
	}
	if got, err := dst.WaitPosition(b.Context(), last.Records-1); err != nil || got.Records < last.Records {
		b.Fatalf("shipped to %+v, %v; want %+v", got, err, last)
	}
	b.StopTimer()
	b.ReportMetric(float64(own.Microseconds())/n, "host-cpu-us/msg")
	b.ReportMetric(float64((cpu(b)-from).Microseconds())/n, "ship-cpu-us/msg")
	b.ReportMetric(n/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(entries.Sum/float64(entries.Count), "ops/entry")
}
