package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// The log of a home, as raft keeps it, with less ado: a leader appends to its own
// log and sends what a follower lacks, one batch at a time; a place is committed
// when a majority of the voters' disks have synced it. Elections are one step, but
// ask the same of voters and disks (vote.go).

const (
	leaseFor   = 400 * time.Millisecond // without a majority's answers a leader resigns
	hungFor    = 300 * time.Millisecond // a leader whose disk hangs falls silent
	busyFor    = 300 * time.Millisecond // then a batch counts as lost
	batchMax   = 64                     // records
	followable = 200 * time.Millisecond // who heard a leader as lately does not vote
)

// office is one leadership of a node; it ends with it.
type office struct {
	n       *node
	term    uint64
	since   time.Duration
	first   uint64 // its own first record
	entered bool   // that is applied here: so is all that was committed before
	copies  map[server]*copied

	gathered  [][]byte // entries for the next record
	gathering bool

	silence  map[home.NodeID]time.Duration // when each node asked last
	declared map[home.Owner]time.Duration
	changed  uint64 // where the group was changed last
	leaving  *node  // whom an operator takes out
	ticks    int
	ticked   time.Duration // when it last carried home time on
}

// copied is what the leader knows of a copy.
type copied struct {
	next     uint64 // to be sent next
	match    uint64 // synced there
	answered time.Duration
	busy     time.Duration // until then a batch is under way
}

// batch is what a leader says to a copy.
type batch struct {
	from    *node
	to      server
	term    uint64
	at      time.Duration
	beat    bool   // says only that the leader is there
	prev    uint64 // what recs follow
	prevT   uint64
	recs    []record
	commits uint64
}

// ack waits for the disk.
type ack struct {
	b  batch
	to uint64
}

func (n *node) lead(term uint64) {
	n.w.say("%s leads in term %d", n.name, term)
	o := &office{n: n, term: term, since: n.w.now, copies: map[server]*copied{}, silence: map[home.NodeID]time.Duration{},
		declared: map[home.Owner]time.Duration{}}
	n.office, n.leader = o, n
	if n.clock.resumes() {
		n.clock.resume()
	}
	o.record(nil) // its own first word
	o.first = n.disk.log.last()
	n.queue.leaderChanged(n)
	o.beat()
}

// resign ends the office; what it gathered is lost with it.
func (n *node) resign() {
	if n.office != nil {
		n.w.say("%s leads no more", n.name)
		n.office, n.leader = nil, nil
	}
}

// enter begins the office's work once all that was committed before is applied.
func (o *office) enter() {
	if o.entered || o.n.applied < o.first {
		return
	}
	o.entered = true
	o.configure()
	o.n.ask()
}

// take gathers an entry for the next record.
func (o *office) take(entry []byte) {
	o.gathered = append(o.gathered, entry)
	if o.gathering {
		return
	}
	o.gathering = true
	o.n.soon(o.n.w.upTo(2*time.Millisecond), func() {
		if o.n.office == o {
			o.gathering = false
			entries := o.gathered
			o.gathered = nil
			o.record(entries)
		}
	})
}

func (o *office) record(entries [][]byte) {
	o.append(record{term: o.term, data: home.AppendRecord(nil, o.n.r.id, o.n.clock.now(), entries)})
}

// change puts another group into the log. It counts from there on, but the next
// change waits until this one is committed.
func (o *office) change(g *group) {
	o.append(record{term: o.term, group: g})
	o.changed = o.n.disk.log.last()
}

func (o *office) append(r record) {
	o.n.disk.log.append(r)
	o.n.sync()
	for _, m := range o.n.disk.log.group().members {
		o.send(m.server)
	}
	o.commit()
}

func (o *office) copy(s server) *copied {
	c := o.copies[s]
	if c == nil {
		c = &copied{next: o.n.disk.log.last(), answered: -never} // one that lacks more says so
		o.copies[s] = c
	}
	return c
}

func (o *office) hung() bool {
	n := o.n
	return n.syncing && n.w.now-n.syncSince > hungFor && len(n.disk.log.group().members) > 1
}

// beat tells all copies that the leader is there, and what is committed.
func (o *office) beat() {
	if o.hung() {
		return
	}
	for _, m := range o.n.disk.log.group().members {
		if m.node != o.n {
			b := batch{from: o.n, to: m.server, term: o.term, at: o.n.w.now, beat: true, commits: min(o.n.committed, o.copy(m.server).match)}
			o.n.tell(m.node, func() { m.node.follow(b) })
			o.send(m.server)
		}
	}
}

// send sends what a copy lacks, unless it is about to answer.
func (o *office) send(s server) {
	n, l := o.n, &o.n.disk.log
	c := o.copy(s)
	if s.node == n || o.hung() || c.busy > n.w.now || c.next > l.last() {
		return
	}
	if c.next <= l.base {
		base := l.base
		n.tell(s.node, func() { s.node.fallBehind(s, o, base) })
		return
	}
	c.busy = n.w.now + busyFor
	prev := c.next - 1
	end := min(l.last(), prev+batchMax)
	b := batch{from: n, to: s, term: o.term, at: n.w.now, prev: prev, prevT: l.term(prev),
		recs: slices.Clone(l.recs[prev-l.base : end-l.base]), commits: n.committed}
	n.tell(s.node, func() { s.node.follow(b) })
}

