package home

import (
	"encoding/binary"
	"slices"
	"time"
)

// AdoptStep is a step in which a home takes a session of another one.
type AdoptStep uint8

// The steps.
const (
	// AdoptWish asks for a session: its device is here. It is void if the session is here
	// or asked for; then it only lasts longer. With no From it asks whether a peer has it.
	AdoptWish AdoptStep = 1
	// AdoptBegin creates it, subscribed, with the beginning of its queue. Nobody attaches it
	// before all of that is here.
	AdoptBegin AdoptStep = 2
	// AdoptPart brings more of its queue, and later what came there since it left.
	AdoptPart AdoptStep = 3
	// AdoptSettle lets messages of some homes through that were held: all that came of them
	// by the other home is here.
	AdoptSettle AdoptStep = 4
	// AdoptOver says that the other home has nothing of it any more. A session that is not
	// complete is removed.
	AdoptOver AdoptStep = 5
	// AdoptCut notes from which numbers on the messages of some homes reach the session by
	// their own way. It goes before what comes by the other home from then on.
	AdoptCut AdoptStep = 6
	// AdoptMerge asks for a session of a device that has one here as well, which counts. What
	// it subscribed to and what waits for it there is taken in. It is void if the session here
	// is on its way; asked again it only lasts longer.
	AdoptMerge AdoptStep = 7
	// AdoptAnew says that a session which is all here is given by another copy of that home,
	// which goes on from what came up to Until by itself: what came above is not in it.
	AdoptAnew AdoptStep = 8
)

// Adopt takes a session from another home. The outcome is CodeVoid if it is not for the
// claim in force, CodeQuota if there is no room. Of a wish Seq is the claim's number.
type Adopt struct {
	Step    AdoptStep
	Session SessionKey
	From    ID
	Claim   uint64

	For time.Duration // wish: how long it stands

	Epoch   Epoch         // Begin, Anew: of From
	Export  SessionExport // Begin
	Stale   Range         // Begin: numbers whose packet ids the device may hold for a lost host's messages
	WillIn  uint32        // Begin: seconds until the will of Export
	Sources []ID          // Begin: homes from which messages come here by links

	// Begin, Part: references behind those that came before, each with one RefExport; Expires
	// is the time that is left. All up to Until that is not in them is gone.
	Messages []MessageExport
	Until    uint64

	Settled []Settled // Cut; Settle: the homes
}

// Kind of the operation.
func (*Adopt) Kind() Kind { return KindAdopt }

func (op *Adopt) append(b []byte) []byte {
	b = appendSession(append(b, byte(op.Step)), op.Session)
	b = binary.AppendUvarint(appendString(b, string(op.From)), op.Claim)
	switch op.Step {
	case AdoptWish, AdoptMerge:
		b = binary.AppendUvarint(b, uint64(op.For))
	case AdoptBegin:
		b = op.Export.append(appendEpoch(b, op.Epoch))
		for _, v := range []uint64{op.Stale.From, op.Stale.To, uint64(op.WillIn)} {
			b = binary.AppendUvarint(b, v)
		}
		b = op.appendMessages(appendIDs(b, op.Sources))
	case AdoptPart:
		b = op.appendMessages(b)
	case AdoptSettle, AdoptCut:
		b = appendSettled(b, op.Settled)
	case AdoptAnew:
		b = binary.AppendUvarint(appendEpoch(b, op.Epoch), op.Until)
	}
	return b
}

func (op *Adopt) appendMessages(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(op.Messages)))
	for i := range op.Messages {
		b = op.Messages[i].append(b)
	}
	return binary.AppendUvarint(b, op.Until)
}

