package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// site is a region with a copy of the home.
type site struct {
	w    *copies
	name string

	// On its disk.
	store  map[string][]byte
	stored uint64 // records in it
	log    [][]byte
	first  uint64  // number of log[0]
	kept   []*kept // copies that were set aside
	run    home.Incarnation

	up        bool
	life      int
	ruined    bool // its disks are lost
	cut       bool // no other site reaches it
	held      bool // it ships nothing
	deaf      bool // a planted mistake: it goes on after it handed over
	pretends  bool // a planted mistake: it serves without an epoch
	diverged  bool
	state     *home.State
	n         uint64
	heardUpTo time.Duration // when the newest record it has was written at the host
	written   map[uint64]time.Duration
	conns     map[home.SessionKey]*line
	touched   []*line
}

func newSite(w *copies, name string) *site {
	return &site{w: w, name: name, up: true, state: home.New(), run: 1, first: 1, store: map[string][]byte{},
		written: map[uint64]time.Duration{}, conns: map[home.SessionKey]*line{}}
}

func (s *site) owner() home.Owner { return home.Owner{Node: home.NodeID(s.name), Incarnation: s.run} }

func (s *site) records() uint64 { n, _ := s.state.Chain(); return n }

// found begins the home.
func (s *site) found() {
	s.do(&home.Genesis{Home: copiesHome, Epoch: home.Epoch{Number: 1, Host: s.name}})
	s.do(&home.Raise{Level: 3})
	s.do(&home.SetTakeover{Standbys: []string{"us", "ap"}, Voters: []string{"eu", "us", "ap"}})
	if s.w.opt.Resident {
		s.do(&home.Configure{Revision: 1, Residency: []home.Residency{{Filter: s.w.confined(), Regions: []string{"eu", "ap"}}}})
	}
}

// serves says that the site believes that it hosts the home.
func (s *site) serves() bool {
	if s.pretends {
		return s.up
	}
	_, handed := s.state.Handed()
	return s.up && s.state.Epoch().Host == s.name && (!handed || s.deaf) && !s.diverged
}

// do has the host's nodes propose; the outcome is that of the last operation.
func (s *site) do(ops ...home.Op) (out home.Outcome) {
	if s.records() > 0 && !s.serves() {
		return home.Outcome{Code: home.CodeVoid}
	}
	s.n++
	rec := home.Record{Home: copiesHome, Time: s.time(), Entries: []home.Entry{{Owner: s.owner(), N: s.n, Ops: ops}}}
	s.written[s.records()+1] = s.w.now
	s.take(rec.Append(nil), func(o home.Outcome) { out = o })
	s.serve()
	return out
}

// late writes what a node proposed that had not heard that the home was handed over.
func (s *site) late() {
	rec := home.Record{Home: copiesHome, Time: s.time() + home.Time(24*time.Hour), Entries: []home.Entry{{Owner: s.owner(), N: s.n + 1,
		Ops: []home.Op{&home.Publish{Topic: "t/late", Payload: []byte("1"), QoS: 1}}}}}
	s.written[s.records()+1] = s.w.now
	s.take(rec.Append(nil), nil)
}

func (s *site) time() home.Time { return home.Time(time.Hour + s.w.now) }

// take applies a record and keeps it.
func (s *site) take(data []byte, outcome func(home.Outcome)) {
	rec, err := home.DecodeRecord(data)
	if err == nil {
		err = s.state.Apply(&rec, lines{s}, func(_ *home.Entry, _ int, o home.Outcome) {
			if outcome != nil {
				outcome(o)
			}
		})
	}
	if err != nil {
		s.w.violate("%s: %v", s.name, err)
		return
	}
	s.log = append(s.log, data)
	if s.w.rnd.IntN(100) == 0 && !s.w.opt.Scenario {
		s.flush()
	}
}

func (s *site) flush() {
	s.state.Flush(func(k, v []byte) { s.store[string(k)] = slices.Clone(v) }, func(k []byte) { delete(s.store, string(k)) })
	s.stored = s.records()
	if s.w.rnd.IntN(2) == 0 {
		s.state.Evict(0)
	}
	if keep := uint64(s.w.rnd.IntN(200)); !s.w.opt.Resident && s.stored > s.first+keep {
		s.log = s.log[s.stored-keep-s.first:]
		s.first = s.stored - keep
	}
}

