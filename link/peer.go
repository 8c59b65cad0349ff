package link

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// Waits between dials.
const (
	dialLeast = 200 * time.Millisecond
	dialMost  = 5 * time.Second
	// A home that has just got another host, or ceased to be hosted here, is about to have one: for so long who asks for it is
	// not left to wait longer than that.
	rolesChange = 30 * time.Second
	rolesMost   = 400 * time.Millisecond
	stableFor   = 5 * time.Second // a tunnel that lived so long was a good one
	provenFor   = time.Minute     // UDP that worked so long is tried again soon when it was blocked
)

// peer is a link to one region. It has at most one tunnel at a time:
//
//	        dial fails            adopt
//	  ┌──────────────────┐   ┌───────────────┐
//	  ▼                  │   │               ▼
//	down ── back-off ─▶ dialing            up ──┐ adopt of a better
//	  ▲                                    │ ▲  │ tunnel
//	  └──────── tunnel ends ───────────────┘ └──┘
//
// Without addresses to dial it waits in down for the peer to dial.
//
// Both sides may dial at once. The rule then is the same on both: of two tunnels
// of the same two runs the one on the better network stays (UDP, then TCP, then a
// relay), of two on the same network the one dialled by the region with the smaller name. A tunnel of a new run of the peer
// always replaces the old one, since that is dead; so does a newer one of the same
// direction, since its dialler has given the older one up or moves to a better network.
// Who has a tunnel on the best network does not dial: no flapping.
type peer struct {
	m      *Manager
	key    linkKey
	log    *slog.Logger
	made   time.Time // when the configuration or our copy's role began to want it
	cfg    atomic.Pointer[Peer]
	counts counters

	wanted  chan struct{} // our home wants something else, or the policy changed
	changed chan struct{} // the configuration or the tunnel changed
	crash   chan error    // what a tunnel panicked with
	live    liveQueue
	relays  relayCounts
	ship    *shipment // of our home to a standby; nil: the link is not for that
	takes   *intake   // from the host of our home; likewise
	meter   meter
	inbound sync.Map // class -> chan struct{} of capacity 1: one receiver at a time
	classes atomic.Int32
	up      atomic.Bool // state == Up, for forward

	udpBlocked atomic.Bool   // the last tunnel that we dialled is not on UDP
	wishes     wishes        // for a detour over TCP
	lastWidth  lastWidth     // owned by the tunnel that is served
	probing    group.Backoff // between probes of a better network; owned by run
	round      int           // of dials; likewise
	empty      time.Time     // since when a region says that it has no fenced copy; zero: it does not; likewise

	canaries canaries
	testing  sync.Mutex // held by a test

	senders atomic.Pointer[[]*sender] // of the tunnel in use
	spooled chan struct{}             // the spool grew; a class may be new

	mu      sync.Mutex
	tunnel  *tunnel
	state   State
	leaf    bool // its region is one, as it last said
	talk    quiet
	reason  string
	since   time.Time
	heard   time.Time           // when something came from the peer
	former  connStats           // of tunnels that ended
	held    map[string]string   // class -> why it is not sent
	given   map[string]home.Seq // class -> what the peer has, of a fenced copy
	running bool
}

// notStarted is the reason of a link that Run has not come to yet.
const notStarted = "not started"

func newPeer(m *Manager, k linkKey, cfg Peer) *peer {
	p := &peer{
		m: m, key: k, log: k.logger(m, &cfg), made: time.Now(),
		wanted: make(chan struct{}, 1), changed: make(chan struct{}, 1), spooled: make(chan struct{}, 1), crash: make(chan error, 1),
		state: Down, reason: notStarted, since: time.Now(),
	}
	switch {
	case k.purpose == wire.PurposeShip && k.region != "":
		p.ship = newShipment(p)
	case k.purpose == wire.PurposeShip:
		p.takes = newIntake()
	}
	p.probing = group.Backoff{Least: m.ep.o.ProbeFirst, Most: m.ep.o.ProbeMost}
	p.live.init(m.o.LiveQueue, m.o.LiveBytes)
	p.cfg.Store(&cfg)
	return p
}

func (p *peer) config() *Peer { return p.cfg.Load() }

func (p *peer) configure(cfg Peer) {
	p.cfg.Store(&cfg)
	group.Wake(p.changed)
	group.Wake(p.wanted)
}

