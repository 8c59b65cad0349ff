package replica

import (
	"context"
	"fmt"

	"causeway/internal/home"
)

// open starts what registers this run of the node while the region hosts the home, and waits
// until it has, or another region hosts it: by then everything that was in the log is applied
// here. The first leader of a new home founds it, once it may.
func (r *Replica) open(ctx context.Context) error {
	r.wait("the home has no leader yet")
	if err := r.await(ctx, r.settled); err != nil {
		return r.opening(ctx, err)
	}
	return nil
}

// register makes this run of the node known to the home, by way of its own first entry.
func (r *Replica) register(ctx context.Context, tenure uint64) error {
	r.wait("the log is being applied")
	r.opts.Progress.open.Store(r)
	r.queue.resume(r.self())
	if r.tenure.Load() != tenure || !r.hosting.Load() { // it ended meanwhile, and that paused the queue
		r.giveBack(ErrStandby, r.queue.pause)
		return ErrStandby
	}
	if r.state.ID() == "" {
		if err := r.Propose(&home.Genesis{Home: r.opts.Home, Epoch: r.opts.Epoch}, nil); err != nil {
			return err
		}
	}
	up := make(chan error, 1)
	if err := r.Propose(&home.NodeUp{}, func(_ home.Outcome, err error) { up <- err }); err != nil {
		return err
	}
	select {
	case err := <-up:
		if err != nil {
			return err
		}
	case <-r.failed:
		return r.failErr
	case <-ctx.Done():
		return fmt.Errorf("apply the log: %w", ctx.Err())
	}
	r.registered.Store(true)
	if r.tenure.Load() != tenure {
		r.registered.Store(false)
	}
	r.water.raise()
	return nil
}

// opening says why a wait of Open or Follow ended.
func (r *Replica) opening(ctx context.Context, err error) error {
	if failure := r.failure(); failure != nil {
		return failure
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", r.waits(), ctx.Err())
	}
	return err
}
