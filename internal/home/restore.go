package home

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"
)

// A namespace is given back from a backup while the home serves (ADR 43). An order is begun, takes
// what the backup holds part by part, in the order of the backup, and is done:
//
//	(none) --RestoreBegin--> begun --RestoreTake*--> begun --RestoreDone--> done
//
// The home keeps how far an order is. So a part that comes again does nothing, another node can go
// on with it, and what was given back is not given back again.
//
// A session is whole at once, or, if it has much waiting, half for some parts: nobody attaches that.

// RestoreStep is a step of an order.
type RestoreStep uint8

// The steps.
const (
	// RestoreBegin begins an order, or goes on with one that is not done: of the same backup, in the
	// same way. It is void while another one is under way in the namespace.
	RestoreBegin RestoreStep = 1
	// RestoreTake takes a part. The outcome is CodeGap if the order is not at After, CodeUnknown if a
	// body that is referred to is not here, and CodeVoid if the order is another one or done.
	RestoreTake RestoreStep = 2
	// RestoreDone ends the order. The outcome's Count is what is to be let go yet: until it is 0 it is
	// to be proposed again.
	RestoreDone RestoreStep = 3
)

// RestoreStage is a kind of things that are given back; they come in this order, so that a session
// that is given back does not get what is retained once more.
type RestoreStage uint8

// The stages.
const (
	RestoreRetained RestoreStage = 1 // the key is a topic
	RestoreSessions RestoreStage = 2 // a client id
	RestoreGroups   RestoreStage = 3 // name and filter of a shared subscription
)

// RestoreCursor is how far an order is: all up to it is done.
type RestoreCursor struct {
	Stage RestoreStage
	Key   string
}

// Restore gives the home back what a backup of it holds of a namespace.
type Restore struct {
	Step      RestoreStep
	Namespace string
	Order     uint64 // Take, Done: Seq of the outcome of Begin

	Backup  string        // Begin
	Replace bool          // Begin: what is here goes, where the backup has it too
	For     time.Duration // Begin: for how long the order stands without a part

	After, To RestoreCursor     // Take
	Messages  []MessageExport   // Take: with RetainVersion what is retained; otherwise bodies, by their numbers in the backup
	Keep      []Seq             // Take: of the bodies those that later parts refer to as well
	Sessions  []RestoredSession // Take
	Groups    []RestoredGroup   // Take
}

// RestoredSession is a part of a session: the first of it if From is 0. Of a session that is not
// whole with this part it is alone, and To is After.
type RestoredSession struct {
	Export    SessionExport // without Left and Received; of later parts the key, and of the last one the will
	From      uint64        // references up to it came with former parts
	Last      bool
	ExpiresAt Time // 0: it was attached, or never expires
	WillAt    Time // 0: it was attached, or has no will
	Stale     Range
	Refs      []RestoredRef
}

// RestoredRef is a reference of a queue.
type RestoredRef struct {
	Seq      Seq // of the body, in the backup
	Num      uint64
	QoS      byte
	Retain   bool
	Received bool
	SubIDs   []uint32
	Group    string // filter of the shared subscription that assigned it
}

// RestoredGroup is what waits in a shared subscription.
type RestoredGroup struct {
	Name, Filter string
	Seqs         []Seq // in the backup
}

// Kind of the operation.
func (*Restore) Kind() Kind { return KindRestore }

func (c RestoreCursor) append(b []byte) []byte { return appendString(append(b, byte(c.Stage)), c.Key) }

func (r *reader) restoreCursor() RestoreCursor {
	return RestoreCursor{RestoreStage(r.byte()), r.string()}
}

func (op *Restore) append(b []byte) []byte {
	b = binary.AppendUvarint(appendString(append(b, byte(op.Step)), op.Namespace), op.Order)
	switch op.Step {
	case RestoreBegin:
		b = append(appendString(b, op.Backup), flag(op.Replace, 1))
		b = binary.AppendUvarint(b, uint64(op.For))
	case RestoreTake:
		b = op.To.append(op.After.append(b))
		b = binary.AppendUvarint(b, uint64(len(op.Messages)))
		for i := range op.Messages {
			b = op.Messages[i].append(b)
		}
		b = appendSeqs(b, op.Keep)
		b = binary.AppendUvarint(b, uint64(len(op.Sessions)))
		for i := range op.Sessions {
			b = op.Sessions[i].append(b)
		}
		b = binary.AppendUvarint(b, uint64(len(op.Groups)))
		for _, g := range op.Groups {
			b = appendSeqs(appendString(appendString(b, g.Name), g.Filter), g.Seqs)
		}
	}
	return b
}

