package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"causeway/link/wire"
)

// transport is the sockets of a Manager.
type transport struct {
	quic *quicTransport
	tcp  *tcpTransport
}

// listen opens the sockets. refused is told of handshakes that fail by the peer's
// certificate; nothing else hears of them.
func listen(o *EndpointOptions, refused func(error)) (*transport, error) {
	server := withALPN(o.Identity.ServerTLS(), wire.ALPN)
	if verify := server.VerifyConnection; verify != nil {
		server.VerifyConnection = func(s tls.ConnectionState) error {
			err := verify(s)
			if err != nil {
				refused(err)
			}
			return err
		}
	}
	t := &transport{}
	var err error
	if t.quic, err = listenQUIC(o, withALPN(server, wire.ALPN, wire.ALPNJoin)); err != nil {
		return nil, err
	}
	if t.tcp, err = listenTCP(o, server); err != nil {
		t.quic.close()
		return nil, err
	}
	return t, nil
}

// dial returns a connection whose handshake is done, over the address's network.
func (t *transport) dial(ctx context.Context, addr net.Addr, c *tls.Config) (conn, error) {
	if overTCP.has(addr) {
		return t.tcp.dial(ctx, addr, withALPN(c, wire.ALPN))
	}
	return t.quic.dial(ctx, addr, withALPN(c, wire.ALPN))
}

// join returns a further connection for a tunnel over QUIC.
func (t *transport) join(ctx context.Context, addr net.Addr, c *tls.Config) (conn, error) {
	return t.quic.dial(ctx, addr, withALPN(c, wire.ALPNJoin))
}

// close ends the sockets and what is left of their connections.
func (t *transport) close() {
	t.quic.close()
	t.tcp.close()
}

func (n network) has(a net.Addr) bool { return a.Network() == string(n) }

func withALPN(c *tls.Config, protocol string, more ...string) *tls.Config {
	c = c.Clone()
	c.NextProtos = append([]string{protocol}, more...)
	return c
}

// checkALPN refuses a peer that speaks TLS and not our protocol: without an ALPN of
// the client crypto/tls would let it in.
func checkALPN(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != wire.ALPN {
		return fmt.Errorf("the peer does not speak %s there but %q: check the address", wire.ALPN, s.NegotiatedProtocol)
	}
	return nil
}
