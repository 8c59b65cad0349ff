package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/handover"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/link"
)

// roaming brings sessions after their devices (ADR 34). Any node notes in the home's log that a
// device is here whose session is in another home; the node that leads does the rest, and may
// be another one at each step.
type roaming struct {
	a *App

	mu      sync.Mutex
	waiting map[home.SessionKey]*parked

	woken chan struct{} // holds one token: something became of a session that moves

	results [roamResults]atomic.Int64
}

// roamResult is what came of a session that was to move here.
type roamResult int

const (
	roamMoved       roamResult = iota // it came here
	roamMerged                        // it came here, into another one of its device
	roamSuperseded                    // its device began anew somewhere else: it was ended here
	roamBack                          // it was to go, and was not taken: it goes on here
	roamRefused                       // the home that has it keeps it
	roamUnreachable                   // the home that has it does not answer
	roamResults     int        = iota
)

// String is the result as a metric label.
func (r roamResult) String() string {
	return [...]string{"moved", "merged", "superseded", "back", "refused", "unreachable"}[r]
}

func (m *roaming) count(r roamResult) { m.results[r].Add(1) }

// parked is who waits on this node for a session to come, or to be found.
type parked struct {
	done   chan struct{} // closed when something became of it
	clean  bool          // its device begins anew
	since  time.Time     // somebody waited last
	asked  time.Time
	claim  uint64    // of the wish that has peers asked whether they have it
	absent time.Time // nobody need be asked
	why    string    // it does not come
}

func newRoaming(a *App) *roaming {
	return &roaming{a: a, waiting: map[home.SessionKey]*parked{}, woken: make(chan struct{}, 1)}
}

// on says that sessions begin to move between homes here. What was begun is brought to its
// end where it is not on any more.
func (m *roaming) on() bool { return m.a.cfg.Handover.Enabled && m.linked() }

func (m *roaming) linked() bool { return len(m.a.cfg.RegionLinks()) > 0 }