func (r *reader) restore() Op {
	op := &Restore{Step: RestoreStep(r.byte()), Namespace: r.string(), Order: r.uvarint()}
	switch op.Step {
	case RestoreBegin:
		op.Backup, op.Replace = r.string(), r.byte()&1 != 0
		op.For = time.Duration(r.uvarint())
	case RestoreTake:
		op.After, op.To = r.restoreCursor(), r.restoreCursor()
		for range r.count(12) {
			op.Messages = append(op.Messages, r.messageExport())
		}
		op.Keep = r.seqs()
		for range r.count(12) {
			op.Sessions = append(op.Sessions, r.restoredSession())
		}
		for range r.count(3) {
			op.Groups = append(op.Groups, RestoredGroup{r.string(), r.string(), r.seqs()})
		}
	}
	return op
}

func (x *RestoredSession) append(b []byte) []byte {
	b = append(x.Export.append(b), flag(x.Last, 1))
	for _, v := range []uint64{x.From, uint64(x.ExpiresAt), uint64(x.WillAt), x.Stale.From, x.Stale.To, uint64(len(x.Refs))} {
		b = binary.AppendUvarint(b, v)
	}
	for i := range x.Refs {
		f := &x.Refs[i]
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.Seq)), f.Num)
		b = append(b, f.QoS|flag(f.Retain, 4)|flag(f.Received, 8)|flag(f.Group != "", 16))
		b = binary.AppendUvarint(b, uint64(len(f.SubIDs)))
		for _, id := range f.SubIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
		if f.Group != "" {
			b = appendString(b, f.Group)
		}
	}
	return b
}

func (r *reader) restoredSession() RestoredSession {
	x := RestoredSession{Export: r.sessionExport(), Last: r.byte()&1 != 0, From: r.uvarint(), ExpiresAt: Time(r.uvarint()), WillAt: Time(r.uvarint()), Stale: Range{r.uvarint(), r.uvarint()}}
	for range r.count(4) {
		f := RestoredRef{Seq: Seq(r.uvarint()), Num: r.uvarint()}
		flags := r.byte()
		f.QoS, f.Retain, f.Received = flags&3, flags&4 != 0, flags&8 != 0
		for range r.count(1) {
			f.SubIDs = append(f.SubIDs, uint32(r.uvarint()))
		}
		if flags&16 != 0 {
			f.Group = r.string()
		}
		x.Refs = append(x.Refs, f)
	}
	return x
}

// size estimates how many bytes the session takes in a part.
func (x *RestoredSession) size() int { return 64 + x.Export.size() + 32*len(x.Refs) }

func (op *Restore) size() int {
	n := 128 + 8*len(op.Keep)
	for i := range op.Messages {
		n += op.Messages[i].size()
	}
	for i := range op.Sessions {
		n += op.Sessions[i].size()
	}
	for i := range op.Groups {
		n += 32 + 5*len(op.Groups[i].Seqs)
	}
	return n
}

// RestoreCounts is what became of what the backup holds, so far.
type RestoreCounts struct {
	Sessions  uint64 // that are here again
	Replaced  uint64 // of them those that took the place of another one
	Kept      uint64 // there is one, and it stays
	Elsewhere uint64 // another region has one
	Old       uint64 // they would have ended meanwhile
	Refused   uint64 // the home has no room for more

	Messages      uint64 // references in queues that are here again
	Bytes         uint64 // of them
	MessagesOld   uint64 // they expired, and were never sent
	MessagesFull  uint64 // limits of the queue, or the quota of the namespace
	Grouped       uint64 // that wait in shared subscriptions again
	GroupedKept   uint64 // the shared subscription has other members, or none
	Retained      uint64 // retained messages that are here again
	RetainedKept  uint64 // the topic has one, and it stays
	RetainedOld   uint64 // they expired
	RetainedFull  uint64 // limits or quota
	RetainedAside uint64 // this region may not store them, or the backup does not hold them
}

