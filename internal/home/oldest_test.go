package home

import (
	"fmt"
	"testing"
	"time"
)

// Of each namespace it is the message that has waited longest which counts, and only while it does; whoever
// applies has a turn meanwhile.
func TestOldestQueued(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Raise{Level: 3})
	began := r.now
	epochs := map[SessionKey]SessionEpoch{}
	for i := range walkAtOnce + 10 { // more than are looked at at once
		k := SessionKey{"cars", fmt.Sprint("car-", i)}
		epochs[k] = r.do(&Attach{Session: k, Expiry: 100}).Epoch
	}
	late, soon, other := SessionKey{"cars", "car-7"}, SessionKey{"cars", "car-8"}, SessionKey{"plants", "p"}
	epochs[other] = r.do(&Attach{Session: other, Expiry: 100}).Epoch
	publish := func(k SessionKey, topic string) {
		r.do(&Publish{Session: k, Topic: topic, Payload: []byte("x"), QoS: 1})
	}
	r.do(&Subscribe{Session: late, Epoch: epochs[late], Filters: []Subscription{{Filter: "late", QoS: 1}}})
	r.do(&Subscribe{Session: soon, Epoch: epochs[soon], Filters: []Subscription{{Filter: "soon", QoS: 1}}})
	r.do(&Subscribe{Session: other, Epoch: epochs[other], Filters: []Subscription{{Filter: "late", QoS: 1}}})
	r.want("nothing waits", len(r.s.OldestQueued()), 0)

	publish(soon, "soon")
	r.now += Time(time.Minute)
	publish(late, "late")
	publish(other, "late")
	r.want("two namespaces", r.s.OldestQueued(), map[string]Time{"cars": began, "plants": began + Time(time.Minute)})

	q := r.s.Queue(soon, epochs[soon], 0, 1, nil)
	r.do(&Ack{Session: soon, Epoch: epochs[soon], Done: []Range{{q[0].Ref, q[0].Ref}}})
	r.want("the oldest was acknowledged", r.s.OldestQueued(), map[string]Time{"cars": began + Time(time.Minute), "plants": began + Time(time.Minute)})
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.want("after a restart", kept.load(t).OldestQueued(), r.s.OldestQueued())
}
