package home

import (
	"testing"
)

var (
	piiInEU = Residency{Namespace: "cars", Filter: "pii/#", Regions: []string{"eu", "eu-b"}}
	rules   = []Residency{piiInEU, {Filter: "pii/health/+", Regions: []string{"eu"}}, {Namespace: "safe", Filter: "#"}}
)

func TestResidency_AllRulesThatMatchCount(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Configure{Revision: 1, Residency: rules})
	for _, c := range []struct {
		ns, topic, region string
		may               bool
	}{
		{"cars", "pii/name", "eu-b", true}, {"cars", "pii/name", "us", false}, {"cars", "pii", "us", false},
		{"plants", "pii/name", "us", true}, {"cars", "events/a", "us", true}, {"cars", "PII/name", "us", true},
		{"cars", "pii/health/x", "eu-b", false}, {"cars", "pii/health/x", "eu", true}, {"plants", "pii/health/x", "us", false},
		{"safe", "a", "eu", false}, {"safe", "a", "", false}, {"safe", "$a/b", "eu", false}, {"safer", "a", "us", true},
	} {
		if got := r.s.MayLeave(c.ns, c.topic, c.region); got != c.may {
			t.Errorf("%s/%s to %q: %v", c.ns, c.topic, c.region, got)
		}
	}
	rule, denied := r.s.ResidencyOf("cars", "pii/health/x", "us")
	r.want("names the first", denied && rule.Filter == "pii/#", true)
	r.want("unwanted", r.s.Config().Unwanted("cars", "eu", "eu-b"), []string{"pii/health/+"})
	r.want("of both sides", len(r.s.Config().Unwanted("cars", "eu", "us")), 2)
	r.want("plants", r.s.Config().Unwanted("plants", "eu", "eu-b"), []string{"pii/health/+"})
}

// Nothing that a rule keeps here is spooled for a peer, wanted or retained, and a full
// spool that takes none of it refuses nobody because of it.
func TestResidency_KeepsOutOfTheSpool(t *testing.T) {
	r := newRig(t, "eu")
	pub := func(topic string, retain bool) Code {
		return r.do(&Publish{Session: SessionKey{Namespace: "cars"}, Topic: topic, Payload: []byte("0123456789"), QoS: 1, Retain: retain}).Code
	}
	r.do(&Configure{Revision: 1, Residency: rules})
	pub("pii/before", true)
	for peer, bytes := range map[ID]uint64{"us": 100, "eu-b": 0} {
		r.do(&SetPeer{Peer: peer, Retained: true, Refuse: true, SpoolBytes: bytes})
		r.do(&Interest{Peer: peer, Epoch: Epoch{1, string(peer)}, Full: true, Version: 1, Add: []InterestFilter{{Namespace: "cars", Filter: "#"}}})
	}
	e := r.do(&Attach{Session: SessionKey{"cars", "dev"}, Expiry: 100}).Epoch
	r.do(&Subscribe{Session: SessionKey{"cars", "dev"}, Epoch: e, Filters: []Subscription{{Filter: "pii/#", QoS: 1}}})
	for range 3 {
		r.want("taken here", pub("pii/name", true), CodeOK)
	}
	r.want("for us", r.s.SpoolInfo("us")[0].Messages, 0)
	r.want("for eu-b", r.s.SpoolInfo("eu-b")[0].Messages, 4)
	r.want("counted", r.told.dropped[DropResidency], 3)
	for range 20 {
		pub("events/a", false)
	}
	r.want("us is full", pub("events/a", false), CodeQuota)
	r.want("and not in the way", pub("pii/name", false), CodeOK)

	kept := store{}
	var b batch
	b.commit(r.s, kept)
	back := kept.load(t)
	r.want("kept", same(r.s, back) && !back.MayLeave("cars", "pii/x", "us"), true)
	twin := New()
	replay(t, twin, r.log)
	r.want("replayed", same(r.s, twin), true)
}

// A region that is not named stores nothing of it: not from its devices, their wills
// or a link.
func TestResidency_KeepsOutOfAnotherRegion(t *testing.T) {
	r := newRig(t, "us")
	r.do(&Configure{Revision: 1, Residency: rules})
	k := SessionKey{"cars", "dev"}
	e := r.do(&Attach{Session: k, Expiry: 100}).Epoch
	r.do(&Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: "#", QoS: 1}}})
	p := SessionKey{"cars", "pub"}
	f := r.do(&Attach{Session: p, Will: &Will{Topic: "pii/will", Payload: []byte("w"), Retain: true}}).Epoch
	r.want("refused", r.do(&Publish{Session: p, Epoch: f, Topic: "pii/a", QoS: 2, PacketID: 1, Retain: true}).Code, CodeNotAuthorized)
	r.do(&Detach{Session: p, Epoch: f})
	frame := &Frame{Source: Source{"eu", Epoch{1, "eu"}}, To: 9, Messages: []FrameMessage{
		{Seq: 1, Namespace: "cars", Topic: "pii/b", QoS: 1, Live: true, Retain: true, RetainVersion: 7}, {Seq: 2, Namespace: "cars", Topic: "events/a", Payload: []byte("fine"), QoS: 1, Live: true}}}
	r.want("taken in", r.do(frame).Count, 1)
	r.want("cursor", r.do(&Frame{Source: frame.Source, From: 9, To: 9}).Seq, Seq(9))
	var got []string
	for _, q := range r.s.Queue(k, e, 0, 10, nil) {
		got = append(got, q.Message.Topic)
	}
	r.want("queue", got, []string{"events/a"})
	r.want("retained", r.s.Status().Retained, 0)
	r.want("counted", r.told.dropped[DropResidency], 3)
	r.do(&Configure{Revision: 2})
	r.want("the rule is gone", r.do(&Publish{Session: SessionKey{Namespace: "cars"}, Topic: "pii/a", QoS: 1}).Code, CodeOK)
}
