package home

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RecordVersion is the version of the record format. A replica stops at a
// record of another version; it never skips one.
const RecordVersion = 1

// ErrCorrupt says that a record, or a stored value, is not what was written.
var ErrCorrupt = errors.New("corrupt encoding")

// ErrUnknown says that a record has a version or an operation kind that this
// build does not know. The home must stop: skipping it would diverge.
var ErrUnknown = errors.New("unknown version or kind")

// Entry is what one proposer put into the log at once. N numbers the entries of
// an incarnation from 1: known ones are skipped, gaps refused. [A2]
type Entry struct {
	Owner Owner
	N     uint64
	Ops   []Op
}

// Record is one record of the log: the entries the leader merged, stamped with
// home time.
type Record struct {
	Home    ID
	Time    Time
	Entries []Entry
}

// Append appends the record's encoding to b.
func (r *Record) Append(b []byte) []byte {
	b = appendRecordHead(b, r.Home, r.Time, len(r.Entries))
	for i := range r.Entries {
		b = r.Entries[i].Append(b)
	}
	return b
}

// AppendRecord appends the encoding of a record to b, of entries that are
// encoded already: a leader makes one record of what several proposers sent.
func AppendRecord(b []byte, id ID, t Time, entries [][]byte) []byte {
	size := 64
	for _, e := range entries {
		size += len(e)
	}
	b = appendRecordHead(slices.Grow(b, size), id, t, len(entries))
	for _, e := range entries {
		b = append(b, e...)
	}
	return b
}

func appendRecordHead(b []byte, id ID, t Time, entries int) []byte {
	b = append(b, RecordVersion)
	b = appendString(b, string(id))
	b = binary.AppendUvarint(b, uint64(t))
	return binary.AppendUvarint(b, uint64(entries))
}

// Append appends the entry's encoding to b, as it stands in a record.
func (e *Entry) Append(b []byte) []byte {
	size := 64
	for _, op := range e.Ops {
		size += OpSize(op)
	}
	b = slices.Grow(b, size)
	b = appendString(b, string(e.Owner.Node))
	b = binary.AppendUvarint(b, uint64(e.Owner.Incarnation))
	b = binary.AppendUvarint(b, e.N)
	b = binary.AppendUvarint(b, uint64(len(e.Ops)))
	for _, op := range e.Ops {
		b = AppendOp(b, op)
	}
	return b
}

