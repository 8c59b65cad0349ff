package home

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// Fork is where two copies of a home went apart.
type Fork struct {
	Epoch Epoch  // the last that both have
	From  Epoch  // of the copy that was fenced
	First Seq    // messages from this number on mean something else in each
	After uint64 // records that both have

	Sessions SessionEpoch // the highest that both gave
	// Void says that what the copy has beyond is void, since it had handed the home over:
	// there is nothing to take in, and it needs a new copy.
	Void bool
}

// Reconcile takes in a part of what a fenced copy of the home went on to. [E6] Parts
// come in order, from 1: a known one is skipped, one behind a gap refused with CodeGap.
// A part is the final state of sessions, or messages and who still waits for them, so
// that what was delivered there is not delivered again.
//
//	session untouched since the promotion    goes on as it was at the fenced copy, what came here behind it
//	session that was attached here since     gets what is missing at the end of its queue; its subscriptions stay
//	session that began at the fenced copy    is taken over
//	session that is another one by now       nothing; what it had is counted
//
// Outcome.Count is how many references were delivered.
//
// Several copies may have gone on from one fork: the lost host's, and another standby's that had
// more than the one that was promoted; or those of two hosts in a row, after a forced step back to
// a third copy. Each is taken in by itself, under its region's name. What an earlier one had is
// known, whether it was delivered or acknowledged there, and a copy that goes on from where another
// one of the same epoch ended is taken up from there.
type Reconcile struct {
	Fork     Fork
	Part     uint64
	Done     bool // it is the last part
	Sessions []SessionExport
	Groups   []GroupExport
	Messages []MessageExport

	// With KindTakeIn; KindReconcile says nothing of them.

	Copy string // the region whose copy it is; "": that of Fork.From
	End  uint64 // records that it has
	Has  []Had  // what it has had, beyond the fork; empty when it is given up
}

// Had says that a copy has had all messages of an epoch up to a number.
type Had struct {
	Epoch Epoch
	To    Seq
	Taken bool // from another copy, and not by its own log
}

// copyKey names a copy that is taken in.
type copyKey struct {
	from   Epoch
	region string
}

func (op *Reconcile) key() copyKey { return copyKey{op.Fork.From, cmp.Or(op.Copy, op.Fork.From.Host)} }

// maxHad bounds Reconcile.Has.
const maxHad = 64

// SessionExport is a session at the end of a fenced copy.
type SessionExport struct {
	Session   SessionKey
	Life      uint64       // the epoch that created it
	Epoch     SessionEpoch // of its last attach
	Attached  bool         // then
	Transient bool
	Expiry    uint32
	Window    uint16
	Will      *Will        // not published yet
	Fresh     SessionEpoch // with which its device began anew; 0: it did not, or its home does not say
	NextRef   uint64
	Resumed   uint64
	Subs      []Subscription
	Inbound   []InboundID
	Left      []Range // references that it still has
	Received  []Range // of those the ones that the device has and that are not released
}

// InboundID is a QoS 2 packet id that a device uses, and a hash of what it carried.
type InboundID struct {
	ID   uint16
	Hash uint64
}

// GroupExport is what waits in a shared subscription of what both copies had.
type GroupExport struct {
	Namespace, Name, Filter string
	Left                    []Seq
}

// MessageExport is a message that only the fenced copy had.
type MessageExport struct {
	Message              // Seq is of the fenced copy; Expires is home time, which both have
	At            Time   // when it was published there; 0: not known
	Source        Source // where it was numbered first; zero: there
	SourceSeq     Seq
	Class         string     // of the link it came by
	Will          SessionKey // whose it is, of the connection WillOf; WillOf 0: not a will
	WillOf        SessionEpoch
	RetainVersion uint64 // of the retained message it is; 0: it is none
	RetainHome    ID
	Size          uint32 // it had, if it is Withheld
	Refs          []RefExport
	Groups        []string // shared subscriptions it waits in, as "group/filter"
}

