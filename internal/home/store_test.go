package home

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func sortedKeys(s store) []string {
	list := make([]string, 0, len(s))
	for k := range s {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// Whatever happened, and whenever it was flushed: what Load builds is the state
// that was flushed, and it goes on like the one that never stopped.
func TestLoad_IsTheStateThatWasFlushed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t, "eu")
		if rnd.IntN(2) == 0 { // so that queues and tombstones meet their limits
			r.do(&Configure{Revision: 1, Limits: Limits{QueueMessages: 4, Retained: 1, WillGrace: 2}})
		}
		kept := store{}
		var ahead batch
		var mirror *State // loaded, then fed the same records
		for i := range rapid.IntRange(10, 150).Draw(rt, "ops") {
			at := len(r.log)
			r.random(rnd, i)
			if mirror != nil {
				replay(t, mirror, r.log[at:])
			}
			if rnd.IntN(3) == 0 { // a part of what changed is written while more changes
				r.s.flushOnePart(&writer{put: ahead.put, del: ahead.del, budget: 1 + rnd.IntN(8)})
			}
			if want := r.s.counted(); fmt.Sprint(r.s.Status()) != fmt.Sprint(want) {
				rt.Fatalf("seed %d: counts kept up after %d operations:\n%+v\ncounted:\n%+v", seed, i, r.s.Status(), want)
			}
			if rnd.IntN(10) == 0 {
				ahead.commit(r.s, kept)
				r.s.Evict(rnd.Int64N(200))
				back := kept.load(t)
				if !same(back, r.s) {
					rt.Fatalf("seed %d: loaded state differs after %d operations", seed, i)
				}
				// Half of the times the node restarts here, and what never stopped is the mirror.
				if mirror = back; rnd.IntN(2) == 0 {
					r.s, mirror = back, r.s
				}
			}
			if mirror != nil && !same(mirror, r.s) {
				rt.Fatalf("seed %d: loaded state goes another way after %d operations", seed, i)
			}
		}
	})
}

// Two replicas that apply the same log are the same.
func TestApply_IsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		r := newRig(t, "eu")
		rnd := rand.New(rand.NewPCG(seed, 2))
		for i := range 200 {
			r.random(rnd, i)
		}
		twin := New()
		replay(t, twin, r.log)
		if !same(twin, r.s) {
			t.Fatalf("seed %d: replicas differ", seed)
		}
		replay(t, twin, r.log[max(len(r.log)/2, r.began):]) // entries that come again are skipped
		if twin.Digest() != r.s.Digest() {
			t.Fatalf("seed %d: a repeated entry was applied twice", seed)
		}
	}
}

// same says that two replicas hold the same and came to it in the same way.
func same(a, b *State) bool {
	an, as := a.Chain()
	bn, bs := b.Chain()
	return a.Digest() == b.Digest() && an == bn && as == bs
}

// run is the run of a node that proposes now.
func (r *rig) run(n NodeID) Owner { return Owner{n, r.runs[n] + 1} }

