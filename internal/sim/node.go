package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
)

// node is a core node of a region: a copy of the home, its log and disk, and the
// connections of devices.
type node struct {
	w    *World
	r    *region
	name home.NodeID
	disk disk

	// What is wrong with it.
	slow  time.Duration // a sync takes as long
	lag   time.Duration // what is committed is applied so much later
	wall  time.Duration // by how much its wall clock is ahead, in home time
	rate  float64       // of its monotonic clock
	harm  time.Duration // when something was last wrong with it, or its connections
	fetch bool          // the others' log does not reach back to its own

	// Lost in a crash.
	up    bool
	born  time.Duration
	life  int // counts starts; what belongs to a former life is ignored
	owner home.Owner
	state *home.State
	clock clock

	applied   uint64
	committed uint64
	syncing   bool
	syncSince time.Duration
	acks      []ack // that wait for the disk
	leader    *node // whom it follows, as far as it knows
	heard     time.Duration
	patience  time.Duration // without a leader until it stands itself
	office    *office       // while it leads

	queue   queue
	fresh   freshness
	conns   map[home.SessionKey]*conn
	coming  map[home.SessionKey]*coming
	ended   []ending
	touched []*conn
	known   []knowing
}

// ending is what the home said of a session while it applied a record.
type ending struct {
	key    home.SessionKey
	epoch  home.SessionEpoch
	reason home.EndReason
}

func newNode(r *region, name string) *node {
	w := r.w
	w.disks++
	return &node{w: w, r: r, name: home.NodeID(name), disk: disk{uuid: w.disks}, rate: 1 + (w.rnd.Float64()-0.5)/20, harm: -never}
}

func (n *node) server() server { return server{n, n.disk.uuid} }

// start brings the node up from its disk: what was flushed, then the log as far
// as it turns out to be committed.
func (n *node) start() {
	if n.up {
		return
	}
	n.life++
	if n.disk.home == nil || n.fetch {
		n.seat()
		return
	}
	n.up, n.born = true, n.w.now
	if n.w.opt.Plant != NoNodeUp || n.disk.incarnation == 0 {
		n.disk.incarnation++
	}
	n.owner = home.Owner{Node: n.name, Incarnation: n.disk.incarnation}
	n.conns, n.coming, n.known, n.touched = map[home.SessionKey]*conn{}, map[home.SessionKey]*coming{}, nil, nil
	n.queue, n.fresh = queue{}, freshness{until: n.w.now}
	n.syncing, n.acks, n.leader, n.office = false, nil, nil, nil
	n.heard, n.patience = n.w.now, n.newPatience()
	n.load()
	n.w.logf("%s starts, run %d, log to %d", n.name, n.disk.incarnation, n.disk.log.last())
	if n.w.opt.Plant != NoNodeUp {
		n.propose(&home.NodeUp{}, nil)
	}
	n.every(tickEvery, n.tick)
	n.every(askEvery, n.ask)
	n.flushLater()
	n.tick()
}

// every does something again and again in this life of the node.
func (n *node) every(d time.Duration, do func()) {
	n.soon(d, func() { n.every(d, do); do() })
}

// soon does something later in this life of the node.
func (n *node) soon(d time.Duration, do func()) {
	life := n.life
	n.w.after(d, func() {
		if n.life == life && n.up {
			do()
		}
	})
}

const tickEvery = 50 * time.Millisecond

func (n *node) tick() {
	n.queue.tick(n)
	n.isolated()
	if n.office != nil {
		n.office.tick()
		return
	}
	n.seek()
	if n.w.now-n.heard > n.patience {
		n.patience = n.newPatience()
		n.stand(nil)
	}
}

// newPatience differs, so that not all stand at once.
func (n *node) newPatience() time.Duration {
	return 200*time.Millisecond + n.w.upTo(200*time.Millisecond)
}

