package home

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"causeway/routing"
)

// ID returns the home's name; "" before Genesis.
func (s *State) ID() ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.id
}

// Epoch returns the epoch in force.
func (s *State) Epoch() Epoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.currentEpoch()
}

// Lineage returns the home's epochs, oldest first.
func (s *State) Lineage() []Span {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.lineage)
}

// Now returns home time as of the last record.
func (s *State) Now() Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.time
}

// HighSeq returns the highest message number given.
func (s *State) HighSeq() Seq {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.seq
}

// SessionEpoch returns the highest session epoch given.
func (s *State) SessionEpoch() SessionEpoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.epoch
}

// Incarnation returns the last incarnation of a node that the home knows.
func (s *State) Incarnation(n NodeID) (i Incarnation, applied uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.proposers[n]; p != nil {
		return p.incarnation, p.n
	}
	return 0, 0
}

// NodeInfo is a run of a node as the home knows it.
type NodeInfo struct {
	Owner    Owner
	Down     bool   // declared dead; nothing it says counts
	N        uint64 // of its last entry that was applied
	Attached int    // sessions it owns
}

// Nodes lists the nodes that ever spoke to the home, by name, each with its last
// run.
func (s *State) Nodes() []NodeInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]NodeInfo, 0, len(s.proposers))
	for node, p := range s.proposers {
		n := NodeInfo{Owner: Owner{node, p.incarnation}, Down: p.down, N: p.n}
		if set := s.owned[n.Owner]; set != nil {
			n.Attached = len(set.sessions)
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b NodeInfo) int { return strings.Compare(string(a.Owner.Node), string(b.Owner.Node)) })
	return list
}

// PolicyOf returns what an acknowledgement means for a topic. It takes no lock.
func (s *State) PolicyOf(topic string) Policy {
	for _, a := range s.config.Load().Acks {
		if routing.Matches(a.Filter, topic) {
			return a.Policy
		}
	}
	return PolicyRegion
}

// Limits returns the limits in force. It takes no lock.
func (s *State) Limits() Limits { return s.config.Load().limits() }

// Config returns the configuration in force; it must not be changed.
func (s *State) Config() *Configure { return s.config.Load() }

func compareSeqs(a, b Seq) int { return int(int64(a) - int64(b)) }

func (s *State) spoolByName(id ID, class string) *spool {
	p := s.peers[id]
	if p == nil {
		return nil
	}
	for _, sp := range p.spools {
		if sp.class == class {
			return sp
		}
	}
	return nil
}

// SpoolInfo describes a class of a peer's spool.
type SpoolInfo struct {
	Class    string
	Filters  []string
	Start    Seq // everything up to it is done with
	Messages int
	Canaries int
	Bytes    uint64
	Oldest   Time // when the oldest was spooled; 0 if empty
	Dropped  uint64
}

// SpoolInfo describes a peer's spools, highest class first.
func (s *State) SpoolInfo(id ID) (list []SpoolInfo) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[id]
	if p == nil {
		return nil
	}
	for _, sp := range p.spools {
		list = append(list, SpoolInfo{Class: sp.class, Filters: sp.filters, Start: sp.start, Messages: sp.messages(), Canaries: sp.canary, Bytes: sp.bytes, Oldest: sp.oldest(), Dropped: sp.dropped})
	}
	return list
}

// Cursor returns how far a class of a source was taken in.
func (s *State) Cursor(src Source, class string) (Seq, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at, ok := s.cursors[cursorKey{src, class}]
	return at, ok
}

// CursorInfo is a cursor and what it is of.
type CursorInfo struct {
	Source Source
	Class  string
	At     Seq
}

// Cursors returns the cursors of a peer's home, over its epochs and classes.
func (s *State) Cursors(id ID) (list []CursorInfo) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, at := range s.cursors {
		if k.source.Home == id {
			list = append(list, CursorInfo{k.source, k.class, at})
		}
	}
	return list
}

// PeerInfo describes a peer.
type PeerInfo struct {
	Peer    ID
	Policy  SetPeer
	Epoch   Epoch  // of its home, when it told its interest
	Version uint64 // of its interest
	Filters int
	Spooled int
	Bytes   uint64
	Oldest  Time
}

// Peer describes one peer.
func (s *State) Peer(id ID) (PeerInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[id]
	if p == nil {
		return PeerInfo{}, false
	}
	return p.info(), true
}

// Peers describes all peers, by name.
func (s *State) Peers() (list []PeerInfo) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.peersInOrder() {
		list = append(list, p.info())
	}
	return list
}

func (p *peer) info() PeerInfo {
	info := PeerInfo{Peer: p.id, Policy: p.policy.SetPeer, Epoch: p.epoch, Version: p.interest.Version(), Filters: p.interest.Len()}
	for _, sp := range p.spools {
		if info.Spooled += sp.messages(); sp.messages() > 0 {
			info.Bytes += sp.bytes
		}
		if at := sp.oldest(); at != 0 && (info.Oldest == 0 || at < info.Oldest) {
			info.Oldest = at
		}
	}
	return info
}

