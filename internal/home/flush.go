package home

import (
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"sort"
)

// Flush hands over everything that changed since the last Flush, as keys and
// values of the store; put and del must not keep the slices. Together with the
// index of the last applied record it must be committed at once, in the order in
// which it came. Bodies that live on are copied out of the log's buffers here.
func (s *State) Flush(put func(key, value []byte), del func(key []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.changes
	if !c.meta {
		return
	}
	w := writer{put: put, del: del, budget: math.MaxInt}
	s.flushPart(&w)
	meta := s.encodeMeta(w.buf[:0])
	w.emit(metaKey, binary.AppendUvarint(binary.AppendUvarint(meta, s.records), s.chain))
	c.reset()
}

// While a part of the changes is written nothing is applied: maxPart keys are
// well under a millisecond. maxParts only ends FlushAhead should records be
// applied faster than they can be written; no home is.
const (
	maxPart  = 1024
	maxParts = 1 << 14
)

// FlushAhead hands over most of what a Flush that follows would, in parts between
// which records may be applied, so that Flush itself is short. What it hands over
// is the state at no one position: it must be committed together with that Flush,
// which hands over again what changed meanwhile, and otherwise not at all. One
// goroutine flushes.
func (s *State) FlushAhead(put func(key, value []byte), del func(key []byte)) {
	w := writer{put: put, del: del}
	for range maxParts {
		if w.budget = maxPart; !s.flushOnePart(&w) {
			return
		}
	}
}

func (s *State) flushOnePart(w *writer) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushPart(w)
	return w.budget <= 0
}

// flushPart writes what changed, as it is now, until w's budget is spent, and
// forgets that it changed. Deletions come first, all of them: what was deleted
// and came back must stay.
func (s *State) flushPart(w *writer) {
	c := &s.changes
	for ; w.budget > 0 && len(c.deleted.ends) > 0; c.deleted.drop() {
		w.delete(c.deleted.last())
	}
	if c.shared {
		c.shared = false
		w.shared(s)
	}
	if c.failover {
		c.failover = false
		w.failover(s)
	}
	s.flushRuns(w)
	s.flushBodies(w)
	for x := range drain(w, &c.sessions) {
		x.dirty = false
		if !x.ended {
			w.session(x)
		} else if s.sessions[x.key] == nil {
			w.delete(sessionKey(x.key))
		}
		if !w.complete(x) {
			c.session(x)
		}
	}
	for id := range drain(w, &c.refs) {
		if r := id.session.find(id.num); r != nil {
			r.dirty = false
			w.ref(id.session, r)
		}
	}
	for g := range drain(w, &c.groups) {
		g.dirty = false
		if now := s.groups[g.key]; !now.kept() {
			w.delete(groupRecordKey(g.key))
		} else if now == g && !w.group(g) {
			c.group(g)
		}
	}
	for id := range drainSet(w, c.subs) {
		w.sub(id.session, id.filter)
	}
	for p := range drainSet(w, c.peers) {
		if now := s.peers[p.id]; now == nil {
			w.delete(peerKey(p.id))
		} else if now == p && !w.peer(p) {
			c.peer(p)
		}
	}
	for id := range drainSet(w, c.wants) {
		key := wantKey(id.peer.id, id.filter)
		if p := s.peers[id.peer.id]; p != nil && p.interest.Has(id.filter) {
			w.emit(key, w.buf[:0])
		} else {
			w.delete(key)
		}
	}
	for id := range drainSet(w, c.retain) {
		w.retained(id.space, id.topic)
	}
	for key := range drainSet(w, c.cursors) {
		w.cursor(key, s)
	}
	for n := range drainSet(w, c.notes) {
		if b := s.notes.of[n]; b != nil {
			w.emit(noteKey(n), append(w.buf[:0], b...))
		} else {
			w.delete(noteKey(n))
		}
	}
	for id := range drainSet(w, c.docs) {
		w.document(s, id)
	}
	for k := range drainSet(w, c.wishes) {
		if x := s.wishes[k]; x != nil {
			w.emit(wishKey(k), x.encode(w.buf[:0]))
		} else {
			w.delete(wishKey(k))
		}
	}
	for id := range drainSet(w, c.dirs) {
		w.directory(s, id)
	}
	for ns := range drainSet(w, c.restores) {
		w.restore(s, ns)
	}
	for id := range drainSet(w, c.restored) {
		w.restoredBody(s, id)
	}
	for k := range drainSet(w, c.fired) {
		if _, on := s.fired[k]; on {
			w.emit(firedKey(k), w.buf[:0])
		} else {
			w.delete(firedKey(k))
		}
	}
}