// follow takes what a leader says.
func (n *node) follow(b batch) {
	if b.to != n.server() {
		return // it means the disk that was here before [B1]
	}
	d := &n.disk
	if b.term < d.term {
		term := d.term
		n.tell(b.from, func() { b.from.outvoted(term) })
		return
	}
	n.resign()
	d.term, n.heard = b.term, n.w.now
	if n.leader != b.from {
		n.leader = b.from
		n.queue.leaderChanged(n)
		n.ask()
	}
	if b.beat {
		n.answer(b, true, 0)
		n.hearCommit(b.commits)
		return
	}
	if b.prev > d.log.last() || b.prev >= d.log.base && d.log.term(b.prev) != b.prevT {
		n.answer(b, false, d.log.last())
		return
	}
	for i, r := range b.recs {
		at := b.prev + uint64(i) + 1
		if at <= d.log.base || at <= d.log.last() && d.log.term(at) == r.term {
			continue
		}
		if at <= n.applied {
			n.fail("is to forget place %d of the log, which it has applied", at)
			return
		}
		d.log.cutAfter(at - 1)
		d.log.append(r)
	}
	a := ack{b, b.prev + uint64(len(b.recs))}
	n.acks = append(n.acks, a)
	n.sync()
	n.sendAcks()
}

// fallBehind hears that the leader's log reaches back to base only: if this one
// ends before, the state is to be fetched.
func (n *node) fallBehind(s server, o *office, base uint64) {
	switch {
	case s != n.server() || o.term < n.disk.term:
	case n.disk.log.last() >= base: // it has fetched since
		n.tell(o.n, func() {
			c := o.copy(s)
			c.next = max(c.next, base+1)
		})
	default:
		n.w.say("%s is too far behind", n.name)
		n.fetch = true
		n.restart()
	}
}

func (n *node) answer(b batch, ok bool, at uint64) {
	n.tell(b.from, func() {
		if o := b.from.office; o != nil && o.term == b.term {
			o.answered(b, ok, at)
		}
	})
}

// sendAcks answers for what the disk has synced.
func (n *node) sendAcks() {
	list := n.acks
	n.acks = nil
	for _, a := range list {
		if a.to > n.disk.log.synced && n.w.opt.Plant != FollowersNoSync {
			n.acks = append(n.acks, a)
			continue
		}
		if a.b.term == n.disk.term {
			n.answer(a.b, true, a.to)
			n.hearCommit(min(a.b.commits, a.to))
		}
	}
}

func (n *node) hearCommit(to uint64) {
	if to > n.committed {
		n.committed = to
		n.applySoon()
	}
}

func (o *office) answered(b batch, ok bool, at uint64) {
	c := o.copy(b.to)
	c.answered = max(c.answered, b.at)
	if b.beat {
		return
	}
	c.busy = 0
	if ok {
		c.match = max(c.match, at)
		c.next = max(c.next, at+1)
		o.commit()
	} else {
		c.next = max(1, min(b.prev, at+1))
	}
	if o.n.office == o {
		o.send(b.to)
	}
}

// outvoted hears of a higher term.
func (n *node) outvoted(term uint64) {
	if term > n.disk.term {
		n.disk.term = term
		n.resign()
	}
}

// commit finds out what a majority of the voters' disks have.
func (o *office) commit() {
	n, l := o.n, &o.n.disk.log
	var at []uint64
	for _, m := range l.group().members {
		switch {
		case !m.votes:
		case m.server != n.server():
			at = append(at, o.copy(m.server).match)
		case n.w.opt.Plant == LeaderNoSync:
			at = append(at, l.last())
		default:
			at = append(at, l.synced)
		}
	}
	slices.Sort(at)
	to := at[(len(at)-1)/2]
	if n.w.opt.Plant == CommitAlone {
		to = l.synced
	}
	if to <= n.committed || l.term(to) != o.term {
		return
	}
	n.committed = to
	life := n.life
	if n.w.mayCrash(n) {
		return
	}
	n.applySoon()
	if n.life == life && n.office == o {
		o.beat() // they learn of it at once
	}
}

// sync takes the log to the disk.
func (n *node) sync() {
	l := &n.disk.log
	if n.syncing || l.synced == l.last() || n.neverSyncs() {
		return
	}
	n.syncing, n.syncSince = true, n.w.now
	to, cuts := l.last(), l.cuts
	took := 100*time.Microsecond + n.w.upTo(3*time.Millisecond)
	if n.slow > 0 {
		took = n.slow
	}
	n.soon(took, func() {
		n.syncing = false
		if l.cuts == cuts {
			l.synced = to
		}
		life := n.life
		if n.w.mayCrash(n) {
			return
		}
		n.sync()
		if n.office != nil {
			n.office.commit()
		}
		if n.life == life {
			n.sendAcks()
			n.applySoon()
		}
	})
}

// neverSyncs is a planted mistake.
func (n *node) neverSyncs() bool {
	switch n.w.opt.Plant {
	case LeaderNoSync:
		return n.office != nil
	case FollowersNoSync:
		return n.office == nil
	}
	return false
}

// tell does something at another node after the wire's latency, unless a cut or a
// crash eats it.
func (n *node) tell(to *node, do func()) {
	w, life := n.w, to.life
	if to == n || !to.up || !w.reaches(n, to) {
		return
	}
	w.after(w.latency(), func() {
		if to.up && to.life == life && w.reaches(n, to) {
			do()
		}
	})
}
