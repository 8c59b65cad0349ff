package home

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// forked are the records of a host in force, and what a fenced copy has for it.
func forked(t *testing.T) (log [][]byte, parts []*Reconcile) {
	r := newCopies(t)
	r.do(&Raise{Level: 3})
	for _, id := range []string{"idle", "busy", "gone"} {
		r.sub(id, r.attach(id, false, 3600), Subscription{Filter: "a/#", QoS: 2}, Subscription{Filter: "$share/g/s", QoS: 1})
	}
	publish := func(payload string) {
		for range 4 {
			r.pub("a/b", payload, 2, true)
			r.pub("s", payload, 1, false)
		}
	}
	publish("both")
	in := r.lost(30)
	in.attach("busy", false, 3600)
	in.pub("a/new", "there", 2, false)
	r.sub("young", r.attach("young", false, 3600), Subscription{Filter: "a/#", QoS: 1})
	publish("here")
	for _, name := range []string{"", "eu", "ap"} { // the last two bring the same again
		e := r.s.Export(r.fork(in), func(Seq) (Message, error) { return Message{}, errors.New("no disk") })
		if name != "" {
			e.As(name)
		}
		for done := false; !done; {
			op, err := e.Next(1 << 10)
			if err != nil {
				t.Fatal(err)
			}
			done = op.Done
			parts = append(parts, op)
		}
	}
	return in.log, parts
}

// A part of a reconciliation comes from another region. Whatever it holds, applying it ends
// with an outcome: what stops one copy of a home stops all.
func FuzzReconcile(f *testing.F) {
	log, parts := forked(&testing.T{})
	for i := range uint64(64) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := replayed(t, log)
		n := uint64(0)
		apply := func(ops ...Op) {
			n++
			rec := Record{Home: "eu", Time: s.Now() + Time(n)<<40, Entries: []Entry{{Owner{"z", 1}, n, ops}}}
			rec, err := DecodeRecord(rec.Append(nil))
			if err != nil {
				n--
				return
			}
			if err := s.Apply(&rec, noSink{}, func(*Entry, int, Outcome) {}); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range parts {
			apply(garbled(rnd, p))
		}
		for _, id := range []string{"idle", "busy", "gone", "young"} {
			apply(&Attach{Session: SessionKey{"", id}, Expiry: 3600, Window: 10})
		}
		apply(&Publish{Topic: "a/b", QoS: 2, Payload: []byte("x")})
		apply(&Publish{Topic: "s", QoS: 1, Payload: []byte("x")})
	})
}

// garbled is a part of which some numbers and names are others.
func garbled(rnd *rand.Rand, p *Reconcile) *Reconcile {
	number := func(n *uint64) {
		if rnd.IntN(6) == 0 {
			*n = []uint64{0, 1, *n + 1, *n - 1, 1 << 31, 1 << 62, ^uint64(0), ^uint64(0) - 1}[rnd.IntN(8)]
		}
	}
	ranges := func(list []Range) []Range {
		list = slices.Clone(list)
		for i := range list {
			number(&list[i].From)
			number(&list[i].To)
		}
		return list
	}
	name := func(s *string) {
		if rnd.IntN(12) == 0 {
			*s = []string{"", "#", "a/#", "$share/g/s", "g/s", "/", "idle", "busy", "eu"}[rnd.IntN(9)]
		}
	}
	o := *p
	if o.Copy != "" {
		o.Copy = []string{"", "eu", "us", "ap"}[rnd.IntN(4)]
		o.Has = slices.Clone(o.Has)
		number(&o.End)
		for i := range o.Has {
			number(&o.Has[i].Epoch.Number)
			number((*uint64)(&o.Has[i].To))
			o.Has[i].Taken = rnd.IntN(2) == 0
		}
	}
	o.Sessions, o.Groups, o.Messages = slices.Clone(p.Sessions), slices.Clone(p.Groups), slices.Clone(p.Messages)
	for i := range o.Sessions {
		x := &o.Sessions[i]
		number(&x.Life)
		number((*uint64)(&x.Epoch))
		number(&x.NextRef)
		number(&x.Resumed)
		name(&x.Session.ClientID)
		x.Left, x.Received = ranges(x.Left), ranges(x.Received)
		x.Attached, x.Transient = x.Attached != (rnd.IntN(6) == 0), x.Transient != (rnd.IntN(6) == 0)
		x.Window = uint16(rnd.Uint32())
		x.Subs = slices.Clone(x.Subs)
		for j := range x.Subs {
			name(&x.Subs[j].Filter)
			x.Subs[j].QoS = byte(rnd.IntN(4))
		}
	}
	for i := range o.Messages {
		m := &o.Messages[i]
		name(&m.Topic)
		number((*uint64)(&m.Seq))
		number(&m.RetainVersion)
		m.Expires, m.At = Time(rnd.Uint64()>>rnd.IntN(64)), Time(rnd.Uint64()>>rnd.IntN(64))
		m.QoS = byte(rnd.IntN(4))
		m.Refs, m.Groups = slices.Clone(m.Refs), slices.Clone(m.Groups)
		for j := range m.Refs {
			x := &m.Refs[j]
			number(&x.Num)
			number(&x.Life)
			name(&x.Session.ClientID)
			x.QoS, x.Received = byte(rnd.IntN(4)), rnd.IntN(2) == 0
		}
		for j := range m.Groups {
			name(&m.Groups[j])
		}
	}
	return &o
}
