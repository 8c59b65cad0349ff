package replica

import (
	"math"
	"sort"
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// Stats are the replica's figures at one moment. Times are in seconds, sizes in
// bytes.
type Stats struct {
	Ready  bool
	Reason string // why not ready
	Leader bool
	Fresh  bool // may speak for its sessions

	Mismatches map[home.NodeID]uint64 // digests of other copies that were not this one's, by node
	NodeDowns  uint64                 // nodes that this one, leading, declared dead

	// Applied is the last index applied, Flushed the one the store has, Durable
	// the one a crash cannot take from the store.
	Applied, Flushed, Durable uint64

	WaitingOps             int   // proposed, not done
	QueueBytes, QueueLimit int64 // their bytes
	Ops, OpsFailed         uint64
	Refused                uint64      // ErrFull
	Following              home.NodeID // the core that a replicant follows; "" none
	Switches               uint64      // from one core to another
	Bodies, BodyRetries    uint64      // read from cores; answers that had to be asked for again
	Resent, Snapshots      uint64
	FlushedBytes           uint64        // written to the store
	ResidentBytes          int64         // of bodies in memory that the store has too, after the last flush
	LogFirst, LogLast      uint64        // indexes on disk
	LogBytes               int64         // of its files
	StateBytes             int64         // of the home's state on disk, without the log
	Writing                time.Duration // how long the log's write under way has been running

	Commit     Histogram // Propose to done
	Fsync      Histogram // append to the log, synced
	Apply      Histogram // one record
	Flush      Histogram // state to store
	FlushStall Histogram // the part of Flush during which nothing is applied
	BatchOps   Histogram // operations an entry
	BatchBytes Histogram // bytes an entry
}

// Histogram is a distribution in buckets, as Prometheus wants it.
type Histogram struct {
	Bounds []float64 // upper bounds, ascending
	Counts []uint64  // by bucket, not cumulative; one more than Bounds
	Count  uint64
	Sum    float64
}

// Quantile estimates the q-quantile (0 to 1): the upper bound of its bucket.
func (h Histogram) Quantile(q float64) float64 {
	want, seen := q*float64(h.Count), uint64(0)
	for i, c := range h.Counts {
		if seen += c; float64(seen) >= want && seen > 0 {
			if i == len(h.Bounds) {
				return math.Inf(1)
			}
			return h.Bounds[i]
		}
	}
	return 0
}

// histogram counts observations; any goroutine may observe.
type histogram struct {
	bounds []float64 // fixed
	counts []atomic.Uint64
	sum    atomic.Uint64 // bits of a float64
}

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// add counts v.
func (h *histogram) add(v float64) {
	h.counts[sort.SearchFloat64s(h.bounds, v)].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *histogram) observe(d time.Duration) { h.add(d.Seconds()) }

func (h *histogram) read() Histogram {
	out := Histogram{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: math.Float64frombits(h.sum.Load())}
	for i := range h.counts {
		out.Counts[i] = h.counts[i].Load()
		out.Count += out.Counts[i]
	}
	return out
}

var (
	// secondsBounds go from 50 us to 26 s by factors of two.
	secondsBounds = powers(50e-6, 2, 20)
	opsBounds     = powers(1, 2, 11)
	bytesBounds   = powers(256, 4, 9)
)

func powers(from, factor float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = from
		from *= factor
	}
	return out
}

// stats is what the parts count.
type stats struct {
	ops, opsFailed, refused, snapshots atomic.Uint64
	nodeDowns                          atomic.Uint64
	switches, bodies, bodyRetries      atomic.Uint64
	flushedBytes                       atomic.Uint64
	resident                           atomic.Int64

	commit, fsync, apply, flush, flushStall, batchOps, batchBytes *histogram
}

func newStats() *stats {
	seconds := func() *histogram { return newHistogram(secondsBounds) }
	return &stats{commit: seconds(), fsync: seconds(), apply: seconds(), flush: seconds(), flushStall: seconds(),
		batchOps: newHistogram(opsBounds), batchBytes: newHistogram(bytesBounds)}
}
