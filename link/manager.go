package link

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// Manager runs the links of a node. Forward, Spooled and Wanted never block and
// may be called at any time, also before Run.
type Manager struct {
	o        Options // fixed after New, but for Peers
	instance uint64  // of this Manager, told to peers

	transport atomic.Pointer[transport]         // while Run runs
	accepting atomic.Pointer[accepting]         // while Run runs
	peers     atomic.Pointer[map[home.ID]*peer] // replaced, never changed
	mu        sync.Mutex                        // one Reconfigure at a time
	changed   chan struct{}                     // peers was replaced

	lastStranger atomic.Int64 // Unix nanoseconds of the last one noted
}

// New returns a Manager for the links in o. It opens nothing before Run.
func New(o Options) (*Manager, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	m := &Manager{o: o, instance: rand.Uint64(), changed: make(chan struct{}, 1)}
	m.peers.Store(&map[home.ID]*peer{})
	return m, m.Reconfigure(o.Peers)
}

// Reconfigure replaces the set of links. Links that stay keep their tunnel, and
// use a changed policy from now on; their spools are not touched.
func (m *Manager) Reconfigure(peers []Peer) error {
	if err := validatePeers(m.o.Region, peers); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.peers.Load()
	next := make(map[home.ID]*peer, len(peers))
	for _, cfg := range peers {
		p := old[cfg.ID]
		if p == nil || p.config().region() != cfg.region() {
			p = newPeer(m, cfg)
		}
		p.configure(cfg)
		next[cfg.ID] = p
	}
	m.peers.Store(&next)
	wake(m.changed)
	return nil
}

// Run opens the socket and serves the links until ctx ends, which is not an
// error. It may be called again after it returned.
func (m *Manager) Run(ctx context.Context) error {
	tr, err := listen(&m.o, m.stranger)
	if err != nil {
		return err
	}
	m.transport.Store(tr)
	g := newGroup(ctx)
	a := &accepting{m: m, over: tr.tcp, all: g, openings: make(chan struct{}, maxOpenings), shakes: make(chan struct{}, maxOpenings)}
	m.accepting.Store(a)
	g.do(func(ctx context.Context) error { return a.quic(ctx, tr.quic) })
	if tr.tcp.listener != nil {
		g.do(func(ctx context.Context) error { return a.tcp(ctx, tr.tcp) })
	}
	g.do(m.runPeers)
	err = g.wait()
	m.accepting.Store(nil)
	tr.close()
	m.transport.Store(nil)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Addr is the socket's address while Run runs, otherwise nil.
func (m *Manager) Addr() net.Addr {
	if tr := m.transport.Load(); tr != nil {
		return tr.quic.socket.LocalAddr()
	}
	return nil
}

// AddrTCP is the address of the TCP listener while Run runs, nil without one.
func (m *Manager) AddrTCP() net.Addr {
	if tr := m.transport.Load(); tr != nil && tr.tcp.listener != nil {
		return tr.tcp.listener.Addr()
	}
	return nil
}

// runPeers keeps one running peer for each configured one.
func (m *Manager) runPeers(ctx context.Context) error {
	running := map[*peer]context.CancelFunc{}
	var all sync.WaitGroup
	defer all.Wait()
	for {
		want := map[*peer]bool{}
		for _, p := range *m.peers.Load() {
			want[p] = true
			if running[p] != nil {
				continue
			}
			peerCtx, cancel := context.WithCancel(ctx)
			running[p] = cancel
			all.Go(func() { p.keepRunning(peerCtx) })
		}
		for p, cancel := range running {
			if !want[p] {
				cancel()
				delete(running, p)
			}
		}
		select {
		case <-m.changed:
		case <-ctx.Done():
			for _, cancel := range running {
				cancel()
			}
			return nil
		}
	}
}

// strangerEvery bounds what those who may not open a tunnel can make us log.
const strangerEvery = 10 * time.Second

// stranger notes a tunnel that somebody tried to open and may not.
func (m *Manager) stranger(err error) {
	now := time.Now().UnixNano()
	if last := m.lastStranger.Load(); last != 0 && now-last < int64(strangerEvery) || !m.lastStranger.CompareAndSwap(last, now) {
		return
	}
	m.o.Logger.Warn("a tunnel was refused", "reason", err)
	for _, p := range *m.peers.Load() {
		p.noteStranger(err)
	}
}

// Spooled says that a peer's spool grew: part of home.Sink.
func (m *Manager) Spooled(id home.ID) {
	if p := (*m.peers.Load())[id]; p != nil {
		p.wakeSenders()
	}
}

// Wanted says that what this home wants of its peers changed: part of home.Sink.
func (m *Manager) Wanted() {
	for _, p := range *m.peers.Load() {
		wake(p.wanted)
	}
}

// Forward sends a message that is in no log to a peer: at most once, in the
// order of calls. It never blocks; a message that cannot go at once is dropped
// and counted. Neither the message nor the claim may be changed afterwards.
func (m *Manager) Forward(id home.ID, msg *home.Message, c home.Claim) {
	if p := (*m.peers.Load())[id]; p != nil {
		p.forward(liveItem{msg, c})
	}
}

// Status describes all links, by name.
func (m *Manager) Status() []Status {
	var list []Status
	for _, p := range *m.peers.Load() {
		list = append(list, p.status())
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return list
}

func (m *Manager) peerOf(region string) *peer {
	for _, p := range *m.peers.Load() {
		if p.config().region() == region {
			return p
		}
	}
	return nil
}
