package home

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
)

var dev = SessionKey{"", "dev"}

// two are homes with links to each other, at the level at which sessions move.
func two(t *testing.T) (a, b *rig) {
	a, b = newRig(t, "a"), newRig(t, "b")
	for r, peer := range map[*rig]ID{a: "b", b: "a"} {
		r.do(&Raise{Level: 3})
		r.do(&SetPeer{Peer: peer})
		r.s.EnableDirectory(1)
	}
	return a, b
}

// wish asks for the session and returns the claim.
func (r *rig) wish(from ID) uint64 {
	return uint64(r.do(&Adopt{Step: AdoptWish, Session: dev, From: from, For: 8 * time.Second}).Seq)
}

// begin moves the session as far as that its device can attach it.
func begin(a, b *rig) (claim uint64) {
	a.t.Helper()
	claim = b.wish(a.s.ID())
	a.want("begin", a.do(&Move{Step: MoveBegin, Session: dev, To: b.s.ID(), Claim: claim}).Code, CodeOK)
	give(a, b, claim, 1<<20)
	return claim
}

// give brings over what waits, in parts.
func give(a, b *rig, claim uint64, max int) {
	a.t.Helper()
	for {
		in, ok := b.s.ArrivalOf(dev)
		if !ok {
			a.t.Fatal("nothing comes")
		}
		list, until, ok, err := a.s.Gone(dev, b.s.ID(), claim, in.Got, max, string(b.s.ID()), a.kept.body(a.t))
		if !ok || err != nil {
			a.t.Fatalf("gone: %t %v", ok, err)
		}
		op := &Adopt{Step: AdoptPart, Session: dev, From: a.s.ID(), Claim: claim, Messages: list, Until: until}
		if !in.Begun {
			l, _ := a.s.Leaving(dev, b.s.ID(), claim, Epoch{})
			op.Step, op.Epoch, op.Export, op.Stale, op.WillIn, op.Sources = AdoptBegin, l.Epoch, l.Session, l.Stale, l.WillIn, []ID{a.s.ID()}
		}
		b.want("adopt", b.do(op).Code, CodeOK)
		if in, _ = b.s.ArrivalOf(dev); in.Got == until && len(list) == 0 || in.Complete && len(list) == 0 {
			return
		}
	}
}

func (r *rig) settle(claim uint64, from ID, list ...Settled) {
	r.t.Helper()
	r.want("cut", r.do(&Adopt{Step: AdoptCut, Session: dev, From: from, Claim: claim, Settled: list}).Code, CodeOK)
	r.want("settle", r.do(&Adopt{Step: AdoptSettle, Session: dev, From: from, Claim: claim, Settled: list}).Code, CodeOK)
}

func (s store) body(t *testing.T) func(Seq) (Message, error) {
	return func(seq Seq) (Message, error) { return DecodeBody(seq, s[string(BodyKey(seq))]) }
}

