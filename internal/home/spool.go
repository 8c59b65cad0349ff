package home

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// Spool limits where a peer's policy gives none.
const (
	defaultSpoolBytes = 8 << 30
	defaultSpoolAge   = 72 * time.Hour
)

// A run is at most so large, or a 64th of the spool's limit, since it is dropped
// as a whole. It covers at most a 16th of the spool's age.
const (
	runMessages = 2048
	maxRunBytes = 1 << 20
	minRunBytes = 64
	runsInLimit = 64
	runsInAge   = 16
)

// spool holds what a peer wanted, of one class, in order. The newest of it, all
// there is while the link keeps up, are references to bodies like those of a
// session's queue. What is older goes into runs, so that days of outage cost disk
// and not memory.
type spool struct {
	class   string
	filters []string
	start   Seq        // everything up to it was acknowledged, dropped or never wanted
	runs    []*run     // oldest first
	refs    []spoolRef // behind the runs
	tail    uint64     // bytes of refs
	bytes   uint64     // of runs and refs
	waiting int        // messages in runs and refs
	canary  int        // of waiting: those that are canaries
	dropped uint64
}

type spoolRef struct {
	seq     Seq
	msg     *message
	version uint64 // of the retained message; 0: not one
	at      Time
	groups  []string // global groups that it goes there on behalf of
	live    bool
	canary  bool
	stored  bool
}

// run is a stretch of a spool that grows no more and is dropped as a whole.
// Where it begins and ends is decided in Apply; when it leaves memory is not.
//
//	sealed --Flush--> written --Evict, after the commit--> on disk
//
// A written run has its bodies in its own value, but for those that were evicted
// by then.
type run struct {
	first, last Seq // of its messages
	count       int
	canary      int // of count
	bytes       uint64
	from, to    Time // when its first and last message were spooled

	refs    []spoolRef // nil once it is on disk
	outside []*message // written under BodyKey; set when it is written
	stored  bool       // it is written
	gone    bool       // trimmed or dropped
}

func (p *peer) spoolOf(topic string) *spool {
	for _, sp := range p.spools {
		if matchesAny(sp.filters, topic) {
			return sp
		}
	}
	return p.spools[len(p.spools)-1]
}

func (p *peer) spoolFor(m *message) *spool {
	if m.place.isGiven() {
		for _, x := range m.place.spools {
			if i := slices.IndexFunc(p.spools, func(sp *spool) bool { return sp.class == x.class }); x.peer == p.id && i >= 0 {
				return p.spools[i]
			}
		}
	}
	return p.spoolOf(m.Topic)
}

func (s *State) spoolFor(p *peer, m *message, r spoolRef) {
	sp := p.spoolFor(m)
	s.hold(m)
	r.seq, r.msg, r.at = m.Seq, m, s.time
	sp.push(r)
	s.note(effectSpooled, uint64(m.Seq), r.version)
	s.changes.peer(p)
	s.boundSpools(p)
	s.limitSpools()
	s.seal(p, sp)
	s.sink.Spooled(p.id)
}

// spoolRefuses says that a peer wants the message, has no room for it, and that
// its policy is to refuse publishers then. Refused is refused as a whole: nobody
// gets the message. [A6]
func (s *State) spoolRefuses(op *Publish, way *passage) bool {
	size := uint64(len(op.Topic) + len(op.Forward) + len(op.Payload))
	for _, p := range s.peers {
		if p.policy.Refuse && !slices.Contains(way.not, p.id) && (p.waiting()+size > p.spoolBytes() || s.overLimit(p, size)) && p.policy.MayGo(op.Topic) &&
			s.MayLeave(way.namespace, op.Topic, string(p.id)) &&
			(op.Retain && p.policy.Retained || s.peerMatches(p, way, op.Topic)) {
			return true
		}
	}
	return false
}

func (s *State) peerMatches(p *peer, way *passage, topic string) bool {
	s.targets = s.Match(way.namespace, topic, s.targets[:0])
	return slices.ContainsFunc(s.targets, func(t *Target) bool {
		if t.Group == nil {
			return t.peer == p
		}
		_, away := t.Group.placed(topic, way.not)
		return away != nil && away.peer == p
	})
}

// waiting is how many bytes wait for the peer.
func (p *peer) waiting() (bytes uint64) {
	for _, sp := range p.spools {
		bytes += sp.bytes
	}
	return bytes
}

// push appends a reference that is held.
func (sp *spool) push(r spoolRef) {
	sp.refs = append(sp.refs, r)
	sp.tail += uint64(r.msg.size)
	sp.bytes += uint64(r.msg.size)
	sp.waiting++
	sp.canary += one(r.canary)
}