func (n *node) load() {
	d := &n.disk
	var err error
	n.state, err = home.Load(func(fn func(k, v []byte) error) error {
		for _, k := range inOrder(d.home) {
			if err := fn([]byte(k), d.home[k]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.w.inside("%s cannot load its state: %v", n.name, err)
		n.state = home.New()
	}
	n.applied, n.committed = d.flushed, d.flushed
	n.clock = clock{n: n, before: d.log.last()}
	n.clock.start(n.state.Now())
}

func inOrder[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// crash loses everything that is not on the disk. Of what was not synced a part
// may be there all the same.
func (n *node) crash() {
	if !n.up {
		return
	}
	n.w.logf("%s crashes", n.name)
	n.stop()
	d := &n.disk
	switch n.w.opt.Plant {
	case NoSync:
		d.log.cutAfter(d.flushed)
	case LeaderNoSync, FollowersNoSync:
		d.log.cutAfter(max(d.log.synced, d.flushed))
	default:
		unsynced := d.log.last() - d.log.synced
		d.log.cutAfter(d.log.synced + uint64(n.w.rnd.Int64N(int64(unsynced)+1)))
		d.log.synced = d.log.last()
	}
}

// stop ends this life of the node.
func (n *node) stop() {
	n.harmed()
	n.up, n.office = false, nil
	n.life++
	for _, c := range n.inOrder() {
		c.close()
	}
}

// restart ends a run of the node's home; the next begins at once.
func (n *node) restart() {
	n.stop()
	n.w.after(n.w.upTo(50*time.Millisecond), n.start)
}

// harmed notes that something is wrong, which excuses connections that end.
func (n *node) harmed() { n.harm = n.w.now }

// wipe takes the disk away; the node comes back with an empty one.
func (n *node) wipe() {
	n.crash()
	n.w.logf("%s loses its disk", n.name)
	if n.w.opt.Plant == WipedVotes {
		n.found()
		return
	}
	n.w.disks++
	n.disk = disk{uuid: n.w.disks}
}

// found gives the disk the home as it was founded.
func (n *node) found() {
	n.disk.term, n.disk.flushed = 0, 1
	n.disk.home = image{n.r.id, n.w.opt.Aged}.pressed()
	n.disk.log.begin(1, 0, n.r.founders)
}

// applySoon applies what is committed and on this disk.
func (n *node) applySoon() {
	to := min(n.committed, n.disk.log.synced)
	if n.w.opt.Plant.forgetful() {
		to = min(n.committed, n.disk.log.last())
	}
	if to <= n.applied {
		return
	}
	if n.lag == 0 {
		n.applyThrough(to)
		return
	}
	n.soon(n.lag, func() { n.applyThrough(to) })
}

func (f Fault) forgetful() bool { return f == NoSync || f == LeaderNoSync || f == FollowersNoSync }

func (n *node) applyThrough(to uint64) {
	life := n.life
	for to = min(to, n.disk.log.last()); n.applied < to; {
		i := n.applied + 1
		if rec := n.disk.log.at(i); rec.data != nil {
			if !n.apply(i, rec) || n.life != life {
				return
			}
		}
		n.applied = i
	}
	if n.office != nil {
		n.office.enter()
	}
	n.fresh.settle(n)
	n.answerKnown()
	n.serve()
}

// apply applies a record, tells those who proposed its operations, and ends the
// connections that lost their sessions. It returns false when the run is over.
func (n *node) apply(i uint64, r *record) bool {
	rec, err := home.DecodeRecord(r.data)
	if err != nil {
		n.fail("cannot decode record %d: %v", i, err)
		return false
	}
	n.applied = i // as those see it who are told
	own := n.queue.own(n, &rec)
	n.w.opt.Plant.corrupt(n.state, &rec)
	over := false
	var landed []landing
	err = n.state.Apply(&rec, sink{n}, func(e *home.Entry, k int, o home.Outcome) {
		if down, ok := e.Ops[k].(*home.NodeDown); ok && down.Owner == n.owner && o.Code == home.CodeOK {
			over = true
		}
		if e.Owner != n.owner {
			return
		}
		if k == 0 {
			landed = append(landed, landing{n: own[e]})
		}
		l := &landed[len(landed)-1]
		l.outs = append(l.outs, o)
	})
	if err != nil {
		n.fail("cannot apply record %d: %v", i, err)
		return false
	}
	n.clock.hear(rec.Time, i > n.clock.before)
	if over {
		n.w.logf("%s was declared dead, and is not", n.name)
		n.wronged()
		n.restart()
		return false
	}
	for _, l := range landed {
		if err := n.queue.land(n, l); err != nil {
			n.w.inside("%s: %v", n.name, err)
			n.restart()
			return false
		}
	}
	ended := n.ended
	n.ended = nil
	for _, e := range ended {
		if c := n.conns[e.key]; c != nil && c.epoch == e.epoch {
			c.end()
		}
	}
	return true
}

// excused is for how long what was wrong with a node explains that others found
// it dead.
const excused = 6 * time.Second

// fail ends the run of a home that cannot go on: it brings another's state.
func (n *node) fail(format string, args ...any) {
	n.w.inside(string(n.name)+" "+format, args...)
	n.fetch = true
	n.restart()
}

// wronged looks for devices that lose their connections for nothing.
func (n *node) wronged() {
	if list := n.inOrder(); n.w.now-n.harm > excused && len(list) > 0 {
		n.w.violate("%s lost its connection to %s, with which nothing was wrong", list[0].device.id, n.name)
	}
}

// serve sends to the connections for which something came.
func (n *node) serve() {
	list := n.touched
	n.touched = nil
	slices.SortFunc(list, byDevice)
	for _, c := range list {
		c.touched = false
		c.drain()
	}
}

// serveAll sends to all connections.
func (n *node) serveAll() {
	for _, c := range n.inOrder() {
		c.drain()
	}
}

// inOrder lists the connections by device, so that a seed replays.
func (n *node) inOrder() []*conn {
	list := make([]*conn, 0, len(n.conns)+len(n.coming))
	for _, c := range n.conns {
		list = append(list, c)
	}
	for _, x := range n.coming {
		list = append(list, x.conns...)
	}
	slices.SortFunc(list, byDevice)
	return list
}

func byDevice(a, b *conn) int {
	if c := strings.Compare(a.device.id, b.device.id); c != 0 {
		return c
	}
	return a.life - b.life
}

// flushLater writes the state to the disk now and then; the log before it is
// dropped, but for a part that nodes which lag may ask for.
func (n *node) flushLater() {
	n.soon(200*time.Millisecond+n.w.upTo(time.Second), func() {
		n.flush()
		if n.w.opt.Plant == ForgetCursors {
			for k := range n.disk.home {
				if k[0] == 0x0c {
					delete(n.disk.home, k)
				}
			}
		}
		if n.w.rnd.IntN(3) == 0 {
			n.state.Evict(0)
		}
		if keep := uint64(n.w.rnd.IntN(100)); n.disk.flushed > keep {
			n.disk.log.dropThrough(n.disk.flushed - keep)
		}
		n.flushLater()
	})
}

func (n *node) flush() {
	kept := n.disk.home
	n.state.Flush(func(k, v []byte) { kept[string(k)] = slices.Clone(v) }, func(k []byte) { delete(kept, string(k)) })
	n.disk.flushed = n.applied
}

// body reads what was evicted.
func (n *node) body(seq home.Seq) home.Message {
	m, err := home.DecodeBody(seq, n.disk.home[string(home.BodyKey(seq))])
	if err != nil {
		n.w.inside("%s has lost the body of message %d: %v", n.name, seq, err)
	}
	return m
}

// sink forwards what the home says to the edge. It only notes things down: the
// state is locked.
type sink struct{ n *node }

func (s sink) Deliver(home.Delivery) {}
func (s sink) Queued(k home.SessionKey, e home.SessionEpoch, o home.Owner) {
	if s.n == nil || o != s.n.owner {
		return
	}
	if c := s.n.conns[k]; c != nil && c.epoch == e && !c.touched {
		c.touched = true
		s.n.touched = append(s.n.touched, c)
	}
}
func (s sink) Spooled(home.ID)                      {}
func (s sink) Wanted()                              {}
func (s sink) Dropped(string, home.DropReason, int) {}
func (s sink) Ended(k home.SessionKey, e home.SessionEpoch, o home.Owner, why home.EndReason) {
	if s.n != nil && o == s.n.owner {
		s.n.ended = append(s.n.ended, ending{k, e, why})
	}
}

var errUsed = errors.New("the home knows an entry of this run that it did not send")
