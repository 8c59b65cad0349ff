package home

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// shipped is a copy in another region, fed by what Ship gives it.
type shipped struct {
	*State
	to string
}

// take ships what r applied last, and checks that nothing went along that may not.
func (c *shipped) take(t *testing.T, r *rig) error {
	t.Helper()
	at, _ := c.Chain()
	n, _ := r.s.Chain()
	for at++; at <= n; at++ {
		data, err := r.s.Ship(at, r.log[at-1], c.to)
		if err != nil {
			return err
		}
		rec, err := DecodeRecord(data)
		if err != nil {
			return err
		}
		if at == n {
			if leak := leaked(r.s, &rec, c.to); leak != "" {
				return fmt.Errorf("record %d takes %s along", at, leak)
			}
		}
		if err := c.Apply(&rec, noSink{}, func(*Entry, int, Outcome) {}); err != nil {
			return fmt.Errorf("%T %+v: %w", rec.Entries[len(rec.Entries)-1].Ops[0], rec.Entries[len(rec.Entries)-1].Ops[0], err)
		}
		if sum, known := r.s.ChainAt(at); known && sum != c.State.chain {
			x := rec.Entries[len(rec.Entries)-1].Ops[0]
			return fmt.Errorf("the copy differs after record %d: %T %+v, placings %v", at, x, x, len(rec.Entries))
		}
	}
	return nil
}

// leaked finds what a record must not hold.
func leaked(s *State, rec *Record, to string) string {
	for i := range rec.Entries {
		for _, op := range rec.Entries[i].Ops {
			switch op := op.(type) {
			case *Publish:
				if !op.Withheld && !s.MayLeave(op.Session.Namespace, op.Topic, to) {
					return op.Topic
				}
			case *Import:
				if !op.Withheld && !s.MayLeave(op.Namespace, op.Topic, to) {
					return op.Topic
				}
			case *Attach:
				if w := op.Will; w != nil && !w.Withheld && !s.MayLeave(op.Session.Namespace, w.Topic, to) {
					return w.Topic
				}
			case *Repay:
				for j := range op.Messages {
					if m := &op.Messages[j]; m.Whole && !m.Withheld && !s.MayLeave(m.Namespace, m.Topic, to) {
						return m.Topic
					}
				}
			case *Restore:
				for j := range op.Messages {
					if m := &op.Messages[j]; !m.Withheld && !s.MayLeave(m.Namespace, m.Topic, to) {
						return m.Topic
					}
				}
				for j := range op.Sessions {
					if w := op.Sessions[j].Export.Will; w != nil && !w.Withheld && !s.MayLeave(op.Namespace, w.Topic, to) {
						return w.Topic
					}
				}
			case *Frame:
				for j := range op.Messages {
					if m := &op.Messages[j]; !m.Withheld && !s.MayLeave(m.Namespace, m.Topic, to) {
						return m.Topic
					}
				}
			}
		}
	}
	return ""
}

