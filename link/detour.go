package link

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// A detour: where the path is long and loses packets, and several QUIC connections
// still set the pace, a tunnel moves to TCP, if the kernel gives BBR to it. QUIC has
// CUBIC alone, which takes each loss for congestion. The side that sends judges: it
// asks for the move knowing what QUIC carried, and ends it when TCP carries no more,
// or so much is not needed any more. Only the side that dialled can move.

const (
	longWay    = 20 * time.Millisecond // there and back
	lossyWay   = 0.003                 // of the packets
	detourTook = 15 * time.Second      // from the wish to the tunnel, at most
	detourLook = 2 * time.Second
	detourWarm = 5 * time.Second // before a detour is judged
	betterBy   = 1.1             // what TCP must carry, times what QUIC did
	// Between wishes, more each time that nothing came of it.
	detourLeast = time.Minute
	detourMost  = time.Hour
)

// exhausted says that QUIC carries what it can, and that this is a path on which BBR
// may carry more.
func (w *width) exhausted(now time.Time, rtt time.Duration) bool {
	return w.limited && w.trial.from == 0 && (w.n == w.most || now.Before(w.again)) && w.loss() >= lossyWay && rtt >= longWay
}

// wishes paces what a side asks of a link: a detour that brought nothing is not
// repeated soon.
type wishes struct {
	mu    sync.Mutex
	asked time.Time
	why   string
	beat  float64 // bytes a second that QUIC carried then
	wait  time.Duration
}

// ask notes a wish, if it is time for one.
func (w *wishes) ask(now time.Time, beat float64, why string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asked.IsZero() && now.Sub(w.asked) < w.wait {
		return false
	}
	w.asked, w.beat, w.why = now, beat, why
	w.wait = min(max(2*w.wait, detourLeast), detourMost)
	return true
}

// granted says whether a tunnel over TCP that begins now is what was asked for.
func (w *wishes) granted(now time.Time) (beat float64, why string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked.IsZero() || now.Sub(w.asked) > detourTook {
		return 0, "", false
	}
	return w.beat, w.why, true
}

// good notes that the detour was worth it.
func (w *wishes) good() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait = detourLeast
}

// stay judges a detour by what it carries. It is pure.
type stay struct {
	beat   float64 // bytes a second
	began  time.Time
	needed time.Time
	seen   glance
	doubt  bool // it carried too little once
	good   bool // it carried more than QUIC
}

// look takes a glance and says whether the detour goes on.
func (s *stay) look(now time.Time, g glance) bool {
	if s.began.IsZero() {
		s.began, s.needed = now, now
	}
	if now.Sub(s.began) < detourWarm {
		return true
	}
	if s.seen = s.seen.plus(g); s.seen.over < detourLook {
		return true
	}
	rate, limited := s.seen.rate(), s.seen.limited()
	s.seen = glance{}
	poor := limited && rate < betterBy*s.beat
	if rate >= betterBy*s.beat {
		s.good = true
	}
	if 4*rate > s.beat {
		s.needed = now
	}
	if poor && s.doubt {
		return false
	}
	s.doubt = poor
	return now.Sub(s.needed) < calmFor
}

// metered is a connection over TCP of which is known what it carries, and whether it
// sets the pace.
type metered struct {
	conn
	held   holdup
	handed atomic.Uint64
}

func (m *metered) send(ctx context.Context) (sendStream, error) {
	s, err := m.conn.send(ctx)
	return meteredSend{s, m}, err
}

type meteredSend struct {
	sendStream
	m *metered
}

func (s meteredSend) Write(p []byte) (int, error) {
	s.m.held.begin()
	defer s.m.held.end()
	n, err := s.sendStream.Write(p)
	s.m.handed.Add(uint64(n))
	return n, err
}

// fitDetour keeps a tunnel over TCP there for as long as our side is better off.
func (t *tunnel) fitDetour(ctx context.Context, m *metered) error {
	beat, why, ours := t.p.wishes.granted(t.began)
	if !ours {
		return nil
	}
	why += "; TCP with BBR carries more than QUIC"
	t.why.Store(&why)
	t.wish(true)
	defer t.wish(false)
	s := stay{beat: beat}
	eye := observer{held: &m.held, handed: &m.handed, stats: m.stats, size: func() int { return 1 }, at: time.Now()}
	for group.Pause(ctx, lookEvery) == nil {
		goesOn := s.look(time.Now(), eye.look())
		if s.good {
			t.p.wishes.good()
		}
		if !goesOn {
			t.p.log.Info("the link goes back to UDP", "reason", "TCP carries no more, or so much is not needed")
			return nil
		}
	}
	return nil
}

// wish tells the peer and the link whether this side wants the tunnel on TCP.
func (t *tunnel) wish(tcp bool) {
	t.wishTCP.Store(tcp)
	t.out.connections(1, tcp)
	group.Wake(t.p.changed)
}

// heardWish takes what the peer needs.
func (t *tunnel) heardWish(m *wire.Connections) {
	t.wanted.Store(int32(min(m.Want, wire.MaxConnections)))
	t.peerTCP.Store(m.TCP)
	if m.TCP && t.dialled && t.c.network() == overUDP && time.Since(t.heardAt) >= detourTook {
		t.heardAt = time.Now() // a try costs a dial and a line in the log, whoever asks how often
		group.Wake(t.detour)
	}
	group.Wake(t.p.changed)
}

// stays says that a tunnel over TCP is where one side wants it.
func (t *tunnel) stays() bool {
	return t.c.network() == overTCP && (t.wishTCP.Load() || t.peerTCP.Load())
}

// considerDetour asks for TCP where several connections are not enough.
func (t *tunnel) considerDetour(w *width, rtt time.Duration, n int) {
	now := time.Now()
	if !w.exhausted(now, rtt) || !t.p.m.ep.o.fastTCP() || !t.p.wishes.ask(now, w.full, fmt.Sprintf("the path loses %.2g%% of the packets", 100*w.loss())) {
		return
	}
	if t.dialled {
		group.Wake(t.detour)
		return
	}
	t.out.connections(n, true)
}

// takeDetour dials over TCP alone while t is in use.
func (p *peer) takeDetour(ctx context.Context, t *tunnel) (*tunnel, error) {
	endpoints := only(overTCP, p.candidates())
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("the link to %q has no tcp:// address", p.config().name())
	}
	if !p.m.gateway() {
		return nil, errNotGateway(p.m.ep.o.Region)
	}
	_, why, ours := p.wishes.granted(time.Now())
	if !ours {
		why = "the path loses packets: the peer asked for TCP with BBR"
	}
	return p.dialAny(ctx, endpoints, why)
}
