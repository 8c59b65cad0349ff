package home

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A copy in a region that may not store a message has what is left of it: its number,
// its size, and who got it, so that queues, packet ids and spools stay those of the
// host. [E11] That copy cannot match a topic that it does not have. So wherever apply
// asks for a topic that is kept from a standby, the host notes what came of it, a
// placing, in the order in which it asks; and the record goes to that copy with
// Withheld before its entries, whose placings its apply takes in the same order.

// Withheld precedes the entries of a record in the form in which it goes to a region
// that may not store all of it. It is never in the host's own log.
type Withheld struct {
	Placings []byte // as the host's apply noted them
}

// Kind of the operation.
func (*Withheld) Kind() Kind { return KindWithheld }

func (op *Withheld) append(b []byte) []byte { return appendBytes(b, op.Placings) }

// placing is what came of a topic at one place of a record.
type placing struct {
	spot
	idle     bool     // its operation did nothing: it only is withheld
	bound    bool     // it is restricted
	only     []string // regions that may store it then
	code     Code     // why nothing came of it
	old      Seq      // of the retained message that it replaces
	hits     []placed
	groups   []string // namespace is the message's
	spools   []spooling
	retained []Seq // that a subscription, or a peer, was given, in order
	sizes    []Seq // of those that a peer was given, with spools
	noKeep   bool  // the topic cannot be retained

	given bool // it came with the record
}

// spot is where a message stands in a record; entry -1: it was there before. Items of a
// Reconcile below 0 are its sessions.
type spot struct{ entry, op, item int }

// placed is a session that a message went to.
type placed struct {
	session SessionKey
	qos     byte
	retain  bool
	subIDs  []uint32
}

// spooling is a peer that a message went to.
type spooling struct {
	peer    ID
	class   string
	live    bool
	version bool
	groups  []string
}

// codeKnown says that an id was known, so nothing was published.
const codeKnown Code = 1

// restricted says that some region may not store a message.
func (s *State) restricted(ns, topic string) bool {
	if s.Level() < 2 {
		return false
	}
	rules := s.config.Load().Residency
	for i := range rules {
		if rules[i].covers(ns, topic) {
			return true
		}
	}
	return false
}

// only are the regions that may store a restricted message.
func (s *State) only(ns, topic string) (regions []string) {
	first := true
	for _, r := range s.config.Load().Residency {
		switch {
		case !r.covers(ns, topic):
		case first:
			regions, first = slices.Clone(r.Regions), false
		default:
			regions = slices.DeleteFunc(regions, func(x string) bool { return !slices.Contains(r.Regions, x) })
		}
	}
	return regions
}

// markRestricted marks what is retained, and wills, that are restricted under the rules
// in force. What was marked once stays so: a copy may have it without its topic.
func (s *State) markRestricted() {
	if s.Level() < 2 || len(s.config.Load().Residency) == 0 {
		return
	}
	for ns, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) {
			if !r.kept && s.restricted(ns, r.topic) {
				r.kept = true
				s.veils++
				s.changes.retained(sp, r.topic)
			}
		})
	}
	for k, x := range s.sessions {
		if x.will != nil && !x.will.kept && s.restricted(k.Namespace, x.will.Topic) {
			x.will.kept = true
			s.changes.session(x)
		}
	}
}

// noting says that what comes of topics has to be noted for copies elsewhere.
func (s *State) noting() bool { return s.given != nil || len(s.takeover.Standbys) > 0 }

// place is asked wherever a topic decides something. nil: nothing needs to be noted.
func (s *State) place(ns, topic string, retain, withheld bool, item int) *placing {
	if !withheld && !(retain && s.veils > 0) && !s.restricted(ns, topic) {
		if s.noting() && len(s.config.Load().Residency) > 0 {
			s.plain = append(s.plain, spot{s.entry, s.opAt, item})
		}
		return nil
	}
	switch {
	case !s.noting():
		return nil
	case s.given != nil:
		return s.nextGiven()
	}
	p := &placing{spot: spot{s.entry, s.opAt, item}, bound: s.restricted(ns, topic), only: s.only(ns, topic)}
	s.made = append(s.made, p)
	return p
}