func replay(t *testing.T, s *State, log [][]byte) {
	t.Helper()
	for _, b := range log {
		rec, err := DecodeRecord(b)
		if err == nil {
			err = s.Apply(&rec, noSink{}, func(*Entry, int, Outcome) {})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// counted is Status by counting.
func (s *State) counted() Status {
	st := s.Status()
	st.Attached, st.Queued, st.QueuedBytes, st.Owed = 0, 0, 0, 0
	bySpace := map[string]uint64{}
	attached := map[string]int{}
	for _, x := range s.sessions {
		if x.attached() {
			st.Attached++
			attached[x.key.Namespace]++
		}
		for _, q := range []*queue{&x.queue, x.owed} {
			if q != nil {
				q.each(Range{0, ^uint64(0)}, func(r *ref) {
					st.Queued++
					st.QueuedBytes += uint64(r.msg.size)
					bySpace[r.msg.Namespace] += uint64(r.msg.size)
				})
			}
		}
		if x.owed != nil {
			st.Owed += x.owed.live
		}
	}
	for _, g := range s.groups {
		st.Owed += len(g.owed)
	}
	for ns, n := range bySpace {
		if s.counts.bySpace[ns] != n {
			st.QueuedBytes = 1 << 60
		}
	}
	for _, c := range s.SessionCounts() {
		if c.Attached != attached[c.Namespace] {
			st.Attached = -1
		}
	}
	return st
}

// random applies one random operation, proposed by one of three nodes.
func (r *rig) random(rnd *rand.Rand, i int) {
	nodes := []NodeID{"n1", "n2", "n3"}
	r.owner = r.run(nodes[rnd.IntN(3)])
	id := fmt.Sprintf("d%d", rnd.IntN(4))
	k := SessionKey{[]string{"", "ns"}[rnd.IntN(2)], id}
	info, _ := r.s.Session(k)
	e := info.Epoch
	topics := []string{"a", "a/b", "a/b/c", "x"}
	filters := []string{"a", "a/#", "+/b", "#", "$share/g/a/#", "$share/g/x", "$share/h/#"}
	topic := topics[rnd.IntN(len(topics))]
	r.now += Time(rnd.IntN(3)) * Time(time.Second)
	if rnd.IntN(6) == 0 {
		r.randomOfRegions(rnd, k, topic, i)
	}
	if rnd.IntN(20) == 0 {
		r.randomOfCopies(rnd, k, i)
	}
	if rnd.IntN(12) == 0 {
		r.randomDocument(rnd, i)
	}
	if rnd.IntN(8) == 0 && r.s.Level() >= 3 {
		r.randomOfDebts(rnd, k, e)
	}
	if rnd.IntN(8) == 0 {
		r.randomRestore(rnd)
	}
	switch rnd.IntN(17) {
	case 16:
		r.do(&Canary{Peer: "us"})
		r.do(&SpoolLimit{Bytes: []uint64{0, 50, 500}[rnd.IntN(3)], By: LimitMax, Node: "n1"})
	case 0, 1:
		var w *Will
		if rnd.IntN(2) == 0 {
			w = &Will{Topic: topic, Payload: []byte("will"), QoS: 1, Delay: uint32(rnd.IntN(3)), Retain: rnd.IntN(3) == 0}
		}
		r.do(&Attach{Session: k, CleanStart: rnd.IntN(4) == 0, Expiry: uint32(rnd.IntN(3) * 20), Window: uint16(rnd.IntN(4)), Will: w})
	case 2:
		r.do(&Detach{Session: k, Epoch: e, DropWill: rnd.IntN(2) == 0, Moved: rnd.IntN(2) == 0})
	case 3, 4:
		r.do(&Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: filters[rnd.IntN(len(filters))], QoS: byte(rnd.IntN(3)), ID: uint32(rnd.IntN(3))}}})
	case 5:
		r.do(&Unsubscribe{Session: k, Epoch: e, Filters: []string{filters[rnd.IntN(len(filters))]}})
	case 6:
		if q := r.s.Queue(k, e, 0, 3, nil); len(q) > 0 {
			x := q[rnd.IntN(len(q))].Ref
			r.do(&Ack{Session: k, Epoch: e, Received: []Range{{q[0].Ref, q[0].Ref}}, Done: []Range{{x, x}}})
		}
	case 7:
		r.do(&Release{Session: k, Epoch: e, PacketID: uint16(rnd.IntN(3) + 1)})
	case 8:
		r.do(&SetPeer{Peer: "us", Retained: rnd.IntN(2) == 0, SpoolBytes: []uint64{0, 40, 600}[rnd.IntN(3)], Classes: []Class{{Name: "cmd", Filters: []string{"a/b"}}}[:rnd.IntN(2)]})
	case 9:
		r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: uint64(i), Add: []InterestFilter{{Filter: filters[rnd.IntN(4)]}, {Namespace: "ns", Filter: "#"}}})
	case 10:
		if rnd.IntN(5) == 0 {
			r.do(&ForgetPeer{Peer: "us"})
		} else {
			r.do(&Trim{Peer: "us", Class: []string{"", "cmd"}[rnd.IntN(2)], Epoch: r.s.Epoch(), To: Seq(rnd.IntN(i + 1))})
		}
	case 11:
		r.do(&Frame{Source: Source{"ap", Epoch{1, "ap"}}, From: Seq(i), To: Seq(i + 1), Messages: []FrameMessage{{Seq: Seq(i + 1), Namespace: k.Namespace, Topic: topic,
			Payload: []byte(fmt.Sprint("f", i)), QoS: 1, Live: rnd.IntN(2) == 0, Retain: true, RetainVersion: uint64(rnd.IntN(3))}}})
	case 12:
		switch rnd.IntN(9) {
		case 6:
			r.do(&PausePeer{Peer: "us", Paused: rnd.IntN(3) > 0, For: time.Duration(rnd.IntN(3)) * time.Second, Reason: "r"})
		case 7:
			rev := uint64(rnd.IntN(3))
			if l := r.s.LinkPolicy("us"); l != nil {
				rev += l.Revision
			}
			r.do(&SetPolicy{Peer: "us", Revision: rev, Keys: PolicyKeys(rnd.IntN(1 << 10)), Values: SetPeer{Never: []string{"x"}, SpoolBytes: 50, Retained: true}})
		case 8:
			r.do(&DropSpooled{Peer: "us", Filter: []string{"", "a/b"}[rnd.IntN(2)], Class: "cmd", AllClasses: rnd.IntN(2) == 0, Age: time.Duration(rnd.IntN(3)) * time.Second})
		case 0:
			r.runs[r.owner.Node]++
			r.as(r.run(r.owner.Node), &NodeUp{})
		case 1:
			gone := nodes[rnd.IntN(3)]
			r.do(&NodeDown{Owner: r.run(gone)})
			r.runs[gone]++
		default:
			r.do(&EndSession{Session: k, PublishWill: rnd.IntN(2) == 0})
		}
	case 13:
		out := r.do(&Attach{Session: LinkSession("us"), Expiry: 20})
		r.do(&Received{Peer: "us", Seqs: []Seq{Seq(i), Seq(i + 1)}, Forgotten: rnd.IntN(4) == 0})
		r.do(&Import{Namespace: k.Namespace, Trail: "ap/x", Not: []ID{"us", "ap"}[rnd.IntN(3):], Publish: Publish{Session: LinkSession("us"), Epoch: out.Epoch,
			PacketID: uint16(rnd.IntN(3) + 1), Topic: topic, Payload: []byte(fmt.Sprint("i", i)), QoS: byte(rnd.IntN(3)), Retain: rnd.IntN(4) == 0}})
	default:
		payload := fmt.Sprint("p", i)
		if rnd.IntN(6) == 0 {
			payload = ""
		}
		r.do(&Publish{Session: k, Epoch: e, PacketID: uint16(rnd.IntN(3) + 1), Topic: topic, Payload: []byte(payload), QoS: byte(1 + rnd.IntN(2)),
			Retain: rnd.IntN(4) == 0, Expiry: uint32(rnd.IntN(2) * 10)})
	}
}

