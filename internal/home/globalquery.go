package home

import (
	"fmt"
	"slices"
	"strings"
)

func (g *Group) describe(s *State, info *GroupInfo) {
	v := g.view.Load()
	info.Attached, info.Global = len(v.online), v.global
	if d := s.declared(g.key.space, g.key.name); d != nil {
		info.Regions = slices.Clone(d.Regions)
	}
	for _, c := range v.away {
		info.Away = append(info.Away, GroupAway{c.id, c.present})
	}
}

// Choice is who gets a message that is in no log on behalf of a group: a member
// here, or a region, and, of a group that is local here and global elsewhere,
// both.
type Choice struct {
	Member MemberInfo
	Here   bool
	Peer   ID // "" none
}

// Choose picks for a message of this region, no peer of those in not. It takes no
// lock.
func (g *Group) Choose(topic string, not []ID) (c Choice) {
	v := g.view.Load()
	c.Member, c.Here = g.Pick()
	if c.Here && v.global {
		return c
	}
	if to := best(v.away, topic, not); to != nil {
		c.Peer = to.id
	}
	return c
}

// Explained is where a message goes on behalf of a group, for people.
type Explained struct {
	Here   bool // into the queue here
	Global bool
	Peer   ID   // "" none
	Ready  bool // a member is attached there, and the peer can be reached
	After  []ID // peers that come behind it
}

// Explain says where a message of a device of this region goes. It takes no lock.
func (g *Group) Explain(topic string) (e Explained) {
	v := g.view.Load()
	members := g.size.Load() > 0
	e.Global = v.global
	to := best(v.away, topic, nil)
	e.Here = members && (!v.global || len(v.online) > 0 || to == nil || !to.present)
	if to == nil || e.Here && v.global {
		return e
	}
	e.Peer, e.Ready = to.id, to.present
	for i := range v.away {
		if c := &v.away[i]; c.id != to.id && c.may(topic) {
			e.After = append(e.After, c.id)
		}
	}
	return e
}

// Arrived says whether a message that came by a link and is in no log is for the
// group: live says that it came for who subscribed here, groups on behalf of which
// groups. It takes no lock.
func (g *Group) Arrived(c Claim) bool {
	if g.view.Load().global {
		return slices.Contains(c.Groups, g.Text())
	}
	return c.Live
}

// Text is the group as a Claim names it: "group/filter".
func (g *Group) Text() string { return g.text() }

// Claim is what a message crosses a link for.
type Claim struct {
	Live   bool     // a session there subscribed, or a group that is local there
	Groups []string // global groups that it was sent on behalf of, as "group/filter"
}

// Bytes is the size of the names in the claim.
func (c *Claim) Bytes() (n int) {
	for _, g := range c.Groups {
		n += len(g)
	}
	return n
}

// GroupMismatch is a declaration of a global group that is not the same in a
// peer's region: messages of the group may reach two members, or none there.
type GroupMismatch struct {
	Namespace string
	Group     string
	Peer      ID
	Reason    string
}

// GroupMismatches lists where the declarations of this home and of its peers
// differ, as far as peers have told theirs.
func (s *State) GroupMismatches() (list []GroupMismatch) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.shared.Groups {
		d := &s.shared.Groups[i]
		for _, id := range d.Regions {
			if why := s.mismatch(d, id); why != "" {
				list = append(list, GroupMismatch{d.Namespace, d.Group, id, why})
			}
		}
	}
	for _, p := range s.peersInOrder() {
		for k, regions := range p.declares {
			if s.declared(k.space, k.name) == nil && slices.Contains(regions, s.id) {
				list = append(list, GroupMismatch{k.space, k.name, p.id,
					fmt.Sprintf("%s has it global over %s, %s does not declare it", p.id, joinIDs(regions), s.id)})
			}
		}
	}
	slices.SortFunc(list, func(a, b GroupMismatch) int {
		return strings.Compare(a.Namespace+"\x00"+a.Group+"\x00"+string(a.Peer), b.Namespace+"\x00"+b.Group+"\x00"+string(b.Peer))
	})
	return list
}

// mismatch says how a region of a declaration has it otherwise, "" if it does not.
func (s *State) mismatch(d *GlobalGroup, id ID) string {
	p := s.peers[id]
	switch {
	case id == s.id:
		return ""
	case p == nil:
		return fmt.Sprintf("there is no link from %s to %s", s.id, id)
	case p.epoch == Epoch{}:
		return fmt.Sprintf("%s has not told yet what it wants", id)
	}
	theirs, ok := p.declares[spaceGroup{d.Namespace, d.Group}]
	switch {
	case !ok:
		return fmt.Sprintf("%s does not declare it, or its version does not know global groups", id)
	case !sameIDs(theirs, d.Regions):
		return fmt.Sprintf("%s has it global over %s, %s over %s", id, joinIDs(theirs), s.id, joinIDs(d.Regions))
	}
	return ""
}

func sameIDs(a, b []ID) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func joinIDs(list []ID) string {
	parts := make([]string, len(list))
	for i, id := range list {
		parts[i] = string(id)
	}
	return strings.Join(parts, ", ")
}

// Shared returns the declarations of global groups in force; they must not be
// changed.
func (s *State) Shared() *SetShared {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := s.shared
	return &out
}

// Ranking returns the ranking of peers in force; it must not be changed.
func (s *State) Ranking() Rank {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ranking
}

// HasGlobal says whether peers have members of global groups, or this home has any
// declared, so that a ranking of peers matters.
func (s *State) HasGlobal() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.groups {
		if len(g.shares) > 0 {
			return true
		}
	}
	return len(s.shared.Groups) > 0
}
