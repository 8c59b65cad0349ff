package home

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// rig applies operations to a home as one node would propose them.
type rig struct {
	t     *testing.T
	s     *State
	owner Owner
	n     map[Owner]uint64
	runs  map[NodeID]Incarnation // nodes that were started again
	now   Time
	told  recorder
	log   [][]byte
	kept  store
	began int // of the log, where the epoch did

	excerpt map[string]*Excerpt // of backups, by namespace
}

// recorder is a Sink that remembers.
type recorder struct {
	delivered []Delivery
	ended     []string
	dropped   map[DropReason]int
}

func (r *recorder) Deliver(d Delivery)                         { r.delivered = append(r.delivered, d) }
func (r *recorder) Queued(SessionKey, SessionEpoch, Owner)     {}
func (r *recorder) Spooled(ID)                                 {}
func (r *recorder) Wanted()                                    {}
func (r *recorder) Dropped(_ string, reason DropReason, n int) { r.dropped[reason] += n }
func (r *recorder) Ended(k SessionKey, e SessionEpoch, _ Owner, why EndReason) {
	r.ended = append(r.ended, fmt.Sprintf("%s@%d:%d", k, e, why))
}

func newRig(t *testing.T, id ID) *rig {
	r := &rig{t: t, s: New(), owner: Owner{"n1", 1}, n: map[Owner]uint64{}, runs: map[NodeID]Incarnation{}, now: Time(time.Hour)}
	r.told.dropped = map[DropReason]int{}
	r.do(&Genesis{Home: id, Epoch: Epoch{1, string(id)}})
	return r
}

// do applies operations as one record and returns the last outcome. The record
// goes through its encoding, as it does in the log.
func (r *rig) do(ops ...Op) Outcome { return r.as(r.owner, ops...) }

func (r *rig) as(o Owner, ops ...Op) (out Outcome) {
	r.t.Helper()
	r.n[o]++
	id := r.s.ID()
	if g, ok := ops[0].(*Genesis); ok {
		id = g.Home
	}
	rec := Record{Home: id, Time: r.now, Entries: []Entry{{Owner: o, N: r.n[o], Ops: ops}}}
	b := rec.Append(nil)
	r.log = append(r.log, b)
	back, err := DecodeRecord(b)
	if err != nil {
		r.t.Fatalf("decode: %v", err)
	}
	if err := r.s.Apply(&back, &r.told, func(_ *Entry, _ int, o Outcome) { out = o }); err != nil {
		r.t.Fatalf("apply: %v", err)
	}
	return out
}

func (r *rig) attach(id string, clean bool, expiry uint32) SessionEpoch {
	r.t.Helper()
	o := r.do(&Attach{Session: SessionKey{"", id}, CleanStart: clean, Expiry: expiry})
	if o.Code != CodeOK {
		r.t.Fatalf("attach %s: code %#x", id, o.Code)
	}
	return o.Epoch
}

func (r *rig) sub(id string, e SessionEpoch, filters ...Subscription) []byte {
	r.t.Helper()
	return r.do(&Subscribe{Session: SessionKey{"", id}, Epoch: e, Filters: filters}).Codes
}

func (r *rig) pub(topic, payload string, qos byte, retain bool) Outcome {
	r.t.Helper()
	return r.do(&Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
}

// queue lists the payloads that wait for an attached session.
func (r *rig) queue(id string, e SessionEpoch) (list []string) {
	for _, q := range r.s.Queue(SessionKey{"", id}, e, 0, 1<<20, nil) {
		list = append(list, string(q.Message.Payload))
	}
	return list
}

func (r *rig) want(what string, got, want any) {
	r.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// store is what Flush wrote.
type store map[string][]byte

// batch collects what is to be written at once.
type batch []func(store)

func (b *batch) put(k, v []byte) {
	key, value := string(k), slices.Clone(v)
	*b = append(*b, func(s store) { s[key] = value })
}

func (b *batch) del(k []byte) {
	key := string(k)
	*b = append(*b, func(s store) { delete(s, key) })
}

// commit writes the batch, after a flush of the rest of s.
func (b *batch) commit(s *State, to store) {
	s.Flush(b.put, b.del)
	for _, write := range *b {
		write(to)
	}
	*b = nil
}

func (s store) put(k, v []byte) { s[string(k)] = append([]byte(nil), v...) }
func (s store) del(k []byte)    { delete(s, string(k)) }

func (s store) scan(fn func(k, v []byte) error) error {
	for _, k := range sortedKeys(s) {
		if err := fn([]byte(k), s[k]); err != nil {
			return err
		}
	}
	return nil
}

func (s store) load(t *testing.T) *State {
	t.Helper()
	back, err := Load(s.scan)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return back
}

func TestQueue_KeepsOrderAndPacketIDsAcrossAttaches(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "a/#", QoS: 2})
	for i := range 5 {
		r.pub("a/b", fmt.Sprint(i), 1, false)
	}
	r.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{1, 1}, {3, 3}}})
	r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	r.pub("a/b", "offline", 2, false)
	o := r.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600})
	r.want("session present", o.SessionPresent, true)
	r.want("possibly sent", o.Resumed, 5)
	r.want("queue", r.queue("dev", o.Epoch), []string{"1", "3", "4", "offline"})
	q := r.s.Queue(SessionKey{"", "dev"}, o.Epoch, 0, 10, nil)
	r.want("packet ids", []uint16{PacketID(q[0].Ref), PacketID(q[3].Ref)}, []uint16{2, 6})
	r.want("stale epoch", r.queue("dev", e), []string(nil))
}