// randomOfCopies applies one random operation of what concerns copies of the home.
func (r *rig) randomOfCopies(rnd *rand.Rand, k SessionKey, i int) {
	r.do(&Raise{Level: 2})
	switch rnd.IntN(4) {
	case 0:
		r.do(&Promise{"ap", us(uint64(i))})
	case 1:
		r.do(&SetTakeover{Standbys: []string{"us", "ap"}, Voters: []string{"eu", "us", "w"}, Replay: []ReplayRule{{"#", ReplayReport, time.Hour}}})
	case 2:
		info, _ := r.s.Session(k)
		r.do(&Ack{Session: k, Epoch: info.Epoch, Cleared: uint64(rnd.IntN(8))})
	default:
		planned := rnd.IntN(2) == 0
		if planned {
			r.do(&Hand{Epoch: r.s.Epoch(), To: "us"})
			r.pub("a", "late", 1, false)
		}
		r.promote(&Promote{Epoch: us(uint64(i + 2)), Grace: uint32(rnd.IntN(3)), Planned: planned})
	}
}

// randomOfRegions applies one random operation of what concerns other regions.
func (r *rig) randomOfRegions(rnd *rand.Rand, k SessionKey, topic string, i int) {
	peer := []ID{"us", "ap"}[rnd.IntN(2)]
	claims := []InterestFilter{{Filter: "$share/+/g/a/#"}, {Filter: "$share//g/eu/us"}, {Namespace: "ns", Filter: "$share/g/x"}, {Filter: "$share/g/a/#"}, {Filter: "a/#"}}
	switch rnd.IntN(9) {
	case 0:
		r.do(&SetShared{Groups: []GlobalGroup{{Group: "g", Regions: []ID{"eu", "us", "ap"}}, {Namespace: "ns", Group: "g", Regions: []ID{"us", "eu"}}}[:rnd.IntN(3)]})
	case 1:
		r.do(&Rank{Peers: []ID{"us", "ap"}[rnd.IntN(3):], Away: rnd.IntN(3)})
	case 2:
		var add []InterestFilter
		for _, f := range claims {
			if rnd.IntN(2) == 0 {
				add = append(add, f)
			}
		}
		slices.SortFunc(add, func(a, b InterestFilter) int {
			return strings.Compare(a.Namespace+"\x00"+a.Filter, b.Namespace+"\x00"+b.Filter)
		})
		r.do(&Interest{Peer: peer, Epoch: Epoch{1, "us"}, Full: true, Version: uint64(i), Add: add})
	case 3:
		groups := []string{"g/a/#", "g/x", "h/#", "g/a/#"}[rnd.IntN(3):]
		r.do(&Frame{Source: Source{"ap", Epoch{2, "ap"}}, From: Seq(i), To: Seq(i + 1), Messages: []FrameMessage{{Seq: Seq(i + 1), Namespace: k.Namespace, Topic: topic,
			Payload: []byte(fmt.Sprint("g", i)), QoS: byte(1 + rnd.IntN(2)), Live: rnd.IntN(2) == 0, Groups: groups}}})
	case 4:
		rules := []Residency{{Filter: "a/b/#", Regions: []string{"eu"}}, {Namespace: "ns", Filter: "x", Regions: []string{"us"}}}[:rnd.IntN(3)]
		r.do(&Configure{Revision: uint64(i), Limits: Limits{QueueMessages: uint32(rnd.IntN(2) * 4), Retained: 1, WillGrace: uint32(rnd.IntN(2) * 2)}, Residency: rules})
	case 5:
		r.do(&SetPeer{Peer: "ap", Retained: rnd.IntN(2) == 0, Refuse: rnd.IntN(4) == 0, SpoolBytes: 600, SpoolAge: time.Duration(rnd.IntN(2)) * 9 * time.Second})
	case 6:
		if rnd.IntN(3) == 0 {
			r.now += Time(4 * 24 * time.Hour)
		}
		r.do(&Tick{})
	case 7:
		if rnd.IntN(4) == 0 {
			r.do(&ForgetPeer{Peer: peer})
		} else {
			r.do(&Trim{Peer: peer, Epoch: r.s.Epoch(), To: r.s.HighSeq() - Seq(rnd.IntN(5))})
		}
	default:
		r.do(&Canary{Peer: peer})
	}
}

