package home

import (
	"strings"
	"testing"
	"time"
)

// A canary lies in every class, goes like a message, survives a restart as what it
// is, and takes the place of none.
func TestCanary_InTheSpool(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us", Never: []string{"#"}, SpoolBytes: 400, SpoolAge: time.Hour, Classes: []Class{{Name: "cmd", Filters: []string{"cmd/#"}}}})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "#"}}})
	r.want("unknown peer", r.do(&Canary{Peer: "ap"}).Code, CodeUnknown)
	first := r.do(&Canary{Peer: "us"})
	r.want("in both classes", first.Count, 2)
	r.want("one at a time", r.do(&Canary{Peer: "us"}).Code, CodeQuota)

	kept := store{}
	var b batch
	b.commit(r.s, kept)
	r.s = kept.load(t)
	info := r.s.SpoolInfo("us")
	r.want("canaries after a restart", []int{info[0].Canaries, info[1].Canaries, info[0].Messages, info[1].Messages}, []int{1, 1, 0, 0})
	r.want("no age", info[0].Oldest, Time(0))
	list := r.s.Spool("us", "cmd", 0, 10, 1000, nil)
	r.want("sent as a canary", len(list) == 1 && list[0].Canary && list[0].Evicted && !list[0].Live, true)
	m, err := DecodeBody(list[0].Seq, kept[string(BodyKey(list[0].Seq))])
	fm := FrameMessage{Seq: first.Seq, Namespace: m.Namespace, Topic: m.Topic, Payload: m.Payload}
	r.want("its body", err == nil && fm.CanaryClasses() == 2, true)

	r.do(&Trim{Peer: "us", Class: "cmd", Epoch: r.s.Epoch(), To: first.Seq})
	r.want("held up by one class", r.do(&Canary{Peer: "us"}).Code, CodeQuota)
	r.do(&Trim{Peer: "us", Epoch: r.s.Epoch(), To: first.Seq})
	r.want("goes on", r.do(&Canary{Peer: "us"}).Count, 2)

	r.now += Time(2 * time.Hour)
	r.do(&Tick{})
	r.want("aged", r.s.SpoolInfo("us")[1].Canaries, 0)
	r.want("and no message was dropped", len(r.told.dropped), 0)
	r.want("nor counted", r.s.SpoolInfo("us")[1].Dropped, uint64(0))

	r.do(&SetPeer{Peer: "us", SpoolBytes: 100})
	r.pub("a", "0123456789012345678901234567890123456789", 1, false)
	r.want("no room but for messages", r.do(&Canary{Peer: "us"}).Code, CodeQuota)
	b.commit(r.s, kept)
	twin := kept.load(t)
	r.want("twin", same(r.s, twin), true)
}

// A peer's home takes a canary in, and nobody gets it.
func TestCanary_IsNoMessage(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 1000)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1}, Subscription{Filter: "+", QoS: 1})
	o := r.do(&Frame{Source: Source{"us", Epoch{1, "us"}}, To: 3, Messages: []FrameMessage{{Seq: 2, Namespace: CanaryNamespace, Payload: []byte{1}, QoS: 1, Live: true}}})
	r.want("taken in", o.Seq, Seq(3))
	r.want("as no message", o.Count, 0)
	r.want("queue", r.queue("dev", e), "[]")
	for _, fm := range []FrameMessage{{Namespace: "x", Payload: []byte{1}}, {Namespace: CanaryNamespace}, {Namespace: CanaryNamespace, Payload: []byte{0xff}}, {Namespace: CanaryNamespace, Payload: []byte{0}}} {
		r.want("no canary", fm.CanaryClasses(), 0)
	}
}

// Canaries that came into runs are messages neither for what waits nor for what is dropped, also
// after a restart: what is counted is what the peer does not get.
func TestCanary_InRuns(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us", SpoolBytes: 2000})
	r.do(&Interest{Peer: "us", Epoch: Epoch{1, "us"}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "a"}}})
	for range 10 {
		r.do(&Canary{Peer: "us"})
		r.pub("a", strings.Repeat("x", 100), 1, false)
	}
	r.want("some are in runs", len(r.s.peers["us"].spools[0].runs) > 2, true)
	r.want("waiting", r.s.SpoolInfo("us")[0].Messages, 10)
	kept := store{}
	var b batch
	b.commit(r.s, kept)
	r.s = kept.load(t)
	r.want("waiting after a restart", r.s.SpoolInfo("us")[0].Messages, 10)
	for range 40 {
		r.pub("a", strings.Repeat("x", 100), 1, false)
	}
	info := r.s.SpoolInfo("us")[0]
	r.want("some were dropped", info.Dropped > 10, true)
	r.want("dropped and waiting", info.Dropped+uint64(info.Messages), uint64(50))
}

// What no policy of a link looks at is kept by nobody, whatever a peer puts into it.
func TestCanary_CarriesNothing(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Frame{Source: Source{"us", Epoch{1, "us"}}, To: 1, Messages: []FrameMessage{
		{Seq: 1, Namespace: CanaryNamespace, Topic: "a", Payload: []byte("x"), QoS: 1, Live: true, Retain: true, RetainVersion: 1}}})
	if got, ok := r.s.RetainedMessage(CanaryNamespace, "a"); ok {
		t.Errorf("the home retains %q of a canary", got.Payload)
	}
}
