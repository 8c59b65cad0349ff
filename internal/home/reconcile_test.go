package home

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lost forks a home: what it returns is the copy of another region, promoted without
// the host's word; r goes on as the host that it does not hear of.
func (r *rig) lost(grace uint32) *rig {
	return r.successor(&Promote{Epoch: us(r.s.Epoch().Number + 1), Grace: grace})
}

// successor is another region's copy, promoted.
func (r *rig) successor(op *Promote) *rig {
	r.t.Helper()
	o := &rig{t: r.t, s: replayed(r.t, r.log), owner: Owner{"us1", 1}, n: map[Owner]uint64{}, runs: map[NodeID]Incarnation{}, now: r.now, log: slices.Clone(r.log)}
	o.told.dropped = map[DropReason]int{}
	o.promote(op)
	return o
}

// fork is where r and the copy in force went apart.
func (r *rig) fork(in *rig) Fork {
	r.t.Helper()
	f, diverged := r.s.ForkFrom(in.s.Lineage())
	if !diverged {
		r.t.Fatal("the copies did not go apart")
	}
	return f
}

// reconcile takes what r went on to into the copy in force, in parts of about a size.
func (in *rig) reconcile(r *rig, size int) Reconciliation {
	r.t.Helper()
	f := r.fork(in)
	e := r.s.Export(f, func(Seq) (Message, error) { return Message{}, errors.New("no disk") })
	for done := false; !done; {
		op, err := e.Next(size)
		if err != nil {
			r.t.Fatal(err)
		}
		done = op.Done
		if o := in.do(op); o.Code != CodeOK {
			r.t.Fatalf("part %d: %#x", op.Part, o.Code)
		}
	}
	return in.s.Reconciled(f.From, f.From.Host)
}

// The host handed the home over and was cut off before the last records were shipped. The
// standby is promoted without them: what was acknowledged before the handing over is to be
// taken in. What follows it in the log is void, whoever promotes.
func TestFork_HandedOver(t *testing.T) {
	for _, c := range []struct {
		name    string
		heard   bool
		planned bool
		want    uint64 // references that the new host lacks
	}{
		{"the heir had the last word", true, true, 0},
		{"the heir had the last word, and an operator hurried", true, false, 0},
		{"it lacks what was before it", false, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newCopies(t)
			r.sub("dev", r.attach("dev", false, 3600), Subscription{Filter: "a", QoS: 1})
			r.pub("a", "both", 1, false)
			heir := func() *rig { return r.successor(&Promote{Epoch: us(2), Grace: 30, Planned: c.planned}) }
			var in *rig
			if !c.heard {
				in = heir()
				r.pub("a", "only here", 1, false)
			}
			r.want("handed", r.do(&Hand{Epoch: r.s.Epoch(), To: "us"}).Code, CodeOK)
			if c.heard {
				in = heir()
			}
			r.want("behind the handing over", r.pub("a", "void", 1, false).Code, CodeVoid)
			if void := r.fork(in).Void; void != c.planned {
				t.Fatalf("void: %t", void)
			}
			if !c.planned {
				r.want("delivered", in.reconcile(r, 1<<20).Delivered, c.want)
			}
		})
	}
}

// peek lists the payloads of any session's queue.
func (r *rig) peek(id string) (list []string) {
	for _, q := range r.s.Peek(SessionKey{"", id}, 0, 1000) {
		list = append(list, string(q.Message.Payload))
	}
	return list
}

// The region eu dies with eighty messages that were acknowledged and not shipped. The
// device has not come back by the time that its disks do: it goes on as if nothing had
// been, with the numbers that eu gave, and what us took in for it behind that.
func TestReconcile_ASessionThatNobodyTouched(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	for _, p := range []string{"1", "2", "3"} {
		r.pub("a", p, 2, false)
	}
	in := r.lost(30)
	// What eu does without us hearing of it.
	r.pub("a", "x", 2, false)
	r.pub("a", "y", 2, false)
	r.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{1, 1}}, Received: []Range{{2, 2}, {4, 4}}})
	// What us does.
	in.pub("a", "new", 2, false)
	d := r.s.Divergence(r.fork(in))
	r.want("difference", []int{d.Messages, d.Refs, d.Attached, d.ByAge[0]}, []int{2, 2, 2, 2})

	sum := in.reconcile(r, 1)
	r.want("delivered, removed", []uint64{sum.Delivered, sum.Removed}, []uint64{2, 1})
	r.want("queue", in.peek("dev"), []string{"2", "3", "x", "y", "new"})
	e = in.attach("dev", false, 3600)
	var got []string
	for _, q := range in.s.Queue(SessionKey{"", "dev"}, e, 0, 10, nil) {
		got = append(got, fmt.Sprint(q.Ref, " ", q.Received, " ", q.ReleaseFirst))
	}
	r.want("numbers, whether the device has it, whether the id may be taken", got, []string{"2 true false", "3 false false", "4 true false", "5 false false", "6 false false"})
	in.stored(t)
}