// A session arrives as it left: what waits, under the same packet ids, what the device has
// received of it, what it uses itself, what it subscribed to.
func TestMove_ArrivesAsItLeft(t *testing.T) {
	for _, max := range []int{1, 300, 1 << 20} {
		a, b := two(t)
		e := a.attach("dev", true, 3600)
		a.sub("dev", e, Subscription{Filter: "x/#", QoS: 2, ID: 7})
		for i := range 40 {
			a.pub("x/y", fmt.Sprint(i), byte(1+i%2), false)
		}
		a.do(&Ack{Session: dev, Epoch: e, Received: []Range{{4, 4}, {6, 6}}, Done: []Range{{1, 2}, {5, 5}}})
		a.do(&Publish{Session: dev, Epoch: e, PacketID: 9, Topic: "p", Payload: []byte("in"), QoS: 2})
		a.kept = store{}
		a.s.Flush(a.kept.put, a.kept.del)
		a.s.Evict(0)
		claim := b.wish("a")
		a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
		a.want("the device at a", a.told.ended, []string{fmt.Sprintf("dev@%d:%d", e, EndMoved)})
		give(a, b, claim, max)
		o := b.do(&Attach{Session: dev, Expiry: 3600, Window: 8})
		if !o.SessionPresent || o.Epoch <= e {
			t.Fatalf("attach: %+v, the epoch at a was %d", o, e)
		}
		q := b.s.Queue(dev, o.Epoch, 0, 100, nil)
		b.want("waiting", len(q), 37)
		b.want("the first", fmt.Sprint(q[0].Ref, " ", string(q[0].Message.Payload), " ", q[0].QoS, q[0].SubIDs), "3 2 1 [7]")
		b.want("received", fmt.Sprint(q[1].Ref, q[1].Received, q[2].Ref, q[2].Received, q[3].Received), "4 true 6 true false")
		if o.Resumed < 40 {
			t.Errorf("references up to %d count as sent", o.Resumed)
		}
		b.want("again", b.do(&Publish{Session: dev, Epoch: o.Epoch, PacketID: 9, Topic: "p", Payload: []byte("in"), QoS: 2}).Seq, 0)
		b.pub("x/z", "here", 1, false)
		a.want("done", a.do(&Move{Step: MoveDone, Session: dev, To: "b", Claim: claim}).Code, CodeOK)
		a.want("left at a", fmt.Sprint(a.s.Status().Sessions, a.s.Status().Queued, a.s.Status().Filters), "0 0 0")
		b.settle(claim, "a", Settled{Home: "b"}, Settled{Home: "a", Epoch: Epoch{1, "a"}, To: a.s.HighSeq()})
		list := b.waiting(o.Epoch)
		b.want("the last", list[len(list)-1], "here")
	}
}

// What is on its way while a session moves comes once, and behind what came before: by the
// home that it left up to a number, by its own way above.
func TestMove_MessagesOnTheirWay(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", true, 3600)
	a.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	epoch := Epoch{1, "c"}
	fromC := func(r *rig, n Seq) {
		r.do(&Frame{Source: Source{"c", epoch}, From: n - 1, To: n, Messages: []FrameMessage{{Seq: n, Topic: "c", Payload: fmt.Append(nil, "c", n), QoS: 2, Live: true}}})
	}
	fromC(a, 1)
	a.do(&Ack{Session: dev, Epoch: e, Received: []Range{{1, 1}}})
	a.do(&Ack{Session: dev, Epoch: e, Done: []Range{{1, 1}}})
	b.pub("b", "b1", 2, false) // it is on its way to a
	claim := b.wish("a")
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
	l, _ := a.s.Leaving(dev, "b", claim, Epoch{})
	b.do(&Adopt{Step: AdoptBegin, Session: dev, From: "a", Claim: claim, Epoch: l.Epoch, Export: l.Session, Sources: []ID{"a", "c"}, Until: l.Session.NextRef})
	o := b.do(&Attach{Session: dev, Expiry: 3600})
	fromC(b, 1) // c's link to b is slow: the device had this one
	fromC(a, 2) // published before c knew
	b.pub("b", "b2", 2, false)
	a.pub("a", "a1", 2, false)
	fromC(b, 2)
	fromC(b, 3)
	fromC(a, 3) // a still wants it
	a.do(&Frame{Source: Source{"b", Epoch{1, "b"}}, To: 2, Messages: []FrameMessage{
		{Seq: 1, Topic: "b", Payload: []byte("b1"), QoS: 2, Live: true}, {Seq: 2, Topic: "b", Payload: []byte("b2"), QoS: 2, Live: true}}})
	b.want("before anything is known", b.waiting(o.Epoch), "[]")
	if x, _ := b.s.ArrivalOf(dev); x.Held != 4 || len(x.Waits) != 3 {
		t.Errorf("held: %+v", x)
	}
	b.restart()
	b.settle(claim, "a", Settled{Home: "c", Epoch: epoch, To: 2}) // before the strays came: they would be behind
	b.want("c alone", b.waiting(o.Epoch), "[c3]")
	give(a, b, claim, 1<<20)
	b.want("strays", b.waiting(o.Epoch), "[c3 c2 a1 b1]")
	b.settle(claim, "a", Settled{Home: "b"}, Settled{Home: "a", Epoch: Epoch{1, "a"}, To: a.s.HighSeq()})
	b.want("all", b.waiting(o.Epoch), "[c3 c2 a1 b1 b2]")
	b.do(&Adopt{Step: AdoptOver, Session: dev, From: "a", Claim: claim})
	in, _ := b.s.Roaming()
	b.want("on their way", len(in), 0)
	fromC(b, 4)
	b.want("afterwards", b.waiting(o.Epoch)[5], "c4")
}