// AppendOp appends an operation: its kind, its length, its fields.
func AppendOp(b []byte, op Op) []byte {
	b = append(b, byte(op.Kind()), 0, 0, 0, 0)
	at := len(b)
	b = op.append(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

// OpSize estimates the encoded size of op in bytes, for bounds on what waits.
func OpSize(op Op) int {
	const header = 64
	switch op := op.(type) {
	case *Publish:
		return header + len(op.Topic) + len(op.Payload) + len(op.Forward) + len(op.Session.ClientID)
	case *Received:
		return header + 10*len(op.Seqs)
	case *Import:
		n := header + len(op.Namespace) + len(op.Trail) + OpSize(&op.Publish)
		for _, id := range op.Not {
			n += 8 + len(id)
		}
		return n
	case *Reconcile:
		return op.size()
	case *Repay:
		return op.size()
	case *SetDocument:
		return header + op.size()
	case *Adopt:
		return op.size()
	case *Restore:
		return op.size()
	case *Directory:
		return header + 8*(len(op.Add)+len(op.Remove))
	case *Attach:
		if op.Will != nil {
			return header + len(op.Will.Topic) + len(op.Will.Payload) + len(op.Will.Forward)
		}
	case *Frame:
		n := header
		for i := range op.Messages {
			m := &op.Messages[i]
			n += header + len(m.Topic) + len(m.Payload) + len(m.Forward)
			for _, g := range m.Groups {
				n += 8 + len(g)
			}
		}
		return n
	case *Interest:
		n := header
		for _, f := range op.Add {
			n += 8 + len(f.Filter)
		}
		for _, f := range op.Remove {
			n += 8 + len(f.Filter)
		}
		return n
	case *Unsubscribe:
		n := header
		for _, f := range op.Filters {
			n += 8 + len(f)
		}
		return n
	case *Subscribe:
		n := header
		for i := range op.Filters {
			n += 16 + len(op.Filters[i].Filter)
		}
		return n
	}
	return header
}

// DecodeRecord decodes a record. Payloads and properties alias b.
func DecodeRecord(b []byte) (Record, error) {
	r := reader{b: b}
	if v := r.byte(); v != RecordVersion && r.err == nil {
		return Record{}, fmt.Errorf("record version %d, this build knows %d: %w", v, RecordVersion, ErrUnknown)
	}
	rec := Record{Home: ID(r.string()), Time: Time(r.uvarint())}
	rec.Entries = make([]Entry, 0, r.count(4))
	for range cap(rec.Entries) {
		e, err := r.entry()
		if err != nil {
			return Record{}, err
		}
		rec.Entries = append(rec.Entries, e)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes after the last entry", len(r.b))
	}
	return rec, r.err
}

// DecodeEntry decodes an entry, all of b. Payloads and properties alias b.
func DecodeEntry(b []byte) (Entry, error) {
	r := reader{b: b}
	e, err := r.entry()
	if err == nil && len(r.b) > 0 {
		r.fail("%d bytes after the entry", len(r.b))
	}
	if err == nil {
		err = r.err
	}
	return e, err
}

func (r *reader) entry() (Entry, error) {
	e := Entry{Owner: Owner{NodeID(r.string()), Incarnation(r.uvarint())}, N: r.uvarint()}
	e.Ops = make([]Op, 0, r.count(5))
	for range cap(e.Ops) {
		op, err := r.op()
		if err != nil {
			return Entry{}, err
		}
		e.Ops = append(e.Ops, op)
	}
	return e, r.err
}

func (r *reader) op() (Op, error) {
	kind := Kind(r.byte())
	body := r.take(int(r.uint32()))
	if r.err != nil {
		return nil, r.err
	}
	in := reader{b: body, space: r.space}
	op := in.decode(kind)
	r.space = in.space
	if op == nil {
		return nil, fmt.Errorf("operation kind %d: %w", kind, ErrUnknown)
	}
	if in.err == nil && len(in.b) > 0 {
		in.fail("%d bytes after operation kind %d", len(in.b), kind)
	}
	return op, in.err
}

func (r *reader) decode(kind Kind) Op {
	switch kind {
	case KindGenesis:
		return &Genesis{Home: ID(r.string()), Epoch: r.epoch()}
	case KindNodeUp:
		return &NodeUp{}
	case KindNodeDown:
		return &NodeDown{Owner{NodeID(r.string()), Incarnation(r.uvarint())}, Time(r.uvarint())}
	case KindAttach:
		return r.attach()
	case KindDetach:
		op := &Detach{Session: r.session(), Epoch: SessionEpoch(r.uvarint())}
		flags := r.byte()
		op.DropWill, op.SetExpiry, op.Moved = flags&1 != 0, flags&2 != 0, flags&4 != 0
		op.Expiry = uint32(r.uvarint())
		return op
	case KindSubscribe:
		return r.subscribe()
	case KindUnsubscribe:
		op := &Unsubscribe{Session: r.session(), Epoch: SessionEpoch(r.uvarint())}
		op.Filters = r.strings()
		return op
	case KindPublish:
		return r.publish()
	case KindRelease:
		return &Release{r.session(), SessionEpoch(r.uvarint()), uint16(r.uvarint())}
	case KindAck:
		op := &Ack{Session: r.session(), Epoch: SessionEpoch(r.uvarint()), Received: r.ranges(), Done: r.ranges()}
		if len(r.b) > 0 {
			op.Cleared = r.uvarint()
		}
		return op
	case KindSkip:
		return &Skip{r.session(), SessionEpoch(r.uvarint()), r.ranges(), SkipReason(r.byte())}
	case KindEndSession:
		return &EndSession{r.session(), r.byte() != 0}
	case KindConfigure:
		return r.configure()
	case KindSetPeer:
		return r.setPeer()
	case KindForgetPeer:
		return &ForgetPeer{ID(r.string())}
	case KindInterest:
		return r.interest()
	case KindFrame:
		return r.frame()
	case KindTrim:
		return &Trim{ID(r.string()), r.string(), r.epoch(), Seq(r.uvarint())}
	case KindTick:
		return &Tick{}
	case KindSpoolLimit:
		return &SpoolLimit{r.uvarint(), LimitCause(r.byte()), NodeID(r.string())}
	case KindCanary:
		return &Canary{ID(r.string())}
	case KindImport:
		return r.importOp()
	case KindReceived:
		return r.received()
	case KindRaise:
		return &Raise{Level: uint32(r.uvarint())}
	case KindSetPolicy:
		return r.setPolicy()
	case KindPausePeer:
		return &PausePeer{ID(r.string()), r.byte() != 0, time.Duration(r.uvarint()), r.string()}
	case KindDropSpooled:
		return &DropSpooled{ID(r.string()), r.string(), r.string(), r.byte() != 0, time.Duration(r.uvarint())}
	case KindSetShared:
		return r.setShared()
	case KindRank:
		return &Rank{r.ids(), int(min(r.uvarint(), maxRanked))}
	case KindAdopt:
		return r.adopt()
	case KindMove:
		return r.move()
	case KindDirectory:
		return r.directory()
	}
	return r.decodeLate(kind)
}

// decodeLate decodes the operations of feature level 2 and above.
func (r *reader) decodeLate(kind Kind) Op {
	switch kind {
	case KindSetDocument:
		return r.setDocument()
	case KindSetQuotas:
		return r.setQuotas()
	case KindRestore:
		return r.restore()
	}
	return r.decodeFailover(kind)
}

func (*NodeUp) append(b []byte) []byte { return b }
func (*Tick) append(b []byte) []byte   { return b }

func (op *Raise) append(b []byte) []byte { return binary.AppendUvarint(b, uint64(op.Level)) }

func (op *Genesis) append(b []byte) []byte {
	return appendEpoch(appendString(b, string(op.Home)), op.Epoch)
}

func (op *NodeDown) append(b []byte) []byte {
	b = appendString(b, string(op.Owner.Node))
	b = binary.AppendUvarint(b, uint64(op.Owner.Incarnation))
	return binary.AppendUvarint(b, uint64(op.Until))
}

func (op *Attach) append(b []byte) []byte {
	b = appendSession(b, op.Session)
	b = binary.AppendUvarint(b, uint64(op.Seen))
	b = append(b, flag(op.CleanStart, 1)|flag(op.Will != nil, 2))
	b = binary.AppendUvarint(b, uint64(op.Expiry))
	b = binary.AppendUvarint(b, uint64(op.Window))
	if op.Will != nil {
		b = op.Will.append(b)
	}
	return b
}

func (r *reader) attach() Op {
	op := &Attach{Session: r.session(), Seen: SessionEpoch(r.uvarint())}
	flags := r.byte()
	op.CleanStart = flags&1 != 0
	op.Expiry, op.Window = uint32(r.uvarint()), uint16(r.uvarint())
	if flags&2 != 0 {
		op.Will = r.will()
	}
	return op
}

func (w *Will) append(b []byte) []byte {
	b = appendString(b, w.Topic)
	b = appendBytes(b, w.Payload)
	b = appendBytes(b, w.Forward)
	b = append(b, w.QoS|flag(w.Retain, 4)|flag(w.Withheld, 8)|flag(w.kept, 16))
	b = binary.AppendUvarint(b, uint64(w.Expiry))
	b = binary.AppendUvarint(b, uint64(w.Delay))
	return appendSize(b, w.Withheld, w.Size)
}

func (r *reader) will() *Will {
	w := &Will{Topic: r.string(), Payload: r.bytes(), Forward: r.bytes()}
	flags := r.byte()
	w.QoS, w.Retain = flags&3, flags&4 != 0
	w.Expiry, w.Delay = uint32(r.uvarint()), uint32(r.uvarint())
	w.Withheld, w.kept = flags&8 != 0, flags&16 != 0
	w.Size = r.size(w.Withheld)
	return w
}

// appendSize writes how large a message was that is withheld.
func appendSize(b []byte, withheld bool, size uint32) []byte {
	if withheld {
		b = binary.AppendUvarint(b, uint64(size))
	}
	return b
}

func (r *reader) size(withheld bool) uint32 {
	if !withheld {
		return 0
	}
	return uint32(r.uvarint())
}

func (op *Detach) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	b = append(b, flag(op.DropWill, 1)|flag(op.SetExpiry, 2)|flag(op.Moved, 4))
	return binary.AppendUvarint(b, uint64(op.Expiry))
}

func (s *Subscription) append(b []byte) []byte {
	b = appendString(b, s.Filter)
	b = append(b, s.QoS|flag(s.NoLocal, 4)|flag(s.RetainAsPublished, 8)|s.RetainHandling<<4, s.Denied)
	return binary.AppendUvarint(b, uint64(s.ID))
}

func (r *reader) subscription() Subscription {
	s := Subscription{Filter: r.string()}
	flags := r.byte()
	s.QoS, s.NoLocal, s.RetainAsPublished, s.RetainHandling = flags&3, flags&4 != 0, flags&8 != 0, flags>>4&3
	s.Denied, s.ID = r.byte(), uint32(r.uvarint())
	return s
}

func (op *Subscribe) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	b = binary.AppendUvarint(b, uint64(len(op.Filters)))
	for i := range op.Filters {
		b = op.Filters[i].append(b)
	}
	return b
}

