package replica

import (
	"fmt"
	"log/slog"
	"time"

	"causeway/internal/home"
	"causeway/internal/store"
)

// Options describe a replica. The fields of the first two groups must be set;
// a zero field of the others is its default.
type Options struct {
	Home        home.ID
	Epoch       home.Epoch // of the home if this start creates it
	Node        home.NodeID
	Incarnation home.Incarnation // of this run of the node; never used before

	// Region is ours: it hosts the home in epochs of its name, and stands by in others.
	// Only the home of its own name is founded here; a copy of another waits for what its
	// host ships. Empty: there is one region, which hosts the home.
	Region string
	// Beside says that it is a group beside the home of the region's name, which is not
	// shipped nor taken over: its streams carry its name, as those of other regions' homes do.
	Beside bool
	// Lease, if set, says whether a home that is hosted here may be served now. While it
	// says no, no node of the region becomes fresh, and entries wait: the region serves for at
	// most 300 ms longer. Asked often, by many goroutines: it must be cheap.
	Lease func() bool
	// Hush, if set, says of the node that leads that no node shall speak for its sessions, while the log takes entries
	// as ever: what was sent to devices is acknowledged, and nothing more is sent. The others hear within 150 ms.
	Hush func() bool
	// Known, if set, is the newest run of a node that its region knows: of a home that another
	// region hosts the state does not say. The region's own home's State().Incarnation.
	Known func(home.NodeID) home.Incarnation

	// Disk is the UUID of the data directory: a vote belongs to a disk, not to the
	// name of its node. [B1]
	Disk string
	// Cluster connects this node with the other copies of the home; nil if this is
	// the only one.
	Cluster Cluster
	// Voters is how many copies the home is founded with and never goes below; 1.
	Voters int
	// RaiseIncarnation makes this run's incarnation at least that, durably, and
	// returns it: a node that lost its disk counts on from what the others know.
	// Needed with Cluster.
	RaiseIncarnation func(home.Incarnation) (home.Incarnation, error)
	// Waiting is told what Open waits for, in words.
	Waiting func(string)
	// Progress, if set, is kept up to date.
	Progress *Progress

	FS   store.FS
	Dir  string    // belongs to the replica alone; created if need be
	Sink home.Sink // called while the state is locked: must not block nor call back

	// Wall is the node's clock on the wall, which counts after a full stop only; default
	// time.Now. Tests set it wrong.
	Wall func() time.Time

	// Logger gets what an operator would tell a colleague; raft's own talk goes
	// there at debug level.
	Logger *slog.Logger
	// OnFatal is told why the home stopped serving, once, from Run's goroutine
	// before it cleans up. It must not call into the replica except Ready and
	// Stats.
	OnFatal func(error)

	// QueueBytes bounds what is proposed and not yet done; 64 MiB.
	QueueBytes int64
	// MaxOpBytes bounds one operation; 16 MiB. At most half of QueueBytes.
	MaxOpBytes int
	// Batching decides when and how much goes into an entry.
	Batching Batching

	// MemoryBudget bounds bodies of messages kept in memory, in bytes; 256 MiB.
	// The rest is read from the store.
	MemoryBudget int64
	// FlushEvery is how often changes go to the store; 1 s.
	FlushEvery time.Duration
	// SnapshotEntries and SnapshotBytes of log cause a snapshot, whichever comes
	// first; 20000 and 64 MiB.
	SnapshotEntries uint64
	SnapshotBytes   int64
	// TrailingEntries and TrailingBytes bound the log kept below a snapshot, so that
	// a node that starts again catches up by it; 20000 and 64 MiB. One voter needs
	// none of it, and keeps 256.
	TrailingEntries uint64
	TrailingBytes   int64
	// SegmentBytes is the size of a file of the log; raftlog's default if 0.
	SegmentBytes int
	// Store sizes the store. Its Logger and OnFatal are the replica's.
	Store store.Options

	// DrainTimeout bounds how long a graceful stop waits for proposals under
	// way; 2 s.
	DrainTimeout time.Duration
}

// Batching decides when what waits becomes an entry. CPU is paid per entry, so
// under load it lingers; alone, an operation goes at once.
type Batching struct {
	MaxOps      int           // operations an entry; 512
	MaxBytes    int           // bytes an entry; 256 KiB. A larger operation goes alone
	InFlight    int           // entries under way at once; 2
	Linger      time.Duration // from one entry to the next under load; 4 ms
	ShortLinger time.Duration // the same while at most FewOps are outstanding; 1 ms
	FewOps      int           // 128
	// SoloOps go as soon as nothing is in flight, after an entry of so many at most:
	// 8; 0 with Cluster, where each record costs every node.
	SoloOps    int
	LazyLinger time.Duration // from one entry to the next of what nobody waits for; 2 ms
	// PatientLinger is the same of devices that come or go; 8 ms. When thousands come their records must not take the
	// time of those that are served.
	PatientLinger time.Duration
}

