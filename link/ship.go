package link

import (
	"context"
	"errors"
	"time"

	"causeway/internal/home"
)

// Errors that a Source wraps, upon which records alone do not help a standby.
var (
	// ErrTooOld: the log does not reach back to where the standby is.
	ErrTooOld = errors.New("the home's log does not reach back so far")
	// ErrOtherChain: the standby has other records than this copy at the same place.
	ErrOtherChain = errors.New("the two copies of the home went different ways")
)

// ErrNeedsCopy is wrapped by Standby.Position: what the copy has is of no use any more, or
// is kept beside it. It goes on with a copy of the host's, and not by records.
var ErrNeedsCopy = errors.New("it takes a copy of the home")

// ErrOpening is wrapped by Standby.Position: the copy is being opened, as it is anew once a
// whole one came in.
var ErrOpening = errors.New("the copy is being opened")

// Source is a copy of a home that hosts, as its shipping needs it beside the Home. It is
// asked at the node that leads the copy. Methods may be called concurrently.
type Source interface {
	// Tail returns the records behind a position in the form in which they may go to a
	// region: first an anchor, which is a shipment without Data that has the number and the
	// chain of the position itself, then the records, in order, of about maxBytes together
	// and at least one. It waits until there is one. Nobody changes what it returned. Errors:
	// ErrTooOld, ErrOtherChain, others for good.
	Tail(ctx context.Context, to string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error)
	// Copy begins a copy for a region, as of now.
	Copy(ctx context.Context, to string) (Copier, error)
}

// Copier is a consistent copy of a home, in parts. One goroutine at a time uses it.
type Copier interface {
	// Position is what the copy is of; what follows it is Tail's.
	Position() home.CopyPosition
	// Next returns what follows a key, nil for all, of about maxBytes, and the last key in
	// it. An empty chunk says that there is nothing more. The chunk belongs to the caller.
	Next(after []byte, maxBytes int) (chunk, last []byte, err error)
	Close()
}

// Standby is a copy of a home that stands by, as its shipping needs it. It is asked at
// the node that leads the copy.
type Standby interface {
	// Position is where the copy stands: what is applied and on a majority of the region's
	// disks; zero of a copy that has nothing. ErrNeedsCopy says that the copy may be
	// replaced whatever it has, ErrOpening that it is asked again soon; after another error
	// nothing is shipped for now.
	Position() (home.CopyPosition, error)
	// WaitPosition waits until more than `after` records are applied and returns the
	// position then. It fails with ctx, and when the copy has stopped.
	WaitPosition(ctx context.Context, after uint64) (home.CopyPosition, error)
	// Append takes records as Source.Tail returned them, an anchor first. They belong to it
	// from then on. It returns when they are taken, in order, and waits while it has too
	// many that are not applied. It refuses a gap and what has another chain.
	Append(ctx context.Context, list []home.Shipment) error
	// Incoming begins to take a copy of a position. What the copy had before stays what
	// Position is of until the new one is whole. [E10] With resume it goes on with one of
	// the same position that was begun. A second one ends the first.
	Incoming(ctx context.Context, at home.CopyPosition, resume bool) (CopySink, error)
}

// CopySink takes the chunks of a copy, in order. One goroutine uses it.
type CopySink interface {
	// After is the last key that is here: the next chunk is what follows it. Nil: all.
	After() []byte
	// Put takes a chunk. It returns when there is room for another; an error ends the sink.
	Put(ctx context.Context, chunk []byte) error
	// Finish makes the copy the home's. Its Home and Standby may be opened anew for that.
	Finish(ctx context.Context) error
}

// Shipped is what the standbys of a home have.
type Shipped struct {
	Region  string // of the standby that counts; empty without one
	Records uint64 // applied there
	Healthy bool   // it takes what is shipped; if not, nobody may wait for it
}

// CopyState says how the shipping of a home to a region goes.
type CopyState string

// States of shipping.
const (
	CopyAway     CopyState = "away"     // no tunnel
	CopyIdle     CopyState = "idle"     // another standby is shipped to
	CopyBehind   CopyState = "behind"   // it catches up
	CopyFollows  CopyState = "follows"  // it has all but what is under way
	CopyCopying  CopyState = "copying"  // it is given a copy
	CopyDiverged CopyState = "diverged" // it has records that are not ours: they must be reconciled first
	CopyRefuses  CopyState = "refuses"  // it does not take what is shipped; the reason says why
)

// CopyStatus is the shipping of our home to a standby as an operator sees it.
type CopyStatus struct {
	Region string
	Link   Status // the tunnel; of its figures those of spools mean nothing
	State  CopyState
	Reason string
	Counts bool // this standby is the one that Shipped tells of

	At          home.CopyPosition // of the standby, as it last said
	LagRecords  uint64
	LagMessages uint64        // about
	LagBytes    uint64        // about: of records in shipped form
	Lag         time.Duration // since the oldest record was committed that the standby has not
	CopiedBytes uint64        // of the copy that is under way
	Copies      uint64        // begun
	Shipped     uint64        // records
	Raw, Wire   uint64        // bytes before and after compression
}
