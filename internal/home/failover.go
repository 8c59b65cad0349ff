package home

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

// A home has copies in more than one region. The region of the epoch in force hosts
// it; the others apply the same records, in the same order, and propose nothing.
//
//	hosting --Hand--> handed ----------Promote (planned)----------+
//	   |                                                          v
//	   |                     standing by --Promote (unplanned)--> hosting
//	   +-- the host is lost, or cut off: it hears of the higher epoch and is fenced
//
// What a copy went on to after an unplanned promotion elsewhere is not lost: Export
// reads it and Reconcile takes it into the home's new epoch.

// Promote begins an epoch: the region it names hosts the home from here on. It stands
// alone at the head of a record of its own and is not numbered as a proposal, since
// who writes it has never spoken to the home. What the old host's nodes proposed and
// was not applied is void with it; a node that spoke before goes on as a new run, or
// numbers its entries from 1 again.
//
// It is void unless Epoch is above the one in force.
type Promote struct {
	Epoch Epoch
	// Grace is for how long, in seconds, wills wait for their devices to come back.
	Grace uint32
	// Planned says that the old host handed the home over: nothing is missing.
	Planned bool
}

// Hand is the last word of an epoch: the home goes to region To. All that follows in
// the log but Promote is void, so that the old host cannot go on even by mistake. [E7]
// It is void for another epoch than the one in force.
type Hand struct {
	Epoch Epoch
	To    string
}

// Promise makes durable that the region of this home, as a voter, has agreed to an
// epoch of a home. [E1] It is void unless Epoch is above what was promised before.
type Promise struct {
	Home  ID
	Epoch Epoch
}

// TakeoverMode says who decides that another region takes the home over.
type TakeoverMode uint8

// The modes.
const (
	TakeoverManual TakeoverMode = 0 // the operator
	TakeoverAuto   TakeoverMode = 1 // a majority of voters
)

// Isolation says what a host does that does not reach a majority, in TakeoverManual.
type Isolation uint8

// What an isolated host does.
const (
	IsolationServe     Isolation = 0
	IsolationSelfFence Isolation = 1
)

// StandbyAway says what PolicyStandby does while no standby can be reached.
type StandbyAway uint8

// What acknowledgements do that would wait for a standby which is away.
const (
	AwayDegrade StandbyAway = 0 // they go out as under PolicyRegion, with an alarm
	AwayWait    StandbyAway = 1
)

// Replay says what becomes of messages that a lost region still held.
type Replay uint8

// Replay policies.
const (
	ReplayDeliver Replay = 0 // they are delivered late
	ReplayReport  Replay = 1 // they are counted and reported
)

// ReplayRule is the replay policy of topics that match Filter.
type ReplayRule struct {
	Filter string
	Replay Replay
	MaxAge time.Duration // what is older is only reported; 0: no bound
}

// SetTakeover replaces what the home's copies have to know about each other. The host
// enters it from its node file, so that every copy decides alike.
type SetTakeover struct {
	Standbys    []string // regions, the first to be shipped to first
	Voters      []string // regions and witnesses
	Mode        TakeoverMode
	Isolation   Isolation
	Lease       time.Duration
	Hold        time.Duration
	DownAfter   time.Duration // without the host, before a standby asks for votes
	Grace       uint32        // of wills at a promotion, seconds
	StandbyAway StandbyAway
	Replay      []ReplayRule // first match wins; none means ReplayDeliver
}

// CopyPosition is how far a copy goes: two copies at one position are the same.
type CopyPosition struct {
	Epoch   Epoch
	Records uint64 // applied since the home began
	Chain   uint64 // running digest of what they did
}

// Behind says whether p lacks something that o has.
func (p CopyPosition) Behind(o CopyPosition) bool {
	return cmp.Or(p.Epoch.Compare(o.Epoch), cmp.Compare(p.Records, o.Records)) < 0
}

// Shipment is a record as it goes to the copy of another region.
type Shipment struct {
	N     uint64 // the record's number
	Chain uint64 // after it; 0: not known any more
	Data  []byte // in shipped form
}

// failover is what a home knows of its copies.
type failover struct {
	handed   string // to whom the epoch in force was handed over; "" if it was not
	takeover SetTakeover
	promised map[ID]Epoch

	reconciled map[copyKey]*Reconciliation
	fired      map[attachKey]struct{} // wills of before the last unplanned promotion, published since
	ahead      map[cursorKey][]Seq    // what came with a reconciliation and is above the cursor
}

// Kinds of the operations.
func (*Promote) Kind() Kind     { return KindPromote }
func (*Hand) Kind() Kind        { return KindHand }
func (*Promise) Kind() Kind     { return KindPromise }
func (*SetTakeover) Kind() Kind { return KindSetTakeover }