// PeerDigest returns the version of a peer's interest and its digest, which is
// kept up with each change.
func (s *State) PeerDigest(id ID) (version uint64, d routing.Digest, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[id]
	if p == nil {
		return 0, routing.Digest{}, false
	}
	return p.interest.Version(), p.interest.Digest(), true
}

// Wanted returns the version and digest of what this home wants of its peers.
func (s *State) Wanted() (version uint64, d routing.Digest) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.wanted.Version(), s.wanted.Digest()
}

// WantedSince returns what changed since a version; ok is false when that is
// not known any more and a snapshot is needed.
func (s *State) WantedSince(v uint64) (routing.Delta, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.wanted.Since(v)
}

// WantedView returns all this home wants. However much that is, nothing waits for
// it: it is read without the lock.
func (s *State) WantedView() routing.View {
	s.mu.Lock() // taking it marks the set as shared
	defer s.mu.Unlock()
	return s.wanted.View()
}

// SessionInfo describes a session.
type SessionInfo struct {
	Key           SessionKey
	Epoch         SessionEpoch
	Owner         Owner // zero while detached
	Transient     bool
	Expiry        uint32 // seconds
	ExpiresAt     Time   // 0 while attached or never
	Subscriptions []Subscription
	Queued        int
	QueuedBytes   uint64
	InboundIDs    int
	Will          bool
	Fresh         SessionEpoch // with which its device began anew; 0: it did not
}

// EpochOf returns the epoch of a session; false: there is none of that key.
func (s *State) EpochOf(k SessionKey) (SessionEpoch, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if x := s.sessions[k]; x != nil {
		return x.epoch, true
	}
	return 0, false
}

// Session describes one session.
func (s *State) Session(k SessionKey) (SessionInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.sessions[k]
	if x == nil {
		return SessionInfo{}, false
	}
	info := x.info()
	for _, f := range x.filters() {
		info.Subscriptions = append(info.Subscriptions, x.subs[f].Subscription)
	}
	return info, true
}

func (x *session) info() SessionInfo {
	return SessionInfo{Key: x.key, Epoch: x.epoch, Owner: x.owner, Transient: x.transient, Expiry: x.expiry, ExpiresAt: x.expireAt,
		Queued: x.queue.live, QueuedBytes: x.queue.bytes, InboundIDs: len(x.inbound), Will: x.will != nil, Fresh: x.fresh}
}

// Sessions describes at most max sessions after a key, in order, without their
// subscriptions. It sorts outside the lock: a page must not hold up Apply.
func (s *State) Sessions(after SessionKey, max int) (list []SessionInfo) {
	s.mu.RLock()
	keys := make([]SessionKey, 0, len(s.sessions))
	for k := range s.sessions {
		if compareKeys(k, after) > 0 && !k.remains() {
			keys = append(keys, k)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(keys, compareKeys)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range keys {
		if len(list) == max {
			break
		}
		if x := s.sessions[k]; x != nil {
			list = append(list, x.info())
		}
	}
	return list
}

// Peek returns at most max references numbered above after of any session's
// queue, attached or not.
func (s *State) Peek(k SessionKey, after uint64, max int) (list []Queued) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.sessions[k]
	if x == nil {
		return nil
	}
	x.queue.each(Range{after + 1, ^uint64(0)}, func(r *ref) {
		if len(list) < max {
			list = append(list, Queued{Ref: r.num, Seq: r.msg.Seq, Message: r.msg.Message, Evicted: r.msg.evicted, QoS: r.qos,
				Retain: r.retain, SubIDs: r.subIDs, Received: r.state == refReceived})
		}
	})
	return list
}

// RetainedInfo describes a retained message.
type RetainedInfo struct {
	Namespace string
	Topic     string
	Version   uint64
	Home      ID
	QoS       byte
	Payload   []byte
	Forward   []byte // v5 properties that go to subscribers, in wire form
	Expires   Time
}

// GroupInfo describes a shared subscription.
type GroupInfo struct {
	Namespace, Name, Filter string
	Members, Attached       int
	Queued                  int
	QueuedBytes             uint64
	Oldest                  Time // since when the oldest waits; 0 if none does
	Global                  bool // one with the groups of that name in other regions
	Regions                 []ID // it is declared over, the first to be chosen first
	Away                    []GroupAway
}

// GroupAway is the part of a group that a peer has.
type GroupAway struct {
	Peer     ID
	Attached bool // a member is attached there, and the peer can be reached
}

// Groups describes all shared subscriptions.
func (s *State) Groups() (list []GroupInfo) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, g := range s.groups {
		info := GroupInfo{Namespace: k.space, Name: k.name, Filter: k.filter, Members: len(g.members), Queued: len(g.queue), QueuedBytes: g.bytes}
		if len(g.queue) > 0 {
			info.Oldest = g.queue[0].at
		}
		g.describe(s, &info)
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b GroupInfo) int {
		return strings.Compare(a.Namespace+"\x00"+a.Filter+"\x00"+a.Name, b.Namespace+"\x00"+b.Filter+"\x00"+b.Name)
	})
	return list
}

