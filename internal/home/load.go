package home

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"slices"

	"causeway/routing"
)

// Load rebuilds a home from what Flush wrote. scan must call fn with every key
// in ascending order, until fn fails, and pass on its error. Bodies stay on disk,
// but for retained messages.
func Load(scan func(fn func(key, value []byte) error) error) (*State, error) {
	s := New()
	s.sink = noSink{}
	l := loader{s: s, bodies: map[Seq]*message{}, byID: map[uint64]*session{}}
	if err := scan(l.load); err != nil && !errors.Is(err, ErrLoaded) {
		return nil, err
	}
	var r reader
	if l.restoredBodies(&r); r.err != nil {
		return nil, r.err
	}
	l.finish()
	s.sink = nil
	s.changes.reset()
	s.changes.bodies = nil
	l.sweep()
	return s, nil
}

// ErrLoaded ends the scan before what stays on the disk.
var ErrLoaded = errors.New("all is loaded")

// sweep deletes bodies that nothing refers to: those that runs took along, if the
// node stopped between the write and the deletion.
func (l *loader) sweep() {
	for seq, m := range l.bodies {
		if m.refs == 0 {
			l.s.changes.deleteBody(seq)
		}
	}
}

// LeanValue is what Load needs of a value: all but what devices sent in the body
// of a message. A copy of a state takes that. ErrLoaded: it needs nothing from
// this key on.
func LeanValue(key, value []byte) ([]byte, error) {
	if len(key) > 0 && key[0] == tableRunValue {
		return nil, ErrLoaded
	}
	if len(key) == 0 || key[0] != tableBody {
		return value, nil
	}
	r := reader{b: value}
	m := decodeMessage(&r)
	if r.err != nil {
		return nil, fmt.Errorf("store key %x: %w", key, r.err)
	}
	m.Topic, m.Forward, m.Payload = "", nil, nil
	return m.encode(nil), nil
}

// IsSession says whether a key of the store is a session's.
func IsSession(key []byte) bool { return len(key) > 0 && key[0] == tableSession }

type loader struct {
	s      *State
	bodies map[Seq]*message
	byID   map[uint64]*session
	wanted uint64
	joins  uint64

	restored []restoredRow
}

func (l *loader) load(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("empty key in the store: %w", ErrCorrupt)
	}
	r := reader{b: value}
	switch key[0] {
	case tableMeta:
		switch {
		case slices.Equal(key, sharedKey):
			l.shared(&r)
		case slices.Equal(key, failoverKey):
			l.failover(&r)
		case slices.Equal(key, takenInKey):
			l.takenIn(&r)
		case len(key) > 1 && key[1] == 'w':
			l.fired(key, &r)
		case len(key) > 1 && key[1] == 'd':
			l.document(key, &r)
		case len(key) > 1 && key[1] == 'a':
			l.wish(key, &r)
		case len(key) > 1 && key[1] == 'r':
			l.directory(key, &r)
		case len(key) > 1 && key[1] == 'o':
			l.restoration(key, &r)
		case len(key) > 1 && key[1] == 'b':
			l.restoredBody(key, &r)
		case len(key) > 1 && key[1] == 'n':
			l.note(key, value, &r)
		default:
			l.meta(&r)
		}
	case tableBody:
		l.body(key, &r)
	case tableSession:
		l.session(key, &r)
	case tableSub:
		l.sub(key, &r)
	case tableGroup:
		l.group(key, &r)
	case tableGroupRef:
		l.groupRef(key, &r)
	case tableRef:
		l.ref(key, &r)
	case tableRetained:
		l.retained(key, &r)
	case tablePeer:
		l.peer(&r)
	case tableWant:
		l.want(key, &r)
	case tableSpool:
		l.spool(key, &r)
	case tableCursor:
		l.cursor(key, &r)
	case tableRun:
		l.run(key, &r)
	case tableRunValue:
		return ErrLoaded
	default:
		return fmt.Errorf("table %d in the store: %w", key[0], ErrUnknown)
	}
	if r.err != nil {
		return fmt.Errorf("store key %x: %w", key, r.err)
	}
	return nil
}

