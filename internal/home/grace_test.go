package home

import (
	"testing"
	"time"
)

// A device loses its connection by the region's doing: its node dies, or stops. It
// comes back to another node, in time or not, or never. With a grace its will is
// published only if it was not back in time, whatever kind of session it has, and a
// device that goes by itself gets none.
func TestWill_Grace(t *testing.T) {
	first, next, other := Owner{"n2", 1}, Owner{"n3", 1}, Owner{"n4", 1}
	k := SessionKey{"", "w"}
	type life struct{ expiry, delay uint32 }
	durable, transient := life{expiry: 100}, life{}
	died := func(r *rig, _ SessionEpoch) { r.as(other, &NodeDown{Owner: first}) }
	closed := func(r *rig, e SessionEpoch) { r.as(first, &Detach{Session: k, Epoch: e, Moved: true}) }
	wait := func(d time.Duration) func(*rig) { return func(r *rig) { r.now += Time(d); r.do(&Tick{}) } }
	back := func(l life, clean bool) func(*rig) {
		return func(r *rig) {
			o := r.as(next, &Attach{Session: k, Expiry: l.expiry, CleanStart: clean})
			if o.SessionPresent != (l.expiry > 0 && !clean) {
				r.t.Errorf("session present %v", o.SessionPresent)
			}
		}
	}
	never := func(*rig) {}
	for _, c := range []struct {
		name string
		life life
		lost func(*rig, SessionEpoch)
		then []func(*rig)
		want int
	}{
		{"died, back in time", durable, died, []func(*rig){wait(29 * time.Second), back(durable, false)}, 0},
		{"died, back late", durable, died, []func(*rig){wait(31 * time.Second), back(durable, false)}, 1},
		{"died, never back", durable, died, []func(*rig){never}, 1},
		{"stopped, back in time", durable, closed, []func(*rig){back(durable, false)}, 0},
		{"stopped, never back", durable, closed, []func(*rig){never}, 1},
		{"back before it was found dead", durable, func(*rig, SessionEpoch) {}, []func(*rig){back(durable, false), func(r *rig) { died(r, 0) }}, 0},
		{"back with a clean start", durable, died, []func(*rig){back(durable, true)}, 0},
		{"of a clean session, back in time", transient, died, []func(*rig){back(transient, true)}, 0},
		{"of a clean session, back without a clean start", transient, closed, []func(*rig){back(transient, false)}, 0},
		{"of a clean session, never back", transient, closed, []func(*rig){never}, 1},
		{"of a clean session, back before", transient, func(*rig, SessionEpoch) {}, []func(*rig){back(transient, true)}, 0},
		{"a longer delay counts", life{100, 50}, died, []func(*rig){wait(49 * time.Second), back(durable, false)}, 0},
		{"the session ends before the grace", life{expiry: 10}, died, []func(*rig){wait(11 * time.Second), back(life{}, true)}, 1},
		{"it went by itself", durable, func(r *rig, e SessionEpoch) { r.as(first, &Detach{Session: k, Epoch: e}) }, []func(*rig){back(durable, false)}, 1},
		{"it said goodbye", durable, func(r *rig, e SessionEpoch) { r.as(first, &Detach{Session: k, Epoch: e, DropWill: true, Moved: true}) }, []func(*rig){never}, 0},
		{"taken over on its node", durable, func(*rig, SessionEpoch) {}, []func(*rig){func(r *rig) { r.as(first, &Attach{Session: k, Expiry: 100}) }}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "eu")
			r.do(&Configure{Revision: 1, Limits: Limits{WillGrace: 30}})
			watch := r.as(other, &Attach{Session: SessionKey{"", "watch"}, Expiry: 3600}).Epoch
			r.as(other, &Subscribe{Session: SessionKey{"", "watch"}, Epoch: watch, Filters: []Subscription{{Filter: "will", QoS: 1}}})
			e := r.as(first, &Attach{Session: k, Expiry: c.life.expiry, Will: &Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: c.life.delay}}).Epoch
			r.as(first, &Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: "mine", QoS: 1}}})
			c.lost(r, e)
			kept := store{}
			r.s.Flush(kept.put, kept.del)
			restarted, at := kept.load(t), len(r.log)
			for _, f := range c.then {
				f(r)
			}
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

// What is left of a clean session for the grace subscribes to nothing and ends with
// it.
func TestWill_GraceKeepsNothingElse(t *testing.T) {
	r := newRig(t, "eu")
	first, k := Owner{"n2", 1}, SessionKey{"", "w"}
	r.do(&Configure{Revision: 1, Limits: Limits{WillGrace: 30}})
	e := r.as(first, &Attach{Session: k, Will: &Will{Topic: "will"}}).Epoch
	r.as(first, &Subscribe{Session: k, Epoch: e, Filters: []Subscription{{Filter: "mine", QoS: 1}, {Filter: "$share/g/ours", QoS: 1}}})
	r.do(&NodeDown{Owner: first})
	r.want("subscribers", len(r.s.Match("", "mine", nil))+len(r.s.Match("", "ours", nil)), 0)
	r.now += Time(30 * time.Second)
	r.do(&Tick{})
	r.want("sessions", len(r.s.sessions), 0)
}
