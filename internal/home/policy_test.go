package home

import (
	"fmt"
	"testing"
	"time"
)

// wanting makes a home with a peer that wants everything.
func wanting(t *testing.T, policy SetPeer) *rig {
	r := newRig(t, "eu")
	policy.Peer = "us"
	r.do(&policy)
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "#"}}})
	return r
}

func TestPolicy_WhatAnOperatorSetLiesOverTheFile(t *testing.T) {
	base := SetPeer{Peer: "us", In: []string{"a"}, Out: []string{"b"}, QoSMax: 2, Retained: true, SpoolBytes: 10}
	set := SetPeer{In: []string{"x"}, Never: []string{"n"}, InPrefix: "eu/", QoSMax: 1, Rate: 5, Refuse: true, SpoolBytes: 7, SpoolAge: time.Hour}
	for _, c := range []struct {
		keys PolicyKeys
		want SetPeer
	}{
		{0, base},
		{KeyIn, SetPeer{Peer: "us", In: []string{"x"}, Out: []string{"b"}, QoSMax: 2, Retained: true, SpoolBytes: 10}},
		{KeyOut | KeyRetained, SetPeer{Peer: "us", In: []string{"a"}, QoSMax: 2, SpoolBytes: 10}},
		{KeyIn | KeyOut | KeyNever | KeyInPrefix | KeyQoSMax | KeyRate | KeyRetained | KeyRefuse | KeySpoolBytes | KeySpoolAge,
			SetPeer{Peer: "us", In: []string{"x"}, Never: []string{"n"}, InPrefix: "eu/", QoSMax: 1, Rate: 5, Refuse: true, SpoolBytes: 7, SpoolAge: time.Hour}},
	} {
		if got := base.Over(c.keys, &set); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("keys %b:\n got %+v\nwant %+v", c.keys, got, c.want)
		}
	}
}

// The file of another leader changes the base; what an operator set stays.
func TestPolicy_StaysWhenTheFileChanges(t *testing.T) {
	r := wanting(t, SetPeer{Out: []string{"a"}, QoSMax: 2})
	rev := r.s.LinkPolicy("us").Revision
	r.want("set", r.do(&SetPolicy{Peer: "us", Revision: rev, Keys: KeyOut, Values: SetPeer{Out: []string{"b"}}}).Code, CodeOK)
	r.want("made from an older one", r.do(&SetPolicy{Peer: "us", Revision: rev, Keys: KeyOut}).Code, CodeGap)
	r.do(&SetPeer{Peer: "us", Out: []string{"c"}, QoSMax: 1})
	l := r.s.LinkPolicy("us")
	r.want("out", l.Out, []string{"b"})
	r.want("qos", l.QoSMax, 1)
	r.want("base", l.Base.Out, []string{"c"})
	r.do(&SetPolicy{Peer: "us", Revision: l.Revision})
	r.want("reset", r.s.LinkPolicy("us").Out, []string{"c"})
	r.want("unknown peer", r.do(&SetPolicy{Peer: "ap"}).Code, CodeUnknown)
	if r.s.LinkPolicy("ap").MayGo("a") || r.s.LinkPolicy("ap").MayCome("a") || !r.s.LinkPolicy("ap").Paused() {
		t.Error("something crosses to a peer that the home does not know")
	}
}

func TestPolicy_WhatMayComeIsNamedAsThePeerDoes(t *testing.T) {
	for _, c := range []struct {
		policy SetPeer
		topic  string
		want   bool
	}{
		{SetPeer{}, "a", true},
		{SetPeer{}, "$SYS/a", true},
		{SetPeer{In: []string{"a/#"}}, "a/b", true},
		{SetPeer{In: []string{"a/#"}}, "b", false},
		{SetPeer{In: []string{"a/#"}, Never: []string{"a/b"}}, "a/b", false},
		{SetPeer{In: []string{"a/#"}, InPrefix: "us/"}, "a/b", true},
		{SetPeer{In: []string{"us/a/#"}, InPrefix: "us/"}, "a/b", false},
		{SetPeer{InPrefix: "us/"}, "$SYS/a", false},
		{SetPeer{In: []string{"$SYS/#"}, InPrefix: "us/"}, "$SYS/a", false},
	} {
		if got := (&LinkPolicy{SetPeer: c.policy}).MayCome(c.topic); got != c.want {
			t.Errorf("%+v: %s: %t", c.policy, c.topic, got)
		}
	}
}

// Retained messages that a wider policy lets out are spooled; those that it let
// out before are not spooled again.
func TestPolicy_WidenedLetsRetainedOut(t *testing.T) {
	r := wanting(t, SetPeer{Out: []string{"a"}, Retained: true})
	r.pub("a", "1", 1, true)
	r.pub("b", "2", 1, true)
	r.want("before", r.s.SpoolInfo("us")[0].Messages, 1)
	r.do(&SetPolicy{Peer: "us", Revision: 1, Keys: KeyOut})
	got := r.spooled(nil)
	r.want("after", len(got), 2)
	r.want("the wider part", got[1][:len("3@eu 2")], "3@eu 2")
}

