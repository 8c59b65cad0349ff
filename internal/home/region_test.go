package home

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// What a leader merges of encoded entries is byte for byte the record of those
// entries.
func TestAppendRecord_IsRecordAppend(t *testing.T) {
	rec := Record{Home: "eu", Time: 77, Entries: []Entry{
		{Owner: Owner{"a", 1}, N: 3, Ops: []Op{&Tick{}, &Publish{Topic: "t", Payload: []byte("x"), QoS: 1}}},
		{Owner: Owner{"b", 9}, N: 1, Ops: []Op{&NodeUp{}}},
	}}
	var raw [][]byte
	for i := range rec.Entries {
		b := rec.Entries[i].Append(nil)
		e, err := DecodeEntry(b)
		if err != nil || e.Owner != rec.Entries[i].Owner || len(e.Ops) != len(rec.Entries[i].Ops) {
			t.Fatalf("entry %d decodes to %+v, %v", i, e, err)
		}
		if _, err := DecodeEntry(append(b, 0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("an entry with a byte too many: %v", err)
		}
		if _, err := DecodeEntry(b[:len(b)-1]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("an entry with a byte too few: %v", err)
		}
		raw = append(raw, b)
	}
	if got, want := AppendRecord(nil, "eu", 77, raw), rec.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("merged:\n%x\nwant\n%x", got, want)
	}
}

// The new owner learns whom it took the session from: that one may still be
// sending.
func TestAttach_NamesTheFormerOwner(t *testing.T) {
	r := newRig(t, "eu")
	key := SessionKey{ClientID: "d"}
	a, b := Owner{"eu-1", 1}, Owner{"eu-2", 1}
	attach := func(o Owner, n uint64, more ...Op) Outcome {
		t.Helper()
		var out Outcome
		rec := Record{Home: "eu", Time: r.s.Now() + 1, Entries: []Entry{{Owner: o, N: n, Ops: append(more, &Attach{Session: key, Expiry: 100})}}}
		if err := r.s.Apply(&rec, noSink{}, func(_ *Entry, _ int, o Outcome) { out = o }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	_, n := r.s.Incarnation("eu-1")
	if n > 0 {
		t.Fatalf("the rig speaks as eu-1")
	}
	if o := attach(a, 1); o.Formers != nil {
		t.Errorf("a new session had owners %s", o.Formers)
	}
	if o := attach(a, 2); o.Formers != nil {
		t.Errorf("the same owner again: formers %s", o.Formers)
	}
	if o := attach(b, 1); !slices.Equal(o.Formers, []Owner{a}) {
		t.Errorf("formers %s, want %s", o.Formers, a)
	}
	if o := attach(a, 3, &NodeDown{Owner: b}); o.Formers != nil {
		t.Errorf("taken from a dead node, and it is asked: %s", o.Formers)
	}
	for _, n := range r.s.Nodes() {
		switch n.Owner {
		case a:
			if n.Down || n.Attached != 1 || n.N != 3 {
				t.Errorf("eu-1: %+v", n)
			}
		case b:
			if !n.Down || n.Attached != 0 {
				t.Errorf("eu-2: %+v", n)
			}
		}
	}
}

// A device goes from n1 to n2 to n3 while n1 has applied neither: n2 knows that it
// lost the session before n1 knows, so n3 has to hear of both. So it has when n2
// gave the session back, or never told the device that it had it, and when an
// operator ended it. [C1]
func TestAttach_NamesAllWhoMayStillSend(t *testing.T) {
	key := SessionKey{ClientID: "d"}
	a, b, c := Owner{"eu-1", 1}, Owner{"eu-2", 1}, Owner{"eu-3", 1}
	for _, x := range []struct {
		name string
		then func(r *rig, e SessionEpoch)
		want []Owner
	}{
		{"taken", func(*rig, SessionEpoch) {}, []Owner{a, b}},
		{"given back", func(r *rig, e SessionEpoch) { r.as(b, &Detach{Session: key, Epoch: e}) }, []Owner{a}},
		{"its node died", func(r *rig, _ SessionEpoch) { r.as(c, &NodeDown{Owner: b}) }, []Owner{a}},
		{"both died", func(r *rig, _ SessionEpoch) { r.as(c, &NodeDown{Owner: b}, &NodeDown{Owner: a}) }, nil},
		{"ended", func(r *rig, _ SessionEpoch) { r.as(c, &EndSession{Session: key}) }, []Owner{a, b}},
		{"a moment ago", func(r *rig, _ SessionEpoch) { r.now += Time(formerFor - 1) }, []Owner{a, b}},
		{"long ago", func(r *rig, _ SessionEpoch) { r.now += Time(formerFor) }, []Owner{b}},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, "eu")
			r.as(a, &Attach{Session: key, Expiry: 100})
			o := r.as(b, &Attach{Session: key, Expiry: 100})
			x.then(r, o.Epoch)
			o = r.as(c, &Attach{Session: key, Expiry: 100})
			if !slices.Equal(o.Formers, x.want) {
				t.Errorf("formers %s, want %s", o.Formers, x.want)
			}
			r.now += Time(2 * formerFor)
			r.as(c, &Attach{Session: SessionKey{ClientID: "other"}})
			if len(r.s.formers.of)+len(r.s.formers.order) > 0 {
				t.Errorf("never forgotten: %v", r.s.formers)
			}
		})
	}
}