// Roamed hears from the home that something became of a session. It is called while a record
// is applied.
func (m *roaming) Roamed(k home.SessionKey) {
	m.mu.Lock()
	if p := m.waiting[k]; p != nil {
		p.changed()
	}
	m.mu.Unlock()
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

const (
	wishFor    = 8 * time.Second        // as long as a CONNECT is parked
	wishAgain  = 2 * time.Second        // then it lasts longer
	wishLost   = 100 * time.Millisecond // it was void, or is over
	createAway = 2 * time.Second        // for how long a home does not answer before a session is created beside it
	absentFor  = 2 * time.Second        // for how long it holds that a session is in no other home
)

// of says why a session that is not here cannot be created here; "": it can.
func (m *roaming) of(k home.SessionKey) (why string) {
	st := m.a.home.State()
	if d, leaving := st.DepartureOf(k); leaving {
		return "the session is on its way to home " + string(d.To)
	}
	in, coming := st.ArrivalOf(k)
	coming = coming && !in.Over
	from, known := m.from(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.waiting[k]
	switch finding := coming && in.From == ""; {
	case coming && !finding:
		from = in.From
	case known && !finding:
	case finding || p == nil || !p.notThere(in.Claim):
		return "other regions are asked whether they have the session"
	default:
		return ""
	}
	if why = "the session is in home " + string(from); p != nil && p.why != "" {
		why += ": " + p.why
	}
	return why
}

// from is a home that has a session, as far as is known here.
func (m *roaming) from(k home.SessionKey) (home.ID, bool) {
	for _, h := range m.a.homes {
		if _, has := h.State().EpochOf(k); has && !h.own() && !h.hosts() {
			return h.id, true
		}
	}
	list := m.a.home.State().Listed(k)
	if len(list) == 0 {
		return "", false
	}
	return list[int(time.Now().Unix())%len(list)], true // of several each has its turn
}

// Claim implements broker.Claimer.
func (m *roaming) Claim(k home.SessionKey, clean bool) <-chan struct{} {
	own := m.a.home
	r := own.current()
	if !m.on() || r == nil || !r.Hosting() || r.State().Level() < home.LevelOf(home.KindAdopt) {
		return nil
	}
	if _, leaving := r.State().DepartureOf(k); leaving {
		return m.wait(k, clean).done
	}
	from, known := m.from(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.waitLocked(k, clean)
	if !known && clean { // whatever another home has of it is ended there
		p.absent = time.Now()
		p.changed()
		return p.done
	}
	_, asked := r.State().ArrivalOf(k)
	if now := time.Now(); now.Sub(p.asked) > wishAgain || !asked && now.Sub(p.asked) > wishLost {
		p.asked = now
		_ = r.Propose(&home.Adopt{Step: home.AdoptWish, Session: k, From: from, For: wishFor}, func(o home.Outcome, err error) {
			if !known && err == nil && o.Code == home.CodeOK {
				m.finding(p, uint64(o.Seq))
			}
		})
	}
	return p.done
}

// finding notes the wish that has peers asked for a session.
func (m *roaming) finding(p *parked, claim uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.claim, p.absent = claim, time.Now()
	p.changed()
}

// notThere says that peers were asked for a session, and have not got it; in is the claim that stands now.
func (p *parked) notThere(in uint64) bool {
	return time.Since(p.absent) < absentFor+wishFor && (p.claim == 0 || p.claim != in)
}

// changed wakes who waits. The caller holds the lock.
func (p *parked) changed() {
	close(p.done)
	p.done = make(chan struct{})
}

func (m *roaming) wait(k home.SessionKey, clean bool) *parked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waitLocked(k, clean)
}

func (m *roaming) waitLocked(k home.SessionKey, clean bool) *parked {
	p := m.waiting[k]
	if p == nil {
		p = &parked{done: make(chan struct{}), since: time.Now()}
		m.waiting[k] = p
	}
	p.clean = clean
	p.since = time.Now()
	return p
}

// sweep forgets whom nobody waits for any more.
func (m *roaming) sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, p := range m.waiting {
		if time.Since(p.since) > 2*wishFor {
			delete(m.waiting, k)
		}
	}
}

// cleanly says that the device that waits for a session on this node begins anew.
func (m *roaming) cleanly(k home.SessionKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.waiting[k]
	return p != nil && p.clean
}

// note keeps why a session does not come, for who waits here.
func (m *roaming) note(k home.SessionKey, p handover.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.waiting[k]; w != nil {
		w.why = p.Why
	}
}

// roamHome is a home that this node leads, as package handover sees it.
type roamHome struct {
	h *homeService
	r *replica.Replica
}

func (x roamHome) State() *home.State                      { return x.r.State() }
func (x roamHome) Now() home.Time                          { return x.r.Now() }
func (x roamHome) Body(seq home.Seq) (home.Message, error) { return x.r.Body(seq) }

func (x roamHome) Do(ctx context.Context, op home.Op) (home.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	return outcomeOf(ctx, x.r, op)
}

func (x roamHome) Silence(ctx context.Context, k home.SessionKey, epoch home.SessionEpoch, formers []home.Owner) error {
	return x.h.house.Silence(ctx, x.r.Owner(), formers, k, epoch)
}

func (x roamHome) Shipped(ctx context.Context, record uint64) error {
	done := make(chan struct{})
	var once sync.Once
	x.h.AwaitShipped(record, func() { once.Do(func() { close(done) }) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leading returns the region's home if this node leads it and it is served here.
func (m *roaming) leading(id home.ID) (roamHome, bool) {
	for _, h := range m.a.homes {
		if r := h.current(); h.id == id && r != nil && r.Leads() && r.Hosting() {
			return roamHome{h, r}, true
		}
	}
	return roamHome{}, false
}

// Ask implements handover.Asker: it asks the regions that may serve a home, the one that
// answered last at first.
func (m *roaming) Ask(ctx context.Context, q *handover.Ask) (*handover.Answer, error) {
	if _, here := m.leading(q.To); here {
		return m.answer(ctx, m.a.cfg.Region, q)
	}
	b, err := q.Encode()
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("no region is known to serve home %s", q.To)
	said := false
	for _, region := range m.a.cfg.Hosts(string(q.To)) {
		if region == m.a.cfg.Region {
			continue
		}
		answer, e := (caller{m.a}).Call(ctx, region, handover.Kind, b)
		var no *link.CallError
		switch {
		case e == nil:
			return handover.DecodeAnswer(answer)
		case errors.As(e, &no):
			said = true
		}
		err = e
	}
	if said {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", handover.ErrUnreachable, err)
}

// answerCall answers another region.
func (m *roaming) answerCall(ctx context.Context, region string, request []byte) ([]byte, error) {
	q, err := handover.DecodeAsk(request)
	switch {
	case err != nil:
		return nil, err
	case !slices.Contains(m.a.cfg.Hosts(string(q.From)), region):
		return nil, fmt.Errorf("region %s does not speak for home %s", region, q.From)
	}
	a, err := m.answer(ctx, region, q)
	if err != nil {
		return nil, err
	}
	return a.Encode()
}

func (m *roaming) answer(ctx context.Context, region string, q *handover.Ask) (*handover.Answer, error) {
	x, ok := m.leading(q.To)
	if !ok {
		return nil, fmt.Errorf("home %s is not served by this node", q.To)
	}
	g := handover.Giver{Home: x, MinDwell: m.a.region().Handover.MinDwell, Off: !m.on()}
	return g.Answer(ctx, region, q)
}

// run moves sessions, and keeps directories, while this node leads a home that is served here. In one that another
// region's devices were homed in before, what was begun goes on.
func (m *roaming) run(ctx context.Context, h *homeService) error {
	for ctx.Err() == nil {
		r := h.current()
		if r == nil || !r.Leads() || !r.Hosting() || r.State().Level() < home.LevelOf(home.KindAdopt) || r.State().Config().Revision == 0 {
			m.sweep()
			if !wait(ctx, officeEvery) {
				return nil
			}
			continue
		}
		if err := m.lead(ctx, roamHome{h, r}); group.Panicked(err) != nil {
			return err
		}
	}
	return nil
}

// atOnce bounds how many sessions are brought here at the same time.
const atOnce = 64

// lead works until this node does not lead the home any more.
func (m *roaming) lead(ctx context.Context, x roamHome) error {
	g := group.New(ctx)
	if m.on() && x.h.own() {
		for _, id := range m.peersOf(x.h) {
			g.Do(func(ctx context.Context) error { m.follow(ctx, x, id); return nil })
		}
		g.Do(func(ctx context.Context) error { m.judge(ctx, x); return nil })
	}
	g.Do(func(ctx context.Context) error { m.bring(ctx, g, x); return errElsewhere })
	g.Do(func(ctx context.Context) error { m.keepAll(ctx, x); return nil })
	return g.Wait()
}

var errElsewhere = errors.New("this node does not lead the home any more")

// bring takes each session that is to come here further.
func (m *roaming) bring(ctx context.Context, g *group.Group, x roamHome) {
	var mu sync.Mutex
	under := map[home.SessionKey]bool{}
	slots := make(chan struct{}, atOnce)
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	for x.r.Leads() && x.r.Hosting() && x.h.current() == x.r {
		in, _ := x.r.State().Roaming()
		for i := range in {
			k := in[i].Session
			mu.Lock()
			busy := under[k] || len(slots) == cap(slots)
			if !busy {
				under[k] = true
				slots <- struct{}{}
			}
			mu.Unlock()
			if busy {
				continue
			}
			g.Do(func(ctx context.Context) error {
				m.take(ctx, x, k)
				mu.Lock()
				delete(under, k)
				mu.Unlock()
				<-slots
				return nil
			})
		}
		m.sweep()
		select {
		case <-m.woken:
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// keepAll looks after sessions that left, one after the other: a home that does not answer holds up the others.
func (m *roaming) keepAll(ctx context.Context, x roamHome) {
	for wait(ctx, handover.Every) {
		_, out := x.r.State().Roaming()
		for i := range out {
			if ctx.Err() == nil {
				m.keep(ctx, x, &out[i])
			}
		}
	}
}

// peers are the homes that the region's own has links with.
func (m *roaming) peers() []home.ID { return m.peersOf(m.a.home) }

// peersOf are the homes that one which is served here has links with.
func (m *roaming) peersOf(h *homeService) (list []home.ID) {
	if !h.own() {
		list = append(list, m.a.home.id)
	}
	for _, l := range m.a.cfg.RegionLinks() {
		if id := home.ID(l.Peer); id != h.id {
			list = append(list, id)
		}
	}
	return list
}

// turnTime is for how long a session has a slot; one that takes longer waits for its next turn.
const turnTime = 2 * time.Second

// take does steps for one session.
func (m *roaming) take(ctx context.Context, x roamHome, k home.SessionKey) {
	t := &handover.Taker{Home: x, Ask: m, Session: k, Sources: func() []home.ID { return m.peersOf(x.h) }, Clean: func() bool { return m.cleanly(k) },
		Create: m.a.region().Handover.Unreachable == "create"}
	began := time.Now()
	var told handover.Progress
	before, _ := x.r.State().ArrivalOf(k)
	for x.r.Leads() {
		p, err := t.Step(ctx)
		if err != nil {
			m.a.log.Debug("bring a session here", "client", k.String(), "error", err)
			p.Wait = max(p.Wait, 100*time.Millisecond)
		}
		m.note(k, p)
		in, ok := x.r.State().ArrivalOf(k)
		if ok && in.Claim == before.Claim && in.Complete && !before.Complete {
			m.came(k, &in, time.Since(began))
		}
		before = in
		if p.Refused && !told.Refused {
			m.count(roamRefused)
		}
		if p.Unreachable && !told.Unreachable {
			m.count(roamUnreachable)
		}
		told.Refused, told.Unreachable = told.Refused || p.Refused, told.Unreachable || p.Unreachable
		if p.Unreachable && ok && !in.Begun && !in.Merges && m.a.region().Handover.Unreachable == "create" && x.r.Now().Sub(in.Since) > createAway {
			if err := t.GiveUp(ctx, &in); err == nil {
				m.a.log.Warn("a session is created though another home has one: that home does not answer", "client", k.String(), "home", string(in.From))
				return
			}
		}
		if p.Done || time.Since(began) > turnTime && p.Wait > 0 || p.Wait > 0 && !wait(ctx, p.Wait) || ctx.Err() != nil {
			return
		}
	}
}

// came says that a session is here.
func (m *roaming) came(k home.SessionKey, in *home.Arrival, after time.Duration) {
	if in.Merges {
		m.count(roamMerged)
		m.a.log.Warn("a device had sessions in two homes: that of the other one is taken into the one here", "client", k.String(), "from", string(in.From))
		m.a.auditTakeover("session merged", k.String(), "done", "home "+string(in.From)+" had another session of its device; what waited there comes here")
		return
	}
	m.count(roamMoved)
	m.a.log.Info("a session came after its device", "client", k.String(), "from", string(in.From), "messages", in.Last, "after", after.Round(time.Millisecond))
}

// keep looks into a session that was given away.
func (m *roaming) keep(ctx context.Context, x roamHome, d *home.Departure) {
	ctx, cancel := context.WithTimeout(ctx, 2*askWithin)
	defer cancel()
	did, err := (&handover.Keeper{Home: x, Ask: m, Create: m.a.region().Handover.Unreachable == "create"}).Step(ctx, d)
	switch {
	case err != nil:
		m.a.log.Debug("find out what became of a session that was given away", "client", d.Session.String(), "to", string(d.To), "error", err)
	case did == "back":
		m.count(roamBack)
		m.a.log.Warn("a session that was to move goes on here: the other home does not know of it, or does not answer", "client", d.Session.String(), "to", string(d.To))
	}
}

// follow keeps the directory of a peer.
func (m *roaming) follow(ctx context.Context, x roamHome, id home.ID) {
	f := &handover.Follower{Home: x, Ask: m, Peer: id}
	for {
		pause, _, err := f.Step(ctx)
		if err != nil && ctx.Err() == nil {
			m.a.log.Debug("keep the directory of a peer", "peer", string(id), "error", err)
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// judgeEvery is how often sessions are looked into that two homes have.
const judgeEvery = time.Second

// judge ends sessions here of devices that have a newer one in another home.
func (m *roaming) judge(ctx context.Context, x roamHome) {
	j := &handover.Judge{Home: x, Ask: m}
	for wait(ctx, judgeEvery) {
		for _, k := range x.r.State().Suspects(256) {
			v, err := j.Step(ctx, k)
			if err != nil || v.Result != handover.JudgedLost {
				continue
			}
			m.count(roamSuperseded)
			m.a.log.Warn("a device began anew in another home: its session here is ended", "client", k.String(), "home", string(v.Home), "messages", v.Lost)
			m.a.auditTakeover("session superseded", k.String(), "done", fmt.Sprintf("its device began anew in home %s; %d messages that waited here are given up", v.Home, v.Lost))
		}
	}
}

// enableDirectory makes the home tell others of its sessions.
func (h *homeService) enableDirectory(r *replica.Replica) {
	if h.own() && h.a.roaming.on() && !h.a.replicant() {
		r.State().EnableDirectory(rand.Uint64())
	}
}
