package link

import (
	"context"
	"slices"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// Shipping: while our copy hosts, its records go to the first healthy one of its standbys.
// There is a tunnel to each; one that is not shipped to says how far it is, and waits.

const (
	shipLook = 250 * time.Millisecond // how often is looked which standby counts
	shipTell = time.Second            // how often Shipped is told at least
	// followsWithin is how old the oldest record may be that a standby lacks which
	// follows.
	followsWithin = time.Second
	// A standby that ended so many streams in a row is not shipped to for so long.
	mostFailures = 3
	refusedFor   = 10 * time.Second
	// awaitedFor is how long a standby may be away before the next one of the list takes its
	// place, which may need a copy of everything.
	awaitedFor = 5 * time.Second
	// copyKept is how long a copy that was interrupted is kept for the standby to go on
	// with it. It keeps old files from being removed.
	copyKept = 10 * time.Minute
)

// shipment is the shipping to one standby, over all tunnels to it.
type shipment struct {
	m      *Manager
	p      *peer
	region string
	moved  chan struct{} // the standby has applied more
	turned chan struct{} // feed changed
	back   chan struct{} // the standby has less than it had: it is asked where it stands
	nonce  uint64        // of the last stream; owned by the tunnel that is served

	mu       sync.Mutex
	up       bool
	state    CopyState
	reason   string
	since    time.Time         // of the state
	well     time.Time         // when it was healthy last, or the shipping began
	failures int               // streams that the standby ended, without progress
	at       home.CopyPosition // as the standby said last
	heard    bool              // it said so, on this tunnel
	progress time.Time         // when it said more than before, or had all
	feed     context.Context   // while it is shipped to
	unfeed   context.CancelFunc
	flight   []parcel // sent and not applied, by number
	bytes    int      // of them
	answers  chan wire.ShipAt
	froms    chan wire.ShipFrom
	copier   Copier // of a copy that is under way or was interrupted
	expires  *time.Timer
	stats    shipStats
}

// parcel is a block of records that was sent.
type parcel struct {
	to    uint64 // its last record
	bytes int
}

// shipStats only grow, but for copied.
type shipStats struct {
	records, raw, wire, copies, copied uint64
}

func newShipment(p *peer) *shipment {
	return &shipment{m: p.m, p: p, region: p.key.region, moved: make(chan struct{}, 1), turned: make(chan struct{}, 1), back: make(chan struct{}, 1),
		answers: make(chan wire.ShipAt, 1), froms: make(chan wire.ShipFrom, 1), state: CopyAway, well: time.Now()}
}

// begin is called when there is a tunnel, end when it has ended.
func (s *shipment) begin() {
	s.mu.Lock()
	s.up, s.heard, s.state, s.reason = true, false, CopyIdle, ""
	s.mu.Unlock()
	group.Wake(s.m.shipping)
}

func (s *shipment) end() {
	s.mu.Lock()
	s.up, s.heard, s.state, s.reason = false, false, CopyAway, ""
	s.mu.Unlock()
	group.Wake(s.m.shipping)
}

// enter says how the shipping goes.
func (s *shipment) enter(state CopyState, reason string) {
	s.mu.Lock()
	s.state, s.reason, s.since = state, reason, time.Now()
	s.mu.Unlock()
	group.Wake(s.m.shipping)
}

// idle says that another standby is shipped to now.
func (s *shipment) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != CopyRefuses && s.state != CopyDiverged {
		s.state, s.reason, s.since = CopyIdle, "", time.Now()
	}
}

// failed notes that the standby ended a stream. One that does so again and again is
// refused for a while: another one may be better.
func (s *shipment) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures++; s.failures >= mostFailures {
		s.failures, s.state, s.since = 0, CopyRefuses, time.Now()
	}
}

// standsAt takes what the standby has applied.
func (s *shipment) standsAt(at home.CopyPosition) {
	s.mu.Lock()
	if at != s.at || !s.heard {
		s.progress, s.failures = time.Now(), 0
	}
	if s.heard && at.Records < s.at.Records {
		group.Wake(s.back)
	}
	s.at, s.heard = at, true
	for len(s.flight) > 0 && s.flight[0].to <= at.Records {
		s.bytes -= s.flight[0].bytes
		s.flight = s.flight[1:]
	}
	s.mu.Unlock()
	group.Wake(s.moved)
	group.Wake(s.m.shipping)
}

// sent notes a block that is under way.
func (s *shipment) sent(to uint64, records, raw, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = append(s.flight, parcel{to, raw})
	s.bytes += raw
	s.stats.records += uint64(records)
	s.stats.raw += uint64(raw)
	s.stats.wire += uint64(size)
}

// forget drops what the last stream left behind.
func (s *shipment) forget() {
	s.mu.Lock()
	s.flight, s.bytes = nil, 0
	s.mu.Unlock()
	select {
	case <-s.answers:
	default:
	}
	select {
	case <-s.froms:
	default:
	}
	select {
	case <-s.back:
	default:
	}
}

func (s *shipment) full(window int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes >= window
}

// feeding ends when the standby is not to be shipped to any more; nil if it is not now.
func (s *shipment) feeding() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feed
}

// turn begins or ends the shipping to the standby.
func (s *shipment) turn(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.feed == nil:
		s.feed, s.unfeed = context.WithCancel(context.Background())
	case !on && s.feed != nil:
		s.unfeed()
		s.feed, s.unfeed = nil, nil
	}
	group.Wake(s.turned)
}

// take returns the copy that is kept for the standby, nil if there is none. It is the
// caller's until keep.
func (s *shipment) take() Copier {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.copier
	s.copier = nil
	if s.expires != nil {
		s.expires.Stop()
	}
	return c
}

