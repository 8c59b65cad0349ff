package home

import (
	"fmt"
	"testing"
)

// A namespace that is over its quota loses what would be too much of its own; another one loses nothing, and devices
// that keep up get everything.
func TestQuota_HurtsNobodyElse(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	key := func(ns, id string) SessionKey { return SessionKey{ns, id} }
	epochs := map[SessionKey]SessionEpoch{}
	for _, k := range []SessionKey{key("greedy", "slow"), key("greedy", "quick"), key("other", "slow")} {
		epochs[k] = r.do(&Attach{Session: k, Expiry: 100}).Epoch
		r.do(&Subscribe{Session: k, Epoch: epochs[k], Filters: []Subscription{{Filter: "#", QoS: 1}}})
	}
	r.do(&SetQuotas{Quotas: []NamespaceQuota{{Namespace: "greedy", Queued: 100, Retained: 2}}})
	quick, got := key("greedy", "quick"), 0
	publish := func(ns string, i int, retain bool) Outcome {
		o := r.do(&Publish{Session: SessionKey{Namespace: ns}, Topic: fmt.Sprint("t", i), Payload: []byte("0123456789"), QoS: 1, Retain: retain})
		if q := r.s.Queue(quick, epochs[quick], 0, 100, nil); len(q) > 0 {
			got += len(q)
			r.do(&Ack{Session: quick, Epoch: epochs[quick], Done: []Range{{q[0].Ref, q[len(q)-1].Ref}}})
		}
		return o
	}
	for i := range 30 {
		publish("greedy", i, false)
		publish("other", i, false)
	}
	length := func(k SessionKey) int { return len(r.s.Queue(k, epochs[k], 0, 100, nil)) }
	if n := length(key("greedy", "slow")); n == 0 || n > 10 {
		t.Errorf("%d wait for who is slow, of a namespace over its quota", n)
	}
	r.want("of another namespace", length(key("other", "slow")), 30)
	r.want("what who keeps up got", got, 30)
	if r.s.Queued("greedy") > 100+13 {
		t.Errorf("%d bytes wait", r.s.Queued("greedy"))
	}
	if n := r.told.dropped[DropQuota]; n != 30-length(key("greedy", "slow")) {
		t.Errorf("%d dropped", n)
	}
	for i := range 4 {
		want := CodeOK
		if i >= 2 {
			want = CodeQuota
		}
		r.want("retained", publish("greedy", i, true).Code, want)
		if c := publish("other", i, true).Code; c != CodeOK {
			t.Errorf("retained of another namespace: %#x", c)
		}
	}
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	back := kept.load(t)
	r.want("after a restart", fmt.Sprint(back.Quotas(), back.Queued("greedy")), fmt.Sprint(r.s.Quotas(), r.s.Queued("greedy")))
	r.want("the same", same(back, r.s), true)
	r.do(&SetQuotas{})
	publish("greedy", 99, false)
	r.want("without a quota", r.s.Queued("greedy") > 100, true)
}
