package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
	"causeway/internal/store"
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

// quarantineFile holds why a copy that differs from the host's is not to be used.
const quarantineFile = "QUARANTINE"

// abroad is what a core has for the copies of its home in other regions.
type abroad struct {
	standing   standing
	intake     intake
	tail       tailIndex
	copiers    copiers
	quarantine atomic.Pointer[string]     // why this copy differs from the host's; nil if it does not
	retiredBy  atomic.Pointer[home.Epoch] // nil if it was not
}

// standing is what the leader of a copy that stands by has taken. Raft may refuse an entry and
// take a later one, and a deposed leader's may come before a new one's: each has its number in
// the log, so what does not follow is skipped by all.
type standing struct {
	mu    turn // held while records are given to raft
	based bool // next and chain are those of the end of the log
	next  uint64
	chain uint64 // after the record before next, as its shipper says; 0 unknown

	broken atomic.Bool // something that was given to raft did not come out of it
	bytes  atomic.Int64
	flying chan flown
	room   chan struct{} // holds one token
}

// flown is a record that raft has.
type flown struct {
	raft.ApplyFuture
	bytes int64
}

// What may be under way at once.
const (
	standingRecords = 1024
	standingBytes   = 32 << 20
)

func newStanding() standing {
	return standing{mu: newTurn(), flying: make(chan flown, standingRecords), room: make(chan struct{}, 1)}
}

// Position says how far this region's copy is: what it says is applied here, and on a
// majority's disks if this node leads. Zero: there is none yet. An error is why the copy
// cannot go on from there by records, and takes another: ErrQuarantined; ErrIncomplete of this
// region's own home that is empty and not to be founded.
func (r *Replica) Position() (home.CopyPosition, error) {
	if r.state.ID() == "" && r.founds() && !r.leased() {
		return home.CopyPosition{}, fmt.Errorf("%w: this region's own home is empty, and another region may host it", ErrIncomplete)
	}
	if c, ok := r.role.(*core); ok {
		if why := c.quarantine.Load(); why != nil {
			return r.state.Position(), fmt.Errorf("%w: %s", ErrQuarantined, *why)
		}
	}
	return r.state.Position(), nil
}

// WaitPosition waits until more records are applied than that and returns the position then.
// Errors: ctx's, ErrStopped.
func (r *Replica) WaitPosition(ctx context.Context, after uint64) (p home.CopyPosition, err error) {
	err = r.await(ctx, func() bool {
		p = r.state.Position()
		return p.Records > after
	})
	return p, err
}

// Append gives records of the host's to this copy, as Tail returned them: an anchor, then
// records. The leader takes them; they belong to it from then on. It returns when they are taken, in order, which may wait for
// those before them; WaitPosition tells when they are applied. After an error nothing of the
// call's may be taken for granted: go on from Position. Errors: ErrGap, ErrOtherChain,
// ErrQuarantined, ErrHosting, ErrNotLeader, ErrStopped, ctx's; a record that cannot be of
// this home is refused with words.
func (r *Replica) Append(ctx context.Context, list []home.Shipment) error {
	c, ok := r.role.(*core)
	if !ok {
		return ErrNotLeader
	}
	if len(list) == 0 || len(list[0].Data) > 0 {
		return fmt.Errorf("%w: they begin with no anchor", ErrGap)
	}
	for i := range list[1:] {
		if err := c.vetShipment(list[0].N+1+uint64(i), &list[i+1]); err != nil {
			return err
		}
	}
	return c.append(ctx, list)
}

// vetShipment checks a record before it goes into the log, where one that cannot be applied
// would stop every copy.
func (r *core) vetShipment(want uint64, x *home.Shipment) error {
	if x.N != want {
		return fmt.Errorf("%w: record %d comes where %d should", ErrGap, x.N, want)
	}
	if len(x.Data) > raftMaxEntry {
		return fmt.Errorf("record %d has %d bytes, the limit is %d", x.N, len(x.Data), raftMaxEntry)
	}
	rec, err := home.DecodeRecord(x.Data)
	if err != nil {
		return fmt.Errorf("record %d of home %s: %w", x.N, r.opts.Home, err)
	}
	if rec.Home != r.opts.Home {
		return fmt.Errorf("record %d is of home %q, and this is a copy of %s", x.N, rec.Home, r.opts.Home)
	}
	for i := range rec.Entries {
		for _, op := range rec.Entries[i].Ops {
			if err := r.vetShippedOp(op); err != nil {
				return fmt.Errorf("record %d of home %s: %w", x.N, r.opts.Home, err)
			}
		}
	}
	return nil
}