func (p *peer) spoolBytes() uint64 {
	limit := p.policy.SpoolBytes
	setDefault(&limit, defaultSpoolBytes)
	return limit
}

func (p *peer) spoolAge() time.Duration {
	if p.policy.SpoolAge == 0 {
		return defaultSpoolAge
	}
	return p.policy.SpoolAge
}

// seal makes runs of all but the newest of a spool.
func (s *State) seal(p *peer, sp *spool) {
	size := min(max(p.spoolBytes()/runsInLimit, minRunBytes), maxRunBytes)
	for len(sp.refs) >= 2*runMessages || sp.tail >= 2*size && len(sp.refs) > 1 {
		r := sp.cut(size, p.spoolAge()/runsInAge)
		for i := range r.refs {
			f := &r.refs[i]
			f.msg.sealed++
			if f.stored {
				s.changes.delete(spoolKey(p.id, sp.class, f.seq))
			}
		}
		s.changes.runs = append(s.changes.runs, runID{p, sp, r})
	}
}

// cut takes a run off the front of refs, of about size bytes.
func (sp *spool) cut(size uint64, age time.Duration) *run {
	r := &run{first: sp.refs[0].seq, from: sp.refs[0].at}
	for r.count < len(sp.refs) && r.count < runMessages && (r.count == 0 || r.bytes < size && sp.refs[r.count].at.Sub(r.from) <= age) {
		f := &sp.refs[r.count]
		r.bytes += uint64(f.msg.size)
		r.last, r.to = f.seq, f.at
		r.canary += one(f.canary)
		r.count++
	}
	r.refs = slices.Clone(sp.refs[:r.count])
	clear(sp.refs[:r.count])
	sp.refs = sp.refs[r.count:]
	sp.tail -= r.bytes
	sp.runs = append(sp.runs, r)
	return r
}

// one is 1 for true.
func one(on bool) int { return int(flag(on, 1)) }

// messages is how many wait; canaries are none.
func (sp *spool) messages() int { return sp.waiting - sp.canary }

func (r *run) messages() int { return r.count - r.canary }

// oldest says when the oldest message was spooled, or a canary before it; 0 if there
// is none.
func (sp *spool) oldest() Time {
	switch {
	case sp.messages() == 0:
		return 0
	case len(sp.runs) > 0:
		return sp.runs[0].from
	case len(sp.refs) > 0:
		return sp.refs[0].at
	}
	return 0
}

// front describes what is dropped next: a run or a message, or a canary, which
// counts for none.
func (sp *spool) front() (last Seq, count int, bytes uint64, at Time) {
	if len(sp.runs) > 0 {
		r := sp.runs[0]
		return r.last, r.messages(), r.bytes, r.to
	}
	f := &sp.refs[0]
	return f.seq, one(!f.canary), uint64(f.msg.size), f.at
}

// boundSpools drops the oldest of the lowest class while the peer's spools are
// over their bytes, and what is over its age.
func (s *State) boundSpools(p *peer) {
	limit, age := p.spoolBytes(), p.spoolAge()
	var total uint64
	for _, sp := range p.spools {
		for sp.waiting > 0 {
			if _, _, _, at := sp.front(); s.time.Sub(at) <= age {
				break
			}
			s.dropOldest(p, sp, DropSpoolAge)
		}
		total += sp.bytes
	}
	for i := len(p.spools) - 1; i >= 0; i-- {
		for sp := p.spools[i]; total > limit && sp.waiting > 0; {
			total -= s.dropOldest(p, sp, DropSpoolFull)
		}
	}
}

// ageSpools drops what became too old while nothing new was spooled.
func (s *State) ageSpools() {
	for _, p := range s.peersInOrder() {
		s.boundSpools(p)
	}
	s.ageGroups()
}

func (s *State) dropOldest(p *peer, sp *spool, reason DropReason) (bytes uint64) {
	last, count, bytes, _ := sp.front()
	sp.dropped += uint64(count)
	s.trimSpool(p, sp, last)
	if count > 0 {
		s.sink.Dropped("spool", reason, count)
	}
	return bytes
}

// trim drops what the peer has.
func (s *State) trim(op *Trim) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	for _, sp := range p.spools {
		if sp.class != op.Class {
			continue
		}
		n := sp.waiting
		s.trimSpool(p, sp, min(op.To, s.lastOf(op.Epoch)))
		return Outcome{Count: n - sp.waiting, Seq: sp.start}
	}
	return Outcome{Code: CodeUnknown}
}

