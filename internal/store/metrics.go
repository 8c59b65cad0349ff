package store

import "time"

// Metrics is the state of a Store for gauges and counters. Sizes are bytes.
type Metrics struct {
	Applied, DurableApplied uint64
	// DiskBytes is everything on disk, MemTableBytes what a flush would write, CacheBytes what the
	// block cache holds.
	DiskBytes, MemTableBytes, CacheBytes uint64
	Tables                               int64
	// CompactionDebtBytes is what compaction has left to rewrite.
	CompactionDebtBytes uint64
	// Flushes counts those asked for with Flush; Pebble's own are in PebbleFlushes.
	Flushes, PebbleFlushes, Compactions uint64
	FlushLast, FlushMax, FlushTotal     time.Duration
	WriteStalls                         int64
}

// Metrics reads the counters; it takes microseconds. A closed or failed store returns the zero value.
func (s *Store) Metrics() Metrics {
	if s.begin() != nil {
		return Metrics{}
	}
	defer s.calls.Done()
	p := s.db.Metrics()
	m := Metrics{
		Applied: s.Applied().Index, DurableApplied: s.DurableApplied(),
		DiskBytes: p.DiskSpaceUsage(), MemTableBytes: p.MemTable.Size, CacheBytes: uint64(p.BlockCache.Size),
		CompactionDebtBytes: p.Compact.EstimatedDebt,
		PebbleFlushes:       uint64(p.Flush.Count), Compactions: uint64(p.Compact.Count),
		WriteStalls: s.stalls.Load(),
	}
	for _, l := range p.Levels {
		m.Tables += l.TablesCount
	}
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	m.Flushes, m.FlushLast, m.FlushMax, m.FlushTotal = s.stats.count, s.stats.last, s.stats.max, s.stats.total
	return m
}