// A session that the other home does not take goes on where it was, with what came meanwhile.
func TestMove_Back(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", true, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 1}, Subscription{Filter: "$share/g/y", QoS: 1})
	claim := b.wish("a")
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
	a.want("attached meanwhile", a.do(&Attach{Session: dev, Expiry: 3600}).Code, CodeVoid)
	a.want("asked for by another", a.do(&Move{Step: MoveBegin, Session: dev, To: "c", Claim: claim}).Code, CodeVoid)
	a.pub("x", "1", 1, false)
	a.restart()
	a.want("back", a.do(&Move{Step: MoveBack, Session: dev, To: "b", Claim: claim}).Code, CodeOK)
	a.want("over", b.do(&Adopt{Step: AdoptOver, Session: dev, From: "a", Claim: claim}).Code, CodeOK)
	o := a.do(&Attach{Session: dev, Expiry: 3600})
	a.pub("y", "2", 1, false)
	a.want("queue", a.waiting(o.Epoch), "[1 2]")
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: 99})
	a.do(&Move{Step: MoveTaken, Session: dev, To: "b", Claim: 99})
	a.want("back once it was taken", a.do(&Move{Step: MoveBack, Session: dev, To: "b", Claim: 99}).Code, CodeVoid)
}

// The device began anew before the home that gave the session away was told: that is told
// still, and nothing of the old session comes back.
func TestMove_EndsWhileItSettles(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", true, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 1})
	a.pub("x", "1", 1, false)
	claim := begin(a, b)
	b.pub("x", "held", 1, false)
	o := b.do(&Attach{Session: dev, CleanStart: true, Expiry: 60})
	b.want("present", o.SessionPresent, false)
	b.restart()
	x, ok := b.s.ArrivalFor(dev, "a", claim)
	if !ok || !x.Over || x.Claim != claim || x.From != "a" {
		t.Errorf("nobody is told: %+v", x)
	}
	b.want("queued", b.s.Status().Queued, 0)
	b.want("told", b.do(&Adopt{Step: AdoptOver, Session: x.Session, From: "a", Claim: claim}).Code, CodeOK)
	if _, ok := b.s.ArrivalFor(dev, "a", claim); ok {
		t.Error("it is told for ever")
	}
}

// A device goes back before all homes' messages reach the session where it was meanwhile: what
// it left here is kept apart, goes the way round, and is over when that home has it.
func TestMove_BackBeforeItSettled(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", true, 3600)
	a.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	there := begin(a, b)
	a.do(&Move{Step: MoveTaken, Session: dev, To: "b", Claim: there})
	a.pub("x", "left", 2, false)
	a.restart()
	a.want("listed", fmt.Sprint(len(a.s.Sessions(SessionKey{}, 9)), a.s.Listed(dev)), "0 [b]")
	back := begin(b, a)
	b.do(&Move{Step: MoveTaken, Session: dev, To: "a", Claim: back})
	b.restart()
	in, _ := b.s.Roaming()
	b.want("at b", fmt.Sprint(len(in), in[0].Session.Device() == dev, in[0].Session == dev), "1 true false")
	o := a.do(&Attach{Session: dev, Expiry: 3600})
	a.want("queue", fmt.Sprint(o.SessionPresent, a.waiting(o.Epoch)), "true []")
	list, until, _, _ := a.s.Gone(dev, "b", there, in[0].Got, 1<<20, "b", a.kept.body(t))
	b.want("brought", b.do(&Adopt{Step: AdoptPart, Session: in[0].Session, From: "a", Claim: there, Messages: list, Until: until}).Code, CodeOK)
	list, until, _, _ = b.s.Gone(dev, "a", back, 0, 1<<20, "a", b.kept.body(t))
	a.do(&Adopt{Step: AdoptPart, Session: dev, From: "b", Claim: back, Messages: list, Until: until})
	a.want("queue then", a.waiting(o.Epoch), "[left]")
	a.want("done", a.do(&Move{Step: MoveDone, Session: dev, To: "b", Claim: there}).Code, CodeOK)
	a.want("sessions", a.s.Status().Sessions, 1)
}