func (l *loader) meta(r *reader) {
	s := l.s
	if v := r.byte(); v != RecordVersion && r.err == nil {
		r.err = fmt.Errorf("state of version %d, this build knows %d: %w", v, RecordVersion, ErrUnknown)
		return
	}
	s.id = ID(r.string())
	for range r.count(3) {
		s.lineage = append(s.lineage, Span{Epoch: r.epoch(), First: Seq(r.uvarint())})
	}
	s.time, s.seq, s.epoch, s.joins = Time(r.uvarint()), Seq(r.uvarint()), SessionEpoch(r.uvarint()), r.uvarint()
	s.forgotten = r.uvarint()
	l.wanted, l.joins = r.uvarint(), s.joins
	if s.level.Store(uint32(r.uvarint())); s.Level() > MaxLevel {
		r.err = tooHigh(s.Level())
		return
	}
	l.settings(slices.Clone(r.bytes()), r)
	for range r.count(4) {
		node := NodeID(r.string())
		s.proposers[node] = &proposer{Incarnation(r.uvarint()), r.uvarint(), r.byte() != 0}
	}
	s.records, s.chain = r.uvarint(), r.uvarint()
}

// shared comes before any group and any peer.
func (l *loader) shared(r *reader) {
	set, ok := l.op(r).(*SetShared)
	rank, too := l.op(r).(*Rank)
	if !ok || !too {
		r.fail("no declarations of global groups")
		return
	}
	l.s.setShared(set)
	l.s.setRank(rank)
}

// op reads an operation that is kept as part of a record.
func (l *loader) op(r *reader) Op {
	in := reader{b: slices.Clone(r.bytes())}
	op, err := in.op()
	if err != nil {
		r.fail("%v", err)
	}
	return op
}

func (l *loader) body(key []byte, r *reader) {
	m := decodeMessage(r)
	m.Seq = Seq(tailNumber(key, r))
	m.stored, m.evicted = true, true
	m.Topic, m.Trail, m.Forward, m.Payload = "", "", nil, nil
	if m.source != nil {
		m.source = l.s.source(*m.source)
	}
	l.bodies[m.Seq] = m
}

// tailNumber reads the number a key ends with.
func tailNumber(key []byte, r *reader) uint64 {
	if len(key) < 9 {
		r.fail("key of %d bytes", len(key))
		return 0
	}
	return binary.BigEndian.Uint64(key[len(key)-8:])
}

func keyParts(key []byte, n, tail int, r *reader) []string {
	if len(key) < tail+1 {
		r.fail("key of %d bytes", len(key))
		return make([]string, n)
	}
	parts, ok := splitKey(key[:len(key)-tail], n)
	if !ok {
		r.fail("key of %d parts", len(parts))
		return make([]string, n)
	}
	return parts
}

func (l *loader) session(key []byte, r *reader) {
	k := keyParts(key, 2, 0, r)
	x := &session{key: SessionKey{k[0], k[1]}, id: r.uvarint(), epoch: SessionEpoch(r.uvarint())}
	owner := Owner{NodeID(r.string()), Incarnation(r.uvarint())}
	flags := r.byte()
	x.transient, x.moved = flags&1 != 0, flags&4 != 0
	x.expiry, x.window = uint32(r.uvarint()), uint16(r.uvarint())
	x.willAt, x.expireAt = Time(r.uvarint()), Time(r.uvarint())
	x.resumed, x.nextRef = r.uvarint(), r.uvarint()
	x.unstored = x.nextRef
	if flags&32 != 0 {
		x.fresh = SessionEpoch(x.id)
	}
	if flags&64 != 0 {
		x.fresh = SessionEpoch(r.uvarint())
	}
	if flags&2 != 0 {
		x.will = r.will()
		x.will.Payload, x.will.Forward = slices.Clone(x.will.Payload), slices.Clone(x.will.Forward)
	}
	for range r.count(10) {
		b := r.take(10)
		if r.err != nil {
			return
		}
		if x.inbound == nil {
			x.inbound = map[uint16]uint64{}
		}
		x.inbound[binary.BigEndian.Uint16(b)] = binary.BigEndian.Uint64(b[2:])
	}
	if flags&16 != 0 {
		if x.roam = r.roaming(); x.arriving() != nil || x.leaves() != nil {
			l.s.roamers[x.key] = x
		}
	}
	if flags&8 != 0 {
		x.inherited = r.inheritance()
	}
	if l.s.sessions[x.key] != nil {
		r.fail("session twice")
		return
	}
	l.s.admit(x)
	l.byID[x.id] = x
	if owner != (Owner{}) {
		l.s.own(x, owner)
	}
	if x.willAt != 0 {
		l.s.timers.push(timer{x.willAt, timerWill, x.key, x.epoch})
	}
	if x.expireAt != 0 {
		l.s.timers.push(timer{x.expireAt, timerSession, x.key, x.epoch})
	}
}

