package replica

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/home"
)

// keep is the keeper's loop: it writes the state behind and takes snapshots.
func (r *Replica) keep(ctx context.Context) {
	every := r.opts.FlushEvery
	t := time.NewTimer(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		stall, err := r.flush()
		if err != nil {
			return // reported by flush
		}
		r.tidyCheckpoint()
		if r.snapshotDue() {
			r.takeSnapshot()
		}
		every = nextFlush(r.opts.FlushEvery, every, stall)
		t.Reset(every)
	}
}

// While the changes are cut nothing is applied. Flushing less often writes less,
// since what came and went in between is never written; but when much stays, the
// cut grows with the time between two, and so does the wait of a PUBACK.
const (
	longStall = 20 * time.Millisecond
	minFlush  = 20 * time.Millisecond
)

// nextFlush is how long to wait after a flush that came after last and stalled
// the home for stall.
func nextFlush(every, last, stall time.Duration) time.Duration {
	switch {
	case stall > longStall:
		last = time.Duration(float64(last) * float64(longStall) / float64(stall))
	case stall < longStall/2:
		last *= 2
	}
	return min(max(last, minFlush), every)
}

// flush writes what changed since the last time to the store, with the position
// it is the state of, then lets bodies go that the store now has. Not yet
// synced: the log still has it all. An error stops the home. It returns for how
// long nothing was applied.
func (r *Replica) flush() (stall time.Duration, err error) {
	r.flushMu.Lock()
	defer r.flushMu.Unlock()
	if err := r.failure(); err != nil {
		return 0, err
	}
	start := time.Now()
	stall, err = r.flushOnce()
	if err != nil {
		r.fail(fmt.Errorf("write the state of home %s: %w", r.opts.Home, err))
		return 0, err
	}
	r.stats.flush.observe(time.Since(start))
	return stall, nil
}

func (r *Replica) flushOnce() (stall time.Duration, err error) {
	batch := r.store.NewBatch()
	r.fsm.mu.Lock()
	pos := r.fsm.applied
	err = r.fsm.broken
	if err == nil && pos != r.flushed {
		cut := time.Now()
		r.state.Flush(batch.Set, batch.Delete)
		stall = time.Since(cut)
		r.stats.flushStall.observe(stall)
	}
	r.fsm.mu.Unlock()
	if err != nil || pos == r.flushed {
		batch.Discard()
		return 0, err
	}
	bytes := batch.Bytes()
	if err := batch.Commit(pos.Index, pos.Term); err != nil {
		return 0, err
	}
	r.flushed = pos
	r.stats.flushedBytes.Add(uint64(bytes))
	r.stats.resident.Store(r.state.Evict(r.opts.MemoryBudget))
	return stall, nil
}

// tickEvery is how often the ticker looks; idleTick how long nothing may be
// proposed before home time is carried on anyway.
const (
	tickEvery = time.Second
	idleTick  = 10 * time.Second
)

// tick carries home time on when nothing else does: when a timer of the state
// is due, and otherwise now and then.
func (r *Replica) tick(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if r.tickDue(r.batcher.idle()) {
			// Full, or stopping: then time moves, or need not.
			_ = r.Propose(&home.Tick{}, nil)
		}
	}
}

func (r *Replica) tickDue(idle time.Duration) bool {
	if idle < tickEvery || r.state.ID() == "" { // nothing comes before Genesis, however long the home is being founded
		return false
	}
	at, ok := r.state.NextTimer()
	return ok && at <= r.Now() || idle >= idleTick
}
