package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
)

const (
	markVersion = 1
	maxMark     = 64 << 10 // bytes read of a marker
)

// mark is all a snapshot holds: how far the store was when it was taken. The
// state itself is in the store, which is at least as far.
type mark struct {
	Version int            `json:"version"`
	Home    home.ID        `json:"home"`
	Applied store.Position `json:"applied"`
	Epoch   home.Epoch     `json:"epoch"`
	Time    home.Time      `json:"time"`
}

// snapshot makes the store durable beyond the mark, then writes the mark. [B2]
type snapshot struct {
	r    *core
	mark mark
}

// Persist implements raft.FSMSnapshot. Only after it succeeded does raft drop
// log, so the store must hold everything up to the mark by then.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.r.flush(); err != nil {
		return err
	}
	durable, err := s.r.store.Flush()
	if err != nil {
		s.r.fail(err)
		return err
	}
	if durable < s.mark.Applied.Index {
		return fmt.Errorf("the store is durable up to index %d, the snapshot wants %d", durable, s.mark.Applied.Index)
	}
	b, err := json.Marshal(s.mark)
	if err != nil {
		return fmt.Errorf("encode snapshot marker: %w", err)
	}
	_, err = sink.Write(b)
	return err
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}

// snapshotDue says that the log after the newest snapshot is worth dropping.
func (r *core) snapshotDue() bool {
	size := &r.sinceSnap
	if (r.checkpoints.held() || r.followers.held()) && size.bytes.Load() < r.mayHold() {
		return false
	}
	return size.entries.Load() >= r.opts.SnapshotEntries || size.bytes.Load() >= r.opts.SnapshotBytes
}

// maxHeldLog bounds the log that is kept for nodes that fetch the state, or follow
// and are behind. One that takes longer begins again.
const maxHeldLog = 4 << 30

// mayHold is how many bytes of log may be kept for others: nobody's catching up
// fills this node's disk.
func (r *core) mayHold() int64 {
	if free, ok, err := store.FreeBytes(r.opts.FS, r.opts.Dir); err == nil && ok {
		return int64(min(maxHeldLog, free/2))
	}
	return maxHeldLog
}

// followsFor is for how long a copy that was heard counts as one that follows: it
// may be starting again.
const followsFor = time.Minute

// lagging is how many entries the standby, and the copies that follow this leader, still need: the
// last one they have among them, which raft compares.
func (r *core) lagging() (need uint64) {
	need = r.shipHold(r.raft.LastIndex())
	if r.opts.Cluster == nil || !r.inOffice() {
		return need
	}
	last, first := r.raft.LastIndex(), uint64(0)
	if f, err := r.guard.FirstIndex(); err == nil {
		first = f
	}
	for _, s := range r.survey() {
		if s.ID != r.id && s.last < last && s.last >= first && time.Since(s.sent) < followsFor {
			need = max(need, last-s.last+1)
		}
	}
	return need
}

// takeSnapshot takes one and lets raft drop the log below it, but for the
// trailing part. Trailing is bounded by bytes through the average entry.
func (r *core) takeSnapshot() {
	size := &r.sinceSnap
	entries, bytes := size.entries.Load(), size.bytes.Load()
	conf := r.raft.ReloadableConfig()
	conf.TrailingLogs = max(trailing(r.opts.TrailingEntries, r.opts.TrailingBytes, entries, bytes),
		trailing(r.lagging(), r.mayHold(), entries, bytes))
	if err := r.raft.ReloadConfig(conf); err != nil {
		r.log.Warn("set trailing log", "error", err)
	}
	start := time.Now()
	if err := r.raft.Snapshot().Error(); err != nil {
		if !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) && r.failure() == nil {
			r.log.Warn("take snapshot", "error", err)
		}
		return
	}
	size.entries.Add(-entries)
	size.bytes.Add(-bytes)
	r.stats.snapshots.Add(1)
	r.log.Debug("snapshot taken", "entries", entries, "bytes", bytes, "took", time.Since(start))
}

// trailing is how many entries to keep below a snapshot: at most those, and of so
// many bytes, by the average of what came after the one before.
func trailing(most uint64, mostBytes int64, entries uint64, bytes int64) uint64 {
	if entries == 0 || bytes <= 0 {
		return most
	}
	average := max(1, bytes/int64(entries))
	return max(1, min(most, uint64(mostBytes/average)))
}