// Status is the home at a glance.
type Status struct {
	ID          ID
	Epoch       Epoch
	Time        Time
	Seq         Seq
	Sessions    int
	Attached    int
	Namespaces  int
	Filters     int // distinct ones that this home wants
	Retained    int
	Groups      int
	Peers       int
	Queued      int
	QueuedBytes uint64
	Owed        int   // references set aside: no region that served could deliver them
	Resident    int64 // bytes of flushed bodies in memory
	NextTimerIn time.Duration
}

// Status says what the home holds. It costs as much as there are namespaces.
func (s *State) Status() Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Status{ID: s.id, Epoch: s.currentEpoch(), Time: s.time, Seq: s.seq, Sessions: len(s.sessions), Attached: s.counts.attached,
		Filters: s.wanted.Len(), Groups: len(s.groups), Peers: len(s.peers), Queued: s.counts.queued, QueuedBytes: s.counts.queuedBytes, Owed: s.owed,
		Resident: s.resident}
	spaces := *s.spaces.Load()
	st.Namespaces = len(spaces)
	for _, sp := range spaces {
		st.Retained += sp.retained.count
	}
	if len(s.timers) > 0 {
		st.NextTimerIn = s.timers[0].at.Sub(s.time)
	}
	return st
}

// RetainedAfter returns at most max retained messages of all namespaces after a
// key, by namespace and topic.
func (s *State) RetainedAfter(ns, topic string, max int) (list []RetainedInfo) {
	s.mu.RLock()
	for name, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) {
			if r.msg != nil && (name > ns || name == ns && r.topic > topic) {
				list = append(list, r.info(name))
			}
		})
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b RetainedInfo) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Topic, b.Topic))
	})
	return list[:min(max, len(list))]
}

// RetainedMessage returns the retained message of a topic.
func (s *State) RetainedMessage(ns, topic string) (RetainedInfo, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sp := (*s.spaces.Load())[ns]; sp != nil {
		if r := sp.retained.get(topic); r != nil && r.msg != nil {
			return r.info(ns), true
		}
	}
	return RetainedInfo{}, false
}

func (r *retained) info(ns string) RetainedInfo {
	return RetainedInfo{ns, r.topic, r.version, r.home, r.msg.QoS, r.msg.Payload, r.msg.Forward, r.msg.Expires}
}

// MayGo says whether a peer's policy lets a topic out.
func (s *State) MayGo(id ID, topic string) bool {
	return s.LinkPolicy(id).MayGo(topic)
}

// Owned is a session that a node owns.
type Owned struct {
	Key   SessionKey
	Epoch SessionEpoch
}

// OwnedBy returns at most max of the sessions that a run of a node owns, in no order.
func (s *State) OwnedBy(o Owner, max int) (list []Owned) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	set := s.owned[o]
	if set == nil {
		return nil
	}
	for x := range set.sessions {
		if len(list) == max {
			break
		}
		list = append(list, Owned{x.key, x.epoch})
	}
	return list
}

// SessionLoad is how much waits for a session.
type SessionLoad struct {
	Key      SessionKey
	Messages int
	Bytes    uint64
}

// walkAtOnce is how many sessions are looked at before whoever applies has a turn.
const walkAtOnce = 4096

// OldestQueued is since when the oldest message in a session's queue has waited, by namespace; those for
// which nothing waits are left out. It looks at all sessions, and lets Apply in meanwhile: for a gauge
// that is read now and then.
func (s *State) OldestQueued() map[string]Time {
	oldest := map[string]Time{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for k, x := range s.sessions { // the map may change in between: each is met at most once
		if n++; n%walkAtOnce == 0 {
			s.mu.RUnlock()
			s.mu.RLock()
		}
		if x.queue.live == 0 || k.remains() {
			continue
		}
		at := x.queue.refs[0].msg.at
		if have, ok := oldest[k.Namespace]; at != 0 && (!ok || at < have) {
			oldest[k.Namespace] = at
		}
	}
	return oldest
}

// LongestQueues returns the sessions for which most waits, at most max, those with most first. It looks at all
// sessions while nothing is applied: for an operator, not for a gauge.
func (s *State) LongestQueues(max int) (list []SessionLoad) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	more := func(a, b SessionLoad) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), compareKeys(a.Key, b.Key))
	}
	for _, x := range s.sessions {
		info := SessionLoad{Key: x.key, Messages: x.queue.live, Bytes: uint64(x.queue.bytes)}
		if info.Messages == 0 || len(list) == max && more(info, list[max-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(list, info, more)
		if len(list) == max {
			list = list[:max-1]
		}
		list = slices.Insert(list, at, info)
	}
	return list
}