// An expired wish does not keep a device out for ever.
func TestMove_WishExpires(t *testing.T) {
	_, b := two(t)
	b.wish("a")
	b.want("attached while it stands", b.do(&Attach{Session: dev, Expiry: 60}).Code, CodeVoid)
	b.now = b.now.Add(9 * time.Second)
	b.want("attached then", b.do(&Attach{Session: dev, Expiry: 60}).Code, CodeOK)
}

// restart replaces the state by what Flush wrote of it.
func (r *rig) restart() {
	r.t.Helper()
	if r.kept == nil {
		r.kept = store{}
	}
	r.s.Flush(r.kept.put, r.kept.del)
	r.s.Evict(0)
	back := r.kept.load(r.t)
	if back.Digest() != r.s.Digest() {
		r.t.Fatal("the loaded state is another one")
	}
	back.EnableDirectory(1)
	r.s = back
}

// waiting lists what waits for dev, also of what is only on the disk.
func (r *rig) waiting(e SessionEpoch) (list []string) {
	for _, q := range r.s.Queue(dev, e, 0, 100, nil) {
		if q.Evicted {
			q.Message, _ = r.kept.body(r.t)(q.Seq)
		}
		list = append(list, string(q.Message.Payload))
	}
	return list
}

// What one home knows of the sessions of another follows them, and is there after a restart.
func TestDirectory_Follows(t *testing.T) {
	a, b := two(t)
	at := uint64(1)
	follow := func() {
		n, ok := a.s.OwnDirectory(1, at)
		if !ok || !n.Known {
			t.Fatalf("news: %+v", n)
		}
		at = n.Position
		b.do(&Directory{Peer: "a", High: n.High, Add: n.Add, Remove: n.Remove})
		if d, _ := b.s.PeerDirectory("a"); d != n.Digest {
			t.Errorf("parts %v differ", d.Differing(&n.Digest))
		}
	}
	for i := range 100 {
		a.attach(fmt.Sprint("dev", i), true, 60)
	}
	follow()
	for i := range 50 {
		a.do(&EndSession{Session: SessionKey{"", fmt.Sprint("dev", i)}})
	}
	a.attach("dev7", true, 60)
	follow()
	b.restart()
	b.want("dev7", b.s.Listed(SessionKey{"", "dev7"}), "[a]")
	b.want("dev8", b.s.Listed(SessionKey{"", "dev8"}), "[]")
	b.want("sessions", b.s.Directories()[0].Sessions, 51)
	if e := b.attach("dev99", true, 60); e <= a.s.SessionEpoch() {
		t.Errorf("the session that began later has epoch %d, of %d", e, a.s.SessionEpoch())
	}
	b.want("suspects", b.s.Suspects(10), "[dev99]")
	n, _ := a.s.OwnDirectory(7, 1)
	if n.Known {
		t.Error("another run's position is known")
	}
	var all []byte
	for i := range dirParts {
		all = append(all, byte(i))
	}
	b.do(&Directory{Peer: "a", Reset: all, Add: a.s.DirectoryParts(all), Whole: true})
	if d, whole := b.s.PeerDirectory("a"); d != n.Digest || !whole {
		t.Error("the whole directory is another one")
	}
	b.do(&ForgetPeer{Peer: "a"})
	b.want("forgotten", b.s.Listed(SessionKey{"", "dev7"}), "[]")
	b.restart()
}

