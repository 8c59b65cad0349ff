package sim

import (
	"time"

	"causeway/internal/home"
)

// link is one direction between two regions: interest comes, frames go.
type link struct {
	w        *World
	from, to *node
	up       bool
	life     int
	sent     home.Seq // last number put into a frame
	started  bool     // the receiver said where it stands
	told     uint64   // version of the receiver's wish that was sent
	base     bool
	there    lane
	back     lane
}

func newLink(w *World, from, to *node) *link { return &link{w: w, from: from, to: to, up: true} }

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
	l.restart()
}

// broken forgets the tunnel: what was on the way is lost.
func (l *link) broken() { l.life++; l.started, l.base = false, false }

func (l *link) restart() {
	l.broken()
	l.there, l.back = lane{}, lane{}
	life := l.life
	var tick func()
	tick = func() {
		if l.life == life {
			l.step()
			l.w.after(5*time.Millisecond+l.w.upTo(10*time.Millisecond), tick)
		}
	}
	tick()
}

func (l *link) open() bool { return l.up && l.from.up && l.to.up && l.to.state.ID() != "" }

// over does something at the other end, in order, if the tunnel still stands.
func (l *link) over(lane *lane, do func()) {
	life := l.life
	l.w.deliver(lane, func() {
		if l.life == life && l.open() {
			do()
		}
	})
}

func (l *link) source() home.Source { return home.Source{Home: l.from.id, Epoch: l.from.state.Epoch()} }

// step syncs interest and sends a frame if anything waits.
func (l *link) step() {
	if !l.open() {
		return
	}
	l.interest()
	if !l.started {
		l.started = true
		at, _ := l.to.state.Cursor(l.source(), "")
		l.over(&l.back, func() { l.sent = at; l.send() })
		return
	}
	l.send()
}

func (l *link) interest() {
	version, _ := l.to.state.Wanted()
	if l.base && version == l.told {
		return
	}
	op := &home.Interest{Peer: l.to.id, Epoch: l.to.state.Epoch(), Version: version}
	if delta, ok := l.to.state.WantedSince(l.told); ok && l.base {
		op.Base, op.Add, op.Remove = l.told, delta.Add, delta.Remove
	} else {
		op.Full, op.Add = true, l.to.state.WantedSnapshot().Filters
	}
	l.base, l.told = true, version
	l.over(&l.back, func() {
		l.from.propose(op, func(o home.Outcome) {
			if o.Code != home.CodeOK {
				l.base = false // ask for all of it
			}
		})
	})
}

func (l *link) send() {
	waiting := l.from.state.Spool(l.to.id, "", l.sent, 1+l.w.rnd.IntN(8), 1<<20, nil)
	if len(waiting) == 0 {
		return
	}
	f := &home.Frame{Source: l.source(), From: l.sent, To: waiting[len(waiting)-1].Seq}
	for _, s := range waiting {
		m := s.Message
		if s.Evicted {
			m = l.from.body(s.Seq)
		}
		f.Messages = append(f.Messages, home.FrameMessage{Seq: s.Seq, Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Live: s.Live, RetainVersion: s.RetainVersion})
	}
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
	for range copies {
		l.over(&l.there, func() { l.receive(f) })
	}
}

func (l *link) receive(f *home.Frame) {
	life := l.life
	l.to.propose(f, func(o home.Outcome) {
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
	l.from.propose(&home.Trim{Peer: l.to.id, Epoch: l.from.state.Epoch(), To: to}, nil)
}
