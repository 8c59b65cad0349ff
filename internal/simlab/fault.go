package simlab

import (
	"errors"
	"fmt"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
)

// fault is one bad thing, which undoes itself.
type fault struct {
	at   time.Duration
	name string
	do   func(*Lab)
}

// drawn is what the dice gave for a fault: all of a fault's numbers are the
// seed's.
type drawn struct {
	a, b   string // regions
	node   int    // of a
	other  int    // another node of a, if it has several
	leader bool   // whoever leads a, rather than node
	down   time.Duration
	long   time.Duration
	n      int
	seed   uint64
}

// who is the node that is meant, in words.
func (x *drawn) who() string {
	if x.leader {
		return x.a + "'s leader"
	}
	return fmt.Sprintf("%s-%d", x.a, x.node+1)
}

// pick is the node that is meant, now.
func (x *drawn) pick(l *Lab) *Node {
	r := l.Region(x.a)
	if n := r.Leader(); x.leader && n != nil {
		return n
	}
	return r.nodes[x.node]
}

// draw makes one fault.
func (s *schedule) draw(d dice) fault {
	names := s.options.Regions
	i := d.IntN(len(names))
	nodes := s.options.Nodes[i]
	x := &drawn{a: names[i], b: names[(i+1)%len(names)], node: d.IntN(nodes), leader: nodes > 1 && d.IntN(3) == 0,
		down: d.upTo(3 * time.Second), long: d.upTo(12 * time.Second), n: 1 + d.IntN(60), seed: d.Uint64()}
	x.other = (x.node + 1 + d.IntN(max(nodes-1, 1))) % nodes
	f := fault{at: d.upTo(s.lasts)}
	switch {
	case nodes > 1 && d.IntN(2) == 0:
		f.name, f.do = regionFault(x, d.IntN(11))
	case len(names) > 1 && d.IntN(3) == 0:
		f.name, f.do = s.linkFault(x, d.IntN(5))
	default:
		f.name, f.do = nodeFault(x, d.IntN(9))
	}
	return f
}

// nodeFault is one of a node, its disk or its devices.
func nodeFault(x *drawn, kind int) (name string, do func(*Lab)) {
	switch kind {
	case 0, 1, 2:
		return fmt.Sprintf("crash %s at its disk operation %d, for %s", x.who(), x.n, x.down), func(l *Lab) { l.crashAt(x.pick(l), x.n, x.down) }
	case 3:
		return fmt.Sprintf("crash %s, a part of what was not synced survives, for %s", x.who(), x.down), func(l *Lab) {
			n := x.pick(l)
			n.CrashKeeping(x.seed, x.n)
			l.after(x.down, func() { l.start(n) })
		}
	case 4:
		return fmt.Sprintf("the disk of %s fails one sync, or is full for %s", x.who(), x.down/4), func(l *Lab) { l.spoil(x.pick(l), x.n%2 == 0, x.down/4) }
	case 5:
		return fmt.Sprintf("all devices lose their connection, every second stays away for %s", x.down), func(l *Lab) { l.shake(x.down) }
	case 6:
		return fmt.Sprintf("the devices of %s go away over another network", x.a), func(l *Lab) { l.roam(x.a) }
	}
	return fmt.Sprintf("%d times, each device loses an acknowledgement with its connection", x.n/10+1), func(l *Lab) { l.loseAcks(x.n/10 + 1) }
}

// linkFault is one between regions.
func (s *schedule) linkFault(x *drawn, kind int) (name string, do func(*Lab)) {
	switch kind {
	case 0:
		return fmt.Sprintf("cut %s->%s for %s", x.a, x.b, x.long), func(l *Lab) {
			l.Net.CutOneWay(x.a, x.b)
			l.after(x.long, func() { l.Net.Heal(x.a, x.b) })
		}
	case 1:
		return fmt.Sprintf("lose every third packet for %s", x.down), func(l *Lab) {
			l.Net.Disturb(0.3, 0.1)
			l.after(x.down, func() { l.Net.Disturb(s.loss, s.twice) })
		}
	case 2:
		return fmt.Sprintf("%s pauses its link to %s for %s", x.a, x.b, x.long), func(l *Lab) {
			if r := x.pick(l).Replica(); r != nil { // what it proposes may be lost with it
				_ = r.Propose(&home.PausePeer{Peer: home.ID(x.b), Paused: true, For: x.long}, func(home.Outcome, error) {})
			}
		}
	}
	return fmt.Sprintf("cut %s-%s for %s", x.a, x.b, x.long), func(l *Lab) {
		l.Net.Cut(x.a, x.b)
		l.after(x.long, func() { l.Net.Heal(x.a, x.b) })
	}
}

