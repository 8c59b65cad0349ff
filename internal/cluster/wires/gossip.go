package wires

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossip is memberlist's transport for one life of a node.
type gossip struct {
	node    *Node
	packets chan *memberlist.Packet
	streams chan net.Conn
}

// Gossip implements cluster.Network.
func (d *Node) Gossip() (memberlist.NodeAwareTransport, error) {
	g := &gossip{node: d, packets: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn, 16)}
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	d.gossip = g
	return g, nil
}

// to is where an address leads, if the network carries there and the node lives.
func (g *gossip) to(addr string) *gossip {
	n := g.node.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if g.node.gossip != g {
		return nil // of a former life
	}
	for _, d := range n.nodes {
		if d.addr.String() == addr && d.gossip != nil && !n.cut[[2]string{g.node.name, d.name}] {
			return d.gossip
		}
	}
	return nil
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (g *gossip) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return g.node.addr.IP, g.node.addr.Port, nil
}

// WriteTo implements memberlist.Transport. A full buffer drops, as UDP does.
func (g *gossip) WriteTo(b []byte, addr string) (time.Time, error) {
	if p := g.to(addr); p != nil {
		select {
		case p.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: g.node.addr, Timestamp: time.Now()}:
		default:
		}
	}
	return time.Now(), nil
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (g *gossip) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, addr.Addr)
}

// PacketCh implements memberlist.Transport.
func (g *gossip) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh implements memberlist.Transport.
func (g *gossip) StreamCh() <-chan net.Conn { return g.streams }

// IngestPacket implements memberlist.IngestionAwareTransport: labelled packets do
// not come this way.
func (g *gossip) IngestPacket(c net.Conn, _ net.Addr, _ time.Time, _ bool) error { return c.Close() }

// IngestStream implements memberlist.IngestionAwareTransport.
func (g *gossip) IngestStream(c net.Conn) error {
	g.streams <- c
	return nil
}

// DialTimeout implements memberlist.Transport.
func (g *gossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	p := g.to(addr)
	if p == nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	mine, theirs := g.node.net.pair(g.node.name, p.node.name)
	select {
	case p.streams <- theirs:
		return mine, nil
	default:
		mine.reset()
		theirs.reset()
		return nil, context.DeadlineExceeded
	}
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *gossip) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(addr.Addr, timeout)
}

// Shutdown implements memberlist.Transport.
func (g *gossip) Shutdown() error {
	g.node.net.mu.Lock()
	defer g.node.net.mu.Unlock()
	if g.node.gossip == g {
		g.node.gossip = nil
	}
	return nil
}