// flushRuns comes before flushBodies: what only runs refer to is written once.
func (s *State) flushRuns(w *writer) {
	for x := range drain(w, &s.changes.runs) {
		if !x.run.gone {
			w.run(x)
			s.written = append(s.written, x.run)
		}
	}
}

// flushBodies goes by age, as bodies are evicted.
func (s *State) flushBodies(w *writer) {
	c := &s.changes
	for ; w.budget > 0 && c.written < len(c.bodies); c.written++ {
		m := c.bodies[c.written]
		c.bodies[c.written] = nil
		if m.refs > m.sealed && !m.stored {
			m.own()
			w.key = appendBodyKey(w.key[:0], m.Seq)
			w.emit(w.key, m.encode(w.buf[:0]))
			m.stored = true
			s.resident += int64(m.size)
			s.bodies.push(m)
		}
	}
	if c.written == len(c.bodies) {
		c.bodies, c.written = c.bodies[:0], 0
	}
}

// drain takes entries off a list while w may write.
func drain[T any](w *writer, list *[]T) iter.Seq[T] {
	return func(yield func(T) bool) {
		var none T
		for w.budget > 0 && len(*list) > 0 {
			last := len(*list) - 1
			x := (*list)[last]
			(*list)[last] = none
			*list = (*list)[:last]
			if w.budget--; !yield(x) {
				return
			}
		}
	}
}

// drainSet takes entries off a set while w may write.
func drainSet[T comparable](w *writer, set map[T]struct{}) iter.Seq[T] {
	return func(yield func(T) bool) {
		for x := range set {
			if w.budget <= 0 {
				return
			}
			delete(set, x)
			if w.budget--; !yield(x) {
				return
			}
		}
	}
}

// writer encodes parts of the state. With all it writes everything and marks
// nothing as written, for a digest.
type writer struct {
	put    func(key, value []byte)
	del    func(key []byte)
	budget int // how much more may be written, in keys; a long value counts for more
	all    bool

	key, buf []byte // space for the next
	ids      []uint16
}

// emit puts value, which was built on buf, and keeps its space.
func (w *writer) emit(key, value []byte) {
	w.put(key, value)
	w.budget -= 1 + len(value)>>10
	w.buf = value[:0]
}

func (w *writer) delete(key []byte) {
	w.del(key)
	w.budget--
}

func (m *message) encode(b []byte) []byte {
	b = append(b, m.QoS|flag(m.Retain, 4)|flag(m.source != nil, 8)|flag(m.Publisher != 0, 16)|flag(m.Trail != "", 32)|flag(m.at != 0, 64))
	b = binary.AppendUvarint(b, uint64(m.Expires))
	if m.Publisher != 0 {
		b = binary.BigEndian.AppendUint32(b, m.Publisher)
	}
	if m.Trail != "" {
		b = appendString(b, m.Trail)
	}
	if m.source != nil {
		b = appendEpoch(appendString(b, string(m.source.Home)), m.source.Epoch)
		b = binary.AppendUvarint(b, uint64(m.sourceSeq))
	}
	if m.at != 0 {
		b = m.encodeLate(b)
	}
	b = binary.AppendUvarint(b, uint64(m.size))
	b = appendString(appendString(b, m.Namespace), m.Topic)
	return appendBytes(appendBytes(b, m.Forward), m.Payload)
}

// encodeLate writes what a message has from feature level 2 on.
func (m *message) encodeLate(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(m.at))
	b = append(b, flag(m.will != nil, 1)|flag(m.source != nil && m.source.class != "", 2)|flag(m.kept, 4)|flag(m.Withheld, 8))
	if m.will != nil {
		b = binary.AppendUvarint(appendSession(b, m.will.session), uint64(m.will.epoch))
	}
	if m.source != nil && m.source.class != "" {
		b = appendString(b, m.source.class)
	}
	return b
}

func (m *message) decodeLate(r *reader) {
	m.at = Time(r.uvarint())
	flags := r.byte()
	if flags&1 != 0 {
		m.will = &attachKey{r.session(), SessionEpoch(r.uvarint())}
	}
	if flags&2 != 0 && m.source != nil {
		m.source.class = r.string()
	}
	m.kept, m.Withheld = flags&4 != 0, flags&8 != 0
}

func decodeMessage(r *reader) (m *message) {
	m = decodeHead(r)
	m.Forward, m.Payload = slices.Clone(r.bytes()), slices.Clone(r.bytes())
	return m
}

// decodeHead decodes a message up to its topic.
func decodeHead(r *reader) (m *message) {
	m = &message{}
	flags := r.byte()
	m.QoS, m.Retain = flags&3, flags&4 != 0
	m.Expires = Time(r.uvarint())
	if flags&16 != 0 {
		m.Publisher = r.uint32()
	}
	if flags&32 != 0 {
		m.Trail = r.string()
	}
	if flags&8 != 0 {
		m.source = &origin{Source: Source{ID(r.string()), r.epoch()}}
		m.sourceSeq = Seq(r.uvarint())
	}
	if flags&64 != 0 {
		m.decodeLate(r)
	}
	m.size = uint32(r.uvarint())
	m.Namespace, m.Topic = r.string(), r.string()
	return m
}