// withholdRest notes what may not go along of operations that did nothing: a stale one
// is still part of the record.
func (s *State) withholdRest(r *Record) {
	if !s.noting() || len(s.config.Load().Residency) == 0 {
		return
	}
	known := map[spot]struct{}{}
	for _, at := range s.plain {
		known[at] = struct{}{}
	}
	for _, p := range s.made {
		known[p.spot] = struct{}{}
	}
	r.contents(func(at spot, ns, topic string) {
		if _, done := known[at]; !done {
			if s.restricted(ns, topic) {
				s.made = append(s.made, &placing{spot: at, bound: true, only: s.only(ns, topic), idle: true})
			}
		}
	})
}

// contents calls f for each message that a record holds.
func (r *Record) contents(f func(at spot, ns, topic string)) {
	for i := range r.Entries {
		for j, op := range r.Entries[i].Ops {
			at := spot{i, j, 0}
			switch op := op.(type) {
			case *Publish:
				f(at, op.Session.Namespace, op.Topic)
			case *Import:
				f(at, op.Namespace, op.Topic)
			case *Attach:
				if op.Will != nil {
					f(at, op.Session.Namespace, op.Will.Topic)
				}
			case *Frame:
				for k := range op.Messages {
					f(spot{i, j, k}, op.Messages[k].Namespace, op.Messages[k].Topic)
				}
			case *Adopt:
				if w := op.Export.Will; w != nil {
					f(spot{i, j, -1}, op.Session.Namespace, w.Topic)
				}
				for k := range op.Messages {
					f(spot{i, j, k}, op.Messages[k].Namespace, op.Messages[k].Topic)
				}
			case *Repay:
				for k := range op.Messages {
					if m := &op.Messages[k]; m.Whole {
						f(spot{i, j, k}, m.Namespace, m.Topic)
					}
				}
			case *Restore:
				for k := range op.Sessions {
					if x := &op.Sessions[k].Export; x.Will != nil {
						f(spot{i, j, -1 - k}, x.Session.Namespace, x.Will.Topic)
					}
				}
				for k := range op.Messages {
					f(spot{i, j, k}, op.Messages[k].Namespace, op.Messages[k].Topic)
				}
			case *Reconcile:
				for k := range op.Sessions {
					if x := &op.Sessions[k]; x.Will != nil {
						f(spot{i, j, -1 - k}, x.Session.Namespace, x.Will.Topic)
					}
				}
				for k := range op.Messages {
					f(spot{i, j, k}, op.Messages[k].Namespace, op.Messages[k].Topic)
				}
			}
		}
	}
}

func (s *State) nextGiven() *placing {
	if len(s.given) == 0 {
		s.broken = true
		return &placing{given: true, code: CodeVoid}
	}
	p := s.given[0]
	s.given = s.given[1:]
	return p
}

// refuse notes that an operation did nothing, and why.
func (p *placing) refuse(c Code) Code {
	if p != nil && !p.given {
		p.code = c
	}
	return c
}

// withheldFrom says that a region may not store it.
func (p *placing) withheldFrom(region string) bool {
	return p.bound && !slices.Contains(p.only, region)
}

// withholds says that something was ever withheld from a region.
func (n *notes) withholds(region string) bool {
	for only := range n.kept {
		if !slices.Contains(strings.Split(only, "\x00"), region) {
			return true
		}
	}
	return false
}

// noItem is the item of a placing that is of no message of the record.
const noItem = 1 << 30

func (p *placing) isGiven() bool { return p != nil && p.given }

// veiled is the name under which a copy keeps a retained message whose topic it does
// not have. No topic has a "#".
func veiled(seq Seq) string { return "#" + strconv.FormatUint(uint64(seq), 10) }

