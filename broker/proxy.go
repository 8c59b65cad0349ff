package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// A load balancer that passes connections on tells with a PROXY header of version 2 where each comes from. It is read
// off the socket before everything else, and not a byte behind it, so that a connection costs nothing more for it.

const (
	proxyHead = 16  // signature, version, family, length
	proxyMost = 536 // addresses and what is behind them
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// readProxy reads the header of a listener that expects one.
func (k *connecting) readProxy() *refusal {
	if !k.l.Proxy || k.l.Transport.websocket() {
		return nil // a WebSocket's was read when HTTP began
	}
	addr, err := readProxyHeader(k.sock)
	if err != nil {
		return k.gone("PROXY header", err)
	}
	if addr != nil {
		k.from = addr.String()
	}
	return nil
}

// readProxyHeader reads one header; the address is nil when the load balancer speaks for itself.
func readProxyHeader(r io.Reader) (net.Addr, error) {
	b := make([]byte, proxyHead, proxyHead+proxyMost)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(b[14:]))
	if !bytes.Equal(b[:12], proxySignature) || n > proxyMost {
		return nil, proxyproto.ErrNoProxyProtocol
	}
	b = b[:proxyHead+n]
	if _, err := io.ReadFull(r, b[proxyHead:]); err != nil {
		return nil, err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || h.Command.IsLocal() {
		return nil, err
	}
	return h.SourceAddr, nil
}

// proxied is a connection whose header is read when something is read of it first: net/http does so in the connection's
// own goroutine.
type proxied struct {
	net.Conn
	from net.Addr
	err  error
	done bool
}

// Read implements net.Conn. It has one caller at a time.
func (p *proxied) Read(b []byte) (int, error) {
	if !p.done {
		p.done = true
		p.from, p.err = readProxyHeader(p.Conn)
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.Conn.Read(b)
}

// RemoteAddr implements net.Conn.
func (p *proxied) RemoteAddr() net.Addr {
	if p.from != nil {
		return p.from
	}
	return p.Conn.RemoteAddr()
}

type proxyListener struct{ net.Listener }

// Accept implements net.Listener.
func (l proxyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &proxied{Conn: c}, nil
}