func (c *RestoreCounts) fields() []*uint64 {
	return []*uint64{&c.Sessions, &c.Replaced, &c.Kept, &c.Elsewhere, &c.Old, &c.Refused, &c.Messages, &c.Bytes, &c.MessagesOld, &c.MessagesFull,
		&c.Grouped, &c.GroupedKept, &c.Retained, &c.RetainedKept, &c.RetainedOld, &c.RetainedFull, &c.RetainedAside}
}

// restoration is an order.
type restoration struct {
	order   uint64
	backup  string
	replace bool
	stands  time.Duration // without a part
	since   Time
	until   Time // it stands
	ended   Time
	done    bool
	at      RestoreCursor
	half    string // client id of the session that is half here; "": none
	counts  RestoreCounts

	kept   []keptBody       // in the order in which they came
	bodies map[Seq]*message // the same, by their numbers in the backup
}

// keptBody is a message that several sessions wait for; it is stored once.
type keptBody struct {
	seq Seq // in the backup
	msg *message
}

// maxRestores bounds how many orders are remembered that are done.
const maxRestores = 64

// letGoAtOnce bounds how many bodies an operation lets go of.
const letGoAtOnce = 4096

func (s *State) restore(op *Restore) Outcome {
	if op.Namespace == LinkSpace || !keySafe(op.Namespace) {
		return Outcome{Code: CodeVoid}
	}
	o := s.restores[op.Namespace]
	switch {
	case op.Step == RestoreBegin:
		return s.restoreBegin(o, op)
	case o == nil || o.order != op.Order || o.done:
		return Outcome{Code: CodeVoid}
	case op.Step == RestoreTake:
		return s.restoreTake(o, op)
	case op.Step == RestoreDone:
		return s.restoreDone(o, op.Namespace)
	}
	return Outcome{Code: CodeVoid}
}

func (s *State) restoreBegin(o *restoration, op *Restore) Outcome {
	switch {
	case o != nil && !o.done && o.backup == op.Backup && o.replace == op.Replace:
	case o != nil && !o.done && s.time <= o.until:
		return Outcome{Code: CodeVoid}
	default:
		if o != nil {
			s.letBodiesGo(o, op.Namespace, len(o.kept))
		}
		o = &restoration{order: s.records + 1, backup: op.Backup, replace: op.Replace, since: s.time, bodies: map[Seq]*message{}}
		s.restores[op.Namespace] = o
		s.forgetRestores()
	}
	o.stands = op.For
	o.until = s.time.Add(o.stands)
	s.noteRestore(op.Namespace, o)
	return Outcome{Seq: Seq(o.order)}
}

// forgetRestores lets go of the oldest orders that are done.
func (s *State) forgetRestores() {
	for len(s.restores) > maxRestores {
		var oldest *restoration
		space := ""
		for ns, o := range s.restores {
			if o.done && (oldest == nil || o.order < oldest.order) {
				oldest, space = o, ns
			}
		}
		if oldest == nil {
			return
		}
		delete(s.restores, space)
		s.changes.restores[space] = struct{}{}
	}
}

func (s *State) noteRestore(ns string, o *restoration) {
	s.note(effectRestored, o.order, o.counts.Sessions+o.counts.Messages+o.counts.Retained)
	s.changes.restores[ns] = struct{}{}
}

func (s *State) restoreDone(o *restoration, ns string) Outcome {
	s.letBodiesGo(o, ns, letGoAtOnce)
	if len(o.kept) == 0 {
		o.done, o.ended = true, s.time
	}
	s.noteRestore(ns, o)
	return Outcome{Count: len(o.kept)}
}

// letBodiesGo lets go of the first n bodies that were kept for later parts.
func (s *State) letBodiesGo(o *restoration, ns string, n int) {
	n = min(n, len(o.kept))
	for _, b := range o.kept[:n] {
		delete(o.bodies, b.seq)
		s.changes.restored[restoredID{ns, b.seq}] = struct{}{}
		s.release(b.msg)
	}
	if o.kept = o.kept[n:]; len(o.kept) == 0 {
		o.kept = nil
	}
}

