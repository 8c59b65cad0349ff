package home

import (
	"encoding/binary"
	"maps"
	"slices"
)

// A session moves to another home when its device comes there (ADR 34).
//
//	at the home it leaves                      at the home it comes to
//
//	                                           wished      AdoptWish: its device is here
//	leaving    MoveBegin: its device is        arriving    AdoptBegin: subscribed, what it
//	           closed, nobody attaches it                  has comes part by part
//	taken      MoveTaken: no way back          settling    all is here, the device is served
//	(gone)     MoveDone                        (settled)   AdoptOver
//
// Its subscriptions stand in both homes for a while, so that a message that is on its
// way comes to one of them at least. Which of the two counts is decided for each home
// in which messages are numbered, by a number of that home: what is numbered up to it
// comes by the home that the session left, what is above by its own way. Until that
// number is known, what comes by its own way is held.

// roaming is what a session has that moves, or moved.
type roaming struct {
	since   Time      // when it came here; 0: it began here
	willIn  uint32    // seconds until its will once it is complete, if it came with one
	cuts    []Settled // what comes by its own way is old up to there: it came by the home that the session left
	leaving *leaving
	arrival *arrival
}

// leaving is a session that another home asked for.
type leaving struct {
	to      ID
	claim   uint64
	refs    uint64 // its references up to this one go along; those above came since
	since   Time
	taken   bool // the other home has it
	settled []ID // homes whose messages need not be kept for it here
	shared  []Subscription
	willIn  uint32 // seconds until its will, if it has one
}

// arrival is a session that comes from another home.
type arrival struct {
	from     ID
	claim    uint64
	epoch    Epoch  // of from when it began to come
	began    Seq    // messages of this home above it met the session's subscriptions
	version  uint64 // of what this home wants, since then
	got      uint64 // references of the other home up to this one are here, or gone
	last     uint64 // those above it came there since it left
	complete bool
	merges   bool      // there was a session here, into which it goes
	waits    []ID      // homes whose messages are held
	cuts     []Settled // above them a home's messages come by their own way
	held     queue
	next     uint64 // of held
}

// Settled says from which number on the messages of a home reach a session by their
// own way.
type Settled struct {
	Home  ID
	Epoch Epoch
	To    Seq
}

// wish is a session that was asked for and is not here, or one that came and ended
// before the other home was told.
type wish struct {
	from  ID
	claim uint64
	since Time
	until Time // who wants it waits no longer
	over  bool
	merge bool // the device has a session here
}

// heldFrom is where the numbers of held references begin: above all that a queue can
// have.
const heldFrom = 1 << 62

func (x *session) arriving() *arrival {
	if x.roam == nil {
		return nil
	}
	return x.roam.arrival
}

func (x *session) leaves() *leaving {
	if x.roam == nil {
		return nil
	}
	return x.roam.leaving
}

// still says that nobody may attach a session: it is on its way, or not all here.
func (x *session) still() bool {
	a := x.arriving()
	return x.leaves() != nil || a != nil && !a.complete || x.half()
}

// brings says that a reference comes, or came, with the session from the home where it was.
func (x *session) brings(num uint64) bool {
	a := x.arriving()
	return a != nil && !a.complete && num <= a.last
}

// roams returns what a session has for moving.
func (s *State) roams(x *session) *roaming {
	if x.roam == nil {
		x.roam = &roaming{}
	}
	return x.roam
}

// indexRoaming keeps the sessions that are on their way, either way.
func (s *State) indexRoaming(x *session) {
	if x.arriving() != nil || x.leaves() != nil {
		s.roamers[x.key] = x
	} else {
		delete(s.roamers, x.key)
	}
	s.changes.session(x)
}

// numberedBy is the home that numbered a message.
func (s *State) numberedBy(m *message) ID {
	if m.source == nil {
		return s.id
	}
	return m.source.Home
}