// hidden says that a copy does not have the topic of what is retained.
func (r *retained) hidden() bool { return r.topic[:1] == "#" }

// retainedBySeq finds a retained message by when it was learnt of.
func (sp *space) retainedBySeq(seq Seq, topic string) (found *retained) {
	if seq == 0 {
		return nil
	}
	if r := sp.retained.get(topic); r != nil && r.seq == seq {
		return r
	}
	if r := sp.retained.get(veiled(seq)); r != nil && r.seq == seq {
		return r
	}
	sp.retained.each(func(r *retained) {
		if r.seq == seq {
			found = r
		}
	})
	return found
}

// scatter gives a message to whom the host gave it. The session whose will it is may
// be none of the home's any more.
func (s *State) scatter(m *message, from *session) (n int) {
	s.gen++
	s.fanning = true
	for _, h := range m.place.hits {
		x := s.sessions[h.session]
		if from != nil && from.key == h.session {
			x = from
		}
		if x != nil && s.fan(x, m, h.qos, h.retain, h.subIDs) {
			n++
		}
	}
	s.fanning = false
	s.pumpFreed()
	for _, text := range m.place.groups {
		if g := s.groupNamed(m.Namespace, text); g != nil {
			g.gen = s.gen
			g.offer(s, m)
			n++
		}
	}
	return n
}

func (s *State) groupNamed(ns, text string) *Group {
	for k, g := range s.groups {
		if k.space == ns && k.name+"/"+k.filter == text {
			return g
		}
	}
	return nil
}

func (s *State) scatterToPeers(m *message, version uint64) (n int) {
	for _, x := range m.place.spools {
		p := s.peers[x.peer]
		if p == nil {
			continue
		}
		v := version
		if !x.version {
			v = 0
		}
		s.spoolFor(p, m, spoolRef{version: v, live: x.live, groups: x.groups})
		n++
	}
	return n
}

// note notes that a group has a message here.
func (p *placing) note(g *Group) {
	if p != nil && !p.given {
		p.groups = append(p.groups, g.text())
	}
}

// notePeer notes what of the retained messages a peer is given.
func (s *State) notePeer() *placing {
	if s.given != nil {
		return s.nextGiven()
	}
	p := &placing{spot: spot{s.entry, s.opAt, noItem}}
	s.made = append(s.made, p)
	return p
}

// again notes, or is told, how a retained message goes to a peer.
func (p *placing) again(to *peer, r *retained, m *message) {
	switch {
	case p == nil:
	case !p.given:
		p.retained, p.sizes = append(p.retained, r.seq), append(p.sizes, Seq(m.size))
		p.spools = append(p.spools, spooling{peer: to.id, class: to.spoolOf(m.Topic).class})
	default:
		if i := slices.Index(p.retained, r.seq); i >= 0 && i < len(p.sizes) {
			m.size = uint32(p.sizes[i])
			m.place = &placing{given: true, spools: p.spools[i : i+1]}
		}
	}
	if m.Withheld {
		m.Topic = ""
	}
}

// noteHits notes which sessions a message goes to.
func (s *State) noteHits(m *message) {
	for i := range s.hits {
		h := &s.hits[i]
		ids := slices.Clone(h.subIDs)
		slices.Sort(ids)
		m.place.hits = append(m.place.hits, placed{h.session.key, min(m.QoS, h.qos), h.retain, ids})
	}
}

func appendPlacings(list []*placing) []byte {
	b := binary.AppendUvarint(nil, uint64(len(list)))
	for _, p := range list {
		b = p.append(b)
	}
	return b
}

