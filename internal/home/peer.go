package home

import (
	"math"
	"slices"
	"strings"
	"time"

	"causeway/routing"
)

// Bounds on what a peer can make the home keep.
const (
	maxCursors = 1024                       // over its epochs and classes
	maxLife    = 100 * 365 * 24 * time.Hour // of a message
)

// peer is another home as this one knows it: what it wants, what may go there,
// and what waits to go.
type peer struct {
	id       ID
	policy   *LinkPolicy
	epoch    Epoch // of its home, when it told its interest
	interest *routing.Remote
	target   *Target          // stands for the peer in every filter it wants
	spools   []*spool         // highest class first; the last takes what no class names
	received map[Seq]struct{} // spooled messages that a foreign broker has and that are not released
	gen      uint64           // of the publish being applied: its interest matched

	declares     map[spaceGroup][]ID // global groups, as its home has them declared
	claimGen     uint64              // of the publish being applied
	claimed      []string            // groups it goes to the peer on behalf of
	claimedBytes int
}

func (s *State) setPeer(op *SetPeer) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		p = &peer{id: op.Peer, policy: new(LinkPolicy)}
		p.target = &Target{Peer: op.Peer, peer: p}
		p.interest = routing.NewRemote(func(f routing.Filter, added bool) { s.peerWants(p, f, added) })
		s.peers[op.Peer] = p
	}
	s.revise(p, *op, p.policy.Set)
	return Outcome{}
}

// setClasses keeps the spools of classes that stay. What waits in one that goes
// is drained in its old order, before anything new, at the lowest rank.
func (p *peer) setClasses(classes []Class, now Seq) {
	old := p.spools
	p.spools = nil
	take := func(name string, filters []string) {
		i := slices.IndexFunc(old, func(sp *spool) bool { return sp.class == name })
		if i < 0 {
			p.spools = append(p.spools, &spool{class: name, filters: filters, start: now})
			return
		}
		old[i].filters = filters
		p.spools = append(p.spools, old[i])
		old = slices.Delete(old, i, i+1)
	}
	for i, c := range classes {
		if c.Name != "" && !slices.ContainsFunc(classes[:i], func(o Class) bool { return o.Name == c.Name }) {
			take(c.Name, c.Filters)
		}
	}
	for _, sp := range old {
		if sp.class != "" && sp.waiting > 0 {
			sp.filters = nil
			p.spools = append(p.spools, sp)
		}
	}
	take("", nil)
}

func (s *State) peerWants(p *peer, f routing.Filter, added bool) {
	s.changes.interest(p, f)
	if c, ok := parseClaim(f); ok {
		s.claims(p, c, added)
		return
	}
	t := s.space(f.Namespace).table
	if added {
		t.Add(f.Filter, p.target)
	} else {
		t.Remove(f.Filter, p.target)
	}
}

// spoolRetained gives a peer what this home retained before its policy let it out,
// and what it remembers of deletions.
func (s *State) spoolRetained(p *peer, before *LinkPolicy) {
	type kept struct {
		ns string
		*retained
	}
	var list []kept
	var noted *placing
	if s.veils > 0 && s.noting() {
		noted = s.notePeer()
	}
	for ns, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) {
			if noted.isGiven() {
				if slices.Contains(noted.retained, r.seq) {
					list = append(list, kept{ns, r})
				}
				return
			}
			if r.home == s.id && (r.msg == nil || !r.hidden()) && p.policy.MayGo(r.topic) && s.MayLeave(ns, r.topic, string(p.id)) && !(before.Retained && before.MayGo(r.topic)) {
				list = append(list, kept{ns, r})
			}
		})
	}
	// Not under their old numbers: the spool stays in order.
	slices.SortFunc(list, func(a, b kept) int { return compareSeqs(a.seq, b.seq) })
	for _, r := range list {
		m := Message{Namespace: r.ns, Topic: r.topic, Retain: true}
		if r.msg != nil {
			m = r.msg.Message
		}
		n := newMessage(m)
		n.kept, n.Withheld = r.kept, r.hidden()
		noted.again(p, r.retained, n)
		s.number(n)
		s.spoolFor(p, n, spoolRef{version: r.version})
		n.place = nil
	}
}

// interest applies what a peer says it wants.
func (s *State) interestOp(op *Interest) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	for _, list := range [][]InterestFilter{op.Add, op.Remove} {
		for _, f := range list {
			if routing.ValidFilter(f.Filter) != nil || !keySafe(f.Namespace) {
				return Outcome{Code: CodeGap}
			}
		}
	}
	if op.Full {
		return s.replaceInterest(p, op)
	}
	var err error
	switch empty := len(op.Add)+len(op.Remove) == 0; {
	case empty && (p.epoch != op.Epoch || op.Version < op.Base):
		err = p.interest.Renumber(op.Base, op.Version)
	case p.epoch != op.Epoch:
		return Outcome{Code: CodeGap}
	default:
		err = p.interest.Apply(routing.Delta{Base: op.Base, Version: op.Version, Add: op.Add, Remove: op.Remove})
	}
	if err != nil {
		return Outcome{Code: CodeGap}
	}
	p.epoch = op.Epoch
	s.interested(p)
	return Outcome{}
}

func (s *State) interested(p *peer) {
	s.note(effectInterest, p.interest.Version(), uint64(p.interest.Len()))
	s.changes.peer(p)
}

func (s *State) replaceInterest(p *peer, op *Interest) Outcome {
	if p.interest.Replace(routing.SnapshotOf(op.Version, op.Add)) != nil {
		return Outcome{Code: CodeGap}
	}
	p.epoch = op.Epoch
	s.interested(p)
	return Outcome{}
}

