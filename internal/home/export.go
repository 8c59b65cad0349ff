package home

import (
	"cmp"
	"slices"
)

// ForkFrom compares this copy's lineage with that of the copy in force. diverged says
// that this copy went on to what the other does not have: it is fenced, it cannot be
// brought up to date by records, and its difference is to be exported, unless that is
// Void. A copy that is only behind has none.
func (s *State) ForkFrom(lineage []Span) (f Fork, diverged bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for n < len(lineage) && n < len(s.lineage) && lineage[n].Epoch == s.lineage[n].Epoch {
		n++
	}
	if n == 0 || n == len(lineage) {
		return Fork{}, false
	}
	at := lineage[n]
	if n < len(s.lineage) && s.lineage[n].Record < at.Record {
		at = s.lineage[n]
	}
	f = Fork{Epoch: lineage[n-1].Epoch, From: s.currentEpoch(), First: at.First, After: at.Record, Sessions: at.Sessions}
	// Who was promoted without having heard of the handing over may lack what was before it.
	f.Void = n == len(s.lineage) && s.handed != "" && !at.Unplanned
	return f, s.records > at.Record || s.records == at.Record && s.chain != at.Chain
}

// Exporter gives the difference of a fenced copy, part by part. The copy must not
// change meanwhile. Two exporters of one copy give the same parts for the same sizes.
type Exporter struct {
	s        *State
	fork     Fork
	body     func(Seq) (Message, error)
	part     uint64
	sessions []SessionKey
	groups   []groupKey
	messages []Seq
	found    map[Seq]*found
	tombs    []*MessageExport
	copy     string                      // it is named, as this region's
	mayHave  func(ns, topic string) bool // the region it goes to; nil: everything
	has      []Had
	epochs   []Had // of the lineage, oldest first
}

// found is a message of the difference and who waits for it.
type found struct {
	msg      *message
	refs     []RefExport
	groups   []string
	retained *retained
}

// Export begins to export what this copy went on to behind a fork. body reads a body
// that is on the disk only; it is called without the lock.
func (s *State) Export(f Fork, body func(Seq) (Message, error)) *Exporter {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := &Exporter{s: s, fork: f, body: body, found: map[Seq]*found{}}
	for k, x := range s.sessions {
		if x.half() {
			continue
		}
		e.sessions = append(e.sessions, k)
		e.queue(x)
	}
	for k, g := range s.groups {
		if len(g.queue)+len(g.members)+len(g.owed) > 0 {
			e.groups = append(e.groups, k)
		}
		for _, list := range [][]groupRef{g.queue, g.owed} {
			for i := range list {
				if list[i].msg.Seq >= f.First {
					x := e.at(list[i].msg)
					x.groups = append(x.groups, spaced(k))
				}
			}
		}
	}
	for ns, sp := range *s.spaces.Load() {
		sp.retained.each(func(r *retained) { e.retainedTopic(ns, r) })
	}
	slices.SortFunc(e.sessions, compareKeys)
	slices.SortFunc(e.groups, groupKey.compare)
	slices.SortFunc(e.tombs, func(a, b *MessageExport) int { return cmp.Compare(a.Seq, b.Seq) })
	for seq := range e.found {
		e.messages = append(e.messages, seq)
	}
	slices.Sort(e.messages)
	return e
}

// As names the copy as a region's, so that several that went on from one fork can be told apart,
// and what they had in common is taken in once. The home has to be at feature level 3.
func (e *Exporter) As(region string) *Exporter {
	s := e.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	e.copy = region
	for i, span := range s.lineage {
		to := s.seq
		if i+1 < len(s.lineage) {
			to = s.lineage[i+1].First - 1
		}
		e.epochs = append(e.epochs, Had{Epoch: span.Epoch, To: to})
	}
	for _, h := range e.epochs {
		if h.Epoch.Compare(e.fork.Epoch) >= 0 {
			e.has = append(e.has, h)
		}
	}
	for _, k := range s.copies(true) {
		if x := s.reconciled[k]; x.Done {
			for _, h := range x.has {
				h.Taken = true
				e.has = append(e.has, h)
			}
		}
	}
	e.has = e.has[max(0, len(e.has)-maxHad):]
	return e
}

// For says what the region that the difference goes to may store: the rest goes as a number.
func (e *Exporter) For(mayHave func(ns, topic string) bool) *Exporter {
	e.mayHave = mayHave
	return e
}

// mayGo says whether a message may go as it is.
func (e *Exporter) mayGo(ns, topic string) bool { return e.mayHave == nil || e.mayHave(ns, topic) }

// epochOf is the epoch in which this home gave a number.
func (e *Exporter) epochOf(seq Seq) Epoch {
	i := slices.IndexFunc(e.epochs, func(h Had) bool { return seq <= h.To })
	if i < 0 {
		return e.fork.From
	}
	return e.epochs[i].Epoch
}

func spaced(k groupKey) string { return k.name + "/" + k.filter }

func (e *Exporter) at(m *message) *found {
	x := e.found[m.Seq]
	if x == nil {
		x = &found{msg: m}
		e.found[m.Seq] = x
	}
	return x
}