// A pause outlives a restart of the home from its disk, and ends by home time.
func TestPause_EndsByHomeTime(t *testing.T) {
	r := wanting(t, SetPeer{})
	r.do(&PausePeer{Peer: "us", Paused: true, For: time.Minute, Reason: "maintenance"})
	since := r.s.LinkPolicy("us").Pause.Since
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.s = kept.load(t)
	r.pub("a", "1", 1, false)
	r.want("spooled while paused", r.s.SpoolInfo("us")[0].Messages, 1)
	r.now += Time(59 * time.Second)
	r.do(&Tick{})
	r.want("paused", r.s.LinkPolicy("us").Pause, Pause{true, since, since.Add(time.Minute), "maintenance"})
	r.do(&PausePeer{Peer: "us", Paused: true, For: time.Minute, Reason: "longer"})
	r.now += Time(2 * time.Second)
	r.do(&Tick{})
	r.want("the first end is overtaken", r.s.LinkPolicy("us").Paused(), true)
	r.want("since it began", r.s.LinkPolicy("us").Pause.Since, since)
	r.now += Time(time.Minute)
	r.do(&Tick{})
	r.want("over", r.s.LinkPolicy("us").Pause, Pause{})
	r.do(&PausePeer{Peer: "us", Paused: true})
	r.do(&SetPeer{Peer: "us", QoSMax: 1})
	r.want("a policy does not end it", r.s.LinkPolicy("us").Paused(), true)
	r.do(&PausePeer{Peer: "us"})
	r.want("resumed", r.s.LinkPolicy("us").Paused(), false)
}

func TestDropSpooled_ByAge(t *testing.T) {
	r := wanting(t, SetPeer{Classes: []Class{{Name: "cmd", Filters: []string{"cmd"}}}})
	for i := range 4 {
		r.pub("cmd", fmt.Sprint(i), 1, false)
		r.pub("x", fmt.Sprint(i), 1, false)
		r.now += Time(time.Minute)
	}
	r.do(&Tick{}) // they are 4, 3, 2 and 1 minutes old
	r.want("dropped of one class", r.do(&DropSpooled{Peer: "us", Class: "cmd", Age: 3 * time.Minute}).Count, 2)
	r.want("counted", r.told.dropped[DropOperator], 2)
	r.want("of all", r.do(&DropSpooled{Peer: "us", AllClasses: true, Age: 2 * time.Minute}).Count, 4)
	r.want("left", r.s.Backlog("us", r.s.HighSeq()), Backlog{2, r.s.Backlog("us", 1<<40).Bytes, 6})
	r.want("everything", r.do(&DropSpooled{Peer: "us", AllClasses: true}).Count, 2)
	r.want("is gone", r.s.Backlog("us", r.s.HighSeq()).Messages, 0)
}

// Of a run only its ends are known, so it goes when its newest message is due.
func TestDropSpooled_RunsGoAsAWhole(t *testing.T) {
	r := wanting(t, SetPeer{SpoolBytes: runsInLimit * 100, SpoolAge: 16 * time.Hour})
	for i := range 40 {
		r.now += Time(time.Second)
		r.pub("a", fmt.Sprintf("%040d", i), 1, false)
	}
	first := r.s.peers["us"].spools[0].runs[0]
	age := r.now.Sub(first.from)
	r.want("a run with newer ones", r.do(&DropSpooled{Peer: "us", AllClasses: true, Age: age}).Count, 0)
	r.want("a run", r.do(&DropSpooled{Peer: "us", AllClasses: true, Age: r.now.Sub(first.to)}).Count, first.count)
}

// A rule is kept while something it is about waits, and is about nothing newer.
func TestDropSpooled_ByFilterIsARule(t *testing.T) {
	r := wanting(t, SetPeer{})
	r.pub("a/1", "", 1, false)
	r.pub("b", "", 1, false)
	r.want("dropped here", r.do(&DropSpooled{Peer: "us", AllClasses: true, Filter: "a/#"}).Count, 0)
	r.pub("a/2", "", 1, false)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.s = kept.load(t)
	l := r.s.LinkPolicy("us")
	r.want("what it is about", fmt.Sprint(l.Trimmed("", 1, "a/1"), l.Trimmed("", 2, "b"), l.Trimmed("", 3, "a/2"), l.Trimmed("cmd", 1, "a/1")), "true false false false")
	r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: 1})
	r.want("rules", len(r.s.LinkPolicy("us").Trims), 1)
	r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: 2})
	r.want("rules that are over", len(r.s.LinkPolicy("us").Trims), 0)
	for range maxTrims {
		r.do(&DropSpooled{Peer: "us", AllClasses: true, Filter: "a/#"})
	}
	r.want("too many", r.do(&DropSpooled{Peer: "us", AllClasses: true, Filter: "a/#"}).Code, CodeQuota)
}

func TestSpoolParts_SpreadEvenly(t *testing.T) {
	r := wanting(t, SetPeer{SpoolBytes: runsInLimit * 100})
	for range 60 {
		r.pub("a", "0123456789012345678901234567890123456789", 1, false)
	}
	all, whole := r.s.SpoolParts("us", "", 1000)
	r.want("whole", whole, true)
	n, after := 0, Seq(0)
	for _, p := range all {
		r.want("no hole", p.After, after)
		after, n = p.Last, n+p.Messages
	}
	r.want("all of it", fmt.Sprint(n, after), fmt.Sprint(60, r.s.HighSeq()))
	some, whole := r.s.SpoolParts("us", "", 3)
	r.want("a part", fmt.Sprint(whole, len(some), some[0], some[2]), fmt.Sprint(false, 3, all[0], all[len(all)-1]))
}
