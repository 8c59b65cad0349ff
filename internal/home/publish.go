package home

import "slices"

// hit is a session that a message matched, over all its subscriptions.
type hit struct {
	session *session
	qos     byte
	retain  bool
	subIDs  []uint32
}

func (s *State) publishOp(op *Publish) Outcome {
	return s.publishFor(op, &passage{namespace: op.Session.Namespace})
}

func (s *State) publishFor(op *Publish, way *passage) Outcome {
	var x *session
	if op.Epoch != 0 {
		if x = s.current(op.Session, op.Epoch); x == nil {
			return Outcome{Code: CodeVoid}
		}
	}
	pl := s.place(way.namespace, op.Topic, op.Retain, op.Withheld, 0)
	switch {
	case !pl.isGiven() || pl.code == CodeOK:
	case pl.code == codeKnown:
		return Outcome{}
	default:
		return Outcome{Code: pl.code}
	}
	if op.QoS == 2 && x != nil && !pl.isGiven() {
		// Known by id, never by DUP: MQTT.js re-sends with DUP=0. Where the id may have been
		// released without this copy knowing, by what it carried as well. [E4]
		if hash, known := x.inbound[op.PacketID]; known && (!way.foreign && x.inherited == nil || hash == contentHash(op.Topic, op.Payload)) {
			pl.refuse(codeKnown)
			return Outcome{}
		}
	}
	if code := s.refusal(op, way); !pl.isGiven() && code != CodeOK {
		return Outcome{Code: pl.refuse(code)}
	}
	if op.QoS == 2 && x != nil {
		if x.inbound == nil {
			x.inbound = map[uint16]uint64{}
		}
		x.inbound[op.PacketID] = contentHash(op.Topic, op.Payload)
		s.changes.session(x)
	}
	m := newMessage(Message{Namespace: way.namespace, Topic: op.Topic, Payload: op.Payload, Forward: op.Forward,
		QoS: op.QoS, Retain: op.Retain, Trail: way.trail})
	s.settle(m, pl, op.Withheld, op.Size)
	if op.Expiry != 0 {
		m.Expires = s.time.Add(seconds(op.Expiry))
	}
	n := s.publishPast(m, x, way.not)
	out := Outcome{Seq: m.Seq, Count: n}
	if n == 0 {
		out.Code = CodeNoSubscribers
	}
	return out
}

// refusal says why a message is not taken, CodeOK if it is.
func (s *State) refusal(op *Publish, way *passage) Code {
	switch {
	case op.Withheld:
		return CodeOK
	case !s.mayStay(way.namespace, op.Topic):
		s.sink.Dropped("home", DropResidency, 1)
		return CodeNotAuthorized
	case op.Retain && !keepable(op.Topic):
		return CodeTopicInvalid
	case op.Retain && len(op.Payload) > 0 && s.retainedFull(way.namespace, op.Topic) || s.spoolRefuses(op, way):
		return CodeQuota
	}
	return CodeOK
}

// settle tells a message where the host placed it, or that it has to be noted.
func (s *State) settle(m *message, pl *placing, withheld bool, size uint32) {
	m.place = pl
	m.kept = withheld || s.restricted(m.Namespace, m.Topic)
	if m.Withheld = withheld; withheld {
		m.size = size
	}
}

func (s *State) retainedFull(ns, topic string) bool {
	sp := s.space(ns)
	if sp.retained.count < s.retainedMost(ns) {
		return false
	}
	r := sp.retained.get(topic)
	return r == nil || r.msg == nil
}

// publish numbers a message of this home, keeps it as retained, and gives it to
// every session, group and peer that wants it. It returns how many got it.
func (s *State) publish(m *message, from *session) int { return s.publishPast(m, from, nil) }

// publishPast leaves out peers that had the message before.
func (s *State) publishPast(m *message, from *session, not []ID) int {
	s.number(m)
	var version uint64
	if m.Retain {
		version, _ = s.retain(m, 0, "")
	}
	s.not = not
	n := s.fanOut(m, from)
	s.not = nil
	if from != nil {
		m.Publisher = from.key.publisher()
	}
	n += s.spoolAll(m, version, not)
	m.place = nil
	return n
}

func (s *State) number(m *message) {
	s.seq++
	m.Seq = s.seq
	if s.Level() > 1 {
		m.at = s.time
	}
	s.note(effectNumbered, uint64(m.Seq), uint64(m.size))
}

// fanOut gives a message to sessions and groups, and marks the peers that want
// it. [MQTT-3.3.4-2]: overlapping subscriptions of a session give one copy, at
// the highest QoS, with all subscription ids.
func (s *State) fanOut(m *message, from *session) int {
	if m.place.isGiven() {
		return s.scatter(m, from)
	}
	s.gen++
	s.hits = s.hits[:0]
	var groups []*Group
	s.targets = s.Match(m.Namespace, m.Topic, s.targets[:0])
	for _, t := range s.targets {
		switch {
		case t.peer != nil:
			t.peer.gen = s.gen
		case t.Group != nil:
			groups = append(groups, t.Group)
		default:
			if !t.NoLocal || t.session != from {
				s.hit(t, m.Retain)
			}
		}
	}
	n := 0
	if m.place != nil {
		s.noteHits(m)
	}
	s.fanning = true
	for i := range s.hits {
		h := &s.hits[i]
		slices.Sort(h.subIDs)
		if s.fan(h.session, m, min(m.QoS, h.qos), h.retain, h.subIDs) {
			n++
		}
		*h = hit{}
	}
	s.fanning = false
	s.pumpFreed()
	slices.SortFunc(groups, func(a, b *Group) int { return a.key.compare(b.key) })
	for _, g := range groups {
		if m.source != nil && g.global { // it was sent on behalf of the group, or not
			continue
		}
		if m.source != nil && len(g.members) > 0 {
			g.gen = s.gen
			m.place.note(g)
			g.offer(s, m)
			n++
		} else if m.source == nil && s.placeIn(g, m) {
			n++
		}
	}
	return n
}

// hit merges a matching subscription into the session's hit.
func (s *State) hit(t *Target, retain bool) {
	x := t.session
	if x.gen != s.gen {
		x.gen, x.hit = s.gen, len(s.hits)
		s.hits = append(s.hits, hit{session: x})
	}
	h := &s.hits[x.hit]
	h.qos = max(h.qos, t.QoS)
	h.retain = h.retain || retain && t.RetainAs
	if t.SubID != 0 {
		h.subIDs = append(h.subIDs, t.SubID)
	}
}

// give hands a message to a session: into its queue, or, at QoS 0 and for a
// session that ends with its connection, straight to its owner.
func (s *State) give(x *session, m *message, qos byte, retain bool, ids []uint32) bool {
	if qos > 0 && !x.transient {
		return s.enqueue(x, m, ref{qos: qos, retain: retain, subIDs: ids})
	}
	if !x.attached() {
		return false
	}
	s.sink.Deliver(Delivery{Session: x.key, Epoch: x.epoch, Owner: x.owner, Message: m.view(), QoS: qos, Retain: retain, SubIDs: ids})
	return true
}

// Match appends who wants a message on topic. It takes no lock: messages that do
// not go through the log use it.
func (s *State) Match(ns, topic string, dst []*Target) []*Target {
	sp := (*s.spaces.Load())[ns]
	if sp == nil {
		return dst
	}
	return sp.table.Match(topic, dst)
}
