package handover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"causeway/internal/home"
	"causeway/internal/sim"
)

// world is a few homes with links, in one goroutine, on a clock of its own, from a seed. The
// homes are the real state machine, the questions the real ones; the links, the logs and the
// devices are models. Devices roam, links are cut, nodes die and come back with what their log
// has. The checker knows only what devices sent and saw.
type world struct {
	sim.Timeline
	sites   []*site
	cut     map[[2]home.ID]bool
	devices []*device
	plant   fault
	said    []string
	calm    bool
	merged  int  // times that a session was found to be one of two
	fails   bool // homes go on at their standbys now and then
	lost    int  // times that one did without its host's word
	strike  strike
	create  bool // regions that do not answer are not waited for
}

// strike is one thing that goes wrong at one step of a move.
type strike struct {
	at   int // which of the steps, from 1; 0: none
	step int // so many were taken
	what func(*site)
}

// strikes has what goes wrong go wrong if this is the step.
func (w *world) strikes(s *site) bool {
	if w.strike.step++; w.strike.step != w.strike.at {
		return false
	}
	w.say("now it happens, at %s", s.id)
	w.strike.what(s)
	return true
}

type fault string

// Mistakes that must show.
const (
	none        fault = ""
	noHold      fault = "what comes by its own way is not held"
	noStrays    fault = "what came where the session was is left there"
	eager       fault = "a home counts as settled before it is asked"
	twoServe    fault = "the former home serves on"
	discards    fault = "of two sessions of a device one is ended with what waits for it"
	forgetClaim fault = "a claim is forgotten though the session was given to it"
	unshipped   fault = "nobody waits for a standby"
)

func (w *world) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf("%9.3fs ", w.Now().Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.Violated(fmt.Errorf(format, args...))
}

// site is a region of one node and the home it serves.
type site struct {
	w     *world
	id    home.ID
	state *home.State
	store map[string][]byte
	run   home.Incarnation
	n     uint64
	conns map[home.SessionKey]*conn
	take  map[home.SessionKey]*Taker
	next  map[home.SessionKey]time.Duration
	dirs  []*Follower
	dirty map[home.SessionKey]bool
	life  int
	down  bool
	flaky bool // the next operation fails: before, or after it was entered
	copy  *copied
}

// copied is the copy of a home at its standby, which is behind by some records.
type copied struct {
	state *home.State
	store map[string][]byte
	due   [][]byte
}

var errCrash = errors.New("it died")

func newSite(w *world, id home.ID) *site {
	s := &site{w: w, id: id, state: home.New(), store: map[string][]byte{}, run: 1}
	s.do(&home.Genesis{Home: id, Epoch: home.Epoch{Number: 1, Host: string(id)}})
	s.do(&home.Raise{Level: home.MaxLevel})
	s.keepCopy()
	s.begin()
	return s
}

// begin is the start of a run.
func (s *site) begin() {
	s.life++
	s.conns, s.take, s.next, s.dirty = map[home.SessionKey]*conn{}, map[home.SessionKey]*Taker{}, map[home.SessionKey]time.Duration{}, map[home.SessionKey]bool{}
	s.dirs = nil
	s.state.EnableDirectory(uint64(s.life))
	s.do(&home.NodeUp{})
}

func (s *site) do(ops ...home.Op) (out home.Outcome) {
	s.n++
	id := s.id
	rec := home.Record{Home: id, Time: home.Time(time.Hour + s.w.Now()), Entries: []home.Entry{{Owner: home.Owner{Node: home.NodeID(id), Incarnation: s.run}, N: s.n, Ops: ops}}}
	b := rec.Append(nil)
	back, err := home.DecodeRecord(b)
	if s.copy != nil {
		s.copy.due = append(s.copy.due, b)
	}
	if err == nil {
		err = s.state.Apply(&back, siteSink{s}, func(_ *home.Entry, _ int, o home.Outcome) { out = o })
	}
	if err != nil {
		s.w.fail("%s: %v", s.id, err)
	}
	for _, k := range keysOf(s.dirty) {
		delete(s.dirty, k)
		if c := s.conns[k]; c != nil {
			c.drain()
		}
	}
	return out
}

func keysOf(m map[home.SessionKey]bool) (list []home.SessionKey) {
	for k := range m {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b home.SessionKey) int { return strings.Compare(a.ClientID, b.ClientID) })
	return list
}

