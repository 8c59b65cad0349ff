package home

import (
	"sync"
	"sync/atomic"

	"causeway/routing"
)

// State is a home. Apply changes it; everything else only reads.
type State struct {
	mu sync.RWMutex // held by Apply for a whole record

	// Replicated.
	id         ID
	lineage    []Span // epochs with the first number each gave
	time       Time
	seq        Seq // last given
	epoch      SessionEpoch
	joins      uint64 // last place given in a shared group
	forgotten  uint64 // highest version of a retained message that was forgotten
	proposers  map[NodeID]*proposer
	sessions   map[SessionKey]*session
	groups     map[groupKey]*Group
	peers      map[ID]*peer
	cursors    map[cursorKey]Seq
	wanted     *routing.Interest
	spoolLimit SpoolLimit
	shared     SetShared // global groups
	ranking    Rank
	failover
	documents   documents
	quotaOp     SetQuotas
	quotas      map[string]NamespaceQuota // of quotaOp
	wishes      map[SessionKey]*wish
	directories map[ID]*peerDirectory
	debts
	restores map[string]*restoration // by namespace
	records  uint64                  // applied since the home began
	chain    uint64                  // running digest of what they did

	// Replicated, and read without the lock.
	level      atomic.Uint32
	documented atomic.Uint64 // revision that was written last of all documents
	config     atomic.Pointer[Configure]
	spaces     atomic.Pointer[map[string]*space]
	// Of the peers' policies, for who may not wait.
	policies atomic.Pointer[map[ID]*LinkPolicy]

	// Derived.
	owned      map[Owner]*ownedSessions
	roamers    map[SessionKey]*session // that are on their way
	directory  *ownDirectory           // nil: nobody asks for it
	counts     counts
	timers     timers
	timerLimit int                // length at which overtaken ones are swept
	sources    map[origin]*origin // interned
	resident   int64              // bytes of bodies in memory
	bodies     bodyList           // flushed bodies in memory, oldest first
	written    []*run             // flushed, and in memory until Evict
	tombs      []tombstone        // of retained messages, oldest first; some were replaced
	tombLimit  int                // length at which replaced ones are swept
	graves     int                // tombstones that stand
	formers    formers
	chains     chains
	notes      notes
	veils      int // retained messages and deletions that a standby may not store

	// Of the record being applied.
	sink    Sink
	targets []*Target
	hits    []hit
	fill    uint8 // of the fullest queue of an attached session that the frame being applied went to
	gen     uint64
	not     []ID       // peers that had the message before
	effects uint64     // of the operation being applied, for the chain
	given   []*placing // that came with it and were not taken yet; nil: it came as it is
	made    []*placing
	plain   []spot // messages that every standby may store, while some may not be
	broken  bool   // a placing was missing
	entry   int    // that is applied; -1: none
	opAt    int
	last    uint64   // chain before it
	grace   uint32   // for wills, of the promotion being applied, seconds
	fanning bool     // a message meets its subscribers
	idle    []*Group // had a member make room meanwhile

	changes changes
}

// Span is a part of a home's lineage: Epoch numbered messages from First on, and began
// behind the position Record and Chain of the epoch before: a copy of that epoch which
// goes further went its own way.
type Span struct {
	Epoch     Epoch
	First     Seq
	Record    uint64
	Chain     uint64
	Sessions  SessionEpoch // the highest given before
	Unplanned bool         // it began without the old host's word
}

type proposer struct {
	incarnation Incarnation
	n           uint64 // last entry applied
	down        bool   // declared dead: nothing more of this incarnation counts
}

// space is what a namespace isolates: its filters and its retained messages.
type space struct {
	name     string
	table    *routing.Table[*Target]
	retained retainedTree
}

type cursorKey struct {
	source Source
	class  string
}

// wantedHistory is how many changes of what the home wants can be sent to a peer
// as a delta; one that missed more gets a snapshot.
const wantedHistory = 16384

// New returns an empty home. Its first record holds Genesis.
func New() *State {
	s := &State{
		proposers:   map[NodeID]*proposer{},
		sessions:    map[SessionKey]*session{},
		groups:      map[groupKey]*Group{},
		peers:       map[ID]*peer{},
		cursors:     map[cursorKey]Seq{},
		wishes:      map[SessionKey]*wish{},
		directories: map[ID]*peerDirectory{},
		restores:    map[string]*restoration{},
		roamers:     map[SessionKey]*session{},
		sources:     map[origin]*origin{},
		owned:       map[Owner]*ownedSessions{},
		debts:       newDebts(),
		wanted:      routing.NewInterest(wantedHistory),
		counts:      counts{spaces: map[string]*SessionCount{}, bySpace: map[string]uint64{}},
	}
	s.config.Store(new(Configure))
	s.spaces.Store(&map[string]*space{})
	s.policies.Store(&map[ID]*LinkPolicy{})
	s.changes.reset()
	return s
}

// space returns the namespace, creating it.
func (s *State) space(name string) *space {
	old := *s.spaces.Load()
	if sp := old[name]; sp != nil {
		return sp
	}
	next := make(map[string]*space, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	sp := &space{name: name, table: routing.NewTable[*Target]()}
	next[name] = sp
	s.spaces.Store(&next)
	return sp
}

// epochOf returns the epoch in which this home numbered seq.
func (s *State) epochOf(seq Seq) Epoch {
	for i := len(s.lineage) - 1; i >= 0; i-- {
		if s.lineage[i].First <= seq {
			return s.lineage[i].Epoch
		}
	}
	return Epoch{}
}

func (s *State) currentEpoch() Epoch {
	if len(s.lineage) == 0 {
		return Epoch{}
	}
	return s.lineage[len(s.lineage)-1].Epoch
}

// alive says whether the owner's incarnation is still registered.
func (s *State) alive(o Owner) bool {
	p := s.proposers[o.Node]
	return p != nil && p.incarnation == o.Incarnation && !p.down
}

func (s *State) source(src origin) *origin {
	p := s.sources[src]
	if p == nil {
		p = &src
		s.sources[src] = p
	}
	return p
}

// Limits in force, with defaults filled in.
func (c *Configure) limits() Limits {
	l := c.Limits
	setDefault(&l.SessionExpiryMax, 14*24*3600)
	setDefault(&l.QueueMessages, 100_000)
	setDefault(&l.QueueBytes, 256<<20)
	setDefault(&l.Subscriptions, 1000)
	setDefault(&l.Sessions, 5_000_000)
	setDefault(&l.Retained, 2_000_000)
	return l
}

func setDefault[T uint32 | uint64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
