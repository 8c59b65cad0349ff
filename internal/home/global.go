package home

import (
	"slices"
	"strings"

	"causeway/routing"
)

// GlobalGroup declares a shared subscription, under any filter, to be one over
// several regions: each message goes to one member over all of them. The
// declaration has to be the same in all its regions.
type GlobalGroup struct {
	Namespace string
	Group     string
	Regions   []ID // in the order in which they are chosen while nothing else tells them apart
}

// SetShared replaces the declarations of global groups.
type SetShared struct{ Groups []GlobalGroup }

// Rank says in which order peers are asked to take a message of a global group
// that has nobody here: apply cannot measure a round trip. Peers it does not name
// come behind those it does. The last Away of them cannot be reached: they are
// chosen when nobody else has a member.
type Rank struct {
	Peers []ID
	Away  int
}

// spaceGroup is a group's name in its namespace; each of its filters is a Group.
type spaceGroup struct{ space, name string }

// What a home asks for on behalf of a global group are filters that no device can
// subscribe to by themselves, and that match nothing as filters:
//
//	$share/group/filter     sessions are members here
//	$share/+/group/filter   and some of them are attached
//	$share//group/eu/us     this home has the group declared over these regions
//
// They are part of its interest, so they outlive outages, and every copy of the
// home that is told chooses alike.
const (
	sharedPrefix   = "$share/"
	attachedPrefix = "$share/+/"
	declaredPrefix = "$share//"
)

func (g *GlobalGroup) text() string {
	parts := []string{declaredPrefix + g.Group}
	for _, r := range g.Regions {
		parts = append(parts, string(r))
	}
	return strings.Join(parts, "/")
}

// claim is what a peer asks for on behalf of a global group.
type claim struct {
	key      groupKey
	attached bool
	regions  []ID // of a declaration; key has no filter then
}

// parseClaim reads a filter of a peer; not ok if it is an ordinary one.
func parseClaim(f routing.Filter) (c claim, ok bool) {
	if rest, is := strings.CutPrefix(f.Filter, declaredPrefix); is {
		parts := strings.Split(rest, "/")
		for _, r := range parts[1:] {
			c.regions = append(c.regions, ID(r))
		}
		c.key = groupKey{space: f.Namespace, name: parts[0]}
		return c, true
	}
	rest, is := strings.CutPrefix(f.Filter, attachedPrefix)
	if c.attached = is; !is {
		if rest, is = strings.CutPrefix(f.Filter, sharedPrefix); !is {
			return c, false
		}
	}
	name, filter, is := strings.Cut(rest, "/")
	c.key = groupKey{f.Namespace, name, filter}
	return c, is && routing.ValidFilter(filter) == nil
}

// Claimed takes a filter of an interest apart: whether it is asked for on behalf
// of a global group, and the group's own filter, "" for a declaration.
func Claimed(f routing.Filter) (filter string, ok bool) {
	c, ok := parseClaim(f)
	return c.key.filter, ok || strings.HasPrefix(f.Filter, sharedPrefix)
}

// setShared takes the declarations and brings the groups there are in line.
func (s *State) setShared(op *SetShared) Outcome {
	for i := range s.shared.Groups {
		s.unwant(s.shared.Groups[i].Namespace, s.shared.Groups[i].text())
	}
	s.shared = *op
	for i := range op.Groups {
		s.want(op.Groups[i].Namespace, op.Groups[i].text())
	}
	s.note(effectShared, uint64(len(op.Groups)), 0)
	for _, g := range s.groupsInOrder() {
		g.changed(s)
		if !g.global && len(g.members) == 0 {
			s.dropQueue(g, DropSessionEnd)
		}
		s.retire(g)
	}
	s.changes.shared = true
	return Outcome{}
}

// declared returns the declaration of a group, nil if it is local.
func (s *State) declared(space, name string) *GlobalGroup {
	for i := range s.shared.Groups {
		if d := &s.shared.Groups[i]; d.Namespace == space && d.Group == name {
			return d
		}
	}
	return nil
}

// spans says that a group is one with that of other regions, here.
func (s *State) spans(space, name string) bool {
	d := s.declared(space, name)
	return d != nil && slices.Contains(d.Regions, s.id)
}

func (s *State) setRank(op *Rank) Outcome {
	op.Away = min(op.Away, len(op.Peers))
	s.ranking = *op
	s.note(effectShared, uint64(len(op.Peers)), uint64(op.Away))
	for _, g := range s.groupsInOrder() {
		g.publish(s)
	}
	s.changes.shared = true
	return Outcome{}
}

func (s *State) groupsInOrder() []*Group {
	list := make([]*Group, 0, len(s.groups))
	for _, g := range s.groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *Group) int { return a.key.compare(b.key) })
	return list
}

// text is the group as it is named to a peer.
func (g *Group) text() string { return g.key.name + "/" + g.key.filter }

// tell brings what peers are asked for in line with the group's members.
func (g *Group) tell(s *State) {
	var now [2]string
	switch {
	case len(g.members) == 0:
	case !g.global:
		now[0] = g.key.filter
	default:
		now[0] = sharedPrefix + g.text()
		if g.anyAttached() {
			now[1] = attachedPrefix + g.text()
		}
	}
	old := g.told
	g.told = now
	for i := range now {
		if now[i] != old[i] && now[i] != "" {
			s.want(g.key.space, now[i])
		}
	}
	for i := range now {
		if now[i] != old[i] && old[i] != "" {
			s.unwant(g.key.space, old[i])
		}
	}
}