// fan gives a message that was published to a session, unless it is on its way and
// this is not how the message is to reach it.
func (s *State) fan(x *session, m *message, qos byte, retain bool, ids []uint32) bool {
	if x.roam == nil || qos == 0 {
		return s.give(x, m, qos, retain, ids)
	}
	if l := x.roam.leaving; l != nil && slices.Contains(l.settled, s.numberedBy(m)) {
		return false
	}
	if x.roam.old(m) {
		return false
	}
	if a := x.roam.arrival; a != nil && slices.Contains(a.waits, s.numberedBy(m)) {
		return s.holdBack(x, a, m, ref{qos: qos, retain: retain, subIDs: ids})
	}
	return s.give(x, m, qos, retain, ids)
}

// old says that a message that comes by its own way came by the home that the session left.
func (g *roaming) old(m *message) bool {
	return m.source != nil && slices.ContainsFunc(g.cuts, func(c Settled) bool {
		return c.Home == m.source.Home && c.Epoch == m.source.Epoch && m.sourceSeq <= c.To
	})
}

// holdBack keeps a message until it is known whether it came by the other home as well.
func (s *State) holdBack(x *session, a *arrival, m *message, r ref) bool {
	l := s.config.Load().limits()
	if a.held.live+x.queue.live >= int(l.QueueMessages) || a.held.bytes+x.queue.bytes+uint64(m.size) > l.QueueBytes {
		s.sink.Dropped("queue", DropQueueFull, 1)
		return false
	}
	a.next++
	r.num, r.msg, r.stored = heldFrom+a.next, m, true
	s.hold(m)
	a.held.push(r)
	s.counts.waits(m, 1)
	s.note(effectQueued, x.id<<32^a.next<<1, uint64(m.Seq)<<2|uint64(r.qos))
	s.changes.ref(x, &a.held.refs[len(a.held.refs)-1])
	s.changes.session(x)
	return true
}

// unhold takes a held reference out. The caller has a reference of its own to the message
// if it goes on.
func (s *State) unhold(x *session, a *arrival, r *ref) {
	s.changes.deleteRef(x.id, r.num)
	m := r.msg
	a.held.drop(r)
	s.counts.waits(m, -1)
	s.changes.session(x)
	s.release(m)
}

// find returns a live reference of the session, a held one too.
func (x *session) find(num uint64) *ref {
	switch {
	case num < owedFrom:
		return x.queue.find(num)
	case num < heldFrom && x.owed == nil:
		return nil
	case num < heldFrom:
		return x.owed.find(num)
	}
	if a := x.arriving(); a != nil {
		return a.held.find(num)
	}
	return nil
}

// roamingEnds is part of the end of a session. A home that gave it away is still to hear.
func (s *State) roamingEnds(x *session) {
	if x.roam == nil {
		return
	}
	if a := x.roam.arrival; a != nil {
		s.dropHeld(x, a)
		k := x.key.left(a.from, a.claim) // the session may come again meanwhile
		s.wishes[k] = &wish{from: a.from, claim: a.claim, over: true}
		s.changes.wish(k)
	}
	x.roam = nil
	s.indexRoaming(x)
}

func (s *State) dropHeld(x *session, a *arrival) {
	n := a.held.live
	for r := a.held.next(0); r != nil; r = a.held.next(0) {
		s.unhold(x, a, r)
	}
	if n > 0 {
		s.sink.Dropped("queue", DropSessionEnd, n)
	}
}

// A RoamSink is a Sink that hears when something became of a session that is on its way
// between two homes.
type RoamSink interface {
	Roamed(SessionKey)
}

func (s *State) roamed(k SessionKey) {
	if sink, ok := s.sink.(RoamSink); ok {
		sink.Roamed(k)
	}
}

// Arrival describes a session that comes from another home, or was asked for.
type Arrival struct {
	Session  SessionKey
	From     ID
	Claim    uint64
	Until    Time // of a wish
	Since    Time // of a wish
	Over     bool // it ended, and From is to hear
	Begun    bool // something of it is here
	Complete bool // its device may attach it
	Merges   bool // into the session that is here
	Epoch    Epoch
	Got      uint64
	Last     uint64
	Began    Seq
	Version  uint64 // of what this home wants
	Waits    []ID
	Cuts     []Settled
	Held     int
}