// lastOf returns the highest number that an epoch gave, so that an ack for one
// epoch cannot trim the next.
func (s *State) lastOf(e Epoch) Seq {
	for i, span := range s.lineage {
		if span.Epoch == e {
			if i+1 < len(s.lineage) {
				return s.lineage[i+1].First - 1
			}
			return s.seq
		}
	}
	return 0
}

// trimSpool drops everything up to a number. A run of which a part is left stays
// whole.
func (s *State) trimSpool(p *peer, sp *spool, to Seq) {
	before := sp.waiting
	n := 0
	for n < len(sp.runs) && sp.runs[n].last <= to {
		s.dropRun(p, sp, sp.runs[n])
		sp.runs[n] = nil
		n++
	}
	sp.runs = sp.runs[n:]
	for n = 0; n < len(sp.refs) && sp.refs[n].seq <= to; n++ {
		r := &sp.refs[n]
		if r.stored {
			s.changes.delete(spoolKey(p.id, sp.class, r.seq))
		}
		sp.tail -= uint64(r.msg.size)
		sp.bytes -= uint64(r.msg.size)
		sp.waiting--
		sp.canary -= one(r.canary)
		s.release(r.msg)
		*r = spoolRef{}
	}
	sp.refs = sp.refs[n:]
	s.note(effectTrimmed, uint64(to), uint64(before-sp.waiting))
	if len(sp.refs) == 0 {
		sp.refs = nil
	}
	if len(sp.runs) == 0 {
		sp.runs = nil
	}
	if to = min(to, s.seq); to > sp.start {
		sp.start = to
	}
	s.forgetTrims(p)
	p.forgetReceived()
	s.changes.peer(p)
}

func (s *State) dropRun(p *peer, sp *spool, r *run) {
	sp.bytes -= r.bytes
	sp.waiting -= r.count
	sp.canary -= r.canary
	r.gone = true
	if r.stored {
		s.changes.delete(runKey(tableRun, p.id, sp.class, r.first))
		s.changes.delete(runKey(tableRunValue, p.id, sp.class, r.first))
	}
	if r.refs == nil {
		for _, m := range r.outside {
			s.unseal(m)
		}
	}
	for i := range r.refs {
		s.unseal(r.refs[i].msg)
	}
	r.refs, r.outside = nil, nil
}

// unseal takes a run's reference to a body away.
func (s *State) unseal(m *message) {
	m.sealed--
	s.release(m)
}

// evictRuns lets go of runs whose values were committed.
func (s *State) evictRuns() {
	for _, r := range s.written {
		if r.gone {
			continue
		}
		out := 0
		for i := range r.refs {
			if m := r.refs[i].msg; out < len(r.outside) && r.outside[out] == m {
				out++
			} else {
				s.unseal(m)
			}
		}
		r.refs = nil
	}
	s.written = room(s.written)
}

func (s *State) peersPassed(seq Seq) bool {
	for _, p := range s.peers {
		for _, sp := range p.spools {
			if len(sp.runs) > 0 && sp.runs[0].first <= seq || len(sp.refs) > 0 && sp.refs[0].seq <= seq {
				return false
			}
		}
	}
	return true
}

// Spooled is a message that waits for a peer.
type Spooled struct {
	Seq           Seq
	Epoch         Epoch // in which it was numbered
	Message       Message
	Evicted       bool // the message's body must be read from the store under BodyKey
	Live          bool // the peer's interest matched it
	Canary        bool
	Groups        []string // global groups it goes there on behalf of, as "group/filter"
	RetainVersion uint64
}

// Spool appends to dst what waits for a peer in a class, numbered above after,
// up to maxMessages and about maxBytes; at least one message comes if any waits
// in memory. It ends before what SpoolRun finds.
func (s *State) Spool(id ID, class string, after Seq, maxMessages, maxBytes int, dst []Spooled) []Spooled {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spoolByName(id, class)
	if sp == nil {
		return dst
	}
	take := func(refs []spoolRef) (more bool) {
		i, _ := slices.BinarySearchFunc(refs, after+1, func(r spoolRef, seq Seq) int { return compareSeqs(r.seq, seq) })
		for ; i < len(refs) && maxMessages > 0 && maxBytes > 0; i++ {
			r := &refs[i]
			dst = append(dst, Spooled{Seq: r.seq, Epoch: s.epochOf(r.seq), Message: r.msg.Message, Evicted: r.msg.evicted, Live: r.live, Canary: r.canary, Groups: r.groups, RetainVersion: r.version})
			maxMessages--
			maxBytes -= int(r.msg.size)
		}
		return maxMessages > 0 && maxBytes > 0
	}
	for _, r := range sp.runs[sp.runAfter(after):] {
		if r.refs == nil || !take(r.refs) {
			return dst
		}
	}
	take(sp.refs)
	return dst
}

