package admin

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
)

// maxConns bounds the connections open at once at one TCP address; more wait in the kernel.
const maxConns = 256

// listenTCP binds an address of the key named. With config it speaks TLS.
func listenTCP(key, address string, config *tls.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; free the address or set %s to another", key, address, err, key)
	}
	l = &bounded{Listener: l, room: make(chan struct{}, maxConns), closed: make(chan struct{})}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return l, nil
}

// bounded is a listener that accepts while there is room.
type bounded struct {
	net.Listener
	room   chan struct{} // holds one element a connection
	once   sync.Once
	closed chan struct{}
}

// Accept waits for room, then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &boundedConn{Conn: c, leave: func() { <-b.room }}, nil
}

// Close stops accepting.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// boundedConn gives its room back when it closes.
type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close closes the connection.
func (c *boundedConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}
