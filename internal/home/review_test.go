package home

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// A shared filter is left while a message of QoS 2 is in flight: the message
// stays with the session, and no longer belongs to the group. It used to point
// at the member that had gone, which a restart forgot.
func TestLeave_WithQoS2InFlight_IsTheSameAfterARestart(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("m", false, 100)
	r.sub("m", e, Subscription{Filter: "$share/g/a", QoS: 2})
	r.pub("a", "x", 2, false)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.do(&Unsubscribe{Session: SessionKey{"", "m"}, Epoch: e, Filters: []string{"$share/g/a"}})
	r.s.Flush(kept.put, kept.del)
	back := kept.load(t)
	r.want("digest after a restart", back.Digest(), r.s.Digest())
	r.want("in flight", r.queue("m", e), []string{"x"})
	at := len(r.log)
	r.sub("m", e, Subscription{Filter: "$share/g/a", QoS: 2})
	r.do(&Ack{Session: SessionKey{"", "m"}, Epoch: e, Done: []Range{{1, 1}}})
	r.pub("a", "y", 2, false)
	replay(t, back, r.log[at:])
	r.want("digest later", back.Digest(), r.s.Digest())
}

// A loaded group was taken for one that would be flushed anyway: after a restart
// nothing of a group was written again, and the next restart lost its queue.
func TestGroup_IsFlushedAgainAfterARestart(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("m", false, 100)
	r.sub("m", e, Subscription{Filter: "$share/g/a", QoS: 1})
	r.do(&Detach{Session: SessionKey{"", "m"}, Epoch: e})
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	r.s = kept.load(t)
	r.pub("a", "x", 1, false)
	r.s.Flush(kept.put, kept.del)
	r.s = kept.load(t)
	e = r.attach("m", false, 100)
	r.want("queue after two restarts", len(r.queue("m", e)), 1)
}

// Bodies that were flushed and acknowledged stayed in a list that only a full
// memory budget ever shortened: a home leaked every message of a slow device.
func TestFlushedBodies_AreForgottenWhenReleased(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 100)
	r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
	kept := store{}
	for i := range 10_000 {
		r.pub("a", "x", 1, false)
		r.s.Flush(kept.put, kept.del)
		r.s.Evict(1 << 30)
		n := uint64(i + 1)
		r.do(&Ack{Session: SessionKey{"", "dev"}, Epoch: e, Done: []Range{{n, n}}})
	}
	if n := len(r.s.bodies.list) - r.s.bodies.head; n > 2000 {
		t.Fatalf("%d released bodies are still in memory", n)
	}
}

// A device that comes and goes left a timer behind each time, for as long as its
// session expiry: two weeks of reconnects of a fleet.
func TestTimers_OfFormerAttachesAreForgotten(t *testing.T) {
	r := newRig(t, "eu")
	for range 10_000 {
		e := r.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 1_000_000, Will: &Will{Topic: "w", Delay: 1000}}).Epoch
		r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
		r.now += Time(time.Millisecond)
	}
	if n := len(r.s.timers); n > 5000 {
		t.Fatalf("%d timers for one session", n)
	}
	r.now += Time(1_000_001 * time.Second)
	r.do(&Tick{})
	r.want("sessions after the expiry", r.s.Status().Sessions, 0)
}

// Deletions are remembered for peers, but not more of them than there may be
// retained messages, and not those that a newer message made pointless.
func TestTombstones_AreBounded(t *testing.T) {
	t.Run("a topic that comes and goes", func(t *testing.T) {
		r := newRig(t, "eu")
		r.do(&SetPeer{Peer: "us", Retained: true})
		for range 10_000 {
			r.do(&Publish{Topic: "a", Payload: []byte("x"), QoS: 1, Retain: true}, &Publish{Topic: "a", QoS: 1, Retain: true})
		}
		if n := len(r.s.tombs); n > 5000 {
			t.Fatalf("%d tombstones of one topic", n)
		}
	})
	t.Run("topics that never were", func(t *testing.T) {
		r := newRig(t, "eu")
		r.do(&Configure{Revision: 1, Limits: Limits{Retained: 100}})
		r.do(&SetPeer{Peer: "us", Retained: true})
		for i := range 10_000 {
			r.do(&Publish{Topic: fmt.Sprint("a/", i), QoS: 1, Retain: true})
		}
		if n := len(r.s.tombs); n > 5000 {
			t.Fatalf("%d tombstones", n)
		}
	})
}

// A forgotten deletion, or an expired message, must not let the topic start
// again below a version that a peer still remembers: the peer would refuse every
// message that follows.
func TestRetainedVersion_GoesOnAfterItWasForgotten(t *testing.T) {
	for name, forget := range map[string]func(r *rig){
		"deleted": func(r *rig) { r.pub("a", "", 1, true) },
		"expired": func(r *rig) {
			r.do(&Publish{Topic: "a", Payload: []byte("z"), QoS: 1, Retain: true, Expiry: 10})
			r.now += Time(11 * time.Second)
			r.do(&Tick{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "eu")
			for range 5 {
				r.pub("a", "x", 1, true)
			}
			forget(r)
			kept := store{}
			r.s.Flush(kept.put, kept.del)
			at := len(r.log)
			r.pub("a", "new", 1, true)
			info, ok := r.s.RetainedMessage("", "a")
			if !ok || info.Version <= 6 {
				t.Fatalf("version %d after one of 6", info.Version)
			}
			back := kept.load(t)
			replay(t, back, r.log[at:])
			r.want("digest", back.Digest(), r.s.Digest())
		})
	}
}