// stored checks that the state outlives a restart, flushed in any parts.
func (r *rig) stored(t *testing.T) {
	t.Helper()
	if r.kept == nil {
		r.kept = store{}
	}
	r.s.Flush(r.kept.put, r.kept.del)
	if back := r.kept.load(t); !same(back, r.s) {
		t.Error("loaded state differs")
	}
	if !same(replayed(t, r.log), r.s) {
		t.Error("another copy differs")
	}
}

// The device is back at us before eu's disks are: what is missing comes late, at the
// end; what it acknowledged at eu and was not sent again goes; its subscriptions are
// those of now.
func TestReconcile_ASessionThatIsBack(t *testing.T) {
	r := newCopies(t)
	e := r.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600, Window: 2}).Epoch
	r.sub("dev", e, Subscription{Filter: "a/#", QoS: 1})
	for i := range 5 {
		r.pub("a", fmt.Sprint(i), 1, false)
	}
	in := r.lost(30)
	r.pub("a", "x", 1, false)
	r.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{1, 4}}})
	r.sub("dev", e, Subscription{Filter: "there", QoS: 1})
	ue := in.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600, Window: 2}).Epoch
	in.sub("dev", ue, Subscription{Filter: "here", QoS: 1})
	in.pub("a", "new", 1, false)
	sum := in.reconcile(r, 1)
	r.want("delivered, removed", []uint64{sum.Delivered, sum.Removed}, []uint64{1, 2})
	r.want("queue: two may be on their way", in.queue("dev", ue), []string{"0", "1", "4", "new", "x"})
	info, _ := in.s.Session(SessionKey{"", "dev"})
	r.want("subscriptions", len(info.Subscriptions), 2)
	in.stored(t)
}

// A device that eu had never seen connects there while it is cut off, and gets a
// command. us has not heard of it, until eu is back.
func TestReconcile_ASessionThatBeganThere(t *testing.T) {
	r := newCopies(t)
	in := r.lost(30)
	e := r.attach("young", false, 3600)
	r.sub("young", e, Subscription{Filter: "cmd", QoS: 1})
	r.pub("cmd", "open", 1, false)
	in.pub("cmd", "nobody", 1, false)
	sum := in.reconcile(r, 1<<20)
	r.want("imported, delivered", []uint64{sum.Imported, sum.Delivered}, []uint64{1, 1})
	r.want("queue", in.peek("young"), []string{"open"})
	in.pub("cmd", "shut", 1, false)
	out := in.do(&Attach{Session: SessionKey{"", "young"}, Expiry: 3600})
	r.want("present", out.SessionPresent, true)
	r.want("queue", in.queue("young", out.Epoch), []string{"open", "shut"})
	in.stored(t)
}

// The device began anew on the other side: what it was is counted and not delivered.
func TestReconcile_ASessionThatIsAnotherOne(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	in := r.lost(30)
	r.pub("a", "old", 1, false)
	ue := in.attach("dev", true, 3600)
	in.sub("dev", ue, Subscription{Filter: "#", QoS: 1})
	sum := in.reconcile(r, 1<<20)
	r.want("other", sum.Other, 1)
	r.want("queue", in.queue("dev", ue), []string(nil))
}

// A part that comes again does nothing; one behind a gap is refused; a fenced copy
// whose disks come back twice is taken in once.
func TestReconcile_PartsComeOnceAndInOrder(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	in := r.lost(30)
	r.pub("a", "x", 1, false)
	x := r.s.Export(r.fork(in), nil)
	var parts []*Reconcile
	for {
		op, _ := x.Next(1)
		if parts = append(parts, op); op.Done {
			break
		}
	}
	r.want("a gap", in.do(parts[1]).Code, CodeGap)
	for _, op := range parts {
		r.want("in order", in.do(op).Code, CodeOK)
		r.want("again", in.do(op).Code, CodeOK)
	}
	in.reconcile(r, 1<<20)
	r.want("queue", in.peek("dev"), []string{"x"})
}