// crash ends the run; another one begins with what is on the disk, which is all.
func (s *site) crash() {
	w := s.w
	w.say("%s dies", s.id)
	s.state.Flush(func(k, v []byte) { s.store[string(k)] = slices.Clone(v) }, func(k []byte) { delete(s.store, string(k)) })
	before := s.state.Digest()
	s.hangUp()
	st := s.load()
	if st == nil {
		return
	}
	if st.Digest() != before {
		w.fail("%s is another home after a restart", s.id)
	}
	s.state = st
	s.rest()
}

func (s *site) rest() {
	s.down = true
	s.w.After(s.w.UpTo(500*time.Millisecond), func() {
		s.down = false
		s.run++
		s.n = 0
		s.begin()
	})
}

func (s *site) hangUp() {
	for _, d := range s.w.devices {
		if c := s.conns[d.key]; c != nil {
			c.over = true
			d.lost(c)
		}
	}
	s.conns = map[home.SessionKey]*conn{}
}

// load reads what is on the disk; nil: it cannot be read.
func (s *site) load() *home.State {
	keys := slices.Sorted(maps.Keys(s.store))
	st, err := home.Load(func(fn func(k, v []byte) error) error {
		for _, k := range keys {
			if err := fn([]byte(k), s.store[k]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.w.fail("%s: load: %v", s.id, err)
	}
	return st
}

// keepCopy gives the home's standby all that there is.
func (s *site) keepCopy() {
	s.state.Flush(func(k, v []byte) { s.store[string(k)] = slices.Clone(v) }, func(k []byte) { delete(s.store, string(k)) })
	s.copy = &copied{state: s.load(), store: maps.Clone(s.store)}
}

// ship brings the standby up to date.
func (s *site) ship() {
	for ; len(s.copy.due) > 0; s.copy.due = s.copy.due[1:] {
		rec, err := home.DecodeRecord(s.copy.due[0])
		if err == nil {
			err = s.copy.state.Apply(&rec, nobody{}, func(*home.Entry, int, home.Outcome) {})
		}
		if err != nil {
			s.w.fail("the standby of %s: %v", s.id, err)
			return
		}
	}
}

// shipOn brings the standby up to date all the time, and never quite.
func (s *site) shipOn() {
	lag := 100 * time.Millisecond
	if s.w.plant == unshipped {
		lag = 2 * time.Second
	}
	s.w.After(s.w.UpTo(lag), s.shipOn)
	s.ship()
}

// goOn has the home go on at its standby, as planned or with what that has.
func (s *site) goOn(planned bool) {
	w, e := s.w, s.state.Epoch()
	w.say("%s goes on at its standby, planned: %t; %d records were not there", s.id, planned, len(s.copy.due))
	if planned {
		s.do(&home.Hand{Epoch: e, To: "standby"})
		s.ship()
	} else {
		w.lost++
	}
	s.hangUp()
	rec := home.Record{Home: s.id, Time: home.Time(time.Hour + w.Now()), Entries: []home.Entry{{Ops: []home.Op{
		&home.Promote{Epoch: home.Epoch{Number: e.Number + 1, Host: string(s.id) + "-b"}, Planned: planned}}}}}
	s.copy.due = [][]byte{rec.Append(nil)}
	s.ship()
	s.state, s.store, s.flaky = s.copy.state, s.copy.store, false
	s.keepCopy()
	s.life++
	s.rest()
}

// asHome is a site as Takers and Givers see it.
type asHome struct{ s *site }

func (h asHome) State() *home.State { return h.s.state }
func (h asHome) Now() home.Time     { return home.Time(time.Hour + h.s.w.Now()) }

func (h asHome) Do(_ context.Context, op home.Op) (home.Outcome, error) {
	if h.s.down {
		return home.Outcome{}, errCrash
	}
	if h.s.flaky {
		h.s.flaky = false
		if h.s.w.Pick(2) == 0 {
			h.s.do(op)
		}
		h.s.crash()
		return home.Outcome{}, errCrash
	}
	moves := op.Kind() == home.KindAdopt || op.Kind() == home.KindMove
	if moves && h.s.w.strikes(h.s) && h.s.down {
		return home.Outcome{}, errCrash
	}
	o := h.s.do(op)
	h.s.told(op, o)
	if moves && h.s.w.strikes(h.s) && h.s.down {
		return home.Outcome{}, errCrash
	}
	if a, ok := op.(*home.Adopt); ok && a.Step == home.AdoptBegin && h.s.w.plant == noHold {
		in, _ := h.s.state.ArrivalOf(a.Session)
		all := &home.Adopt{Step: home.AdoptSettle, Session: a.Session, From: a.From, Claim: a.Claim}
		for _, id := range in.Waits {
			all.Settled = append(all.Settled, home.Settled{Home: id})
		}
		h.s.do(all)
	}
	return o, nil
}

// told says what became of an operation of a session that moves.
func (s *site) told(op home.Op, o home.Outcome) {
	switch op := op.(type) {
	case *home.Adopt:
		s.w.say("%s: adopt %d of %s from %s claim %d: %d messages until %d, settled %v: code %#x", s.id, op.Step, op.Session, op.From, op.Claim, len(op.Messages), op.Until, op.Settled, o.Code)
		for _, m := range op.Messages {
			s.w.say("   %d %v/%d: %s of %s", m.Refs[0].Num, m.Source, m.SourceSeq, m.Payload, m.Topic)
		}
	case *home.Move:
		s.w.say("%s: move %d of %s to %s claim %d, settled %v: code %#x", s.id, op.Step, op.Session, op.To, op.Claim, op.Settled, o.Code)
	}
}

func (h asHome) Body(seq home.Seq) (home.Message, error) {
	return home.DecodeBody(seq, h.s.store[string(home.BodyKey(seq))])
}

func (h asHome) Silence(_ context.Context, k home.SessionKey, _ home.SessionEpoch, _ []home.Owner) error {
	if c := h.s.conns[k]; c != nil && h.s.w.plant != twoServe {
		c.close()
	}
	return nil
}

func (h asHome) Shipped(context.Context, uint64) error {
	if h.s.down {
		return errCrash
	}
	if h.s.flaky {
		h.s.flaky = false
		h.s.crash()
		return errCrash
	}
	if h.s.w.plant != unshipped {
		h.s.ship()
	}
	return nil
}

// asker brings questions to other sites; some get lost, or their answers do.
type asker struct{ s *site }

func (a asker) Ask(ctx context.Context, q *Ask) (*Answer, error) {
	w := a.s.w
	to := w.site(q.To)
	if to == nil || to.down || w.cut[[2]home.ID{a.s.id, q.To}] || !w.calm && w.Pick(20) == 0 {
		return nil, ErrUnreachable
	}
	b, err := q.Encode()
	if err == nil {
		q, err = DecodeAsk(b)
	}
	if err != nil {
		w.fail("%v", err)
		return nil, err
	}
	if q.What < WhatWho && w.strikes(to) {
		return nil, ErrUnreachable
	}
	g := Giver{Home: asHome{to}}
	ans, err := g.Answer(ctx, string(a.s.id), q)
	if err != nil {
		return nil, err
	}
	if b, err = ans.Encode(); err == nil {
		ans, err = DecodeAnswer(b)
	}
	if !w.calm && w.Pick(20) == 0 || q.What < WhatWho && w.strikes(a.s) {
		return nil, ErrUnreachable
	}
	if w.plant == noStrays && q.What == WhatTake && q.After > 0 && len(ans.Data) > 0 {
		if op, err := home.DecodeAdopt(ans.Data); err == nil && len(op.Messages) > 0 && op.Messages[0].Refs[0].Num > 0 {
			if d, ok := to.state.DepartureFor(q.Session, q.From, q.Claim); ok && op.Messages[0].Refs[0].Num > d.Refs {
				op.Messages = nil
				ans.cut(home.AppendOp(nil, op), 0)
			}
		}
	}
	if w.plant == eager && q.What == WhatReaches {
		ans.Applied, ans.Drained, ans.High = true, true, 0
	}
	return ans, err
}

func (w *world) site(id home.ID) *site {
	for _, s := range w.sites {
		if s.id == id {
			return s
		}
	}
	return nil
}

// drive is what the node that leads does for sessions that move.
func (s *site) drive() {
	w := s.w
	w.After(5*time.Millisecond+w.UpTo(20*time.Millisecond), s.drive)
	if s.down {
		return
	}
	ctx := context.Background()
	in, out := s.state.Roaming()
	for i := range in {
		k := in[i].Session
		if w.Now() < s.next[k] {
			continue
		}
		t := s.take[k]
		if t == nil {
			late := slices.ContainsFunc(w.devices, func(d *device) bool { return d.key == k && d.late })
			t = &Taker{Home: asHome{s}, Ask: asker{s}, Session: k, Sources: func() []home.ID { return s.peers() }, Create: late}
			s.take[k] = t
		}
		life := s.life
		p, err := t.Step(ctx)
		if s.life != life || s.down {
			return
		}
		if s.next[k] = w.Now() + p.Wait; err != nil || p.Done {
			delete(s.take, k)
		}
		if w.plant == forgetClaim && !in[i].Begun && p.Why != "" {
			s.do(&home.Adopt{Step: home.AdoptOver, Session: k, From: in[i].From, Claim: in[i].Claim})
		}
	}
	for i := range out {
		k := Keeper{Home: asHome{s}, Ask: asker{s}, Create: w.create}
		if _, err := k.Step(ctx, &out[i]); err != nil || s.down {
			return
		}
	}
	for _, k := range s.state.Suspects(4) {
		j := Judge{asHome{s}, asker{s}}
		if v, err := j.Step(ctx, k); err == nil && v.Result != "" {
			w.say("%s: of two sessions of %s, this one %s", s.id, k, v.Result)
			w.merged++
			if o := w.site(v.Home); w.plant == discards && !o.down {
				o.do(&home.Move{Step: home.MoveEnd, Session: k, To: s.id})
			}
		}
		if s.down {
			return
		}
	}
}

func (s *site) peers() (list []home.ID) {
	for _, x := range s.w.sites {
		if x != s {
			list = append(list, x.id)
		}
	}
	return list
}

// follow keeps the directory of each peer.
func (s *site) follow() {
	w := s.w
	w.After(50*time.Millisecond+w.UpTo(50*time.Millisecond), s.follow)
	if s.down {
		return
	}
	if s.dirs == nil {
		for _, id := range s.peers() {
			s.dirs = append(s.dirs, &Follower{Home: asHome{s}, Ask: asker{s}, Peer: id})
		}
	}
	for _, f := range s.dirs {
		if _, _, err := f.Step(context.Background()); err != nil || s.down {
			return
		}
	}
}

type siteSink struct{ s *site }

// nobody is who hears of a copy that stands by.
type nobody struct{}

func (nobody) Deliver(home.Delivery)                                                {}
func (nobody) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (nobody) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (nobody) Spooled(home.ID)                                                      {}
func (nobody) Wanted()                                                              {}
func (nobody) Dropped(string, home.DropReason, int)                                 {}

func (siteSink) Deliver(home.Delivery) {}
func (x siteSink) Queued(k home.SessionKey, _ home.SessionEpoch, _ home.Owner) {
	x.s.dirty[k] = true
}
func (x siteSink) Ended(k home.SessionKey, e home.SessionEpoch, _ home.Owner, _ home.EndReason) {
	if c := x.s.conns[k]; c != nil && c.epoch == e && x.s.w.plant != twoServe {
		c.close()
	}
}
func (siteSink) Spooled(home.ID)                      {}
func (siteSink) Wanted()                              {}
func (siteSink) Dropped(string, home.DropReason, int) {}

// wire is one direction of a link: interest comes, frames go.
type wire struct {
	w        *world
	from, to *site
	told     uint64
	base     bool
	started  bool
	sent     home.Seq
	lives    [2]int
	tunnel   int // counts those that there were
	slow     time.Duration
	there    time.Duration // when what was sent last arrives, one way
	back     time.Duration // and the other
}

// over has what is sent later arrive later.
func (l *wire) over(lane *time.Duration, do func()) {
	*lane = max(*lane, l.w.Now()+l.slow+l.w.UpTo(20*time.Millisecond))
	l.w.After(*lane-l.w.Now(), do)
}

func (l *wire) tick() {
	w := l.w
	w.After(5*time.Millisecond+w.UpTo(10*time.Millisecond), l.tick)
	if l.from.down || l.to.down || w.cut[[2]home.ID{l.to.id, l.from.id}] {
		l.breaks()
		return
	}
	if lives := [2]int{l.from.life, l.to.life}; lives != l.lives {
		l.breaks()
		l.lives = lives
	}
	if v, _ := l.to.state.Wanted(); !l.base || v != l.told {
		op := &home.Interest{Peer: l.to.id, Epoch: l.to.state.Epoch(), Version: v}
		if d, ok := l.to.state.WantedSince(l.told); ok && l.base {
			op.Base, op.Add, op.Remove = l.told, d.Add, d.Remove
		} else {
			op.Full, op.Add = true, l.to.state.WantedView().Snapshot().Filters
		}
		l.base, l.told = true, v
		tunnel := l.tunnel
		l.over(&l.back, func() {
			if l.ok(tunnel) && l.from.do(op).Code != home.CodeOK {
				l.base = false
			}
		})
	}
	if !l.started {
		l.started = true
		l.sent = 0
		lineage := l.from.state.Lineage()
		for i, span := range lineage {
			at, known := l.to.state.Cursor(home.Source{Home: l.from.id, Epoch: span.Epoch}, "")
			if i+1 < len(lineage) {
				at = min(at, lineage[i+1].First-1)
			}
			if known {
				l.sent = max(l.sent, at)
				l.trim(span.Epoch, at)
			}
		}
	}
	list := l.from.state.Spool(l.to.id, "", l.sent, 1+w.Pick(5), 1<<20, nil)
	if len(list) == 0 {
		return
	}
	f := &home.Frame{Source: home.Source{Home: l.from.id, Epoch: list[0].Epoch}, From: l.sent}
	for _, x := range list {
		if x.Epoch != f.Source.Epoch {
			break
		}
		f.To = x.Seq
		if x.Evicted {
			x.Message, _ = asHome{l.from}.Body(x.Seq)
		}
		f.Messages = append(f.Messages, home.FrameMessage{Seq: x.Seq, Topic: x.Message.Topic, Payload: x.Message.Payload, QoS: x.Message.QoS, Live: x.Live})
	}
	l.sent = f.To
	tunnel := l.tunnel
	l.over(&l.there, func() {
		if !l.ok(tunnel) {
			return
		}
		if o := l.to.do(f); o.Code != home.CodeOK {
			l.breaks()
			return
		}
		l.over(&l.back, func() {
			if !l.ok(tunnel) {
				return
			}
			l.trim(f.Source.Epoch, f.To)
		})
	})
}

// trim has the sender forget what the receiver's standby has, too.
func (l *wire) trim(e home.Epoch, to home.Seq) {
	l.to.ship()
	l.from.do(&home.Trim{Peer: l.to.id, Epoch: e, To: to})
}

// breaks ends a tunnel: what is on its way there is lost, and the next one begins with what the receiver has.
func (l *wire) breaks() {
	l.tunnel++
	l.base, l.started = false, false
}

// ok says that what was sent by a tunnel arrives.
func (l *wire) ok(tunnel int) bool {
	if l.tunnel == tunnel && (l.lives != [2]int{l.from.life, l.to.life} || l.from.down || l.to.down || l.w.cut[[2]home.ID{l.to.id, l.from.id}]) {
		l.breaks()
	}
	return l.tunnel == tunnel
}

// device is a client that keeps what MQTT asks of it.
type device struct {
	sim.Outbox
	w      *world
	id     string
	key    home.SessionKey
	subs   bool
	qos    byte
	roams  bool
	clean  bool          // it begins anew with its next connection
	late   bool          // it begins in the middle of trouble, and does not wait for regions that do not answer
	since0 time.Duration // it is subscribed
	at0    *site         // there
	at     *site
	conn   *conn
	trying int
	asked  asking
	since  time.Duration // it looks for a connection
	been   bool

	held map[uint16]bool
	seen map[string][]int

	nextNum int
	sent    map[int]time.Duration // first, of a number
	most    int
	stay    time.Duration
}

// asking says that peers were asked for the session before one is created.
type asking struct {
	s    *site
	life int
	try  int
}

type conn struct {
	s     *site
	d     *device
	epoch home.SessionEpoch
	over  bool
	ready bool
	sent  uint64
	busy  uint64 // ids up to that of this reference are being released
	last  time.Duration
}

func (c *conn) wire(do func()) {
	w := c.d.w
	c.last = max(c.last, w.Now()+w.UpTo(3*time.Millisecond))
	w.After(c.last-w.Now(), func() {
		if !c.over {
			do()
		}
	})
}

func (c *conn) close() {
	if c.over {
		return
	}
	c.over = true
	if c.s.conns[c.d.key] == c {
		delete(c.s.conns, c.d.key)
	}
	c.d.lost(c)
}

func (d *device) lost(c *conn) {
	if d.conn == c {
		d.conn = nil
		d.dial()
	}
}

// dial connects where the device is now; a CONNECT is parked for up to 8 s.
func (d *device) dial() {
	d.trying++
	try := d.trying
	d.since = d.w.Now()
	until := d.w.Now() + 8*time.Second
	var again func()
	at := d.at
	again = func() {
		if d.trying != try || d.conn != nil {
			return
		}
		if at != d.at || d.w.Now() > until {
			d.dial()
			return
		}
		if !d.connect(at) {
			d.w.After(10*time.Millisecond, again)
		}
	}
	d.w.After(time.Millisecond+d.w.UpTo(20*time.Millisecond), again)
}

// connect is what a node does with a CONNECT.
func (d *device) connect(s *site) bool {
	if s.down {
		return false
	}
	st := s.state
	_, here := st.Attachable(d.key)
	if !here {
		if _, leaving := st.DepartureOf(d.key); leaving {
			return false
		}
		if a, coming := st.ArrivalOf(d.key); coming && !a.Over {
			if d.late && !a.Begun && a.From != "" && d.w.Now()-d.since > 2*time.Second {
				s.do(&home.Directory{Peer: a.From, Remove: []uint64{d.key.Hash()}}, &home.Adopt{Step: home.AdoptOver, Session: d.key, From: a.From, Claim: a.Claim})
				return d.w.Pick(2) == 0 && d.attach(s) // peers were asked a moment ago, or are now
			}
			return false
		}
		if list := st.Listed(d.key); len(list) > 0 {
			s.do(&home.Adopt{Step: home.AdoptWish, Session: d.key, From: list[0], For: 8 * time.Second})
			d.asked = asking{}
			return false
		}
		if d.asked != (asking{s, s.life, d.trying}) {
			d.asked = asking{s, s.life, d.trying}
			s.do(&home.Adopt{Step: home.AdoptWish, Session: d.key, For: 8 * time.Second})
			return false
		}
	}
	return d.attach(s)
}

func (d *device) attach(s *site) bool {
	o := s.do(&home.Attach{Session: d.key, Expiry: 3600, Window: 8, CleanStart: d.clean})
	if o.Code != home.CodeOK {
		return false
	}
	d.clean = false
	if old := s.conns[d.key]; old != nil {
		old.close()
	}
	if (!o.SessionPresent || o.Arriving) && d.w.plant != unshipped {
		s.ship()
	}
	c := &conn{s: s, d: d, epoch: o.Epoch}
	s.conns[d.key], d.conn = c, c
	if d.been && !o.SessionPresent && !d.late {
		d.w.fail("%s finds no session at %s", d.id, s.id)
		return true
	}
	if !o.SessionPresent {
		clear(d.held)
	}
	if d.subs && !o.SessionPresent {
		s.do(&home.Subscribe{Session: d.key, Epoch: c.epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: d.qos}}})
		s.ship()
	}
	if !d.been {
		d.since0, d.at0 = d.w.Now(), s
	}
	d.been = true
	d.w.say("%s is at %s, epoch %d, present %t", d.id, s.id, o.Epoch, o.SessionPresent)
	c.wire(func() {
		for _, f := range d.Flight {
			if f.Acked && d.qos == 2 {
				d.release(c, f.ID)
			} else {
				d.send(c, f.Num, f.ID)
			}
		}
		c.ready = true
		c.drain()
	})
	return true
}

func (c *conn) drain() {
	if c.over || !c.ready || c.s.down {
		return
	}
	for _, q := range c.s.state.Queue(c.d.key, c.epoch, c.sent, 8, nil) {
		id := home.PacketID(q.Ref)
		if q.ReleaseFirst {
			if ref := q.Ref; c.busy < ref {
				c.busy = ref
				c.wire(func() { c.d.clear(c, id, ref) })
			}
			return
		}
		c.sent = q.Ref
		if q.Received {
			c.wire(func() { c.d.pubrel(c, id) })
			continue
		}
		m := q.Message
		if q.Evicted {
			m, _ = asHome{c.s}.Body(q.Seq)
		}
		ref, qos := q.Ref, q.QoS
		c.wire(func() { c.d.publish(c, m, id, qos, ref) })
	}
}

func (d *device) publish(c *conn, m home.Message, id uint16, qos byte, ref uint64) {
	if qos == 1 || !d.held[id] {
		var num int
		_, _ = fmt.Sscan(string(m.Payload), &num)
		d.seen[m.Topic] = append(d.seen[m.Topic], num)
		d.w.say("%s gets %d of %s from %s (ref %d)", d.id, num, m.Topic, c.s.id, ref)
	}
	if qos == 1 {
		c.wire(func() {
			c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Done: []home.Range{{From: ref, To: ref}}})
			c.drain()
		})
		return
	}
	d.held[id] = true
	c.wire(func() {
		c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Received: []home.Range{{From: ref, To: ref}}})
		c.wire(func() { d.pubrel(c, id) })
	})
}