func TestStaleEpoch_IsVoid(t *testing.T) {
	r := newRig(t, "eu")
	e1 := r.attach("dev", false, 3600)
	r.attach("dev", false, 3600)
	r.want("publish of the former owner", r.do(&Publish{Session: SessionKey{"", "dev"}, Epoch: e1, Topic: "a", QoS: 2, PacketID: 7}).Code, CodeVoid)
	r.want("detach of the former owner", r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e1}).Code, CodeVoid)
	r.want("told", r.told.ended, []string{"dev@1:1"})
}

func TestQoS2_InboundIDIsKnownUntilReleased(t *testing.T) {
	r := newRig(t, "eu")
	k := SessionKey{"", "dev"}
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	p := &Publish{Session: k, Epoch: e, Topic: "t", Payload: []byte("x"), QoS: 2, PacketID: 7}
	r.do(p)
	r.do(p)
	r.want("once", r.queue("dev", e), []string{"x"})
	r.do(&Release{Session: k, Epoch: e, PacketID: 7})
	r.do(p)
	r.want("a new message", r.queue("dev", e), []string{"x", "x"})
	r.want("unknown release", r.do(&Release{Session: k, Epoch: e, PacketID: 9}).Code, CodeOK)
}

func TestOverlappingSubscriptions_GiveOneCopy(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "a/+", QoS: 0, ID: 9}, Subscription{Filter: "a/b", QoS: 1, ID: 3})
	r.pub("a/b", "x", 2, false)
	q := r.s.Queue(SessionKey{"", "dev"}, e, 0, 10, nil)
	r.want("copies", len(q), 1)
	r.want("qos", q[0].QoS, 1)
	r.want("ids", q[0].SubIDs, []uint32{3, 9})
}

func TestRetained_AtTheSubscriptionsPlace(t *testing.T) {
	r := newRig(t, "eu")
	r.pub("s/1", "old", 1, true)
	r.pub("s/1", "new", 1, true)
	r.pub("s/2", "gone", 1, true)
	r.pub("s/2", "", 1, true)
	r.pub("$x/1", "hidden", 1, true)
	e := r.attach("dev", false, 3600)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1})
	r.want("retained", r.queue("dev", e), []string{"new"})
	r.sub("dev", e, Subscription{Filter: "#", QoS: 1, RetainHandling: 1})
	r.want("handling 1, known filter", r.queue("dev", e), []string{"new"})
	q := r.s.Queue(SessionKey{"", "dev"}, e, 0, 1, nil)
	r.want("flag", q[0].Retain, true)
	r.pub("s/1", "live", 1, true)
	q = r.s.Queue(SessionKey{"", "dev"}, e, 1, 1, nil)
	r.want("flag of a live one", q[0].Retain, false)
}

func TestWill(t *testing.T) {
	for _, c := range []struct {
		name  string
		delay uint32
		end   func(r *rig, e SessionEpoch)
		want  int
	}{
		{"abnormal end", 0, func(r *rig, e SessionEpoch) { r.do(&Detach{Session: SessionKey{"", "w"}, Epoch: e}) }, 1},
		{"normal end", 0, func(r *rig, e SessionEpoch) { r.do(&Detach{Session: SessionKey{"", "w"}, Epoch: e, DropWill: true}) }, 0},
		{"taken over", 0, func(r *rig, e SessionEpoch) { r.attach("w", false, 100) }, 1},
		{"taken over within the delay", 10, func(r *rig, e SessionEpoch) { r.attach("w", false, 100) }, 0},
		{"clean start ends the session", 10, func(r *rig, e SessionEpoch) { r.attach("w", true, 100) }, 1},
		{"delay passes", 10, func(r *rig, e SessionEpoch) {
			r.do(&Detach{Session: SessionKey{"", "w"}, Epoch: e})
			r.now += Time(11 * time.Second)
			r.do(&Tick{})
		}, 1},
		{"back before the delay", 10, func(r *rig, e SessionEpoch) {
			r.do(&Detach{Session: SessionKey{"", "w"}, Epoch: e})
			r.now += Time(9 * time.Second)
			r.attach("w", false, 100)
			r.now += Time(9 * time.Second)
			r.do(&Tick{})
		}, 0},
		{"session expires before the delay", 1000, func(r *rig, e SessionEpoch) {
			r.do(&Detach{Session: SessionKey{"", "w"}, Epoch: e})
			r.now += Time(101 * time.Second)
			r.do(&Tick{})
		}, 1},
		{"the node restarts", 0, func(r *rig, e SessionEpoch) {
			r.owner = Owner{"n1", 2}
			r.do(&NodeUp{})
			r.now += Time(time.Second)
			r.do(&Tick{})
		}, 1},
		{"the node is declared down", 0, func(r *rig, e SessionEpoch) { r.as(Owner{"n2", 1}, &NodeDown{Owner: r.owner}) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "eu")
			o := r.as(Owner{"n2", 1}, &Attach{Session: SessionKey{"", "sub"}, Expiry: 3600})
			r.as(Owner{"n2", 1}, &Subscribe{Session: SessionKey{"", "sub"}, Epoch: o.Epoch, Filters: []Subscription{{Filter: "will", QoS: 1}}})
			r.n[Owner{"n2", 1}] = 2
			e := r.do(&Attach{Session: SessionKey{"", "w"}, Expiry: 100, Will: &Will{Topic: "will", Payload: []byte("gone"), QoS: 1, Delay: c.delay}}).Epoch
			c.end(r, e)
			r.want("wills", len(r.queue("sub", o.Epoch)), c.want)
		})
	}
}

