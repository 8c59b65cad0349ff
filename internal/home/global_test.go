package home

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// mesh is some homes with links between all of them, and the group "g" global over
// the first ones.
type mesh struct {
	t     *testing.T
	homes map[ID]*rig
	told  map[[2]ID]bool
}

func newMesh(t *testing.T, over []ID, others ...ID) *mesh {
	m := &mesh{t: t, homes: map[ID]*rig{}, told: map[[2]ID]bool{}}
	for _, id := range append(slices.Clone(over), others...) {
		m.homes[id] = newRig(t, id)
	}
	for id, r := range m.homes {
		for peer := range m.homes {
			if peer != id {
				r.do(&SetPeer{Peer: peer, Retained: true})
			}
		}
		if slices.Contains(over, id) {
			r.do(&SetShared{Groups: []GlobalGroup{{Group: "g", Regions: over}}})
		}
	}
	m.tell()
	return m
}

// tell brings everybody's interest to everybody.
func (m *mesh) tell() {
	for id, r := range m.homes {
		for peer, to := range m.homes {
			if peer == id {
				continue
			}
			snap := r.s.WantedView().Snapshot()
			if o := to.do(&Interest{Peer: id, Epoch: r.s.Epoch(), Full: true, Version: snap.Version, Add: snap.Filters}); o.Code != CodeOK {
				m.t.Fatalf("%s takes the interest of %s: code %#x", peer, id, o.Code)
			}
		}
	}
}

// ship takes what waits from one home to another.
func (m *mesh) ship(from, to ID) (n int) {
	a, b := m.homes[from], m.homes[to]
	at, _ := b.s.Cursor(Source{from, a.s.Epoch()}, "")
	f := &Frame{Source: Source{from, a.s.Epoch()}, From: at, To: a.s.HighSeq()}
	for _, x := range a.s.Spool(to, "", at, 1000, 1<<20, nil) {
		f.Messages = append(f.Messages, FrameMessage{Seq: x.Seq, Topic: x.Message.Topic, Payload: x.Message.Payload, QoS: x.Message.QoS,
			Retain: x.Message.Retain, Live: x.Live, Groups: x.Groups, RetainVersion: x.RetainVersion})
	}
	if o := b.do(f); o.Code != CodeOK {
		m.t.Fatalf("%s takes a frame of %s: code %#x", to, from, o.Code)
	}
	a.do(&Trim{Peer: to, Epoch: a.s.Epoch(), To: f.To})
	return len(f.Messages)
}

func (m *mesh) shipAll() {
	for from := range m.homes {
		for to := range m.homes {
			if from != to {
				m.ship(from, to)
			}
		}
	}
}

// member makes a session of a home a member of $share/g/a/#.
func (m *mesh) member(at ID, name string) SessionEpoch {
	r := m.homes[at]
	e := r.attach(name, false, 3600)
	r.sub(name, e, Subscription{Filter: "$share/g/a/#", QoS: 2})
	m.tell()
	return e
}

func (m *mesh) detach(at ID, name string, e SessionEpoch) {
	m.homes[at].do(&Detach{Session: SessionKey{"", name}, Epoch: e})
	m.tell()
}

func (m *mesh) want(at ID, what string, got, want any) {
	m.t.Helper()
	m.homes[at].want(string(at)+": "+what, got, want)
}

// waits is how much waits in the queue of $share/g/a/#.
func (m *mesh) waits(at ID) (n int) {
	for _, g := range m.homes[at].s.Groups() {
		if g.Name == "g" && g.Filter == "a/#" {
			n += g.Queued
		}
	}
	return n
}

// A message of a global group goes to one member over all its regions: of those
// here while one is attached, otherwise in the region that is chosen, and to who
// subscribed there by themselves, too. [D8]
func TestGlobalGroup_OneMemberOverAllRegions(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us", "ap"})
	eu, us := m.homes["eu"], m.homes["us"]
	w1, w2, w3 := m.member("eu", "w1"), m.member("us", "w2"), m.member("ap", "w3")
	s := us.attach("plain", false, 3600)
	us.sub("plain", s, Subscription{Filter: "a/b", QoS: 1})
	m.tell()

	eu.pub("a/b", "1", 1, false)
	m.shipAll()
	m.want("eu", "the member here", eu.queue("w1", w1), "[1]")
	m.want("us", "the member there", us.queue("w2", w2), "[]")
	m.want("us", "who subscribed alone", us.queue("plain", s), "[1]")

	m.detach("eu", "w1", w1)
	eu.pub("a/b", "2", 2, false)
	eu.pub("a/c", "3", 1, false)
	m.want("eu", "what waits for ap", len(eu.s.Spool("ap", "", 0, 9, 1<<20, nil)), 0)
	m.shipAll()
	m.want("us", "the member there", us.queue("w2", w2), "[2 3]")
	m.want("us", "who subscribed alone", us.queue("plain", s), "[1 2]")
	m.want("ap", "the member in the third region", m.homes["ap"].queue("w3", w3), "[]")

	us.pub("a/b", "4", 1, false)
	m.shipAll()
	m.want("us", "its own member first", us.queue("w2", w2), "[2 3 4]")
	m.want("ap", "the others", m.homes["ap"].queue("w3", w3), "[]")
	m.want("eu", "what came by a link went no further", len(us.s.Spool("ap", "", 0, 9, 1<<20, nil)), 0)
}

