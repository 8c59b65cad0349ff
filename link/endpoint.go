package link

import (
	"context"
	"crypto/tls"
	"iter"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// Endpoint is the sockets of a node, and what keeps them from being overrun. The
// Managers of all home copies at the node share it: a tunnel is between two copies, and
// the opening says which one is wanted.
type Endpoint struct {
	o           EndpointOptions // fixed after New
	relayLimits []relayLimit    // by rule of o.Relay; fixed after New

	transport atomic.Pointer[transport] // while Run runs
	accepting atomic.Pointer[accepting] // while Run runs

	mu       sync.Mutex
	managers map[*Manager]bool
	known    map[home.ID]home.Epoch // the highest that was heard of

	began        time.Time    // fixed after New
	lastStranger atomic.Int64 // when the last one was noted, counted from began; 0: none was
}

// NewEndpoint returns an Endpoint. It opens nothing before Run.
func NewEndpoint(o EndpointOptions) (*Endpoint, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Endpoint{o: o.withDefaults(), began: time.Now(), relayLimits: newRelayLimits(o.Relay), managers: map[*Manager]bool{}, known: map[home.ID]home.Epoch{}}, nil
}

// Run opens the sockets and takes tunnels until ctx ends, which is not an error. It may
// be called again after it returned. Managers run beside it; while it does not run
// their tunnels end, and they go on trying.
func (e *Endpoint) Run(ctx context.Context) error {
	tr, err := listen(&e.o, e.stranger)
	if err != nil {
		return err
	}
	e.transport.Store(tr)
	g := group.New(ctx)
	a := &accepting{e: e, over: tr.tcp, all: g, openings: make(chan struct{}, maxOpenings), shakes: make(chan struct{}, maxOpenings)}
	e.accepting.Store(a)
	g.Do(func(ctx context.Context) error { return a.quic(ctx, tr.quic) })
	if tr.tcp.listener != nil {
		g.Do(func(ctx context.Context) error { return a.tcp(ctx, tr.tcp) })
	}
	e.wakeAll()
	err = g.Wait()
	e.accepting.Store(nil)
	e.transport.Store(nil)
	tr.close()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Addr is the socket's address while Run runs, otherwise nil.
func (e *Endpoint) Addr() net.Addr {
	if tr := e.transport.Load(); tr != nil {
		return tr.quic.socket.LocalAddr()
	}
	return nil
}

// AddrTCP is the address of the TCP listener while Run runs, nil without one.
func (e *Endpoint) AddrTCP() net.Addr {
	if tr := e.transport.Load(); tr != nil && tr.tcp.listener != nil {
		return tr.tcp.listener.Addr()
	}
	return nil
}

// strangerEvery bounds what those who may not open a tunnel can make us log.
const strangerEvery = 10 * time.Second

// stranger notes a tunnel that somebody tried to open and may not.
func (e *Endpoint) stranger(err error) {
	now := int64(time.Since(e.began)) + 1
	if last := e.lastStranger.Load(); last != 0 && now-last < int64(strangerEvery) || !e.lastStranger.CompareAndSwap(last, now) {
		return
	}
	e.o.Logger.Warn("a tunnel was refused", "reason", err)
	for _, p := range e.links() {
		p.noteStranger(err)
	}
}

// panicked logs where an error was a panic, if it was one.
func (e *Endpoint) panicked(err error) {
	if p := group.Panicked(err); p != nil {
		e.o.Logger.Error("panic in a link's connection", "panic", p, "stack", string(p.Stack))
	}
}

// all returns the Managers.
func (e *Endpoint) all() []*Manager {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*Manager, 0, len(e.managers))
	for m := range e.managers {
		list = append(list, m)
	}
	return list
}

// wakeAll makes every link try again.
func (e *Endpoint) wakeAll() {
	for _, p := range e.links() {
		group.Wake(p.changed)
	}
}

// links returns what the Managers keep up.
func (e *Endpoint) links() (list []*peer) {
	for _, m := range e.all() {
		for _, p := range *m.peers.Load() {
			list = append(list, p)
		}
	}
	return list
}

// Recheck closes the tunnels of peers that refused says something about: their certificates may have been revoked since the
// handshake. It says how many.
func (e *Endpoint) Recheck(refused func(tls.ConnectionState) error) (n int) {
	for _, p := range e.links() {
		t := p.current()
		if t == nil {
			continue
		}
		if err := refused(t.c.tls()); err != nil {
			e.o.Logger.Warn("a tunnel is closed", "peer", t.remote.Region, "reason", err)
			t.close(wire.GoodbyeIdentity, "identity: "+err.Error())
			n++
		}
	}
	return n
}

// tunnels are those to a region.
func (e *Endpoint) tunnels(region string) iter.Seq[*tunnel] {
	return func(yield func(*tunnel) bool) {
		for _, p := range e.links() {
			if t := p.current(); t != nil && t.remote.Region == region && !yield(t) {
				return
			}
		}
	}
}

// knows says whether any Manager may have a tunnel to a region.
func (e *Endpoint) knows(region string) bool {
	return slices.ContainsFunc(e.links(), func(p *peer) bool { return p.mayBe(region) })
}

// add makes the tunnels that want m's home come to it.
func (e *Endpoint) add(m *Manager) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.managers[m] = true
}

// drop ends what add began.
func (e *Endpoint) drop(m *Manager) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.managers, m)
}
