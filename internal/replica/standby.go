package replica

import (
	"context"
	"errors"

	"causeway/internal/home"
)

// Errors of a copy that stands by.
var (
	// ErrHosting: this region hosts the home, so it takes nobody else's records.
	ErrHosting = errors.New("this region hosts the home")
	// ErrStandby: another region hosts the home, so nothing is proposed here.
	ErrStandby = errors.New("this region's copy of the home stands by: another region hosts it")
	// ErrGap: the records do not follow on the last one that was taken.
	ErrGap = errors.New("the records do not follow on what this copy has")
	// ErrQuarantined: applying the records gave something else here than there, and nobody
	// knows why. It takes a copy of the state.
	ErrQuarantined = errors.New("this copy differs from the host's and is not to be used")
	// ErrIncomplete: the first copy of the home is still on its way.
	ErrIncomplete = errors.New("the copy of the home is not complete")
)

// Position says how far this region's copy is: what it says is applied here and on a
// majority's disks if this node leads. Zero: there is none yet. An error is why the copy
// cannot go on from there by records: ErrQuarantined.
func (r *Replica) Position() (home.CopyPosition, error) { return home.CopyPosition{}, errNotYet }

// WaitPosition waits until more records are applied than that and returns the position then.
// Errors: ctx's, ErrStopped.
func (r *Replica) WaitPosition(ctx context.Context, after uint64) (home.CopyPosition, error) {
	return home.CopyPosition{}, errNotYet
}

// Append gives records of the host's to this copy, as Tail returned them: an anchor, then
// records. The leader takes them; they belong to it from then on. It returns when they are taken, in order, which may wait for
// those before them; WaitPosition tells when they are applied. After an error nothing of the
// call's may be taken for granted: go on from Position. Errors: ErrGap, ErrOtherChain,
// ErrQuarantined, ErrHosting, ErrNotLeader, ErrStopped, ctx's; a record that cannot be of
// this home is refused with words.
func (r *Replica) Append(ctx context.Context, list []home.Shipment) error { return errNotYet }