func (r *reader) subscribe() Op {
	op := &Subscribe{Session: r.session(), Epoch: SessionEpoch(r.uvarint())}
	op.Filters = make([]Subscription, 0, r.count(4))
	for range cap(op.Filters) {
		op.Filters = append(op.Filters, r.subscription())
	}
	return op
}

func (op *Unsubscribe) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	return appendStrings(b, op.Filters)
}

func (op *Publish) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	b = append(b, op.QoS|flag(op.Retain, 4)|flag(op.Withheld, 8))
	b = binary.AppendUvarint(b, uint64(op.PacketID))
	b = binary.AppendUvarint(b, uint64(op.Expiry))
	b = appendString(b, op.Topic)
	b = appendBytes(b, op.Forward)
	return appendSize(appendBytes(b, op.Payload), op.Withheld, op.Size)
}

func (r *reader) publish() Op {
	op := &Publish{Session: r.session(), Epoch: SessionEpoch(r.uvarint())}
	flags := r.byte()
	op.QoS, op.Retain = flags&3, flags&4 != 0
	op.PacketID, op.Expiry = uint16(r.uvarint()), uint32(r.uvarint())
	op.Topic, op.Forward, op.Payload = r.string(), r.bytes(), r.bytes()
	op.Withheld = flags&8 != 0
	op.Size = r.size(op.Withheld)
	return op
}

