package sim

import (
	"fmt"

	"causeway/internal/home"
)

// region is a home and the nodes that keep it, behind a load balancer.
type region struct {
	w        *World
	id       home.ID
	nodes    []*node
	voters   int
	founders *group
	links    []*link // from here
	losing   bool    // a disk is about to be lost
}

func newRegion(w *World, id home.ID, nodes int) *region {
	r := &region{w: w, id: id, voters: min(nodes, 3), founders: &group{}}
	for i := range nodes {
		n := newNode(r, fmt.Sprintf("%s-%d", id, i+1))
		r.nodes = append(r.nodes, n)
		r.founders.members = append(r.founders.members, holder{n.server(), i < r.voters})
	}
	for _, n := range r.nodes {
		n.found()
	}
	return r
}

func (r *region) named(name home.NodeID) *node {
	for _, n := range r.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// elected is the node that leads, whether or not it has committed anything yet.
func (r *region) elected() (l *node) {
	for _, n := range r.nodes {
		if n.office != nil && (l == nil || n.office.term > l.office.term) {
			l = n
		}
	}
	return l
}

// leader is the node that leads and has applied all that was committed before;
// nil if none does.
func (r *region) leader() (l *node) {
	for _, n := range r.nodes {
		if n.office != nil && n.office.entered && (l == nil || n.office.term > l.office.term) {
			l = n
		}
	}
	return l
}

// balance picks a node as a load balancer does that asks nodes whether they are
// ready, and is a little behind.
func (r *region) balance() *node {
	var ready, up []*node
	for _, n := range r.nodes {
		if n.up {
			up = append(up, n)
			if r.w.now-n.fresh.until < heardLately {
				ready = append(ready, n)
			}
		}
	}
	if len(ready) == 0 {
		ready = up
	}
	if len(ready) == 0 {
		return nil
	}
	return ready[r.w.rnd.IntN(len(ready))]
}

// whole says that every voter has the disk it has its vote on, and has caught up:
// another disk may be lost.
func (r *region) whole() bool {
	l := r.leader()
	if l == nil {
		return false
	}
	g := l.disk.log.group()
	for _, m := range g.members {
		if m.votes && (!m.node.up || m.node.disk.uuid != m.disk || m.node.disk.log.synced < l.committed) {
			return false
		}
	}
	return g.voters() == r.voters && l.committed >= l.office.changed
}

// configure tells the home what it may keep and of the regions it is linked with.
func (o *office) configure() {
	if w := o.n.w; w.opt.Grace && o.n.state.Config().Revision == 0 {
		o.n.propose(&home.Configure{Revision: 1, Limits: w.limits()}, nil)
	}
	for _, l := range o.n.r.links {
		o.n.propose(&home.SetPeer{Peer: l.to.id, Retained: true, SpoolBytes: spoolBytes}, nil)
	}
	if !o.n.w.opt.Scenario {
		o.setShared()
	}
}

// setShared declares the group of workers global over all regions, and ranks them
// by chance.
func (o *office) setShared() {
	var all []home.ID
	for _, r := range o.n.w.regions {
		all = append(all, r.id)
	}
	o.n.propose(&home.SetShared{Groups: []home.GlobalGroup{{Group: workersGroup, Regions: all}}}, nil)
	o.rank()
}

// rank enters a ranking of peers, as if the network had changed.
func (o *office) rank() {
	rank := &home.Rank{}
	for _, l := range o.n.r.links {
		rank.Peers = append(rank.Peers, l.to.id)
	}
	rnd := o.n.w.rnd
	rnd.Shuffle(len(rank.Peers), func(i, j int) { rank.Peers[i], rank.Peers[j] = rank.Peers[j], rank.Peers[i] })
	if len(rank.Peers) > 0 {
		rank.Away = rnd.IntN(len(rank.Peers) + 1)
		o.n.propose(rank, nil)
	}
}