// queue collects what waits for a session. What a shared subscription assigned to it,
// at QoS 1, waits for the group again: the session's connection is gone.
func (e *Exporter) queue(x *session) {
	x.queue.each(Range{0, ^uint64(0)}, func(r *ref) {
		switch {
		case r.msg.Seq < e.fork.First:
		case r.group != nil && r.qos == 1:
			m := e.at(r.msg)
			m.groups = append(m.groups, spaced(r.group.group.key))
		default:
			m := e.at(r.msg)
			m.refs = append(m.refs, RefExport{Session: x.key, Life: x.id, Num: r.num, QoS: r.qos, Retain: r.retain,
				Received: r.state == refReceived, SubIDs: r.subIDs})
		}
	})
	if x.owed == nil {
		return
	}
	x.owed.each(Range{0, ^uint64(0)}, func(r *ref) {
		if r.msg.Seq >= e.fork.First {
			m := e.at(r.msg)
			m.refs = append(m.refs, RefExport{Session: x.key, Life: x.id, Num: r.num - owedFrom, QoS: r.qos, Retain: r.retain, SubIDs: r.subIDs})
		}
	})
}

func (e *Exporter) retainedTopic(ns string, r *retained) {
	switch {
	case r.seq < e.fork.First:
	case r.msg != nil:
		e.at(r.msg).retained = r
	default:
		e.tombs = append(e.tombs, &MessageExport{Message: Message{Seq: r.seq, Namespace: ns, Topic: r.topic, Retain: true},
			At: r.at, RetainVersion: r.version, RetainHome: r.home})
	}
}

// Next returns the next part, of about max bytes. The last one is Done.
func (e *Exporter) Next(max int) (*Reconcile, error) {
	e.part++
	op := &Reconcile{Fork: e.fork, Part: e.part}
	if e.copy != "" {
		op.Copy, op.End, op.Has = e.copy, e.s.Position().Records, e.has
	}
	for size := 0; size < max; {
		n, err := e.step(op)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			op.Done = true
			break
		}
		size += n
	}
	return op, nil
}

// step adds one thing to a part and returns its size; 0: there is nothing left.
func (e *Exporter) step(op *Reconcile) (size int, err error) {
	switch {
	case len(e.sessions) > 0:
		x := e.session(e.sessions[0])
		if e.sessions = e.sessions[1:]; x.Will != nil && !x.Will.Withheld && !e.mayGo(x.Session.Namespace, x.Will.Topic) {
			w := *x.Will
			w.veil()
			x.Will = &w
		}
		op.Sessions = append(op.Sessions, x)
		return x.size(), nil
	case len(e.groups) > 0:
		g := e.group(e.groups[0])
		e.groups = e.groups[1:]
		op.Groups = append(op.Groups, g)
		return 32 + 5*len(g.Left), nil
	case len(e.tombs) > 0:
		m := e.tombs[0]
		if e.tombs = e.tombs[1:]; e.mayGo(m.Namespace, m.Topic) {
			op.Messages = append(op.Messages, *m)
		}
		return m.size(), nil
	case len(e.messages) > 0:
		m, err := e.message(e.messages[0])
		if err != nil {
			return 0, err
		}
		op.Messages = append(op.Messages, m)
		return m.size(), nil
	}
	return 0, nil
}

func (e *Exporter) session(k SessionKey) SessionExport {
	e.s.mu.RLock()
	defer e.s.mu.RUnlock()
	x := e.s.sessions[k]
	if x == nil {
		return SessionExport{Session: k}
	}
	o := x.export()
	if e.copy == "" {
		o.Fresh = 0 // the home may be older
	}
	return o
}

// export describes a session as it is.
func (x *session) export() SessionExport {
	o := SessionExport{Session: x.key, Life: x.id, Epoch: x.epoch, Attached: x.attached(), Transient: x.transient, Expiry: x.expiry,
		Window: x.window, Will: x.will, Fresh: x.fresh, NextRef: x.nextRef, Resumed: x.resumed}
	for _, f := range x.filters() {
		o.Subs = append(o.Subs, x.subs[f].Subscription)
	}
	for id, hash := range x.inbound {
		o.Inbound = append(o.Inbound, InboundID{id, hash})
	}
	slices.SortFunc(o.Inbound, func(a, b InboundID) int { return cmp.Compare(a.ID, b.ID) })
	left := x.owedNumbers()
	x.queue.each(Range{0, ^uint64(0)}, func(r *ref) {
		left = append(left, r.num)
		if r.state == refReceived {
			o.Received = extend(o.Received, r.num)
		}
	})
	slices.Sort(left)
	for _, n := range left {
		o.Left = extend(o.Left, n)
	}
	return o
}

// extend adds a number to ranges that end below it.
func extend(list []Range, n uint64) []Range {
	if last := len(list) - 1; last >= 0 && list[last].To+1 == n {
		list[last].To = n
		return list
	}
	return append(list, Range{n, n})
}