func (op *Release) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	return binary.AppendUvarint(b, uint64(op.PacketID))
}

func (op *Ack) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	b = appendRanges(appendRanges(b, op.Received), op.Done)
	if op.Cleared > 0 {
		b = binary.AppendUvarint(b, op.Cleared)
	}
	return b
}

func (op *Skip) append(b []byte) []byte {
	b = binary.AppendUvarint(appendSession(b, op.Session), uint64(op.Epoch))
	return append(appendRanges(b, op.Refs), byte(op.Reason))
}

func (op *EndSession) append(b []byte) []byte {
	return append(appendSession(b, op.Session), flag(op.PublishWill, 1))
}

func (op *Configure) append(b []byte) []byte {
	b = binary.AppendUvarint(b, op.Revision)
	l := &op.Limits
	for _, v := range []uint64{uint64(l.SessionExpiryMax), uint64(l.QueueMessages), l.QueueBytes,
		uint64(l.Subscriptions), l.Sessions, l.Retained, uint64(l.WillGrace), uint64(len(op.Acks))} {
		b = binary.AppendUvarint(b, v)
	}
	for _, a := range op.Acks {
		b = append(appendString(b, a.Filter), byte(a.Policy))
	}
	return appendResidency(b, op.Residency)
}

func (r *reader) configure() Op {
	op := &Configure{Revision: r.uvarint()}
	op.Limits = Limits{SessionExpiryMax: uint32(r.uvarint()), QueueMessages: uint32(r.uvarint()), QueueBytes: r.uvarint(),
		Subscriptions: uint32(r.uvarint()), Sessions: r.uvarint(), Retained: r.uvarint(), WillGrace: uint32(r.uvarint())}
	op.Acks = make([]AckPolicy, 0, r.count(2))
	for range cap(op.Acks) {
		op.Acks = append(op.Acks, AckPolicy{r.string(), Policy(r.byte())})
	}
	op.Residency = r.residency()
	return op
}