// What the link's policy keeps here stays here also when the peer is new.
func TestSetPeer_SpoolsOnlyWhatMayGo(t *testing.T) {
	spooled := func(r *rig) (topics []string) {
		for _, s := range r.s.Spool("us", "", 0, 100, 1<<20, nil) {
			topics = append(topics, s.Message.Topic)
		}
		return topics
	}
	r := newRig(t, "eu")
	r.pub("public", "x", 1, true)
	r.pub("secret/a", "x", 1, true)
	r.do(&SetPeer{Peer: "us", Never: []string{"secret/#"}})
	r.want("without retained", spooled(r), []string(nil))
	r.do(&SetPeer{Peer: "us", Retained: true, Never: []string{"secret/#"}})
	r.want("once the policy says retained", spooled(r), []string{"public"})
	r.do(&SetPeer{Peer: "us", Retained: true, Never: []string{"secret/#"}})
	r.want("not again", spooled(r), []string{"public"})
}

// A topic of 60,000 levels costs 20 MiB of nodes.
func TestRetained_RefusesTopicsOfManyLevels(t *testing.T) {
	r := newRig(t, "eu")
	deep := strings.Repeat("a/", 30_000)
	r.want("code", r.do(&Publish{Topic: deep, Payload: []byte("x"), QoS: 1, Retain: true}).Code, CodeTopicInvalid)
	r.do(&Frame{Source: Source{"us", Epoch{1, "us"}}, To: 1, Messages: []FrameMessage{{Seq: 1, Topic: deep, Payload: []byte("x"), RetainVersion: 1, Retain: true}}})
	r.want("retained", r.s.Status().Retained, 0)
	r.want("without RETAIN", r.do(&Publish{Topic: deep, Payload: []byte("x"), QoS: 1}).Code, CodeNoSubscribers)
}

// What a peer says goes into the log as it came: apply must stand anything.
func TestFrame_OfAHostilePeer(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 100)
	r.sub("dev", e, Subscription{Filter: "#", QoS: 2})
	src := Source{"us", Epoch{1, "us"}}
	kept := store{}
	same := func(what string) {
		t.Helper()
		r.s.Flush(kept.put, kept.del)
		r.want(what+" after a restart", kept.load(t).Digest(), r.s.Digest())
	}
	r.do(&Frame{Source: src, To: 10, Messages: []FrameMessage{
		{Seq: 1, Topic: "", Live: true}, {Seq: 2, Topic: "a/#", Live: true}, {Seq: 3, Topic: "\xff", Live: true}, {Seq: 4, Topic: "a\x00b", Live: true},
		{Seq: 5, Topic: "long", Payload: []byte("x"), QoS: 3, Live: true, ExpiryIn: math.MaxInt64, Retain: true, RetainVersion: 1},
		{Seq: 6, Topic: "past", Payload: []byte("x"), Live: true, ExpiryIn: -5},
		{Seq: 7, Topic: "top", Payload: []byte("x"), Retain: true, RetainVersion: math.MaxUint64},
		{Seq: 8, Topic: "t", Namespace: "a\x00b", Payload: []byte("x"), Live: true, Retain: true, RetainVersion: 3},
		{Seq: 99, Topic: "beyond", Live: true},
	}})
	same("a frame")
	q := r.s.Queue(SessionKey{"", "dev"}, e, 0, 10, nil)
	r.want("delivered", len(q), 1)
	r.want("qos", q[0].QoS, 2)
	r.want("lives for long", q[0].Message.Expires > r.now, true)
	r.pub("top", "ours", 1, true)
	info, _ := r.s.RetainedMessage("", "top")
	r.want("a topic cannot be taken for ever", string(info.Payload), "ours")
	if info.Version == 0 {
		t.Error("the version wrapped")
	}
	for i := range 3000 {
		r.do(&Frame{Source: Source{"us", Epoch{uint64(i), "us"}}, Class: "x\x00y", To: 1})
		r.do(&Frame{Source: src, Class: "ns", From: Seq(i), To: Seq(i + 1), Messages: []FrameMessage{{Seq: Seq(i + 1), Namespace: fmt.Sprint("ns", i), Topic: "x", Live: true}}})
	}
	same("many frames")
	if n := len(r.s.Cursors("us")); n > 1100 {
		t.Errorf("%d cursors of one peer", n)
	}
	if n := r.s.Status().Namespaces; n > 10 {
		t.Errorf("%d namespaces of nothing", n)
	}
	r.do(&SetPeer{Peer: "us"})
	r.want("filter with a namespace that cannot be", r.do(&Interest{Peer: "us", Full: true, Version: 1, Add: []InterestFilter{{Namespace: "a\x00b", Filter: "c"}}}).Code, CodeGap)
	r.want("empty filter", r.do(&Interest{Peer: "us", Full: true, Version: 1, Add: []InterestFilter{{}}}).Code, CodeGap)
	r.want("shared filter", r.do(&Interest{Peer: "us", Full: true, Version: 1, Add: []InterestFilter{{Filter: "$share/g/a"}}}).Code, CodeOK)
	same("interest")
}

