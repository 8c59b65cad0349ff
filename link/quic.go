package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/quic-go/quic-go"

	"causeway/link/wire"
)

// QUIC over UDP. quic-go is known in this file only.

// quicTransport is the UDP socket of a Manager.
type quicTransport struct {
	socket   net.PacketConn
	quic     *quic.Transport
	listener *quic.Listener
	config   *quic.Config
	narrow   sync.Map // *quic.Conn -> true: their windows do not grow
}

// listenQUIC opens the socket.
func listenQUIC(o *EndpointOptions, server *tls.Config) (*quicTransport, error) {
	socket, err := o.Listen()
	if err != nil {
		return nil, fmt.Errorf("open the link socket: %w", err)
	}
	key := quic.StatelessResetKey(o.ResetKey)
	t := &quicTransport{
		socket: socket,
		quic:   &quic.Transport{Conn: socket, StatelessResetKey: &key},
		config: &quic.Config{
			InitialPacketSize:              1200, // DPLPMTUD raises it; a larger one never gets through some tunnels
			HandshakeIdleTimeout:           o.DialTimeout,
			MaxIdleTimeout:                 o.IdleTimeout,
			KeepAlivePeriod:                o.KeepAlive,
			InitialStreamReceiveWindow:     min(1<<20, uint64(o.StreamWindow)),
			MaxStreamReceiveWindow:         uint64(o.StreamWindow),
			InitialConnectionReceiveWindow: min(2<<20, uint64(o.ConnWindow)),
			MaxConnectionReceiveWindow:     uint64(o.ConnWindow),
			MaxIncomingStreams:             1 + 2*(maxRelayed+maxCalls), // a closed one counts until the peer knows
			MaxIncomingUniStreams:          maxStreams,
		},
	}
	t.config.AllowConnectionWindowIncrease = t.mayGrow
	t.listener, err = t.quic.Listen(server, t.config)
	if err != nil {
		_ = t.quic.Close()
		_ = socket.Close()
		return nil, fmt.Errorf("listen for links on %s: %w", socket.LocalAddr(), err)
	}
	return t, nil
}

// accept waits for a connection whose handshake is done.
func (t *quicTransport) accept(ctx context.Context) (conn, error) {
	c, err := t.listener.Accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept a link: %w", err)
	}
	return t.conn(c), nil
}

// dial returns a connection whose handshake is done.
func (t *quicTransport) dial(ctx context.Context, addr net.Addr, c *tls.Config) (conn, error) {
	qc, err := t.quic.Dial(ctx, addr, c, t.config)
	if err = plain(err); errors.Is(err, errSilent) {
		err = errNoAnswer
	}
	if err != nil {
		return nil, err
	}
	return t.conn(qc), nil
}

// conn takes over a connection whose handshake is done. One that joins a tunnel keeps
// the windows that it begins with: it is one of many on a path where each carries
// little, and ConnWindow is for the tunnel.
func (t *quicTransport) conn(c *quic.Conn) conn {
	if c.ConnectionState().TLS.NegotiatedProtocol == wire.ALPNJoin {
		t.narrow.Store(c, true)
		context.AfterFunc(c.Context(), func() { t.narrow.Delete(c) })
	}
	return &quicConn{c}
}

func (t *quicTransport) mayGrow(c *quic.Conn, _ uint64) bool {
	_, narrow := t.narrow.Load(c)
	return !narrow
}

func (t *quicTransport) close() {
	_ = t.listener.Close()
	_ = t.quic.Close()
	_ = t.socket.Close()
}

type quicConn struct{ c *quic.Conn }

func (q *quicConn) open(ctx context.Context) (duplex, error) {
	s, err := q.c.OpenStreamSync(ctx)
	if err != nil {
		return nil, plain(err)
	}
	return quicControl{s}, nil
}

func (q *quicConn) accept(ctx context.Context) (duplex, error) {
	s, err := q.c.AcceptStream(ctx)
	if err != nil {
		return nil, plain(err)
	}
	return quicControl{s}, nil
}

func (q *quicConn) send(ctx context.Context) (sendStream, error) {
	s, err := q.c.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, plain(err)
	}
	return quicSend{s}, nil
}

func (q *quicConn) receive(ctx context.Context) (receiveStream, error) {
	s, err := q.c.AcceptUniStream(ctx)
	if err != nil {
		return nil, plain(err)
	}
	return quicReceive{s}, nil
}

func (q *quicConn) close(code uint64, reason string) {
	_ = q.c.CloseWithError(quic.ApplicationErrorCode(code), reason[:min(len(reason), 512)])
}

func (q *quicConn) network() network         { return overUDP }
func (q *quicConn) done() <-chan struct{}    { return q.c.Context().Done() }
func (q *quicConn) tls() tls.ConnectionState { return q.c.ConnectionState().TLS }
func (q *quicConn) remote() net.Addr         { return q.c.RemoteAddr() }

func (q *quicConn) stats() connStats {
	s := q.c.ConnectionStats()
	return connStats{rtt: s.SmoothedRTT, sent: s.BytesSent, received: s.BytesReceived, packets: s.PacketsSent, packetsLost: s.PacketsLost}
}

type quicControl struct{ *quic.Stream }

func (s quicControl) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	return n, plain(err)
}

func (s quicControl) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	return n, plain(err)
}

func (s quicControl) closeWrite() { _ = s.Stream.Close() }

func (s quicControl) reset() {
	s.CancelRead(resetCode)
	s.CancelWrite(resetCode)
}

type quicSend struct{ s *quic.SendStream }

func (s quicSend) Write(b []byte) (int, error) {
	n, err := s.s.Write(b)
	return n, plain(err)
}

func (s quicSend) done() <-chan struct{} { return s.s.Context().Done() }
func (s quicSend) reset()                { s.s.CancelWrite(resetCode) }

type quicReceive struct{ s *quic.ReceiveStream }

func (s quicReceive) Read(b []byte) (int, error) {
	n, err := s.s.Read(b)
	return n, plain(err)
}

func (s quicReceive) refuse()              { s.s.CancelRead(resetCode) }
func (s quicReceive) both() (duplex, bool) { return nil, false }

// plain turns the transport's errors into ours.
func plain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var application *quic.ApplicationError
	var stream *quic.StreamError
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	var reset *quic.StatelessResetError
	var crypto *quic.TransportError
	switch {
	case errors.As(err, &application) && application.Remote:
		return &closedError{uint64(application.ErrorCode), application.ErrorMessage}
	case errors.As(err, &stream):
		return errStream
	case errors.As(err, &idle):
		return errSilent
	case errors.As(err, &handshake), errors.Is(err, context.DeadlineExceeded):
		return errNoAnswer
	case errors.As(err, &reset):
		return errRestarted
	case errors.As(err, &crypto) && crypto.ErrorCode.IsCryptoError() && crypto.Remote:
		return fmt.Errorf("the peer refused our certificate: %s", crypto.ErrorMessage)
	case errors.As(err, &crypto) && crypto.ErrorCode.IsCryptoError():
		return fmt.Errorf("identity: %s", cryptoText(crypto))
	}
	return err
}

// cryptoText is what our own check of the peer's certificate said.
func cryptoText(e *quic.TransportError) string {
	for _, cause := range e.Unwrap() {
		if cause != nil && !errors.Is(cause, net.ErrClosed) {
			return cause.Error()
		}
	}
	return e.Error()
}