// ageRestores lets go of what orders keep that nobody goes on with.
func (s *State) ageRestores() {
	for _, ns := range slices.Sorted(maps.Keys(s.restores)) {
		if o := s.restores[ns]; !o.done && s.time > o.until && len(o.kept) > 0 {
			s.letBodiesGo(o, ns, letGoAtOnce)
			s.note(effectRestored, o.order, uint64(len(o.kept)))
		}
	}
}

func (s *State) restoreTake(o *restoration, op *Restore) Outcome {
	if op.After != o.at || len(op.Sessions) > 0 && op.Sessions[0].From > 0 && !s.goesOn(o, op) {
		return Outcome{Code: CodeGap}
	}
	if !s.hasBodies(o, op) {
		return Outcome{Code: CodeUnknown}
	}
	o.until = s.time.Add(o.stands)
	o.at = op.To
	bodies := map[Seq]*message{}
	var held []*message
	for i := range op.Messages {
		e := &op.Messages[i]
		if e.RetainVersion != 0 {
			s.restoreRetained(o, op.Namespace, e, i)
		} else if bodies[e.Seq] = o.bodies[e.Seq]; bodies[e.Seq] == nil {
			m := s.restoreBody(op.Namespace, e, i)
			s.hold(m)
			bodies[e.Seq], held = m, append(held, m)
		}
	}
	for _, seq := range op.Keep {
		if m := bodies[seq]; m != nil && o.bodies[seq] == nil {
			s.hold(m)
			o.bodies[seq] = m
			o.kept = append(o.kept, keptBody{seq, m})
			s.changes.restored[restoredID{op.Namespace, seq}] = struct{}{}
		}
	}
	body := func(seq Seq) *message { return cmp.Or(bodies[seq], o.bodies[seq]) }
	for i := range op.Sessions {
		s.restoreSession(o, op.Namespace, &op.Sessions[i], body)
	}
	for i := range op.Groups {
		s.restoreGroup(o, op.Namespace, &op.Groups[i], body)
	}
	for _, m := range held {
		s.release(m)
	}
	s.noteRestore(op.Namespace, o)
	return Outcome{}
}

// goesOn says that a part follows what is here of its session.
func (s *State) goesOn(o *restoration, op *Restore) bool {
	x := s.sessions[SessionKey{op.Namespace, op.Sessions[0].Export.Session.ClientID}]
	return x != nil && x.half() && o.half == x.key.ClientID && x.inherited.restored.got == op.Sessions[0].From
}

// hasBodies says that all that a part refers to is here, or comes with it.
func (s *State) hasBodies(o *restoration, op *Restore) bool {
	comes := map[Seq]struct{}{}
	for i := range op.Messages {
		if op.Messages[i].RetainVersion == 0 {
			comes[op.Messages[i].Seq] = struct{}{}
		}
	}
	has := func(seq Seq) bool {
		_, ok := comes[seq]
		return ok || o.bodies[seq] != nil
	}
	for i := range op.Sessions {
		for j := range op.Sessions[i].Refs {
			if !has(op.Sessions[i].Refs[j].Seq) {
				return false
			}
		}
	}
	return !slices.ContainsFunc(op.Groups, func(g RestoredGroup) bool {
		return slices.ContainsFunc(g.Seqs, func(seq Seq) bool { return !has(seq) })
	})
}

// restoreBody numbers a message of the backup here: it is a new one of this home, which had the one
// that it was. What this region may not store has no content; its place in queues stays.
func (s *State) restoreBody(ns string, e *MessageExport, at int) *message {
	pl := s.place(ns, e.Topic, false, e.Withheld, at)
	m := newMessage(e.Message)
	m.Namespace, m.Seq = ns, 0
	s.settle(m, pl, e.Withheld, e.Size)
	if !e.Withheld && !s.mayStay(ns, e.Topic) {
		m.veil()
	}
	m.place = nil
	s.number(m)
	return m
}

// Fate is what becomes of something that a backup holds.
type Fate uint8

// The fates.
const (
	FateCreate    Fate = 0
	FateReplace   Fate = 1 // what is here goes
	FateKeep      Fate = 2 // what is here stays
	FateElsewhere Fate = 3 // it is in another region
	FateOld       Fate = 4 // it would be over by now
	FateFull      Fate = 5 // there is no room
	FateAside     Fate = 6 // it may not be stored here, or is not in the backup
)

