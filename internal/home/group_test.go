package home

import (
	"fmt"
	"testing"
)

// A shared subscription with a member on each of three nodes; one node dies. What
// its member held at QoS 1 goes, in order and before what waits, to the others;
// what it held at QoS 2 stays with it, since the device may have it. [C3]
func TestShared_MemberOnADeadNode(t *testing.T) {
	r := newRig(t, "eu")
	owners := []Owner{{"n2", 1}, {"n3", 1}, {"n4", 1}}
	epochs := make([]SessionEpoch, 3)
	for i, o := range owners {
		k := SessionKey{"", fmt.Sprint("m", i)}
		epochs[i] = r.as(o, &Attach{Session: k, Expiry: 100, Window: 3}).Epoch
		r.as(o, &Subscribe{Session: k, Epoch: epochs[i], Filters: []Subscription{{Filter: "$share/g/a", QoS: 2}}})
	}
	for i := range 12 { // every third at QoS 2, so that each member has one of them
		qos := byte(1)
		if i/3 == 1 {
			qos = 2
		}
		r.pub("a", fmt.Sprint(i), qos, false)
	}
	r.want("m0", r.queue("m0", epochs[0]), "[0 3 6]")
	r.want("m1", r.queue("m1", epochs[1]), "[1 4 7]")
	r.want("m2", r.queue("m2", epochs[2]), "[2 5 8]")
	r.want("waiting", r.s.Groups()[0].Queued, 3)
	r.want("packet id of what is in flight", r.s.Queue(SessionKey{"", "m0"}, epochs[0], 0, 9, nil)[1].Ref, 2)

	kept := store{}
	r.s.Flush(kept.put, kept.del)
	mirror, at := kept.load(t), len(r.log)

	r.as(owners[1], &NodeDown{Owner: owners[0]})
	r.want("waiting, with what came back", r.s.Groups()[0].Queued, 5)
	r.want("attached", r.s.Groups()[0].Attached, 2)
	ackAll := func(i int) {
		k := SessionKey{"", fmt.Sprint("m", i)}
		q := r.s.Queue(k, epochs[i], 0, 9, nil)
		r.as(owners[i], &Ack{Session: k, Epoch: epochs[i], Done: []Range{{q[0].Ref, q[len(q)-1].Ref}}})
	}
	ackAll(1)
	r.want("m1 gets the oldest", r.queue("m1", epochs[1]), "[0 6 9]")
	ackAll(2)
	r.want("m2 gets what is left", r.queue("m2", epochs[2]), "[10 11]")

	o := r.as(owners[2], &Attach{Session: SessionKey{"", "m0"}, Expiry: 100, Window: 3})
	r.want("nobody to ask", len(o.Formers), 0)
	q := r.s.Queue(SessionKey{"", "m0"}, o.Epoch, 0, 9, nil)
	r.want("m0 still has its QoS 2", r.queue("m0", o.Epoch), "[3]")
	r.want("as it was sent", fmt.Sprint(q[0].Ref, q[0].QoS, q[0].Ref <= o.Resumed), "2 2 true")

	replay(t, mirror, r.log[at:])
	if !same(mirror, r.s) {
		t.Error("a replica that was restarted before differs")
	}
}

// The order in which a message meets its subscribers is not the same on a replica
// that was restarted. Two members whose queues are full of what expired make room
// for it both; which of them then gets what waits in the group used to depend on
// who was met first.
func TestShared_RoomMadeByAFanOut_IsUsedInOneOrder(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Configure{Revision: 1, Limits: Limits{QueueMessages: 3}})
	ids := []string{"m0", "m1"}
	epochs := map[string]SessionEpoch{}
	for _, id := range ids {
		epochs[id] = r.do(&Attach{Session: SessionKey{"", id}, Expiry: 1000, Window: 1}).Epoch
	}
	for _, id := range []string{"m1", "m0"} { // not in the order of the store
		r.sub(id, epochs[id], Subscription{Filter: "a", QoS: 1})
	}
	r.pub("a", "sent", 1, false)
	for _, id := range ids {
		r.sub(id, epochs[id], Subscription{Filter: "$share/g/x", QoS: 1})
	}
	short := func(payload string) { r.do(&Publish{Topic: "x", Payload: []byte(payload), QoS: 1, Expiry: 10}) }
	short("old0")
	short("old1")
	r.pub("x", "waits0", 1, false)
	r.pub("x", "waits1", 1, false)
	r.pub("a", "fills", 1, false)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	mirror, at := kept.load(t), len(r.log)

	r.now += Time(seconds(11))
	r.pub("a", "new", 1, false)
	for i, id := range ids {
		r.want(id, r.queue(id, epochs[id]), fmt.Sprintf("[sent fills new waits%d]", i))
	}
	replay(t, mirror, r.log[at:])
	if !same(mirror, r.s) {
		t.Error("a replica that was restarted before gave it to others")
	}
}

// Pick and Owner are read by deliveries that hold no lock.
func TestOwner_FollowsTheSession(t *testing.T) {
	r := newRig(t, "eu")
	k := SessionKey{"", "d"}
	a, b := Owner{"n2", 1}, Owner{"n3", 1}
	e := r.as(a, &Attach{Session: k, Expiry: 100}).Epoch
	r.as(a, &Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: "t", QoS: 1}, {Filter: "$share/g/s", QoS: 1}}})
	plain, group := r.s.Match("", "t", nil)[0], r.s.Match("", "s", nil)[0]
	owners := func(want Owner) {
		t.Helper()
		r.want("owner of the target", plain.Owner(), want)
		m, ok := group.Group.Pick()
		r.want("a member online", ok, want != Owner{})
		r.want("owner of the member", m.Owner, want)
	}
	owners(a)
	r.want("owner of a group's target", group.Owner(), Owner{})
	r.as(b, &Attach{Session: k, Expiry: 100})
	owners(b)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.want("owner after a restart", kept.load(t).Match("", "t", nil)[0].Owner(), b)
	r.as(a, &NodeDown{Owner: b})
	owners(Owner{})
	r.as(a, &EndSession{Session: k})
	r.want("owner of a session that ended", plain.Owner(), Owner{})
}
