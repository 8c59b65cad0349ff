package cluster

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"
)

// real is TCP and UDP.
type real struct{ o *Options }

// A stream whose other host is gone without a word ends after deadHost.
const deadHost = 5 * time.Second

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3}

// ListenStreams implements Network.
func (r real) ListenStreams() (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: control}
	l, err := lc.Listen(context.Background(), "tcp", r.o.Streams)
	if err != nil {
		return nil, fmt.Errorf("cluster.streams %q: %w; end what uses that port, or choose another", r.o.Streams, err)
	}
	return l, nil
}

// DialStream implements Network.
func (r real) DialStream(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive, Control: control}
	return d.DialContext(ctx, "tcp", addr)
}

// control bounds how long sent bytes may go unacknowledged: keep-alive does not
// run while there are any.
func control(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadHost/time.Millisecond))
	}); cerr != nil {
		return cerr
	}
	return err
}

// Gossip implements Network.
func (r real) Gossip() (memberlist.NodeAwareTransport, error) {
	host, port, err := splitAddr(r.o.Listen, GossipPort)
	if err != nil {
		return nil, fmt.Errorf("cluster.listen %q: %w", r.o.Listen, err)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{host}, BindPort: port, Logger: quiet(r.o.Logger)})
	if err != nil {
		return nil, fmt.Errorf("cluster.listen %q: %w; end what uses that port, TCP or UDP, or choose another", r.o.Listen, err)
	}
	return t, nil
}