// runAfter is the index of the first run that ends after a number.
func (sp *spool) runAfter(after Seq) int {
	i, _ := slices.BinarySearchFunc(sp.runs, after+1, func(r *run, seq Seq) int { return compareSeqs(r.last, seq) })
	return i
}

// SpoolRun says whether what waits for a peer in a class next after a number is
// a run on the disk, and under which key. DecodeRun reads the value.
func (s *State) SpoolRun(id ID, class string, after Seq) (key []byte, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spoolByName(id, class)
	if sp == nil {
		return nil, false
	}
	if i := sp.runAfter(after); i < len(sp.runs) && sp.runs[i].refs == nil {
		return runKey(tableRunValue, id, class, sp.runs[i].first), true
	}
	return nil, false
}

// Spools says whether a message, which was spooled, still is.
func (s *State) Spools(id ID, class string, seq Seq) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spoolByName(id, class)
	return sp != nil && seq > sp.start
}

// DecodeRun decodes what is under a key that SpoolRun told. Messages whose bodies
// lie elsewhere are Evicted.
func (s *State) DecodeRun(value []byte) ([]Spooled, error) {
	r := reader{b: value}
	list := make([]Spooled, 0, r.count(3))
	s.mu.RLock()
	defer s.mu.RUnlock()
	var seq Seq
	for range cap(list) {
		flags := r.byte()
		seq += Seq(r.uvarint())
		x := Spooled{Seq: seq, Epoch: s.epochOf(seq), Live: flags&1 != 0, Evicted: flags&2 != 0, Canary: flags&4 != 0, RetainVersion: r.uvarint()}
		if flags&8 != 0 {
			x.Groups = r.strings()
		}
		if !x.Evicted {
			x.Message = decodeMessage(&r).Message
			x.Message.Seq = seq
		}
		list = append(list, x)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes behind the last message", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("a run of a spool: %w", r.err)
	}
	return list, nil
}

// run writes a run and, beside it, what is known of it without reading it.
func (w *writer) run(x runID) {
	r := x.run
	b := binary.AppendUvarint(w.buf[:0], uint64(len(r.refs)))
	var last Seq
	for i := range r.refs {
		f := &r.refs[i]
		b = append(b, flag(f.live, 1)|flag(f.msg.evicted, 2)|flag(f.canary, 4)|flag(len(f.groups) > 0, 8))
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.seq-last)), f.version)
		if len(f.groups) > 0 {
			b = appendStrings(b, f.groups)
		}
		last = f.seq
		if f.msg.evicted {
			r.outside = append(r.outside, f.msg)
		} else {
			b = f.msg.encode(b)
		}
	}
	w.emit(runKey(tableRunValue, x.peer.id, x.spool.class, r.first), b)
	w.runRecord(x)
	r.stored = true
}

func (w *writer) runRecord(x runID) {
	r := x.run
	b := w.buf[:0]
	for _, v := range []uint64{uint64(r.last), uint64(r.count), uint64(r.canary), r.bytes, uint64(r.from), uint64(r.to)} {
		b = binary.AppendUvarint(b, v)
	}
	if !w.all { // which bodies lie elsewhere differs from copy to copy
		b = binary.AppendUvarint(b, uint64(len(r.outside)))
		for _, m := range r.outside {
			b = binary.AppendUvarint(b, uint64(m.Seq))
		}
	}
	w.emit(runKey(tableRun, x.peer.id, x.spool.class, r.first), b)
}

func (l *loader) run(key []byte, r *reader) {
	k := keyParts(key, 3, 8, r)
	x := &run{first: Seq(tailNumber(key, r)), last: Seq(r.uvarint()), count: int(r.uvarint()), canary: int(r.uvarint()), bytes: r.uvarint(),
		from: Time(r.uvarint()), to: Time(r.uvarint()), stored: true}
	for range r.count(1) {
		if m := l.held(Seq(r.uvarint()), r); m != nil {
			m.sealed++
			x.outside = append(x.outside, m)
		}
	}
	sp := l.s.spoolByName(ID(k[0]), k[1])
	if sp == nil || r.err != nil {
		r.fail("run of no spool")
		return
	}
	sp.runs = append(sp.runs, x)
	sp.bytes += x.bytes
	sp.waiting += x.count
	sp.canary += x.canary
}

func runKey(table byte, id ID, class string, first Seq) []byte {
	return binary.BigEndian.AppendUint64(joinKey(table, string(id), class, ""), uint64(first))
}
