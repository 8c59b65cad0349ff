package home

import (
	"errors"
	"testing"
)

// takeIn takes the copy of a region, which went its own way, into the one in force.
func (in *rig) takeIn(r *rig, region string) Reconciliation {
	r.t.Helper()
	f := r.fork(in)
	e := r.s.Export(f, func(Seq) (Message, error) { return Message{}, errors.New("no disk") }).As(region)
	for done := false; !done; {
		op, err := e.Next(200)
		if err != nil {
			r.t.Fatal(err)
		}
		done = op.Done
		for range 2 { // each comes twice
			if o := in.do(op); o.Code != CodeOK {
				r.t.Fatalf("part %d: %#x", op.Part, o.Code)
			}
		}
	}
	return in.s.Reconciled(f.From, region)
}

// at3 is a home at feature level 3 with two devices: one that nobody touches afterwards and one
// that is back at the new host.
func at3(t *testing.T) *rig {
	r := newCopies(t)
	r.do(&Raise{Level: 3})
	for _, id := range []string{"idle", "busy"} {
		r.sub(id, r.attach(id, false, 3600), Subscription{Filter: "a", QoS: 2})
	}
	r.pub("a", "both", 2, false)
	return r
}

// other is a copy of another region as it stands now, which promotes itself to an epoch.
func (r *rig) other(e Epoch) *rig { return r.successor(&Promote{Epoch: e, Grace: 30}) }

// standbyOf is a copy as it stands now, that goes on by what its host ships.
func (r *rig) standbyOf() *rig {
	o := *r
	o.s, o.log = replayed(r.t, r.log), append([][]byte(nil), r.log...)
	return &o
}

// The host eu dies with three messages more than the standby us, which is promoted by an operator
// although another standby, ap, has the first two of them. Both copies are taken in, in either
// order: each message comes once, and what was acknowledged at eu does not come again.
func TestTwoSuffixes_OfOneFork(t *testing.T) {
	for _, order := range []string{"ap first", "eu first", "only ap"} {
		t.Run(order, func(t *testing.T) {
			r := at3(t)
			in := r.lost(30)
			r.pub("a", "1", 2, false)
			r.pub("a", "2", 2, false)
			ap := r.standbyOf()
			r.pub("a", "3", 2, false)
			r.do(&Ack{Session: SessionKey{"", "idle"}, Epoch: r.epochOf("idle"), Done: []Range{{2, 2}}}) // "1"
			in.attach("busy", false, 3600)
			in.pub("a", "new", 2, false)

			switch order {
			case "ap first":
				in.takeIn(ap, "ap")
				in.takeIn(r, "eu")
			case "eu first":
				in.takeIn(r, "eu")
				if x := in.takeIn(ap, "ap"); x.Delivered > 0 || !x.Done {
					t.Errorf("of what eu had, too: %+v", x)
				}
			default:
				in.takeIn(ap, "ap")
				r.want("idle", in.peek("idle"), []string{"both", "1", "2", "new"})
				r.want("busy", in.peek("busy"), []string{"both", "new", "1", "2"})
				return
			}
			r.want("idle", in.peek("idle"), []string{"both", "2", "3", "new"})
			r.want("busy", in.peek("busy"), []string{"both", "new", "1", "2", "3"})
			in.stored(t)
		})
	}
}

// The host eu dies, us takes over with what it has, and dies too; an operator goes back to the old
// copy of ap. Both suffixes are taken in, and what us had of eu's own comes once.
func TestTwoSuffixes_ForcedBackToAnOldCopy(t *testing.T) {
	for _, order := range []string{"us first", "eu first", "us had eu's"} {
		t.Run(order, func(t *testing.T) {
			r := at3(t)
			ap := r.other(Epoch{3, "ap"})
			r.pub("a", "1", 2, false)
			us := r.lost(30)
			r.pub("a", "2", 2, false)
			us.pub("a", "3", 2, false)
			ap.attach("busy", false, 3600)
			ap.pub("a", "4", 2, false)
			switch order {
			case "us first":
				ap.takeIn(us, "us")
				ap.takeIn(r, "eu")
			case "eu first":
				ap.takeIn(r, "eu")
				ap.takeIn(us, "us")
			default:
				us.takeIn(r, "eu")
				ap.takeIn(us, "us")
				if x := ap.takeIn(r, "eu"); x.Delivered > 0 {
					t.Errorf("us had all of it: %+v", x)
				}
			}
			for _, id := range []string{"idle", "busy"} {
				got := map[string]int{}
				for _, p := range ap.peek(id) {
					got[p]++
				}
				for _, p := range []string{"both", "1", "2", "3", "4"} {
					if got[p] != 1 {
						t.Errorf("%s has %q %d times: %v", id, p, got[p], ap.peek(id))
					}
				}
			}
			ap.stored(t)
		})
	}
}

// epochOf is the epoch of a session.
func (r *rig) epochOf(id string) SessionEpoch {
	e, _ := r.s.EpochOf(SessionKey{"", id})
	return e
}
