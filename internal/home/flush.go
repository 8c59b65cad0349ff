package home

import (
	"encoding/binary"
	"slices"
)

// Flush hands over everything that changed since the last Flush, as keys and
// values of the store; put and del must not keep the slices. Together with the
// index of the last applied record it must be committed at once. Bodies that
// live on are copied out of the log's buffers here.
func (s *State) Flush(put func(key, value []byte), del func(key []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.changes
	if !c.meta {
		return
	}
	w := writer{put: put, del: del}
	for _, key := range c.deleted {
		del(key)
	}
	for _, m := range c.bodies {
		if m.refs > 0 && !m.stored {
			m.own()
			w.emit(BodyKey(m.Seq), m.encode(w.buf[:0]))
			m.stored = true
			s.resident += int64(m.size)
			s.bodies.push(m)
		}
	}
	clear(c.bodies)
	for x := range c.sessions {
		x.dirty = false
		if !x.ended {
			w.session(x)
		} else if s.sessions[x.key] == nil {
			del(sessionKey(x.key))
		}
	}
	for id := range c.subs {
		w.sub(id.session, id.filter)
	}
	for id := range c.refs {
		if r := id.session.queue.find(id.num); r != nil && r.stored {
			w.ref(id.session, r)
		}
	}
	for g := range c.groups {
		g.dirty = false
		if now := s.groups[g.key]; now == nil {
			del(groupRecordKey(g.key))
		} else if now == g {
			w.group(g)
		}
	}
	for p := range c.peers {
		if now := s.peers[p.id]; now == nil {
			del(peerKey(p.id))
		} else if now == p {
			w.peer(p)
		}
	}
	for id := range c.wants {
		key := wantKey(id.peer.id, id.filter)
		if p := s.peers[id.peer.id]; p != nil && p.interest.Has(id.filter) {
			put(key, nil)
		} else {
			del(key)
		}
	}
	for id := range c.retain {
		w.retained(id.space, id.topic)
	}
	for key := range c.cursors {
		w.cursor(key, s.cursors)
	}
	meta := s.encodeMeta(w.buf[:0])
	w.emit(metaKey, binary.AppendUvarint(binary.AppendUvarint(meta, s.records), s.chain))
	c.reset()
}

// writer encodes parts of the state. With all it writes everything and marks
// nothing as written, for a digest.
type writer struct {
	put func(key, value []byte)
	del func(key []byte)
	buf []byte
	all bool
}

// emit puts value, which was built on buf, and keeps its space.
func (w *writer) emit(key, value []byte) {
	w.put(key, value)
	w.buf = value[:0]
}

func (m *message) encode(b []byte) []byte {
	b = append(b, m.QoS|flag(m.Retain, 4)|flag(m.source != nil, 8))
	b = binary.AppendUvarint(b, uint64(m.Expires))
	if m.source != nil {
		b = appendEpoch(appendString(b, string(m.source.Home)), m.source.Epoch)
		b = binary.AppendUvarint(b, uint64(m.sourceSeq))
	}
	b = binary.AppendUvarint(b, uint64(m.size))
	b = appendString(appendString(b, m.Namespace), m.Topic)
	return appendBytes(appendBytes(b, m.Forward), m.Payload)
}

func decodeMessage(r *reader) (m *message) {
	m = &message{}
	flags := r.byte()
	m.QoS, m.Retain = flags&3, flags&4 != 0
	m.Expires = Time(r.uvarint())
	if flags&8 != 0 {
		m.source = &Source{ID(r.string()), r.epoch()}
		m.sourceSeq = Seq(r.uvarint())
	}
	m.size = uint32(r.uvarint())
	m.Namespace, m.Topic = r.string(), r.string()
	m.Forward, m.Payload = slices.Clone(r.bytes()), slices.Clone(r.bytes())
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
	b = append(b, flag(x.transient, 1)|flag(x.will != nil, 2))
	for _, v := range []uint64{uint64(x.expiry), uint64(x.window), uint64(x.willAt), uint64(x.expireAt), x.resumed, x.nextRef} {
		b = binary.AppendUvarint(b, v)
	}
	if x.will != nil {
		b = x.will.append(b)
	}
	ids := make([]uint16, 0, len(x.inbound))
	for id := range x.inbound {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint64(b, x.inbound[id])
	}
	w.emit(sessionKey(x.key), b)
	w.refs(x)
}

// refs writes the references that were not written yet.
func (w *writer) refs(x *session) {
	from := x.unstored + 1
	if w.all {
		from = 0
	}
	x.queue.each(Range{from, ^uint64(0)}, func(r *ref) {
		w.ref(x, r)
		if !w.all {
			r.stored = true
		}
	})
	if !w.all {
		x.unstored = x.nextRef
	}
}

func (w *writer) ref(x *session, r *ref) {
	b := binary.AppendUvarint(w.buf[:0], uint64(r.msg.Seq))
	b = append(b, r.qos|flag(r.retain, 4)|flag(r.state == refReceived, 8)|flag(r.group != nil, 16))
	b = binary.AppendUvarint(b, uint64(len(r.subIDs)))
	for _, id := range r.subIDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	if r.group != nil {
		b = appendString(b, r.group.sub.Filter)
	}
	w.emit(refKey(x.id, r.num), b)
}

func (w *writer) sub(x *session, filter string) {
	key := subKey(x.id, filter)
	sub := x.subs[filter]
	if sub == nil {
		w.del(key)
		return
	}
	b := appendSession(w.buf[:0], x.key)
	b = binary.AppendUvarint(b, sub.joined)
	w.emit(key, sub.append(b))
}

func (w *writer) group(g *Group) {
	w.emit(groupRecordKey(g.key), binary.AppendUvarint(w.buf[:0], uint64(g.next)))
	for i := range g.queue {
		if r := &g.queue[i]; !r.stored || w.all {
			w.put(groupRefKey(g.key, r.msg.Seq), nil)
			r.stored = r.stored || !w.all
		}
	}
}

func (w *writer) retained(sp *space, topic string) {
	key := retainedKey(sp, topic)
	r := sp.retained.get(topic)
	if r == nil {
		w.del(key)
		return
	}
	b := appendString(binary.AppendUvarint(w.buf[:0], r.version), string(r.home))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.seq)), uint64(r.at))
	b = append(b, flag(r.msg != nil, 1))
	if r.msg != nil {
		b = binary.AppendUvarint(b, uint64(r.msg.Seq))
		b = r.msg.encode(b)
	}
	w.emit(key, b)
}