func (op *SetPeer) append(b []byte) []byte {
	b = appendString(b, string(op.Peer))
	b = appendStrings(appendStrings(appendStrings(b, op.In), op.Out), op.Never)
	b = append(appendString(b, op.InPrefix), flag(op.Retained, 1)|flag(op.Refuse, 2), op.QoSMax)
	b = binary.AppendUvarint(b, op.Rate)
	b = binary.AppendUvarint(b, op.SpoolBytes)
	b = binary.AppendUvarint(b, uint64(op.SpoolAge))
	b = binary.AppendUvarint(b, uint64(len(op.Classes)))
	for _, c := range op.Classes {
		b = appendStrings(appendString(b, c.Name), c.Filters)
	}
	return b
}

func (r *reader) setPeer() *SetPeer {
	op := &SetPeer{Peer: ID(r.string()), In: r.strings(), Out: r.strings(), Never: r.strings(), InPrefix: r.string()}
	flags := r.byte()
	op.Retained, op.Refuse = flags&1 != 0, flags&2 != 0
	op.QoSMax, op.Rate = r.byte(), r.uvarint()
	op.SpoolBytes, op.SpoolAge = r.uvarint(), time.Duration(r.uvarint())
	op.Classes = make([]Class, 0, r.count(2))
	for range cap(op.Classes) {
		op.Classes = append(op.Classes, Class{r.string(), r.strings()})
	}
	return op
}

func (op *SetPolicy) append(b []byte) []byte {
	b = appendString(b, string(op.Peer))
	b = binary.AppendUvarint(binary.AppendUvarint(b, op.Revision), uint64(op.Keys))
	return op.Values.append(b)
}

func (r *reader) setPolicy() Op {
	return &SetPolicy{Peer: ID(r.string()), Revision: r.uvarint(), Keys: PolicyKeys(r.uvarint()), Values: *r.setPeer()}
}

func (op *PausePeer) append(b []byte) []byte {
	b = append(appendString(b, string(op.Peer)), flag(op.Paused, 1))
	return appendString(binary.AppendUvarint(b, uint64(op.For)), op.Reason)
}

func (op *DropSpooled) append(b []byte) []byte {
	b = appendString(appendString(appendString(b, string(op.Peer)), op.Filter), op.Class)
	return binary.AppendUvarint(append(b, flag(op.AllClasses, 1)), uint64(op.Age))
}

