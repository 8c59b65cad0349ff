package app

import (
	"fmt"
	"slices"
	"strings"

	"causeway/internal/admin"
	"causeway/internal/home"
)

// withDeclared adds the declared groups that nobody is a member of.
func withDeclared(groups []home.GroupInfo, shared *home.SetShared) []home.GroupInfo {
	for _, d := range shared.Groups {
		if !slices.ContainsFunc(groups, func(g home.GroupInfo) bool { return g.Namespace == d.Namespace && g.Name == d.Group }) {
			groups = append(groups, home.GroupInfo{Namespace: d.Namespace, Name: d.Group, Global: true, Regions: d.Regions})
		}
	}
	return groups
}

func (n node) sharedGroup(g *home.GroupInfo, differ []home.GroupMismatch) admin.SharedGroup {
	out := admin.SharedGroup{Namespace: g.Namespace, Group: g.Name, Filter: g.Filter, Scope: scope(g.Global), Members: g.Members, Attached: g.Attached,
		LagMessages: g.Queued, LagBytes: int64(g.QueuedBytes)}
	if g.Oldest != 0 {
		out.OldestSeconds = admin.SecondsOf(n.a.home.Now().Sub(g.Oldest))
	}
	for _, r := range g.Regions {
		out.Regions = append(out.Regions, string(r))
	}
	for _, a := range g.Away {
		out.Away = append(out.Away, admin.SharedAway{Region: string(a.Peer), Ready: a.Attached})
	}
	for _, d := range differ {
		if d.Namespace == g.Namespace && d.Group == g.Name {
			out.Mismatches = append(out.Mismatches, d.Reason)
		}
	}
	return out
}

func scope(global bool) string {
	if global {
		return admin.ScopeGlobal
	}
	return admin.ScopeLocal
}

// groupTarget says where a message on a topic goes on behalf of a group, and why
// there.
func groupTarget(g *home.Group, topic string) admin.Target {
	name, members, attached := g.Describe()
	out := admin.Target{Kind: "group", Name: name, QoS: 2, Sends: true}
	here := fmt.Sprintf("one of %d members here, %d attached", members, attached)
	to := g.Explain(topic)
	switch {
	case to.Here && to.Peer != "":
		out.Reason = here + ", since the group is local here; and one in " + chosen(&to)
	case to.Here && !to.Global:
		out.Reason = here
	case to.Here && attached > 0:
		out.Reason = here + ", before those of other regions"
	case to.Here:
		out.Reason = here + "; it waits, since nobody can be reached elsewhere"
	case to.Peer != "":
		out.Reason = "one in " + chosen(&to)
	default:
		out.Sends, out.Reason = false, "nobody is a member"
	}
	return out
}

// chosen names the region that takes the message, and those it was preferred to.
func chosen(to *home.Explained) string {
	text := string(to.Peer)
	if to.Ready {
		text += ", the first where a member is attached"
	} else {
		text += ", where members are, and it waits: none is attached anywhere that can be reached"
	}
	if len(to.After) > 0 {
		var rest []string
		for _, id := range to.After {
			rest = append(rest, string(id))
		}
		text += " (before " + strings.Join(rest, ", ") + ")"
	}
	return text
}