// Departure describes a session that another home asked for.
type Departure struct {
	Session SessionKey
	To      ID
	Claim   uint64
	Since   Time
	Taken   bool
	Refs    uint64
}

func (w *wish) describe(k SessionKey) Arrival {
	return Arrival{Session: k, From: w.from, Claim: w.claim, Since: w.since, Until: w.until, Over: w.over, Merges: w.merge}
}

func (a *arrival) describe(k SessionKey) Arrival {
	return Arrival{Session: k, From: a.from, Claim: a.claim, Begun: true, Complete: a.complete, Epoch: a.epoch, Got: a.got, Last: a.last,
		Began: a.began, Version: a.version, Merges: a.merges, Waits: slices.Clone(a.waits), Cuts: slices.Clone(a.cuts), Held: a.held.live}
}

func (l *leaving) describe(k SessionKey) Departure {
	return Departure{Session: k.Device(), To: l.to, Claim: l.claim, Since: l.since, Taken: l.taken, Refs: l.refs}
}

// ArrivalOf describes how a session comes here, if it does.
func (s *State) ArrivalOf(k SessionKey) (Arrival, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.roamers[k]; x != nil && x.arriving() != nil {
		return x.arriving().describe(k), true
	}
	if w := s.wishes[k]; w != nil {
		return w.describe(k), true
	}
	return Arrival{}, false
}

// ArrivalFor describes what became of a claim to a session of this home, also if the session
// is somewhere else by now.
func (s *State) ArrivalFor(k SessionKey, from ID, claim uint64) (Arrival, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key, x := range s.roamers {
		if a := x.arriving(); a != nil && key.Device() == k && a.from == from && a.claim == claim {
			return a.describe(key), true
		}
	}
	for _, key := range [...]SessionKey{k, k.left(from, claim)} {
		if w := s.wishes[key]; w != nil && w.from == from && w.claim == claim {
			return w.describe(key), true
		}
	}
	return Arrival{}, false
}

// DepartureFor describes how a session goes, or went, away to a claim.
func (s *State) DepartureFor(k SessionKey, to ID, claim uint64) (Departure, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.departing(k, to, claim); x != nil {
		return x.leaves().describe(k), true
	}
	return Departure{}, false
}

// DepartureOf describes how a session goes away, if it does and is not taken yet.
func (s *State) DepartureOf(k SessionKey) (Departure, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.roamers[k]; x != nil && x.leaves() != nil {
		return x.leaves().describe(k), true
	}
	return Departure{}, false
}

// Roaming lists all sessions that are on their way, by key.
func (s *State) Roaming() (in []Arrival, out []Departure) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, w := range s.wishes {
		in = append(in, w.describe(k))
	}
	for k, x := range s.roamers {
		if a := x.arriving(); a != nil {
			in = append(in, a.describe(k))
		}
		if l := x.leaves(); l != nil {
			out = append(out, l.describe(k))
		}
	}
	slices.SortFunc(in, func(a, b Arrival) int { return compareKeys(a.Session, b.Session) })
	slices.SortFunc(out, func(a, b Departure) int { return compareKeys(a.Session, b.Session) })
	return in, out
}

// Attachable says whether the session is here and a device may attach it.
func (s *State) Attachable(k SessionKey) (e SessionEpoch, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.sessions[k]; x != nil && !x.still() {
		return x.epoch, true
	}
	return 0, false
}