// run keeps the link up until ctx ends, or a panic in it ends it.
func (p *peer) run(ctx context.Context) (err error) {
	p.start(true)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer func() { p.stop(err) }()
	serve := func(t *tunnel) { serving.Go(func() { p.serve(ctx, t) }) }
	wait := group.Backoff{Least: dialLeast, Most: dialMost}
	for ctx.Err() == nil {
		if err := p.crashed(); err != nil {
			return err
		}
		if t := p.current(); t != nil {
			p.watch(ctx, t, serve)
			if time.Since(t.began) > stableFor {
				wait.Reset()
			} else if p.current() == nil {
				_ = group.Pause(ctx, wait.Wait())
			}
			continue
		}
		if err := p.mayDial(); err != nil {
			p.setDown(err)
			_ = group.Pause(ctx, gatewayPoll)
			continue
		}
		if p.m.ep.transport.Load() == nil || len(p.candidates()) == 0 {
			p.setWaiting()
			select {
			case <-p.changed:
			case <-ctx.Done():
			}
			continue
		}
		p.setState(Dialing, "")
		t, err := p.dial(ctx)
		if group.Panicked(err) != nil {
			return err
		}
		if err != nil {
			p.dialFailed(ctx, err, &wait)
			continue
		}
		p.udpBlocked.Store(t.c.network() != overUDP)
		serve(t)
	}
	return nil
}

// crashed returns the panic that ended a tunnel since it was asked last, or nil.
func (p *peer) crashed() error {
	select {
	case err := <-p.crash:
		return err
	default:
		return nil
	}
}

// dialFailed waits for the next attempt.
func (p *peer) dialFailed(ctx context.Context, err error, wait *group.Backoff) {
	p.setDown(err)
	if ctx.Err() != nil {
		return
	}
	p.counts.dialFailures.Add(1)
	if p.key.purpose == wire.PurposeDrain {
		p.nothingThere(isRefused(err, wire.GoodbyeRole, wire.GoodbyeUnknownPeer))
	}
	pause := wait.Wait()
	if time.Since(p.made) < rolesChange && isRefused(err, wire.GoodbyeRole, wire.GoodbyeNotGateway, wire.GoodbyeUnknownPeer) {
		pause = min(pause, rolesMost)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.changed: // another address or host, or the peer dialled
	case <-ctx.Done():
	}
}

// setAsideWithin is for how long a region that has come back may say that it has no fenced copy
// until it is believed: it sets its copy aside once it has heard of the higher epoch.
const setAsideWithin = 30 * time.Second

// nothingThere notes whether a region said that it has no fenced copy with anything for us.
func (p *peer) nothingThere(said bool) {
	switch now := time.Now(); {
	case !said:
		p.empty = time.Time{}
	case p.empty.IsZero():
		p.empty = now
	case now.Sub(p.empty) >= setAsideWithin:
		p.m.exhausted(p.key)
	}
}

// watch waits for the end of t. While there is a better network it tries that now and
// then; a tunnel that comes of it replaces t.
func (p *peer) watch(ctx context.Context, t *tunnel, serve func(*tunnel)) {
	defer func() {
		if t.c.network() == overUDP && time.Since(t.began) > provenFor {
			p.probing.Reset()
		}
	}()
	probe := time.NewTimer(never)
	defer probe.Stop()
	planned := false
	for {
		if !planned && !t.stays() && len(better(t.c.network(), p.candidates())) > 0 {
			planned = true
			probe.Reset(p.probing.Wait())
		}
		select {
		case <-t.ended:
			return
		case <-ctx.Done():
			t.close(wire.GoodbyeShutdown, "region "+p.m.ep.o.Region+" stops the link")
			<-t.ended
			return
		case <-p.changed: // there may be other addresses
		case <-probe.C:
			planned = false
			if t.stays() {
				continue
			}
			if n, err := p.probe(ctx, t); err == nil {
				serve(n)
			}
		case <-t.detour:
			if n, err := p.takeDetour(ctx, t); err == nil {
				serve(n)
			} else {
				p.log.Info("the link stays on UDP, where the path loses packets", "reason", oneLine(err))
			}
		}
	}
}

// never is longer than a tunnel lives.
const never = 100 * 365 * 24 * time.Hour

