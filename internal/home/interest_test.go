package home

import "testing"

// A peer that counts anew, in another epoch or from less after a restore, is held
// to what it wanted before until it says otherwise.
func TestInterest_Renumbered(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&SetPeer{Peer: "us"})
	first, second := Epoch{1, "us"}, Epoch{2, "us"}
	r.do(&Interest{Peer: "us", Epoch: first, Full: true, Version: 7, Add: []InterestFilter{{Filter: "a/#"}}})
	r.want("from a version that is not held", r.do(&Interest{Peer: "us", Epoch: second, Base: 6}).Code, CodeGap)
	r.want("filters of another epoch", r.do(&Interest{Peer: "us", Epoch: second, Base: 7, Version: 8, Add: []InterestFilter{{Filter: "b"}}}).Code, CodeGap)
	held := func(when string, epoch Epoch, version uint64) {
		t.Helper()
		p, _ := r.s.Peer("us")
		v, _ := r.s.PeerInterest("us")
		if p.Epoch != epoch || p.Version != version || v.Version != version || len(v.Snapshot().Filters) != 1 {
			t.Errorf("%s: %+v, %+v", when, p, v.Snapshot())
		}
	}
	held("refused", first, 7)
	r.want("another epoch", r.do(&Interest{Peer: "us", Epoch: second, Base: 7}).Code, CodeOK)
	held("another epoch", second, 0)
	r.want("a greater version", r.do(&Interest{Peer: "us", Epoch: second, Version: 9}).Code, CodeOK)
	r.want("a lower version", r.do(&Interest{Peer: "us", Epoch: second, Base: 9, Version: 3}).Code, CodeOK)
	held("a lower version", second, 3)
	r.do(&Publish{Topic: "a/b", QoS: 1})
	if n := r.s.SpoolInfo("us")[0].Messages; n != 1 {
		t.Errorf("%d messages are spooled, want 1", n)
	}
}
