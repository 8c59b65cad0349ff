package replica

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/home"
)

// keep is the keeper's loop: it writes the state behind and takes snapshots.
func (r *Replica) keep(ctx context.Context) {
	t := time.NewTicker(r.opts.FlushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.flush(); err != nil {
			return // reported by flush
		}
		if r.snapshotDue() {
			r.takeSnapshot()
		}
	}
}

// flush writes what changed since the last time to the store, with the position
// it is the state of, then lets bodies go that the store now has. Not yet
// synced: the log still has it all. An error stops the home.
func (r *Replica) flush() error {
	r.flushMu.Lock()
	defer r.flushMu.Unlock()
	if err := r.failure(); err != nil {
		return err
	}
	start := time.Now()
	err := r.flushOnce()
	if err != nil {
		r.fail(fmt.Errorf("write the state of home %s: %w", r.opts.Home, err))
		return err
	}
	r.stats.flush.observe(time.Since(start))
	return nil
}

func (r *Replica) flushOnce() error {
	batch := r.store.NewBatch()
	r.fsm.mu.Lock()
	err, pos := r.fsm.broken, r.fsm.applied
	if err == nil && pos != r.flushed {
		cut := time.Now()
		r.state.Flush(batch.Set, batch.Delete)
		r.stats.flushStall.observe(time.Since(cut))
	}
	r.fsm.mu.Unlock()
	if err != nil || pos == r.flushed {
		batch.Discard()
		return err
	}
	bytes := batch.Bytes()
	if err := batch.Commit(pos.Index, pos.Term); err != nil {
		return err
	}
	r.flushed = pos
	r.stats.flushedBytes.Add(uint64(bytes))
	r.stats.evictedBytes.Add(uint64(r.state.Evict(r.opts.MemoryBudget)))
	return nil
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
	if idle < tickEvery {
		return false
	}
	at, ok := r.state.NextTimer()
	return ok && at <= r.Now() || idle >= idleTick
}
