package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/admin"
	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// Cluster describes the nodes that keep the home.
func (n node) Cluster() (admin.Cluster, error) {
	a := n.a
	c := admin.Cluster{Home: a.cfg.Region, Voters: a.cfg.Cluster.Voters}
	c.Quorum.Need = c.Voters/2 + 1
	nodes := map[string]*admin.ClusterNode{}
	at := func(name string) *admin.ClusterNode {
		if nodes[name] == nil {
			nodes[name] = &admin.ClusterNode{Node: name, State: "none"}
		}
		return nodes[name]
	}
	for _, m := range a.members() {
		x := at(m.Node)
		x.Role, x.Alive, x.Disk, x.Incarnation, x.Software, x.Address = string(m.Role), m.Alive, m.Disk, m.Incarnation, m.Software, m.Streams
	}
	r := a.home.current()
	if r == nil {
		c.Trouble, c.Next = a.home.reason(), "wait, or start the core nodes that are missing"
		c.Nodes = sortedNodes(nodes)
		return c, nil
	}
	err := n.group(&c, r, at)
	c.Nodes = sortedNodes(nodes)
	if c.Trouble, c.Next = trouble(&c, r); err != nil && c.Leader != "" {
		c.Trouble, c.Next = "no core says who votes: "+err.Error(), "ask a core node"
	}
	return c, nil
}

// groupWithin is how long a replicant waits for a core to say who votes.
const groupWithin = 2 * time.Second

// group adds what raft and the home know.
func (n node) group(c *admin.Cluster, r *replica.Replica, at func(string) *admin.ClusterNode) error {
	leader, _ := r.Leader()
	c.Following = string(r.Stats().Following)
	c.Leader, c.Level, c.Applied = string(leader), r.State().Level(), r.Applied()
	var servers []replica.Server
	ctx, cancel := context.WithTimeout(context.Background(), groupWithin)
	defer cancel()
	var err error
	c.Term, servers, err = r.Group(ctx)
	for _, s := range servers {
		x := at(string(s.Node))
		if x.Disk != "" && s.Disk != x.Disk {
			continue // the place of a disk that is gone
		}
		x.State, x.Lag = "learner", s.Lag
		if s.Voter {
			x.State = "voter"
			if x.Alive || n.a.cluster == nil {
				c.Quorum.Have++
			}
		}
		if s.Node == leader {
			x.State = "leader"
		}
	}
	for _, o := range r.State().Nodes() {
		if o.Down || !r.Hosting() { // then they are of the region that serves it
			continue
		}
		x := at(string(o.Owner.Node))
		x.Sessions = o.Attached
		if x.Role == string(cluster.Replicant) && x.State == "none" {
			x.State = "follows"
		}
	}
	return err
}

// trouble is the one thing wrong, and what helps.
func trouble(c *admin.Cluster, r *replica.Replica) (what, next string) {
	if ok, why := r.Ready(); !ok {
		return why, "look at the nodes that are not seen, and the network between them"
	}
	for _, x := range c.Nodes {
		if x.State == "voter" && !x.Alive && c.Quorum.Have < c.Voters {
			return fmt.Sprintf("%d of %d votes are here: node %s is not seen; %s", c.Quorum.Have, c.Voters, x.Node, spare(c)),
				fmt.Sprintf("start %s, or if it is gone for good: causeway ctl cluster force-leave %s", x.Node, x.Node)
		}
	}
	if c.Quorum.Have < c.Voters {
		return fmt.Sprintf("%d of %d votes are here; %s", c.Quorum.Have, c.Voters, spare(c)), "start another core node, or wait until it has caught up"
	}
	return "", ""
}

func spare(c *admin.Cluster) string {
	switch left := c.Quorum.Have - c.Quorum.Need; {
	case left <= 0:
		return "the loss of one more stops the home"
	case left == 1:
		return "one more may be lost"
	default:
		return fmt.Sprintf("%d more may be lost", left)
	}
}

func sortedNodes(nodes map[string]*admin.ClusterNode) (list []admin.ClusterNode) {
	for _, x := range nodes {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b admin.ClusterNode) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

func (a *App) members() []cluster.Member {
	if a.cluster == nil {
		return []cluster.Member{{Node: a.cfg.Node, Role: cluster.Core, Alive: true, Software: a.opts.Build.Version}}
	}
	return a.cluster.Members()
}

func (n node) member(name string) (m cluster.Member) {
	for _, m = range n.a.members() {
		if m.Node == name {
			return m
		}
	}
	return cluster.Member{}
}

// ChangeCluster does what an operator asks of the nodes of the region.
func (n node) ChangeCluster(ctx context.Context, act admin.ClusterAct, target string, dryRun bool) ([]string, error) {
	a := n.a
	if a.cluster == nil {
		return nil, admin.Refuse("cluster", "this node is its region's only one", "add a cluster section to its configuration")
	}
	if act == admin.ClusterJoin {
		if dryRun {
			return []string{"the node at " + target + " is contacted, and those it knows"}, nil
		}
		k, err := a.cluster.JoinNow(ctx, []string{target})
		if err != nil {
			return nil, admin.Refuse("reachable", err.Error(), "check the address, the gossip key and the firewall")
		}
		return []string{fmt.Sprintf("%d nodes answered", k)}, nil
	}
	r := a.home.current()
	if r == nil {
		return nil, fmt.Errorf("%w: %s", admin.ErrUnavailable, a.home.reason())
	}
	var no *replica.RefusedError
	if err := r.Change(ctx, string(act), home.NodeID(target), dryRun); errors.As(err, &no) {
		refused := &admin.Refused{}
		for _, why := range no.Reasons {
			refused.Reasons = append(refused.Reasons, admin.Refusal{Condition: string(act), Reason: why, Fix: "see causeway ctl cluster status"})
		}
		return nil, refused
	} else if err != nil {
		return nil, err
	}
	switch act {
	case admin.ClusterTransfer:
		return []string{"another node leads the home; its devices notice nothing"}, nil
	case admin.ClusterLeave:
		if m := n.member(target); m.Alive {
			return []string{"node " + target + " has no vote any more; while it runs it is let in again without one",
				"stop it, then do this again and remove its data directory"}, nil
		}
		return []string{"node " + target + " holds no copy of the home any more; remove its data directory"}, nil
	}
	return []string{"node " + target + " has no place in the home any more; if it comes back it is let in as another"}, nil
}