// clear is a PUBREL before the id is used for the reference that is to get it.
func (d *device) clear(c *conn, id uint16, ref uint64) {
	delete(d.held, id)
	c.wire(func() {
		c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Cleared: ref})
		c.drain()
	})
}

func (d *device) pubrel(c *conn, id uint16) {
	delete(d.held, id)
	c.wire(func() {
		for _, q := range c.s.state.Queue(d.key, c.epoch, 0, 100, nil) {
			if home.PacketID(q.Ref) == id && q.Received {
				c.s.do(&home.Ack{Session: d.key, Epoch: c.epoch, Done: []home.Range{{From: q.Ref, To: q.Ref}}})
				break
			}
		}
		c.drain()
	})
}

// step publishes now and then.
func (d *device) step() {
	if d.subs || d.nextNum >= d.most {
		return
	}
	d.w.After(d.w.UpTo(150*time.Millisecond), d.step)
	if d.conn == nil || !d.conn.ready || len(d.Flight) > 2 {
		return
	}
	d.nextNum++
	f := d.Put(d.nextNum)
	d.send(d.conn, f.Num, f.ID)
}

func (d *device) send(c *conn, num int, id uint16) {
	c.wire(func() {
		if _, again := d.sent[num]; !again {
			d.sent[num] = d.w.Now()
		}
		o := c.s.do(&home.Publish{Session: d.key, Epoch: c.epoch, PacketID: id, Topic: "t/" + d.id, Payload: fmt.Append(nil, num), QoS: d.qos})
		if o.Code == home.CodeVoid {
			c.close()
			return
		}
		c.s.ship()
		c.wire(func() {
			if d.Answered(num, id, d.qos) {
				d.release(c, id)
			}
		})
	})
}

