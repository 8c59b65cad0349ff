package replica

import (
	"context"
	"fmt"

	"causeway/internal/home"
)

// register waits until this run of the node is known to the home, by way of its
// own first entry: by then everything that was in the log is applied here. The
// first leader of a new home founds it, once it may.
func (r *Replica) register(ctx context.Context, may func() bool) error {
	r.wait("the home has no leader yet")
	if err := r.water.await(ctx, r.failed, may); err != nil {
		return r.opening(ctx, err)
	}
	r.wait("the log is being applied")
	r.opts.Progress.open.Store(r)
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
		return err
	case <-r.failed:
		return r.failErr
	case <-ctx.Done():
		return fmt.Errorf("apply the log: %w", ctx.Err())
	}
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
