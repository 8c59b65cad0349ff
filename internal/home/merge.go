package home

import "slices"

// merging is a reconciliation at work.
type merging struct {
	*State
	op   *Reconcile
	key  copyKey
	base *Span // the epoch that began at the fork; nil: not of this lineage, so nothing can be told of what both copies have
	sum  *Reconciliation
}

func (s *State) reconcile(op *Reconcile) Outcome {
	key := op.key()
	sum := s.reconciled[key]
	if sum == nil {
		sum = &Reconciliation{}
	}
	switch {
	case op.Part <= sum.Part:
		return Outcome{}
	case op.Part > sum.Part+1 || sum.Done || op.Fork.From.Compare(s.currentEpoch()) >= 0:
		return Outcome{Code: CodeGap, Seq: Seq(sum.Part)}
	}
	if s.reconciled == nil {
		s.reconciled = map[copyKey]*Reconciliation{}
	}
	s.reconciled[key] = sum
	m := merging{s, op, key, s.spanAt(op.Fork), sum}
	before := sum.Delivered
	if op.Copy != "" {
		sum.named, sum.end, sum.has = true, op.End, slices.Clone(op.Has)
	}
	if m.hadWhole() { // another copy went the same way, and further
		sum.Known += uint64(len(op.Messages))
		op = &Reconcile{Fork: op.Fork, Part: op.Part, Done: op.Done}
		m.op = op
	}
	for i := range op.Sessions {
		m.session(&op.Sessions[i])
	}
	for i := range op.Groups {
		m.group(&op.Groups[i])
	}
	for i := range op.Messages {
		m.message(&op.Messages[i], i)
	}
	sum.Part, sum.Done = op.Part, op.Done
	s.note(effectReconciled, op.Part, sum.Delivered)
	s.changes.failover = true
	if op.Done {
		s.forgetWills()
	}
	return Outcome{Count: int(sum.Delivered - before)}
}

// spanAt is the unplanned epoch that began where the fenced copy went another way.
func (s *State) spanAt(f Fork) *Span {
	i := slices.IndexFunc(s.lineage, func(x Span) bool { return x.Unplanned && x.First == f.First && x.Record == f.After })
	if i < 1 || s.lineage[i-1].Epoch != f.Epoch {
		return nil
	}
	return &s.lineage[i]
}

// session merges the final state of a session.
func (m *merging) session(e *SessionExport) {
	x := m.of(e.Session)
	young := e.Life > uint64(m.op.Fork.Sessions)
	switch {
	case x != nil && x.still(): // it stands, and its references are given, or brought, under the numbers they have
	case m.again(x) && x.inherited.merged == m.op.Fork.From.Number && x.inherited.life == e.Life:
		m.takeOver(x, e)
	case m.again(x):
		if x.id == e.Life {
			m.removeAcked(x, e, 0)
		}
	case x == nil && young && !e.Transient:
		m.begin(e)
	case x == nil || x.id != e.Life || young || x.transient || m.base == nil:
		// It ended here, or is another one, or which references both have cannot be told.
	case x.epoch > m.op.Fork.Sessions:
		m.removeAcked(x, e, max(x.resumed, x.queue.sentThrough(x.sendWindow())))
	default:
		m.takeOver(x, e)
	}
}

// of is the session that goes on here. What one left behind at the fenced copy belongs to it, where the move is not known.
func (m *merging) of(k SessionKey) *session {
	if x := m.sessions[k]; x != nil || !k.remains() {
		return x
	}
	return m.sessions[k.Device()]
}

// again says that another copy was taken in since the fork, that the session was taken over from
// that one, and that nobody has attached it since.
func (m *merging) again(x *session) bool {
	if x == nil || x.inherited == nil || m.base == nil || m.op.Copy == "" {
		return false
	}
	h := x.inherited
	return h.base == m.base.Epoch.Number && h.at == x.epoch && !x.transient
}

// had says that another copy that was taken in had a message of this home.
func (m *merging) had(e Epoch, seq Seq) bool {
	for k, r := range m.reconciled {
		if k == m.key {
			continue
		}
		for _, h := range r.has {
			if h.Epoch == e && seq <= h.To && (r.Done || !h.Taken && seq < r.at) {
				return true
			}
		}
	}
	return false
}

