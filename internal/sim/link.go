package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// link is one direction between two regions: interest comes, frames go. It runs
// between the nodes that lead, and begins anew when one of them changes.
type link struct {
	w        *World
	from, to *region
	up       bool
	a, b     *office // its ends
	life     int
	sent     home.Seq // last number put into a frame
	started  bool     // the receiver said where it stands
	told     uint64   // version of the receiver's wish that was sent
	base     bool
	there    lane
	back     lane
}

func newLink(w *World, from, to *region) *link {
	l := &link{w: w, from: from, to: to, up: true}
	from.links = append(from.links, l)
	l.tick()
	return l
}

func (l *link) cut() {
	l.w.logf("link %s->%s is cut", l.from.id, l.to.id)
	l.up = false
	l.broken()
}

func (l *link) heal() {
	if !l.up {
		l.up = true
		l.broken()
	}
}

// broken forgets the tunnel. What a frame carried may still arrive.
func (l *link) broken() {
	l.life++
	l.started, l.base = false, false
	l.there, l.back = lane{}, lane{}
	l.a, l.b = nil, nil
}

func (l *link) tick() {
	l.w.after(8*time.Millisecond+l.w.upTo(16*time.Millisecond), l.tick)
	a, b := l.from.leader(), l.to.leader()
	if !l.up || a == nil || b == nil {
		return
	}
	if l.a != a.office || l.b != b.office {
		if l.a != nil && l.a.n != a && l.started {
			l.linger(l.a.n)
		}
		l.broken()
		l.a, l.b = a.office, b.office
	}
	l.step()
}

// open says that both ends still are what they were when the tunnel was opened.
func (l *link) open() bool {
	return l.up && l.a != nil && l.a.n.office == l.a && l.b.n.office == l.b
}

// over does something at the other end, in order, if the tunnel still stands.
func (l *link) over(lane *lane, do func()) {
	life := l.life
	l.w.deliver(lane, 0, func() {
		if l.life == life && l.open() {
			do()
		}
	})
}

func (l *link) source() home.Source {
	return home.Source{Home: l.from.id, Epoch: l.a.n.state.Epoch()}
}

// step syncs interest and sends a frame if anything waits.
func (l *link) step() {
	l.interest()
	if !l.started {
		l.started = true
		at, _ := l.b.n.state.Cursor(l.source(), "")
		l.over(&l.back, func() { l.sent = at; l.send() })
		return
	}
	l.send()
}

func (l *link) interest() {
	state := l.b.n.state
	version, _ := state.Wanted()
	if l.base && version == l.told {
		return
	}
	op := &home.Interest{Peer: l.to.id, Epoch: state.Epoch(), Version: version}
	if delta, ok := state.WantedSince(l.told); ok && l.base {
		op.Base, op.Add, op.Remove = l.told, delta.Add, delta.Remove
	} else {
		op.Full, op.Add = true, state.WantedView().Snapshot().Filters
	}
	l.base, l.told = true, version
	l.over(&l.back, func() {
		life := l.life
		l.a.n.propose(op, func(o home.Outcome) {
			if o.Code != home.CodeOK && l.life == life {
				l.base = false // ask for all of it
			}
		})
	})
}

// spoolBytes is enough for any run, and small enough that much of a spool lies on
// disk: a run is a 64th of it.
const spoolBytes = 6 << 10

// spooled reads what waits for a peer next, from memory or from the disk.
func (n *node) spooled(peer home.ID, after home.Seq, most int) []home.Spooled {
	key, ok := n.state.SpoolRun(peer, "", after)
	if !ok {
		return n.state.Spool(peer, "", after, most, 1<<20, nil)
	}
	list, err := n.state.DecodeRun(n.disk.home[string(key)])
	if err != nil {
		n.w.inside("%s has lost a run of the spool for %s: %v", n.name, peer, err)
	}
	list = slices.DeleteFunc(list, func(x home.Spooled) bool { return x.Seq <= after })
	return list[:min(most, len(list))]
}

func (l *link) send() {
	n := l.a.n
	f := l.frame(n, l.sent)
	if f == nil {
		return
	}
	l.w.opt.Plant.misplace(f)
	if l.w.opt.Plant == NoVersions {
		for i := range f.Messages {
			f.Messages[i].RetainVersion = min(f.Messages[i].RetainVersion, 1)
		}
	}
	l.sent = f.To
	if l.w.opt.Plant == TrimOnSend {
		l.trim(f.To)
	}
	copies := 1
	if l.w.rnd.IntN(10) == 0 {
		copies = 2 // a re-sent frame meets itself
	}
	to, life, run := l.b.n, l.life, l.b.n.life
	for range copies {
		l.w.deliver(&l.there, 0, func() {
			if to.life == run && (l.life == life || l.w.rnd.IntN(2) == 0) {
				l.receive(to, f, life)
			}
		})
	}
}

// frame is what waits next at a node behind a number; nil if nothing does.
func (l *link) frame(n *node, from home.Seq) *home.Frame {
	waiting := n.spooled(l.to.id, from, 1+l.w.rnd.IntN(8))
	if len(waiting) == 0 {
		return nil
	}
	f := &home.Frame{Source: home.Source{Home: l.from.id, Epoch: n.state.Epoch()}, From: from, To: waiting[len(waiting)-1].Seq}
	for _, s := range waiting {
		m := s.Message
		if s.Evicted {
			m = n.body(s.Seq)
		}
		if !n.state.MayLeave(m.Namespace, m.Topic, string(l.to.id)) && l.w.opt.Plant != SendSpooled {
			continue // the span covers it
		}
		f.Messages = append(f.Messages, home.FrameMessage{Seq: s.Seq, Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Live: s.Live, Groups: s.Groups, RetainVersion: s.RetainVersion})
	}
	return f
}

// linger has a gateway that was replaced and does not know it send on for a moment, what its own
// copy of the spool holds, from where it was or from the beginning. Any gateway of the peer may
// take that, a former one too: two are at work at both ends. Nobody listens to the answers. Where
// messages are confined it stops: it may not have heard of that.
func (l *link) linger(n *node) {
	if l.w.opt.Resident {
		return
	}
	life, at := n.life, l.sent
	if info := n.state.SpoolInfo(l.to.id); len(info) > 0 && l.w.rnd.IntN(2) == 0 {
		at = info[0].Start
	}
	for range 3 {
		l.w.after(l.w.upTo(400*time.Millisecond), func() {
			to := l.to.nodes[l.w.rnd.IntN(len(l.to.nodes))]
			if !l.up || !n.up || n.life != life || !to.up {
				return
			}
			if f := l.frame(n, at); f != nil {
				at = f.To
				to.propose(f, nil)
			}
		})
	}
}

func (l *link) receive(n *node, f *home.Frame, life int) {
	n.propose(f, func(o home.Outcome) {
		if l.life != life {
			return
		}
		l.over(&l.back, func() {
			if o.Code == home.CodeGap {
				l.sent = o.Seq
				return
			}
			l.trim(o.Seq)
		})
	})
}

func (l *link) trim(to home.Seq) {
	l.a.n.propose(&home.Trim{Peer: l.to.id, Epoch: l.a.n.state.Epoch(), To: to}, nil)
}