// A standby that may not store some messages has their numbers, and every queue and
// packet id is as at the host. [E11]
func TestShip_WithholdsWhatResidencyKeeps(t *testing.T) {
	r := newCopies(t)
	r.do(&SetTakeover{Standbys: []string{"us"}})
	r.do(&Configure{Revision: 1, Residency: []Residency{{Filter: "patient/#", Regions: []string{"eu"}}}})
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	r.pub("a", "1", 2, false)
	r.pub("patient/1", "secret", 2, true)
	r.pub("a", "2", 2, false)
	c := &shipped{New(), "us"}
	if err := c.take(t, r); err != nil {
		t.Fatal(err)
	}
	for n := range r.log {
		data, _ := r.s.Ship(uint64(n+1), r.log[n], "us")
		if bytes.Contains(data, []byte("secret")) || bytes.Contains(data, []byte("patient/1")) {
			t.Errorf("record %d goes to us with what it may not store", n+1)
		}
	}
	late := r.attach("late", false, 3600)
	r.sub("late", late, Subscription{Filter: "#", QoS: 1})
	r.pub("patient/1", "", 1, true)
	if err := c.take(t, r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range c.Peek(SessionKey{"", "dev"}, 0, 10) {
		got = append(got, fmt.Sprint(q.Ref, q.Message.Topic, q.Message.Withheld))
	}
	r.want("queue at us", got, []string{"1afalse", "2true", "3afalse", "4true"})
	data, err := r.s.Ship(3, r.log[2], "ap")
	r.want("to a region that may have all", []any{err, bytes.Equal(data, r.log[2])}, []any{nil, true})

	// us takes over: it has the number and not the message, and does not let others in.
	in := &rig{t: t, s: c.State, owner: Owner{"us1", 1}, n: map[Owner]uint64{}, runs: map[NodeID]Incarnation{}, now: r.now}
	in.told.dropped = map[DropReason]int{}
	in.promote(&Promote{Epoch: us(2)})
	r.want("published at us", in.pub("patient/1", "x", 1, false).Code, CodeNotAuthorized)
	e = in.attach("dev", false, 3600)
	in.do(&Skip{Session: SessionKey{"", "dev"}, Epoch: e, Refs: []Range{{2, 2}, {4, 4}}, Reason: SkipWithheld})
	r.want("counted", in.told.dropped[DropResidency], 3)
	in.loads(t)
}

// loads checks only that the state can be loaded again.
func (r *rig) loads(t *testing.T) {
	t.Helper()
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	if back := kept.load(t); !same(back, r.s) {
		t.Error("loaded state differs")
	}
}

// Whatever the home does, under whatever rules that come and go: the copy that gets
// less does the same, record by record, also when it begins with a copy of the store.
func TestShip_Property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		if !shipSeed(t, seed, rapid.IntRange(10, 120).Draw(rt, "ops"), rt.Errorf) {
			rt.FailNow()
		}
	})
}

func shipSeed(t *testing.T, seed uint64, ops int, fail func(string, ...any)) bool {
	rnd := rand.New(rand.NewPCG(seed, 11))
	r := newCopies(t)
	r.do(&SetTakeover{Standbys: []string{"us", "ap"}})
	r.do(&Configure{Revision: 1, Limits: Limits{WillGrace: uint32(rnd.IntN(2) * 2)}, Residency: []Residency{{Filter: "a/b/#", Regions: []string{"eu"}}, {Filter: "x", Regions: []string{"eu", "ap"}}}})
	c, all := &shipped{New(), "us"}, &shipped{New(), "ap"}
	kept := store{}
	for i := range ops {
		r.random(rnd, i)
		r.now += Time(rnd.IntN(2))
		for _, x := range []*shipped{c, all} {
			if err := x.take(t, r); err != nil {
				fail("seed %d, operation %d, to %s: %v", seed, i, x.to, err)
				return false
			}
			if got, want := x.lackList(), x.withheld(); !slices.Equal(got, want) {
				fail("seed %d, operation %d, at %s: numbers without a message %v, found %v", seed, i, x.to, got, want)
				return false
			}
		}
		if rnd.IntN(20) == 0 { // a new copy, of the store
			r.s.Flush(kept.put, kept.del)
			var err error
			if c.State, err = Load(func(fn func(k, v []byte) error) error { return veiledScan(r.s, kept, "us", fn) }); err != nil {
				fail("seed %d, operation %d: %v", seed, i, err)
				return false
			}
		}
		if rnd.IntN(20) == 0 { // the host restarts
			r.s.Flush(kept.put, kept.del)
			r.s = kept.load(t)
		}
	}
	return true
}

// veiledScan is the store as it goes to another region.
func veiledScan(s *State, kept store, to string, fn func(k, v []byte) error) error {
	out := store{}
	for _, k := range sortedKeys(kept) {
		key, value, err := s.Veil(to, []byte(k), slices.Clone(kept[k]))
		if err != nil {
			return err
		}
		out[string(key)] = value
	}
	return out.scan(fn)
}