// While nobody is attached anywhere a message waits where it was published, if a
// member is there, and otherwise where one is.
func TestGlobalGroup_NobodyIsAttached(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us"})
	eu, us := m.homes["eu"], m.homes["us"]
	m.detach("us", "w2", m.member("us", "w2"))
	m.want("eu", "who got it", eu.pub("a/b", "1", 1, false).Count, 1)
	m.shipAll()
	m.want("us", "waits there", m.waits("us"), 1)

	m.detach("eu", "w1", m.member("eu", "w1"))
	eu.pub("a/b", "2", 1, false)
	m.shipAll()
	m.want("eu", "waits here", m.waits("eu"), 1)
	m.want("us", "and not there", m.waits("us"), 1)
	m.want("us", "w2 finds it", us.queue("w2", us.attach("w2", false, 3600)), "[1]")
	m.want("eu", "w1 finds it", eu.queue("w1", eu.attach("w1", false, 3600)), "[2]")
}

// The ranking decides between peers; one that cannot be reached is chosen when no
// other has a member, and then the message waits for it.
func TestGlobalGroup_RankOfPeers(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us", "ap"})
	eu := m.homes["eu"]
	e := m.member("us", "w2")
	m.member("ap", "w3")
	to := func() (list []ID) {
		before := map[ID]int{}
		for _, id := range []ID{"us", "ap"} {
			before[id] = len(eu.s.Spool(id, "", 0, 99, 1<<20, nil))
		}
		eu.pub("a/b", "x", 1, false)
		for _, id := range []ID{"us", "ap"} {
			if len(eu.s.Spool(id, "", 0, 99, 1<<20, nil)) > before[id] {
				list = append(list, id)
			}
		}
		return list
	}
	m.want("eu", "by the order of the list", to(), "[us]")
	eu.do(&Rank{Peers: []ID{"ap", "us"}})
	m.want("eu", "by rank", to(), "[ap]")
	eu.do(&Rank{Peers: []ID{"us", "ap"}, Away: 1})
	m.want("eu", "who can be reached", to(), "[us]")
	m.detach("us", "w2", e)
	m.want("eu", "one that has members, and can be reached", to(), "[us]")
	eu.do(&Rank{Peers: []ID{"us", "ap"}})
	m.want("eu", "one that has a member attached", to(), "[ap]")
	eu.do(&SetPeer{Peer: "ap", Retained: true, Never: []string{"a/b"}})
	m.want("eu", "one that it may go to", to(), "[us]")
	eu.do(&SetPeer{Peer: "us", Retained: true, Refuse: true, SpoolBytes: 1})
	m.want("eu", "nobody gets what the chosen one has no room for", eu.pub("a/b", "x", 1, false).Code, CodeQuota)
}

// The last member of a region leaves while messages are on their way to it: they
// wait for one to come, on every copy, and not for ever.
func TestGlobalGroup_MembersLeaveAfterTheChoice(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us"})
	eu, us := m.homes["eu"], m.homes["us"]
	e := m.member("us", "w2")
	eu.pub("a/b", "1", 1, false)
	eu.pub("a/b", "2", 2, false)
	us.do(&Unsubscribe{Session: SessionKey{"", "w2"}, Epoch: e, Filters: []string{"$share/g/a/#"}})
	m.want("eu", "sent", m.ship("eu", "us"), 2)
	m.tell()
	m.want("us", "waits", m.waits("us"), 2)
	m.want("eu", "nobody wants more", eu.pub("a/b", "3", 1, false).Code, CodeNoSubscribers)

	kept := store{}
	us.s.Flush(kept.put, kept.del)
	mirror, at := kept.load(t), len(us.log)
	w := us.attach("late", false, 3600)
	us.sub("late", w, Subscription{Filter: "$share/g/a/#", QoS: 2})
	m.want("us", "who comes gets it", us.queue("late", w), "[1 2]")
	replay(t, mirror, us.log[at:])
	if !same(mirror, us.s) {
		t.Error("a copy that was restarted before differs")
	}

	m.tell()
	us.do(&Ack{Session: SessionKey{"", "late"}, Epoch: w, Done: []Range{{1, 2}}})
	eu.pub("a/b", "4", 1, false)
	us.do(&EndSession{Session: SessionKey{"", "late"}})
	m.ship("eu", "us")
	us.now = us.now.Add(keepQueue + time.Second)
	us.do(&Tick{})
	m.want("us", "dropped in the end", us.told.dropped[DropSpoolAge], 1)
	m.want("us", "groups", len(us.s.Groups()), 0)
}