// hadWhole says that a copy of the same epoch was taken in that has all that this one has.
func (m *merging) hadWhole() bool {
	if m.op.Copy == "" {
		return false
	}
	for k, r := range m.reconciled {
		if k != m.key && k.from == m.key.from && r.Done && len(r.has) > 0 && r.end >= m.op.End {
			return true
		}
	}
	return false
}

// copyHad says that the copy that is taken in has had a message that came with another one.
func (m *merging) copyHad(msg *message) bool {
	return msg.source != nil && msg.source.Home == m.id && slices.ContainsFunc(m.op.Has, func(h Had) bool {
		return h.Epoch == msg.source.Epoch && msg.sourceSeq <= h.To
	})
}

// shared is the last reference of a session that both copies have.
func (m *merging) shared(x *session) uint64 {
	if m.again(x) && x.inherited.merged == m.op.Fork.From.Number {
		return x.inherited.to
	}
	return m.sharedAtFork(x)
}

func (m *merging) sharedAtFork(x *session) uint64 {
	if x.inherited == nil {
		return 0
	}
	for _, u := range x.inherited.shared {
		if u.epoch == m.base.Epoch.Number {
			return u.ref
		}
	}
	return 0
}

// removeAcked removes what the device acknowledged at the fenced copy, above a
// reference: what this host may have sent already the device will acknowledge itself.
// [C2]
func (m *merging) removeAcked(x *session, e *SessionExport, above uint64) {
	var gone []uint64
	upTo, both := m.shared(x), m.sharedAtFork(x)
	again := m.again(x)
	if again {
		upTo = max(upTo, x.inherited.to)
	}
	x.queue.each(Range{above + 1, upTo}, func(r *ref) {
		had := r.num <= both && r.msg.Seq < m.op.Fork.First || again && m.copyHad(r.msg)
		if had && r.group == nil && !inRanges(e.Left, r.num) {
			gone = append(gone, r.num)
		}
	})
	for _, num := range gone {
		if r := x.queue.find(num); r != nil {
			m.remove(x, r)
			m.sum.Removed++
		}
	}
	for _, num := range x.owedNumbers() { // this host sent none of it
		r := x.owed.find(owedFrom + num)
		had := num <= both && r.msg.Seq < m.op.Fork.First || again && m.copyHad(r.msg)
		if had && (!inRanges(e.Left, num) || inRanges(e.Received, num)) {
			m.unowe(x, r)
			m.sum.Removed++
		}
	}
}

func inRanges(list []Range, n uint64) bool {
	return slices.ContainsFunc(list, func(r Range) bool { return r.From <= n && n <= r.To })
}

// takeOver makes a session go on as it was at the fenced copy: nobody was attached
// here since, so no packet id was given to another message. What came here meanwhile
// goes behind what came there.
func (m *merging) takeOver(x *session, e *SessionExport) {
	m.removeAcked(x, e, 0)
	shared := m.shared(x)
	if e.NextRef > shared {
		m.renumber(x, shared, e.NextRef-shared)
	}
	for _, rg := range e.Received {
		x.queue.each(Range{rg.From, min(rg.To, shared)}, func(r *ref) {
			if r.state == refQueued {
				r.state = refReceived
				m.changes.ref(x, r)
			}
		})
	}
	x.resumed = max(x.resumed, e.Resumed)
	if e.Attached {
		x.resumed = max(x.resumed, x.queue.sentThrough(x.sendWindow()))
	}
	m.same(x, e)
	m.subscriptions(x, e)
	x.inherited.stale = Range{}
	m.merged(x, e)
	if e.Epoch > x.epoch { // it was attached there again: that will counts
		m.awaitWill(x, e.Will)
	}
}

