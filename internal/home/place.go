package home

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"causeway/routing"
)

// MaxClaim bounds the names of the groups that one message crosses a link for, in
// bytes.
const MaxClaim = 128 << 10

// Bounds on global groups.
const (
	maxOrphan = 1024               // groups that have messages and no member
	keepQueue = 3 * 24 * time.Hour // for which messages wait in a global group without a member
)

// share is the part of a global group that a peer has.
type share struct {
	peer     *peer
	members  bool
	attached bool
}

// claims notes what a peer asks for, or no longer does, on behalf of a group.
func (s *State) claims(p *peer, c claim, added bool) {
	if c.key.filter == "" {
		p.declare(spaceGroup{c.key.space, c.key.name}, c.regions, added)
		return
	}
	g := s.group(c.key)
	i := slices.IndexFunc(g.shares, func(x share) bool { return x.peer == p })
	if i < 0 {
		g.shares = append(g.shares, share{peer: p})
		i = len(g.shares) - 1
	}
	if x := &g.shares[i]; c.attached {
		x.attached = added
	} else {
		x.members = added
	}
	g.shares = slices.DeleteFunc(g.shares, func(x share) bool { return !x.members && !x.attached })
	g.publish(s)
	s.retire(g)
}

func (p *peer) declare(k spaceGroup, regions []ID, added bool) {
	if !added {
		delete(p.declares, k)
		return
	}
	if p.declares == nil {
		p.declares = map[spaceGroup][]ID{}
	}
	p.declares[k] = regions
}

// candidate is a peer that may take a message of a group, for readers without the
// lock: best first.
type candidate struct {
	peer    *peer // for Apply only
	id      ID
	present bool // a member is attached there, and the peer can be reached
	policy  *LinkPolicy
	s       *State // for the rules of residency
	ns      string // of the group
}

// may says whether a topic may go to the candidate.
func (c *candidate) may(topic string) bool {
	return c.policy.MayGo(topic) && c.s.MayLeave(c.ns, topic, string(c.id))
}

func (g *Group) candidates(s *State) (list []candidate) {
	d := s.declared(g.key.space, g.key.name)
	for _, x := range g.shares {
		if x.members {
			policy := x.peer.policy
			present := x.attached && !policy.Pause.On && !s.ranking.away(x.peer.id)
			list = append(list, candidate{x.peer, x.peer.id, present, policy, s, g.key.space})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(s.ranking.place(a.id), s.ranking.place(b.id)), cmp.Compare(d.place(a.id), d.place(b.id)), compareIDs(a.id, b.id))
	})
	return list
}

func (r *Rank) place(id ID) int { return place(r.Peers, id) }

func (g *GlobalGroup) place(id ID) int {
	if g == nil {
		return 0
	}
	return place(g.Regions, id)
}

func place(list []ID, id ID) int {
	if i := slices.Index(list, id); i >= 0 {
		return i
	}
	return len(list)
}

// away says that a peer cannot be reached.
func (r *Rank) away(id ID) bool { return slices.Contains(r.Peers[len(r.Peers)-r.Away:], id) }

// best is who of the peers takes a message, but for those in not: the first that
// has a member attached and can be reached, otherwise the first. nil if none may.
func best(list []candidate, topic string, not []ID) (c *candidate) {
	for i := range list {
		if !list[i].may(topic) || slices.Contains(not, list[i].id) {
			continue
		}
		if list[i].present {
			return &list[i]
		}
		if c == nil {
			c = &list[i]
		}
	}
	return c
}

// placed says where a message of this home goes on behalf of a group: into its
// queue here, to a peer, or, of a group that is local here and global elsewhere,
// both. It is decided once, where the message is first put into a log.
func (g *Group) placed(topic string, not []ID) (here bool, away *candidate) {
	here = len(g.members) > 0
	if len(g.shares) == 0 || here && g.global && g.anyAttached() {
		return here, nil
	}
	away = best(g.view.Load().away, topic, not)
	if here && g.global && (away == nil || !away.present) {
		return true, nil
	}
	return here && !g.global, away
}

func (g *Group) anyAttached() bool {
	return slices.ContainsFunc(g.members, func(m *member) bool { return m.session.attached() })
}

// placeIn gives a message of this home to a group and says whether that has it here;
// peers it goes to are marked for spoolAll.
func (s *State) placeIn(g *Group, m *message) bool {
	here, away := g.placed(m.Topic, s.not)
	if away != nil && !away.peer.claim(s.gen, g.text()) {
		s.sink.Dropped("group", DropTooLarge, 1)
	}
	if here {
		m.place.note(g)
		g.offer(s, m)
	}
	return here
}

// claim notes that the message being applied goes to a peer on behalf of a group,
// unless the names of such groups have become too long.
func (p *peer) claim(gen uint64, text string) bool {
	if p.claimGen != gen {
		p.claimGen, p.claimed, p.claimedBytes = gen, nil, 0
	}
	if p.claimedBytes+len(text) > MaxClaim {
		return false
	}
	p.claimed = append(p.claimed, text)
	p.claimedBytes += len(text)
	return true
}

// claimsOf returns on behalf of which groups the message being applied goes to p.
func (p *peer) claimsOf(gen uint64) []string {
	if p.claimGen != gen {
		return nil
	}
	return p.claimed
}

// arrived gives what came by a link to the group it was sent for, unless that is not
// global any more and had it as a local one. A group that has lost its members since
// keeps it for those to come.
func (s *State) arrived(m *message, text string) {
	name, filter, ok := strings.Cut(text, "/")
	key := groupKey{m.Namespace, name, filter}
	if !ok || !keySafe(name) || routing.ValidFilter(filter) != nil {
		return
	}
	g := s.groups[key]
	if g == nil || len(g.members) == 0 {
		if !s.spans(key.space, key.name) || g == nil && s.orphans() >= maxOrphan {
			s.sink.Dropped("group", DropSessionEnd, 1)
			return
		}
		g = s.group(key)
	}
	if g.gen == s.gen {
		return
	}
	g.gen = s.gen
	g.offer(s, m)
	s.retire(g)
}

// orphans counts the groups that have no member here.
func (s *State) orphans() (n int) {
	for _, g := range s.groups {
		if len(g.members) == 0 && len(g.queue) > 0 {
			n++
		}
	}
	return n
}

// ageGroups drops what has waited too long in groups that have no member.
func (s *State) ageGroups() {
	for _, g := range s.groupsInOrder() {
		n := 0
		for len(g.members) == 0 && n < len(g.queue) && s.time.Sub(g.queue[n].at) > keepQueue {
			s.dropGroupRef(g, &g.queue[n])
			n++
		}
		if n > 0 {
			g.queue = g.queue[n:]
			s.note(effectTrimmed, uint64(n), 0)
			s.sink.Dropped("group", DropSpoolAge, n)
			s.changes.group(g)
			s.retire(g)
		}
	}
}

// regroup follows a change of a peer's policy.
func (s *State) regroup(p *peer) {
	for _, g := range s.groups {
		if slices.ContainsFunc(g.shares, func(x share) bool { return x.peer == p }) {
			g.publish(s)
		}
	}
}