// RefExport is a reference that was not acknowledged at the fenced copy.
type RefExport struct {
	Session  SessionKey
	Life     uint64
	Num      uint64
	QoS      byte
	Retain   bool
	Received bool
	SubIDs   []uint32
}

// Kind of the operation.
func (op *Reconcile) Kind() Kind {
	if op.Copy == "" {
		return KindReconcile
	}
	return KindTakeIn
}

func (op *Reconcile) append(b []byte) []byte {
	b = appendEpoch(appendEpoch(b, op.Fork.Epoch), op.Fork.From)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(op.Fork.First)), op.Fork.After)
	b = binary.AppendUvarint(b, uint64(op.Fork.Sessions))
	b = append(binary.AppendUvarint(b, op.Part), flag(op.Done, 1))
	b = binary.AppendUvarint(b, uint64(len(op.Sessions)))
	for i := range op.Sessions {
		b = op.Sessions[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(op.Groups)))
	for _, g := range op.Groups {
		b = appendSeqs(appendString(appendString(appendString(b, g.Namespace), g.Name), g.Filter), g.Left)
	}
	b = binary.AppendUvarint(b, uint64(len(op.Messages)))
	for i := range op.Messages {
		b = op.Messages[i].append(b)
	}
	if op.Copy == "" {
		return b
	}
	return appendHad(binary.AppendUvarint(appendString(b, op.Copy), op.End), op.Has)
}

func appendHad(b []byte, list []Had) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, h := range list {
		b = append(binary.AppendUvarint(appendEpoch(b, h.Epoch), uint64(h.To)), flag(h.Taken, 1))
	}
	return b
}

func (r *reader) had() (list []Had) {
	for range r.count(4) {
		list = append(list, Had{r.epoch(), Seq(r.uvarint()), r.byte()&1 != 0})
	}
	if len(list) > maxHad {
		r.fail("%d epochs of a copy, more than %d", len(list), maxHad)
	}
	return list
}

func (r *reader) takeIn() Op {
	op := r.reconcile().(*Reconcile)
	if op.Copy, op.End, op.Has = r.string(), r.uvarint(), r.had(); op.Copy == "" {
		r.fail("a part of no region's copy")
	}
	return op
}

func (r *reader) reconcile() Op {
	op := &Reconcile{Fork: Fork{Epoch: r.epoch(), From: r.epoch(), First: Seq(r.uvarint()), After: r.uvarint(), Sessions: SessionEpoch(r.uvarint())}}
	op.Part, op.Done = r.uvarint(), r.byte() != 0
	for range r.count(12) {
		op.Sessions = append(op.Sessions, r.sessionExport())
	}
	for range r.count(4) {
		op.Groups = append(op.Groups, GroupExport{r.string(), r.string(), r.string(), r.seqs()})
	}
	for range r.count(12) {
		op.Messages = append(op.Messages, r.messageExport())
	}
	return op
}

func (x *SessionExport) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(appendSession(b, x.Session), x.Life), uint64(x.Epoch))
	b = append(b, flag(x.Attached, 1)|flag(x.Transient, 2)|flag(x.Will != nil, 4)|flag(x.Fresh != 0, 8))
	for _, v := range []uint64{uint64(x.Expiry), uint64(x.Window), x.NextRef, x.Resumed} {
		b = binary.AppendUvarint(b, v)
	}
	if x.Will != nil {
		b = x.Will.append(b)
	}
	if x.Fresh != 0 {
		b = binary.AppendUvarint(b, uint64(x.Fresh))
	}
	b = binary.AppendUvarint(b, uint64(len(x.Subs)))
	for i := range x.Subs {
		b = x.Subs[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(x.Inbound)))
	for _, id := range x.Inbound {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(b, id.ID), id.Hash)
	}
	return appendRanges(appendRanges(b, x.Left), x.Received)
}