// A device came to have a session in each of two homes: what it subscribed to and what waits in
// the other one is taken into the one that counts, and nothing of it twice that waits here.
func TestMove_Merges(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", false, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 1}, Subscription{Filter: "y", QoS: 1})
	for i := range 3 {
		a.pub("x", fmt.Sprint(i), 1, false)
	}
	a.do(&Ack{Session: dev, Epoch: e, Done: []Range{{1, 1}}})
	e = b.attach("dev", false, 3600)
	b.sub("dev", e, Subscription{Filter: "x", QoS: 1})
	b.do(&Frame{Source: Source{"a", Epoch{1, "a"}}, To: 3, Messages: []FrameMessage{{Seq: 3, Topic: "x", Payload: []byte("2"), QoS: 1, Live: true}}})
	claim := uint64(b.do(&Adopt{Step: AdoptMerge, Session: dev, From: "a", For: time.Minute}).Seq)
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
	b.restart()
	l, _ := a.s.Leaving(dev, "b", claim, Epoch{})
	list, until, _, _ := a.s.Gone(dev, "b", claim, 0, 1<<20, "b", nil)
	op := &Adopt{Step: AdoptBegin, Session: dev, From: "a", Claim: claim, Epoch: l.Epoch, Export: l.Session, Messages: list, Until: until}
	b.want("begin", b.do(op).Code, CodeOK)
	b.restart()
	b.want("once more", b.do(op).Code, CodeOK)
	b.want("queue", b.waiting(e), "[2 1]")
	b.do(&Adopt{Step: AdoptOver, Session: dev, From: "a", Claim: claim})
	b.pub("y", "now", 1, false)
	b.want("queue in the end", b.waiting(e), "[2 1 now]")
	x, _ := b.s.Session(dev)
	b.want("it did not begin anew", x.Fresh, 0)
	e = b.attach("dev", true, 3600)
	b.restart()
	x, _ = b.s.Session(dev)
	b.want("it began anew", x.Fresh, e)
}

// That its device began anew goes with a session, wherever it goes on: an older one of it is nothing to it there.
func TestMove_BeganAnew(t *testing.T) {
	a, b := two(t)
	a.attach("other", false, 3600)
	began := a.attach("dev", true, 3600)
	a.attach("dev", false, 3600)
	claim := begin(a, b)
	b.restart()
	x, _ := b.s.Session(dev)
	b.want("after it moved", x.Fresh, began)
	a.want("done", a.do(&Move{Step: MoveDone, Session: dev, To: "b", Claim: claim}).Code, CodeOK)
	b.do(&Adopt{Step: AdoptOver, Session: dev, From: "a", Claim: claim})
	a.attach("dev", false, 3600)
	claim = uint64(a.do(&Adopt{Step: AdoptMerge, Session: dev, From: "b", For: time.Minute}).Seq)
	b.do(&Move{Step: MoveBegin, Session: dev, To: "a", Claim: claim})
	l, _ := b.s.Leaving(dev, "a", claim, Epoch{})
	a.want("merge", a.do(&Adopt{Step: AdoptBegin, Session: dev, From: "b", Claim: claim, Epoch: l.Epoch, Export: l.Session}).Code, CodeOK)
	a.restart()
	x, _ = a.s.Session(dev)
	a.want("after it was taken into another one", x.Fresh, began)
}

// A home that forgot a claim may have served the device for a while: once the session goes on where it was,
// ids that came since are released before they are used.
func TestMove_BackFromAHomeThatForgot(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", false, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 2})
	a.pub("x", "1", 2, false)
	claim := begin(a, b)
	a.pub("x", "2", 2, false)
	a.do(&Move{Step: MoveBack, Session: dev, To: "b", Claim: claim})
	a.restart()
	e = a.attach("dev", false, 3600)
	q := a.s.Queue(dev, e, 0, 9, nil)
	a.want("released first", fmt.Sprint(q[0].ReleaseFirst, q[1].ReleaseFirst), "false true")
}