func (w *writer) peer(p *peer) {
	b := appendBytes(w.buf[:0], AppendOp(nil, &p.policy))
	b = binary.AppendUvarint(appendEpoch(b, p.epoch), p.interest.Version())
	b = binary.AppendUvarint(b, uint64(len(p.spools)))
	for _, sp := range p.spools {
		b = appendStrings(appendString(b, sp.class), sp.filters)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(sp.start)), sp.dropped)
	}
	w.emit(peerKey(p.id), b)
	for _, sp := range p.spools {
		w.spool(p, sp)
	}
}

// spool writes what was not written yet: the tail, since a spool only grows
// there.
func (w *writer) spool(p *peer, sp *spool) {
	for i := len(sp.refs) - 1; i >= 0; i-- {
		r := &sp.refs[i]
		if r.stored && !w.all {
			return
		}
		b := append(w.buf[:0], flag(r.live, 1))
		b = binary.AppendUvarint(binary.AppendUvarint(b, r.version), uint64(r.at))
		w.emit(spoolKey(p.id, sp.class, r.seq), b)
		r.stored = r.stored || !w.all
	}
}

func (w *writer) cursor(key cursorKey, all map[cursorKey]Seq) {
	if at, ok := all[key]; ok {
		w.emit(cursorRecordKey(key), binary.AppendUvarint(w.buf[:0], uint64(at)))
	} else {
		w.del(cursorRecordKey(key))
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
	b = appendBytes(b, AppendOp(nil, s.config.Load()))
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