// same takes over what a session is.
func (m *merging) same(x *session, e *SessionExport) {
	x.expiry, x.window = e.Expiry, e.Window
	x.inbound = nil
	if len(e.Inbound) > 0 {
		x.inbound = map[uint16]uint64{}
	}
	for _, id := range e.Inbound {
		x.inbound[id.ID] = id.Hash
	}
	if x.expireAt = 0; x.expiry != neverExpires {
		m.expireIn(x, x.expiry)
	}
	m.note(effectMerged, x.id, x.nextRef)
	m.changes.session(x)
}

// subscriptions makes those of a session what they were at the fenced copy.
func (m *merging) subscriptions(x *session, e *SessionExport) {
	for _, f := range x.filters() {
		if !slices.ContainsFunc(e.Subs, func(s Subscription) bool { return s.Filter == f }) {
			m.unsubscribeFilter(x, f)
		}
	}
	for _, sub := range e.Subs {
		if old := x.subs[sub.Filter]; old != nil {
			if old.Subscription == sub {
				continue
			}
			sub.RetainHandling = 2 // it had its retained messages
			m.subscribeFilter(x, sub)
			continue
		}
		m.subscribeFilter(x, sub)
	}
}

// awaitWill makes a session that nobody owns wait for its device, with its will.
func (m *merging) awaitWill(x *session, w *Will) {
	x.will, x.willAt, x.moved = nil, 0, false
	if w == nil {
		return
	}
	own := *w
	own.kept = w.Withheld || m.restricted(x.key.Namespace, w.Topic)
	own.Payload, own.Forward = slices.Clone(w.Payload), slices.Clone(w.Forward)
	x.will, x.moved = &own, true
	delay := min(max(w.Delay, m.willGrace(), m.takeover.Grace), x.expiry)
	x.willAt = m.time.Add(seconds(delay))
	m.arm(timer{x.willAt, timerWill, x.key, x.epoch})
	m.note(effectTimed, uint64(x.willAt), 0)
}

// begin takes over a session that began at the fenced copy.
func (m *merging) begin(e *SessionExport) {
	if uint64(len(m.sessions)) >= m.config.Load().limits().Sessions || e.Expiry == 0 || e.Session.remains() {
		return
	}
	m.epoch++
	x := &session{key: e.Session, id: uint64(m.epoch), epoch: m.epoch, nextRef: e.NextRef, resumed: e.Resumed, fresh: e.Fresh, inherited: &inheritance{}}
	x.unstored = x.nextRef
	m.admit(x)
	if e.Attached {
		x.resumed = max(x.resumed, e.NextRef)
	}
	m.same(x, e)
	m.subscriptions(x, e)
	m.merged(x, e)
	m.awaitWill(x, e.Will)
	m.sum.Imported++
}

// merged notes from which copy a session was taken over.
func (m *merging) merged(x *session, e *SessionExport) {
	h := x.inherited
	h.merge(m.op.Fork, e.Life, x.epoch)
	if m.op.Copy != "" && m.base != nil {
		h.base, h.to = m.base.Epoch.Number, max(e.NextRef, m.sharedAtFork(x))
	}
}

// renumber moves the references above one up.
func (m *merging) renumber(x *session, above, by uint64) {
	for i := x.queue.from(above + 1); i < len(x.queue.refs); i++ {
		r := &x.queue.refs[i]
		if r.state != refGone && r.stored {
			m.changes.deleteRef(x.id, r.num)
		}
		r.num += by
		r.stored, r.dirty = false, false
	}
	x.nextRef += by
	x.unstored = min(x.unstored, above)
	m.note(effectMerged, x.id<<32^above, by)
	m.changes.session(x)
}

// group removes from a shared subscription what its members acknowledged at the fenced
// copy.
func (m *merging) group(e *GroupExport) {
	g := m.groups[groupKey{e.Namespace, e.Name, e.Filter}]
	if g == nil || m.base == nil {
		return
	}
	g.queue = slices.DeleteFunc(g.queue, func(r groupRef) bool {
		if _, left := slices.BinarySearch(e.Left, r.msg.Seq); left || r.msg.Seq >= m.op.Fork.First {
			return false
		}
		m.dropGroupRef(g, &r)
		m.note(effectTrimmed, uint64(r.msg.Seq), 1)
		m.sum.Removed++
		return true
	})
	for i := len(g.owed) - 1; i >= 0; i-- {
		if _, left := slices.BinarySearch(e.Left, g.owed[i].msg.Seq); !left && g.owed[i].msg.Seq < m.op.Fork.First {
			m.unoweGroup(g, i)
			m.sum.Removed++
		}
	}
	m.changes.group(g)
}