func (p *placing) append(b []byte) []byte {
	b = binary.AppendVarint(binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.entry+1)), uint64(p.op)), int64(p.item))
	b = appendStrings(b, p.only)
	b = append(b, byte(p.code), flag(p.noKeep, 1)|flag(p.idle, 2)|flag(p.bound, 4))
	b = binary.AppendUvarint(b, uint64(p.old))
	b = binary.AppendUvarint(b, uint64(len(p.hits)))
	for _, h := range p.hits {
		b = append(appendSession(b, h.session), h.qos|flag(h.retain, 4))
		b = binary.AppendUvarint(b, uint64(len(h.subIDs)))
		for _, id := range h.subIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
	}
	b = appendStrings(b, p.groups)
	b = binary.AppendUvarint(b, uint64(len(p.spools)))
	for _, x := range p.spools {
		b = append(appendString(appendString(b, string(x.peer)), x.class), flag(x.live, 1)|flag(x.version, 2))
		b = appendStrings(b, x.groups)
	}
	for _, list := range [][]Seq{p.retained, p.sizes} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, seq := range list {
			b = binary.AppendUvarint(b, uint64(seq))
		}
	}
	return b
}

func decodePlacings(b []byte) ([]*placing, error) {
	r := reader{b: b}
	list := []*placing{}
	for range r.count(10) {
		list = append(list, r.placing())
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes behind the last placing", len(r.b))
	}
	return list, r.err
}

func (r *reader) placing() *placing {
	p := &placing{spot: spot{int(r.uvarint()) - 1, int(r.uvarint()), int(r.varint())}, only: r.strings(), given: true}
	p.code = Code(r.byte())
	flags := r.byte()
	p.noKeep, p.idle, p.bound = flags&1 != 0, flags&2 != 0, flags&4 != 0
	p.old = Seq(r.uvarint())
	for range r.count(4) {
		h := placed{session: r.session()}
		flags := r.byte()
		h.qos, h.retain = flags&3, flags&4 != 0
		for range r.count(1) {
			h.subIDs = append(h.subIDs, uint32(r.uvarint()))
		}
		p.hits = append(p.hits, h)
	}
	p.groups = r.strings()
	for range r.count(4) {
		x := spooling{peer: ID(r.string()), class: r.string()}
		flags := r.byte()
		x.live, x.version, x.groups = flags&1 != 0, flags&2 != 0, r.strings()
		p.spools = append(p.spools, x)
	}
	for _, list := range []*[]Seq{&p.retained, &p.sizes} {
		for range r.count(1) {
			*list = append(*list, Seq(r.uvarint()))
		}
	}
	if len(p.sizes) > 0 && (len(p.sizes) != len(p.retained) || len(p.sizes) != len(p.spools)) {
		r.fail("%d sizes of %d messages", len(p.sizes), len(p.retained))
	}
	return p
}

// beginRecord takes the placings that came with a record.
func (s *State) beginRecord(r *Record) (*Record, error) {
	s.given, s.made, s.plain, s.broken, s.entry, s.opAt = nil, nil, nil, false, -1, 0
	if len(r.Entries) == 0 || len(r.Entries[0].Ops) != 1 {
		return r, nil
	}
	op, ok := r.Entries[0].Ops[0].(*Withheld)
	if !ok {
		return r, nil
	}
	list, err := decodePlacings(op.Placings)
	if err != nil {
		return r, err
	}
	s.given = slices.DeleteFunc(list, func(p *placing) bool { return p.idle })
	s.notes.keep(s, s.records+1, op.Placings)
	return &Record{Home: r.Home, Time: r.Time, Entries: r.Entries[1:]}, nil
}

// endRecord keeps what was noted of a record until every copy has it.
func (s *State) endRecord(r *Record) error {
	if s.given == nil {
		s.withholdRest(r)
	}
	if s.broken || len(s.given) > 0 {
		return fmt.Errorf("record %d: what came with it does not fit what it does: %w", s.records+1, ErrCorrupt)
	}
	s.given = nil
	if len(s.made) > 0 {
		s.notes.keep(s, s.records+1, appendPlacings(s.made))
	}
	s.made = nil
	return nil
}

// maxNotes bounds the placings that are kept for copies that lag, in bytes.
const maxNotes = 16 << 20

