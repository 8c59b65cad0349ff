package home

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomDocument writes a document, or removes it, often from a revision that is not in force.
func (r *rig) randomDocument(rnd *rand.Rand, i int) {
	r.do(&Raise{Level: 3})
	name := []string{ObjectsDocument, "node/n1", "ban/x"}[rnd.IntN(3)]
	d, _ := r.s.Document(name)
	body := []byte(fmt.Sprint("body ", i))
	ops := []Op{&SetDocument{Name: name, Seen: d.Revision, Body: body[:len(body)*rnd.IntN(3)/2], By: "alice"}}
	if rnd.IntN(3) == 0 {
		r.do(&SetQuotas{Quotas: []NamespaceQuota{{Namespace: "ns", Queued: uint64(rnd.IntN(2) * 40), Retained: uint64(rnd.IntN(2))}}[:rnd.IntN(2)]})
	}
	switch rnd.IntN(4) {
	case 0: // both in one record
		ops = append(ops, &SetDocument{Name: name, Body: body, Note: "again"})
	case 1:
		ops = []Op{&SetDocument{Name: name, Seen: d.Revision + 1, Body: body}}
	}
	r.do(ops...)
}

func TestDocument_IsWrittenFromTheRevisionInForce(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	set := func(seen uint64, body string) Outcome {
		return r.do(&SetDocument{Name: "rebalance", Seen: seen, Body: []byte(body), By: "alice", Note: "why"})
	}
	r.want("written from a revision that never was", set(7, "x").Code, CodeVoid)
	r.want("removed before it is there", set(0, "").Code, CodeVoid)
	first := set(0, "one")
	r.want("first", first.Code, CodeOK)
	d, ok := r.s.Document("rebalance")
	r.want("document", fmt.Sprintln(ok, d.Revision == first.Record, d.At, d.By, d.Note, string(d.Body)), fmt.Sprintln(true, true, r.now, "alice", "why", "one"))
	r.want("by who has not seen it", set(0, "two").Code, CodeVoid)
	second := set(first.Record, "two")
	r.want("second", second.Code, CodeOK)
	r.want("by who has seen the first", set(first.Record, "three").Code, CodeVoid)
	r.want("history", len(r.s.DocumentHistory("rebalance")), 1)
	r.want("list", fmt.Sprint(r.s.Documents()), fmt.Sprint([]Document{{Name: "rebalance", Revision: second.Record, At: r.now, By: "alice", Note: "why"}}))
	r.want("removed", set(second.Record, "").Code, CodeOK)
	_, ok = r.s.Document("rebalance")
	r.want("there", ok, false)
}

func TestDocument_KeepsTheHistoryOfObjects(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	kept := store{}
	var seen uint64
	for i := range documentHistory + 8 {
		body := fmt.Sprint("revision ", i)
		if i == documentHistory { // a removal is a revision like the others
			body = ""
		}
		seen = r.do(&SetDocument{Name: ObjectsDocument, Seen: seen, Body: []byte(body)}).Record
		if body == "" {
			seen = 0
		}
		r.s.Flush(kept.put, kept.del)
	}
	back := kept.load(t)
	for _, s := range []*State{r.s, back} {
		list := s.DocumentHistory(ObjectsDocument)
		r.want("revisions", len(list), documentHistory)
		r.want("oldest", string(list[0].Body), "revision 8")
		r.want("the removal", len(list[documentHistory-8].Body), 0)
		d, _ := s.Document(ObjectsDocument)
		r.want("in force", string(d.Body), fmt.Sprint("revision ", documentHistory+7))
		r.want("newest", list[documentHistory-1].Revision, d.Revision)
	}
	r.want("a copy that was loaded", same(back, r.s), true)
	n := 0
	for k := range kept {
		if strings.HasPrefix(k, string([]byte{tableMeta, 'd'})) {
			n++
		}
	}
	r.want("stored", n, documentHistory)
}