func (o Options) withDefaults() Options {
	set(&o.Voters, 1)
	set(&o.Disk, "disk")
	set(&o.QueueBytes, 64<<20)
	set(&o.MaxOpBytes, 16<<20)
	set(&o.MemoryBudget, 256<<20)
	set(&o.FlushEvery, time.Second)
	set(&o.SnapshotEntries, 20_000)
	set(&o.SnapshotBytes, 64<<20)
	if o.Cluster == nil {
		set(&o.TrailingEntries, 256)
	}
	set(&o.TrailingEntries, 20_000)
	set(&o.TrailingBytes, 64<<20)
	set(&o.DrainTimeout, 2*time.Second)
	set(&o.Batching.MaxOps, 512)
	set(&o.Batching.MaxBytes, 256<<10)
	set(&o.Batching.InFlight, 2)
	set(&o.Batching.Linger, 4*time.Millisecond)
	set(&o.Batching.ShortLinger, time.Millisecond)
	if o.Cluster == nil {
		set(&o.Batching.SoloOps, 8)
	}
	set(&o.Batching.LazyLinger, 2*time.Millisecond)
	set(&o.Batching.PatientLinger, 8*time.Millisecond)
	set(&o.Batching.FewOps, 128)
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("home", string(o.Home))
	if o.Waiting == nil {
		o.Waiting = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	if o.OnFatal == nil {
		o.OnFatal = func(error) {}
	}
	return o
}

func set[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// maxForeignName bounds the name of a home that is not the region's own: protocol names have
// at most 255 bytes.
const maxForeignName = 200

// maxEntryBytes is what the log takes as one entry, with room for its header.
const maxEntryBytes = 48 << 20

// Validate names the option of a core that makes no sense.
func (o Options) Validate() error {
	if err := o.validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	switch {
	case o.Cluster != nil && (o.RaiseIncarnation == nil || o.Disk == "disk"):
		return fmt.Errorf("replica: with a Cluster, Disk and RaiseIncarnation of home %s must be set", o.Home)
	case o.FS == nil || o.Dir == "":
		return fmt.Errorf("replica: FS and Dir of home %s must be set", o.Home)
	}
	return nil
}

// validateFollower names the option of a replicant that makes no sense.
func (o Options) validateFollower() error {
	if o.Cluster == nil || o.RaiseIncarnation == nil {
		return fmt.Errorf("replica: Cluster and RaiseIncarnation of home %s must be set", o.Home)
	}
	return o.validate()
}

// validate checks what both have.
func (o Options) validate() error {
	o = o.withDefaults()
	switch {
	case o.Home == "" || o.Node == "" || len(o.Home) > maxHomeName:
		return fmt.Errorf("replica: Home %q and Node %q must be set", o.Home, o.Node)
	case len(o.Region) > 0 && !o.founds() && len(o.Home) > maxForeignName:
		return fmt.Errorf("replica: Home %q has more than %d bytes, and is named in protocols", o.Home, maxForeignName)
	case o.founds() && (o.Epoch.Number == 0 || o.Epoch.Host == ""):
		return fmt.Errorf("replica: Epoch %s of home %s must have a number from 1 and a host", o.Epoch, o.Home)
	case o.Incarnation == 0:
		return fmt.Errorf("replica: Incarnation of node %s must be set: it counts from 1", o.Node)
	case o.Sink == nil:
		return fmt.Errorf("replica: Sink of home %s must be set", o.Home)
	case o.MaxOpBytes < 0 || o.MaxOpBytes > maxEntryBytes:
		return fmt.Errorf("replica: MaxOpBytes %d: use at most %d", o.MaxOpBytes, maxEntryBytes)
	case int64(o.MaxOpBytes) > o.QueueBytes/2:
		return fmt.Errorf("replica: MaxOpBytes %d is more than half of QueueBytes %d", o.MaxOpBytes, o.QueueBytes)
	case o.Batching.MaxOps < 0 || o.Batching.MaxBytes < 0 || o.Batching.MaxBytes > maxEntryBytes || o.Batching.InFlight < 0:
		return fmt.Errorf("replica: Batching %+v: MaxOps, MaxBytes and InFlight must be positive, MaxBytes at most %d",
			o.Batching, maxEntryBytes)
	case o.Batching.Linger < 0 || o.Batching.ShortLinger < 0 || o.Batching.LazyLinger < 0 || o.FlushEvery < 0 || o.DrainTimeout < 0:
		return fmt.Errorf("replica: Linger, ShortLinger, LazyLinger, FlushEvery and DrainTimeout must not be negative")
	}
	return nil
}
