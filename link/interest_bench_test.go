package link

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// BenchmarkInterest tells a peer what a fleet wants, over loopback: all of it to a
// new peer, nothing new to one that comes back, one filter more. Beside time and
// bytes it reports how long a query of either home waited at most, which is how
// long a message would have.
func BenchmarkInterest(b *testing.B) {
	const fleet = 1_000_000
	ca := newAuthority(b)
	us := openBenchHome(b, "us", ca.issue(b, "us"), Peer{ID: "eu"})
	defer us.stop()
	waitFor(b, func() bool { return us.m.ep.Addr() != nil })
	subscribeFleet(b, us, fleet)
	known := func(eu *benchHome) bool {
		v, d, _ := eu.st.PeerDigest("us")
		version, digest := us.st.Wanted()
		return v == version && d == digest
	}
	id := ca.issue(b, "eu")
	to := Peer{ID: "us", Dial: []string{us.m.ep.Addr().String()}}
	b.Run("bootstrap", func(b *testing.B) {
		var bytes uint64
		var kept int64
		stalled := watchStalls(b, us)
		for b.Loop() {
			before, sent := liveHeap(), us.m.Status()[0].Counters.InterestOut
			eu := openBenchHome(b, "eu", id, to)
			mine := watchStalls(b, eu)
			waitFor(b, func() bool { return known(eu) })
			b.StopTimer()
			b.ReportMetric(mine().Seconds()*1000, "stall-there-ms")
			bytes = us.m.Status()[0].Counters.InterestOut - sent
			eu.log = nil // a real one is on a disk
			kept = liveHeap() - before
			eu.stop()
			b.StartTimer()
		}
		b.ReportMetric(stalled().Seconds()*1000, "stall-here-ms")
		b.ReportMetric(float64(bytes), "wire-B")
		b.ReportMetric(float64(kept)/(1<<20), "MiB-there")
	})
	eu := openBenchHome(b, "eu", id, to)
	defer eu.stop()
	waitFor(b, func() bool { return known(eu) })
	b.Run("reconnect", func(b *testing.B) {
		var bytes uint64
		for b.Loop() {
			before := us.m.Status()[0]
			eu.m.linkWith("us").current().close(wire.GoodbyeShutdown, "the benchmark goes on")
			waitFor(b, func() bool {
				now := us.m.Status()[0].Counters
				return now.Tunnels > before.Counters.Tunnels && now.InterestOut > before.Counters.InterestOut
			})
			bytes = us.m.Status()[0].Counters.InterestOut - before.Counters.InterestOut
		}
		b.ReportMetric(float64(bytes), "wire-B")
	})
	b.Run("one more", func(b *testing.B) {
		before := us.m.Status()[0].Counters.InterestOut
		for i := 0; b.Loop(); i++ {
			us.subscribe(b, "more", fmt.Sprintf("more/%d", i))
			waitFor(b, func() bool { return known(eu) })
		}
		b.ReportMetric(float64(us.m.Status()[0].Counters.InterestOut-before)/float64(b.N), "wire-B")
	})
}

func waitFor(b *testing.B, done func() bool) {
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			b.Fatal("it does not come to pass")
		}
	}
}

// subscribeFleet makes durable sessions that want n filters, as vehicles do.
func subscribeFleet(b *testing.B, h *benchHome, n int) {
	const each = 1000
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n / each {
		k := key(fmt.Sprintf("gateway-%d", i))
		op := &home.Subscribe{Session: k, Epoch: h.do(b, &home.Attach{Session: k, Expiry: 1 << 31}).Epoch}
		for j := range each {
			op.Filters = append(op.Filters, home.Subscription{Filter: vehicleFilter(r, i*each+j), QoS: 1})
		}
		if codes := h.do(b, op).Codes; slices.Max(codes) > 2 {
			b.Fatalf("a filter is refused: %#x", slices.Max(codes))
		}
	}
	if got := h.st.WantedView().Len; got != n {
		b.Fatalf("%d filters are wanted, want %d", got, n)
	}
	h.log = nil
}

// vehicleFilter is what vehicle i wants: maker, model and check digit of its
// number are of a few, the rest of many.
func vehicleFilter(r *rand.Rand, i int) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	const letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
	return fmt.Sprintf("vehicles/%s%s%c%c%c%c%07d/%s", pick("WDB", "WBA", "VF1", "1FT", "5YJ", "ZFA"), pick("2221", "3A5G", "SA3E", "JC5B", "YG1A"),
		letters[r.IntN(len(letters))], letters[r.IntN(len(letters))], "0123456789X"[r.IntN(11)], "LMNPR"[r.IntN(5)], i,
		pick("cmd/#", "cmd/+/req", "config/#", "ota/+", "cmd/#"))
}

// watchStalls asks a home all the time and returns how long an answer took at
// most.
func watchStalls(b *testing.B, h *benchHome) func() time.Duration {
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			start := time.Now()
			h.st.HighSeq()
			most.Store(max(most.Load(), int64(time.Since(start))))
		}
	}()
	b.Cleanup(func() { <-stopped })
	return sync.OnceValue(func() time.Duration {
		close(stop)
		<-stopped
		return time.Duration(most.Load())
	})
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
