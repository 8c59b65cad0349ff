package home

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"causeway/routing"
)

// LinkPolicy is what holds for a link. It is replaced and never changed, so it may
// be kept and read without a lock. A nil one is of a peer that the home does not
// know: nothing crosses.
type LinkPolicy struct {
	SetPeer            // in force: Base, under what an operator set
	Base     SetPeer   // what the leader's node file says
	Set      SetPolicy // what an operator set for the region
	Revision uint64    // rises whenever what is in force may have changed
	Pause    Pause
	Trims    []TrimRule // oldest first
}

// Pause says since when nothing crosses a link, and until when.
type Pause struct {
	On     bool
	Since  Time
	Until  Time // 0: until the operator says so
	Reason string
}

// TrimRule is what an operator dropped of a spool by filter. It lives as long as
// something it may be about.
type TrimRule struct {
	Filter string
	Class  string
	To     Seq // the newest message it is about
}

// Paused says that no message may cross the link now.
func (l *LinkPolicy) Paused() bool { return l == nil || l.Pause.On }

// MayCome says whether a topic, as the peer names it, may come in. Topics of the
// peer's server ("$SYS/...") have no place under a prefix, where wildcards would
// reach them. [MQTT-4.7.2-1]
func (l *LinkPolicy) MayCome(topic string) bool {
	return l != nil && passes(l.In, l.Never, topic) && (l.InPrefix == "" || topic == "" || topic[0] != '$')
}

// MayGo says whether a topic may go out.
func (l *LinkPolicy) MayGo(topic string) bool { return l != nil && passes(l.Out, l.Never, topic) }

// QoS is at which QoS a message goes out.
func (l *LinkPolicy) QoS(of byte) byte {
	if l.QoSMax == 0 {
		return of
	}
	return min(of, l.QoSMax)
}

// Trimmed says whether an operator dropped a spooled message.
func (l *LinkPolicy) Trimmed(class string, seq Seq, topic string) bool {
	return slices.ContainsFunc(l.Trims, func(t TrimRule) bool {
		return seq <= t.To && t.Class == class && routing.Matches(t.Filter, topic)
	})
}

func passes(only, never []string, topic string) bool {
	return (len(only) == 0 || matchesAny(only, topic)) && !matchesAny(never, topic)
}

// Over returns a policy in which the named keys are those of v.
func (base SetPeer) Over(keys PolicyKeys, v *SetPeer) SetPeer {
	take(keys&KeyIn, &base.In, v.In)
	take(keys&KeyOut, &base.Out, v.Out)
	take(keys&KeyNever, &base.Never, v.Never)
	take(keys&KeyInPrefix, &base.InPrefix, v.InPrefix)
	take(keys&KeyQoSMax, &base.QoSMax, v.QoSMax)
	take(keys&KeyRate, &base.Rate, v.Rate)
	take(keys&KeyRetained, &base.Retained, v.Retained)
	take(keys&KeyRefuse, &base.Refuse, v.Refuse)
	take(keys&KeySpoolBytes, &base.SpoolBytes, v.SpoolBytes)
	take(keys&KeySpoolAge, &base.SpoolAge, v.SpoolAge)
	return base
}

func take[T any](named PolicyKeys, to *T, v T) {
	if named != 0 {
		*to = v
	}
}

// LinkPolicy returns what holds for the link to a peer, nil if the home does not
// know it. It takes no lock.
func (s *State) LinkPolicy(id ID) *LinkPolicy { return (*s.policies.Load())[id] }

// publishPolicies hands the policies to those who read without the lock.
func (s *State) publishPolicies() {
	next := make(map[ID]*LinkPolicy, len(s.peers))
	for id, p := range s.peers {
		next[id] = p.policy
	}
	s.policies.Store(&next)
}

// change replaces a peer's policy by a copy that edit has changed, and tells who
// acts on it: what waits may go now, and something else may be wanted.
func (s *State) change(p *peer, edit func(*LinkPolicy)) {
	next := *p.policy
	edit(&next)
	p.policy = &next
	s.note(effectPeer, next.Revision, uint64(next.Pause.Until))
	s.note(effectPeer, uint64(len(next.Trims)), uint64(flag(next.Pause.On, 1)|flag(next.Retained, 2)))
	s.changes.peer(p)
	s.publishPolicies()
	s.regroup(p)
	s.sink.Spooled(p.id)
	s.sink.Wanted()
}

