package sim

import (
	"time"

	"causeway/internal/home"
)

// fault does one bad thing and, most times, mends it later.
func (w *World) fault() {
	if w.calm {
		return
	}
	r := w.regions[w.rnd.IntN(len(w.regions))]
	n := r.nodes[w.rnd.IntN(len(r.nodes))]
	if l := r.leader(); l != nil && w.rnd.IntN(3) == 0 {
		n = l
	}
	switch w.rnd.IntN(16) {
	case 0, 1:
		n.crash()
		w.after(w.away(), n.start)
	case 2:
		w.blackout(r)
	case 3, 4:
		w.anybody().cut()
	case 5:
		w.anybody().vanish()
	case 6, 7:
		w.twins(r)
	case 8:
		w.isolate(n, w.away())
	case 9:
		o := r.nodes[w.rnd.IntN(len(r.nodes))]
		w.cutOff(n, o)
		w.after(w.away(), func() { w.mend(n, o) })
	case 10:
		n.harmed()
		if w.rnd.IntN(2) == 0 {
			n.slow = w.upTo(time.Second)
		} else {
			n.lag = w.upTo(1500 * time.Millisecond)
		}
		w.after(w.away(), func() { n.harmed(); n.slow, n.lag = 0, 0 })
	case 11:
		w.loseDisk(r, n)
	case 12:
		w.jump(r, n)
	case 13:
		w.reconfigure(n)
		if l := r.leader(); l != nil {
			l.office.rank()
		}
	case 14:
		w.reshape(r, n)
	default:
		if len(w.links) > 0 {
			l := w.links[w.rnd.IntN(len(w.links))]
			l.cut()
			w.after(w.upTo(time.Second), l.heal)
		}
	}
}

// away is how long something stays broken: most times too short for anybody to be
// declared dead.
func (w *World) away() time.Duration {
	if w.rnd.IntN(5) == 0 {
		return w.upTo(4 * time.Second)
	}
	return w.upTo(600 * time.Millisecond)
}

func (w *World) anybody() *device { return w.devices[w.rnd.IntN(len(w.devices))] }

// mayCrash crashes a node now and then, at the worst place.
func (w *World) mayCrash(n *node) bool {
	if w.calm || w.opt.Faults == 0 || w.rnd.IntN(2000) != 0 {
		return false
	}
	n.crash()
	w.after(w.away(), n.start)
	return true
}

// blackout crashes all nodes of a region at once.
func (w *World) blackout(r *region) {
	w.logf("%s loses power", r.id)
	for _, n := range r.nodes {
		n.crash()
		w.after(w.upTo(500*time.Millisecond), n.start)
	}
}

// twins gives one client id two connections, some of them while the node that has
// the first is behind, or while the leader goes.
func (w *World) twins(r *region) {
	for _, d := range w.devices {
		if d.r != r || d.role != twin {
			continue
		}
		if d.conn != nil && w.rnd.IntN(2) == 0 {
			w.deafen(d.conn.n)
		}
		w.after(w.upTo(100*time.Millisecond), func() {
			d.double()
			if l := r.leader(); l != nil && w.rnd.IntN(4) == 0 {
				w.after(w.upTo(10*time.Millisecond), func() { l.crash(); w.after(w.away(), l.start) })
			}
		})
	}
}

// deafen makes a node slow to learn what is committed; most times only the leader
// still reaches it.
func (w *World) deafen(n *node) {
	n.harmed()
	n.lag = w.upTo(300 * time.Millisecond)
	if w.rnd.IntN(2) == 0 {
		n.lag = lapse + w.upTo(lapse)
	}
	w.logf("%s is behind by %v", n.name, n.lag)
	w.after(3*time.Second, func() { n.harmed(); n.lag = 0 })
	if w.rnd.IntN(3) == 0 {
		return
	}
	for _, o := range n.r.nodes {
		if o != n.leader {
			w.cutOff(o, n)
			w.after(3*time.Second, func() { w.mend(o, n) })
		}
	}
}