func (d *device) release(c *conn, id uint16) {
	c.wire(func() {
		if o := c.s.do(&home.Release{Session: d.key, Epoch: c.epoch, PacketID: id}); o.Code == home.CodeVoid {
			c.close()
			return
		}
		c.wire(func() { d.Released(id) })
	})
}

// wander takes the device somewhere else, again and again: sometimes it is heard from there before its old
// connection is known to be gone, sometimes it says good-bye.
func (d *device) wander() {
	if d.w.calm {
		return
	}
	d.w.After(d.stay/2+d.w.UpTo(d.stay), d.wander)
	d.goTo(d.w.sites[d.w.Pick(len(d.w.sites))])
}

func (d *device) goTo(s *site) {
	d.at = s
	if c := d.conn; c != nil {
		d.conn = nil
		c.over = true // whatever is on the wire is lost
		switch d.w.Pick(3) {
		case 0:
			if c.s.conns[d.key] == c {
				delete(c.s.conns, d.key)
			}
			if !c.s.down {
				c.s.do(&home.Detach{Session: d.key, Epoch: c.epoch, DropWill: true})
			}
		default: // the node still believes in it
		}
	}
	d.w.say("%s goes to %s", d.id, d.at.id)
	d.dial()
}

// trouble is one fault.
func (w *world) trouble() {
	if w.calm {
		return
	}
	w.After(w.UpTo(800*time.Millisecond), w.trouble)
	s := w.sites[w.Pick(len(w.sites))]
	if w.fails && w.Pick(4) == 0 {
		if !s.down {
			s.goOn(w.Pick(2) == 0)
		}
		return
	}
	switch w.Pick(4) {
	case 0:
		if !s.down {
			s.crash()
		}
	case 1:
		s.flaky = true
	default:
		o := w.sites[w.Pick(len(w.sites))]
		if o == s {
			return
		}
		w.part(s, o)
		most := 3 * time.Second
		if w.Pick(3) == 0 {
			most = 10 * time.Second // so that who does not wait for a region gets another session
		}
		w.After(w.UpTo(most), func() { w.join(s, o) })
	}
}