func (l *loader) sub(key []byte, r *reader) {
	k := r.session()
	joined := r.uvarint()
	sub := &subscription{Subscription: r.subscription(), joined: joined}
	x := l.s.sessions[k]
	if x == nil || r.err != nil {
		r.fail("subscription of no session")
		return
	}
	if x.subs == nil {
		x.subs = map[string]*subscription{}
	}
	x.subs[sub.Filter] = sub
	name, rest, shared, err := routing.ParseShared(sub.Filter)
	switch {
	case err != nil:
		r.fail("filter: %v", err)
	case shared:
		l.s.join(x, sub, nil, name, rest)
		sub.joined = joined
	default:
		sub.target = l.s.plainTarget(x, &sub.Subscription)
		l.s.space(k.Namespace).table.Add(sub.Filter, sub.target)
		l.s.wanted.Add(k.Namespace, sub.Filter)
	}
}

func (l *loader) group(key []byte, r *reader) {
	k := keyParts(key, 3, 0, r)
	id := groupKey{k[0], k[1], k[2]}
	g := l.s.groups[id]
	if g == nil && l.s.spans(id.space, id.name) { // messages wait for members to come
		g = l.s.group(id)
	}
	if g == nil {
		r.fail("group without members")
		return
	}
	g.next = int(r.uvarint())
	slices.SortFunc(g.members, func(a, b *member) int { return int(int64(a.sub.joined) - int64(b.sub.joined)) })
}

func (l *loader) groupRef(key []byte, r *reader) {
	k := keyParts(key, 4, 8, r)
	g, m := l.s.groups[groupKey{k[0], k[1], k[2]}], l.held(Seq(tailNumber(key, r)), r)
	if g == nil || m == nil {
		r.fail("reference of no group")
		return
	}
	f := groupRef{m, Time(r.uvarint()), true}
	if len(r.b) > 0 && r.byte() == groupOwed {
		g.owed = append(g.owed, f)
		g.owedBytes += uint64(m.size)
		l.s.owingGroups[g] = struct{}{}
		l.s.owed++
		return
	}
	g.queue = append(g.queue, f)
	g.bytes += uint64(m.size)
}

// held returns the body with one more reference.
func (l *loader) held(seq Seq, r *reader) *message {
	m := l.bodies[seq]
	if m == nil {
		r.fail("body %d is missing", seq)
		return nil
	}
	m.refs++
	return m
}

