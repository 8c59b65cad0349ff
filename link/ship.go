package link

import (
	"context"
	"errors"
	"time"

	"causeway/internal/home"
)

// ErrTooOld is wrapped by Source.Tail when the records asked for are not in the log any
// more: a standby that stands there needs a copy.
var ErrTooOld = errors.New("the log begins later")

// Source is a copy of a home that hosts, as its shipping needs it. It is asked at the
// node that leads the copy. Methods may be called concurrently.
type Source interface {
	// Position is where the copy stands: what is committed and applied here.
	Position() home.CopyPosition
	// Tail returns records in the form that may leave for a region, in order and without
	// a gap: what follows the first `after` of them, at least one and about maxBytes.
	// It waits until there is one. It fails with ErrTooOld if the log begins later. What
	// it returns is not changed by anyone.
	Tail(ctx context.Context, to string, after uint64, maxBytes int) ([]home.Shipment, error)
	// Copy begins a copy for a region, as of now.
	Copy(ctx context.Context, to string) (Copier, error)
}

// Copier is a consistent copy of a home, in parts. One goroutine at a time uses it.
type Copier interface {
	// Position is what the copy is of.
	Position() home.CopyPosition
	// Next returns the part that follows a key, of about maxBytes, and the last key in
	// it; nil for both at the end. Key nil is before the first one. The part belongs to
	// the caller.
	Next(after []byte, maxBytes int) (part, last []byte, err error)
	Close()
}

// Standby is a copy of a home that stands by, as its shipping needs it. It is asked at
// the node that leads the copy.
type Standby interface {
	// Position is where the copy stands: what is on a majority of the region's disks
	// and applied. The zero position is that of an empty copy.
	Position() home.CopyPosition
	// Append takes records, which follow those it took before. It returns when they
	// are taken, which may be long before Position says so, and waits while it has too
	// many that are not. It refuses a gap and what has another chain.
	Append(ctx context.Context, records []home.Shipment) error
	// Advanced waits until Position has more than `after` records, or another epoch
	// than it had.
	Advanced(ctx context.Context, after home.CopyPosition) (home.CopyPosition, error)
	// Partial is how far a copy came that is not complete: what it is of, and the last
	// key of it that is on disk. False if there is none.
	Partial() (at home.CopyPosition, last []byte, ok bool)
	// Incoming takes a copy: the partial one goes on if resume is set, else it is given
	// up and a new one begins. What the copy had before stays what Position is of until
	// the new one is complete. [E10]
	Incoming(ctx context.Context, at home.CopyPosition, resume bool) (CopySink, error)
}

// CopySink takes the parts of a copy, in order. One goroutine uses it.
type CopySink interface {
	// Put takes a part whose last key is last. What Put has returned for may be found
	// again by Standby.Partial after a crash, or not.
	Put(part, last []byte) error
	// Finish makes the copy the home's: Position is its position then.
	Finish() error
	// Close ends it as it stands: a partial copy stays one. After Finish it does nothing.
	Close()
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

// errNotYet is what the code says that is to come.
var errNotYet = errors.New("not yet")

// Copies describes the shipping of our home, by the order of standbys.
func (m *Manager) Copies() []CopyStatus { return nil }
