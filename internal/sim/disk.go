package sim

import (
	"maps"

	"causeway/internal/home"
)

// disk is what survives a crash of a node.
type disk struct {
	uuid        int
	incarnation home.Incarnation
	term        uint64            // synced before it is acted upon
	home        map[string][]byte // the state as of flushed; nil: nothing is here yet
	flushed     uint64
	log         wal
}

// server is a node on a disk: who has a vote. [B1]
type server struct {
	node *node
	disk int
}

// group is who has a copy of the home.
type group struct{ members []holder }

type holder struct {
	server
	votes bool
}

func (g *group) voters() (n int) {
	for _, m := range g.members {
		if m.votes {
			n++
		}
	}
	return n
}

func (g *group) find(s server) (m holder, here bool) {
	for _, m := range g.members {
		if m.server == s {
			return m, true
		}
	}
	return holder{}, false
}

// record is a place of the log.
type record struct {
	term  uint64
	data  []byte // a record of the home; nil: it changes the group
	group *group
}

// wal is a node's log. What is above synced is lost in a crash, in part or all.
type wal struct {
	base     uint64 // the log begins behind it
	baseTerm uint64
	recs     []record
	synced   uint64
	cuts     int // how often the end was cut off
	groups   []grouped
}

// grouped is the group as a place of the log made it.
type grouped struct {
	at    uint64
	group *group
}

// begin empties the log: what it held is in a state that was brought.
func (l *wal) begin(at, term uint64, g *group) {
	*l = wal{base: at, baseTerm: term, synced: at, cuts: l.cuts + 1, groups: []grouped{{at, g}}}
}

func (l *wal) last() uint64        { return l.base + uint64(len(l.recs)) }
func (l *wal) at(i uint64) *record { return &l.recs[i-l.base-1] }

func (l *wal) term(i uint64) uint64 {
	if i == l.base {
		return l.baseTerm
	}
	return l.at(i).term
}

// group is the newest one that the log holds, committed or not.
func (l *wal) group() *group { return l.groups[len(l.groups)-1].group }

// groupAt is the group as of a place.
func (l *wal) groupAt(i uint64) (g *group) {
	for _, x := range l.groups {
		if x.at <= i {
			g = x.group
		}
	}
	return g
}

func (l *wal) append(r record) {
	l.recs = append(l.recs, r)
	if r.group != nil {
		l.groups = append(l.groups, grouped{l.last(), r.group})
	}
}

// cutAfter drops everything behind a place.
func (l *wal) cutAfter(i uint64) {
	if i >= l.last() {
		return
	}
	l.recs = l.recs[:i-l.base]
	l.synced = min(l.synced, i)
	l.cuts++
	for len(l.groups) > 1 && l.groups[len(l.groups)-1].at > i {
		l.groups = l.groups[:len(l.groups)-1]
	}
}

// dropThrough drops the beginning, which the state on the disk covers. [B2]
func (l *wal) dropThrough(i uint64) {
	if i <= l.base {
		return
	}
	l.baseTerm, l.recs, l.base = l.term(i), append([]record(nil), l.recs[i-l.base:]...), i
	for len(l.groups) > 1 && l.groups[1].at <= i {
		l.groups = l.groups[1:]
	}
}

// behind says that a log is less complete than another, whose last place is this.
func (l *wal) behind(term, last uint64) bool {
	mine := l.term(l.last())
	return mine < term || mine == term && l.last() < last
}

// parcel is a state on its way to a node that has none, or one that is too old.
type parcel struct {
	home        map[string][]byte
	at, term    uint64
	group       *group
	incarnation home.Incarnation // the last run of the node that the home knows
}

// parcel makes a checkpoint of the state: flushed, then copied.
func (n *node) parcel(to *node) parcel {
	n.flush()
	i, _ := n.state.Incarnation(to.name)
	return parcel{home: maps.Clone(n.disk.home), at: n.disk.flushed, term: n.disk.log.term(n.disk.flushed),
		group: n.disk.log.groupAt(n.disk.flushed), incarnation: i}
}

// install takes a parcel for what the disk held. The term stays: it may have
// voted in it.
func (d *disk) install(p parcel) {
	d.home, d.flushed = p.home, p.at
	d.log.begin(p.at, p.term, p.group)
	if d.incarnation == 0 {
		d.incarnation = p.incarnation + lostRuns
	}
	d.incarnation = max(d.incarnation, p.incarnation)
}

// lostRuns is more runs than a node can have had on a disk that it lost without
// the home's having heard of them; what they proposed may still be on its way.
const lostRuns = 1 << 20