func TestDocument_Bounds(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	large := bytes.Repeat([]byte{'x'}, MaxDocument)
	for what, c := range map[string]struct {
		op   SetDocument
		want Code
	}{
		"no name":       {SetDocument{Body: large}, CodeUnknown},
		"a long name":   {SetDocument{Name: strings.Repeat("n", MaxDocumentName+1), Body: large}, CodeUnknown},
		"a zero byte":   {SetDocument{Name: "a\x00b", Body: large}, CodeUnknown},
		"a large body":  {SetDocument{Name: "b", Body: append(large, 'y')}, CodeQuota},
		"a long author": {SetDocument{Name: "b", Body: large, By: strings.Repeat("b", maxDocumentText+1)}, CodeQuota},
		"a long reason": {SetDocument{Name: "b", Body: large, Note: strings.Repeat("b", maxDocumentText+1)}, CodeQuota},
		"all it may be": {SetDocument{Name: "a", Body: large, By: strings.Repeat("b", maxDocumentText)}, CodeOK},
	} {
		if got := r.do(&c.op); got.Code != c.want {
			t.Errorf("%s: %#x, want %#x", what, got.Code, c.want)
		}
	}
	for i := 1; i < maxDocumentBytes/MaxDocument; i++ {
		r.want("one of many", r.do(&SetDocument{Name: fmt.Sprint("d", i), Body: large}).Code, CodeOK)
	}
	r.want("more bytes than all may take", r.do(&SetDocument{Name: "more", Body: []byte("x")}).Code, CodeQuota)
	a, _ := r.s.Document("a")
	small := r.do(&SetDocument{Name: "a", Seen: a.Revision, Body: []byte("x")})
	r.want("a smaller one in its place", small.Code, CodeOK)
	r.want("then there is room", r.do(&SetDocument{Name: "more", Body: []byte("x")}).Code, CodeOK)
	for i := len(r.s.Documents()); i < maxDocuments; i++ {
		r.want("one of many", r.do(&SetDocument{Name: fmt.Sprint("s", i), Body: []byte("x")}).Code, CodeOK)
	}
	r.want("one too many", r.do(&SetDocument{Name: "other", Body: []byte("x")}).Code, CodeQuota)
	r.want("one that is there", r.do(&SetDocument{Name: "a", Seen: small.Record, Body: []byte("y")}).Code, CodeOK)
}

// A copy in another region has the documents, by records as well as by a copy of the state,
// and they are of the chain that copies compare.
func TestDocument_IsInTheCopies(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	rev := r.do(&SetDocument{Name: "node/eu-1", Body: []byte("evacuate")}).Record
	shipped := New()
	for i, raw := range r.log {
		b, err := r.s.Ship(uint64(i+1), raw, "us")
		if err != nil {
			t.Fatal(err)
		}
		replay(t, shipped, [][]byte{b})
	}
	r.want("by records", same(shipped, r.s), true)
	kept, veiled := store{}, store{}
	r.s.Flush(kept.put, kept.del)
	for k, v := range kept {
		key, value, err := r.s.Veil("us", []byte(k), v)
		if err != nil {
			t.Fatal(err)
		}
		veiled.put(key, value)
	}
	for _, s := range []*State{shipped, veiled.load(t)} {
		d, ok := s.Document("node/eu-1")
		r.want("document", fmt.Sprintln(ok, d.Revision, string(d.Body)), fmt.Sprintln(true, rev, "evacuate"))
		r.want("written last", s.Documented(), rev)
	}
	other := newRig(t, "eu")
	other.do(&Raise{Level: 3})
	other.do(&SetDocument{Name: "node/eu-1", Body: []byte("evacuatf")})
	_, a := r.s.Chain()
	_, b := other.s.Chain()
	if a == b {
		t.Error("the chain does not tell two bodies apart")
	}
}

func TestDocument_NeedsItsLevel(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 2})
	rec := Record{Home: "eu", Time: r.now, Entries: []Entry{{Owner: r.owner, N: r.n[r.owner] + 1, Ops: []Op{&SetDocument{Name: "a", Body: []byte("x")}}}}}
	if err := r.s.Apply(&rec, noSink{}, func(*Entry, int, Outcome) {}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a document in a home of level 2: %v", err)
	}
}

type documentEar struct {
	noSink
	heard []string
}

func (e *documentEar) Documented(name string) { e.heard = append(e.heard, name) }

func TestDocument_TellsTheSink(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	ear := &documentEar{}
	ops := []Op{&SetDocument{Name: "a", Body: []byte("x")}, &SetDocument{Name: "b"}, &SetDocument{Name: "c", Seen: 9, Body: []byte("x")}}
	rec := Record{Home: "eu", Time: r.now, Entries: []Entry{{Owner: r.owner, N: r.n[r.owner] + 1, Ops: ops}}}
	if err := r.s.Apply(&rec, ear, func(*Entry, int, Outcome) {}); err != nil {
		t.Fatal(err)
	}
	r.want("heard", ear.heard, []string{"a"})
}
