package home

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Three nodes propose; what they send arrives late, twice, or not until it was
// sent again, and leaders merge it as it comes. However that falls out, each
// entry took effect once, and those of one proposer in order. [A2]
func TestProposals_TakeEffectOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 5))
		r := newRig(t, "eu")
		e := r.attach("sub", false, 3600)
		r.sub("sub", e, Subscription{Filter: "#", QoS: 1})

		const each = 12
		var nodes []*proposing
		for _, name := range []NodeID{"n2", "n3", "n4"} {
			nodes = append(nodes, newProposing(Owner{name, 1}, each))
		}
		for applied := 0; applied < each*len(nodes); {
			var entries []Entry
			for range rnd.IntN(6) {
				entries = append(entries, nodes[rnd.IntN(len(nodes))].any(rnd))
			}
			r.merge(entries)
			applied = 0
			for _, p := range nodes {
				_, p.applied = r.s.Incarnation(p.owner.Node)
				applied += int(p.applied)
			}
		}
		got := map[string][]string{}
		for _, q := range r.s.Queue(SessionKey{"", "sub"}, e, 0, 1000, nil) {
			got[q.Message.Topic] = append(got[q.Message.Topic], string(q.Message.Payload))
		}
		for _, p := range nodes {
			if !slices.Equal(got[string(p.owner.Node)], p.want) {
				rt.Fatalf("seed %d: %s: %v", seed, p.owner, got[string(p.owner.Node)])
			}
		}
		twin := New()
		replay(t, twin, r.log)
		if !same(twin, r.s) {
			rt.Fatalf("seed %d: another replica differs", seed)
		}
	})
}

// proposing is a node with entries that it sends until they are applied.
type proposing struct {
	owner   Owner
	entries []Entry
	applied uint64
	want    []string
}

func newProposing(o Owner, n int) *proposing {
	p := &proposing{owner: o}
	for i := range n {
		e := Entry{Owner: o, N: uint64(i + 1)}
		for j := range 1 + i%3 {
			payload := fmt.Sprintf("%d.%d", i, j)
			p.want = append(p.want, payload)
			e.Ops = append(e.Ops, &Publish{Topic: string(o.Node), Payload: []byte(payload), QoS: 1})
		}
		p.entries = append(p.entries, e)
	}
	return p
}

// any is an entry as it may arrive: the next, an old one again, or one behind a
// gap.
func (p *proposing) any(rnd *rand.Rand) Entry {
	at := int(p.applied) + rnd.IntN(5) - 2
	return p.entries[min(max(at, 0), len(p.entries)-1)]
}

// merge applies entries of any proposers as one record.
func (r *rig) merge(entries []Entry) {
	r.t.Helper()
	r.now++
	var raw [][]byte
	for i := range entries {
		raw = append(raw, entries[i].Append(nil))
	}
	b := AppendRecord(nil, r.s.ID(), r.now, raw)
	r.log = append(r.log, b)
	replay(r.t, r.s, [][]byte{b})
}

// What a node proposed for a session it lost counts no more, nor what a dead run
// of a node proposed at all, however late it comes. [A3]
func TestLateProposals_OfAFormerOwnerAreVoid(t *testing.T) {
	r := newRig(t, "eu")
	k := SessionKey{"", "dev"}
	n1, n2, n3 := Owner{"n2", 1}, Owner{"n3", 1}, Owner{"n4", 1}
	r.as(n3, &Tick{})
	watch := r.as(n3, &Attach{Session: SessionKey{"", "watch"}, Expiry: 100}).Epoch
	r.as(n3, &Subscribe{Session: SessionKey{"", "watch"}, Epoch: watch, Filters: []Subscription{{Filter: "#", QoS: 2}}})
	old := r.as(n1, &Attach{Session: k, Expiry: 100}).Epoch
	r.as(n1, &Subscribe{Session: k, Epoch: old, Filters: []Subscription{{Filter: "mine", QoS: 1}}})
	r.pub("mine", "x", 1, false)
	now := r.as(n2, &Attach{Session: k, Expiry: 100}).Epoch

	for _, op := range []Op{
		&Publish{Session: k, Epoch: old, PacketID: 7, Topic: "late", QoS: 2},
		&Release{Session: k, Epoch: old, PacketID: 7},
		&Ack{Session: k, Epoch: old, Done: []Range{{1, 1}}},
		&Skip{Session: k, Epoch: old, Refs: []Range{{1, 1}}, Reason: SkipDenied},
		&Subscribe{Session: k, Epoch: old, Filters: []Subscription{{Filter: "late", QoS: 1}}},
		&Unsubscribe{Session: k, Epoch: old, Filters: []string{"mine"}},
		&Detach{Session: k, Epoch: old},
	} {
		r.want(fmt.Sprintf("%T of the former owner", op), r.as(n1, op).Code, CodeVoid)
	}
	// The id that the former owner brought is not known: the new owner's message
	// under it is a new one.
	r.as(n2, &Publish{Session: k, Epoch: now, PacketID: 7, Topic: "new", Payload: []byte("new"), QoS: 2})
	r.want("seen", r.queue("watch", watch), []string{"x", "new"})
	r.want("still queued", r.queue("dev", now), []string{"x"})

	r.as(n3, &NodeDown{Owner: n2})
	before, _ := r.s.Chain()
	records, seq := before, r.s.HighSeq()
	r.as(n2, &Publish{Topic: "dead", QoS: 1}, &Attach{Session: k})
	if records, _ = r.s.Chain(); records != before+1 || r.s.HighSeq() != seq {
		t.Errorf("a dead run published: %d records, number %d after %d", records-before, r.s.HighSeq(), seq)
	}
	info, _ := r.s.Session(k)
	r.want("owner after a dead run's attach", info.Owner, Owner{})
	r.as(Owner{"n3", 2}, &NodeUp{})
	r.merge([]Entry{{Owner: Owner{"n3", 1}, N: r.n[n2] + 1, Ops: []Op{&Publish{Topic: "dead", QoS: 1}}}, {Owner: Owner{"n3", 1}, N: 1, Ops: []Op{&NodeUp{}}}})
	r.want("number after what the dead run sent at last", r.s.HighSeq(), seq)
	if run, _ := r.s.Incarnation("n3"); run != 2 {
		t.Errorf("run %d of the node counts, want 2", run)
	}
}