// A region that the group is not global in chooses one of those where it is, and
// serves its own group of that name beside.
func TestGlobalGroup_SeenFromOutside(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us"}, "br")
	br := m.homes["br"]
	w1, w2 := m.member("eu", "w1"), m.member("us", "w2")
	own := m.member("br", "own")
	br.pub("a/b", "1", 1, false)
	m.shipAll()
	m.want("br", "its own group", br.queue("own", own), "[1]")
	both := append(m.homes["eu"].queue("w1", w1), m.homes["us"].queue("w2", w2)...)
	m.want("eu", "one of the global group", both, "[1]")

	eu := m.homes["eu"]
	eu.pub("a/b", "2", 1, false)
	m.shipAll()
	m.want("br", "a local group gets all", br.queue("own", own), "[1 2]")
}

// Whatever changed, a copy that is loaded asks peers for the same and chooses alike.
func TestGlobalGroup_Reloaded(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us", "ap"})
	eu := m.homes["eu"]
	e := m.member("eu", "w1")
	m.member("us", "w2")
	m.member("ap", "w3")
	eu.do(&Rank{Peers: []ID{"ap", "us"}})
	m.detach("eu", "w1", e)
	eu.pub("a/b", "1", 1, false)
	kept := store{}
	eu.s.Flush(kept.put, kept.del)
	mirror, at := kept.load(t), len(eu.log)
	if !same(mirror, eu.s) {
		t.Error("a loaded copy differs")
	}
	v1, d1 := eu.s.Wanted()
	v2, d2 := mirror.Wanted()
	eu.want("what it asks for", fmt.Sprint(v2, d2), fmt.Sprint(v1, d1))
	eu.want("what waits", fmt.Sprint(mirror.Spool("ap", "", 0, 9, 1<<20, nil)[0].Groups), "[g/a/#]")
	eu.pub("a/b", "2", 1, false)
	eu.do(&SetShared{})
	eu.pub("a/b", "3", 1, false)
	replay(t, mirror, eu.log[at:])
	if !same(mirror, eu.s) {
		t.Error("a loaded copy chose otherwise")
	}
}

func TestGroupMismatches(t *testing.T) {
	m := newMesh(t, []ID{"eu", "us"}, "br")
	eu, us, br := m.homes["eu"], m.homes["us"], m.homes["br"]
	eu.want("agreed", len(eu.s.GroupMismatches()), 0)
	us.do(&SetShared{Groups: []GlobalGroup{{Group: "g", Regions: []ID{"us", "eu", "br"}}}})
	m.tell()
	reasons := func(r *rig) (list []string) {
		for _, x := range r.s.GroupMismatches() {
			list = append(list, x.Reason)
		}
		return list
	}
	eu.want("eu", reasons(eu), "[us has it global over us, eu, br, eu over eu, us]")
	br.want("br", reasons(br), "[us has it global over us, eu, br, br does not declare it]")
	us.do(&SetShared{})
	m.tell()
	eu.want("eu", reasons(eu), "[us does not declare it, or its version does not know global groups]")
	br.want("br", reasons(br), "[]")
	eu.do(&SetShared{Groups: []GlobalGroup{{Group: "g", Regions: []ID{"eu", "cn"}}}})
	eu.want("eu", reasons(eu), "[there is no link from eu to cn]")
}

// What a device subscribes to never counts as what a home asks for on behalf of a
// group.
func TestGlobalGroup_DevicesCannotForge(t *testing.T) {
	r := newRig(t, "eu")
	e := r.attach("dev", false, 60)
	for _, f := range []string{"$share/+/g/a", "$share//g/eu", "$share/g", "$share/#"} {
		r.want(f, r.sub("dev", e, Subscription{Filter: f, QoS: 1}), []byte{codeFilterInvalid})
	}
}

// A message that was spooled for a group while it was global, and for a subscriber
// beside it, comes to a region that has the group as a local one by now, or names
// the group twice: members share one copy, also behind a restart.
func TestGlobalGroup_IsLocalWhenAMessageArrives(t *testing.T) {
	for _, live := range []bool{true, false} {
		r := newRig(t, "eu")
		e := r.attach("worker", true, 100)
		r.sub("worker", e, Subscription{Filter: "$share/g/a", QoS: 1})
		r.do(&Detach{Session: SessionKey{"", "worker"}, Epoch: e})
		r.do(&Frame{Source: Source{"us", Epoch{1, "us"}}, To: 1, Messages: []FrameMessage{
			{Seq: 1, Topic: "a", Payload: []byte("job"), QoS: 1, Live: live, Groups: []string{"g/a", "g/a"}}}})
		kept := store{}
		r.s.Flush(kept.put, kept.del)
		if !same(kept.load(t), r.s) {
			t.Error("the home is another one when it was loaded")
		}
		e = r.attach("worker", false, 100)
		r.want("jobs", r.queue("worker", e), "[job]")
	}
}
