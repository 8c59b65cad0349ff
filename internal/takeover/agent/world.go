package agent

import (
	"context"
	"errors"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// Kind is the kind of the calls between regions and witnesses that Votes answers.
const Kind byte = 1

// Caller asks another region or a witness. Its answer is what Votes.Answer of that one
// returned; an error says that there was none in time. It may be called concurrently.
type Caller interface {
	Call(ctx context.Context, peer string, kind byte, request []byte) ([]byte, error)
}

// Errors that a Copy and a Book answer with, wrapped.
var (
	// ErrElsewhere: another node of the region leads the group, so it has to be asked.
	ErrElsewhere = errors.New("another node of the region leads this")
	// ErrNoCopy: the region has no copy of the home.
	ErrNoCopy = errors.New("the region has no copy of this home")
)

// Book is where the promises of a voter are durable: a witness's files, or a group of
// the region's nodes of its own. That is not the log of any home: a home's log takes no
// entry while it is fenced, handed over, or follows the host in another region, and the
// vote is needed just then.
type Book interface {
	// Load returns all that was kept, including whatever an earlier leader of the group
	// kept. It is asked once, before the first answer of a run, and is as sure as Sure.
	Load(ctx context.Context) (map[home.ID]Kept, error)
	// Keep makes what is kept of a home durable: on a majority of the region's disks,
	// or on the witness's. It returns nil only if nobody else was the voter in between.
	Keep(ctx context.Context, id home.ID, k Kept) error
	// Sure returns nil once it is certain that, at some moment after the call, nobody else
	// was the region's voter: a round to a majority of the nodes. Without it a node that
	// was paused could answer beside its successor. A witness is always sure.
	Sure(ctx context.Context) error
}

// Copy is the region's copy of one home. The methods that change something commit an
// entry of the home's log; on a node that does not lead the copy's group they pass it
// on or return ErrElsewhere.
type Copy interface {
	Home() home.ID
	// State tells how the copy is now. It is asked several times a second.
	State() CopyState
	// Promote begins an epoch: the copy hosts from then on. Planned says that nothing
	// is missing: the former host handed the home over, or it is this copy itself.
	Promote(ctx context.Context, e home.Epoch, planned bool) error
	// Hand ends the epoch: nothing but a promotion follows in the log. It returns the
	// number of the record that says so.
	Hand(ctx context.Context, to string) (record uint64, err error)
	// Drain stops taking what would become entries, and parks devices, or lets them go
	// on. It is of this run only. It returns once what was taken before is in the log.
	Drain(ctx context.Context, on bool) error
	// Retire sets a copy aside that another region's epoch superseded. It is read for
	// what it has more, and a copy that follows begins beside it. It does nothing twice.
	// From then on State is that of the one that follows, once there is one.
	Retire(ctx context.Context, inForce home.Epoch) error
}

// CopyState is how a copy of a home is.
type CopyState struct {
	Epoch   home.Epoch
	Records uint64 // applied on a majority of the copy's nodes
	Chain   uint64 // the digest of those records
	Handed  string // the region to which the epoch was handed over; ""
	Leads   bool   // this node leads the copy's group
	// Empty says that nothing is there yet, Incoming that a whole copy is on its way and
	// this one is the older one that is kept until then.
	Empty, Incoming bool
	Retired         bool
	// Quarantined is why the copy may not be promoted: its digest differs; "".
	Quarantined string
	Settings    Settings
	// Level is the feature level of the home's log, Supports the highest of this region.
	Level, Supports uint32
	// Silent is for how long nothing came from the host through the tunnels; negative: never.
	Silent time.Duration
	// Shipped is how far each standby is, by region: for a hosted home.
	Shipped map[string]Shipment
	// Size is what would have to be served.
	Size Size
}

// Shipment is how far a standby is, as the host knows.
type Shipment struct {
	Connected bool
	Records   uint64 // applied at the standby
	Messages  int    // that it lacks
	Bytes     int64  // that it lacks
	Lag       time.Duration
}

// Size is what a home asks of its host.
type Size struct {
	Sessions   int
	Queued     int64 // bytes
	StoreBytes int64
}

// Room is what a region has left for homes that it would take over.
type Room struct {
	Sessions  int   // more that it can serve; negative: no bound
	Queued    int64 // bytes of memory for queues; negative: no bound
	DiskBytes int64 // free beyond the reserve; negative: not known
}

// Settings are a home's: what State.Takeover of its log says.
type Settings struct {
	Standbys []string // regions, in the order in which they take over
	Voters   []string // regions and witnesses
	takeover.Policy
	DownAfter time.Duration // for how long nothing is heard of a host before it counts as gone
}

// hosts says that the copy is the one that is served from, as far as its log knows.
func (s *CopyState) hosts(region string) bool {
	return s.Epoch.Host == region && s.Handed == "" && !s.Retired && !s.Empty
}

func (s *CopyState) position() takeover.Position {
	return takeover.Position{Epoch: s.Epoch, Seq: home.Seq(s.Records)}
}

// Kept is what a voter keeps of a home.
type Kept struct {
	Promised home.Epoch // the highest epoch it agreed to
	InForce  home.Epoch // the highest epoch at which a region is known to have served
	// Short says that the host acknowledges what its standbys lack, as of a record of an
	// epoch: nobody is promoted by votes alone until the standbys have it. [E13]
	Short Short
	// Held says that an operator stopped the home in this region.
	Held bool
	// Sole says that an operator has this region serve the home without a majority.
	Sole bool
	// List is the list of voters that the host decides by.
	List takeover.List `json:",omitzero"`
}

// Short is the last word of a host on whether its standbys have all that was
// acknowledged under the policy standby.
type Short struct {
	Epoch  home.Epoch
	Record uint64
	On     bool
}

// later says whether s is newer than o. At the same record falling short counts.
func (s Short) later(o Short) bool {
	if c := s.Epoch.Compare(o.Epoch); c != 0 {
		return c > 0
	}
	return s.Record > o.Record || s.Record == o.Record && s.On && !o.On
}