func (r *reader) adopt() Op {
	op := &Adopt{Step: AdoptStep(r.byte()), Session: r.session(), From: ID(r.string()), Claim: r.uvarint()}
	switch op.Step {
	case AdoptWish, AdoptMerge:
		op.For = time.Duration(r.uvarint())
	case AdoptBegin:
		op.Epoch, op.Export = r.epoch(), r.sessionExport()
		op.Stale = Range{r.uvarint(), r.uvarint()}
		op.WillIn, op.Sources = uint32(r.uvarint()), r.ids()
		r.adopted(op)
	case AdoptPart:
		r.adopted(op)
	case AdoptSettle, AdoptCut:
		op.Settled = r.settled()
	case AdoptAnew:
		op.Epoch, op.Until = r.epoch(), r.uvarint()
	}
	return op
}

func (r *reader) adopted(op *Adopt) {
	for range r.count(12) {
		m := r.messageExport()
		if len(m.Refs) != 1 {
			r.fail("a message of a session that moves has %d references", len(m.Refs))
			return
		}
		op.Messages = append(op.Messages, m)
	}
	op.Until = r.uvarint()
}

func (op *Adopt) size() int {
	n := 128 + op.Export.size()
	for i := range op.Messages {
		n += op.Messages[i].size()
	}
	return n
}

// DecodeAdopt decodes an Adopt as AppendOp encodes it.
func DecodeAdopt(b []byte) (*Adopt, error) {
	r := reader{b: b}
	op, err := r.op()
	if err != nil {
		return nil, err
	}
	a, ok := op.(*Adopt)
	if !ok || len(r.b) > 0 {
		return nil, ErrCorrupt
	}
	return a, nil
}

func (s *State) adopt(op *Adopt) Outcome {
	if op.Session.Namespace == LinkSpace || op.From == s.id || !keySafe(op.Session.Namespace, op.Session.ClientID) {
		return Outcome{Code: CodeVoid}
	}
	x, w := s.sessions[op.Session], s.wishes[op.Session]
	switch op.Step {
	case AdoptWish, AdoptMerge:
		return s.adoptWish(x, w, op)
	case AdoptBegin:
		if o := s.adoptBegin(x, w, op); o.Code != CodeOK {
			return o
		}
		x = s.sessions[op.Session]
	case AdoptOver:
		return s.adoptOver(x, w, op)
	}
	var a *arrival
	if x != nil {
		a = x.arriving()
	}
	if a == nil || a.claim != op.Claim || a.from != op.From {
		return Outcome{Code: CodeVoid}
	}
	switch op.Step {
	case AdoptBegin, AdoptPart:
		s.takeIn(x, a, op)
	case AdoptCut:
		s.cut(x, a, op.Settled)
	case AdoptSettle:
		s.settleSources(x, a, op.Settled)
	case AdoptAnew:
		s.takeAnew(x, a, op)
	default:
		return Outcome{Code: CodeVoid}
	}
	s.indexRoaming(x)
	s.roamed(x.key)
	return Outcome{Seq: Seq(a.got)}
}

func (s *State) adoptWish(x *session, w *wish, op *Adopt) Outcome {
	merge := op.Step == AdoptMerge
	switch {
	case merge != (x != nil) || merge && (x.arriving() != nil || x.still()):
		return Outcome{Code: CodeVoid}
	case w != nil && (w.over || w.merge != merge):
		return Outcome{Code: CodeVoid}
	case w == nil:
		w = &wish{from: op.From, claim: s.records + 1, since: s.time, merge: merge}
		s.wishes[op.Session] = w
	}
	w.until = max(w.until, s.time.Add(op.For))
	s.note(effectRoamed, w.claim, 0)
	s.changes.wish(op.Session)
	s.roamed(op.Session)
	return Outcome{Seq: Seq(w.claim)}
}