// probeGrace is how long a probe goes on after the tunnel that it is to replace has
// ended: the peer ends that as soon as it takes the probe's, which we may not know yet.
const probeGrace = time.Second

// probe dials over the networks better than t's while t is in use; it gives up soon
// after t has ended.
func (p *peer) probe(ctx context.Context, t *tunnel) (*tunnel, error) {
	if !p.m.gateway() {
		return nil, errNotGateway(p.m.ep.o.Region)
	}
	p.counts.probes.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-t.ended:
			_ = group.Pause(ctx, probeGrace)
			cancel()
		case <-ctx.Done():
		}
	}()
	n, err := p.dialAny(ctx, better(t.c.network(), p.candidates()), "")
	if err == nil {
		p.udpBlocked.Store(n.c.network() != overUDP)
	}
	return n, err
}

// adopt makes t the peer's tunnel, or refuses it by the rule above.
func (p *peer) adopt(t *tunnel) error {
	p.mu.Lock()
	old := p.tunnel
	if !p.running {
		p.mu.Unlock()
		return refuse(wire.GoodbyeShutdown, "the link to %q is stopped", p.config().name())
	}
	if old != nil && old.remote.Instance == t.remote.Instance && old.outranks(t) {
		p.mu.Unlock()
		return refuse(wire.GoodbyeReplaced, "another tunnel of the pair is in use")
	}
	p.tunnel = t
	t.before = old
	p.mu.Unlock()
	if old != nil {
		old.close(wire.GoodbyeReplaced, "a newer tunnel of the pair is in use")
	}
	group.Wake(p.changed)
	return nil
}

// serve runs an adopted tunnel to its end. The one it replaced ends first.
func (p *peer) serve(ctx context.Context, t *tunnel) {
	if t.before != nil {
		<-t.before.ended
		t.before = nil
	}
	defer p.abandon(t)
	err := group.Protect(func() error {
		p.setUp(t)
		p.m.ep.relayUp(t.remote.Region)
		t.lookForSources()
		return t.run(ctx)
	})
	if group.Panicked(err) != nil { // run ends with it, whoever dialled
		t.close(wire.GoodbyeFailed, "the link failed")
		newest(p.crash, err)
	}
	p.setEnded(t, err)
}

// abandon gives up t, which is not served any more, or never was: its successor must
// not begin before its predecessor has ended.
func (p *peer) abandon(t *tunnel) {
	if t.before != nil {
		<-t.before.ended
	}
	p.mu.Lock()
	if p.tunnel == t {
		p.tunnel = nil
	}
	p.mu.Unlock()
	close(t.ended)
	group.Wake(p.changed)
}

func (p *peer) current() *tunnel {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tunnel
}

func (p *peer) start(running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
}

// stop leaves no tunnel behind: one may have been adopted after the last look. It is told what ended the link, if not its context.
func (p *peer) stop(failed error) {
	p.start(false)
	if t := p.current(); t != nil {
		t.close(wire.GoodbyeShutdown, "region "+p.m.ep.o.Region+" stops the link")
		<-t.ended
	}
	if failed != nil {
		p.setState(Down, "the link failed: "+oneLine(failed))
		return
	}
	p.setState(Down, "stopped")
}

func (p *peer) wakeSenders() {
	if list := p.senders.Load(); list != nil {
		for _, s := range *list {
			group.Wake(s.grown)
		}
	}
	group.Wake(p.spooled)
}

// propose asks the home for an operation and waits for room.
func (p *peer) propose(ctx context.Context, op home.Op, done func(home.Outcome, error)) error {
	for {
		err := p.m.o.Home.Propose(op, done)
		if !errors.Is(err, p.m.o.Full) { // nil, too
			return err
		}
		if err := p.m.o.Home.Room(ctx); err != nil {
			return err
		}
		if err := group.Pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// proposeWait also waits for the outcome.
func (p *peer) proposeWait(ctx context.Context, op home.Op) (home.Outcome, error) {
	type result struct {
		o   home.Outcome
		err error
	}
	done := make(chan result, 1)
	if err := p.propose(ctx, op, func(o home.Outcome, err error) { done <- result{o, err} }); err != nil {
		return home.Outcome{}, err
	}
	select {
	case r := <-done:
		return r.o, r.err
	case <-ctx.Done():
		return home.Outcome{}, context.Cause(ctx)
	}
}