// SessionFate says what would become of a session of a backup now.
func (s *State) SessionFate(e *RestoredSession, replace bool) Fate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sessionFate(e, replace)
}

func (s *State) sessionFate(e *RestoredSession, replace bool) Fate {
	k := e.Export.Session
	x := s.sessions[k]
	if x != nil && x.hollow() {
		x = nil
	}
	w := s.wishes[k]
	switch {
	case e.ExpiresAt != 0 && e.ExpiresAt <= s.time:
		return FateOld
	case x != nil && x.half():
		return FateCreate // it is begun again
	case x != nil && x.still(), x == nil && s.listedElsewhere(k), w != nil && !w.over && s.time <= w.until:
		return FateElsewhere
	case x != nil && !replace:
		return FateKeep
	case x != nil:
		return FateReplace
	case uint64(len(s.sessions)) >= s.config.Load().limits().Sessions:
		return FateFull
	}
	return FateCreate
}

// listedElsewhere says that a peer has a session, as far as is known.
func (s *State) listedElsewhere(k SessionKey) bool {
	h := k.Hash()
	for _, p := range s.directories {
		if p.set.has(h) {
			return true
		}
	}
	return false
}

// restoreSession takes a part of a session.
func (s *State) restoreSession(o *restoration, ns string, e *RestoredSession, body func(Seq) *message) {
	k := SessionKey{ns, e.Export.Session.ClientID}
	x := s.sessions[k]
	if e.From == 0 {
		if x = s.restoreFirst(o, k, e); x == nil {
			if !e.Last { // no more parts of it are wanted
				o.at = RestoreCursor{RestoreSessions, k.ClientID}
			}
			return
		}
	}
	h := x.inherited.restored
	for i := range e.Refs {
		if f := &e.Refs[i]; f.Num > h.got && f.Num <= h.next && f.QoS > 0 {
			s.restoreRef(o, x, body(f.Seq), f)
			h.got = f.Num
		}
	}
	if e.Last {
		s.restoreLast(o, x, e)
	} else {
		o.half = k.ClientID
		s.expireHalf(o, x)
	}
	s.note(effectRestored, x.id, h.got)
	s.changes.session(x)
}

// expireHalf ends a session that is half here, unless the next part comes in time.
func (s *State) expireHalf(o *restoration, x *session) {
	x.expireAt = o.until
	s.arm(timer{x.expireAt, timerSession, x.key, x.epoch})
	s.note(effectTimed, 0, uint64(x.expireAt))
}

// restoreFirst creates a session, subscribed, unless it is not to be.
func (s *State) restoreFirst(o *restoration, k SessionKey, e *RestoredSession) *session {
	var inbound map[uint16]uint64
	stale, replaced := e.Stale, false
	switch s.sessionFate(e, o.replace) {
	case FateKeep:
		o.counts.Kept++
		return nil
	case FateElsewhere:
		o.counts.Elsewhere++
		return nil
	case FateOld:
		o.counts.Old++
		return nil
	case FateFull:
		o.counts.Refused++
		return nil
	}
	limits := s.config.Load().limits()
	x := e.Export
	for _, id := range x.Inbound {
		if inbound == nil {
			inbound = map[uint16]uint64{}
		}
		inbound[id.ID] = id.Hash
	}
	if old := s.sessions[k]; old != nil {
		if old.half() { // from its beginning
			inbound, stale, replaced = old.inbound, old.inherited.stale, old.inherited.restored.replaced
		} else if !old.hollow() {
			// What the device sends it goes on with, and it may hold ids of what it was sent: each is
			// released before it is used. [E5]
			inbound, replaced = old.inbound, true
			stale = Range{1, x.NextRef + packetIDs}
		}
		s.endForRestore(old)
	}
	s.epoch++
	now := &session{key: k, id: uint64(s.epoch), epoch: s.epoch, expiry: min(x.Expiry, limits.SessionExpiryMax), window: x.Window, nextRef: x.NextRef, resumed: x.Resumed,
		inbound: inbound, inherited: &inheritance{stale: stale, restored: &restored{order: o.order, half: true, next: x.NextRef, replaced: replaced}}}
	now.unstored = now.nextRef
	s.admit(now)
	for _, sub := range x.Subs {
		how := sub.RetainHandling
		sub.RetainHandling, sub.Denied = 2, 0 // it had its retained messages
		s.subscribeFilter(now, sub)
		if has := now.subs[sub.Filter]; has != nil {
			has.RetainHandling = how
		}
	}
	return now
}

