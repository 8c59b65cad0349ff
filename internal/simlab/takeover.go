package simlab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/admin"
	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/takeover/agent"
)

// Takeover makes a lab's regions stand by for each other.
type Takeover struct {
	Standbys  map[string][]string // of each region's home, the first to take over first
	Witnesses []string            // voters beside the regions
	Mode      config.TakeoverMode
	Isolation config.Isolation
	DownAfter time.Duration // default 3 s
	WillGrace time.Duration
	Acks      []config.AckRule
}

// list is what all node files say of the regions.
func (t *Takeover) list(l *Lab) (list []config.Region) {
	for _, r := range l.regions {
		item := config.Region{Name: r.Name, Vote: true}
		for _, of := range l.opt.Regions {
			if slices.Contains(t.Standbys[of], r.Name) {
				item.StandbyOf = append(item.StandbyOf, of)
			}
		}
		list = append(list, item)
	}
	for _, w := range l.witnesses {
		list = append(list, config.Region{Name: w.Name, Witness: true, Dial: []string{"udp://" + w.addr.String()}})
	}
	// Standbys of a home take over in the order of the list, which all homes share.
	return list
}

// configure adds to a node's file what it says of takeovers.
func (t *Takeover) configure(l *Lab, c *config.Config) {
	c.Regions = t.list(l)
	k := &c.Takeover
	k.Mode, k.Isolation, k.WillGrace = t.Mode, t.Isolation, t.WillGrace
	if k.DownAfter = t.DownAfter; k.DownAfter == 0 {
		k.DownAfter = 3 * time.Second
	}
	k.Hold, k.Lease = k.DownAfter/10*9, k.DownAfter/10*8
	c.Ack = append(c.Ack, t.Acks...)
}

// hosts are the regions where a device of a region's home may be served.
func (l *Lab) hosts(region string) []*Region {
	list := []*Region{l.Region(region)}
	if t := l.opt.Takeover; t != nil {
		for _, name := range t.Standbys[region] {
			list = append(list, l.Region(name))
		}
	}
	return list
}

// places are where devices of a region's home look for it: there, at its first standby, and
// wherever it is served, as DNS would say.
func (l *Lab) places(region string) []*Region {
	list := l.hosts(region)
	n := min(2, len(list))
	for _, r := range list[n:] {
		if r.Serves(region) {
			list[n] = r
			n++
		}
	}
	return list[:n]
}

// Serves says that a region serves a home.
func (r *Region) Serves(id string) bool {
	return slices.ContainsFunc(r.nodes, func(n *Node) bool { a := n.App(); return a != nil && a.Hosts(home.ID(id)) })
}

// Serving are the regions that serve a home.
func (l *Lab) Serving(id string) (names []string) {
	for _, r := range l.regions {
		if r.Serves(id) {
			names = append(names, r.Name)
		}
	}
	return names
}

// deciding is the agent at work for a region; nil: none is.
func (r *Region) deciding() *agent.Agent {
	for _, n := range r.nodes {
		if a := n.App(); a != nil {
			if d := a.Decider(); d != nil && d.AtWork() {
				return d
			}
		}
	}
	return nil
}

// homeAt is how a region's agent sees a home.
func (l *Lab) homeAt(region, id string) agent.HomeStatus {
	if d := l.Region(region).deciding(); d != nil {
		for _, h := range d.Homes() {
			if string(h.Home) == id {
				return h
			}
		}
	}
	return agent.HomeStatus{}
}

