package home

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomOfDebts has the home owe something, or bring it back.
func (r *rig) randomOfDebts(rnd *rand.Rand, k SessionKey, e SessionEpoch) {
	if rnd.IntN(3) > 0 {
		if q := r.s.Queue(k, e, 0, 5, nil); len(q) > 0 {
			x := q[rnd.IntN(len(q))].Ref
			r.do(&Owe{Session: k, Epoch: e, Refs: []Range{{x, x + uint64(rnd.IntN(3))}}})
		}
		return
	}
	op := &Repay{}
	for _, d := range r.s.Debts(0, rnd.IntN(4)) {
		m := Repaid{Seq: d.Seq, Namespace: d.Namespace, Replay: Replay(rnd.IntN(4) / 3), Sessions: d.Sessions, Groups: d.Groups}
		if rnd.IntN(2) == 0 {
			m.Whole, m.Retained, m.Topic, m.Payload = true, d.Retained, []string{"a/b/c", "x", "a"}[rnd.IntN(3)], []byte("again")
		}
		op.Messages = append(op.Messages, m)
	}
	r.do(op)
}

// lackList lists of which messages a copy has the number only, as it is kept up.
func (s *State) lackList() (list []Seq) {
	for seq := range s.lacks {
		list = append(list, seq)
	}
	slices.Sort(list)
	return list
}