// ap sent messages to eu that had them acknowledged and not shipped, and sends them to
// us again once it hears who has the home. Whichever comes first, they arrive once.
func TestReconcile_WhatALinkBringsToo(t *testing.T) {
	for _, first := range []string{"link", "disks"} {
		t.Run(first, func(t *testing.T) {
			r := newCopies(t)
			e := r.attach("dev", false, 3600)
			r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
			in := r.lost(30)
			frame := func() *Frame {
				return &Frame{Source: Source{"ap", Epoch{1, "ap"}}, Class: "c", From: 0, To: 2, Messages: []FrameMessage{
					{Seq: 1, Topic: "t", Payload: []byte("f1"), QoS: 1, Live: true}, {Seq: 2, Topic: "t", Payload: []byte("f2"), QoS: 1, Live: true}}}
			}
			r.do(frame())
			if first == "link" {
				in.do(frame())
			}
			in.reconcile(r, 1)
			in.stored(t)
			if first == "disks" {
				in.do(frame())
			}
			r.want("queue", in.peek("dev"), []string{"f1", "f2"})
			in.stored(t)
		})
	}
}

// The device was cut off with eu, and lost its connection there: eu published its
// will. So did us, when the grace was over. It arrives once.
func TestReconcile_AWillIsPublishedOnce(t *testing.T) {
	for _, fires := range []bool{true, false} {
		r := newCopies(t)
		e := r.attach("watch", false, 3600)
		r.sub("watch", e, Subscription{Filter: "will", QoS: 1})
		dev := r.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600, Will: &Will{Topic: "will", Payload: []byte("gone"), QoS: 1}})
		in := r.lost(30)
		r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: dev.Epoch})
		if fires {
			in.now += Time(time.Minute)
			in.do(&Tick{})
		}
		sum := in.reconcile(r, 1)
		in.now += Time(time.Minute)
		in.do(&Tick{})
		r.want("wills", in.peek("watch"), []string{"gone"})
		r.want("known", sum.Wills, map[bool]int{true: 1, false: 0}[fires])
		in.stored(t)
	}
}

// An unlock command that is three hours late is reported, not delivered, where the
// operator says so; a retained value is what is newest whatever they say.
func TestReconcile_ByPolicy(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 36000)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	r.do(&SetTakeover{Standbys: []string{"us"}, Replay: []ReplayRule{{Filter: "lock/#", Replay: ReplayReport}, {Filter: "#", MaxAge: time.Hour}}})
	r.do(&Publish{Topic: "state", Payload: []byte("old"), QoS: 1, Retain: true})
	in := r.lost(30)
	r.pub("a", "too old", 1, false)
	r.now += Time(2 * time.Hour)
	r.pub("lock/1", "unlock", 1, false)
	r.pub("a", "fresh", 1, false)
	r.do(&Publish{Topic: "b", Payload: []byte("expires"), QoS: 1, Expiry: 60})
	r.do(&Publish{Topic: "state", Payload: []byte("new"), QoS: 1, Retain: true})
	in.now = r.now + Time(5*time.Minute)
	sum := in.reconcile(r, 1<<20)
	r.want("reported, expired", []uint64{sum.Reported, sum.Expired}, []uint64{2, 1})
	r.want("queue", in.peek("dev"), []string{"old", "fresh", "new"})
	kept, _ := in.s.RetainedMessage("", "state")
	r.want("retained", string(kept.Payload), "new")
	d := r.s.Divergence(r.fork(in))
	r.want("ages", d.ByAge, [5]int{4, 0, 0, 1, 0})
}

// Members of a shared subscription worked on at eu, on what both regions had and on
// what only eu had.
func TestReconcile_ASharedSubscription(t *testing.T) {
	r := newCopies(t)
	e := r.do(&Attach{Session: SessionKey{"", "w"}, Expiry: 3600, Window: 2}).Epoch
	r.sub("w", e, Subscription{Filter: "$share/g/#", QoS: 1})
	for i := range 4 {
		r.pub("a", fmt.Sprint(i), 1, false)
	}
	in := r.lost(30)
	r.do(&Ack{Session: SessionKey{"", "w"}, Epoch: e, Done: []Range{{1, 2}}})
	r.pub("a", "x", 1, false)
	in.reconcile(r, 1)
	e = in.do(&Attach{Session: SessionKey{"", "w"}, Expiry: 3600}).Epoch
	r.want("queue", in.queue("w", e), []string{"2", "3", "x"})
	in.stored(t)
}