func (r *reader) sessionExport() SessionExport {
	x := SessionExport{Session: r.session(), Life: r.uvarint(), Epoch: SessionEpoch(r.uvarint())}
	flags := r.byte()
	x.Attached, x.Transient = flags&1 != 0, flags&2 != 0
	x.Expiry, x.Window, x.NextRef, x.Resumed = uint32(r.uvarint()), uint16(r.uvarint()), r.uvarint(), r.uvarint()
	if flags&4 != 0 {
		x.Will = r.will()
	}
	if flags&8 != 0 {
		x.Fresh = SessionEpoch(r.uvarint())
	}
	for range r.count(4) {
		x.Subs = append(x.Subs, r.subscription())
	}
	for range r.count(10) {
		if b := r.take(10); b != nil {
			x.Inbound = append(x.Inbound, InboundID{binary.BigEndian.Uint16(b), binary.BigEndian.Uint64(b[2:])})
		}
	}
	x.Left, x.Received = r.ranges(), r.ranges()
	return x
}

func (m *MessageExport) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(m.Seq))
	b = append(b, m.QoS|flag(m.Retain, 4)|flag(m.WillOf != 0, 8)|flag(m.Source.Home != "", 16)|flag(m.Withheld, 32))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(m.Expires)), uint64(m.At))
	if m.WillOf != 0 {
		b = binary.AppendUvarint(appendSession(b, m.Will), uint64(m.WillOf))
	}
	if m.Source.Home != "" {
		b = appendEpoch(appendString(b, string(m.Source.Home)), m.Source.Epoch)
		b = appendString(binary.AppendUvarint(b, uint64(m.SourceSeq)), m.Class)
	}
	b = appendString(binary.AppendUvarint(b, m.RetainVersion), string(m.RetainHome))
	b = appendString(appendString(b, m.Namespace), m.Topic)
	b = appendSize(appendBytes(appendBytes(b, m.Forward), m.Payload), m.Withheld, m.Size)
	b = binary.AppendUvarint(b, uint64(len(m.Refs)))
	for i := range m.Refs {
		f := &m.Refs[i]
		b = binary.AppendUvarint(binary.AppendUvarint(appendSession(b, f.Session), f.Life), f.Num)
		b = append(b, f.QoS|flag(f.Retain, 4)|flag(f.Received, 8))
		b = binary.AppendUvarint(b, uint64(len(f.SubIDs)))
		for _, id := range f.SubIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	return appendStrings(b, m.Groups)
}

func (r *reader) messageExport() MessageExport {
	m := MessageExport{Message: Message{Seq: Seq(r.uvarint())}}
	flags := r.byte()
	m.QoS, m.Retain = flags&3, flags&4 != 0
	m.Expires, m.At = Time(r.uvarint()), Time(r.uvarint())
	if flags&8 != 0 {
		m.Will, m.WillOf = r.session(), SessionEpoch(r.uvarint())
	}
	if flags&16 != 0 {
		m.Source = Source{ID(r.string()), r.epoch()}
		m.SourceSeq, m.Class = Seq(r.uvarint()), r.string()
	}
	m.RetainVersion, m.RetainHome = r.uvarint(), ID(r.string())
	m.Namespace, m.Topic = r.namespace(), r.string()
	m.Forward, m.Payload = r.bytes(), r.bytes()
	m.Withheld = flags&32 != 0
	m.Size = r.size(m.Withheld)
	for range r.count(6) {
		f := RefExport{Session: r.session(), Life: r.uvarint(), Num: r.uvarint()}
		flags := r.byte()
		f.QoS, f.Retain, f.Received = flags&3, flags&4 != 0, flags&8 != 0
		for range r.count(1) {
			f.SubIDs = append(f.SubIDs, uint32(r.uvarint()))
		}
		m.Refs = append(m.Refs, f)
	}
	m.Groups = r.strings()
	return m
}

// size of a part as it grows, in bytes, roughly.
func (m *MessageExport) size() int {
	return 96 + len(m.Topic) + len(m.Payload) + len(m.Forward) + 48*len(m.Refs)
}

func (x *SessionExport) size() int {
	n := 96 + 10*len(x.Inbound) + 8*len(x.Left)
	for i := range x.Subs {
		n += 16 + len(x.Subs[i].Filter)
	}
	return n
}