func (op *Promote) append(b []byte) []byte {
	b = append(appendEpoch(b, op.Epoch), flag(op.Planned, 1))
	return binary.AppendUvarint(b, uint64(op.Grace))
}

func (op *Hand) append(b []byte) []byte { return appendString(appendEpoch(b, op.Epoch), op.To) }

func (op *Promise) append(b []byte) []byte {
	return appendEpoch(appendString(b, string(op.Home)), op.Epoch)
}

func (op *SetTakeover) append(b []byte) []byte {
	b = appendStrings(appendStrings(b, op.Standbys), op.Voters)
	b = append(b, byte(op.Mode), byte(op.Isolation), byte(op.StandbyAway))
	for _, d := range []time.Duration{op.Lease, op.Hold, op.DownAfter} {
		b = binary.AppendUvarint(b, uint64(d))
	}
	b = binary.AppendUvarint(b, uint64(op.Grace))
	b = binary.AppendUvarint(b, uint64(len(op.Replay)))
	for _, r := range op.Replay {
		b = binary.AppendUvarint(append(appendString(b, r.Filter), byte(r.Replay)), uint64(r.MaxAge))
	}
	return b
}

func (r *reader) setTakeover() Op {
	op := &SetTakeover{Standbys: r.strings(), Voters: r.strings()}
	op.Mode, op.Isolation, op.StandbyAway = TakeoverMode(r.byte()), Isolation(r.byte()), StandbyAway(r.byte())
	op.Lease, op.Hold, op.DownAfter = time.Duration(r.uvarint()), time.Duration(r.uvarint()), time.Duration(r.uvarint())
	op.Grace = uint32(r.uvarint())
	for range r.count(3) {
		op.Replay = append(op.Replay, ReplayRule{r.string(), Replay(r.byte()), time.Duration(r.uvarint())})
	}
	return op
}

// decodeFailover decodes the operations that are about copies of the home.
func (r *reader) decodeFailover(kind Kind) Op {
	switch kind {
	case KindPromote:
		op := &Promote{Epoch: r.epoch()}
		op.Planned = r.byte() != 0
		op.Grace = uint32(r.uvarint())
		return op
	case KindHand:
		return &Hand{r.epoch(), r.string()}
	case KindPromise:
		return &Promise{ID(r.string()), r.epoch()}
	case KindSetTakeover:
		return r.setTakeover()
	case KindReconcile:
		return r.reconcile()
	case KindTakeIn:
		return r.takeIn()
	case KindOwe:
		return &Owe{r.session(), SessionEpoch(r.uvarint()), r.ranges()}
	case KindRepay:
		return r.repay()
	case KindWithheld:
		return &Withheld{r.bytes()}
	}
	return nil
}

// ErrForgotten says that a copy cannot be brought up to date by records: what they
// need beside the log is not kept any more. It takes a copy of the state.
var ErrForgotten = errors.New("not kept any more")

// promotion returns the Promote that a record consists of, if it does.
func (r *Record) promotion() *Promote {
	if len(r.Entries) != 1 || len(r.Entries[0].Ops) != 1 {
		return nil
	}
	op, _ := r.Entries[0].Ops[0].(*Promote)
	return op
}

// promote begins an epoch at a home time. What fell due meanwhile waits for the
// grace: the devices may have been back without this copy knowing. [E12]
func (s *State) promote(op *Promote, at Time) Outcome {
	if op.Epoch.Compare(s.currentEpoch()) <= 0 {
		return Outcome{Code: CodeVoid}
	}
	s.lineage = append(s.lineage, Span{Epoch: op.Epoch, First: s.seq + 1, Record: s.records, Chain: s.last, Sessions: s.epoch, Unplanned: !op.Planned})
	s.handed = ""
	s.time = max(s.time, at)
	s.proposers = map[NodeID]*proposer{}
	s.formers = formers{}
	s.grace = op.Grace
	s.waitLonger(s.time.Add(seconds(op.Grace)))
	if !op.Planned {
		s.inherit()
	}
	for _, o := range s.owners() {
		s.ownerGone(o, EndPromoted)
	}
	s.grace = 0
	s.ring()
	s.note(effectPromoted, op.Epoch.Number, uint64(len(s.lineage)))
	s.changes.failover = true
	return Outcome{Count: len(s.sessions)}
}

// owners lists who owns sessions, in order.
func (s *State) owners() []Owner {
	list := make([]Owner, 0, len(s.owned))
	for o := range s.owned {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Owner) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Incarnation, b.Incarnation))
	})
	return list
}