// The home that a session left goes on at a standby that was behind: what came there since is brought,
// under numbers that meant something else before.
func TestMove_TheHomeItLeftWasBehind(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", false, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 1})
	a.pub("x", "1", 1, false)
	claim := begin(a, b)
	a.do(&Move{Step: MoveTaken, Session: dev, To: "b", Claim: claim})
	a.pub("x", "2", 1, false)
	behind := a.lost(0)
	a.pub("x", "3", 1, false)
	give(a, b, claim, 1<<20)
	behind.pub("x", "4", 1, false)
	in, _ := b.s.ArrivalOf(dev)
	l, ok := behind.s.Leaving(dev, "b", claim, in.Epoch)
	b.want("both have", fmt.Sprint(ok, l.Common, in.Got), "true 2 3")
	b.want("anew", b.do(&Adopt{Step: AdoptAnew, Session: dev, From: "a", Claim: claim, Epoch: l.Epoch, Until: l.Common}).Code, CodeOK)
	b.restart()
	give(behind, b, claim, 1<<20)
	o := b.do(&Attach{Session: dev, Expiry: 3600})
	b.want("waiting", b.waiting(o.Epoch), "[1 2 3 4]")
	a.pub("x", "5", 1, false)
	behind.takeIn(a, "a")
	give(behind, b, claim, 1<<20)
	b.want("with what comes back of the one that was lost", b.waiting(o.Epoch), "[1 2 3 4 3 5]")
}

// Nobody heard of the move before the home went on at a standby: what the lost host still held of the session
// comes to the session.
func TestMove_WasNotKnownAtTheStandby(t *testing.T) {
	a, b := two(t)
	e := a.attach("dev", false, 3600)
	a.sub("dev", e, Subscription{Filter: "x", QoS: 1})
	in := a.lost(0)
	claim := begin(a, b)
	a.pub("x", "leaving", 1, false)
	a.do(&Move{Step: MoveTaken, Session: dev, To: "b", Claim: claim})
	a.pub("x", "taken", 1, false)
	got := in.takeIn(a, "a")
	in.want("taken in", fmt.Sprint(got.Delivered, got.Other), "2 0")
	o := in.do(&Attach{Session: dev, Expiry: 3600})
	in.want("waiting", fmt.Sprint(o.SessionPresent, in.waiting(o.Epoch)), "true [leaving taken]")
}

// The will of a device that went away goes along, and is published once: by the home where the session is when it
// falls due, whatever becomes of what was left, and not at all if the device is back in time.
func TestMove_TheWillIsPublishedOnce(t *testing.T) {
	for _, what := range []string{"due there", "it came back", "deleted where it was", "taken back"} {
		t.Run(what, func(t *testing.T) {
			a, b := two(t)
			will := func(r *rig) string { return fmt.Sprint(r.queue("watch", 1)) }
			for _, r := range []*rig{a, b} {
				r.sub("watch", r.attach("watch", false, 3600), Subscription{Filter: "will", QoS: 1})
			}
			e := a.do(&Attach{Session: dev, Expiry: 3600, Will: &Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: 20}}).Epoch
			a.do(&Detach{Session: dev, Epoch: e})
			a.now = a.now.Add(5 * time.Second)
			claim := b.wish("a")
			a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
			at, other, want := b, a, "[gone]"
			if what == "taken back" {
				a.do(&Move{Step: MoveBack, Session: dev, To: "b", Claim: claim})
				at, other = a, b
			} else {
				give(a, b, claim, 1<<20)
			}
			switch what {
			case "it came back":
				b.do(&Attach{Session: dev, Expiry: 3600})
				want = "[]"
			case "deleted where it was":
				a.do(&EndSession{Session: dev, PublishWill: true})
			default:
				a.restart()
			}
			for _, late := range []bool{false, true} {
				if !late {
					at.now = at.now.Add(14 * time.Second)
				} else {
					a.now, b.now = a.now.Add(time.Minute), b.now.Add(time.Minute)
				}
				a.do(&Tick{})
				b.do(&Tick{})
				if !late {
					at.want("too early", will(at), "[]")
				}
			}
			at.want("where it is", will(at), want)
			other.want("where it is not", will(other), "[]")
		})
	}
}