// message takes in a message and gives it to who still waited for it.
func (m *merging) message(e *MessageExport, at int) {
	pl := m.place(e.Namespace, e.Topic, e.RetainVersion != 0, e.Withheld, at)
	m.take(e, pl)
	if pl != nil && !pl.given && pl.code == CodeOK {
		pl.code = codeDelivered
	}
}

// What became of a message of a reconciliation, as it is noted for a copy that may not
// store it.
const (
	codeDelivered Code = 2
	codeRefused   Code = 3
	codeExpired   Code = 4
	codeReported  Code = 5
	codeWithheld  Code = 6 // delivered as a number: this host may not store it
)

// fate decides what becomes of a message that came late.
func (m *merging) fate(msg *message, e *MessageExport, at Time) Code {
	switch pl := msg.place; {
	case pl.isGiven():
		return pl.code
	case e.Withheld && m.Level() >= LevelOf(KindOwe):
		return pl.refuse(codeWithheld)
	case e.Withheld || !m.mayStay(e.Namespace, e.Topic):
		return pl.refuse(codeRefused)
	case msg.expired(m.time):
		return pl.refuse(codeExpired)
	case !m.replay(e.Topic, m.time.Sub(at)):
		return pl.refuse(codeReported)
	}
	return codeDelivered
}

func (m *merging) take(e *MessageExport, pl *placing) {
	msg := newMessage(e.Message)
	m.settle(msg, pl, e.Withheld, e.Size)
	at := e.At
	if at == 0 {
		at = m.time // of an older build: not known
	}
	src := origin{Source{m.id, m.op.Fork.From}, ""}
	msg.sourceSeq = e.Seq
	if e.Source.Home != "" {
		src, msg.sourceSeq = origin{e.Source, e.Class}, e.SourceSeq
	}
	waiting := uint64(len(e.Refs) + len(e.Groups))
	if m.alreadyHere(e) {
		return
	}
	if src.Home == m.id && m.had(src.Epoch, msg.sourceSeq) {
		m.sum.Known++
		return
	}
	m.sum.at = max(m.sum.at, e.Seq)
	msg.source = m.source(src)
	m.number(msg)
	msg.at = at
	fate := m.fate(msg, e, at)
	if e.RetainVersion != 0 && fate != codeRefused && fate != codeWithheld {
		m.retain(msg, e.RetainVersion, e.RetainHome)
	}
	msg.place = nil
	switch fate {
	case codeRefused:
		m.sum.Refused += waiting
		m.sink.Dropped("reconcile", DropResidency, int(waiting))
	case codeExpired:
		m.sum.Expired += waiting
	case codeReported:
		m.sum.Reported += waiting
	default:
		m.deliver(msg, e)
	}
}

// alreadyHere says that this copy got a message by another way: by its link, or as the
// will of the same connection.
func (m *merging) alreadyHere(e *MessageExport) bool {
	if e.WillOf != 0 && e.WillOf <= m.op.Fork.Sessions {
		k := attachKey{e.Will, e.WillOf}
		if _, fired := m.fired[k]; fired {
			m.sum.Wills++
			return true
		}
		if x := m.sessions[e.Will]; x != nil && !x.attached() && x.epoch == e.WillOf {
			x.will, x.willAt, x.moved = nil, 0, false
			m.changes.session(x)
		}
	}
	if e.Source.Home == "" || e.Source.Home == m.id && m.op.Copy != "" {
		return false
	}
	key := cursorKey{e.Source, e.Class}
	if at, known := m.cursors[key]; known && e.SourceSeq <= at {
		m.sum.Known++
		return true
	}
	m.expect(key, e.SourceSeq)
	return false
}