// isolate cuts a node off from all others, in both directions or in one.
func (w *World) isolate(n *node, d time.Duration) {
	there, back := true, true
	switch w.rnd.IntN(4) {
	case 0:
		there = false
	case 1:
		back = false
	}
	w.logf("%s is cut off, there %v, back %v", n.name, there, back)
	for _, o := range n.r.nodes {
		if there {
			w.cutOff(n, o)
			w.after(d, func() { w.mend(n, o) })
		}
		if back {
			w.cutOff(o, n)
			w.after(d, func() { w.mend(o, n) })
		}
	}
}

// cutOff lets nothing through in one direction.
func (w *World) cutOff(from, to *node) {
	if from != to {
		from.harmed()
		to.harmed()
		w.cuts[[2]*node{from, to}]++
	}
}

func (w *World) mend(from, to *node) {
	if k := [2]*node{from, to}; w.cuts[k] > 0 {
		from.harmed()
		to.harmed()
		w.cuts[k]--
	}
}

// loseDisk takes a disk away, if the region can bear it.
func (w *World) loseDisk(r *region, n *node) {
	if len(r.nodes) < 3 || r.losing || !r.whole() {
		return
	}
	l := r.leader()
	if n == l || w.rnd.IntN(2) == 0 {
		n.wipe()
		w.after(w.upTo(500*time.Millisecond), n.start)
		return
	}
	// What was committed meanwhile is on the lost disk and on the leader's, who
	// crashes as well, but on no third.
	for _, o := range r.nodes {
		if o != n && o != l {
			w.cutOff(l, o)
			w.after(time.Second, func() { w.mend(l, o) })
		}
	}
	r.losing = true
	w.after(w.upTo(200*time.Millisecond), func() {
		r.losing = false
		l.crash()
		n.wipe()
		w.after(w.upTo(100*time.Millisecond), n.start)
		w.after(time.Second+w.away(), l.start)
	})
}

// jump sets a wall clock a month ahead or back; of one node in a region.
func (w *World) jump(r *region, n *node) {
	for _, o := range r.nodes {
		if o.wall != 0 || len(r.nodes) < 3 {
			return
		}
	}
	n.wall = 30 * 24 * time.Hour
	if w.rnd.IntN(3) == 0 {
		n.wall = -n.wall
	}
	w.logf("the clock of %s jumps by %v", n.name, n.wall)
}

// reconfigure changes limits and policies, to nothing that costs a message.
func (w *World) reconfigure(n *node) {
	w.logf("limits change")
	limits := w.limits()
	limits.QueueMessages = 10_000 + uint32(w.rnd.IntN(1000))
	n.propose(&home.Configure{Revision: w.order, Limits: limits,
		Acks: []home.AckPolicy{{Filter: "other/#", Policy: home.PolicyMemory}}, Residency: w.rules(n.r)}, nil)
}

// reshape changes who leads, or who belongs to the group.
func (w *World) reshape(r *region, n *node) {
	l := r.leader()
	if l == nil {
		return
	}
	if len(r.nodes) > r.voters && l != n && w.rnd.IntN(2) == 0 {
		if m, here := l.disk.log.group().find(n.server()); here && m.votes {
			l.office.leave(n)
		}
		return
	}
	l.office.transfer()
}

// relent ends the faults and mends what is broken.
func (w *World) relent() {
	w.calm = true
	w.logf("calm")
	clear(w.cuts)
	for _, n := range w.nodes() {
		n.harmed()
		n.slow, n.lag = 0, 0
		n.start()
	}
	for _, r := range w.regions {
		r.tidy()
	}
	for _, l := range w.links {
		l.heal()
	}
	for _, d := range w.devices {
		if d.role == mortal {
			d.cut()
		}
	}
}

// tidy is the operator, who asks again when a node that was to leave has not: the
// wish went with the leader.
func (r *region) tidy() {
	r.w.after(2*time.Second, r.tidy)
	l := r.leader()
	if l == nil || l.office.leaving != nil {
		return
	}
	if g := l.disk.log.group(); g.voters() > r.voters {
		for _, m := range g.members {
			if m.votes && m.node != l && m.server == m.node.server() {
				l.office.leave(m.node)
				return
			}
		}
	}
}