// endForRestore ends a session whose place another one takes: its device is closed, and its will,
// which is not about what the device does, is dropped.
func (s *State) endForRestore(x *session) {
	if x.attached() {
		s.formers.lost(x.key, x.owner, s.time)
		s.sink.Ended(x.key, x.epoch, x.owner, EndDeleted)
		s.disown(x)
		s.returnAssigned(x)
	}
	x.will = nil
	s.endSession(x)
}

// restoreRef gives a reference the number, and so the packet id, that it had.
func (s *State) restoreRef(o *restoration, x *session, m *message, f *RestoredRef) {
	l := s.config.Load().limits()
	switch {
	case f.Received: // its id is in use at the device until it is released
	case m.expired(s.time) && f.Num > x.resumed:
		o.counts.MessagesOld++
		s.sink.Dropped("queue", DropExpired, 1)
		return
	case x.queue.full(&l, m):
		o.counts.MessagesFull++
		s.sink.Dropped("queue", DropQueueFull, 1)
		return
	case s.overQuota(&x.queue, m):
		o.counts.MessagesFull++
		s.sink.Dropped("queue", DropQuota, 1)
		return
	}
	s.insertAdopted(x, m, &RefExport{Num: f.Num, QoS: f.QoS, Retain: f.Retain, Received: f.Received, SubIDs: f.SubIDs})
	if sub := x.subs[f.Group]; sub != nil && sub.member != nil {
		r := x.queue.find(f.Num)
		r.group = sub.member
		sub.member.assigned++
	}
	o.counts.Messages++
	o.counts.Bytes += uint64(m.size)
}

// restoreLast lets devices attach the session.
func (s *State) restoreLast(o *restoration, x *session, e *RestoredSession) {
	h := x.inherited.restored
	h.half = false
	if o.half == x.key.ClientID {
		o.half = ""
	}
	o.counts.Sessions++
	if h.replaced {
		o.counts.Replaced++
	}
	// What the device was sent since the backup is not known here.
	x.resumed = max(x.resumed, min(h.next, x.queue.sentThrough(x.sendWindow())))
	s.returnAssigned(x)
	x.expireAt = 0
	switch {
	case x.expiry == neverExpires:
	case e.ExpiresAt != 0 && e.ExpiresAt < s.time.Add(seconds(x.expiry)):
		x.expireAt = e.ExpiresAt
		s.arm(timer{x.expireAt, timerSession, x.key, x.epoch})
	default:
		s.expireIn(x, x.expiry)
	}
	s.restoreWill(x, e)
	s.list(x)
	s.note(effectTimed, uint64(x.willAt), uint64(x.expireAt))
}

// restoreGrace is for how long, in seconds, a will waits at least for a device that was connected
// when the backup was made.
const restoreGrace = 60

// restoreWill makes the will wait for the device to come back. One that was due before now was
// published in its time.
func (s *State) restoreWill(x *session, e *RestoredSession) {
	w := e.Export.Will
	if w == nil || e.WillAt != 0 && e.WillAt <= s.time {
		return
	}
	s.adoptWill(x, w)
	x.moved = true
	if x.willAt = e.WillAt; x.willAt == 0 {
		delay := max(w.Delay, s.willGrace(), s.takeover.Grace, restoreGrace)
		x.willAt = s.time.Add(seconds(min(delay, x.expiry)))
	}
	s.arm(timer{x.willAt, timerWill, x.key, x.epoch})
}