// Whatever both regions did with a fleet after they went apart, and in whatever parts
// it comes back: what eu acknowledged and nobody has taken arrives once, what us took
// in stays, once, and every copy and every restart sees the same.
func TestReconcile_Property(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 9))
		r := newCopies(t)
		fleet := newFleet(r, rnd)
		fleet.act(40)
		in := r.lost(uint32(rnd.IntN(3)))
		there := fleet.at(in)
		r.do(&Tick{})
		fleet.act(rnd.IntN(40))
		there.act(rnd.IntN(40))
		before := map[string][]string{}
		for _, id := range fleet.ids {
			before[id] = in.peek(id)
		}
		first, began := r.fork(in).First, in.s.Lineage()[1].Sessions
		in.reconcile(r, 1+rnd.IntN(400))
		for _, id := range fleet.ids {
			got := in.peek(id)
			if n := slices.Clone(got); len(slices.Compact(sorted(n))) != len(got) {
				rt.Fatalf("seed %d: %s has something twice: %v", seed, id, got)
			}
			k := SessionKey{"", id}
			mine, ok := in.s.Session(k)
			theirs, was := r.s.Session(k)
			if ok && was && in.s.sessions[k].id == r.s.sessions[k].id && in.s.sessions[k].id <= uint64(began) {
				for _, q := range r.s.Peek(k, 0, 1000) {
					if p := string(q.Message.Payload); q.Seq >= first && !slices.Contains(got, p) {
						rt.Fatalf("seed %d: %s lacks %s of eu\nat us %+v %v\nat eu %+v %v", seed, id, p, mine, got, theirs, r.peek(id))
					}
				}
			}
			for _, p := range before[id] {
				if p[0] == 'u' && !slices.Contains(got, p) {
					rt.Fatalf("seed %d: %s lost %s of us: %v", seed, id, p, got)
				}
			}
		}
		there.act(20)
		in.stored(t)
		if rt.Failed() || t.Failed() {
			rt.Fatalf("seed %d", seed)
		}
	})
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// fleet is some devices that do things in one region.
type fleet struct {
	r   *rig
	rnd *rand.Rand
	ids []string
	n   *int
	tag string
}

func newFleet(r *rig, rnd *rand.Rand) *fleet {
	return &fleet{r: r, rnd: rnd, ids: []string{"d1", "d2", "d3", "d4"}, n: new(int), tag: "e"}
}

func (f *fleet) at(r *rig) *fleet { return &fleet{r: r, rnd: f.rnd, ids: f.ids, n: f.n, tag: "u"} }

func (f *fleet) act(times int) {
	for range times {
		f.once()
	}
}

func (f *fleet) once() {
	id := f.ids[f.rnd.IntN(len(f.ids))]
	k := SessionKey{"", id}
	info, _ := f.r.s.Session(k)
	f.r.now += Time(f.rnd.IntN(2)) * Time(time.Second)
	switch f.rnd.IntN(9) {
	case 0, 1:
		e := f.r.do(&Attach{Session: k, CleanStart: f.rnd.IntN(12) == 0, Expiry: 3600, Window: uint16(1 + f.rnd.IntN(3))}).Epoch
		f.r.do(&Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: []string{"#", "a/+", "b/#"}[f.rnd.IntN(3)], QoS: byte(1 + f.rnd.IntN(2)), RetainHandling: 2}}})
	case 2:
		f.r.do(&Detach{Session: k, Epoch: info.Epoch, DropWill: true})
	case 3, 4:
		q := f.r.s.Queue(k, info.Epoch, 0, 3, nil)
		for _, x := range q[:min(len(q), f.rnd.IntN(3))] {
			f.r.do(&Ack{Session: k, Epoch: info.Epoch, Received: []Range{{x.Ref, x.Ref}}})
			if f.rnd.IntN(2) == 0 {
				f.r.do(&Ack{Session: k, Epoch: info.Epoch, Done: []Range{{x.Ref, x.Ref}}})
			}
		}
	default:
		*f.n++
		f.r.pub([]string{"a/b", "b/c", "c"}[f.rnd.IntN(3)], fmt.Sprint(f.tag, *f.n), byte(1+f.rnd.IntN(2)), false)
	}
}

// A part that does not follow leaves nothing behind: what is kept of copies without a name goes by the epoch alone.
func TestReconcile_APartThatDoesNotFollow(t *testing.T) {
	s := New()
	o := s.reconcile(&Reconcile{Fork: Fork{From: Epoch{Number: 1, Host: "eu"}}, Part: 2, Copy: "us"})
	if o.Code != CodeGap || len(s.reconciled) > 0 {
		t.Errorf("%+v, kept of %v", o, s.copies(false))
	}
}