// waitLonger lets no will fire and no session end before a time.
func (s *State) waitLonger(until Time) {
	for _, x := range s.sessions {
		if x.willAt != 0 && x.willAt < until {
			x.willAt = until
			s.arm(timer{x.willAt, timerWill, x.key, x.epoch})
			s.changes.session(x)
		}
		if x.expireAt != 0 && x.expireAt < until {
			x.expireAt = until
			s.arm(timer{x.expireAt, timerSession, x.key, x.epoch})
			s.changes.session(x)
		}
	}
}

func (s *State) hand(op *Hand) Outcome {
	if op.Epoch != s.currentEpoch() || op.To == "" {
		return Outcome{Code: CodeVoid}
	}
	s.handed = op.To
	s.note(effectHanded, op.Epoch.Number, 0)
	s.changes.failover = true
	return Outcome{}
}

func (s *State) promise(op *Promise) Outcome {
	if op.Epoch.Compare(s.promised[op.Home]) <= 0 || !keySafe(string(op.Home)) {
		return Outcome{Code: CodeVoid}
	}
	if s.promised == nil {
		s.promised = map[ID]Epoch{}
	}
	s.promised[op.Home] = op.Epoch
	s.note(effectPromised, op.Epoch.Number, uint64(len(s.promised)))
	s.changes.failover = true
	return Outcome{}
}

func (s *State) setTakeover(op *SetTakeover) Outcome {
	if len(s.takeover.Standbys) == 0 && len(s.config.Load().Residency) > 0 { // before, nothing was noted for a copy
		s.notes.from = s.records + 1
	}
	s.takeover = *op
	s.note(effectConfigured, uint64(len(op.Standbys)), uint64(len(op.Voters)))
	s.changes.failover = true
	return Outcome{}
}

// Handed says to which region the epoch in force was handed over, if it was.
func (s *State) Handed() (to string, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.handed, s.handed != ""
}

// Position says how far this copy goes.
func (s *State) Position() CopyPosition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return CopyPosition{s.currentEpoch(), s.records, s.chain}
}

// Promised returns the highest epoch of a home that this home's region agreed to as a
// voter; zero if it never did.
func (s *State) Promised(id ID) Epoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.promised[id]
}

// Takeover returns what the home's copies know about each other; it must not be
// changed.
func (s *State) Takeover() SetTakeover {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.takeover
}

// encodeFailover encodes what is kept beside the home's other numbers; nil while there
// is nothing to keep.
func (s *State) encodeFailover(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s.lineage)))
	for _, span := range s.lineage {
		b = binary.AppendUvarint(binary.AppendUvarint(b, span.Record), span.Chain)
		b = append(binary.AppendUvarint(b, uint64(span.Sessions)), flag(span.Unplanned, 1))
	}
	b = appendString(b, s.handed)
	b = appendBytes(b, AppendOp(nil, &s.takeover))
	homes := make([]ID, 0, len(s.promised))
	for id := range s.promised {
		homes = append(homes, id)
	}
	slices.Sort(homes)
	b = binary.AppendUvarint(b, uint64(len(homes)))
	for _, id := range homes {
		b = appendEpoch(appendString(b, string(id)), s.promised[id])
	}
	return s.appendReconciled(b)
}

// appendNotes writes from where on placings are known. It is no part of the state's
// digest: copies keep them for as long as they like.
func (s *State) appendNotes(b []byte) []byte {
	return appendStrings(binary.AppendUvarint(b, s.notes.from), slices.Sorted(maps.Keys(s.notes.kept)))
}

// keepsFailover says that there is something to keep: a home that no other region has
// a copy of is stored as it always was.
func (s *State) keepsFailover() bool {
	return len(s.lineage) > 1 || s.handed != "" || len(s.promised) > 0 || len(s.takeover.Standbys)+len(s.takeover.Voters) > 0
}

func (l *loader) failover(r *reader) {
	s := l.s
	if n := r.count(4); n != len(s.lineage) {
		r.fail("%d positions of %d epochs", n, len(s.lineage))
		return
	}
	for i := range s.lineage {
		span := &s.lineage[i]
		span.Record, span.Chain, span.Sessions = r.uvarint(), r.uvarint(), SessionEpoch(r.uvarint())
		span.Unplanned = r.byte()&1 != 0
	}
	s.handed = r.string()
	set, ok := l.op(r).(*SetTakeover)
	if !ok {
		r.fail("no terms of a takeover")
		return
	}
	s.takeover = *set
	for range r.count(3) {
		if s.promised == nil {
			s.promised = map[ID]Epoch{}
		}
		id := ID(r.string())
		s.promised[id] = r.epoch()
	}
	l.reconciled(r)
	s.notes.from = r.uvarint()
	for _, region := range r.strings() {
		if s.notes.kept == nil {
			s.notes.kept, s.notes.of = map[string]struct{}{}, map[uint64][]byte{}
		}
		s.notes.kept[region] = struct{}{}
	}
}
