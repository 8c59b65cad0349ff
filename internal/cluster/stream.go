package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"syscall"
	"time"

	"causeway/internal/group"
)

// Stream is an authenticated byte stream to another node. Whoever has it closes
// it.
type Stream struct {
	net.Conn
	Peer Peer
}

const (
	openIn     = 5 * time.Second // TLS and both hellos
	maxOpening = 128             // streams being opened by others at once
	maxStreams = 4096            // streams opened by others
)

// Handle says who serves the streams of a protocol; nil: nobody, they are
// refused. serve has a goroutine a stream; ctx ends when the cluster stops, and
// the stream is closed when serve returns. A panic costs its stream.
func (c *Cluster) Handle(protocol string, serve func(ctx context.Context, s *Stream)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if serve == nil {
		delete(c.handlers, protocol)
		return
	}
	c.handlers[protocol] = serve
}

func (c *Cluster) handler(protocol string) func(context.Context, *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handlers[protocol]
}

// Dead says of a Dial's error that nothing listens there any more: the process is
// gone. A time-out does not say so.
func Dead(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// ErrUnknownNode: gossip has not told of such a node.
var ErrUnknownNode = errors.New("no such node is known")

// Dial opens a stream to a node; with a disk, only if that is the node's disk.
// Errors: ErrUnknownNode, *Refused, those of the network (see Dead), ctx's.
func (c *Cluster) Dial(ctx context.Context, node, disk, protocol string) (*Stream, error) {
	m, ok := c.member(node)
	if !ok {
		return nil, fmt.Errorf("dial node %s: %w", node, ErrUnknownNode)
	}
	s, err := c.dial(ctx, m, disk, protocol)
	if err != nil {
		c.stats.dialFailures.Add(1)
		return nil, fmt.Errorf("dial node %s at %s: %w", node, m.Streams, err)
	}
	c.stats.dialled.Add(1)
	return s, nil
}

func (c *Cluster) dial(ctx context.Context, m Member, disk, protocol string) (_ *Stream, err error) {
	ctx, cancel := context.WithTimeout(ctx, openIn)
	defer cancel()
	raw, err := c.net.DialStream(ctx, m.Streams)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	conf := c.o.Identity.NodeClientTLS(m.Node)
	conf.NextProtos = []string{protocol}
	tc := tls.Client(raw, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })
	defer release()
	mine, err := c.hello(disk)
	if err != nil {
		return nil, err
	}
	if err := writeHello(tc, mine); err != nil {
		return nil, err
	}
	theirs, err := readHello(tc)
	if err == nil {
		err = c.check(&theirs, tc)
	}
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if !release() {
		return nil, ctx.Err()
	}
	return &Stream{Conn: c.keepDialled(tc, raw), Peer: theirs.Peer}, raw.SetDeadline(time.Time{})
}

// dialled is a stream that this node opened.
type dialled struct {
	*tls.Conn
	c *Cluster
}

// Close forgets the stream.
func (d dialled) Close() error {
	d.c.mu.Lock()
	delete(d.c.dialled, d.Conn)
	d.c.mu.Unlock()
	return d.Conn.Close()
}

func (c *Cluster) keepDialled(tc *tls.Conn, raw net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialled[tc] = raw
	return dialled{tc, c}
}

// Recheck closes the streams, dialled and accepted, of peers that refused says something about: their certificates may have
// been revoked since the handshake. It says how many.
func (c *Cluster) Recheck(refused func(tls.ConnectionState) error) (n int) {
	for raw, tc := range c.opened() {
		if err := refused(tc.ConnectionState()); err != nil {
			c.log.Warn("a peer stream is closed", "remote", raw.RemoteAddr(), "reason", err)
			_ = raw.Close()
			n++
		}
	}
	return n
}

func (c *Cluster) opened() map[net.Conn]*tls.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[net.Conn]*tls.Conn, len(c.streams)+len(c.dialled))
	for raw, tc := range c.streams {
		if tc != nil {
			all[raw] = tc
		}
	}
	for tc, raw := range c.dialled {
		all[raw] = tc
	}
	return all
}