func (w *world) part(s, o *site) {
	w.say("%s and %s are cut off from each other", s.id, o.id)
	w.cut[[2]home.ID{s.id, o.id}], w.cut[[2]home.ID{o.id, s.id}] = true, true
}

func (w *world) join(s, o *site) {
	delete(w.cut, [2]home.ID{s.id, o.id})
	delete(w.cut, [2]home.ID{o.id, s.id})
}

// newWorld is a world without devices in which nothing goes wrong yet.
func newWorld(seed uint64, homes int, plant fault) *world {
	w := &world{Timeline: sim.NewTimeline(seed, 17), cut: map[[2]home.ID]bool{}, plant: plant, calm: true}
	for i := range homes {
		w.sites = append(w.sites, newSite(w, home.ID([]string{"eu", "us", "ap"}[i])))
	}
	for _, from := range w.sites {
		for _, to := range w.sites {
			if from != to {
				from.do(&home.SetPeer{Peer: to.id})
				l := &wire{w: w, from: from, to: to, slow: w.UpTo(60 * time.Millisecond)}
				l.tick()
			}
		}
	}
	for _, s := range w.sites {
		s.drive()
		s.follow()
		s.shipOn()
	}
	return w
}

func (w *world) add(id string, qos byte, subs, roams bool, at *site) *device {
	d := &device{w: w, id: id, key: home.SessionKey{ClientID: id}, qos: qos, subs: subs, roams: roams, late: !w.calm, at: at,
		sent: map[int]time.Duration{}, held: map[uint16]bool{}, seen: map[string][]int{}, stay: 100*time.Millisecond + w.UpTo(3*time.Second)}
	if d.late {
		d.stay += 2 * time.Second
	}
	w.devices = append(w.devices, d)
	d.dial()
	return d
}