// A session that has a part in a shared subscription leaves it, and has one where it comes. What waited in a group
// that nobody else has a part in goes along.
func TestMove_SharedSubscriptions(t *testing.T) {
	for _, alone := range []bool{true, false} {
		a, b := two(t)
		a.sub("dev", a.attach("dev", false, 3600), Subscription{Filter: "$share/g/x", QoS: 1})
		if !alone {
			a.sub("other", a.attach("other", false, 3600), Subscription{Filter: "$share/g/x", QoS: 1})
			a.do(&Detach{Session: SessionKey{"", "other"}, Epoch: 2})
		}
		a.do(&Detach{Session: dev, Epoch: 1})
		a.pub("x", "1", 1, false)
		begin(a, b)
		o := b.do(&Attach{Session: dev, Expiry: 3600})
		b.pub("x", "2", 1, false)
		if alone {
			b.want("what waits", b.waiting(o.Epoch), "[1 2]")
			a.want("groups", a.s.Status().Groups, 0)
			continue
		}
		b.want("what waits", b.waiting(o.Epoch), "[2]")
		a.want("what the other one has", a.queue("other", a.attach("other", false, 3600)), "[1]")
	}
}

// How long a session lasts without its device is counted from its arrival, and not at all on its way.
func TestMove_Expires(t *testing.T) {
	a, b := two(t)
	a.do(&Detach{Session: dev, Epoch: a.attach("dev", false, 60)})
	a.now = a.now.Add(50 * time.Second)
	claim := b.wish("a")
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
	a.now = a.now.Add(time.Hour)
	a.do(&Tick{})
	give(a, b, claim, 1<<20)
	b.now = b.now.Add(59 * time.Second)
	b.do(&Tick{})
	b.want("before", b.s.Status().Sessions, 1)
	b.now = b.now.Add(2 * time.Second)
	b.do(&Tick{})
	b.want("then", b.s.Status().Sessions, 0)
	in, ok := b.s.ArrivalFor(dev, "a", claim)
	b.want("a is to hear", fmt.Sprint(ok, in.Over), "true true")
}

// What residency keeps from the region that a session comes to goes without content: its number stays, so what is
// behind it keeps its packet id.
func TestMove_Residency(t *testing.T) {
	a, b := two(t)
	a.do(&Configure{Revision: 1, Residency: []Residency{{Filter: "pii/#", Regions: []string{"a"}}}})
	a.sub("dev", a.attach("dev", false, 3600), Subscription{Filter: "#", QoS: 2})
	a.pub("pii/x", "secret", 2, false)
	a.pub("x", "open", 2, false)
	claim := b.wish("a")
	a.do(&Move{Step: MoveBegin, Session: dev, To: "b", Claim: claim})
	list, _, _, _ := a.s.Gone(dev, "b", claim, 0, 1<<20, "b", nil)
	a.want("what leaves", fmt.Sprintf("%d %t %q %q", len(list), list[0].Withheld, list[0].Topic, list[1].Payload), `2 true "" "open"`)
	a.want("without content", bytes.Contains(list[0].Payload, []byte("secret")), false)
	give(a, b, claim, 1<<20)
	b.restart()
	o := b.do(&Attach{Session: dev, Expiry: 3600})
	for _, q := range b.s.Queue(dev, o.Epoch, 0, 9, nil) {
		if m, _ := b.kept.body(t)(q.Seq); string(m.Payload) == "secret" || string(m.Payload) == "open" && PacketID(q.Ref) != 2 {
			t.Errorf("it waits as %d: %+v", q.Ref, m)
		}
	}
	if !slices.Contains(b.waiting(o.Epoch), "open") {
		t.Error("what is behind it does not come")
	}
}
