package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// What a leader does beside making records: it lets nodes in, gives and takes
// votes, one change at a time and never to fewer voters than configured [B3], and
// declares nodes dead that do not ask what is committed any more [B5].

const (
	deadAfter    = 3 * time.Second        // for a node that cannot be reached
	refusedAfter = 400 * time.Millisecond // for one whose process is gone
	redeclare    = 5 * time.Second
	caughtUp     = 64
	heardLately  = time.Second
)

// carryTime carries home time on when something is due and nothing else does.
func (o *office) carryTime() {
	n := o.n
	if at, due := n.state.NextTimer(); due && at <= n.clock.now() && n.w.now-o.ticked >= time.Second {
		o.ticked = n.w.now
		n.propose(&home.Tick{}, nil)
	}
}

func (o *office) declareDead() {
	n := o.n
	for _, x := range n.state.Nodes() {
		to := n.r.named(x.Owner.Node)
		if x.Down || to == nil || to == n {
			continue
		}
		quiet := n.w.now - max(o.silence[x.Owner.Node], o.since)
		refused := !to.up && n.w.reaches(n, to) && n.w.reaches(to, n)
		switch at, told := o.declared[x.Owner]; {
		case n.w.opt.Plant == EarlyDown && o.silence[x.Owner.Node] == 0: // whom it has not heard
		case quiet < refusedAfter, quiet < deadAfter && !refused:
			continue
		case told && n.w.now-at < redeclare:
			continue
		}
		o.declared[x.Owner] = n.w.now
		n.w.say("%s declares %s dead", n.name, x.Owner)
		n.propose(&home.NodeDown{Owner: x.Owner}, nil)
	}
}

// tend makes at most one change of the group.
func (o *office) tend() {
	if o.n.committed < o.changed {
		return
	}
	g, last := o.n.disk.log.group(), o.n.disk.log.last()
	want := o.n.r.voters
	lately := func(m holder) bool { return o.n.w.now-o.heard(m) < heardLately }
	voters := g.voters()
	for _, m := range g.members {
		c := o.copy(m.server)
		if m.votes || m.node == o.leaving || c.match+caughtUp < last || !lately(m) {
			continue
		}
		replaces := slices.ContainsFunc(g.members, func(x holder) bool { return x.node == m.node && x.disk != m.disk && x.votes })
		if voters < want || (replaces || o.leaving != nil) && voters <= want {
			o.n.w.say("%s gives %s a vote, on disk %d", o.n.name, m.node.name, m.disk)
			o.change(g.with(holder{m.server, true}))
			return
		}
	}
	for i, m := range g.members {
		newer := slices.ContainsFunc(g.members[i+1:], func(x holder) bool {
			return x.node == m.node && o.heard(x) > o.heard(m) && (x.votes || !m.votes)
		})
		gone := newer && !lately(m) || m.node == o.leaving && m.node != o.n
		if gone && (!m.votes || voters > want) {
			o.n.w.say("%s takes %s on disk %d out", o.n.name, m.node.name, m.disk)
			if m.node == o.leaving {
				o.leaving = nil
			}
			o.change(g.without(m.server))
			return
		}
	}
}

// heard is when a copy answered last.
func (o *office) heard(m holder) time.Duration {
	if m.server == o.n.server() {
		return o.n.w.now
	}
	return o.copy(m.server).answered
}

// with adds a member, or changes one, which keeps its place.
func (g *group) with(m holder) *group {
	next := &group{members: slices.Clone(g.members)}
	if i := slices.IndexFunc(next.members, func(x holder) bool { return x.server == m.server }); i >= 0 {
		next.members[i] = m
		return next
	}
	next.members = append(next.members, m)
	return next
}

func (g *group) without(s server) *group {
	next := &group{}
	for _, m := range g.members {
		if m.server != s {
			next.members = append(next.members, m)
		}
	}
	return next
}

// admit lets a copy in as one without a vote; the rest is tend's. It returns false
// while that is not in the log. One that belongs to the group need not wait until
// the leader has committed anything: it may be what that takes.
func (o *office) admit(s server) bool {
	g := o.n.disk.log.group()
	if _, here := g.find(s); here {
		return true
	}
	if o.entered && o.n.committed >= o.changed {
		o.n.w.say("%s lets %s in, on disk %d", o.n.name, s.node.name, s.disk)
		o.change(g.with(holder{s, false}))
	}
	return false
}

const seatEvery = 100 * time.Millisecond

// seat brings a node without a state, or with one that is too old, into the group:
// the leader lets it in and gives it a checkpoint. Until then it answers nobody,
// and it takes a number for its run that the home has not seen.
func (n *node) seat() {
	life := n.life
	later := func(d time.Duration, do func()) {
		n.w.after(d, func() {
			if n.life == life && !n.up {
				do()
			}
		})
	}
	l := n.r.elected()
	if l != nil && (!n.w.reaches(n, l) || !n.w.reaches(l, n)) {
		l = nil
	}
	if l == nil && n.disk.home != nil {
		n.fetch = false // it may be needed to elect one
		n.start()
		return
	}
	if l == nil || !l.office.admit(n.server()) {
		later(seatEvery, n.seat)
		return
	}
	p, theirs := l.parcel(n), l.life
	later(n.w.upTo(150*time.Millisecond), func() {
		if l.life != theirs || !n.w.reaches(l, n) {
			n.seat()
			return
		}
		n.disk.install(p)
		n.fetch = false
		n.start()
	})
}

// seek asks to be let in again when the node was taken out while it was away.
func (n *node) seek() {
	if n.w.now-n.heard < heardLately {
		return
	}
	if l := n.r.leader(); l != nil && n.w.reaches(n, l) && n.w.reaches(l, n) && l.office != nil {
		l.office.admit(n.server())
	}
}

// leave takes a node out of the group, once another has its vote.
func (o *office) leave(n *node) {
	o.n.w.logf("%s is to leave", n.name)
	o.leaving = n
}