// DecodeBody decodes the value under BodyKey(seq).
func DecodeBody(seq Seq, value []byte) (Message, error) {
	r := reader{b: value}
	m := decodeMessage(&r)
	m.Seq = seq
	return m.Message, r.err
}

func (w *writer) session(x *session) {
	b := binary.AppendUvarint(w.buf[:0], x.id)
	b = binary.AppendUvarint(b, uint64(x.epoch))
	b = binary.AppendUvarint(appendString(b, string(x.owner.Node)), uint64(x.owner.Incarnation))
	b = append(b, flag(x.transient, 1)|flag(x.will != nil, 2)|flag(x.moved, 4)|flag(x.inherited != nil, 8)|flag(x.roam != nil, 16)|flag(x.fresh != 0, 32)|flag(x.freshElsewhere(), 64))
	for _, v := range []uint64{uint64(x.expiry), uint64(x.window), uint64(x.willAt), uint64(x.expireAt), x.resumed, x.nextRef} {
		b = binary.AppendUvarint(b, v)
	}
	if x.freshElsewhere() {
		b = binary.AppendUvarint(b, uint64(x.fresh))
	}
	if x.will != nil {
		b = x.will.append(b)
	}
	w.ids = w.ids[:0]
	for id := range x.inbound {
		w.ids = append(w.ids, id)
	}
	slices.Sort(w.ids)
	b = binary.AppendUvarint(b, uint64(len(w.ids)))
	for _, id := range w.ids {
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint64(b, x.inbound[id])
	}
	if x.roam != nil {
		b = x.roam.encode(b)
	}
	if x.inherited != nil { // what is last in it may be missing
		b = x.inherited.encode(b)
	}
	w.emit(sessionKey(x.key), b)
	w.refs(x)
}

// refs writes the references that were not written yet.
func (w *writer) refs(x *session) {
	if w.all {
		x.queue.each(Range{0, ^uint64(0)}, func(r *ref) { w.ref(x, r) })
		if a := x.arriving(); a != nil {
			a.held.each(Range{0, ^uint64(0)}, func(r *ref) { w.ref(x, r) })
		}
		if x.owed != nil {
			x.owed.each(Range{0, ^uint64(0)}, func(r *ref) { w.ref(x, r) })
		}
		return
	}
	for w.budget > 0 {
		r := x.queue.next(x.unstored + 1)
		if r == nil {
			x.unstored = x.nextRef
			return
		}
		w.ref(x, r)
		r.stored = true
		x.unstored = r.num
	}
}

// complete says that all of a session is written.
func (w *writer) complete(x *session) bool { return x.ended || x.unstored == x.nextRef }

func (w *writer) ref(x *session, r *ref) {
	b := binary.AppendUvarint(w.buf[:0], uint64(r.msg.Seq))
	b = append(b, r.qos|flag(r.retain, 4)|flag(r.state == refReceived, 8)|flag(r.group != nil, 16)|flag(r.asWas, 32))
	b = binary.AppendUvarint(b, uint64(len(r.subIDs)))
	for _, id := range r.subIDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	if r.group != nil {
		b = appendString(b, r.group.sub.Filter)
	}
	w.key = appendRefKey(w.key[:0], x.id, r.num)
	w.emit(w.key, b)
}

func (w *writer) sub(x *session, filter string) {
	key := subKey(x.id, filter)
	sub := x.subs[filter]
	if sub == nil {
		w.delete(key)
		return
	}
	b := appendSession(w.buf[:0], x.key)
	b = binary.AppendUvarint(b, sub.joined)
	w.emit(key, sub.append(b))
}

// shared writes what is declared of global groups.
func (w *writer) shared(s *State) {
	b := appendBytes(w.buf[:0], AppendOp(nil, &s.shared))
	w.emit(sharedKey, appendBytes(b, AppendOp(nil, &s.ranking)))
}

// failover writes what the home knows of its copies.
func (w *writer) failover(s *State) {
	if s.keepsFailover() {
		b := s.encodeFailover(w.buf[:0])
		if !w.all {
			b = s.appendNotes(b)
		}
		w.emit(failoverKey, b)
		if list := s.copies(true); len(list) > 0 {
			w.emit(takenInKey, s.appendTakenIn(w.buf[:0], list))
		}
	} else if !w.all {
		w.delete(failoverKey)
	}
}