// deliver gives a message to the sessions and groups that waited for it.
func (m *merging) deliver(msg *message, e *MessageExport) {
	for i := range e.Refs {
		f := &e.Refs[i]
		x := m.of(f.Session)
		switch {
		case x == nil || !m.sameLife(x, f.Life):
			m.sum.Other++
		case x.brings(f.Num):
			m.sum.Known++
		case m.insertable(x):
			m.insert(x, msg, f)
			m.sum.Delivered++
		case m.enqueue(x, msg, ref{qos: f.QoS, retain: f.Retain, subIDs: f.SubIDs}):
			m.sum.Delivered++
		default:
			m.sum.Refused++
		}
	}
	for _, text := range e.Groups {
		m.gen++
		m.arrived(msg, text)
		m.sum.Delivered++
	}
}

// sameLife says that a session is the one that the fenced copy had.
func (m *merging) sameLife(x *session, life uint64) bool {
	h := x.inherited
	if h != nil && h.merged == m.op.Fork.From.Number && h.life == life {
		return true
	}
	return x.id == life && life <= uint64(m.op.Fork.Sessions)
}

// insertable says that nobody was attached to the session since it was merged, so that
// references keep the numbers they had at the fenced copy.
func (m *merging) insertable(x *session) bool {
	h := x.inherited
	return h != nil && h.merged == m.op.Fork.From.Number && h.at == x.epoch
}

// insert puts a reference where it was.
func (m *merging) insert(x *session, msg *message, f *RefExport) {
	r := ref{num: f.Num, msg: msg, qos: f.QoS, retain: f.Retain, subIDs: f.SubIDs, stored: true}
	if f.Received {
		r.state = refReceived
	}
	m.hold(msg)
	i := x.queue.from(f.Num)
	x.queue.refs = slices.Insert(x.queue.refs, i, r)
	x.queue.live++
	x.queue.bytes += uint64(msg.size)
	x.queue.expires(msg.Expires)
	m.counts.waits(msg, 1)
	m.note(effectQueued, x.id<<32^r.num, uint64(msg.Seq)<<2|uint64(r.qos))
	m.changes.ref(x, &x.queue.refs[i])
	m.changes.session(x)
}

// willFired remembers, after an unplanned promotion, which wills of connections from
// before it were published: the lost host may have published them as well.
func (s *State) willFired(x *session, msg *message) {
	if s.Level() < 2 {
		return
	}
	msg.will = &attachKey{x.key, x.epoch}
	if base := s.lastUnplanned(); base != nil && x.epoch <= base.Sessions {
		if s.fired == nil {
			s.fired = map[attachKey]struct{}{}
		}
		s.fired[*msg.will] = struct{}{}
		s.changes.fired[*msg.will] = struct{}{}
	}
}

func (s *State) lastUnplanned() *Span {
	for i := len(s.lineage) - 1; i >= 0; i-- {
		if s.lineage[i].Unplanned {
			return &s.lineage[i]
		}
	}
	return nil
}

// forgetWills lets go of what was kept for a reconciliation.
func (s *State) forgetWills() {
	for k := range s.fired {
		s.changes.fired[k] = struct{}{}
	}
	s.fired = nil
}

// expect notes a message that came with a reconciliation, ahead of its link, which may
// bring it once more.
func (s *State) expect(key cursorKey, seq Seq) {
	if s.ahead == nil {
		s.ahead = map[cursorKey][]Seq{}
	}
	list := s.ahead[key]
	if i, found := slices.BinarySearch(list, seq); !found {
		s.ahead[key] = slices.Insert(list, i, seq)
		s.changes.cursor(key)
	}
}

// cameAhead says whether a message of a frame came with a reconciliation.
func (s *State) cameAhead(key cursorKey, seq Seq) bool {
	_, found := slices.BinarySearch(s.ahead[key], seq)
	return found
}

// passed forgets what came ahead and is behind the cursor now.
func (s *State) passed(key cursorKey, to Seq) {
	if list := s.ahead[key]; len(list) > 0 {
		i, _ := slices.BinarySearch(list, to+1)
		if s.ahead[key] = list[i:]; i == len(list) {
			delete(s.ahead, key)
		}
	}
}