func writeHello(w net.Conn, h hello) error {
	b, err := h.encode()
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// hello is ours, now.
func (c *Cluster) hello(wants string) (hello, error) {
	self, err := c.o.Self()
	if err != nil {
		return hello{}, fmt.Errorf("this node is not ready: %w", err)
	}
	return hello{Peer: Peer{Node: c.o.Node, Role: c.o.Role, Disk: self.Disk, Incarnation: self.Incarnation, Features: self.Features,
		Software: c.o.Software, Wall: c.o.Wall()}, region: c.o.Region, wants: wants}, nil
}

// check holds what a hello says against the certificate.
func (c *Cluster) check(h *hello, tc *tls.Conn) error {
	if h.code != 0 {
		return &Refused{h.code, h.reason}
	}
	region, node, err := c.o.Identity.PeerNode(tc.ConnectionState())
	switch {
	case err != nil:
		return err
	case region != c.o.Region || h.region != c.o.Region:
		return &Refused{WrongRegion, fmt.Sprintf("this is region %s, and the other side is of %s", c.o.Region, region)}
	case node == "":
		return c.checkNameless(h)
	case node != h.Node:
		return &Refused{WrongNode, fmt.Sprintf("the certificate is node %s's, and the hello says %s", node, h.Node)}
	}
	return nil
}

// checkNameless holds a hello against a certificate that names the region alone. Replicants that are started by number share
// one; cores vote, and each proves its name.
func (c *Cluster) checkNameless(h *hello) error {
	known, ok := c.member(h.Node)
	if h.Role != Replicant || h.Disk != "" || h.Node == c.o.Node || ok && known.Role == Core {
		return &Refused{WrongNode, fmt.Sprintf("the certificate names no node, as replicants' may, and the hello says core node %s", h.Node)}
	}
	return nil
}

// accept serves the streams that others open, until the listener is closed.
func (c *Cluster) accept(ctx context.Context, l net.Listener) error {
	wait := 5 * time.Millisecond
	for {
		raw, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			c.log.Warn("accept a peer stream", "error", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return nil
			}
			wait = min(2*wait, time.Second)
			continue
		}
		wait = 5 * time.Millisecond
		select {
		case c.opening <- struct{}{}:
		default:
			c.stats.refused.Add(1)
			_ = raw.Close()
			continue
		}
		c.all.Go(func() { c.serve(ctx, raw) })
	}
}

// serve opens and serves one accepted stream.
func (c *Cluster) serve(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	defer c.forgetStream(raw)
	if !c.keepStream(raw) {
		<-c.opening
		return
	}
	s, serve, err := c.openGuarded(ctx, raw)
	<-c.opening
	if err != nil {
		c.stats.refused.Add(1)
		c.log.Debug("a peer stream was refused", "remote", raw.RemoteAddr(), "reason", err)
		return
	}
	c.stats.accepted.Add(1)
	defer s.Close()
	c.openedStream(raw, s)
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in a peer stream's handler", "peer", s.Peer.Node, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	serve(ctx, s)
}

// openGuarded is open; a panic over what a stranger sent refuses the stream.
func (c *Cluster) openGuarded(ctx context.Context, raw net.Conn) (s *Stream, serve func(context.Context, *Stream), err error) {
	err = group.Protect(func() (err error) {
		s, serve, err = c.open(ctx, raw)
		return err
	})
	return s, serve, err
}

func (c *Cluster) open(ctx context.Context, raw net.Conn) (*Stream, func(context.Context, *Stream), error) {
	_ = raw.SetDeadline(time.Now().Add(openIn))
	conf := c.o.Identity.NodeServerTLS()
	conf.NextProtos = nil
	conf.GetConfigForClient = c.anyProtocol(conf)
	tc := tls.Server(raw, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	theirs, err := readHello(tc)
	if err != nil {
		return nil, nil, err
	}
	mine, err := c.hello("")
	serve := c.handler(tc.ConnectionState().NegotiatedProtocol)
	if err == nil {
		err = c.check(&theirs, tc)
	} else {
		err = &Refused{NotReady, err.Error()}
	}
	switch {
	case err != nil:
	case theirs.wants != "" && theirs.wants != mine.Disk:
		err = &Refused{WrongDisk, fmt.Sprintf("disk %s of node %s is meant, and this is disk %s", theirs.wants, c.o.Node, mine.Disk)}
	case serve == nil:
		err = &Refused{UnknownProtocol, fmt.Sprintf("node %s does not serve %s now", c.o.Node, tc.ConnectionState().NegotiatedProtocol)}
	}
	var no *Refused
	if errors.As(err, &no) {
		mine.code, mine.reason = no.Code, no.Reason
		mine.Node, mine.region = c.o.Node, c.o.Region
	} else if err != nil {
		return nil, nil, err
	}
	if werr := writeHello(tc, mine); werr != nil || no != nil {
		return nil, nil, errors.Join(err, werr)
	}
	return &Stream{Conn: tc, Peer: theirs.Peer}, serve, raw.SetDeadline(time.Time{})
}

// anyProtocol negotiates whatever protocol the other side names: whether
// somebody serves it is said by the hello, with a reason.
func (c *Cluster) anyProtocol(conf *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(in *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(in.SupportedProtos) != 1 {
			return nil, errors.New("a peer stream names one protocol")
		}
		one := conf.Clone()
		one.GetConfigForClient = nil
		one.NextProtos = in.SupportedProtos
		return one, nil
	}
}

// keepStream remembers an accepted stream, so that a stop can close it.
func (c *Cluster) keepStream(raw net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || len(c.streams) >= maxStreams {
		return false
	}
	c.streams[raw] = nil
	return true
}

// openedStream makes an accepted stream one that Recheck looks at.
func (c *Cluster) openedStream(raw net.Conn, s *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tc, ok := s.Conn.(*tls.Conn); ok {
		c.streams[raw] = tc
	}
}

func (c *Cluster) forgetStream(raw net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, raw)
}

// closeStreams ends what others opened.
func (c *Cluster) closeStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for raw := range c.streams {
		_ = raw.Close()
	}
}
