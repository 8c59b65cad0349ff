package wires

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// Net is the network. Its methods may be called from any goroutine.
type Net struct {
	oneWay, jitter time.Duration // fixed

	mu      sync.Mutex
	rnd     *rand.Rand
	nodes   map[string]*Node
	cut     map[[2]string]bool // from, to
	conns   map[*conn]struct{}
	changed chan struct{} // closed when cuts changed
	half    []halfOpen
}

// halfOpen is a connection whose one end died without the other's hearing of it.
type halfOpen struct {
	from, to string
	lane     *lane
}

// New returns a network without nodes. Each packet takes oneWay, and up to jitter
// more.
func New(seed uint64, oneWay, jitter time.Duration) *Net {
	return &Net{oneWay: oneWay, jitter: jitter, rnd: rand.New(rand.NewPCG(seed, 0x317E5)), nodes: map[string]*Node{},
		cut: map[[2]string]bool{}, conns: map[*conn]struct{}{}, changed: make(chan struct{})}
}

// Node is one node's access to the network: a cluster.Network.
type Node struct {
	net  *Net
	name string
	addr *net.UDPAddr

	// guarded by net.mu
	listener *listener
	gossip   *gossip
	dead     bool // killed, and not listening again yet
}

// Node returns the node of that name, which is made at the first call. Its gossip
// address is Addr.
func (n *Net) Node(name string) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.nodes[name]
	if d == nil {
		i := len(n.nodes) + 1
		d = &Node{net: n, name: name, addr: &net.UDPAddr{IP: net.IPv4(10, 7, byte(i>>8), byte(i)), Port: 7946}}
		n.nodes[name] = d
	}
	return d
}

// Addr is the node's gossip address.
func (d *Node) Addr() string { return d.addr.String() }

// Cut ends traffic between two nodes, both ways.
func (n *Net) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay holds back what goes from one node to the other.
func (n *Net) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Heal undoes the cuts of a pair, both ways.
func (n *Net) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, [2]string{a, b})
	delete(n.cut, [2]string{b, a})
	n.healed()
}

// HealAll undoes all cuts.
func (n *Net) HealAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.healed()
}

// healed wakes who waits for the network, and lets the living ends of connections
// hear that the others died. Guarded by mu.
func (n *Net) healed() {
	n.half = slices.DeleteFunc(n.half, func(h halfOpen) bool {
		if n.cut[[2]string{h.from, h.to}] {
			return false
		}
		h.lane.close(errReset)
		return true
	})
	close(n.changed)
	n.changed = make(chan struct{})
}

// deadHost is after how long the living end of a connection gives up one whose
// other end is silent, as a node's sockets do.
const deadHost = 5 * time.Second

func (n *Net) died(from, to string, l *lane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.cut[[2]string{from, to}] {
		l.close(errReset)
		return
	}
	n.half = append(n.half, halfOpen{from, to, l})
	time.AfterFunc(deadHost, func() { l.close(errReset) })
}

// Kill ends a node without warning: its connections are reset where the network
// still carries the word, and its ports refuse. A new life listens again.
func (n *Net) Kill(name string) {
	n.mu.Lock()
	d := n.nodes[name]
	var ends []*conn
	for c := range n.conns {
		if c.local == name {
			ends = append(ends, c)
		}
	}
	var l *listener
	if d != nil {
		l, d.listener, d.gossip = d.listener, nil, nil
		d.dead = true // what is left of its life reaches nobody
	}
	n.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	for _, c := range ends {
		c.reset()
	}
}

func (n *Net) isCut(from, to string) (cut bool, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]string{from, to}], n.changed
}

func (n *Net) delay() time.Duration {
	if n.jitter == 0 {
		return n.oneWay
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.oneWay + time.Duration(n.rnd.Int64N(int64(n.jitter)))
}

// listener accepts the streams of a node.
type listener struct {
	node   *Node
	in     chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// ListenStreams implements cluster.Network.
func (d *Node) ListenStreams() (net.Listener, error) {
	l := &listener{node: d, in: make(chan net.Conn), closed: make(chan struct{})}
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	if d.listener != nil {
		return nil, fmt.Errorf("listen as %s: %w", d.name, syscall.EADDRINUSE)
	}
	d.listener, d.dead = l, false
	return l, nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.node.net.mu.Lock()
	defer l.node.net.mu.Unlock()
	if l.node.listener == l {
		l.node.listener = nil
	}
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return nodeAddr(l.node.name) }

type nodeAddr string

func (nodeAddr) Network() string  { return "wires" }
func (a nodeAddr) String() string { return string(a) }

// DialStream implements cluster.Network. An address is a node's name.
func (d *Node) DialStream(ctx context.Context, to string) (net.Conn, error) {
	n := d.net
	for {
		there, _ := n.isCut(d.name, to)
		back, changed := n.isCut(to, d.name)
		if !there && !back {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, os.ErrDeadlineExceeded
		}
	}
	select {
	case <-time.After(2 * n.delay()):
	case <-ctx.Done():
		return nil, os.ErrDeadlineExceeded
	}
	n.mu.Lock()
	if d.dead {
		n.mu.Unlock()
		return nil, os.ErrDeadlineExceeded
	}
	peer := n.nodes[to]
	if peer == nil || peer.listener == nil {
		n.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: "wires", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	l := peer.listener
	n.mu.Unlock()
	mine, theirs := n.pair(d.name, to)
	select {
	case l.in <- theirs:
		return mine, nil
	case <-l.closed:
		mine.reset()
		return nil, &net.OpError{Op: "dial", Net: "wires", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case <-ctx.Done():
		mine.reset()
		return nil, os.ErrDeadlineExceeded
	}
}

var _ memberlist.NodeAwareTransport = (*gossip)(nil)