func (op *Reconcile) size() int {
	n := 64 + 32*len(op.Has)
	for i := range op.Sessions {
		n += op.Sessions[i].size()
	}
	for i := range op.Messages {
		n += op.Messages[i].size()
	}
	for i := range op.Groups {
		n += 32 + 5*len(op.Groups[i].Left)
	}
	return n
}

// Reconciliation is how far a fenced epoch was taken in, and what became of what it
// had.
type Reconciliation struct {
	Part      uint64 // the last one applied
	Done      bool
	Delivered uint64 // references to sessions and groups
	Known     uint64 // messages that came by their own link meanwhile
	Expired   uint64
	Reported  uint64 // by the policy of replay: not delivered
	Wills     uint64 // published by both, delivered once
	Removed   uint64 // references that were acknowledged there
	Imported  uint64 // sessions that began there
	Other     uint64 // references of sessions that are others by now: not delivered
	Refused   uint64 // by residency or a full queue

	// Of one that was named, with KindTakeIn.
	named bool
	end   uint64 // records
	at    Seq    // up to which its messages were taken in, as the copy numbers them
	has   []Had
}

func (x *Reconciliation) fields() []*uint64 {
	return []*uint64{&x.Part, &x.Delivered, &x.Known, &x.Expired, &x.Reported, &x.Wills, &x.Removed, &x.Imported, &x.Other, &x.Refused}
}

// Reconciled says how far a region's copy of a fenced epoch was taken in.
func (s *State) Reconciled(from Epoch, region string) Reconciliation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.reconciled[copyKey{from, region}]; r != nil {
		return *r
	}
	return Reconciliation{}
}

// copies lists the copies that were taken in, in order: those that were named, or the others.
func (s *State) copies(named bool) []copyKey {
	list := make([]copyKey, 0, len(s.reconciled))
	for k, x := range s.reconciled {
		if x.named == named {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b copyKey) int { return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.region, b.region)) })
	return list
}

func (x *Reconciliation) append(b []byte) []byte {
	b = append(b, flag(x.Done, 1))
	for _, v := range x.fields() {
		b = binary.AppendUvarint(b, *v)
	}
	return b
}

func (r *reader) reconciliation() *Reconciliation {
	x := &Reconciliation{Done: r.byte() != 0}
	for _, v := range x.fields() {
		*v = r.uvarint()
	}
	return x
}

func (s *State) appendReconciled(b []byte) []byte {
	list := s.copies(false)
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, k := range list {
		b = s.reconciled[k].append(appendEpoch(b, k.from))
	}
	return b
}

// appendTakenIn writes those that were named.
func (s *State) appendTakenIn(b []byte, list []copyKey) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, k := range list {
		x := s.reconciled[k]
		b = x.append(appendString(appendEpoch(b, k.from), k.region))
		b = appendHad(binary.AppendUvarint(binary.AppendUvarint(b, x.end), uint64(x.at)), x.has)
	}
	return b
}

func (l *loader) takenIn(r *reader) {
	for range r.count(16) {
		k := copyKey{r.epoch(), r.string()}
		x := r.reconciliation()
		x.named, x.end, x.at, x.has = true, r.uvarint(), Seq(r.uvarint()), r.had()
		l.reconciliation(k, x)
	}
}

func (l *loader) reconciled(r *reader) {
	for range r.count(12) {
		e := r.epoch()
		l.reconciliation(copyKey{e, e.Host}, r.reconciliation())
	}
}

func (l *loader) reconciliation(k copyKey, x *Reconciliation) {
	if l.s.reconciled == nil {
		l.s.reconciled = map[copyKey]*Reconciliation{}
	}
	l.s.reconciled[k] = x
}

// replay says whether a message may be delivered late.
func (s *State) replay(topic string, age time.Duration) bool {
	i := slices.IndexFunc(s.takeover.Replay, func(r ReplayRule) bool { return matchesAny([]string{r.Filter}, topic) })
	if i < 0 {
		return true
	}
	r := &s.takeover.Replay[i]
	return r.Replay == ReplayDeliver && (r.MaxAge == 0 || age <= r.MaxAge)
}
