package simlab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"causeway/internal/cluster/wires"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/store"
)

// Between the nodes of a region.
const (
	wireOneWay = 200 * time.Microsecond
	wireJitter = 300 * time.Microsecond
)

// Region is the core nodes of a region, the network between them and, if they
// are several, the load balancer in front. Its methods may be called from any
// goroutine.
type Region struct {
	// fixed after New
	Name     string
	lab      *Lab
	wires    *wires.Net
	nodes    []*Node
	balancer *balancer // nil with one node
	voters   int

	wiping sync.Mutex // one disk at a time
}

// Nodes are all of them.
func (r *Region) Nodes() []*Node { return r.nodes }

// Leader is the node that leads the home, or nil.
func (r *Region) Leader() *Node {
	i := slices.IndexFunc(r.nodes, (*Node).Leads)
	if i < 0 {
		return nil
	}
	return r.nodes[i]
}

// Others are the nodes of the region but one.
func (r *Region) Others(than *Node) []*Node {
	return slices.DeleteFunc(slices.Clone(r.nodes), func(n *Node) bool { return n == than })
}

// State is the home as its leader has it, or nil.
func (r *Region) State() *home.State {
	if n := r.Leader(); n != nil {
		if c := n.Replica(); c != nil {
			return c.State()
		}
	}
	return nil
}

// Ready says whether all nodes serve devices, and if not, which does not and why.
func (r *Region) Ready() (bool, string) {
	for _, n := range r.nodes {
		if ok, why := n.Ready(); !ok {
			return false, n.Name + ": " + why
		}
	}
	return true, ""
}

// Start starts all nodes that are down.
func (r *Region) Start() error {
	for _, n := range r.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Crash is the loss of power of all nodes at once.
func (r *Region) Crash() {
	for _, n := range r.nodes {
		n.Crash()
	}
}

// Cut cuts a node off from the others, both ways; devices and balancer reach it.
func (r *Region) Cut(n *Node) {
	for _, o := range r.Others(n) {
		r.wires.Cut(n.Name, o.Name)
	}
}

// CutOneWay ends what goes from one node to another.
func (r *Region) CutOneWay(from, to *Node) { r.wires.CutOneWay(from.Name, to.Name) }

// Heal undoes the cuts between nodes, but not those of machines without power.
func (r *Region) Heal() {
	for _, n := range r.nodes {
		r.rejoin(n)
	}
}

// rejoin undoes the cuts of one node.
func (r *Region) rejoin(n *Node) {
	if n.silent.Load() {
		return
	}
	for _, o := range r.Others(n) {
		if !o.silent.Load() {
			r.wires.Heal(n.Name, o.Name)
		}
	}
}

// Change does what an operator asks of the group, at whichever node: "leave",
// "force-leave" or "transfer".
func (r *Region) Change(act string, node *Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := fmt.Errorf("%s %s: no node of %s has a home", act, node.Name, r.Name)
	for _, n := range r.nodes {
		if c := n.Replica(); c != nil {
			if err = c.Change(ctx, act, home.NodeID(node.Name), false); err == nil {
				return nil
			}
		}
	}
	return err
}

// Wipe crashes a node and takes its disk, unless the region has not got over the
// last loss of a disk. It reports whether it did.
func (r *Region) Wipe(n *Node) bool {
	r.wiping.Lock()
	defer r.wiping.Unlock()
	if !r.whole() {
		return false
	}
	n.Wipe()
	return true
}

// whole says that every node is there and has a vote under the disk it has, and
// nobody else has.
func (r *Region) whole() bool {
	l := r.Leader()
	if l == nil {
		return false
	}
	c := l.Replica()
	if c == nil {
		return false
	}
	_, servers, err := c.Group(context.Background())
	if err != nil {
		return false
	}
	votes := 0
	for _, s := range servers {
		if s.Voter {
			votes++
		}
	}
	return votes == r.voters && len(servers) == len(r.nodes) && !slices.ContainsFunc(r.nodes, func(n *Node) bool { return !n.holds(servers) })
}

// holds says that one of the servers is this node with the disk it has.
func (n *Node) holds(servers []replica.Server) bool {
	a := n.App()
	return a != nil && slices.ContainsFunc(servers, func(s replica.Server) bool { return string(s.Node) == n.Name && s.Disk == a.Disk() })
}

// same says that all copies of the home are equal. The error is what can never
// be: two that applied the same and differ.
func (r *Region) same() (bool, error) {
	first := r.nodes[0].Replica()
	if first == nil {
		return false, nil
	}
	at, want := first.Applied(), first.State().Digest()
	for _, n := range r.nodes[1:] {
		c := n.Replica()
		if c == nil || c.Applied() != at {
			return false, nil
		}
		got := c.State().Digest()
		if c.Applied() != at || first.Applied() != at {
			return false, nil
		}
		if got != want {
			return false, fmt.Errorf("%s and %s applied the same %d entries and differ", r.nodes[0].Name, n.Name, at)
		}
	}
	return true, nil
}

// newNode makes a node that does not run yet.
func (r *Region) newNode(ca *authority, addr *net.UDPAddr) (err error) {
	n := &Node{Name: fmt.Sprintf("%s-%d", r.Name, len(r.nodes)+1), lab: r.lab, region: r, addr: addr, disk: newDisk(store.NewCrashFS()), wall: newWall()}
	n.port = r.wires.Node(n.Name)
	if n.id, err = ca.issue(r.Name, n.Name); err != nil {
		return err
	}
	r.nodes = append(r.nodes, n)
	return nil
}