// group reports whether all of it is written.
func (w *writer) group(g *Group) bool {
	w.emit(groupRecordKey(g.key), binary.AppendUvarint(w.buf[:0], uint64(g.next)))
	return w.groupRefs(g, g.queue, 0) && w.groupRefs(g, g.owed, groupOwed)
}

// groupOwed is set in what is stored of a reference that a group is owed.
const groupOwed = 1

func (w *writer) groupRefs(g *Group, list []groupRef, flags byte) bool {
	for i := range list {
		r := &list[i]
		if r.stored && !w.all {
			continue
		}
		if w.budget <= 0 && !w.all {
			return false
		}
		b := binary.AppendUvarint(w.buf[:0], uint64(r.at))
		if flags != 0 {
			b = append(b, flags)
		}
		w.emit(groupRefKey(g.key, r.msg.Seq), b)
		if !w.all {
			r.stored = true
		}
	}
	return true
}

func (w *writer) retained(sp *space, topic string) {
	key := retainedKey(sp, topic)
	r := sp.retained.get(topic)
	if r == nil {
		w.delete(key)
		return
	}
	b := appendString(binary.AppendUvarint(w.buf[:0], r.version), string(r.home))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.seq)), uint64(r.at))
	b = append(b, flag(r.msg != nil, 1)|flag(r.kept, 2))
	if r.msg != nil {
		b = binary.AppendUvarint(b, uint64(r.msg.Seq))
		b = r.msg.encode(b)
	}
	w.emit(key, b)
}

// peer reports whether all of it is written.
func (w *writer) peer(p *peer) bool {
	b := p.policy.encode(w.buf[:0])
	b = binary.AppendUvarint(appendEpoch(b, p.epoch), p.interest.Version())
	b = binary.AppendUvarint(b, uint64(len(p.spools)))
	for _, sp := range p.spools {
		b = appendStrings(appendString(b, sp.class), sp.filters)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(sp.start)), sp.dropped)
	}
	b = appendSeqs(b, p.receivedList())
	w.emit(peerKey(p.id), b)
	for _, sp := range p.spools {
		if w.all {
			for _, r := range sp.runs {
				w.runRecord(runID{p, sp, r})
			}
		}
		if !w.spool(p, sp) {
			return false
		}
	}
	return true
}

// spool writes what was not written yet: the tail, since a spool only grows
// there.
func (w *writer) spool(p *peer, sp *spool) bool {
	from := 0
	if !w.all {
		from = sort.Search(len(sp.refs), func(i int) bool { return !sp.refs[i].stored })
	}
	for i := from; i < len(sp.refs); i++ {
		if w.budget <= 0 && !w.all {
			return false
		}
		r := &sp.refs[i]
		b := append(w.buf[:0], flag(r.live, 1)|flag(r.canary, 4)|flag(len(r.groups) > 0, 8))
		b = binary.AppendUvarint(binary.AppendUvarint(b, r.version), uint64(r.at))
		if len(r.groups) > 0 {
			b = appendStrings(b, r.groups)
		}
		w.emit(spoolKey(p.id, sp.class, r.seq), b)
		if !w.all { // then it only reads
			r.stored = true
		}
	}
	return true
}

func (w *writer) cursor(key cursorKey, s *State) {
	at, ok := s.cursors[key]
	if ahead := s.ahead[key]; ok || len(ahead) > 0 {
		b := binary.AppendUvarint(w.buf[:0], uint64(at))
		if len(ahead) > 0 {
			b = append(appendSeqs(b, ahead), flag(ok, 1))
		}
		w.emit(cursorRecordKey(key), b)
	} else {
		w.delete(cursorRecordKey(key))
	}
}

// encodeMeta encodes what there is one of. The chain is not in it: it tells how
// the state came to be, and two ways may lead to one.
func (s *State) encodeMeta(b []byte) []byte {
	b = append(b, RecordVersion)
	b = appendString(b, string(s.id))
	b = binary.AppendUvarint(b, uint64(len(s.lineage)))
	for _, span := range s.lineage {
		b = binary.AppendUvarint(appendEpoch(b, span.Epoch), uint64(span.First))
	}
	for _, v := range []uint64{uint64(s.time), uint64(s.seq), uint64(s.epoch), s.joins, s.forgotten, s.wanted.Version(),
		uint64(s.level.Load())} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBytes(b, s.settings())
	nodes := make([]NodeID, 0, len(s.proposers))
	for n := range s.proposers {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	b = binary.AppendUvarint(b, uint64(len(nodes)))
	for _, n := range nodes {
		p := s.proposers[n]
		b = binary.AppendUvarint(appendString(b, string(n)), uint64(p.incarnation))
		b = append(binary.AppendUvarint(b, p.n), flag(p.down, 1))
	}
	return b
}