// keep keeps a copy that was interrupted for a while.
func (s *shipment) keep(c Copier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copier = c
	s.expires = time.AfterFunc(copyKept, s.drop)
}

// drop lets go of a copy that is kept.
func (s *shipment) drop() {
	if c := s.take(); c != nil {
		c.Close()
	}
}

// view is the shipping as the choice sees it.
func (s *shipment) view(t *trail, now mark) view {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(t, now)
	v := view{region: s.region, follows: s.state == CopyFollows,
		healthy: s.up && s.heard && s.state != CopyDiverged && s.state != CopyRefuses}
	if v.healthy {
		s.well = now.at
	}
	v.awaited = !v.healthy && now.at.Sub(s.well) < awaitedFor
	return v
}

// settle says what time makes of the shipping. It is called with mu held.
func (s *shipment) settle(t *trail, now mark) {
	stalled := s.at.Records < now.records && now.at.Sub(s.progress) > s.m.ep.o.IdleTimeout
	switch {
	case s.state == CopyBehind && s.at.Records >= t.had(now.at.Add(-followsWithin)):
		s.state, s.reason = CopyFollows, ""
	case s.state == CopyFollows && stalled:
		s.state = CopyBehind
	case (s.state == CopyRefuses || s.state == CopyDiverged) && now.at.Sub(s.since) > refusedFor:
		s.state = CopyIdle // it is asked again
	}
}

// status is the shipping as an operator sees it.
func (s *shipment) status(t *trail, now mark) CopyStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(t, now)
	st := CopyStatus{Region: s.region, State: s.state, Reason: s.reason, At: s.at,
		Copies: s.stats.copies, CopiedBytes: s.stats.copied, Shipped: s.stats.records, Raw: s.stats.raw, Wire: s.stats.wire}
	st.Lag, st.LagMessages = t.behind(s.at.Records, now)
	st.LagRecords = now.records - min(s.at.Records, now.records)
	if s.stats.records > 0 {
		st.LagBytes = st.LagRecords * (s.stats.raw / s.stats.records)
	}
	return st
}

// runShipping chooses which standby is shipped to, while our copy hosts.
func (m *Manager) runShipping(ctx context.Context) error {
	ticker := time.NewTicker(shipLook)
	defer ticker.Stop()
	defer m.stopShipping()
	var told Shipped
	var toldAt time.Time
	for {
		if now, ok := m.chooseStandby(); ok && (now != told || time.Since(toldAt) >= shipTell) {
			told, toldAt = now, time.Now()
			m.o.Shipped(now)
		}
		select {
		case <-ticker.C:
		case <-m.shipping:
		case <-ctx.Done():
			return nil
		}
	}
}

// chooseStandby looks once; false if our copy has no standbys, or does not host.
func (m *Manager) chooseStandby() (Shipped, bool) {
	list := m.shipments()
	if len(list) == 0 {
		return Shipped{}, false
	}
	now := m.mark()
	m.shipMu.Lock()
	defer m.shipMu.Unlock()
	m.trail.add(now)
	var views []view
	for _, s := range list {
		views = append(views, s.view(&m.trail, now))
	}
	counts, feed := choose(views, m.counted)
	m.counted = counts
	told := Shipped{Region: counts}
	for _, s := range list {
		s.turn(slices.Contains(feed, s.region))
		if s.region == counts {
			s.mu.Lock()
			told.Records, told.Healthy = s.at.Records, s.state == CopyFollows
			s.mu.Unlock()
		}
	}
	return told, true
}

// mark is what our home has now.
func (m *Manager) mark() mark {
	st := m.o.Home.State()
	return mark{time.Now(), st.Position().Records, uint64(st.HighSeq())}
}

// shipments lists the shipping of our home, by the order of standbys.
func (m *Manager) shipments() (list []*shipment) {
	m.mu.Lock()
	regions := m.shippedTo()
	m.mu.Unlock()
	peers := *m.peers.Load()
	for _, r := range regions {
		if p := peers[linkKey{wire.PurposeShip, m.id, r}]; p != nil && p.ship != nil {
			list = append(list, p.ship)
		}
	}
	return list
}

func (m *Manager) stopShipping() {
	for _, s := range m.shipments() {
		s.turn(false)
		s.drop()
	}
}

// Copies describes the shipping of our home while our copy hosts, by the order of
// standbys; while it stands by, how it is with the host.
func (m *Manager) Copies() (list []CopyStatus) {
	peers := *m.peers.Load()
	if p := peers[linkKey{purpose: wire.PurposeShip, id: m.id}]; p != nil {
		return []CopyStatus{p.takes.status(p)}
	}
	shipments := m.shipments()
	if len(shipments) == 0 {
		return nil
	}
	now := m.mark()
	m.shipMu.Lock()
	defer m.shipMu.Unlock()
	for _, s := range shipments {
		st := s.status(&m.trail, now)
		st.Link = s.p.status()
		st.Counts = s.region == m.counted
		list = append(list, st)
	}
	return list
}

// heardStandby takes what a standby says of where it is.
func (t *tunnel) heardStandby(m wire.Control) {
	s := t.p.ship
	if s == nil || t.purpose != wire.PurposeShip || t.role != RoleHost {
		return
	}
	switch m := m.(type) {
	case *wire.ShipAt:
		newest(s.answers, *m)
	case *wire.ShipFrom:
		newest(s.froms, *m)
	case *wire.ShipAck:
		s.standsAt(homePosition(m.At))
	}
}

// newest puts v into a channel of capacity 1 instead of what is there.
func newest[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	select {
	case c <- v:
	default:
	}
}