func (l *loader) ref(key []byte, r *reader) {
	if len(key) != 17 {
		r.fail("key of %d bytes", len(key))
		return
	}
	x := l.byID[binary.BigEndian.Uint64(key[1:])]
	f := ref{num: tailNumber(key, r), stored: true}
	f.msg = l.held(Seq(r.uvarint()), r)
	flags := r.byte()
	f.qos, f.retain, f.asWas = flags&3, flags&4 != 0, flags&32 != 0
	if flags&8 != 0 {
		f.state = refReceived
	}
	for range r.count(1) {
		f.subIDs = append(f.subIDs, uint32(r.uvarint()))
	}
	var filter string
	if flags&16 != 0 {
		filter = r.string()
	}
	if x == nil || r.err != nil {
		r.fail("reference of no session")
		return
	}
	if sub := x.subs[filter]; filter != "" && sub != nil && sub.member != nil {
		f.group = sub.member
		sub.member.assigned++
	}
	q := &x.queue
	switch a := x.arriving(); {
	case f.num >= heldFrom && a != nil:
		q = &a.held
	case f.num >= owedFrom && f.num < heldFrom:
		if x.owed == nil {
			x.owed = &queue{}
			l.s.owing[x] = struct{}{}
		}
		q = x.owed
		l.s.owed++
	}
	q.push(f)
	l.s.counts.waits(f.msg, 1)
}

func (l *loader) retained(key []byte, r *reader) {
	k := keyParts(key, 2, 0, r)
	t := &retained{topic: k[1], version: r.uvarint(), home: ID(r.string()), seq: Seq(r.uvarint()), at: Time(r.uvarint())}
	sp := l.s.space(k[0])
	flags := r.byte()
	if t.kept = flags&2 != 0; t.kept {
		l.s.veils++
	}
	if flags&1 == 0 {
		l.s.tombs = append(l.s.tombs, tombstone{sp, t.topic, t.seq, t.at})
		l.s.graves++
		sp.retained.put(t)
		return
	}
	seq := Seq(r.uvarint())
	m := decodeMessage(r)
	m.Seq, m.pinned = seq, true
	if known := l.bodies[seq]; known != nil { // queues refer to it too
		known.Message, known.evicted, known.pinned = m.Message, false, true
		l.s.resident += int64(known.size)
		m = known
	} else {
		r.fail("body %d of retained topic is missing", seq)
		return
	}
	m.refs++
	t.msg = m
	sp.retained.put(t)
	sp.retained.count++
	if m.Expires != 0 {
		l.s.timers.push(timer{at: m.Expires, kind: timerRetained, key: SessionKey{sp.name, t.topic}})
	}
}

func (l *loader) peer(r *reader) {
	policy := l.policy(r)
	if policy == nil {
		r.fail("peer without a policy")
		return
	}
	s := l.s
	s.setPeer(&SetPeer{Peer: policy.Peer})
	p := s.peers[policy.Peer]
	p.policy = policy
	if policy.Pause.Until != 0 {
		s.timers.push(pauseTimer(p.id, policy.Pause.Until))
	}
	p.epoch = r.epoch()
	_ = p.interest.Apply(routing.Delta{Version: r.uvarint()})
	p.spools = nil
	for range r.count(4) {
		sp := &spool{class: r.string(), filters: r.strings()}
		sp.start, sp.dropped = Seq(r.uvarint()), r.uvarint()
		p.spools = append(p.spools, sp)
	}
	for _, seq := range r.seqs() {
		if p.received == nil {
			p.received = map[Seq]struct{}{}
		}
		p.received[seq] = struct{}{}
	}
	if len(p.spools) == 0 {
		r.fail("peer without a spool")
	}
}

func (l *loader) want(key []byte, r *reader) {
	k := keyParts(key, 3, 0, r)
	p := l.s.peers[ID(k[0])]
	if p == nil {
		r.fail("interest of no peer")
		return
	}
	v := p.interest.Version()
	if err := p.interest.Apply(routing.Delta{Base: v, Version: v, Add: []routing.Filter{{Namespace: k[1], Filter: k[2]}}}); err != nil {
		r.fail("interest: %v", err)
	}
}

func (l *loader) spool(key []byte, r *reader) {
	k := keyParts(key, 3, 8, r)
	f := spoolRef{seq: Seq(tailNumber(key, r)), stored: true}
	flags := r.byte()
	f.live, f.canary = flags&1 != 0, flags&4 != 0
	f.version, f.at = r.uvarint(), Time(r.uvarint())
	if flags&8 != 0 {
		f.groups = r.strings()
	}
	f.msg = l.held(f.seq, r)
	p := l.s.peers[ID(k[0])]
	if p == nil || f.msg == nil {
		r.fail("spooled message of no peer")
		return
	}
	for _, sp := range p.spools {
		if sp.class == k[1] {
			sp.push(f)
			return
		}
	}
	r.fail("spooled message of no class")
}

