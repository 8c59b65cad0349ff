package replica

import (
	"context"

	"causeway/internal/home"
)

// Hosting says that this region hosts the home, as far as applied here. Without
// Options.Region it always does. It is cheap enough for every write.
func (r *Replica) Hosting() bool { return true }

// WaitHosting waits until Hosting says so. Errors: ctx's, ErrStopped.
func (r *Replica) WaitHosting(ctx context.Context, hosting bool) error { return errNotYet }

// Promote makes this region the home's host, from this record of the log on: the leader of a
// copy that stands by does it. When it returns nil the promotion is applied here; the region's
// nodes register by themselves as they apply it, and Propose takes operations. Errors:
// ErrHosting, ErrIncomplete, ErrQuarantined, ErrNotLeader, ErrStopped, ctx's; *RefusedError for an epoch that is not
// above the one in force or is another region's.
func (r *Replica) Promote(ctx context.Context, op *home.Promote) error { return errNotYet }

// Hand gives the home to another region: the last word of its epoch. When it returns nil it is
// applied here, this region's copy stands by, and what was proposed behind it has failed with
// ErrStandby. Errors: ErrStandby, ErrStopped, ctx's, upon which nobody knows whether it will
// be handed over; WaitHosting tells.
func (r *Replica) Hand(ctx context.Context, to string) error { return errNotYet }
