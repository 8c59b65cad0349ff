package link

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// Waits between dials.
const (
	dialLeast = 200 * time.Millisecond
	dialMost  = 5 * time.Second
	stableFor = 5 * time.Second // a tunnel that lived so long was a good one
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
// of the same two runs the one dialled by the region with the smaller name stays.
// A tunnel of a new run of the peer always replaces the old one, since that is
// dead; so does a newer one of the same direction, since its dialler has given
// the older one up. Who has a tunnel does not dial: no flapping.
type peer struct {
	m      *Manager
	log    *slog.Logger
	cfg    atomic.Pointer[Peer]
	counts counters

	wanted  chan struct{} // our home wants something else, or the policy changed
	changed chan struct{} // the configuration or the tunnel changed
	live    liveQueue
	inbound sync.Map // class -> chan struct{} of capacity 1: one receiver at a time
	classes atomic.Int32
	up      atomic.Bool // state == Up, for forward

	senders atomic.Pointer[[]*sender] // of the tunnel in use
	spooled chan struct{}             // the spool grew; a class may be new

	mu      sync.Mutex
	tunnel  *tunnel
	state   State
	reason  string
	since   time.Time
	former  connStats         // of tunnels that ended
	held    map[string]string // class -> why it is not sent
	running bool
}

// notStarted is the reason of a link that Run has not come to yet.
const notStarted = "not started"

func newPeer(m *Manager, cfg Peer) *peer {
	p := &peer{
		m: m, log: m.o.Logger.With("peer", string(cfg.ID)),
		wanted: make(chan struct{}, 1), changed: make(chan struct{}, 1), spooled: make(chan struct{}, 1),
		state: Down, reason: notStarted, since: time.Now(),
	}
	p.live.init(m.o.LiveQueue, m.o.LiveBytes)
	p.cfg.Store(&cfg)
	return p
}

func (p *peer) config() *Peer { return p.cfg.Load() }

func (p *peer) configure(cfg Peer) {
	p.cfg.Store(&cfg)
	wake(p.changed)
	wake(p.wanted)
}

// keepRunning runs the link until ctx ends. A panic costs this link a pause.
func (p *peer) keepRunning(ctx context.Context) {
	for ctx.Err() == nil {
		err := protect(func() error {
			p.run(ctx)
			return nil
		})
		if err != nil {
			p.log.Error("the link failed and is started again", "reason", err)
			_ = pause(ctx, dialMost)
		}
	}
}

// run keeps the link up until ctx ends.
func (p *peer) run(ctx context.Context) {
	p.start(true)
	defer p.stop()
	wait := backoff{least: dialLeast, most: dialMost}
	for ctx.Err() == nil {
		if t := p.current(); t != nil {
			select {
			case <-t.ended:
			case <-ctx.Done():
				t.close(wire.GoodbyeShutdown, "region "+p.m.o.Region+" stops the link")
				<-t.ended
			}
			if time.Since(t.began) > stableFor {
				wait.reset()
			}
			_ = pause(ctx, wait.wait())
			continue
		}
		if len(p.config().Dial) == 0 {
			p.setWaiting()
			select {
			case <-p.changed:
			case <-ctx.Done():
			}
			continue
		}
		if !p.m.gateway() {
			p.setDown(errNotGateway(p.m.o.Region))
			_ = pause(ctx, gatewayPoll)
			continue
		}
		p.dialOnce(ctx, &wait)
	}
}

// dialOnce makes one attempt and serves what comes of it.
func (p *peer) dialOnce(ctx context.Context, wait *backoff) {
	p.setState(Dialing, "")
	t, err := p.dial(ctx)
	if err == nil {
		p.serve(ctx, t)
		return
	}
	p.setDown(err)
	if ctx.Err() != nil {
		return
	}
	p.counts.dialFailures.Add(1)
	timer := time.NewTimer(wait.wait())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.changed: // another address, or the peer dialled
	case <-ctx.Done():
	}
}

// adopt makes t the peer's tunnel, or refuses it by the rule above.
func (p *peer) adopt(t *tunnel) error {
	p.mu.Lock()
	old := p.tunnel
	if !p.running {
		p.mu.Unlock()
		return refuse(wire.GoodbyeShutdown, "the link to %q is stopped", p.config().ID)
	}
	if old != nil && old.remote.Instance == t.remote.Instance && old.preferred() && !t.preferred() {
		p.mu.Unlock()
		return refuse(wire.GoodbyeReplaced, "another tunnel of the pair is in use")
	}
	p.tunnel = t
	t.before = old
	p.mu.Unlock()
	if old != nil {
		old.close(wire.GoodbyeReplaced, "a newer tunnel of the pair is in use")
	}
	wake(p.changed)
	return nil
}

// serve runs an adopted tunnel to its end. The one it replaced ends first.
func (p *peer) serve(ctx context.Context, t *tunnel) {
	if t.before != nil {
		<-t.before.ended
		t.before = nil
	}
	defer p.abandon(t)
	p.setUp(t)
	p.setEnded(t, t.run(ctx))
}

// abandon gives up t, which is not served any more.
func (p *peer) abandon(t *tunnel) {
	p.mu.Lock()
	if p.tunnel == t {
		p.tunnel = nil
	}
	p.mu.Unlock()
	close(t.ended)
	wake(p.changed)
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

// stop leaves no tunnel behind: one may have been adopted after the last look.
func (p *peer) stop() {
	p.start(false)
	if t := p.current(); t != nil {
		t.close(wire.GoodbyeShutdown, "region "+p.m.o.Region+" stops the link")
		<-t.ended
	}
	p.setState(Down, "stopped")
}

func (p *peer) wakeSenders() {
	if list := p.senders.Load(); list != nil {
		for _, s := range *list {
			wake(s.grown)
		}
	}
	wake(p.spooled)
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
		if err := pause(ctx, time.Millisecond); err != nil {
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
