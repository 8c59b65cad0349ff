package home

import (
	"slices"
	"strings"
	"testing"
)

// importer has two links to foreign brokers, a peer region, and the session of the first link.
func importer(t *testing.T) (*rig, SessionEpoch) {
	t.Helper()
	r := newRig(t, "eu")
	for _, id := range []ID{"old", "other", "us"} {
		r.do(&SetPeer{Peer: id})
		r.do(&Interest{Peer: id, Epoch: Epoch{1, "x"}, Full: true, Version: 1, Add: []InterestFilter{{Namespace: "ns", Filter: "#"}}})
	}
	return r, r.do(&Attach{Session: LinkSession("old"), Expiry: neverExpires}).Epoch
}

func imported(e SessionEpoch, id uint16, qos byte, payload string) *Import {
	return &Import{Namespace: "ns", Trail: "us/old", Not: []ID{"old", "us"},
		Publish: Publish{Session: LinkSession("old"), Epoch: e, PacketID: id, Topic: "t", Payload: []byte(payload), QoS: qos}}
}

func (r *rig) waitsFor(id ID) (payloads []string) {
	for _, m := range r.s.Spool(id, "", 0, 100, 1<<20, nil) {
		payloads = append(payloads, string(m.Message.Payload))
	}
	return payloads
}

func TestImport_GoesToWhoDidNotHaveIt(t *testing.T) {
	r, e := importer(t)
	r.do(imported(e, 1, 1, "m"))
	if got := r.waitsFor("other"); !slices.Equal(got, []string{"m"}) {
		t.Errorf("spooled for the other link: %q", got)
	}
	for _, id := range []ID{"old", "us"} {
		if got := r.waitsFor(id); got != nil {
			t.Errorf("spooled for %s, which had it: %q", id, got)
		}
	}
	m := r.s.Spool("other", "", 0, 1, 1<<20, nil)[0].Message
	if m.Namespace != "ns" || m.Trail != "us/old" {
		t.Errorf("namespace %q, trail %q", m.Namespace, m.Trail)
	}
}

func TestImport_QoS2Once(t *testing.T) {
	r, e := importer(t)
	for _, payload := range []string{"a", "a", "b"} { // "b" is a new message: the broker has forgotten its session
		if o := r.do(imported(e, 7, 2, payload)); o.Code >= 0x80 {
			t.Fatalf("%q: %x", payload, o.Code)
		}
	}
	r.do(&Release{Session: LinkSession("old"), Epoch: e, PacketID: 7})
	r.do(imported(e, 7, 2, "b"))
	if got := r.waitsFor("other"); !slices.Equal(got, []string{"a", "b", "b"}) {
		t.Errorf("%q", got)
	}
}

func TestImport_OfANodeThatHadTheLink_IsVoid(t *testing.T) {
	r, e := importer(t)
	r.do(&Attach{Session: LinkSession("old"), Expiry: neverExpires})
	for _, op := range []*Import{imported(e, 1, 1, "late"), {Publish: Publish{Session: SessionKey{"ns", "old"}, Topic: "t", QoS: 1}, Namespace: "ns"}} {
		if o := r.do(op); o.Code != CodeVoid {
			t.Errorf("code %x", o.Code)
		}
	}
	if got := r.waitsFor("other"); got != nil {
		t.Errorf("%q", got)
	}
}

func TestPublisher_TellsSessionsApartOnDisk(t *testing.T) {
	r, _ := importer(t)
	long := strings.Repeat("x", 1000)
	for i := range 40 {
		k := SessionKey{"ns", string(rune('a' + i%2))}
		r.do(&Publish{Session: k, Epoch: r.do(&Attach{Session: k}).Epoch, Topic: "t", Payload: []byte(long), QoS: 1})
	}
	before := r.s.Spool("us", "", 0, 100, 1<<20, nil)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	seen := map[uint32]bool{}
	for _, m := range before {
		body, err := DecodeBody(m.Seq, kept[string(BodyKey(m.Seq))])
		if err != nil || body.Publisher != m.Message.Publisher || body.Publisher == 0 {
			t.Fatalf("message %d: %d on disk, %d before: %v", m.Seq, body.Publisher, m.Message.Publisher, err)
		}
		seen[body.Publisher] = true
	}
	if len(seen) != 2 || len(before) != 40 {
		t.Errorf("%d publishers of %d messages", len(seen), len(before))
	}
}

func TestReceived_IsForgottenWithTheSpool(t *testing.T) {
	r, _ := importer(t)
	var seqs []Seq
	for range 4 {
		seqs = append(seqs, r.do(&Publish{Session: SessionKey{Namespace: "ns"}, Topic: "t", QoS: 2}).Seq)
	}
	r.do(&Received{Peer: "old", Seqs: append(slices.Clone(seqs), seqs[3]+9)}) // what was never numbered is not taken
	r.do(&Received{Peer: "old", Seqs: seqs[2:3], Forgotten: true})
	r.do(&Trim{Peer: "old", Epoch: r.s.Epoch(), To: seqs[0]})
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	for _, s := range []*State{r.s, kept.load(t)} {
		if got := s.Received("old"); !slices.Equal(got, []Seq{seqs[1], seqs[3]}) {
			t.Errorf("%v of %v", got, seqs)
		}
	}
}