// play runs a world and returns what the checker found.
func play(seed uint64, homes, messages int, fails bool, plant fault) (*world, error) {
	w := newWorld(seed, homes, plant)
	w.fails = fails
	for _, s := range w.sites {
		w.add("pub1-"+string(s.id), 1, false, false, s).most = messages
		w.add("pub2-"+string(s.id), 2, false, false, s).most = messages
	}
	w.add("roampub", 2, false, true, w.sites[0]).most = messages
	for i := range 4 {
		w.add(fmt.Sprint("sub", i), 2-byte(i%4/3), true, i > 0, w.sites[i%homes])
	}
	w.Run(3 * time.Second)
	w.calm = false
	for _, d := range w.devices {
		w.After(w.UpTo(50*time.Millisecond), d.step)
		if d.roams {
			w.After(w.UpTo(d.stay), d.wander)
		}
	}
	w.After(w.UpTo(time.Second), w.trouble)
	for i := range 2 {
		w.After(w.UpTo(5*time.Second), func() {
			w.add(fmt.Sprint("late", i), byte(1+i), true, true, w.sites[w.Pick(homes)]).wander()
		})
	}
	w.Run(w.Now() + 15*time.Second)
	w.calm = true
	w.cut = map[[2]home.ID]bool{}
	for end := w.Now() + 5*time.Minute; w.Now() < end && w.Violation() == nil && !w.settled(); {
		w.Run(w.Now() + time.Second)
	}
	w.Run(w.Now() + 5*time.Second)
	if w.Violation() == nil {
		w.check()
	}
	return w, w.Violation()
}