// adoptBegin creates the session. Once more for the same claim, before it is complete: the
// other home has another copy in force since, and it begins anew.
func (s *State) adoptBegin(x *session, w *wish, op *Adopt) Outcome {
	wished := w != nil && !w.over && w.claim == op.Claim && w.from == op.From
	if wished && w.merge {
		return s.mergeBegin(x, op)
	}
	if x != nil {
		a := x.arriving()
		switch {
		case a == nil || a.claim != op.Claim || a.from != op.From:
			return Outcome{Code: CodeVoid}
		case a.epoch == op.Epoch || a.complete:
			return Outcome{}
		}
		s.removeArriving(x)
	} else if !wished {
		return Outcome{Code: CodeVoid}
	}
	if uint64(len(s.sessions)) >= s.config.Load().limits().Sessions {
		return Outcome{Code: CodeQuota}
	}
	delete(s.wishes, op.Session)
	s.changes.wish(op.Session)
	e := &op.Export
	s.epoch = max(s.epoch, e.Epoch) + 1
	x = &session{key: op.Session, id: uint64(s.epoch), epoch: s.epoch, expiry: e.Expiry, window: e.Window, nextRef: e.NextRef, resumed: e.Resumed, fresh: e.Fresh}
	x.unstored = x.nextRef
	a := s.newArrival(op)
	a.last = e.NextRef
	x.roam = &roaming{since: s.time, arrival: a}
	s.admit(x)
	if op.Stale.To != 0 {
		x.inherited = &inheritance{stale: op.Stale}
	}
	for _, id := range e.Inbound {
		if x.inbound == nil {
			x.inbound = map[uint16]uint64{}
		}
		x.inbound[id.ID] = id.Hash
	}
	s.adoptWill(x, e.Will)
	x.roam.willIn = op.WillIn
	s.adoptSubscriptions(x, a, e.Subs)
	s.note(effectRoamed, x.id, e.NextRef)
	return Outcome{}
}

// newArrival begins to take what op brings; until it is known how each home's messages come,
// they are held.
func (s *State) newArrival(op *Adopt) *arrival {
	a := &arrival{from: op.From, claim: op.Claim, epoch: op.Epoch, began: s.seq}
	for _, id := range append([]ID{op.From, s.id}, op.Sources...) {
		if !slices.Contains(a.waits, id) {
			a.waits = append(a.waits, id)
		}
	}
	return a
}

// adoptSubscriptions subscribes to what the session had where it was, but for what it has here.
func (s *State) adoptSubscriptions(x *session, a *arrival, list []Subscription) {
	for _, sub := range list {
		if x.subs[sub.Filter] == nil {
			sub.RetainHandling, sub.Denied = 2, 0 // it had its retained messages
			s.subscribeFilter(x, sub)
		}
	}
	a.version = s.wanted.Version()
}

// mergeBegin begins to take another session of the device into the one that is here. What waits
// there goes behind what waits here, under new packet ids. The device may have used the other
// one last, and hold ids of that: each is released before it is used. [E5]
func (s *State) mergeBegin(x *session, op *Adopt) Outcome {
	if x == nil || x.arriving() != nil || x.still() {
		return Outcome{Code: CodeVoid}
	}
	delete(s.wishes, op.Session)
	s.changes.wish(op.Session)
	a := s.newArrival(op)
	a.complete, a.merges = true, true
	if x.inherited == nil {
		x.inherited = &inheritance{}
	}
	x.inherited.stale = Range{1, x.nextRef + 1<<16}
	x.fresh = max(x.fresh, op.Export.Fresh)
	s.roams(x).arrival = a
	s.adoptSubscriptions(x, a, op.Export.Subs)
	s.note(effectRoamed, x.id, x.nextRef)
	return Outcome{}
}

// has says that what waited for the other session of a device needs not be brought: the device
// has received it there, or it waits for the session here.
func (s *State) has(x *session, e *MessageExport) bool {
	waits := func(r ref) bool {
		switch {
		case r.state == refGone || s.numberedBy(r.msg) != e.Source.Home:
			return false
		case r.msg.source == nil:
			return r.msg.Seq == e.SourceSeq && s.epochOf(r.msg.Seq) == e.Source.Epoch
		}
		return r.msg.source.Epoch == e.Source.Epoch && r.msg.sourceSeq == e.SourceSeq
	}
	return e.Refs[0].Received || slices.ContainsFunc(x.queue.refs, waits) || slices.ContainsFunc(x.arriving().held.refs, waits)
}

