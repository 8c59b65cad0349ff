package home

import (
	"testing"
	"time"
)

// newCopies is a home at the feature level that copies in other regions need.
func newCopies(t *testing.T) *rig {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 2})
	return r
}

// promote begins an epoch, as the first record of its host.
func (r *rig) promote(op *Promote) Outcome {
	r.t.Helper()
	r.now++
	o := r.record(&Record{Home: r.s.ID(), Time: r.now, Entries: []Entry{{Ops: []Op{op}}}})
	if o.Code == CodeOK { // nodes go on as new runs
		for o := range r.n {
			r.runs[o.Node]++
		}
		r.n, r.began = map[Owner]uint64{}, len(r.log)
	}
	return o
}

// record applies a record as it is.
func (r *rig) record(rec *Record) (out Outcome) {
	r.t.Helper()
	b := rec.Append(nil)
	r.log = append(r.log, b)
	back, err := DecodeRecord(b)
	if err == nil {
		err = r.s.Apply(&back, &r.told, func(_ *Entry, _ int, o Outcome) { out = o })
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func us(n uint64) Epoch { return Epoch{n, "us"} }

// The region is gone. The standby's copy begins an epoch: its nodes speak to a home that
// has never heard of them, what the old ones say is void, and the fleet has half a minute
// to come back before its wills are published.
func TestPromote_BeginsAnEpochOfNewNodes(t *testing.T) {
	r := newCopies(t)
	dev := SessionKey{"", "dev"}
	watch := r.attach("watch", false, 3600)
	r.sub("watch", watch, Subscription{Filter: "will", QoS: 1})
	old := r.do(&Attach{Session: dev, Expiry: 3600, Will: &Will{Topic: "will", QoS: 1, Payload: []byte("gone")}}).Epoch
	r.pub("a", "1", 1, false)

	r.want("an epoch that is not above", r.promote(&Promote{Epoch: Epoch{1, "eu"}}).Code, CodeVoid)
	before := r.s.Position()
	r.want("promoted", r.promote(&Promote{Epoch: us(2), Grace: 30}).Code, CodeOK)
	span := r.s.Lineage()[1]
	r.want("the epoch begins behind", span, Span{us(2), r.s.HighSeq() + 1, before.Records, before.Chain, old, true})
	info, _ := r.s.Session(dev)
	r.want("owner", info.Owner, Owner{})

	n2 := Owner{"us1", 1}
	r.want("a new node attaches", r.as(n2, &Attach{Session: SessionKey{"", "watch"}, Expiry: 3600}).SessionPresent, true)
	r.now += Time(29 * time.Second)
	r.as(n2, &Tick{})
	info, _ = r.s.Session(dev)
	r.want("will waits", info.Will, true)
	r.now += Time(2 * time.Second)
	r.as(n2, &Tick{})
	info, _ = r.s.Session(dev)
	r.want("will waits", info.Will, false)
	if back := replayed(t, r.log); !same(back, r.s) {
		t.Error("another copy differs")
	}
}

func replayed(t *testing.T, log [][]byte) *State {
	s := New()
	replay(t, s, log)
	return s
}

// A device was away when its region died, and its will, or its session, ran out while
// nobody hosted the home. It may have been back at the lost host: nothing of it ends
// before the grace.
func TestPromote_NothingRunsOutWhileNobodyHosts(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 60)
	r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	r.now += Time(time.Hour)
	r.promote(&Promote{Epoch: us(2), Grace: 30})
	if _, ok := r.s.Session(SessionKey{"", "dev"}); !ok {
		t.Fatal("the session ended at the promotion")
	}
	r.now += Time(31 * time.Second)
	r.as(Owner{"us1", 1}, &Tick{})
	if _, ok := r.s.Session(SessionKey{"", "dev"}); ok {
		t.Error("the session never ends")
	}
}

// The old host handed the home over, and one of its nodes had not heard: what it still
// proposes is in the log and does nothing, not even let time pass.
func TestHand_IsTheLastWord(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	r.want("another epoch", r.do(&Hand{Epoch: us(2), To: "us"}).Code, CodeVoid)
	r.want("handed", r.do(&Hand{Epoch: Epoch{1, "eu"}, To: "us"}).Code, CodeOK)
	to, ok := r.s.Handed()
	r.want("to", []any{to, ok}, []any{"us", true})
	at, seq := r.s.Position(), r.s.HighSeq()
	r.now += Time(2 * time.Hour)
	r.want("publish", r.pub("a", "late", 1, false).Code, CodeVoid)
	r.want("attach", r.do(&Attach{Session: SessionKey{"", "new"}}).Code, CodeVoid)
	r.as(Owner{"eu2", 1}, &NodeUp{})
	r.want("number", r.s.HighSeq(), seq)
	if info, _ := r.s.Session(SessionKey{"", "dev"}); info.Queued != 0 {
		t.Error("a message came after the last word")
	}
	r.want("records", r.s.Position().Records, at.Records+3)

	r.want("promoted", r.promote(&Promote{Epoch: us(2), Planned: true}).Code, CodeOK)
	if _, ok := r.s.Handed(); ok {
		t.Error("the new epoch is handed over as well")
	}
	r.want("publish in the new epoch", r.as(Owner{"us1", 1}, &Publish{Topic: "a", Payload: []byte("x"), QoS: 1}).Code, CodeOK)
}

func TestPromise_OnlyRises(t *testing.T) {
	r := newCopies(t)
	r.want("first", r.do(&Promise{"ap", us(3)}).Code, CodeOK)
	r.want("lower", r.do(&Promise{"ap", us(2)}).Code, CodeVoid)
	r.want("same", r.do(&Promise{"ap", us(3)}).Code, CodeVoid)
	r.want("another home", r.do(&Promise{"us", us(1)}).Code, CodeOK)
	r.want("promised", []Epoch{r.s.Promised("ap"), r.s.Promised("us"), r.s.Promised("eu")}, []Epoch{us(3), us(1), {}})
}

// The standby has seen PUBLISH 7 and not its PUBREL. The device, which had its PUBCOMP,
// uses 7 for something else: that is a new message. What it sends again is none. [E4]
func TestPromote_AnInboundIDMayHaveBeenReleased(t *testing.T) {
	r := newCopies(t)
	e := r.attach("dev", false, 3600)
	first := &Publish{Session: SessionKey{"", "dev"}, Epoch: e, PacketID: 7, Topic: "a", Payload: []byte("x"), QoS: 2}
	r.do(first)
	r.promote(&Promote{Epoch: us(2)})
	n := Owner{"us1", 1}
	again := *first
	again.Epoch = r.as(n, &Attach{Session: first.Session, Expiry: 3600}).Epoch
	seq := r.s.HighSeq()
	r.as(n, &again)
	r.want("sent again", r.s.HighSeq(), seq)
	z := again
	z.Payload = []byte("z")
	r.as(n, &z)
	r.want("another message under its id", r.s.HighSeq(), seq+1)
	r.as(n, &z)
	r.want("and that one again", r.s.HighSeq(), seq+1)
}

// The lost host sent x under an id that this copy will give to y. Before y goes out the
// device is told to let go of the id, and only then; what was shipped is sent again as
// ever. [E5]
func TestPromote_AnOutboundIDMayBeTaken(t *testing.T) {
	r := newCopies(t)
	k := SessionKey{"", "dev"}
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	r.pub("a", "shipped", 2, false)
	r.promote(&Promote{Epoch: us(2)})
	n := Owner{"us1", 1}
	e = r.as(n, &Attach{Session: k, Expiry: 3600}).Epoch
	for _, p := range []string{"y", "z"} {
		r.as(n, &Publish{Topic: "a", Payload: []byte(p), QoS: 2})
	}
	r.as(n, &Publish{Topic: "a", Payload: []byte("qos1"), QoS: 1})
	r.want("before", r.first(k, e), "[false true true false]")
	r.as(n, &Ack{Session: k, Epoch: e, Cleared: 2})
	r.want("cleared up to y", r.first(k, e), "[false false true false]")
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	if back := kept.load(t); !same(back, r.s) {
		t.Error("loaded state differs")
	}
	r.want("inherited", r.s.Inherited(k), true)
	r.as(n, &Ack{Session: k, Epoch: e, Cleared: 2 + packetIDs})
	r.want("inherited", r.s.Inherited(k), false)
	r.want("a session of this epoch", r.s.Inherited(SessionKey{"", "new"}), false)
}

func (r *rig) first(k SessionKey, e SessionEpoch) (list []bool) {
	for _, q := range r.s.Queue(k, e, 0, 100, nil) {
		list = append(list, q.ReleaseFirst)
	}
	return list
}

// A home of which no other region has a copy is stored as it was before there were any,
// and such a state goes on loading.
func TestLoad_OfAStateFromBeforeCopies(t *testing.T) {
	r := newRig(t, "eu")
	r.attach("dev", false, 3600)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	if _, ok := kept[string(failoverKey)]; ok {
		t.Error("something is kept of copies")
	}
	back := kept.load(t)
	r.want("lineage", back.Lineage(), []Span{{Epoch: Epoch{1, "eu"}, First: 1}})
	if !same(back, r.s) {
		t.Error("loaded state differs")
	}
}
