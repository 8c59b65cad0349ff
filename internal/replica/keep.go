package replica

import (
	"context"
	"fmt"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// keep is the keeper's loop: it writes the state behind and takes snapshots.
func (r *core) keep(ctx context.Context) {
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
		r.tidyCheckpoint()
		if r.snapshotDue() {
			r.takeSnapshot()
		}
	}
}

// flush writes what changed since the last time to the store, with the position
// it is the state of, then lets bodies go that the store now has. Not yet
// synced: the log still has it all. An error stops the home.
func (r *core) flush() error {
	r.flushMu.Lock()
	defer r.flushMu.Unlock()
	if err := r.failure(); err != nil {
		return err
	}
	start := time.Now()
	if err := r.flushOnce(); err != nil {
		r.fail(fmt.Errorf("write the state of home %s: %w", r.opts.Home, err))
		return err
	}
	r.stats.flush.observe(time.Since(start))
	return nil
}

// flushOnce hands most over while records go on being applied, and only what
// changed meanwhile while they do not: a PUBACK waits for that. All of it is one
// batch. What was handed over counts as written, so a batch that is given up is a
// home that failed.
func (r *core) flushOnce() error {
	if r.fsm.position() == r.flushed {
		return nil
	}
	batch := r.store.NewBatch()
	r.state.FlushAhead(batch.Set, batch.Delete)
	pos, at, err := r.cut(batch)
	if err == nil {
		err = r.intake.flush() // or the log would go on behind what is lost of it
	}
	if err != nil {
		batch.Discard()
		return err
	}
	bytes := batch.Bytes()
	if err := batch.Commit(pos.Index, pos.Term); err != nil {
		return err
	}
	r.flushed, r.flushedCopy = pos, at
	r.stats.flushedBytes.Add(uint64(bytes))
	r.stats.resident.Store(r.state.Evict(r.opts.MemoryBudget))
	return nil
}

// cut ends a batch at one position of the log.
func (r *core) cut(batch *store.Batch) (store.Position, home.CopyPosition, error) {
	r.fsm.mu.Lock()
	defer r.fsm.mu.Unlock()
	if r.fsm.broken != nil {
		return store.Position{}, home.CopyPosition{}, r.fsm.broken
	}
	start := time.Now()
	r.state.Flush(batch.Set, batch.Delete)
	r.stats.flushStall.observe(time.Since(start))
	return r.fsm.applied, r.state.Position(), nil
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
	if idle < tickEvery || r.state.ID() == "" || !r.hosting.Load() { // nothing comes before Genesis, however long the home is being founded
		return false
	}
	at, ok := r.state.NextTimer()
	return ok && at <= r.Now() || idle >= idleTick
}