func (w *world) settled() bool {
	for _, d := range w.devices {
		if d.conn == nil || !d.subs && (d.nextNum < d.most || len(d.Flight) > 0) {
			return false
		}
	}
	for _, s := range w.sites {
		if in, out := s.state.Roaming(); len(in)+len(out) > 0 {
			return false
		}
	}
	return true
}

func (w *world) check() {
	for _, s := range w.sites {
		if in, out := s.state.Roaming(); len(in)+len(out) > 0 {
			for _, o := range w.sites {
				in, _ := o.state.Roaming()
				w.say("%s: %+v", o.id, in)
				for k, t := range o.take {
					for id, m := range t.of.marks {
						w.say("%s: %s: %s: %+v", o.id, k, id, *m)
					}
				}
				for _, p := range o.peers() {
					w.say("%s for %s: %+v", o.id, p, o.state.SpoolInfo(p))
				}
			}
			w.fail("%s: on their way for ever at %s: %+v %+v", s.id, w.Now(), in, out)
		}
		if len(s.state.Suspects(9)) > 0 {
			w.fail("%s: suspects for ever: %v", s.id, s.state.Suspects(9))
		}
	}
	for _, d := range w.devices {
		n := 0
		for _, s := range w.sites {
			if _, ok := s.state.Session(d.key); ok {
				n++
			}
		}
		if n != 1 {
			w.fail("%s has %d sessions", d.id, n)
		}
		if d.subs {
			continue
		}
		if len(d.Acked) != d.most {
			w.fail("%s: %d of %d messages were acknowledged after a long calm", d.id, len(d.Acked), d.most)
		}
		for _, r := range w.devices {
			if r.subs {
				w.pair(d, r)
			}
		}
	}
}

func (w *world) pair(p, r *device) {
	got := map[int]int{}
	last := 0
	for _, n := range r.seen["t/"+p.id] {
		if got[n]++; got[n] > 1 {
			if p.qos == 2 && r.qos == 2 && !r.late && w.lost == 0 {
				w.fail("%s got message %d of %s twice", r.id, n, p.id)
			}
			continue
		}
		if n < last && !p.roams && !r.late {
			w.fail("%s got message %d of %s after %d", r.id, n, p.id, last)
		}
		last = max(last, n)
	}
	for _, n := range p.Acked {
		// What one is promised that subscribed in another region depends on when that region heard of it.
		if got[n] == 0 && (!r.late || !p.roams && r.at0 == p.at && p.sent[n] > r.since0) {
			w.fail("%s never got message %d of %s", r.id, n, p.id)
		}
	}
}