// An Attach is held up on its way to the leader; the device has long gone to
// another node, subscribed there and is owed messages. What then comes of the
// first must not end all that, least of all with a clean start. [A3]
func TestAttach_HeldUp_TakesNothing(t *testing.T) {
	r := newRig(t, "eu")
	a, b := Owner{"eu-1", 1}, Owner{"eu-2", 1}
	key := SessionKey{ClientID: "d"}
	r.as(a, &NodeUp{})
	r.attach("other", true, 0)
	held := &Attach{Session: key, Seen: r.s.SessionEpoch(), CleanStart: true, Expiry: 100}
	o := r.as(b, &Attach{Session: key, Seen: r.s.SessionEpoch(), CleanStart: true, Expiry: 100})
	r.as(b, &Subscribe{Session: key, Epoch: o.Epoch, Filters: []Subscription{{Filter: "t", QoS: 1}}})
	r.pub("t", "acknowledged", 1, false)
	if late := r.as(a, held); late.Code != CodeVoid {
		t.Errorf("the late Attach: %+v", late)
	}
	r.want("queue", r.queue("d", o.Epoch), "[acknowledged]")
	r.as(b, &Detach{Session: key, Epoch: o.Epoch})
	if late := r.as(a, held); late.Code != CodeVoid {
		t.Errorf("the late Attach, after the device had gone: %+v", late)
	}
	again := r.as(a, &Attach{Session: key, Seen: r.s.SessionEpoch(), Expiry: 100})
	if !again.SessionPresent {
		t.Errorf("an Attach that knows of all: %+v", again)
	}
	r.want("queue", r.queue("d", again.Epoch), "[acknowledged]")
}

// A leader declares a node dead, loses its office, and its word is committed when
// the node has long been well again.
func TestNodeDown_HeldUp(t *testing.T) {
	r := newRig(t, "eu")
	o := Owner{"n2", 1}
	e := r.as(o, &Attach{Session: SessionKey{ClientID: "d"}}).Epoch
	until := r.now + Time(seconds(2))
	r.now = until + 1
	r.want("a late word", r.do(&NodeDown{Owner: o, Until: until}).Code, CodeVoid)
	r.want("what the node says", r.as(o, &Publish{Session: SessionKey{ClientID: "d"}, Epoch: e, Topic: "t"}).Code, CodeNoSubscribers)
	r.want("a timely word", r.do(&NodeDown{Owner: o, Until: r.now}).Code, CodeOK)
}