func (s *State) adoptWill(x *session, w *Will) {
	if w == nil {
		return
	}
	own := *w
	own.kept = w.Withheld || s.restricted(x.key.Namespace, w.Topic)
	own.Payload, own.Forward = slices.Clone(w.Payload), slices.Clone(w.Forward)
	x.will = &own
}

// takeAnew goes on with another copy of the home that the session left.
func (s *State) takeAnew(x *session, a *arrival, op *Adopt) {
	if a.complete && a.epoch != op.Epoch {
		a.epoch, a.got = op.Epoch, min(a.got, max(op.Until, a.last))
		s.note(effectRoamed, x.id, a.got)
	}
}

// takeIn takes a part of the queue.
func (s *State) takeIn(x *session, a *arrival, op *Adopt) {
	for i := range op.Messages {
		e := &op.Messages[i]
		f := &e.Refs[0]
		if f.Num <= a.got || f.Num >= owedFrom {
			continue
		}
		if a.got = f.Num; f.Num > a.last && s.reaches(a, e) || a.merges && s.has(x, e) {
			continue
		}
		m := s.adoptMessage(e, s.place(e.Namespace, e.Topic, false, e.Withheld, i))
		if m.place = nil; f.Num <= a.last {
			s.insertAdopted(x, m, f)
		} else {
			s.enqueue(x, m, ref{qos: f.QoS, retain: f.Retain, subIDs: slices.Clone(f.SubIDs)})
		}
	}
	if a.got = max(a.got, min(op.Until, owedFrom-1)); a.got >= a.last && !a.complete {
		s.complete(x, a)
	}
	s.note(effectRoamed, x.id, a.got)
}

// adoptMessage numbers a message here. What this region may not store has no content: its
// place in the queue stays, and its packet id.
func (s *State) adoptMessage(e *MessageExport, pl *placing) *message {
	m := newMessage(e.Message)
	m.Seq = 0
	m.source, m.sourceSeq = s.source(origin{e.Source, e.Class}), e.SourceSeq
	s.settle(m, pl, e.Withheld, e.Size)
	if m.Expires != 0 {
		m.Expires = s.time.Add(min(time.Duration(e.Expires), maxLife))
	}
	if !e.Withheld && !s.mayStay(e.Namespace, e.Topic) {
		m.veil()
	}
	s.number(m)
	return m
}

// reaches says that a message comes, or came, to the session by its own way: it is numbered above
// what its home said, or in an epoch that began since.
func (s *State) reaches(a *arrival, e *MessageExport) bool {
	if e.Source.Home == s.id {
		return e.SourceSeq > a.began && s.epochOf(e.SourceSeq) == e.Source.Epoch
	}
	known, later := false, true
	for _, c := range a.cuts {
		if c.Home != e.Source.Home {
			continue
		}
		if c.Epoch == e.Source.Epoch {
			return e.SourceSeq > c.To
		}
		known, later = true, later && e.Source.Epoch.Compare(c.Epoch) > 0
	}
	return known && later
}

// insertAdopted gives a reference the number, and so the packet id, that it had.
func (s *State) insertAdopted(x *session, m *message, f *RefExport) {
	r := ref{num: f.Num, msg: m, qos: f.QoS, retain: f.Retain, subIDs: slices.Clone(f.SubIDs), stored: true}
	if f.Received {
		r.state = refReceived
	}
	s.hold(m)
	i := x.queue.from(f.Num)
	x.queue.refs = slices.Insert(x.queue.refs, i, r)
	x.queue.live++
	x.queue.bytes += uint64(m.size)
	x.queue.expires(m.Expires)
	s.counts.waits(m, 1)
	s.note(effectQueued, x.id<<32^r.num, uint64(m.Seq)<<2|uint64(r.qos))
	s.changes.ref(x, &x.queue.refs[i])
	s.changes.session(x)
}

