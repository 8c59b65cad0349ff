package home

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSpool_AgesWhileNothingIsPublished(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us", SpoolAge: time.Hour})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "a"}}})
	r.pub("a", "old", 1, false)
	r.now += Time(59 * time.Minute)
	r.do(&Tick{})
	r.want("within its age", r.s.SpoolInfo("us")[0].Messages, 1)
	r.now += Time(2 * time.Minute)
	r.do(&Tick{})
	info := r.s.SpoolInfo("us")[0]
	r.want("past its age", info.Messages, 0)
	r.want("counted", r.told.dropped[DropSpoolAge], 1)
	r.want("the span is done with", info.Start, Seq(1))
}

// spooled reads all that waits for a peer, from memory and from what was flushed.
func (r *rig) spooled(kept store) (list []string) {
	r.t.Helper()
	after := r.s.SpoolInfo("us")[0].Start
	for {
		var part []Spooled
		if key, ok := r.s.SpoolRun("us", "", after); ok {
			var err error
			if part, err = r.s.DecodeRun(kept[string(key)]); err != nil {
				r.t.Fatalf("run %x: %v", key, err)
			}
		} else if part = r.s.Spool("us", "", after, 3, 40, nil); len(part) == 0 {
			return list
		}
		for _, x := range part {
			if x.Seq <= after {
				continue
			}
			if after = x.Seq; x.Evicted {
				m, err := DecodeBody(x.Seq, kept[string(BodyKey(x.Seq))])
				if err != nil {
					r.t.Fatalf("body %d: %v", x.Seq, err)
				}
				x.Message = m
			}
			list = append(list, fmt.Sprintf("%d@%s %s %d %t", x.Seq, x.Epoch.Host, x.Message.Payload, x.RetainVersion, x.Live))
		}
	}
}

// Runs leave memory, and nothing of what waits changes by it: whatever is
// trimmed, dropped, flushed in parts, evicted and loaded, the spool reads like
// one that never left memory, and in the end the store is empty.
func TestSpool_RunsAreWhatWasSpooled(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 4))
		r := newRig(t, "eu")
		kept := store{}
		var ahead batch
		r.do(&SetPeer{Peer: "us", Retained: true, SpoolBytes: []uint64{0, 4 << 10, 2 << 10}[rnd.IntN(3)] + 1, SpoolAge: time.Minute})
		if rnd.IntN(4) > 0 {
			r.do(&SetPeer{Peer: "us", Retained: true, SpoolBytes: 64 << 10})
		}
		r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "#"}}})
		e := r.attach("dev", false, 1000)
		r.sub("dev", e, Subscription{Filter: "a/#", QoS: 1})
		twin := New()
		at := 0
		for i := range rapid.IntRange(20, 100).Draw(rt, "ops") {
			switch rnd.IntN(14) {
			case 12:
				r.do(&Canary{Peer: "us"})
			case 13:
				r.do(&DropSpooled{Peer: "us", Filter: []string{"", "x"}[rnd.IntN(2)], AllClasses: true, Age: time.Duration(rnd.IntN(20)) * time.Second})
			case 0:
				to := Seq(rnd.IntN(int(r.s.HighSeq()) + 2))
				r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: to})
			case 1:
				if q := r.s.Queue(SessionKey{"", "dev"}, e, 0, 5, nil); len(q) > 0 {
					r.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{q[0].Ref, q[len(q)-1].Ref}}})
				}
			case 2:
				r.s.flushOnePart(&writer{put: ahead.put, del: ahead.del, budget: 1 + rnd.IntN(8)})
			case 3, 4:
				ahead.commit(r.s, kept)
				r.s.Evict(rnd.Int64N(2) * 1000)
				if rnd.IntN(3) == 0 {
					r.s = kept.load(t)
				}
			default:
				r.now += Time(rnd.IntN(2)) * Time(time.Second)
				for range 1 + rnd.IntN(10) {
					r.pub([]string{"a/b", "x"}[rnd.IntN(2)], fmt.Sprintf("%d-%d", i, rnd.Uint32()), 1, rnd.IntN(9) == 0)
				}
			}
			replay(t, twin, r.log[at:])
			at = len(r.log)
			r.want("spooled", r.spooled(kept), (&rig{t: t, s: twin}).spooled(nil))
			if !same(r.s, twin) {
				rt.Fatal("the state differs from one that never left memory")
			}
		}
		r.do(&ForgetPeer{Peer: "us"})
		r.do(&EndSession{Session: SessionKey{"", "dev"}})
		for _, topic := range []string{"a/b", "x"} {
			r.pub(topic, "", 1, true)
		}
		for range 2 {
			ahead.commit(r.s, kept)
			r.s.Evict(0)
		}
		for k := range kept {
			if k[0] == tableBody || k[0] == tableRun || k[0] == tableRunValue || k[0] == tableSpool {
				rt.Fatalf("left behind: %x", k)
			}
		}
	})
}

