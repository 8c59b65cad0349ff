package replica

import (
	"context"
	"errors"

	"causeway/internal/home"
)

// ErrAdopted ends a run whose copy of the home was replaced by one that came from the host:
// opened again, it goes on from that one.
var ErrAdopted = errors.New("another copy of the home has come in whole and takes the old one's place")

// CopySink takes a copy of the state that comes from the host.
type CopySink struct{}

// Incoming begins to take a copy of the home as of a position, beside the one there is, which
// stays in use until the new one is whole. With resume it goes on with one of the same position that
// was begun, be it by another leader; else it begins anew. One at a time: a second ends the
// first. Errors: ErrHosting (Retire first), ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) Incoming(ctx context.Context, at home.CopyPosition, resume bool) (*CopySink, error) {
	return nil, errNotYet
}

// After is the last key that is here: go on behind it. nil: begin at the start.
func (s *CopySink) After() []byte { return nil }

// Put takes the next chunk of Copier.Next. It returns when there is room for another; an
// error ends the sink.
func (s *CopySink) Put(ctx context.Context, chunk []byte) error { return errNotYet }

// Finish says that all has come. When it returns nil a majority of the region's nodes has all
// of the copy and has agreed to go on from it; each run of the home then ends with ErrAdopted,
// to be opened again. ErrIncomplete: too many nodes have missed a part; begin anew.
func (s *CopySink) Finish(ctx context.Context) error { return errNotYet }