func (g *roaming) encode(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(g.since)), uint64(g.willIn))
	b = appendSettled(append(b, flag(g.leaving != nil, 1)|flag(g.arrival != nil, 2)), g.cuts)
	if l := g.leaving; l != nil {
		b = binary.AppendUvarint(appendString(b, string(l.to)), l.claim)
		b = binary.AppendUvarint(binary.AppendUvarint(b, l.refs), uint64(l.since))
		b = appendIDs(append(b, flag(l.taken, 1)), l.settled)
		b = binary.AppendUvarint(b, uint64(len(l.shared)))
		for i := range l.shared {
			b = l.shared[i].append(b)
		}
		b = binary.AppendUvarint(b, uint64(l.willIn))
	}
	if a := g.arrival; a != nil {
		b = appendEpoch(binary.AppendUvarint(appendString(b, string(a.from)), a.claim), a.epoch)
		for _, v := range []uint64{uint64(a.began), a.version, a.got, a.last, a.next} {
			b = binary.AppendUvarint(b, v)
		}
		b = append(b, flag(a.complete, 1)|flag(a.merges, 2))
		b = appendSettled(appendIDs(b, a.waits), a.cuts)
	}
	return b
}

func (r *reader) roaming() *roaming {
	g := &roaming{since: Time(r.uvarint()), willIn: uint32(r.uvarint())}
	flags := r.byte()
	g.cuts = r.settled()
	if flags&1 != 0 {
		l := &leaving{to: ID(r.string()), claim: r.uvarint(), refs: r.uvarint(), since: Time(r.uvarint())}
		l.taken, l.settled = r.byte() != 0, r.ids()
		for range r.count(4) {
			l.shared = append(l.shared, r.subscription())
		}
		l.willIn = uint32(r.uvarint())
		g.leaving = l
	}
	if flags&2 != 0 {
		a := &arrival{from: ID(r.string()), claim: r.uvarint(), epoch: r.epoch()}
		a.began, a.version, a.got, a.last, a.next = Seq(r.uvarint()), r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
		flags := r.byte()
		a.complete, a.merges = flags&1 != 0, flags&2 != 0
		a.waits, a.cuts = r.ids(), r.settled()
		g.arrival = a
	}
	return g
}

func appendSettled(b []byte, list []Settled) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, x := range list {
		b = binary.AppendUvarint(appendEpoch(appendString(b, string(x.Home)), x.Epoch), uint64(x.To))
	}
	return b
}

func (r *reader) settled() (list []Settled) {
	for range r.count(4) {
		list = append(list, Settled{ID(r.string()), r.epoch(), Seq(r.uvarint())})
	}
	return list
}

func wishKey(k SessionKey) []byte {
	return append([]byte{tableMeta, 'a'}, k.Namespace+"\x00"+k.ClientID...)
}

func (w *wish) encode(b []byte) []byte {
	b = binary.AppendUvarint(appendString(b, string(w.from)), w.claim)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(w.since)), uint64(w.until))
	return append(b, flag(w.over, 1)|flag(w.merge, 2))
}

func (l *loader) wish(key []byte, r *reader) {
	k := keyParts(key[1:], 2, 0, r) // its table has two bytes
	w := &wish{from: ID(r.string()), claim: r.uvarint(), since: Time(r.uvarint()), until: Time(r.uvarint())}
	flags := r.byte()
	w.over, w.merge = flags&1 != 0, flags&2 != 0
	l.s.wishes[SessionKey{k[0], k[1]}] = w
}

func (s *State) digestRoaming(w *writer) {
	for _, k := range slices.SortedFunc(maps.Keys(s.wishes), compareKeys) {
		w.put(wishKey(k), s.wishes[k].encode(nil))
	}
	s.digestDirectories(w)
}

// Drained says that nothing that was numbered up to a message waits for a peer: it has all
// of that, or never will.
func (s *State) Drained(peer ID, upTo Seq) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[peer]
	if p == nil {
		return true
	}
	for _, sp := range p.spools {
		if sp.start < upTo && (len(sp.runs) > 0 && sp.runs[0].first <= upTo || len(sp.refs) > 0 && sp.refs[0].seq <= upTo) {
			return false
		}
	}
	return true
}

// Adopted says since when a session is here that came from another home; 0: it began here.
func (s *State) Adopted(k SessionKey) Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.sessions[k]; x != nil && x.roam != nil {
		return x.roam.since
	}
	return 0
}