// restoreGroup gives a shared subscription what waited in it, if all its members came with the order:
// the members of another one never were to get that.
func (s *State) restoreGroup(o *restoration, ns string, e *RestoredGroup, body func(Seq) *message) {
	g := s.groups[groupKey{ns, e.Name, e.Filter}]
	if g == nil || len(g.members) == 0 || slices.ContainsFunc(g.members, func(m *member) bool { return !m.session.restoredBy(o.order) }) {
		o.counts.GroupedKept += uint64(len(e.Seqs))
		return
	}
	for _, seq := range e.Seqs {
		if m := body(seq); m.expired(s.time) {
			o.counts.MessagesOld++
			s.sink.Dropped("group", DropExpired, 1)
		} else {
			g.offer(s, m)
			o.counts.Grouped++
		}
	}
}

// RetainedFate says what would become of a retained message of a backup now.
func (s *State) RetainedFate(ns string, e *MessageExport, replace bool) Fate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := (*s.spaces.Load())[ns]
	if sp == nil {
		sp = &space{name: ns}
	}
	return s.retainedFate(sp, e, replace)
}

func (s *State) retainedFate(sp *space, e *MessageExport, replace bool) Fate {
	old := sp.retained.get(e.Topic)
	live := old != nil && old.msg != nil && !old.msg.expired(s.time)
	switch {
	case e.Withheld || !keepable(e.Topic) || !s.mayStay(sp.name, e.Topic):
		return FateAside
	case e.Expires != 0 && e.Expires <= s.time:
		return FateOld
	case live && (!replace || string(old.msg.Payload) == string(e.Payload) && old.msg.QoS == e.QoS && string(old.msg.Forward) == string(e.Forward)):
		return FateKeep
	case live:
		return FateReplace
	case sp.retained.count >= s.retainedMost(sp.name):
		return FateFull
	}
	return FateCreate
}

// restoreRetained publishes what was retained, as a device would: who is subscribed gets it, and peers.
func (s *State) restoreRetained(o *restoration, ns string, e *MessageExport, at int) {
	pl := s.place(ns, e.Topic, true, e.Withheld, at)
	fate := Fate(0)
	if pl.isGiven() {
		fate = Fate(pl.code)
	} else if fate = s.retainedFate(s.space(ns), e, o.replace); fate == FateReplace {
		fate = FateCreate // it is all one to a copy
	}
	switch fate {
	case FateKeep:
		o.counts.RetainedKept++
	case FateOld:
		o.counts.RetainedOld++
	case FateFull:
		o.counts.RetainedFull++
	case FateAside:
		o.counts.RetainedAside++
	default:
		m := newMessage(Message{Namespace: ns, Topic: e.Topic, Payload: e.Payload, Forward: e.Forward, QoS: e.QoS, Retain: true, Expires: e.Expires})
		s.settle(m, pl, e.Withheld, e.Size)
		s.publish(m, nil)
		o.counts.Retained++
		return
	}
	pl.refuse(Code(fate))
}

// restored is what a session has that an order brought. It stays: a shared subscription asks for it.
type restored struct {
	order    uint64
	half     bool
	got      uint64 // references up to it are here, or gone
	next     uint64 // last that the backup has
	replaced bool   // it took the place of another one
}

// half says that a session is not all here yet.
func (x *session) half() bool {
	return x.inherited != nil && x.inherited.restored != nil && x.inherited.restored.half
}

func (x *session) restoredBy(order uint64) bool {
	return x.inherited != nil && x.inherited.restored != nil && x.inherited.restored.order == order
}

// halfEnds is part of the end of a session that is half here: it never was a device's.
func (s *State) halfEnds(x *session) {
	if !x.half() {
		return
	}
	x.will = nil
	if o := s.restores[x.key.Namespace]; o != nil && o.half == x.key.ClientID {
		o.half = ""
		s.changes.restores[x.key.Namespace] = struct{}{}
	}
}

func (h *restored) encode(b []byte) []byte {
	b = append(binary.AppendUvarint(b, h.order), flag(h.half, 1)|flag(h.replaced, 2))
	return binary.AppendUvarint(binary.AppendUvarint(b, h.got), h.next)
}

func (r *reader) restoredMark() *restored {
	h := &restored{order: r.uvarint()}
	flags := r.byte()
	h.half, h.replaced = flags&1 != 0, flags&2 != 0
	h.got, h.next = r.uvarint(), r.uvarint()
	return h
}

