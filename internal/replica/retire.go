package replica

import (
	"context"

	"causeway/internal/home"
	"causeway/internal/store"
)

// Retire ends the service of a copy that another region's epoch has superseded: the leader
// does it. The region's copy stands by from then on, and what it held is kept beside it on
// each core node, read only, until RemoveRetired. Done twice it does nothing more. Errors:
// *RefusedError for an epoch that is not above the one in force; ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Retire(ctx context.Context, by home.Epoch) error { return errNotYet }

// RetiredCopy is a copy that was set aside since its epoch was superseded.
type RetiredCopy struct {
	Position home.CopyPosition // where it ends
	By       home.Epoch        // the epoch that superseded it
	Dir      string
}

// Retired lists the copies kept in a home's folder, oldest first.
func Retired(fs store.FS, dir string) ([]RetiredCopy, error) { return nil, errNotYet }

// OpenRetired opens one for reading: State, Body and SpoolRun answer as they did, Propose
// fails with ErrStandby, Leads says yes, since each node has its own. Of Options it needs Home, Node, FS,
// Logger and Store. Close it.
func OpenRetired(opts Options, c RetiredCopy) (*Replica, error) { return nil, errNotYet }

// RemoveRetired removes one that was reconciled. It must not be open.
func RemoveRetired(fs store.FS, c RetiredCopy) error { return errNotYet }