// The queue of a device that was away filled with messages that had expired, and
// refused the ones that had not. What may have been sent stays all the same.
func TestQueueFull_OfExpired_MakesRoom(t *testing.T) {
	r := newRig(t, "eu")
	r.do(&Configure{Revision: 1, Limits: Limits{QueueMessages: 4}})
	e := r.do(&Attach{Session: SessionKey{"", "dev"}, Expiry: 3600, Window: 1}).Epoch
	r.sub("dev", e, Subscription{Filter: "a", QoS: 1})
	short := func(payload string) {
		r.do(&Publish{Topic: "a", Payload: []byte(payload), QoS: 1, Expiry: 10})
	}
	short("sent")
	short("old")
	r.do(&Detach{Session: SessionKey{"", "dev"}, Epoch: e})
	short("older")
	r.pub("a", "kept", 1, false)
	r.now += Time(11 * time.Second)
	kept := store{}
	r.s.Flush(kept.put, kept.del)
	back, at := kept.load(t), len(r.log)
	short("new")
	r.pub("a", "newer", 1, false)
	r.pub("a", "too many", 1, false)
	replay(t, back, r.log[at:])
	r.want("digest after a restart", back.Digest(), r.s.Digest())
	e = r.attach("dev", false, 3600)
	r.want("queue", r.queue("dev", e), []string{"sent", "kept", "new", "newer"})
	r.want("expired", r.told.dropped[DropExpired], 2)
	r.want("dropped", r.told.dropped[DropQueueFull], 1)
}

// A node takes all its devices along. The will of one went to a group, which
// gave it, at QoS 2, to a member that had gone with it and stays away.
func TestOwnerGone_WillsGoToNobodyOfTheSameNode(t *testing.T) {
	r := newRig(t, "eu")
	other := Owner{"n2", 1}
	r.do(&Attach{Session: SessionKey{"", "a"}, Expiry: 100, Will: &Will{Topic: "w", Payload: []byte("gone"), QoS: 2}})
	e := r.attach("b", false, 100)
	r.sub("b", e, Subscription{Filter: "$share/g/w", QoS: 2})
	r.as(other, &NodeDown{Owner: r.owner})
	r.want("waits in the group", r.s.Groups()[0].Queued, 1)
	c := r.as(other, &Attach{Session: SessionKey{"", "c"}, Expiry: 100}).Epoch
	r.as(other, &Subscribe{Session: SessionKey{"", "c"}, Epoch: c, Filters: []Subscription{{Filter: "$share/g/w", QoS: 2}}})
	r.want("for who comes", r.queue("c", c), []string{"gone"})
}

// What needs no lock, and what takes it, while records are applied: for the race
// detector.
func TestReaders_WhileRecordsAreApplied(t *testing.T) {
	r := newRig(t, "eu")
	kept := store{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	read := func(f func()) {
		wg.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	s := r.s
	read(func() {
		for _, x := range s.Match("", "a/b", nil) {
			if x.Group != nil {
				x.Group.Pick()
				x.Group.Describe()
			}
		}
		s.PolicyOf("a")
		s.Limits()
	})
	read(func() {
		for _, x := range s.Sessions(SessionKey{}, 10) {
			for _, q := range append(s.Queue(x.Key, x.Epoch, 0, 10, nil), s.Peek(x.Key, 0, 10)...) {
				_ = fmt.Sprint(q.Message, q.SubIDs)
			}
			s.Session(x.Key)
		}
		s.Status()
		s.Groups()
		for _, info := range s.RetainedAfter("", "", 10) {
			_ = fmt.Sprint(info)
		}
	})
	read(func() {
		for _, p := range s.Peers() {
			for _, x := range s.Spool(p.Peer, "", 0, 10, 1000, nil) {
				_ = fmt.Sprint(x.Message)
			}
			s.PeerDigest(p.Peer)
			s.SpoolInfo(p.Peer)
		}
		s.WantedSince(0)
		s.Cursors("ap")
		s.NextTimer()
	})
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 2000 {
		r.random(rnd, i)
		if i%20 == 0 {
			s.Flush(kept.put, kept.del)
			s.Evict(100)
		}
		for _, d := range r.told.delivered {
			_ = fmt.Sprint(d.Message.Topic, d.Message.Payload)
		}
		r.told.delivered = r.told.delivered[:0]
	}
	stop()
	wg.Wait()
}