func TestUnknownStopsTheHome(t *testing.T) {
	rec := Record{Home: "eu", Time: 1, Entries: []Entry{{Owner{"n", 1}, 1, []Op{&Tick{}}}}}
	b := rec.Append(nil)
	v := slices.Clone(b)
	v[0] = 2
	if _, err := DecodeRecord(v); !errors.Is(err, ErrUnknown) {
		t.Errorf("version 2: %v", err)
	}
	b[len(b)-5] = 200
	if _, err := DecodeRecord(b); !errors.Is(err, ErrUnknown) {
		t.Errorf("kind 200: %v", err)
	}
	if err := New().Apply(&Record{Home: "eu", Entries: []Entry{{Owner{"n", 1}, 1, []Op{&Tick{}}}}}, noSink{}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("before genesis: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := &rig{s: New(), owner: Owner{"n1", 1}, n: map[Owner]uint64{}}
	_ = r
	for _, op := range []Op{&Attach{Session: SessionKey{"a", "b"}, Will: &Will{Topic: "t"}}, &Publish{Topic: "a/b", Payload: []byte("x"), QoS: 2},
		&Ack{Done: []Range{{1, 4}, {9, 9}}}, &Frame{Messages: []FrameMessage{{Seq: 1, Topic: "x"}}}, &SetPeer{Peer: "us", Classes: []Class{{"c", []string{"#"}}}},
		&Interest{Add: []InterestFilter{{Filter: "#"}}}, &Configure{Acks: []AckPolicy{{"#", PolicyMemory}}},
		&Promote{Epoch: us(2), Grace: 30}, &Hand{us(2), "eu"}, &Promise{"us", us(2)}, &SetTakeover{Standbys: []string{"us"}, Replay: []ReplayRule{{"#", ReplayReport, 1}}},
		&SetPolicy{Peer: "us", Keys: KeyIn, Values: SetPeer{In: []string{"#"}}}, &PausePeer{Peer: "us", Paused: true, Reason: "x"}, &DropSpooled{Filter: "#"},
		&SetDocument{Name: ObjectsDocument, Seen: 7, Body: []byte("limits: {}"), By: "alice", Note: "why"},
		&SetQuotas{Quotas: []NamespaceQuota{{"ns", 5, 6}}}} {
		rec := Record{Home: "eu", Time: 5, Entries: []Entry{{Owner{"n", 1}, 1, []Op{op}}}}
		f.Add(rec.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := DecodeRecord(rec.Append(nil))
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if fmt.Sprintf("%+v", again.Home) != fmt.Sprintf("%+v", rec.Home) || len(again.Entries) != len(rec.Entries) {
			t.Fatal("round trip differs")
		}
		if len(rec.Entries) > 0 {
			_ = New().Apply(&rec, noSink{}, func(*Entry, int, Outcome) {})
		}
	})
}
