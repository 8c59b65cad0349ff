package simlab

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
)

// Network is what lies between the regions: latency, loss, doubled packets, and
// directions that are cut. Its methods may be called from any goroutine.
type Network struct {
	oneWay time.Duration
	jitter time.Duration

	mu    sync.Mutex
	rnd   *rand.Rand
	names map[string]string // IP to region
	nodes map[string]simnet.PacketReceiver
	cut   map[[2]string]bool // from, to
	loss  float64
	twice float64
}

func newNetwork(seed uint64, oneWay, jitter time.Duration) *Network {
	return &Network{oneWay: oneWay, jitter: jitter, rnd: rand.New(rand.NewPCG(seed, 0x4E7)), names: map[string]string{},
		nodes: map[string]simnet.PacketReceiver{}, cut: map[[2]string]bool{}}
}

// Cut ends all traffic between two regions, both ways.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay ends what goes from one region to the other. What is on its way
// arrives.
func (n *Network) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Heal undoes both cuts of a pair.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, [2]string{a, b})
	delete(n.cut, [2]string{b, a})
}

// Disturb sets the chances (0 to 1) that a packet is lost or doubled.
func (n *Network) Disturb(loss, twice float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss, n.twice = loss, twice
}

// AddNode implements simnet.Router.
func (n *Network) AddNode(a net.Addr, r simnet.PacketReceiver) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[a.String()] = r
}

// SendPacket implements simnet.Router.
func (n *Network) SendPacket(p simnet.Packet) error {
	to, copies := n.route(p)
	for range copies {
		to.RecvPacket(p)
	}
	return nil
}

func (n *Network) route(p simnet.Packet) (to simnet.PacketReceiver, copies int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to = n.nodes[p.To.String()]
	switch {
	case to == nil || n.cut[[2]string{n.name(p.From), n.name(p.To)}] || n.rnd.Float64() < n.loss:
		return nil, 0
	case n.rnd.Float64() < n.twice:
		return to, 2
	}
	return to, 1
}

func (n *Network) name(a net.Addr) string { return n.names[a.(*net.UDPAddr).IP.String()] }

// latency is that of one packet: with jitter, packets overtake each other.
func (n *Network) latency(simnet.Packet) time.Duration {
	if n.jitter == 0 {
		return n.oneWay
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.oneWay + time.Duration(n.rnd.Int64N(int64(n.jitter)))
}

// plug connects one life of a node with the network between regions, and with
// the one of its region. Once pulled, nothing gets out or in, whatever that life
// still does.
type plug struct {
	*wires.Node
	net    *Network
	pulled atomic.Bool
}

var _ cluster.Network = (*plug)(nil)

// DialStream implements cluster.Network.
func (p *plug) DialStream(ctx context.Context, addr string) (net.Conn, error) {
	c, err := p.Node.DialStream(ctx, addr)
	if err == nil && p.pulled.Load() {
		_ = c.Close()
		err = os.ErrDeadlineExceeded
	}
	return c, err
}

func (p *plug) AddNode(a net.Addr, r simnet.PacketReceiver) { p.net.AddNode(a, plugIn{p, r}) }

func (p *plug) SendPacket(pk simnet.Packet) error {
	if p.pulled.Load() {
		return nil
	}
	return p.net.SendPacket(pk)
}

type plugIn struct {
	plug *plug
	to   simnet.PacketReceiver
}

func (i plugIn) RecvPacket(pk simnet.Packet) {
	if !i.plug.pulled.Load() {
		i.to.RecvPacket(pk)
	}
}

// socket is a node's UDP socket. Closing it ends the simulated line, too.
type socket struct {
	*simnet.SimConn
	line *simnet.SimulatedLink
	once sync.Once
}

// listen opens the socket of a region.
func (p *plug) listen(addr *net.UDPAddr) net.PacketConn {
	l := &simnet.SimulatedLink{LatencyFunc: p.net.latency, UploadPacket: p}
	c := simnet.NewBlockingSimConn(addr, l)
	l.Start()
	p.AddNode(addr, l) // a packet before Start would find half a line
	return &socket{SimConn: c, line: l}
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	err := s.SimConn.Close()
	s.once.Do(func() { _ = s.line.Close() })
	return err
}