// group lists what of a shared subscription nobody has acknowledged, of what both
// copies had.
func (e *Exporter) group(k groupKey) GroupExport {
	e.s.mu.RLock()
	defer e.s.mu.RUnlock()
	o := GroupExport{Namespace: k.space, Name: k.name, Filter: k.filter}
	g := e.s.groups[k]
	if g == nil {
		return o
	}
	add := func(seq Seq) {
		if seq < e.fork.First {
			o.Left = append(o.Left, seq)
		}
	}
	for i := range g.queue {
		add(g.queue[i].msg.Seq)
	}
	for i := range g.owed {
		add(g.owed[i].msg.Seq)
	}
	for _, m := range g.members {
		m.session.queue.each(Range{0, ^uint64(0)}, func(r *ref) {
			if r.group == m {
				add(r.msg.Seq)
			}
		})
	}
	slices.Sort(o.Left)
	o.Left = slices.Compact(o.Left)
	return o
}

// refsInPart bounds how many sessions wait for a message in one part.
const refsInPart = 4096

// message describes a message, with as many of those who wait for it as fit a part.
func (e *Exporter) message(seq Seq) (MessageExport, error) {
	f := e.found[seq]
	e.s.mu.RLock()
	o := MessageExport{Message: f.msg.Message, At: f.msg.at, Groups: f.groups}
	if src := f.msg.source; src != nil {
		o.Source, o.SourceSeq, o.Class = src.Source, f.msg.sourceSeq, src.class
	} else if e.copy != "" {
		o.Source, o.SourceSeq = Source{e.s.id, e.epochOf(seq)}, seq
	}
	if w := f.msg.will; w != nil {
		o.Will, o.WillOf = w.session, w.epoch
	}
	if r := f.retained; r != nil {
		o.RetainVersion, o.RetainHome = r.version, r.home
	}
	evicted := f.msg.evicted
	e.s.mu.RUnlock()
	if evicted {
		m, err := e.body(seq)
		if err != nil {
			return o, err
		}
		o.Message = m
	}
	if o.Size = f.msg.size; !o.Withheld && !e.mayGo(o.Namespace, o.Topic) {
		o.veil()
	}
	slices.SortFunc(f.refs, func(a, b RefExport) int { return compareKeys(a.Session, b.Session) })
	slices.Sort(f.groups)
	n := min(len(f.refs), refsInPart)
	o.Refs, f.refs = f.refs[:n], f.refs[n:]
	f.groups, f.retained = nil, nil
	if len(f.refs) == 0 {
		e.messages = e.messages[1:]
	}
	return o, nil
}

// Divergence is what a fenced copy has that the copy in force has not, before anything
// of it is sent.
type Divergence struct {
	Fork     Fork
	Messages int
	Bytes    uint64
	Refs     int // references of sessions
	Groups   int // messages that wait in shared subscriptions
	Retained int // retained messages and deletions
	Sessions int // that began there
	Wills    int
	ByClass  map[string]int // messages
	ByAge    [5]int         // messages up to a minute, ten minutes, an hour, a day, and older
	Attached int            // references of sessions that were attached at the end
	Oldest   Time           // home time at which the oldest was published; 0: not known
	Until    Time           // home time at the end of the copy
}

// Ages are the upper bounds of Divergence.ByAge in seconds; the last has none.
var Ages = [...]int{60, 600, 3600, 86400}

// Divergence counts what Export would give. Topics of bodies on the disk are not read:
// such messages are in class "?".
func (s *State) Divergence(f Fork) Divergence {
	e := s.Export(f, nil)
	s.mu.RLock()
	defer s.mu.RUnlock()
	d := Divergence{Fork: f, Until: s.time, ByClass: map[string]int{}, Retained: len(e.tombs)}
	for _, x := range s.sessions {
		if x.id > uint64(f.Sessions) {
			d.Sessions++
		}
	}
	for _, m := range e.found {
		d.count(s, m)
	}
	return d
}

func (d *Divergence) count(s *State, f *found) {
	d.Messages++
	d.Bytes += uint64(f.msg.size)
	d.Refs += len(f.refs)
	d.Groups += len(f.groups)
	if f.retained != nil {
		d.Retained++
	}
	if f.msg.will != nil {
		d.Wills++
	}
	for i := range f.refs {
		if s.sessions[f.refs[i].Session].attached() {
			d.Attached++
		}
	}
	d.ByClass[s.classOf(f.msg)]++
	at := f.msg.at
	if at == 0 {
		return
	}
	if d.Oldest == 0 || at < d.Oldest {
		d.Oldest = at
	}
	age := s.time.Sub(at).Seconds()
	i := slices.IndexFunc(Ages[:], func(n int) bool { return age <= float64(n) })
	if i < 0 {
		i = len(Ages)
	}
	d.ByAge[i]++
}

// classOf is the class that the first peer with classes puts a message in.
func (s *State) classOf(m *message) string {
	if m.evicted {
		return "?"
	}
	for _, p := range s.peersInOrder() {
		if len(p.spools) > 1 {
			return p.spoolOf(m.Topic).class
		}
	}
	return ""
}