func (s *site) crash() {
	s.w.say("%s dies", s.name)
	s.up = false
	s.life++
	for _, c := range s.lines() {
		c.snap()
	}
}

// start brings back what is on the disk.
func (s *site) start() {
	if s.up || s.ruined {
		return
	}
	s.w.say("%s is back", s.name)
	s.reload()
	s.up = true
	s.run++
	s.n = 0
}

func (s *site) reload() {
	state := home.New()
	if len(s.store) > 0 {
		var err error
		if state, err = home.Load(scan(s.store)); err != nil {
			s.w.violate("%s cannot load: %v", s.name, err)
			return
		}
	}
	at, _ := state.Chain()
	records, chain := s.state.Chain()
	for _, data := range s.log[at+1-s.first:] {
		rec, err := home.DecodeRecord(data)
		if err == nil {
			err = state.Apply(&rec, lines{}, func(*home.Entry, int, home.Outcome) {})
		}
		if err != nil {
			s.w.violate("%s cannot replay: %v", s.name, err)
			return
		}
	}
	if n, c := state.Chain(); n != records || c != chain {
		s.w.violate("%s: what its disk has is not what it did", s.name)
	}
	s.state = state
}

func scan(store map[string][]byte) func(func(k, v []byte) error) error {
	keys := make([]string, 0, len(store))
	for k := range store {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return func(fn func(k, v []byte) error) error {
		for _, k := range keys {
			if err := fn([]byte(k), store[k]); err != nil {
				return err
			}
		}
		return nil
	}
}

// promote begins an epoch here.
func (s *site) promote(planned bool) {
	s.w.number++
	op := &home.Promote{Epoch: home.Epoch{Number: s.w.number, Host: s.name}, Grace: 1, Planned: planned}
	if s.w.opt.Plant == TrustIDs {
		op.Planned = true
	}
	if s.w.opt.Plant == SameEpoch && !planned {
		s.pretends = true
		s.n = 0
		s.run += 100
		return
	}
	rec := home.Record{Home: copiesHome, Time: s.time(), Entries: []home.Entry{{Ops: []home.Op{op}}}}
	s.written[s.records()+1] = s.w.now
	s.take(rec.Append(nil), nil)
	s.n = 0
	s.run++
}

// ship brings the other sites what they lack, now and then.
func (s *site) ship() {
	s.w.after(2*time.Millisecond+s.w.upTo(20*time.Millisecond), s.ship)
	if s.serves() {
		s.repay()
	}
	if !s.up || s.cut || s.held {
		return
	}
	for _, to := range s.w.sites {
		if to != s && to.up && !to.cut && s.hosted() {
			s.shipTo(to)
		}
	}
}

// hosted says that the site has something to tell: it hosts the home, or has just
// handed it over.
func (s *site) hosted() bool {
	return !s.diverged && (s.state.Epoch().Host == s.name || s.pretends)
}

func (s *site) shipTo(to *site) {
	mine, theirs := s.state.Position(), to.state.Position()
	switch c := theirs.Epoch.Compare(mine.Epoch); {
	case c > 0:
		s.fenced(to)
	case to.diverged:
		to.reconcileWith(s)
	case to.aside(s):
	case theirs.Records < mine.Records:
		s.send(to, theirs.Records)
	}
}

// aside finds out whether a copy has what the one in force has not; it is set aside
// then, and taken in.
func (to *site) aside(s *site) bool {
	f, diverged := to.state.ForkFrom(s.state.Lineage())
	switch {
	case diverged && f.Void:
		to.keep()
		to.copyOf(s)
	case diverged:
		s.fence(to)
	}
	return diverged
}

// fenced hears that another site hosts at a higher epoch.
func (s *site) fenced(by *site) {
	if by.up && !by.cut && by.hosted() {
		if !by.alsoFenced(s) {
			s.close()
		}
	}
}

func (by *site) alsoFenced(s *site) bool { return s.aside(by) }

func (s *site) fence(to *site) {
	f, _ := to.state.ForkFrom(s.state.Lineage())
	d := to.state.Divergence(f)
	s.w.say("%s is fenced: %d messages that %s has not, for %d sessions' queues", to.name, d.Messages, s.name, d.Refs)
	to.diverged = true
	to.close()
	for i := range s.w.losses {
		if l := &s.w.losses[i]; l.of == to && l.until < 0 {
			l.until = s.w.now
		}
	}
}

// close ends the connections of devices.
func (s *site) close() {
	for _, c := range s.lines() {
		c.snap()
	}
	s.deaf = false
}

// reconcileWith gives the host a part of what this copy has beyond it; when that is
// done, it stands by.
func (to *site) reconcileWith(host *site) {
	if !host.serves() {
		return
	}
	f, diverged := to.state.ForkFrom(host.state.Lineage())
	if !diverged || to.w.opt.Plant == ForgetSuffix {
		to.copyOf(host)
		return
	}
	name := to.name
	if to.w.opt.Plant == OneName {
		name = f.From.Host
	}
	at := host.state.Reconciled(f.From, name)
	if at.Done {
		to.w.say("%s took in %s: %d delivered, %d removed, %d of other sessions", host.name, to.name, at.Delivered, at.Removed, at.Other)
		to.keep()
		to.copyOf(host)
		return
	}
	e := to.state.Export(f, func(seq home.Seq) (home.Message, error) {
		return home.DecodeBody(seq, to.store[string(home.BodyKey(seq))])
	}).As(name).For(func(ns, topic string) bool { return to.state.MayLeave(ns, topic, host.name) })
	for {
		op, err := e.Next(2000)
		if err != nil {
			to.w.violate("%s cannot export: %v", to.name, err)
			return
		}
		if op.Part <= at.Part {
			continue
		}
		host.w.opt.Plant.spoil(op)
		to.checkParts(op, host)
		host.do(op)
		if host.w.rnd.IntN(4) == 0 {
			host.do(op) // it comes again
		}
		return
	}
}

// spoil does to a part what a planted mistake would.
func (f CopiesFault) spoil(op *home.Reconcile) {
	for i := range op.Messages {
		if f == ForgetRefs {
			op.Messages[i].Refs = nil
		}
	}
}

// send ships records behind a number.
func (s *site) send(to *site, after uint64) {
	if after+1 < s.first {
		to.copyOf(s)
		return
	}
	life, theirs := s.life, to.life
	end := min(s.records(), after+1+uint64(s.w.rnd.IntN(40)))
	for n := after + 1; n <= end; n++ {
		data, err := s.state.Ship(n, s.log[n-s.first], to.name)
		if err != nil {
			s.w.violate("%s cannot ship record %d: %v", s.name, n, err)
			return
		}
		chain, known := s.state.ChainAt(n)
		if s.w.opt.Plant == LeaveOut && n%37 == 0 {
			continue
		}
		if s.life != life || to.life != theirs {
			return
		}
		to.take(data, nil)
		if _, got := to.state.Chain(); known && got != chain && s.w.opt.Plant != LeaveOut {
			s.w.violate("%s differs from %s after record %d", to.name, s.name, n)
			return
		}
		if s.w.opt.Resident && len(to.conns) > 0 && !to.serves() { // it hears of the higher epoch by its first record
			to.close()
		}
		to.heardUpTo = s.written[n]
		to.written[n] = s.written[n]
	}
}

// copyOf replaces the site's copy by another's.
func (s *site) copyOf(from *site) {
	s.close()
	from.flush()
	s.store = map[string][]byte{}
	for k, v := range from.store {
		key, value, err := from.state.Veil(s.name, []byte(k), v)
		if err != nil {
			s.w.violate("%s cannot copy %s: %v", s.name, from.name, err)
			return
		}
		s.store[string(key)] = value
	}
	state, err := home.Load(scan(s.store))
	if err != nil {
		s.w.violate("%s cannot load the copy of %s: %v", s.name, from.name, err)
		return
	}
	if !s.w.opt.Resident && state.Digest() != from.state.Digest() {
		s.w.violate("%s: the copy of %s is not the same", s.name, from.name)
	}
	s.state, s.log, s.first, s.stored, s.diverged, s.pretends = state, nil, from.records()+1, from.records(), false, false
	s.heardUpTo = s.w.now
	s.n = 0
	s.run++
	s.w.say("%s stands by with a copy of %s", s.name, from.name)
}
