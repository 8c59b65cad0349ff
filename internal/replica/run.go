package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
)

// stopTimeout bounds how long a stop waits for raft's goroutines. Only a disk
// that hangs takes that long.
const stopTimeout = 10 * time.Second

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
		r.HandOver()
		r.queue.close(ErrStopped)
		r.drain()
	case <-r.failed:
	}
	if err := r.failure(); err != nil {
		r.opts.OnFatal(err)
	}
	return r.close()
}

// startLoops starts everything that runs beside raft, until close.
func (r *Replica) startLoops() {
	ctx, stop := context.WithCancel(context.Background())
	r.stopLoops = stop
	loops := []func(context.Context){r.batcher.run, r.merger.run, r.watchLeader, r.keepFresh, r.keep, r.tick}
	if r.opts.Cluster != nil {
		loops = append(loops, r.seek)
		r.opts.Cluster.Handle(LogProtocol, r.serveLog)
		r.opts.Cluster.Handle(CopyProtocol, r.serveCopy)
	}
	for _, f := range loops {
		r.loops.Go(func() { f(ctx) })
	}
}

// stopServing takes this copy off the network.
func (r *Replica) stopServing() {
	if r.opts.Cluster != nil {
		r.opts.Cluster.Handle(LogProtocol, nil)
		r.opts.Cluster.Handle(CopyProtocol, nil)
	}
	r.closeStreams()
	if r.forwarder != nil {
		r.forwarder.close()
	}
}

// trackStream remembers an accepted stream and what it is for, until stop is
// called.
func (r *Replica) trackStream(st *cluster.Stream, purpose byte) (stop func()) {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	r.streams[st] = purpose
	return func() {
		r.streamsMu.Lock()
		defer r.streamsMu.Unlock()
		delete(r.streams, st)
	}
}

// closeStreams closes all accepted streams.
func (r *Replica) closeStreams() {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	for st := range r.streams {
		_ = st.Close()
	}
}

// closeEntries closes the streams of proposers: what came by them may have been
// lost, and they send it again.
func (r *Replica) closeEntries() {
	r.streamsMu.Lock()
	defer r.streamsMu.Unlock()
	for st, purpose := range r.streams {
		if purpose == purposeEntries {
			_ = st.Close()
		}
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
	return r.close()
}

// close stops raft, waits for the loops, hands back what is left, and closes
// log and store, the latter with a last flush if the home did not fail.
func (r *Replica) close() error {
	raftStopped := make(chan struct{})
	go func() {
		r.stopServing()
		if r.stopLoops != nil {
			r.stopLoops()
		}
		r.merger.lead(0) // nobody waits for room
		// Shutdown also unblocks the merger. Its future's error is always nil.
		_ = r.raft.Shutdown().Error()
		if c, ok := r.transport.(raft.WithClose); ok {
			_ = c.Close()
		}
		r.loops.Wait()
		close(raftStopped)
	}()
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-raftStopped:
	case <-t.C:
		err := errors.Join(r.failure(), fmt.Errorf("stop home %s: the disk at %s has not answered for %s; "+
			"its files are left open", r.opts.Home, r.opts.Dir, stopTimeout))
		r.handBack(fmt.Errorf("%w: %w", ErrStopped, err))
		return err
	}
	left := ErrStopped
	if err := r.failure(); err != nil {
		left = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	r.handBack(left)
	return r.closeFiles()
}

// closeFiles flushes, if the home did not fail, and closes log and store.
func (r *Replica) closeFiles() error {
	if r.failure() == nil {
		// An error is a failure now, and returned below.
		_ = r.flush()
	}
	failure := r.failure()
	logErr := r.logs.Close()
	storeErr := r.store.Close()
	if failure != nil {
		return failure // what closing a broken disk says adds nothing
	}
	if err := errors.Join(logErr, storeErr); err != nil {
		return fmt.Errorf("close home %s: %w", r.opts.Home, err)
	}
	return nil
}