// The chain tells replicas apart that did the same in another way. Each fault is
// planted behind the home's back; it shows by the time something was done that
// rests on it.
func TestChain_Differs(t *testing.T) {
	dev, member := SessionKey{ClientID: "dev"}, SessionKey{ClientID: "member"}
	build := func(plant func(*State)) uint64 {
		r := newRig(t, "eu")
		r.do(&SetPeer{Peer: "us", SpoolBytes: 40, Retained: true})
		r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "t"}}})
		o := r.do(&Attach{Session: dev, Expiry: 100, Will: &Will{Topic: "will", QoS: 1, Delay: 5}})
		r.sub("dev", o.Epoch, Subscription{Filter: "#", QoS: 2})
		r.attach("member", false, 100)
		r.do(&Subscribe{Session: member, Epoch: o.Epoch + 1, Filters: []Subscription{{Filter: "$share/g/#", QoS: 1}}})
		for i := range 3 {
			r.do(&Publish{Topic: "t", Payload: []byte{byte('0' + i)}, QoS: 2, Retain: true})
		}
		plant(r.s)
		for range 3 {
			r.do(&Publish{Topic: "t", Payload: []byte("later"), QoS: 2, Retain: true})
		}
		r.do(&Ack{Session: dev, Epoch: o.Epoch, Received: []Range{{1, 1}}, Done: []Range{{2, 4}}})
		r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: 4})
		r.as(Owner{"n2", 1}, &NodeDown{Owner: r.owner})
		r.owner = Owner{"n2", 1}
		r.now += Time(seconds(60))
		r.do(&Tick{})
		r.now += Time(seconds(60))
		r.do(&Tick{})
		_, sum := r.s.Chain()
		return sum
	}
	want := build(func(*State) {})
	if build(func(*State) {}) != want {
		t.Fatal("two runs of the same differ")
	}
	queue := func(s *State) []ref { return s.sessions[dev].queue.refs }
	for name, plant := range map[string]func(*State){
		"a reference is skipped":         func(s *State) { s.sessions[dev].nextRef++ },
		"a number is skipped":            func(s *State) { s.seq++ },
		"a subscription is missed":       func(s *State) { s.space("").table.Remove("#", s.sessions[dev].subs["#"].target) },
		"two messages changed places":    func(s *State) { q := queue(s); q[1].msg, q[2].msg = q[2].msg, q[1].msg },
		"a reference is gone":            func(s *State) { s.sessions[dev].queue.drop(&queue(s)[1]) },
		"a reference was received":       func(s *State) { queue(s)[0].state = refReceived },
		"a will is forgotten":            func(s *State) { s.sessions[dev].will = nil },
		"a session lives longer":         func(s *State) { s.sessions[dev].expiry = 1000 },
		"another window":                 func(s *State) { s.sessions[member].window = 1 },
		"a message is of another size":   func(s *State) { queue(s)[1].msg.size += 40; s.peers["us"].spools[0].bytes += 40 },
		"a spooled message is missing":   func(s *State) { sp := s.peers["us"].spools[0]; sp.refs = sp.refs[:len(sp.refs)-1] },
		"the node's run is another":      func(s *State) { s.proposers["n1"].down = true },
		"something was different before": func(s *State) { s.chain++ },
		"home time is another":           func(s *State) { s.time += 3600_000_000_000 },
		"another version is retained":    func(s *State) { s.space("").retained.get("t").version = 9 },
	} {
		if build(plant) == want {
			t.Errorf("it does not show that %s", name)
		}
	}
}

// A replica that is loaded after any record has the chain of one that never
// restarted, then and ever after.
func TestChain_GoesOnAfterARestart(t *testing.T) {
	r := newRig(t, "eu")
	rnd := rand.New(rand.NewPCG(11, 6))
	kept := store{}
	restarted := New()
	replay(t, restarted, r.log)
	for i := range 400 {
		at := len(r.log)
		r.random(rnd, i)
		replay(t, restarted, r.log[at:])
		restarted.Flush(kept.put, kept.del)
		restarted = kept.load(t)
		an, a := r.s.Chain()
		bn, b := restarted.Chain()
		if a != b || an != bn {
			t.Fatalf("after %d records: %x; restarted each time: %d records, %x", an, a, bn, b)
		}
	}
}

func TestLevel(t *testing.T) {
	r := newRig(t, "eu")
	r.want("level of a new home", r.s.Level(), 1)
	r.want("raised to where it is", r.do(&Raise{Level: 1}).Code, CodeVoid)
	r.want("lowered", r.do(&Raise{Level: 0}).Code, CodeVoid)
	r.want("level", r.s.Level(), 1)

	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.want("level after a restart", kept.load(t).Level(), 1)

	try := func(s *State, op Op) error {
		rec := Record{Home: "eu", Time: r.now, Entries: []Entry{{Owner: r.owner, N: r.n[r.owner] + 1, Ops: []Op{op}}}}
		return s.Apply(&rec, noSink{}, func(*Entry, int, Outcome) {})
	}
	if err := try(r.s, &Raise{Level: MaxLevel + 1}); !errors.Is(err, ErrUnknown) {
		t.Errorf("raised above what the build supports: %v", err)
	}
	old := kept.load(t)
	old.level.Store(LevelOf(KindTick) - 1)
	if err := try(old, &Tick{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an operation above the home's level: %v", err)
	}
	r.s.level.Store(MaxLevel + 1)
	r.do(&Tick{})
	r.s.Flush(kept.put, kept.del)
	if _, err := Load(kept.scan); !errors.Is(err, ErrUnknown) {
		t.Errorf("a store of a newer build: %v", err)
	}
}
