package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// hurry is how much faster home time runs than the wires: what a home remembers
// for a day, it forgets within a run.
const hurry = 10_000

// node is a region's only node: a home, its log, its disk, its connections.
type node struct {
	w     *World
	id    home.ID
	up    bool
	life  int // counts starts; what belongs to a former life is ignored
	owner home.Owner
	state *home.State

	// The disk: what survives a crash.
	log     [][]byte // committed records since the last flush
	kept    map[string][]byte
	started home.Incarnation

	// Lost in a crash.
	n       uint64
	waiting []proposal
	ticking bool
	conns   map[home.SessionKey]*conn
	senders map[home.ID]*link
}

type proposal struct {
	op   home.Op
	done func(home.Outcome)
}

func newNode(w *World, id home.ID) *node {
	return &node{w: w, id: id, kept: map[string][]byte{}, senders: map[home.ID]*link{}}
}

// start brings the node up from its disk: what was flushed, then the log.
func (n *node) start() {
	if n.up {
		return
	}
	n.up = true
	n.life++
	n.started++
	n.owner = home.Owner{Node: home.NodeID(n.id) + "-1", Incarnation: n.started}
	n.conns = map[home.SessionKey]*conn{}
	n.waiting, n.n, n.ticking = nil, 0, false
	n.load()
	n.w.logf("%s starts, life %d", n.id, n.life)
	if n.state.ID() == "" {
		n.propose(&home.Genesis{Home: n.id, Epoch: home.Epoch{Number: 1, Host: string(n.id)}}, nil)
	}
	n.propose(&home.NodeUp{}, nil)
	for _, l := range n.w.links {
		if l.from == n {
			n.propose(&home.SetPeer{Peer: l.to.id, Retained: true}, nil)
		}
		if l.from == n || l.to == n {
			l.restart()
		}
	}
	n.flushLater()
}

func (n *node) load() {
	keys := make([]string, 0, len(n.kept))
	for k := range n.kept {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	n.state = home.New()
	if len(keys) > 0 {
		var err error
		n.state, err = home.Load(func(fn func(k, v []byte) error) error {
			for _, k := range keys {
				if err := fn([]byte(k), n.kept[k]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	for _, rec := range n.log {
		n.apply(rec, nil)
	}
}

// crash loses everything that is not on the disk.
func (n *node) crash() {
	if !n.up {
		return
	}
	n.w.logf("%s crashes", n.id)
	n.up = false
	n.life++
	if n.w.opt.Plant == NoSync {
		n.log = nil
	}
	for _, c := range n.inOrder() {
		c.close()
	}
	for _, l := range n.w.links {
		if l.from == n || l.to == n {
			l.broken()
		}
	}
}

// propose queues an operation for the next record.
func (n *node) propose(op home.Op, done func(home.Outcome)) {
	if !n.up {
		return
	}
	n.waiting = append(n.waiting, proposal{op, done})
	if !n.ticking {
		n.ticking = true
		life := n.life
		n.w.after(n.w.latency(), func() {
			if n.life == life {
				n.commit()
			}
		})
	}
}

// commit writes one record to the disk and applies it. A crash may come in
// between: then it happened, and nobody was told.
func (n *node) commit() {
	n.ticking = false
	batch := n.waiting
	n.waiting = nil
	n.n++
	e := home.Entry{Owner: n.owner, N: n.n}
	for _, p := range batch {
		e.Ops = append(e.Ops, p.op)
	}
	rec := home.Record{Home: n.id, Time: home.Time(time.Hour + hurry*n.w.now), Entries: []home.Entry{e}}
	b := rec.Append(nil)
	n.log = append(n.log, b)
	if !n.w.calm && n.w.rnd.IntN(400) == 0 {
		n.crash()
		n.w.after(n.w.upTo(300*time.Millisecond), n.start)
		return
	}
	n.apply(b, func(i int, o home.Outcome) {
		if batch[i].done != nil {
			batch[i].done(o)
		}
	})
	for _, c := range n.inOrder() {
		c.drain()
	}
}

// inOrder lists the connections by key, so that a seed replays.
func (n *node) inOrder() []*conn {
	list := make([]*conn, 0, len(n.conns))
	for _, c := range n.conns {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *conn) int {
		if a.device.id < b.device.id {
			return -1
		}
		return 1
	})
	return list
}

func (n *node) apply(b []byte, done func(int, home.Outcome)) {
	rec, err := home.DecodeRecord(b)
	if err != nil {
		panic(err)
	}
	var outs []home.Outcome
	if err := n.state.Apply(&rec, sink{n}, func(_ *home.Entry, _ int, o home.Outcome) { outs = append(outs, o) }); err != nil {
		panic(err)
	}
	if done != nil {
		for i, o := range outs {
			done(i, o)
		}
	}
}

// flushLater writes the state to the disk now and then; the log before it is
// not needed any more.
func (n *node) flushLater() {
	life := n.life
	n.w.after(200*time.Millisecond+n.w.upTo(time.Second), func() {
		if n.life != life {
			return
		}
		n.state.Flush(func(k, v []byte) { n.kept[string(k)] = slices.Clone(v) }, func(k []byte) { delete(n.kept, string(k)) })
		n.log = nil
		if n.w.opt.Plant == ForgetCursors {
			for k := range n.kept {
				if k[0] == 0x0c {
					delete(n.kept, k)
				}
			}
		}
		if n.w.rnd.IntN(3) == 0 {
			n.state.Evict(0)
		}
		n.flushLater()
	})
}

// body reads what was evicted.
func (n *node) body(seq home.Seq) home.Message {
	m, err := home.DecodeBody(seq, n.kept[string(home.BodyKey(seq))])
	if err != nil {
		panic(err)
	}
	return m
}

// sink forwards what the home says to the edge. It only notes things down: the
// state is locked.
type sink struct{ n *node }

func (s sink) Deliver(home.Delivery)                                 {}
func (s sink) Queued(home.SessionKey, home.SessionEpoch, home.Owner) {}
func (s sink) Spooled(home.ID)                                       {}
func (s sink) Wanted()                                               {}
func (s sink) Dropped(string, home.DropReason, int)                  {}
func (s sink) Ended(k home.SessionKey, e home.SessionEpoch, _ home.Owner, _ home.EndReason) {
	if c := s.n.conns[k]; c != nil && c.epoch == e {
		c.ended = true
	}
}