// Order has a region's agent do something with a home, as an operator would.
func (r *Region) Order(act agent.Action, o agent.Order) error {
	d := r.deciding()
	if d == nil {
		return fmt.Errorf("%s %s at %s: nobody is at work there", act, o.Home, r.Name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := d.Begin(ctx, act, o)
	if err != nil {
		return fmt.Errorf("%s %s at %s: %w", act, o.Home, r.Name, err)
	}
	return nil
}

// FailOver orders a failover again and again until it is begun, or some region serves the home.
func (l *Lab) FailOver(to, id string, force bool, within time.Duration) {
	_ = l.Await("a failover to "+to, within, func() bool {
		if l.stopped() || l.Region(to).Serves(id) {
			return true
		}
		err := l.Region(to).Order(agent.Failover, agent.Order{Home: home.ID(id), Force: force, By: "lab"})
		if err != nil {
			l.log.note(to, err.Error())
			time.Sleep(time.Second)
		}
		return err == nil
	})
}

// reconcile does what an operator does after losses: all that was set aside goes to who
// serves now. It says whether nothing is left.
func (l *Lab) reconcile() (bool, error) {
	left, problem := 0, error(nil)
	for _, r := range l.regions {
		for _, id := range l.opt.Regions {
			n, err := r.aside(id)
			if err != nil {
				return false, err
			}
			if n == 0 {
				continue
			}
			left += n
			if err := r.approve(id); err != nil {
				problem = fmt.Errorf("reconcile %s at %s: %w", id, r.Name, err)
			} else if r.kept(id) {
				left -= n
			}
		}
	}
	return left == 0, problem
}

// aside is how many copies of a home are set aside at a region.
func (r *Region) aside(id string) (most int, err error) {
	for _, n := range r.nodes {
		a := n.App()
		if a == nil {
			continue
		}
		k, err := a.SetAside(home.ID(id))
		if err != nil {
			return 0, err
		}
		most = max(most, k)
	}
	return most, nil
}

// kept says that a copy that is set aside was taken in, and is kept for what the home owes.
func (r *Region) kept(id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return slices.ContainsFunc(r.nodes, func(n *Node) bool { return n.App() != nil && n.App().Kept(ctx, home.ID(id)) })
}

func (r *Region) approve(id string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, n := range r.nodes {
		a := n.App()
		if a == nil {
			continue
		}
		if err = a.Reconcile(ctx, admin.ReconcileOrder{Home: id, By: "lab"}); err == nil {
			return nil
		}
		if errors.Is(err, admin.ErrNotFound) { // as the answer says: hand the lead to a node that has one
			for _, o := range r.nodes {
				if other := o.App(); other != nil && other != a {
					if k, _ := other.SetAside(home.ID(id)); k > 0 {
						return errors.Join(err, r.Change("transfer", o))
					}
				}
			}
		}
		if e := (*admin.Elsewhere)(nil); !errors.As(err, &e) {
			return err
		}
	}
	return err
}

// together says that each home is served by one region and that the first of the others has
// all of it; the others are for when that one is away.
func (l *Lab) together() (err error) {
	for _, id := range l.opt.Regions {
		names := l.Serving(id)
		if len(names) != 1 {
			return fmt.Errorf("home %s is served by %v", id, names)
		}
		host := l.Region(names[0]).copyOf(id)
		hosts := l.hosts(id)
		for _, r := range hosts {
			if r.Name == names[0] {
				continue
			}
			if c := r.copyOf(id); c == nil || host == nil || c.Position() != host.Position() {
				return fmt.Errorf("the copy of %s at %s is not that of %s", id, r.Name, names[0])
			}
			break
		}
	}
	return nil
}

// copyOf is the copy of a home as the region's leader has it, or nil.
func (r *Region) copyOf(id string) *home.State {
	for _, n := range r.nodes {
		if a := n.App(); a != nil && (len(r.nodes) == 1 || a.Leads(home.ID(id))) {
			return a.Copy(home.ID(id))
		}
	}
	return nil
}

// CutOff cuts a region off from all others and the witnesses, but not from devices.
func (l *Lab) CutOff(region string) {
	for _, other := range l.Net.others(region) {
		l.Net.Cut(region, other)
	}
}

// Rejoin undoes all cuts of a region.
func (l *Lab) Rejoin(region string) {
	for _, other := range l.Net.others(region) {
		l.Net.Heal(region, other)
	}
}

// others are the places on the network but one.
func (n *Network) others(than string) (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.names {
		if name != than && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
