package replica

import (
	"context"
	"time"

	"causeway/internal/group"
)

// Run serves the home until ctx ends or the home fails, then stops: it gives the
// leadership away, refuses new proposals, lets those under way finish
// (DrainTimeout), hands back the rest, flushes and closes everything. It returns
// nil after a graceful stop, else why the home failed. A replica runs once.
func (r *Replica) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) || r.queue.refuses() != nil && r.failure() == nil {
		return ErrStopped
	}
	select {
	case <-ctx.Done():
		r.role.handOver()
		r.queue.close(ErrStopped)
		r.drain()
	case <-r.failed:
	}
	if err := r.failure(); err != nil {
		r.opts.OnFatal(err)
	}
	return r.role.close()
}

// startLoops starts what runs until close, beside what the role has running
// itself.
func (r *Replica) startLoops(more ...func(context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	r.stopLoops = stop
	for _, f := range append(more, r.batcher.run, r.keepFresh, r.tick) {
		r.loops.Go(func() { r.protect(func() { f(ctx) }) })
	}
}

// protect runs something of the home's; a panic in it ends this home like a record that cannot be applied, and
// leaves the process to say why.
func (r *Replica) protect(f func()) {
	if err := group.Protect(func() error { f(); return nil }); err != nil {
		r.fail(err)
	}
}

// drain waits for what is under way.
func (r *Replica) drain() {
	t := time.NewTimer(r.opts.DrainTimeout)
	defer t.Stop()
	select {
	case <-r.queue.empty:
	case <-r.failed:
	case <-t.C:
		ops, _ := r.queue.held()
		r.log.Warn("stopped with proposals under way; nobody was told they are kept", "proposals", ops)
	}
}

// Close ends a replica that Run was never called for. After Run it does
// nothing.
func (r *Replica) Close() error {
	if !r.running.CompareAndSwap(false, true) {
		return nil
	}
	r.queue.close(ErrStopped)
	return r.role.close()
}