func (op *ForgetPeer) append(b []byte) []byte { return appendString(b, string(op.Peer)) }

func (op *Interest) append(b []byte) []byte {
	b = appendEpoch(appendString(b, string(op.Peer)), op.Epoch)
	b = append(b, flag(op.Full, 1))
	b = binary.AppendUvarint(binary.AppendUvarint(b, op.Base), op.Version)
	return appendFilters(appendFilters(b, op.Add), op.Remove)
}

func (r *reader) interest() Op {
	op := &Interest{Peer: ID(r.string()), Epoch: r.epoch(), Full: r.byte() != 0}
	op.Base, op.Version = r.uvarint(), r.uvarint()
	op.Add, op.Remove = r.filters(), r.filters()
	return op
}

func (op *Frame) append(b []byte) []byte {
	b = appendEpoch(appendString(b, string(op.Source.Home)), op.Source.Epoch)
	b = appendString(b, op.Class)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(op.From)), uint64(op.To))
	b = binary.AppendUvarint(b, uint64(len(op.Messages)))
	for i := range op.Messages {
		m := &op.Messages[i]
		b = binary.AppendUvarint(b, uint64(m.Seq))
		b = append(b, m.QoS|flag(m.Retain, 4)|flag(m.Live, 8)|flag(len(m.Groups) > 0, 16)|flag(m.Withheld, 32))
		b = binary.AppendUvarint(binary.AppendUvarint(b, m.RetainVersion), uint64(m.ExpiryIn))
		if len(m.Groups) > 0 {
			b = appendStrings(b, m.Groups)
		}
		b = appendString(appendString(b, m.Namespace), m.Topic)
		b = appendSize(appendBytes(appendBytes(b, m.Forward), m.Payload), m.Withheld, m.Size)
	}
	return b
}

func (r *reader) frame() Op {
	op := &Frame{Source: Source{ID(r.string()), r.epoch()}, Class: r.string()}
	op.From, op.To = Seq(r.uvarint()), Seq(r.uvarint())
	op.Messages = make([]FrameMessage, 0, r.count(8))
	for range cap(op.Messages) {
		m := FrameMessage{Seq: Seq(r.uvarint())}
		flags := r.byte()
		m.QoS, m.Retain, m.Live = flags&3, flags&4 != 0, flags&8 != 0
		m.RetainVersion, m.ExpiryIn = r.uvarint(), time.Duration(r.uvarint())
		if flags&16 != 0 {
			m.Groups = r.strings()
		}
		m.Namespace, m.Topic = r.namespace(), r.string()
		m.Forward, m.Payload = r.bytes(), r.bytes()
		m.Withheld = flags&32 != 0
		m.Size = r.size(m.Withheld)
		op.Messages = append(op.Messages, m)
	}
	return op
}

func (op *Trim) append(b []byte) []byte {
	b = appendEpoch(appendString(appendString(b, string(op.Peer)), op.Class), op.Epoch)
	return binary.AppendUvarint(b, uint64(op.To))
}

const maxRanked = 1 << 16

func (op *SetShared) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(op.Groups)))
	for _, g := range op.Groups {
		b = appendIDs(appendString(appendString(b, g.Namespace), g.Group), g.Regions)
	}
	return b
}

func (r *reader) setShared() Op {
	op := &SetShared{Groups: make([]GlobalGroup, 0, r.count(3))}
	for range cap(op.Groups) {
		op.Groups = append(op.Groups, GlobalGroup{r.string(), r.string(), r.ids()})
	}
	return op
}

func (op *Rank) append(b []byte) []byte {
	return binary.AppendUvarint(appendIDs(b, op.Peers), uint64(op.Away))
}

func appendIDs(b []byte, list []ID) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, id := range list {
		b = appendString(b, string(id))
	}
	return b
}

func (r *reader) ids() (list []ID) {
	for range r.count(1) {
		list = append(list, ID(r.string()))
	}
	return list
}