// Restoration is how far an order is.
type Restoration struct {
	Namespace string
	Backup    string
	Order     uint64
	Replace   bool
	Since     Time
	Until     Time // it stands
	Ended     Time
	Done      bool
	At        RestoreCursor
	Half      string // client id of the session of which a part is here; "": none
	Got       uint64 // of its references
	Counts    RestoreCounts
}

// RestorationOf describes the last order of a namespace.
func (s *State) RestorationOf(ns string) (Restoration, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.restores[ns]
	if o == nil {
		return Restoration{}, false
	}
	out := Restoration{Namespace: ns, Backup: o.backup, Order: o.order, Replace: o.replace, Since: o.since, Until: o.until, Ended: o.ended, Done: o.done, At: o.at, Half: o.half, Counts: o.counts}
	if x := s.sessions[SessionKey{ns, o.half}]; o.half != "" && x != nil && x.half() {
		out.Got = x.inherited.restored.got
	}
	return out, true
}

func restoreKey(ns string) []byte { return append([]byte{tableMeta, 'o'}, ns...) }

// restoredID is a body that an order keeps.
type restoredID struct {
	space string
	seq   Seq
}

func (id restoredID) key() []byte {
	b := append([]byte{tableMeta, 'b'}, id.space+"\x00"...)
	return binary.BigEndian.AppendUint64(b, uint64(id.seq))
}

func (o *restoration) encode(b []byte) []byte {
	b = appendString(binary.AppendUvarint(b, o.order), o.backup)
	b = append(b, flag(o.replace, 1)|flag(o.done, 2))
	for _, v := range []uint64{uint64(o.stands), uint64(o.since), uint64(o.until), uint64(o.ended)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendString(o.at.append(b), o.half)
	list := o.counts.fields()
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, v := range list {
		b = binary.AppendUvarint(b, *v)
	}
	return b
}

func (l *loader) restoration(key []byte, r *reader) {
	o := &restoration{order: r.uvarint(), backup: r.string(), bodies: map[Seq]*message{}}
	flags := r.byte()
	o.replace, o.done = flags&1 != 0, flags&2 != 0
	o.stands, o.since, o.until, o.ended = time.Duration(r.uvarint()), Time(r.uvarint()), Time(r.uvarint()), Time(r.uvarint())
	o.at, o.half = r.restoreCursor(), r.string()
	list := o.counts.fields()
	if n := r.count(1); n != len(list) {
		r.fail("%d counts of what was restored", n)
		return
	}
	for _, v := range list {
		*v = r.uvarint()
	}
	l.s.restores[string(key[2:])] = o
}

// restoredBody reads that an order keeps a body; bodies come later.
func (l *loader) restoredBody(key []byte, r *reader) {
	k := keyParts(key[1:], 2, 8, r) // its table has two bytes
	l.restored = append(l.restored, restoredRow{restoredID{k[0], Seq(tailNumber(key, r))}, Seq(r.uvarint())})
}

type restoredRow struct {
	restoredID
	now Seq
}

// restoredBodies gives orders the bodies that they keep, in the order in which they were numbered.
func (l *loader) restoredBodies(r *reader) {
	slices.SortFunc(l.restored, func(a, b restoredRow) int { return compareSeqs(a.now, b.now) })
	for _, x := range l.restored {
		o, m := l.s.restores[x.space], l.held(x.now, r)
		if o == nil || m == nil {
			r.fail("body %d of no order", x.now)
			return
		}
		o.bodies[x.seq] = m
		o.kept = append(o.kept, keptBody{x.seq, m})
	}
}

func (w *writer) restore(s *State, ns string) {
	if o := s.restores[ns]; o != nil {
		w.emit(restoreKey(ns), o.encode(w.buf[:0]))
	} else {
		w.delete(restoreKey(ns))
	}
}

func (w *writer) restoredBody(s *State, id restoredID) {
	if o := s.restores[id.space]; o != nil && o.bodies[id.seq] != nil {
		w.emit(id.key(), binary.AppendUvarint(w.buf[:0], uint64(o.bodies[id.seq].Seq)))
	} else {
		w.delete(id.key())
	}
}

func (s *State) digestRestores(w *writer) {
	for ns, o := range s.restores {
		w.restore(s, ns)
		for _, b := range o.kept {
			w.restoredBody(s, restoredID{ns, b.seq})
		}
	}
}