// withheld lists them by looking for them.
func (s *State) withheld() (list []Seq) {
	add := func(m *message) {
		if m.Withheld && m.refs > 0 {
			list = append(list, m.Seq)
		}
	}
	for _, x := range s.sessions {
		for _, q := range []*queue{&x.queue, x.owed} {
			if q != nil {
				q.each(Range{0, ^uint64(0)}, func(r *ref) { add(r.msg) })
			}
		}
		if a := x.arriving(); a != nil {
			a.held.each(Range{0, ^uint64(0)}, func(r *ref) { add(r.msg) })
		}
	}
	for _, g := range s.groups {
		for _, l := range [][]groupRef{g.queue, g.owed} {
			for i := range l {
				add(l[i].msg)
			}
		}
	}
	for _, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) {
			if r.msg != nil {
				add(r.msg)
			}
		})
	}
	for _, p := range s.peers {
		for _, sp := range p.spools {
			for _, r := range sp.runs {
				for i := range r.refs {
					add(r.refs[i].msg)
				}
				for _, m := range r.outside {
					add(m)
				}
			}
			for i := range sp.refs {
				add(sp.refs[i].msg)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// family are the copies of a home in three regions. us may not store what is under
// patient/; eu and ap may.
type family struct {
	t      *testing.T
	at     map[string]*rig
	copies map[string]*shipped
	disks  map[string]store // of copies that were not founded by records alone
	host   string
}

func newFamily(t *testing.T) *family {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	r.do(&SetTakeover{Standbys: []string{"us", "ap"}, Replay: []ReplayRule{{Filter: "patient/report", Replay: ReplayReport}, {Filter: "patient/minute", MaxAge: time.Minute}}})
	r.do(&Configure{Revision: 1, Residency: []Residency{{Filter: "patient/#", Regions: []string{"eu", "ap"}}}})
	f := &family{t: t, at: map[string]*rig{"eu": r}, copies: map[string]*shipped{"us": {New(), "us"}, "ap": {New(), "ap"}}, disks: map[string]store{}, host: "eu"}
	f.ship()
	return f
}

func (f *family) r() *rig { return f.at[f.host] }

// ship brings every copy what the host did.
func (f *family) ship() {
	f.t.Helper()
	for _, c := range f.copies {
		if err := c.take(f.t, f.r()); err != nil {
			f.t.Fatal(err)
		}
		if got, want := c.lackList(), c.withheld(); !slices.Equal(got, want) {
			f.t.Fatalf("%s: numbers without a message %v, found %v", c.to, got, want)
		}
	}
}

// promote makes a copy the host.
func (f *family) promote(region string, planned bool) *rig {
	f.t.Helper()
	was := f.r()
	if f.ship(); planned {
		was.do(&Hand{Epoch: was.s.Epoch(), To: region})
		f.ship()
	}
	r := &rig{t: f.t, s: f.copies[region].State, owner: Owner{NodeID(region), Incarnation(was.s.Epoch().Number)}, n: map[Owner]uint64{}, runs: map[NodeID]Incarnation{}, now: was.now, log: slices.Clone(was.log)}
	r.told.dropped, r.kept = map[DropReason]int{}, f.disks[region]
	delete(f.copies, region)
	f.at[region], f.host = r, region
	r.promote(&Promote{Epoch: Epoch{was.s.Epoch().Number + 1, region}, Planned: planned})
	if planned {
		f.copies[regionOf(was)] = &shipped{was.s, regionOf(was)}
	}
	f.ship()
	return r
}

func regionOf(r *rig) string { return r.s.lineage[len(r.s.lineage)-1].Epoch.Host }

// follow has a region stand by with a copy of the host's store.
func (f *family) follow(region string) {
	f.t.Helper()
	own := store{}
	err := veiledScan(f.r().s, f.r().disk(), region, func(k, v []byte) error { own.put(k, v); return nil })
	if err != nil {
		f.t.Fatal(err)
	}
	s := own.load(f.t)
	f.disks[region] = own
	f.copies[region] = &shipped{s, region}
	f.ship()
}

// disk is all of a copy's store.
func (r *rig) disk() store {
	if r.kept == nil {
		r.kept = store{}
	}
	r.s.Flush(r.kept.put, r.kept.del)
	return r.kept
}

// repay has the host bring back what it has, or what a copy has that was set aside.
func (f *family) repay(old *rig) (n int) {
	f.t.Helper()
	r := f.r()
	var origins *Origins
	if old != nil {
		origins = old.s.Origins()
	}
	lost := func(d Debt) (Message, bool) {
		if old == nil {
			return Message{}, false
		}
		seq, ok := origins.Find(Numbered{d.Source, d.SourceSeq})
		if !ok {
			return Message{}, false
		}
		m, err := old.body(seq)
		return m, err == nil
	}
	for after := Seq(0); ; {
		op, last := r.s.Repay(after, 300, f.host, lost, r.body)
		if op == nil {
			break
		}
		n += r.do(op).Count
		after = last
	}
	f.ship()
	return n
}

// restarts checks that what is on the disk is the state.
func (r *rig) restarts(t *testing.T) {
	t.Helper()
	if !same(r.disk().load(t), r.s) {
		t.Error("loaded state differs")
	}
}

func (r *rig) body(seq Seq) (Message, error) {
	b, ok := r.disk()[string(BodyKey(seq))]
	if !ok {
		return Message{}, errors.New("it is not there")
	}
	return DecodeBody(seq, b)
}

// reconcile takes the difference of a lost region's copy in, without what the host may not store.
func (f *family) reconcile(region string) Reconciliation {
	f.t.Helper()
	old, host := f.at[region], f.r()
	fork := old.fork(host)
	e := old.s.Export(fork, old.body).As(region).For(func(ns, topic string) bool { return old.s.MayLeave(ns, topic, f.host) })
	for done := false; !done; {
		op, err := e.Next(400)
		if err != nil {
			f.t.Fatal(err)
		}
		if b := AppendOp(nil, op); strings.Contains(string(b), "patient/") || strings.Contains(string(b), "secret") {
			f.t.Fatalf("part %d takes along what %s may not store", op.Part, f.host)
		}
		done = op.Done
		if o := host.do(op); o.Code != CodeOK {
			f.t.Fatalf("part %d: %#x", op.Part, o.Code)
		}
	}
	f.ship()
	return host.s.Reconciled(fork.From, region)
}

// serve attaches a device and does what its owner would: what may not be delivered is owed. It
// returns what the device got, as "packet id:payload", and acknowledges that.
func (r *rig) serve(id string) (list []string) {
	e := r.attach(id, false, 3600)
	var owed, done []Range
	for _, q := range r.s.Queue(SessionKey{"", id}, e, 0, 1000, nil) {
		m := q.Message
		if q.Evicted {
			m, _ = r.body(q.Seq)
		}
		if m.Withheld {
			owed = append(owed, Range{q.Ref, q.Ref})
			continue
		}
		list = append(list, fmt.Sprintf("%d:%s", PacketID(q.Ref), m.Payload))
		done = append(done, Range{q.Ref, q.Ref})
	}
	r.do(&Owe{Session: SessionKey{"", id}, Epoch: e, Refs: owed})
	r.do(&Ack{Session: SessionKey{"", id}, Epoch: e, Done: done})
	r.do(&Detach{Session: SessionKey{"", id}, Epoch: e})
	return list
}

// eu is lost while three devices are away. One comes to us, one comes later, one never. What us
// may not store waits, and comes once eu serves again: to who was at us behind what came
// meanwhile, to who was not as if nothing had been. What was not shipped comes back as well.
func TestOwed_ComesBackWithTheLostRegion(t *testing.T) {
	f := newFamily(t)
	eu := f.r()
	for _, id := range []string{"here", "late", "never"} {
		e := eu.attach(id, false, 3600)
		eu.sub(id, e, Subscription{Filter: "#", QoS: 2})
		eu.do(&Detach{Session: SessionKey{"", id}, Epoch: e})
	}
	eu.pub("a", "1", 1, false)
	eu.pub("patient/1", "secret 1", 1, true)
	eu.pub("patient/1", "secret 2", 2, false)
	us := f.promote("us", false)
	eu.pub("patient/1", "secret 3, not shipped", 1, false)
	eu.pub("a", "2, not shipped", 1, false)

	eu.want("here, at us", us.serve("here"), []string{"1:1"})
	eu.want("owed", us.s.Status().Owed, 2)
	f.reconcile("eu")
	us.pub("a", "3", 1, false)
	eu.want("here, after eu was reconciled", us.serve("here"), []string{"5:2, not shipped", "6:3"})
	eu.want("owed then", us.s.Status().Owed, 3)
	f.ship()
	f.follow("eu")
	f.follow("ap")
	eu.want("nothing can be brought back at us", f.repay(eu), 0)
	us.restarts(t)

	back := f.promote("eu", true)
	eu.want("brought back", f.repay(eu), 3)
	eu.want("owed at eu", back.s.Status().Owed, 0)
	eu.want("lacking at eu", back.s.Owes(), false)
	eu.want("here", back.serve("here"), []string{"7:secret 1", "3:secret 2", "4:secret 3, not shipped"})
	whole := []string{"1:1", "2:secret 1", "3:secret 2", "4:secret 3, not shipped", "5:2, not shipped", "6:3"}
	eu.want("late", back.serve("late"), whole)
	f.ship()
	back.restarts(t)
	eu.want("never", back.serve("never"), whole)
	e := back.attach("new", false, 3600)
	back.sub("new", e, Subscription{Filter: "patient/#", QoS: 1})
	f.ship()
	eu.want("retained", back.serve("new"), []string{"1:secret 1"})
	eu.want("once more", f.repay(eu), 0)
}

// The second region that is lost may be the one that could not store it: the third one has had
// the messages all the time.
func TestOwed_AThirdRegionHasIt(t *testing.T) {
	f := newFamily(t)
	eu := f.r()
	e := eu.attach("dev", false, 3600)
	eu.sub("dev", e, Subscription{Filter: "#", QoS: 1}, Subscription{Filter: "$share/g/patient/#", QoS: 1})
	eu.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	eu.pub("patient/1", "secret", 1, false)
	eu.pub("patient/report", "secret, for a report", 1, false)
	eu.pub("patient/minute", "secret, for a minute", 1, false)
	eu.do(&Publish{Topic: "patient/1", Payload: []byte("secret, for a while"), QoS: 1, Expiry: 100})
	us := f.promote("us", false)
	eu.want("at us", us.serve("dev"), []string(nil))
	eu.want("owed, to the device and to the group", us.s.Status().Owed, 8)
	us.now += Time(90 * time.Second)
	us.do(&Tick{})
	eu.want("owed later", us.s.Status().Owed, 8)
	us.now += Time(20 * time.Second)
	us.do(&Tick{})
	eu.want("owed when some of it has expired", us.s.Status().Owed, 6)
	ap := f.promote("ap", false)
	eu.want("brought back", f.repay(nil), 2)
	eu.want("dropped by the policy of replay", ap.told.dropped[DropReplay], 4)
	eu.want("at ap", ap.serve("dev"), []string{"9:secret", "10:secret"})
}

// What the device may have had at the lost region at QoS 2 goes by the packet id that it had then.
func TestOwed_KeepsPacketIDsThatMayBeInUse(t *testing.T) {
	f := newFamily(t)
	eu := f.r()
	e := eu.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600, Window: 2}).Epoch
	eu.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	for i := range 4 {
		eu.pub("patient/1", fmt.Sprint("secret ", i), 2, false)
	}
	us := f.promote("us", false)
	us.pub("a", "between", 2, false)
	eu.want("at us", us.serve("dev"), []string{"5:between"})
	f.follow("eu")
	back := f.promote("eu", true)
	f.repay(eu)
	back.pub("a", "behind", 2, false)
	e = back.attach("dev", false, 3600)
	var got []string
	for _, q := range back.s.Queue(SessionKey{"", "dev"}, e, 0, 10, nil) {
		got = append(got, fmt.Sprint(PacketID(q.Ref), ":", string(q.Message.Payload), " ", q.ReleaseFirst))
	}
	eu.want("what goes out, and whether the id is released first", got,
		[]string{"1:secret 0 false", "2:secret 1 false", "3:secret 2 true", "4:secret 3 true", "5:behind true"})
	back.restarts(t)
}

// What the device acknowledged at the lost region, without anybody hearing of it, is not owed.
func TestOwed_NotWhatTheDeviceHas(t *testing.T) {
	f := newFamily(t)
	eu := f.r()
	e := eu.attach("dev", false, 3600)
	eu.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	for i := range 3 {
		eu.pub("patient/1", fmt.Sprint("secret ", i), 2, false)
	}
	us := f.promote("us", false)
	eu.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{1, 1}}, Received: []Range{{2, 2}}})
	eu.want("at us", us.serve("dev"), []string(nil))
	f.reconcile("eu")
	eu.want("owed", us.s.Status().Owed, 1)
	f.follow("eu")
	f.promote("eu", true)
	eu.want("brought back", f.repay(eu), 1)
}