// revise takes another base, or other keys of an operator.
func (s *State) revise(p *peer, base SetPeer, set SetPolicy) {
	before := p.policy
	s.change(p, func(l *LinkPolicy) {
		l.Base, l.Set = base, set
		l.SetPeer = base.Over(set.Keys, &set.Values)
		l.Revision++
	})
	p.setClasses(base.Classes, s.seq)
	s.note(effectPeer, uint64(len(p.spools)), 0)
	s.forgetTrims(p)
	if p.policy.Retained {
		s.spoolRetained(p, before)
	}
	s.boundSpools(p)
}

// setPolicy takes what an operator set, if it was made from the policy in force.
func (s *State) setPolicy(op *SetPolicy) Outcome {
	p := s.peers[op.Peer]
	switch {
	case p == nil:
		return Outcome{Code: CodeUnknown}
	case op.Revision != p.policy.Revision:
		return Outcome{Code: CodeGap}
	}
	op.Values.Peer = op.Peer
	s.revise(p, p.policy.Base, *op)
	return Outcome{}
}

func (s *State) pausePeer(op *PausePeer) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	if !op.Paused {
		s.resumePeer(p)
		return Outcome{}
	}
	next := Pause{On: true, Since: s.time, Reason: op.Reason}
	if p.policy.Pause.On {
		next.Since = p.policy.Pause.Since
	}
	if op.For > 0 {
		next.Until = s.time.Add(min(op.For, maxLife))
	}
	s.change(p, func(l *LinkPolicy) { l.Pause = next })
	if next.Until != 0 {
		s.arm(pauseTimer(p.id, next.Until))
	}
	return Outcome{}
}

func (s *State) resumePeer(p *peer) {
	if p.policy.Pause.On {
		s.change(p, func(l *LinkPolicy) { l.Pause = Pause{} })
	}
}

// pauseTimer ends a pause.
func pauseTimer(id ID, at Time) timer {
	return timer{at: at, kind: timerPause, key: SessionKey{ClientID: string(id)}}
}

// maxTrims bounds the rules of a peer: each message that is sent is held against
// them.
const maxTrims = 64

// dropSpooled drops what an operator wants gone.
func (s *State) dropSpooled(op *DropSpooled) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	var rules []TrimRule
	n := 0
	for _, sp := range p.spools {
		to := sp.olderThan(s.time, op.Age)
		switch {
		case !op.AllClasses && sp.class != op.Class || to <= sp.start:
		case op.Filter != "":
			rules = append(rules, TrimRule{Filter: op.Filter, Class: sp.class, To: to})
		default:
			n += s.dropUpTo(p, sp, to)
		}
	}
	if len(p.policy.Trims)+len(rules) > maxTrims {
		return Outcome{Code: CodeQuota}
	}
	if len(rules) > 0 {
		s.change(p, func(l *LinkPolicy) { l.Trims = append(slices.Clip(l.Trims), rules...) })
	}
	return Outcome{Count: n}
}

// dropUpTo drops the front of a spool for an operator.
func (s *State) dropUpTo(p *peer, sp *spool, to Seq) int {
	before := sp.messages()
	s.trimSpool(p, sp, to)
	n := before - sp.messages()
	sp.dropped += uint64(n)
	if n > 0 {
		s.sink.Dropped("spool", DropOperator, n)
	}
	return n
}

// olderThan is the newest message of a spool that is so old. Of a run only its ends
// are known, so all of it has to be.
func (sp *spool) olderThan(now Time, age time.Duration) (to Seq) {
	for _, r := range sp.runs {
		if now.Sub(r.to) < age {
			return to
		}
		to = r.last
	}
	for i := range sp.refs {
		if now.Sub(sp.refs[i].at) < age {
			return to
		}
		to = sp.refs[i].seq
	}
	return to
}

// forgetTrims drops the rules that are about nothing any more.
func (s *State) forgetTrims(p *peer) {
	over := func(t TrimRule) bool {
		sp := s.spoolByName(p.id, t.Class)
		return sp == nil || sp.start >= t.To || sp.messages() == 0
	}
	if slices.ContainsFunc(p.policy.Trims, over) {
		s.change(p, func(l *LinkPolicy) { l.Trims = slices.DeleteFunc(slices.Clone(l.Trims), over) })
	}
}

// encode writes a policy as it is stored; what is in force follows from it.
func (l *LinkPolicy) encode(b []byte) []byte {
	b = appendBytes(appendBytes(b, AppendOp(nil, &l.Base)), AppendOp(nil, &l.Set))
	b = append(binary.AppendUvarint(b, l.Revision), flag(l.Pause.On, 1))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(l.Pause.Since)), uint64(l.Pause.Until))
	b = binary.AppendUvarint(appendString(b, l.Pause.Reason), uint64(len(l.Trims)))
	for _, t := range l.Trims {
		b = binary.AppendUvarint(appendString(appendString(b, t.Filter), t.Class), uint64(t.To))
	}
	return b
}

