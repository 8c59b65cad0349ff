package replica

import (
	"context"
	"errors"

	"causeway/internal/home"
)

// Errors of Tail.
var (
	// ErrTooOld: the log does not reach back to what was asked for, or what the records
	// need beside it is forgotten. It takes a copy of the state.
	ErrTooOld = errors.New("the home's log does not reach back so far: it takes a copy of the state")
	// ErrOtherChain: the two copies went different ways. It takes a copy of the state.
	ErrOtherChain = errors.New("the two copies of the home went different ways: it takes a copy of the state")
)

// Tail returns the records behind a position, as they go to a region: first an anchor, which
// is a shipment without Data that has the number and the chain of the position itself, then
// the records, in order, of about maxBytes together and at least one. It waits until there is
// one, also while this node does not lead. The shipments' Data must not be written. Errors: ErrTooOld,
// ErrOtherChain, ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Tail(ctx context.Context, to string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	return nil, errNotYet
}

var errNotYet = errors.New("not yet")
