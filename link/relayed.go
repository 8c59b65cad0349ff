package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/link/wire"
)

// The ends of a relayed tunnel run what they run over TCP, TLS and yamux, in a
// stream that a third region passes on. Each checks the other one's certificate; the
// relay's has no say.

// relayAddr is a region by which another one is reached.
type relayAddr struct{ region string }

func (relayAddr) Network() string  { return string(overRelay) }
func (a relayAddr) String() string { return string(overRelay) + "://" + a.region }

// relayError is why a relayed tunnel's stream ended. It wraps nothing: the end of
// the tunnel that carried it is not that of the one inside.
type relayError struct{ text string }

func (e *relayError) Error() string { return e.text }

// errNoRelayAnswer is a dial through a relay that nothing came back from.
var errNoRelayAnswer = errors.New("no answer through the relay")

// relayConn is an end of a relayed stream.
type relayConn struct {
	duplex
	r       *bufio.Reader // of duplex
	via     relayAddr
	own     string // region
	once    sync.Once
	closing func()
}

func newRelayConn(s duplex, r *bufio.Reader, via, own string, closing func()) *relayConn {
	_ = s.SetDeadline(time.Time{})
	return &relayConn{duplex: s, r: r, via: relayAddr{via}, own: own, closing: closing}
}

func (c *relayConn) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	return n, c.plain(err)
}

func (c *relayConn) Write(b []byte) (int, error) {
	n, err := c.duplex.Write(b)
	return n, c.plain(err)
}

func (c *relayConn) CloseWrite() error {
	c.closeWrite()
	return nil
}

// Close gives the stream up.
func (c *relayConn) Close() error {
	c.once.Do(func() {
		c.reset()
		c.closing()
	})
	return nil
}

func (c *relayConn) LocalAddr() net.Addr  { return relayAddr{c.own} }
func (c *relayConn) RemoteAddr() net.Addr { return c.via }

func (c *relayConn) plain(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return err
	case errors.Is(err, errStream):
		return &relayError{fmt.Sprintf("the relay %q gave the stream up: its tunnel to the peer ended, or nothing passed", c.via.region)}
	}
	return &relayError{fmt.Sprintf("the tunnel to the relay %q ended: %v", c.via.region, err)}
}

// dialRelay asks a region to pass a tunnel on to another one.
func (e *Endpoint) dialRelay(ctx context.Context, via relayAddr, region string, c *tls.Config) (conn, error) {
	t, err := e.carrier(via.region)
	if err != nil {
		return nil, err
	}
	if !take(t.relayed) {
		return nil, fmt.Errorf("the tunnel to region %q has %d relayed ones already", via.region, maxRelayed)
	}
	raw, err := t.askRelay(ctx, region)
	if err != nil {
		<-t.relayed
		return nil, err
	}
	tr := e.transport.Load()
	if tr == nil {
		_ = raw.Close()
		return nil, errNoSockets
	}
	inner, err := tr.tcp.greet(ctx, raw, withALPN(c, wire.ALPN))
	if errors.Is(err, errNoTCPAnswer) {
		err = errNoRelayAnswer
	}
	return inner, err
}

// relayUp makes the links whose peers are dialled through a region try again.
func (e *Endpoint) relayUp(region string) {
	for _, p := range e.links() {
		if slices.Contains(p.config().Dial, relayAddr{region}.String()) {
			group.Wake(p.changed)
		}
	}
}

// askRelay opens a stream and waits for the answer, which is the far end's if the
// relay agrees.
func (t *tunnel) askRelay(ctx context.Context, region string) (*relayConn, error) {
	own := t.p.m.ep.o.Region
	s, err := t.openRelay(ctx, wire.RelayPath{From: own, To: region, Hops: 1})
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	stop := context.AfterFunc(ctx, s.reset)
	defer stop()
	r := bufio.NewReaderSize(s, streamBuffer)
	m, err := wire.ReadControl(r)
	a, ok := m.(*wire.RelayAnswer)
	switch {
	case ctx.Err() != nil:
		err = errNoRelayAnswer
	case err != nil:
		err = fmt.Errorf("the answer of the relay: %w", err)
	case !ok:
		err = protocolError("a %T in place of the relay's answer", m)
	case a.Code != wire.RelayThrough:
		err = fmt.Errorf("refused: %s (%s)", a.Reason, wire.RelayReason(a.Code))
	default:
		return newRelayConn(s, r, t.remote.Region, own, func() { <-t.relayed }), nil
	}
	s.reset()
	return nil, err
}

// takeRelayed is the far end's part: an opening as over TCP. It returns when the
// stream has ended.
func (t *tunnel) takeRelayed(s duplex, r *bufio.Reader, path wire.RelayPath) error {
	e := t.p.m.ep
	a := e.accepting.Load()
	if path.From == t.remote.Region || !e.knows(path.From) || a == nil {
		return refuse(wire.RelayUnknown, "region %q has no link to region %q: configure it there too", e.o.Region, path.From)
	}
	if _, err := s.Write(wire.AppendControl(nil, &wire.RelayAnswer{Code: wire.RelayThrough})); err != nil {
		return err
	}
	closed := make(chan struct{})
	raw := newRelayConn(s, r, t.remote.Region, e.o.Region, func() { close(closed) })
	a.all.Do(func(ctx context.Context) error { // not in the group of what carries it, the end of which waits for nothing
		if err := group.Protect(func() error { a.relayed(ctx, raw, path.From); return nil }); err != nil {
			e.panicked(err)
			_ = raw.Close()
		}
		return nil
	})
	<-closed
	return nil
}

// relayed serves a tunnel that a relay passed on.
func (a *accepting) relayed(ctx context.Context, raw *relayConn, from string) {
	shakeCtx, done := context.WithTimeout(ctx, a.e.o.DialTimeout)
	defer done()
	c, err := a.over.welcome(shakeCtx, raw)
	if err != nil {
		return // a refused certificate was told
	}
	region, err := a.e.o.Identity.PeerRegion(c.tls())
	if err != nil || region != from {
		err = fmt.Errorf("identity: %s passed on a tunnel of region %q, its certificate is of %q", raw.via, from, region)
		a.e.stranger(err)
		c.close(wire.GoodbyeIdentity, err.Error())
		return
	}
	a.serve(ctx, c)
}