// A long outage costs memory by the run, not by the message.
func TestSpool_BacklogLeavesMemory(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us"})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "#"}}})
	kept := store{}
	for range 20 {
		for range 1000 {
			r.pub("a", "payload", 1, false)
		}
		var b batch
		b.commit(r.s, kept)
		r.s.Evict(1 << 20)
	}
	sp := r.s.spoolByName("us", "")
	held := len(sp.refs)
	for _, x := range sp.runs {
		held += len(x.refs) + len(x.outside)
	}
	if held > 2*runMessages+1000 || sp.waiting != 20_000 {
		t.Errorf("%d of %d messages in memory, in %d runs", held, sp.waiting, len(sp.runs))
	}
	r.want("read back", len(r.spooled(kept)), 20_000)
}

// A copy without what devices sent goes on like the state it was taken from, and
// keeps nothing of a long spool in memory though it has no store: it is told that
// what it would write is kept, and never needs the values of runs.
func TestSpool_OfALeanCopy(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us"})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "#"}}})
	e := r.attach("dev", false, 1000)
	r.sub("dev", e, Subscription{Filter: "b", QoS: 1})
	kept := store{}
	flush := func(budget int64) {
		var b batch
		b.commit(r.s, kept)
		r.s.Evict(budget)
	}
	round := func() {
		for i := range 6000 {
			r.pub([]string{"a", "b"}[i%2], "payload", 1, i%500 == 0)
		}
	}
	flush(0)
	round()
	flush(0)
	runs := 0
	lean, err := Load(func(fn func(key, value []byte) error) error {
		for _, k := range sortedKeys(kept) {
			value, err := LeanValue([]byte(k), kept[k])
			if errors.Is(err, ErrLoaded) {
				runs++
				continue
			}
			if err == nil {
				err = fn([]byte(k), value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || runs == 0 {
		t.Fatalf("%v, with %d runs", err, runs)
	}
	at := len(r.log)
	follow := func() {
		replay(t, lean, r.log[at:])
		at = len(r.log)
		if !same(r.s, lean) {
			t.Fatal("the copy goes another way")
		}
		put, del := func(_, _ []byte) {}, func([]byte) {}
		lean.FlushAhead(put, del)
		lean.Flush(put, del)
		lean.Evict(0)
		if !same(r.s, lean) {
			t.Fatal("the copy changed as its changes were dropped")
		}
	}
	follow()
	for range 4 {
		round()
		follow()
	}
	sp := lean.spoolByName("us", "")
	held := len(sp.refs) + len(lean.written) + len(lean.changes.runs)
	for _, x := range sp.runs {
		held += len(x.refs)
	}
	if held > 2*runMessages || sp.waiting != 30_000 || lean.resident > 1000 {
		t.Errorf("%d of %d messages in memory, in %d runs; %d bytes of bodies", held, sp.waiting, len(sp.runs), lean.resident)
	}
	r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: r.s.HighSeq()})
	r.do(&EndSession{Session: SessionKey{"", "dev"}})
	follow()
	if n := len(lean.bodies.list) - lean.bodies.head; n > 10 {
		t.Errorf("%d bodies are left behind", n)
	}
}

// A full spool of a peer whose policy says so refuses publishers, as a whole: the
// durable session at home gets nothing either, and a QoS 2 id is not taken. What
// the peer does not want goes on, and so does everything once the peer has room.
func TestSpool_RefusesPublishersWhereAsked(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us", Refuse: true, SpoolBytes: 20})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "w/#"}}})
	e := r.attach("dev", false, 100)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	r.want("has room", r.pub("w/1", "0123456789", 1, false).Code, CodeOK)
	p := r.attach("pub", false, 100)
	full := &Publish{Session: SessionKey{"", "pub"}, Epoch: p, PacketID: 7, Topic: "w/2", Payload: []byte("refused"), QoS: 2}
	r.want("full", r.do(full).Code, CodeQuota)
	r.want("not wanted", r.pub("other", "0123456789", 1, false).Code, CodeOK)
	r.want("nobody got what was refused", r.queue("dev", e), "[0123456789 0123456789]")
	r.want("nothing was dropped", len(r.told.dropped), 0)
	r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: r.s.HighSeq()})
	full.Payload = []byte("taken")
	r.want("room again, under the same packet id", r.do(full).Code, CodeOK)
	r.want("queue", r.queue("dev", e), "[0123456789 0123456789 taken]")
}