// notes are the placings of the last records.
type notes struct {
	of    map[uint64][]byte
	order []uint64
	bytes int
	from  uint64              // records below it are not known any more
	kept  map[string]struct{} // the regions, as one string, that may store something that was restricted
}

func (n *notes) keep(s *State, record uint64, b []byte) {
	if n.of == nil {
		n.of, n.kept = map[uint64][]byte{}, map[string]struct{}{}
	}
	b = slices.Clone(b)
	n.of[record] = b
	n.order = append(n.order, record)
	n.bytes += len(b)
	s.changes.notes[record] = struct{}{}
	if list, err := decodePlacings(b); err == nil {
		for _, p := range list {
			if only := strings.Join(p.only, "\x00"); p.bound {
				if _, known := n.kept[only]; !known {
					n.kept[only] = struct{}{}
					s.changes.failover = true
				}
			}
		}
	}
	for n.bytes > maxNotes && len(n.order) > 1 {
		last := n.order[0]
		n.order = n.order[1:]
		n.bytes -= len(n.of[last])
		delete(n.of, last)
		s.changes.notes[last] = struct{}{}
		n.from = last + 1
		s.changes.failover = true
	}
}

func noteKey(record uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableMeta, 'n'}, record)
}

// veil takes from a record what is withheld from a region.
func veil(rec *Record, list []*placing, to string) {
	for _, p := range list {
		if p.entry < 0 || p.item == noItem || p.entry >= len(rec.Entries) || p.op >= len(rec.Entries[p.entry].Ops) || !p.withheldFrom(to) {
			continue
		}
		switch op := rec.Entries[p.entry].Ops[p.op].(type) {
		case *Publish:
			op.veil()
		case *Import:
			op.Publish.veil()
			op.Trail = ""
		case *Attach:
			op.Will.veil()
		case *Frame:
			m := &op.Messages[p.item]
			if m.Withheld {
				continue
			}
			m.Size, m.Withheld = uint32(len(m.Topic)+len(m.Forward)+len(m.Payload)), true
			m.Topic, m.Forward, m.Payload = "", nil, flagged(m.Payload)
		case *Adopt:
			if p.item < 0 {
				op.Export.Will.veil()
				continue
			}
			op.Messages[p.item].veil()
		case *Repay:
			op.Messages[p.item].veil()
		case *Restore:
			if p.item < 0 {
				op.Sessions[-1-p.item].Export.Will.veil()
				continue
			}
			op.Messages[p.item].veil()
		case *Reconcile:
			if p.item < 0 {
				op.Sessions[-1-p.item].Will.veil()
				continue
			}
			op.Messages[p.item].veil()
		}
	}
}

// flagged leaves of a payload whether there is one: an empty one deletes what is
// retained.
func flagged(payload []byte) []byte {
	if len(payload) == 0 {
		return nil
	}
	return []byte{0}
}

func (op *Publish) veil() {
	if op.Withheld {
		return
	}
	op.Size, op.Withheld = uint32(len(op.Topic)+len(op.Forward)+len(op.Payload)), true
	op.Topic, op.Forward, op.Payload = "", nil, flagged(op.Payload)
}

func (w *Will) veil() {
	if w.Withheld {
		return
	}
	w.Size, w.Withheld = uint32(len(w.Topic)+len(w.Forward)+len(w.Payload)), true
	w.Topic, w.Forward, w.Payload = "", nil, flagged(w.Payload)
}

func (m *MessageExport) veil() {
	if m.Withheld {
		return
	}
	m.Size, m.Withheld = uint32(len(m.Topic)+len(m.Forward)+len(m.Payload)), true
	m.Topic, m.Forward, m.Payload = "", nil, flagged(m.Payload)
}

func (m *message) veil() {
	m.Topic, m.Trail, m.Forward, m.Payload, m.Withheld = "", "", nil, flagged(m.Payload), true
}