// regionFault is one of a region of several nodes.
func regionFault(x *drawn, kind int) (name string, do func(*Lab)) {
	// undo ends what was done to the network between the nodes.
	undo := func(l *Lab, n *Node, after time.Duration) { l.after(after, func() { n.region.rejoin(n) }) }
	switch kind {
	case 0:
		return fmt.Sprintf("the machine of %s has no power for %s", x.who(), x.down), func(l *Lab) {
			n := x.pick(l)
			n.Vanish()
			l.after(x.down, func() { l.start(n) })
		}
	case 1, 2:
		return fmt.Sprintf("%s loses its disk, back in %s", x.who(), x.down), func(l *Lab) {
			n := x.pick(l)
			if n.region.Wipe(n) {
				l.after(x.down, func() { l.start(n) })
			}
		}
	case 3, 4:
		return fmt.Sprintf("%s is cut off from the others for %s", x.who(), x.long), func(l *Lab) {
			n := x.pick(l)
			n.region.Cut(n)
			undo(l, n, x.long)
		}
	case 5:
		return fmt.Sprintf("%s-%d->%s is cut for %s", x.a, x.other+1, x.who(), x.long), func(l *Lab) {
			n := x.pick(l)
			if o := n.region.nodes[x.other]; o != n {
				n.region.CutOneWay(o, n)
				undo(l, n, x.long)
			}
		}
	case 6:
		each := x.down / 50
		return fmt.Sprintf("each write and sync of the log of %s takes %s, for %s", x.who(), each, x.long), func(l *Lab) {
			d := x.pick(l).Disk()
			d.Slow(each)
			l.after(x.long, d.Heal)
		}
	case 7:
		return fmt.Sprintf("the log of %s hangs for %s", x.who(), x.down), func(l *Lab) {
			d := x.pick(l).Disk()
			d.Hang()
			l.after(x.down, d.Heal)
		}
	case 8:
		return fmt.Sprintf("the leadership of %s goes to %s-%d", x.a, x.a, x.other+1), func(l *Lab) {
			r := l.Region(x.a)
			if err := r.Change("transfer", r.nodes[x.other]); err != nil {
				l.log.note(x.a, err.Error())
			}
		}
	case 9:
		return fmt.Sprintf("%s is stopped, and started after %s with another configuration", x.who(), x.down), func(l *Lab) {
			n := x.pick(l)
			_ = n.Stop()
			n.Configure(func(c *config.Config) { c.Limits.Subscriptions += x.n })
			l.after(x.down, func() { l.start(n) })
		}
	}
	return fmt.Sprintf("all nodes of %s lose power, the first is back in %s", x.a, x.down), func(l *Lab) {
		r := l.Region(x.a)
		r.Crash()
		for i, n := range r.nodes {
			l.after(x.down+time.Duration(i)*x.down, func() { l.start(n) })
		}
	}
}

// crashAt crashes a node at its n-th disk operation, or after a second when it
// does not write so much.
func (l *Lab) crashAt(n *Node, op int, down time.Duration) {
	crashed := n.CrashAtOp(op)
	l.lives.Go(func() {
		select {
		case <-crashed:
		case <-time.After(time.Second):
			n.Crash()
		}
		time.Sleep(down)
		l.start(n)
	})
}

var errDisk = errors.New("input/output error")

func (l *Lab) spoil(n *Node, full bool, lasts time.Duration) {
	disk := n.Disk()
	if full {
		disk.FillUp(0)
	} else {
		disk.FailSyncOnce(errDisk)
	}
	l.after(lasts, disk.Heal)
}

func (l *Lab) shake(away time.Duration) {
	for i, d := range l.all() {
		if i%2 == 0 {
			d.Cut()
			continue
		}
		d.Offline()
		l.after(away, d.Online)
	}
}

// roam makes a region's devices leave their connections behind.
func (l *Lab) roam(region string) {
	for _, d := range l.all() {
		if d.region.Name == region {
			d.Roam()
		}
	}
}

// loseAcks makes every device lose acknowledgements, one after the other.
func (l *Lab) loseAcks(times int) {
	for i := range times {
		l.after(time.Duration(i)*200*time.Millisecond, func() {
			for _, d := range l.all() {
				d.LoseNext()
			}
		})
	}
}