func (s *State) forgetPeer(op *ForgetPeer) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	_ = p.interest.Replace(routing.Snapshot{}) // empty is consistent with itself
	n := 0
	for _, sp := range p.spools {
		n += sp.messages()
		s.trimSpool(p, sp, math.MaxUint64)
	}
	if n > 0 {
		s.sink.Dropped("spool", DropForgotten, n)
	}
	delete(s.peers, p.id)
	s.forgetDirectory(p.id)
	s.publishPolicies()
	s.changes.peer(p)
	for key := range s.cursors {
		if key.source.Home == p.id {
			delete(s.cursors, key)
			s.changes.cursor(key)
		}
	}
	return Outcome{Count: n}
}

// spoolAll gives a message of this home to the peers that fanOut marked, and a
// retained one to those whose policy says so. What came by a link never gets
// here: no loops, no two paths. [D6] Nor does it go to those in not.
func (s *State) spoolAll(m *message, version uint64, not []ID) (n int) {
	if m.place.isGiven() {
		return s.scatterToPeers(m, version)
	}
	for _, p := range s.peersInOrder() {
		if slices.Contains(not, p.id) {
			continue
		}
		live := p.gen == s.gen
		v := version
		if !p.policy.Retained {
			v = 0
		}
		groups := p.claimsOf(s.gen)
		switch {
		case !live && v == 0 && len(groups) == 0 || !p.policy.MayGo(m.Topic):
		case !s.MayLeave(m.Namespace, m.Topic, string(p.id)):
			s.sink.Dropped("spool", DropResidency, 1)
		default:
			if m.place != nil {
				m.place.spools = append(m.place.spools, spooling{p.id, p.spoolOf(m.Topic).class, live, v != 0, groups})
			}
			s.spoolFor(p, m, spoolRef{version: v, live: live, groups: groups})
			n++
		}
	}
	return n
}

func (s *State) peersInOrder() []*peer {
	list := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		list = append(list, p)
	}
	if len(list) > 1 {
		slices.SortFunc(list, func(a, b *peer) int { return compareIDs(a.id, b.id) })
	}
	return list
}

func matchesAny(filters []string, topic string) bool {
	return slices.ContainsFunc(filters, func(f string) bool { return routing.Matches(f, topic) })
}

// frame takes in a span of a peer's spool: one entry, so all of it or nothing.
func (s *State) frame(op *Frame) Outcome {
	key := cursorKey{op.Source, op.Class}
	at, known := s.cursors[key]
	switch {
	case op.To < op.From || op.Source.Home == s.id || !keySafe(string(op.Source.Home), op.Source.Epoch.Host, op.Class):
		return Outcome{Code: CodeGap, Seq: at}
	case known && op.To <= at:
		return Outcome{Seq: at}
	case known && op.From > at, !known && s.cursorsOf(op.Source.Home) >= maxCursors:
		return Outcome{Code: CodeGap, Seq: at}
	}
	from := origin{Source: op.Source}
	if s.Level() > 1 {
		from.class = op.Class
	}
	src := s.source(from)
	s.fill = 0
	n := 0
	for i := range op.Messages {
		fm := &op.Messages[i]
		if fm.Seq <= at || fm.Seq > op.To {
			continue
		}
		at = fm.Seq
		if s.cameAhead(key, fm.Seq) {
			continue
		}
		pl := s.place(fm.Namespace, fm.Topic, fm.RetainVersion != 0, fm.Withheld, i)
		switch {
		case pl.isGiven():
			if pl.code != CodeOK {
				continue
			}
		case routing.ValidTopic(fm.Topic) != nil || !keySafe(fm.Namespace) || fm.Namespace == CanaryNamespace:
			pl.refuse(CodeVoid)
			continue
		case !s.mayStay(fm.Namespace, fm.Topic):
			pl.refuse(CodeVoid)
			s.sink.Dropped("link", DropResidency, 1)
			continue
		}
		s.fromPeer(src, fm, pl)
		n++
	}
	s.cursors[key] = op.To
	s.passed(key, op.To)
	s.changes.cursor(key)
	return Outcome{Seq: op.To, Count: n, Fill: s.fill}
}

// keySafe says whether strings that a peer made up can be parts of a key.
func keySafe(parts ...string) bool {
	return !slices.ContainsFunc(parts, func(s string) bool { return strings.IndexByte(s, 0) >= 0 })
}

func (s *State) cursorsOf(id ID) (n int) {
	for key := range s.cursors {
		if key.source.Home == id {
			n++
		}
	}
	return n
}

// fromPeer takes in one message. It is given to local sessions only.
func (s *State) fromPeer(src *origin, fm *FrameMessage, pl *placing) {
	m := newMessage(Message{Namespace: fm.Namespace, Topic: fm.Topic, Payload: fm.Payload, Forward: fm.Forward, QoS: fm.QoS, Retain: fm.Retain})
	m.source, m.sourceSeq = src, fm.Seq
	s.settle(m, pl, fm.Withheld, fm.Size)
	if fm.ExpiryIn > 0 {
		m.Expires = s.time.Add(min(fm.ExpiryIn, maxLife))
	}
	s.number(m)
	if fm.RetainVersion != 0 {
		s.retain(m, fm.RetainVersion, src.Home)
	}
	if s.gen++; fm.Live {
		s.fanOut(m, nil)
	}
	for _, text := range fm.Groups {
		s.arrived(m, text)
	}
	m.place = nil
}