// complete lets devices attach the session.
func (s *State) complete(x *session, a *arrival) {
	a.complete = true
	if x.will != nil {
		x.willAt = s.time.Add(seconds(min(x.roam.willIn, x.expiry)))
		s.arm(timer{x.willAt, timerWill, x.key, x.epoch})
	}
	if x.expiry != neverExpires {
		s.expireIn(x, x.expiry)
	}
	s.list(x)
	s.note(effectTimed, uint64(x.willAt), uint64(x.expireAt))
}

// cut notes from where on messages come by their own way. What was held up to there came, or
// comes, by the other home; but of a session that had its own subscriptions here nobody knows that.
func (s *State) cut(x *session, a *arrival, list []Settled) {
	for _, now := range list {
		if !slices.Contains(a.waits, now.Home) || now.Home == s.id {
			continue
		}
		a.cuts = append(a.cuts, now)
		if !a.merges {
			x.roam.cuts = append(x.roam.cuts, now)
		}
		s.note(effectRoamed, x.id, uint64(now.To))
	}
	last := uint64(heldFrom)
	for r := a.held.next(last + 1); r != nil; r = a.held.next(last + 1) {
		if last = r.num; x.roam.old(r.msg) {
			s.unhold(x, a, r)
		}
	}
}

// settleSources lets go of what was held of some homes: it goes behind what came by the
// other home.
func (s *State) settleSources(x *session, a *arrival, list []Settled) {
	for _, now := range list {
		i := slices.Index(a.waits, now.Home)
		if i < 0 {
			continue
		}
		a.waits = slices.Delete(a.waits, i, i+1)
		s.note(effectRoamed, x.id, uint64(len(a.waits)))
		s.letGo(x, a, now.Home)
	}
}

// letGo gives the session what was held of a home.
func (s *State) letGo(x *session, a *arrival, of ID) {
	last := uint64(heldFrom)
	for r := a.held.next(last + 1); r != nil; r = a.held.next(last + 1) {
		last = r.num
		m := r.msg
		if s.numberedBy(m) != of {
			continue
		}
		keep := ref{qos: r.qos, retain: r.retain, subIDs: r.subIDs}
		s.hold(m)
		s.unhold(x, a, r)
		s.enqueue(x, m, keep)
		s.release(m)
	}
}

func (s *State) adoptOver(x *session, w *wish, op *Adopt) Outcome {
	if w != nil && w.claim == op.Claim && w.from == op.From {
		delete(s.wishes, op.Session)
		s.changes.wish(op.Session)
		s.roamed(op.Session)
		return Outcome{}
	}
	if x == nil || x.arriving() == nil {
		return Outcome{Code: CodeUnknown}
	}
	a := x.arriving()
	switch {
	case a.claim != op.Claim || a.from != op.From:
		return Outcome{Code: CodeVoid}
	case !a.complete:
		s.removeArriving(x)
		s.roamed(op.Session)
		return Outcome{}
	}
	for len(a.waits) > 0 { // nobody can say what came there; better twice than never
		s.settleSources(x, a, []Settled{{Home: a.waits[0]}})
	}
	x.roam.arrival = nil
	s.indexRoaming(x)
	s.note(effectRoamed, x.id, uint64(x.nextRef))
	return Outcome{}
}

// removeArriving removes a session that did not come after all. It is where it was.
func (s *State) removeArriving(x *session) {
	a := x.roam.arrival
	for r := a.held.next(0); r != nil; r = a.held.next(0) {
		s.unhold(x, a, r)
	}
	x.roam.arrival = nil
	x.will = nil
	for r := x.queue.next(0); r != nil; r = x.queue.next(0) {
		r.group = nil
		s.remove(x, r)
	}
	s.endSession(x)
	delete(s.roamers, x.key)
}
