package home

import (
	"bytes"
	"errors"
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
	if o := attach(a, 1); o.Former != (Owner{}) {
		t.Errorf("a new session had owner %s", o.Former)
	}
	if o := attach(a, 2); o.Former != (Owner{}) {
		t.Errorf("the same owner again: former %s", o.Former)
	}
	if o := attach(b, 1); o.Former != a {
		t.Errorf("former %s, want %s", o.Former, a)
	}
	if o := attach(a, 3, &NodeDown{Owner: b}); o.Former != (Owner{}) {
		t.Errorf("taken from a dead node, and it is asked: %s", o.Former)
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

// The chain tells replicas apart that did the same in another way.
func TestChain_Differs(t *testing.T) {
	build := func(change func(*State)) uint64 {
		r := newRig(t, "eu")
		key := SessionKey{ClientID: "d"}
		o := r.do(&Attach{Session: key, Expiry: 100})
		r.do(&Subscribe{Session: key, Epoch: o.Epoch, Filters: []Subscription{{Filter: "#", QoS: 1}}})
		change(r.s)
		r.do(&Publish{Topic: "t", QoS: 1})
		r.do(&Ack{Session: key, Epoch: o.Epoch, Done: []Range{{1, 1}}})
		_, sum := r.s.Chain()
		return sum
	}
	want := build(func(*State) {})
	if build(func(*State) {}) != want {
		t.Error("two runs of the same differ")
	}
	for name, change := range map[string]func(*State){
		"a reference skipped":   func(s *State) { s.sessions[SessionKey{ClientID: "d"}].nextRef++ },
		"a number skipped":      func(s *State) { s.seq++ },
		"a subscription missed": func(s *State) { s.space("").table.Remove("#", s.sessions[SessionKey{ClientID: "d"}].subs["#"].target) },
	} {
		if build(change) == want {
			t.Errorf("%s does not show", name)
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