// policy reads what encode wrote, nil if it is something else.
func (l *loader) policy(r *reader) *LinkPolicy {
	base, ok := l.op(r).(*SetPeer)
	set, also := l.op(r).(*SetPolicy)
	if !ok || !also {
		return nil
	}
	p := &LinkPolicy{SetPeer: base.Over(set.Keys, &set.Values), Base: *base, Set: *set, Revision: r.uvarint()}
	p.Pause = Pause{On: r.byte() != 0, Since: Time(r.uvarint()), Until: Time(r.uvarint()), Reason: r.string()}
	for range r.count(3) {
		p.Trims = append(p.Trims, TrimRule{r.string(), r.string(), Seq(r.uvarint())})
	}
	return p
}

// Backlog is what of a peer's spool is numbered up to a number. A run of which a
// part is above it counts as a whole.
type Backlog struct {
	Messages int
	Bytes    uint64
	Dropped  uint64 // from the spool, ever
}

// Backlog says what waits for a peer of what is numbered up to a number.
func (s *State) Backlog(id ID, to Seq) (b Backlog) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[id]
	if p == nil {
		return b
	}
	for _, sp := range p.spools {
		n, bytes := sp.upTo(to)
		b.Messages, b.Bytes, b.Dropped = b.Messages+n, b.Bytes+bytes, b.Dropped+sp.dropped
	}
	return b
}

// upTo is how much of a spool is numbered up to a number.
func (sp *spool) upTo(to Seq) (messages int, bytes uint64) {
	messages, bytes = sp.messages(), sp.bytes
	for i := len(sp.refs) - 1; i >= 0 && sp.refs[i].seq > to; i-- {
		messages, bytes = messages-one(!sp.refs[i].canary), bytes-uint64(sp.refs[i].msg.size)
	}
	for i := len(sp.runs) - 1; i >= 0 && sp.runs[i].first > to; i-- {
		messages, bytes = messages-sp.runs[i].messages(), bytes-sp.runs[i].bytes
	}
	return messages, bytes
}

// SpoolPart is a stretch of a spool.
type SpoolPart struct {
	After    Seq // its messages are numbered above it
	Last     Seq // and up to here
	Messages int
	Bytes    uint64
}

// SpoolParts divides a class of a peer's spool into stretches, its runs and the
// rest, and returns at most max of them, evenly spread, the oldest and the newest
// among them; all says that none is left out.
func (s *State) SpoolParts(id ID, class string, max int) (parts []SpoolPart, all bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spoolByName(id, class)
	if sp == nil || max <= 0 {
		return nil, true
	}
	total := len(sp.runs)
	if len(sp.refs) > 0 {
		total++
	}
	n := min(total, max)
	for i := range n {
		at := i
		if n > 1 {
			at = int(math.Round(float64(i) * float64(total-1) / float64(n-1)))
		}
		parts = append(parts, sp.part(at))
	}
	return parts, n == total
}

// part is a run, or what is behind the runs.
func (sp *spool) part(i int) SpoolPart {
	after := sp.start
	if i > 0 {
		after = sp.runs[i-1].last
	}
	if i < len(sp.runs) {
		r := sp.runs[i]
		return SpoolPart{After: max(after, r.first-1), Last: r.last, Messages: r.messages(), Bytes: r.bytes}
	}
	messages := sp.messages()
	for _, r := range sp.runs {
		messages -= r.messages()
	}
	return SpoolPart{After: after, Last: sp.refs[len(sp.refs)-1].seq, Messages: messages, Bytes: sp.tail}
}

// Trimmable is what DropSpooled would drop of a class without a filter, or be about
// with one.
type Trimmable struct {
	Class    string
	To       Seq
	Messages int
	Bytes    uint64
}

// Trimmable says what an operation would be about, by class.
func (s *State) Trimmable(op *DropSpooled) (list []Trimmable) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[op.Peer]
	if p == nil {
		return nil
	}
	for _, sp := range p.spools {
		if !op.AllClasses && sp.class != op.Class {
			continue
		}
		t := Trimmable{Class: sp.class, To: sp.olderThan(s.time, op.Age)}
		t.Messages, t.Bytes = sp.upTo(t.To)
		list = append(list, t)
	}
	return list
}