func (r *core) vetShippedOp(op home.Op) error {
	switch op := op.(type) {
	case *home.Raise:
		if op.Level > home.MaxLevel {
			return fmt.Errorf("it raises the home to feature level %d, and this node knows up to %d: run a newer version here first", op.Level, home.MaxLevel)
		}
	case *home.Promote:
		if op.Epoch.Host == r.opts.Region {
			return fmt.Errorf("it makes this region the host, in epoch %s, which only its own leader does", op.Epoch)
		}
	case *home.Genesis:
		if op.Home != r.opts.Home {
			return fmt.Errorf("it founds home %q", op.Home)
		}
	}
	return nil
}

// mayTake says why this node takes no records of the host's.
func (r *core) mayTake() error {
	switch why := r.quarantine.Load(); {
	case r.failure() != nil:
		return ErrStopped
	case r.hosting.Load():
		return ErrHosting
	case !r.inOffice():
		return ErrNotLeader
	case why != nil:
		return fmt.Errorf("%w: %s", ErrQuarantined, *why)
	}
	return nil
}

func (r *core) append(ctx context.Context, list []home.Shipment) error {
	s := &r.standing
	if err := s.mu.lockIn(ctx); err != nil {
		return err
	}
	defer s.mu.unlock()
	if err := r.mayTake(); err != nil {
		return err
	}
	if err := r.base(ctx); err != nil {
		return err
	}
	if err := r.mayTake(); err != nil { // what was applied meanwhile may be a promotion
		return err
	}
	anchor := &list[0]
	switch {
	case anchor.N+1 != s.next:
		return fmt.Errorf("%w: they follow on record %d, and the last one here is %d", ErrGap, anchor.N, s.next-1)
	case anchor.Chain != 0 && s.chain != 0 && anchor.Chain != s.chain:
		return fmt.Errorf("record %d gave %x there and %x here: %w", anchor.N, anchor.Chain, s.chain, ErrOtherChain)
	}
	for i := range list[1:] {
		if err := r.give(ctx, &list[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// base finds out where the log ends: once an entry of its own is applied, so is all before it.
// Guarded by standing.mu.
func (r *core) base(ctx context.Context) error {
	s := &r.standing
	if s.based && !s.broken.Load() {
		return nil
	}
	s.based = false
	if err := r.commit(ctx, raft.Log{Extensions: []byte{extEntered}}); err != nil {
		return err
	}
	p := r.state.Position()
	s.next, s.chain = p.Records+1, p.Chain
	s.broken.Store(false)
	s.based = true
	return nil
}

// give gives a record to raft. Guarded by standing.mu.
func (r *core) give(ctx context.Context, x *home.Shipment) error {
	s := &r.standing
	for s.bytes.Load() > standingBytes {
		select {
		case <-s.room:
		case <-r.failed:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.broken.Load() {
		return fmt.Errorf("%w: records before them were lost with a leadership", ErrGap)
	}
	n := int64(len(x.Data))
	s.bytes.Add(n)
	// raft's own buffer is bounded, and so is what is under way.
	f := flown{r.raft.ApplyLog(raft.Log{Data: x.Data, Extensions: numberedExt(x.N, x.Chain)}, 0), n}
	s.next, s.chain = x.N+1, x.Chain
	select {
	case s.flying <- f:
		return nil
	case <-r.failed:
		return ErrStopped
	}
}

// shepherd looks what became of the records that raft has, until ctx ends.
func (r *core) shepherd(ctx context.Context) {
	s := &r.standing
	for {
		select {
		case f := <-s.flying:
			if err := f.Error(); err != nil || f.Response() != nil {
				s.broken.Store(true)
			}
			s.bytes.Add(-f.bytes)
			nudge(s.room)
		case <-ctx.Done():
			return
		}
	}
}

// unbase has the end of the log looked for again.
func (s *standing) unbase() { s.broken.Store(true) }

// numbered applies a record that has a number in the log, if it follows on what is applied.
func (f *fsm) numbered(at store.Position, n, chain uint64, data []byte) error {
	if records, _ := f.state.Chain(); n != records+1 {
		f.other(at)
		return errSkipped
	}
	f.record(at, data)
	if c, ok := f.r.role.(*core); ok && chain != 0 && f.r.failure() == nil {
		if _, mine := f.state.Chain(); mine != chain {
			c.quarantineCopy(fmt.Sprintf("record %d gave %x at its host and %x here", n, chain, mine))
		}
	}
	return nil
}

// quarantineCopy marks the copy as one that differs from the host's. It goes on holding it, for
// who wants to find out why, until another one has come.
func (r *core) quarantineCopy(why string) {
	if r.quarantine.Load() != nil {
		return
	}
	if err := store.WriteFileAtomic(r.opts.FS, r.opts.Dir, quarantineFile, []byte(why+"\n")); err != nil {
		r.fail(err)
		return
	}
	r.quarantine.Store(&why)
	r.log.Error("this copy of the home differs from the host's: it is not to be used, and another one is needed", "reason", why)
}

// superseded implements role.
func (r *core) superseded() home.Epoch {
	if by := r.retiredBy.Load(); by != nil {
		return *by
	}
	return home.Epoch{}
}