func TestTransientSession_IsDeliveredAndEnds(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("t", true, 0)
	r.sub("t", e, Subscription{Filter: "a", QoS: 1})
	r.pub("a", "x", 1, false)
	r.want("delivered", len(r.told.delivered), 1)
	r.want("qos", r.told.delivered[0].QoS, 1)
	r.do(&Detach{Session: SessionKey{"", "t"}, Epoch: e})
	_, ok := r.s.Session(SessionKey{"", "t"})
	r.want("session", ok, false)
	r.want("subscribers", r.pub("a", "x", 1, false).Code, CodeNoSubscribers)
	v, d := r.s.Wanted()
	r.want("wanted", fmt.Sprint(v, d == New().wanted.Digest()), "2 true")
}

func TestShared_AssignsInTurnAndTakesBack(t *testing.T) {
	r := newRig(t, "eu")
	e1 := r.do(&Attach{Session: SessionKey{"", "m1"}, Expiry: 100, Window: 2}).Epoch
	e2 := r.do(&Attach{Session: SessionKey{"", "m2"}, Expiry: 100, Window: 2}).Epoch
	for id, e := range map[string]SessionEpoch{"m1": e1, "m2": e2} {
		r.sub(id, e, Subscription{Filter: "$share/g/a", QoS: 1})
	}
	for i := range 6 {
		r.pub("a", fmt.Sprint(i), 1, false)
	}
	r.want("spread", len(r.queue("m1", e1))+len(r.queue("m2", e2)), 4)
	r.want("waiting", r.s.Groups()[0].Queued, 2)
	first := r.queue("m2", e2)
	r.do(&Detach{Session: SessionKey{"", "m1"}, Epoch: e1})
	r.do(&Ack{Session: SessionKey{"", "m2"}, Epoch: e2, Done: []Range{{1, 2}}})
	r.do(&Ack{Session: SessionKey{"", "m2"}, Epoch: e2, Done: []Range{{3, 4}}})
	all := append(first, r.queue("m2", e2)...)
	r.want("none lost", len(all), 4)
	r.do(&Ack{Session: SessionKey{"", "m2"}, Epoch: e2, Done: []Range{{5, 6}}})
	r.want("queue", r.s.Groups()[0].Queued, 0)
}

func TestExpiry_OfSessionAndRetained(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 60)
	r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
	r.do(&Publish{Topic: "r", Payload: []byte("x"), QoS: 1, Retain: true, Expiry: 30})
	r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	r.pub("a", "x", 1, false)
	r.now += Time(31 * time.Second)
	r.do(&Tick{})
	st := r.s.Status()
	r.want("after 31 s", fmt.Sprint(st.Sessions, st.Retained, st.Queued), "1 0 1")
	r.now += Time(30 * time.Second)
	r.do(&Tick{})
	st = r.s.Status()
	r.want("after 61 s", fmt.Sprint(st.Sessions, st.Queued), "0 0")
}

func TestQueueFull_DropsTheNewAndCounts(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Configure{Revision: 1, Limits: Limits{QueueMessages: 3}})
	e := r.attach("dev", false, 60)
	r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
	for i := range 5 {
		r.pub("a", fmt.Sprint(i), 1, false)
	}
	r.want("queue", r.queue("dev", e), []string{"0", "1", "2"})
	r.want("dropped", r.told.dropped[DropQueueFull], 2)
}

func TestPacketIDs_NeverCollideInTheUnackedSpan(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 60)
	r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
	r.pub("a", "stuck", 1, false)
	for range 40 {
		ops := make([]Op, 1000)
		for j := range ops {
			ops[j] = &Publish{Topic: "a", QoS: 1}
		}
		r.do(ops...)
	}
	seen := map[uint16]bool{}
	for after := uint64(0); ; {
		q := r.s.Queue(SessionKey{"", "dev"}, e, after, 1000, nil)
		if len(q) == 0 {
			break
		}
		for _, x := range q {
			id := PacketID(x.Ref)
			if id == 0 || id >= FirstLocalID || seen[id] {
				t.Fatalf("packet id %d twice, or outside its half", id)
			}
			seen[id] = true
		}
		after = q[len(q)-1].Ref
	}
	r.want("held back", len(seen), maxUnackedSpan)
}