func (l *loader) cursor(key []byte, r *reader) {
	k := keyParts(key, 4, 8, r)
	src := Source{ID(k[0]), Epoch{tailNumber(key, r), k[2]}}
	c := cursorKey{src, k[1]}
	at, known := Seq(r.uvarint()), true
	if len(r.b) > 0 {
		if l.s.ahead == nil {
			l.s.ahead = map[cursorKey][]Seq{}
		}
		l.s.ahead[c] = r.seqs()
		known = r.byte() != 0
	}
	if known {
		l.s.cursors[c] = at
	}
}

// note reads the placings of a record.
func (l *loader) note(key, value []byte, r *reader) {
	n := &l.s.notes
	if n.of == nil {
		n.of, n.kept = map[uint64][]byte{}, map[string]struct{}{}
	}
	record := tailNumber(key, r)
	n.of[record] = slices.Clone(value)
	n.order = append(n.order, record)
	n.bytes += len(value)
}

// fired reads that a will was published.
func (l *loader) fired(key []byte, r *reader) {
	k := keyParts(key[1:], 3, 8, r) // its table has two bytes
	if l.s.fired == nil {
		l.s.fired = map[attachKey]struct{}{}
	}
	l.s.fired[attachKey{SessionKey{k[0], k[1]}, SessionEpoch(tailNumber(key, r))}] = struct{}{}
}

func (l *loader) finish() {
	s := l.s
	for seq, m := range l.bodies {
		if m.Withheld && m.refs > 0 {
			s.lacks[seq] = m
		}
	}
	s.wanted.Rebase(l.wanted)
	s.joins = l.joins
	s.publishPolicies()
	slices.SortFunc(s.tombs, func(a, b tombstone) int { return int(int64(a.seq) - int64(b.seq)) })
	for _, g := range s.groups {
		g.publish(s)
		g.dirty = false // building it was no change
	}
	s.effects = 0
}

// noSink is what a home tells while it is loaded.
type noSink struct{}

func (noSink) Deliver(Delivery)                                 {}
func (noSink) Queued(SessionKey, SessionEpoch, Owner)           {}
func (noSink) Ended(SessionKey, SessionEpoch, Owner, EndReason) {}
func (noSink) Spooled(ID)                                       {}
func (noSink) Wanted()                                          {}
func (noSink) Dropped(place string, reason DropReason, n int)   {}

// Digest is an order-independent sum over the replicated state: two replicas
// that applied the same records have the same one. Bodies are in it by number
// and size; the log's own checksums guard their bytes.
func (s *State) Digest() (d [2]uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	w := writer{all: true, put: func(key, value []byte) {
		h := fnv.New128a()
		h.Write(key)
		h.Write(value)
		sum := h.Sum(make([]byte, 0, 16))
		var carry uint64
		d[1], carry = bits.Add64(d[1], binary.BigEndian.Uint64(sum[8:]), 0)
		d[0], _ = bits.Add64(d[0], binary.BigEndian.Uint64(sum), carry)
	}}
	for _, x := range s.sessions {
		w.session(x)
		for f := range x.subs {
			w.sub(x, f)
		}
	}
	for _, g := range s.groups {
		if g.kept() {
			w.group(g)
		}
	}
	w.shared(s)
	w.failover(s)
	for _, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) { w.retained(sp, r.topic) })
	}
	for _, p := range s.peers {
		w.peer(p)
		for f := range p.interest.All() {
			w.put(wantKey(p.id, f), nil)
		}
	}
	for key := range s.cursors {
		w.cursor(key, s)
	}
	w.allDocuments(s)
	for k := range s.fired {
		w.put(firedKey(k), nil)
	}
	s.digestRoaming(&w)
	s.digestRestores(&w)
	w.put(metaKey, s.encodeMeta(nil))
	return d
}
