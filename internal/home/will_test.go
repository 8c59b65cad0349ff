package home

import (
	"testing"
	"time"
)

// The node of a device dies, is declared dead, and what it still had to say comes
// after that; the device is back on another node by then, or never comes. Its will
// is published once, and not at all if the device was back in time.
func TestWill_OnceThoughItsNodeDied(t *testing.T) {
	dead, next, other := Owner{"n2", 1}, Owner{"n3", 1}, Owner{"n4", 1}
	k := SessionKey{"", "w"}
	late := func(r *rig, e SessionEpoch) { // the dead node's own view of the end
		r.as(dead, &Detach{Session: k, Epoch: e})
	}
	back := func(r *rig) { r.as(next, &Attach{Session: k, Expiry: 100}) }
	for _, c := range []struct {
		name  string
		delay uint32
		then  func(r *rig, e SessionEpoch)
		want  int
	}{
		{"declared dead", 0, func(r *rig, e SessionEpoch) { r.as(other, &NodeDown{Owner: dead}); late(r, e); back(r) }, 1},
		{"its detach came first", 0, func(r *rig, e SessionEpoch) { late(r, e); r.as(other, &NodeDown{Owner: dead}); back(r) }, 1},
		{"taken over first", 0, func(r *rig, e SessionEpoch) { back(r); r.as(other, &NodeDown{Owner: dead}); late(r, e) }, 1},
		{"taken over, its detach came next", 0, func(r *rig, e SessionEpoch) { back(r); late(r, e); r.as(other, &NodeDown{Owner: dead}) }, 1},
		{"back within the delay", 10, func(r *rig, e SessionEpoch) { r.as(other, &NodeDown{Owner: dead}); late(r, e); back(r) }, 0},
		{"back after the delay", 10, func(r *rig, e SessionEpoch) {
			r.as(other, &NodeDown{Owner: dead})
			r.now += Time(11 * time.Second)
			late(r, e)
			back(r)
		}, 1},
		{"the node came back meanwhile", 0, func(r *rig, e SessionEpoch) {
			r.as(other, &NodeDown{Owner: dead})
			r.as(Owner{"n2", 2}, &NodeUp{})
			late(r, e)
			back(r)
		}, 1},
		{"the node was restarted at once", 0, func(r *rig, e SessionEpoch) {
			r.as(Owner{"n2", 2}, &NodeUp{})
			r.as(other, &NodeDown{Owner: dead})
			late(r, e)
			back(r)
		}, 1},
		{"declared dead twice", 10, func(r *rig, e SessionEpoch) {
			r.as(other, &NodeDown{Owner: dead})
			r.now += Time(9 * time.Second)
			r.as(other, &NodeDown{Owner: dead})
			r.now += Time(2 * time.Second)
			r.do(&Tick{})
			back(r)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "eu")
			watch := r.as(other, &Attach{Session: SessionKey{"", "watch"}, Expiry: 3600}).Epoch
			r.as(other, &Subscribe{Session: SessionKey{"", "watch"}, Epoch: watch, Filters: []Subscription{{Filter: "will", QoS: 1}}})
			will := &Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: c.delay}
			e := r.as(dead, &Attach{Session: k, Expiry: 100, Will: will}).Epoch
			kept := store{}
			r.s.Flush(kept.put, kept.del)
			restarted, at := kept.load(t), len(r.log)
			c.then(r, e)
			r.now += Time(time.Minute)
			r.do(&Tick{})
			r.want("wills", len(r.queue("watch", watch)), c.want)
			replay(t, restarted, r.log[at:])
			if !same(restarted, r.s) {
				t.Error("a replica that was restarted before differs")
			}
		})
	}
}

// An operator ends a session whose will meets its own full queue, of which all was
// sent: a home that was loaded in between drops the same as one that went on.
func TestEndSession_WillMeetsItsOwnQueue(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Configure{Revision: 1, Limits: Limits{QueueMessages: 2}})
	k := SessionKey{"", "d"}
	e := r.do(&Attach{Session: k, Expiry: 100, Will: &Will{Topic: "a", Payload: []byte("gone"), QoS: 1}}).Epoch
	r.sub("d", e, Subscription{Filter: "a", QoS: 1})
	for range 3 { // the third looks for what expired
		r.do(&Publish{Topic: "a", Payload: []byte("x"), QoS: 1, Expiry: 1})
		r.now += Time(time.Second)
	}
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	back, at := kept.load(t), len(r.log)
	r.do(&EndSession{Session: k, PublishWill: true})
	replay(t, back, r.log[at:])
	if !same(back, r.s) {
		t.Error("the home goes another way when it was loaded")
	}
}
