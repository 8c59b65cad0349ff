package replica

import (
	"context"
	"slices"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// around is who was found.
type around struct {
	known   home.Incarnation // highest run of this node that another knows
	leader  home.NodeID      // of the group, if somebody knows
	holders int              // other nodes that hold a copy
	cores   int              // core nodes that answered, this one among them
	first   bool             // this node's name is the first of them
	names   []string

	furthest home.NodeID // the copy whose log begins last
	begins   uint64      // where that is
}

// beyond is a copy whose log does not reach back to an index; "" if there is none.
// What is before its log it has applied, so that was committed.
func (a *around) beyond(last uint64) home.NodeID {
	if a.begins > max(last, 1) {
		return a.furthest
	}
	return ""
}

func (r *Replica) askAround(ctx context.Context) around {
	a := around{cores: 1, first: true, names: []string{string(r.opts.Node)}}
	for _, m := range r.opts.Cluster.Members() {
		if m.Node == string(r.opts.Node) || m.Role != cluster.Core {
			continue
		}
		w, err := r.ask(ctx, home.NodeID(m.Node), control{Kind: "who"})
		if err != nil {
			r.log.Debug("ask who leads", "peer", m.Node, "error", err)
			continue
		}
		a.cores++
		a.names = append(a.names, m.Node)
		if m.Node < string(r.opts.Node) {
			a.first = false
		}
		if w.Holds {
			a.holders++
		}
		if w.First > a.begins {
			a.furthest, a.begins = home.NodeID(m.Node), w.First
		}
		a.known = max(a.known, w.Incarnation)
		if w.Leader != "" && w.Leader != r.opts.Node {
			a.leader = w.Leader
		}
	}
	slices.Sort(a.names)
	return a
}

// whoAnswers names the other core nodes and whether gossip sees them.
func (r *Replica) whoAnswers() string {
	if r.opts.Cluster == nil {
		return "this is the only node"
	}
	s := ""
	for _, m := range r.opts.Cluster.Members() {
		if m.Node == string(r.opts.Node) || m.Role != cluster.Core {
			continue
		}
		word := " is seen"
		if !m.Alive {
			word = " is not seen"
		}
		if s != "" {
			s += ", "
		}
		s += m.Node + word
	}
	if s == "" {
		return "no other core node is known"
	}
	return s
}