// What another home could not send along with a session is in no copy of this one.
func TestOwed_NothingByAHomeThatNeverMoved(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	r.pub("a", "1", 1, false)
	r.want("skipped", r.do(&Owe{Session: SessionKey{"", "dev"}, Epoch: e, Refs: []Range{{1, 1}}}).Count, 1)
	r.want("owed, counted", []int{r.s.Status().Owed, r.told.dropped[DropResidency]}, []int{0, 1})
}

// A session is owed no more than its queue may have, and nothing once it ended.
func TestOwed_IsBounded(t *testing.T) {
	f := newFamily(t)
	eu := f.r()
	eu.do(&Configure{Revision: 2, Limits: Limits{QueueMessages: 3}, Residency: eu.s.Config().Residency})
	e := eu.attach("dev", false, 3600)
	eu.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	eu.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	for i := range 3 {
		eu.pub("patient/1", fmt.Sprint("secret ", i), 1, false)
	}
	us := f.promote("us", false)
	us.serve("dev")
	eu.want("owed", us.s.Status().Owed, 3)
	eu.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	eu.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: eu.attach("dev", false, 3600), Done: []Range{{1, 3}}})
	eu.pub("patient/1", "secret 4", 1, false) // not shipped
	f.reconcile("eu")
	eu.want("owed, without what was acknowledged", us.s.Status().Owed, 0)
	us.serve("dev")
	eu.want("owed of what was not shipped", us.s.Status().Owed, 1)
	us.attach("dev", true, 3600)
	eu.want("owed to a session that ended", us.s.Status().Owed, 0)
	eu.want("counted", us.told.dropped[DropSessionEnd], 1)
	f.ship()
}
