package home

import (
	"testing"
)

func spoolRig(t *testing.T, peers map[ID]SetPeer) *rig {
	r := newRig(t, "eu")
	for _, id := range []ID{"ap", "us"} {
		op := peers[id]
		op.Peer = id
		r.do(&op)
		r.do(&Interest{Peer: id, Epoch: Epoch{1, string(id)}, Full: true, Version: 1, Add: []InterestFilter{{Filter: "all"}, {Filter: string(id) + "/#"}}})
	}
	return r
}

func (r *rig) bytes(id ID) uint64 { info, _ := r.s.Peer(id); return info.Bytes }

// At the bound on all spools the peer that is furthest over its share loses its
// oldest, of its lowest class first; one within its share loses nothing, and devices
// of this region are served as ever.
func TestSpoolLimit_DropsOfWhoIsFurthestOverItsShare(t *testing.T) {
	r := spoolRig(t, map[ID]SetPeer{"ap": {SpoolBytes: 3000, Classes: []Class{{Name: "cmd", Filters: []string{"ap/cmd"}}}}, "us": {SpoolBytes: 1000}})
	e := r.attach("dev", false, 100)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	r.do(&SpoolLimit{Bytes: 800, By: LimitReserve, Node: "n1"})
	r.want("shares", []uint64{r.s.SpoolShare("ap"), r.s.SpoolShare("us")}, []uint64{600, 200})
	const payload = "012345" // with its topic, 10 bytes
	for range 10 {
		r.pub("us/x", payload, 1, false)
	}
	r.pub("ap/cmd", payload, 1, false)
	for range 90 {
		r.pub("ap/x", payload, 1, false)
	}
	r.want("us is within its share", r.bytes("us"), uint64(100))
	if n := r.bytes("ap"); n > 700 || n < 600 {
		t.Errorf("ap has %d bytes, want what the others leave of 800", n)
	}
	r.want("its higher class is kept", r.s.SpoolInfo("ap")[0].Messages, 1)
	limit, spooled := r.s.SpoolLimit()
	r.want("bound", limit.Bytes == 800 && limit.By.String() == "reserve" && spooled <= 800, true)
	dropped := r.told.dropped[DropDiskLimit]
	r.want("counted", dropped > 0 && uint64(dropped) == r.s.SpoolInfo("ap")[1].Dropped, true)
	r.want("canary of who is within its share", r.do(&Canary{Peer: "us"}).Code, CodeOK)

	r.do(&SpoolLimit{Bytes: 400, By: LimitReserve, Node: "n1"})
	_, spooled = r.s.SpoolLimit()
	r.want("lowered", spooled <= 400, true)
	r.want("queue", len(r.s.Queue(SessionKey{"", "dev"}, e, 0, 1000, nil)), 101)

	kept := store{}
	var b batch
	b.commit(r.s, kept)
	back := kept.load(t)
	r.want("kept", same(r.s, back), true)
	limit, _ = back.SpoolLimit()
	r.want("with its bound", limit, SpoolLimit{400, LimitReserve, "n1"})
	r.do(&SpoolLimit{})
	for range 90 {
		r.pub("us/x", payload, 1, false)
	}
	r.want("no bound", r.bytes("us") > 900, true)
}

// Where the policy is to refuse, publishers are, above the share, and nothing that was
// acknowledged is dropped.
func TestSpoolLimit_RefusesWhereAsked(t *testing.T) {
	r := spoolRig(t, map[ID]SetPeer{"ap": {SpoolBytes: 1000, Refuse: true}, "us": {SpoolBytes: 1000}})
	r.do(&SpoolLimit{Bytes: 200, By: LimitMax, Node: "n1"})
	refused := 0
	for range 40 {
		if r.pub("ap/x", "012345", 1, false).Code == CodeQuota {
			refused++
		}
	}
	r.want("refused", refused, 20)
	r.do(&SpoolLimit{Bytes: 50, By: LimitMax, Node: "n1"})
	r.want("kept", r.bytes("ap"), uint64(200))
	r.want("nothing dropped", len(r.told.dropped), 0)
	r.want("others go on", r.pub("elsewhere", "x", 1, false).Code, CodeNoSubscribers)
}
