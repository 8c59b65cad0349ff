package sim

import (
	"slices"
	"time"
)

// stand elects the node, if a majority of the voters can be asked and would have
// it: they hear no leader, their logs are no more complete, and their disks are
// those that are members. It is one step: what raft's requests could do in between
// is that somebody else is elected, and then this one is not. A vote is a term on
// the disk: whoever has given it takes nothing from a leader before. With a
// deputy's blessing nobody minds the leader, who hands over.
func (n *node) stand(blessed *node) {
	g := n.disk.log.group()
	me, here := g.find(n.server())
	if !here || !me.votes {
		return
	}
	given, term := []*node{n}, n.disk.term
	for _, m := range g.members {
		v := m.node
		if !m.votes || v == n || !v.up || v.disk.uuid != m.disk || !n.w.reaches(n, v) || !n.w.reaches(v, n) {
			continue
		}
		if blessed == nil && (v.office != nil || n.w.now-v.heard < followable) || v.slow > hungFor {
			continue
		}
		if n.disk.log.behind(v.disk.log.term(v.disk.log.last()), v.disk.log.last()) {
			continue
		}
		given = append(given, v)
		term = max(term, v.disk.term)
	}
	if len(given) <= g.voters()/2 {
		return
	}
	for _, v := range given {
		v.resign()
		v.disk.term = term + 1
		v.heard = n.w.now
	}
	n.lead(term + 1)
}

// transfer hands the leadership to a copy that has everything.
func (o *office) transfer() {
	for _, m := range o.n.disk.log.group().members {
		if m.votes && m.node != o.n && m.node.up && o.copy(m.server).match == o.n.disk.log.last() {
			o.n.w.say("%s hands over to %s", o.n.name, m.node.name)
			m.node.stand(o.n)
			return
		}
	}
}

// held is the time up to which a majority of the voters followed this leader.
func (o *office) held() time.Duration {
	var times []time.Duration
	for _, m := range o.n.disk.log.group().members {
		if m.votes {
			times = append(times, o.heard(m))
		}
	}
	slices.Sort(times)
	return times[(len(times)-1)/2]
}

// tick keeps the office up.
func (o *office) tick() {
	now := o.n.w.now
	if held := max(o.held(), o.since); now-held > leaseFor {
		o.n.resign()
		return
	}
	o.beat()
	if o.ticks++; o.ticks%2 == 0 && o.entered && o.n.office == o {
		o.declareDead()
		o.carryTime()
		o.tend()
	}
}
