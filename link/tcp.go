package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"causeway/internal/group"
	"causeway/link/wire"
)

// TLS over TCP, for where UDP does not get through. yamux is known in this file
// only. Its streams go both ways: of ours, the first one that the dialling side
// opens is the control stream, and on all others but those of relayed tunnels only
// the opener writes. A relayed tunnel is the same inside a stream of another one.

const (
	// tcpSegment is what one stream writes before another one has its turn: with
	// its header one TLS record.
	tcpSegment = 16 << 10
	// closeWait bounds the last words on a connection that takes no more bytes.
	closeWait = 200 * time.Millisecond
	// closeLinger is how long the peer may take to read them.
	closeLinger = time.Second
	// closeCodes is where the codes of Goodbye begin among those of yamux's GoAway,
	// of which it has three for itself.
	closeCodes = 16
	// acceptPause is the wait after an accept failed, for want of descriptors.
	acceptPause = 100 * time.Millisecond
)

// tcpTransport dials and accepts TCP connections of a Manager.
type tcpTransport struct {
	o        *EndpointOptions
	listener net.Listener // nil: nobody can dial us over TCP
	server   *tls.Config
	conns    sync.WaitGroup
}

func listenTCP(o *EndpointOptions, server *tls.Config) (*tcpTransport, error) {
	t := &tcpTransport{o: o, server: server}
	if o.ListenTCP == nil {
		return t, nil
	}
	var err error
	if t.listener, err = o.ListenTCP(); err != nil {
		return nil, fmt.Errorf("open the link socket: %w", err)
	}
	return t, nil
}

// accept waits for a connection, whose handshake is yet to be done. It fails for
// good when the transport is closed.
func (t *tcpTransport) accept(ctx context.Context) (net.Conn, error) {
	for {
		raw, err := t.listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return raw, err
		}
		if err := group.Pause(ctx, acceptPause); err != nil {
			return nil, err
		}
	}
}

// welcome does the handshake of an accepted connection, which it closes if that fails.
func (t *tcpTransport) welcome(ctx context.Context, raw net.Conn) (conn, error) {
	sock := newTCPSocket(raw)
	return t.open(ctx, sock, tls.Server(sock, t.server), yamux.Server)
}

// dial returns a connection whose handshake is done.
func (t *tcpTransport) dial(ctx context.Context, addr net.Addr, c *tls.Config) (conn, error) {
	raw, err := t.o.DialTCP(ctx, addr.String())
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			err = errNoTCPAnswer
		}
		return nil, err
	}
	return t.greet(ctx, raw, c)
}

// greet does the handshake of a connection that we made, which it closes if that fails.
func (t *tcpTransport) greet(ctx context.Context, raw net.Conn, c *tls.Config) (conn, error) {
	sock := newTCPSocket(raw)
	return t.open(ctx, sock, tls.Client(sock, c), yamux.Client)
}

type muxer func(net.Conn, *yamux.Config, func() (yamux.MemoryManager, error)) (*yamux.Session, error)

func (t *tcpTransport) open(ctx context.Context, sock *tcpSocket, session *tls.Conn, mux muxer) (conn, error) {
	err := session.HandshakeContext(ctx)
	if err == nil {
		err = checkALPN(session.ConnectionState())
	}
	if err != nil {
		_ = sock.Conn.Close()
		return nil, handshakeError(err)
	}
	over := network(sock.RemoteAddr().Network())
	budget := &windows{left: t.o.window(over)}
	c := &tcpConn{over: over, sock: sock, state: session.ConnectionState(), idle: t.o.IdleTimeout,
		controls: make(chan *yamux.Stream), streams: make(chan *yamux.Stream), gone: make(chan struct{})}
	c.mux, err = mux(tlsSession{session, sock}, t.config(), budget.open)
	if err != nil {
		_ = sock.Conn.Close()
		return nil, fmt.Errorf("open a link over TCP: %w", err)
	}
	t.conns.Go(c.run)
	t.conns.Go(c.watch)
	return c, nil
}

func (t *tcpTransport) config() *yamux.Config {
	return &yamux.Config{
		AcceptBacklog:      maxStreams + 1 + maxRelayed + maxCalls,
		MaxIncomingStreams: maxStreams + 1 + maxRelayed + maxCalls,
		PingBacklog:        4,
		// The pings that measure the round trip are the keep-alive. One is given up
		// after the same time, so that the next is sent: a slow answer is one, too,
		// and silence is judged by watch.
		MeasureRTTInterval:      t.o.KeepAlive,
		ConnectionWriteTimeout:  t.o.KeepAlive,
		InitialStreamWindowSize: leastWindow,
		MaxStreamWindowSize:     uint32(max(leastWindow, t.o.StreamWindow)),
		MaxMessageSize:          tcpSegment,
		ReadBufSize:             tcpSegment,
		LogOutput:               io.Discard, // what it says is in the error, too
	}
}

func (t *tcpTransport) close() {
	if t.listener != nil {
		_ = t.listener.Close()
	}
	t.conns.Wait()
}

// leastWindow is what a stream's receive window begins with; yamux knows no less.
const leastWindow = 256 << 10

// windows bounds the receive windows of a connection: a stream has leastWindow,
// and grows up to the stream's bound while the connection has something left.
type windows struct {
	mu   sync.Mutex
	left int
}

type window struct {
	all  *windows
	size int // guarded by all.mu
}

func (w *windows) open() (yamux.MemoryManager, error) { return &window{all: w}, nil }

var errWindows = errors.New("the connection's receive window is used up")

// ReserveMemory is asked for a window's beginning, which MaxIncomingStreams bounds,
// and for its growth.
func (w *window) ReserveMemory(size int, _ uint8) error {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	if w.size > 0 && size > w.all.left {
		return errWindows
	}
	w.size += size
	w.all.left -= size
	return nil
}

func (w *window) ReleaseMemory(size int) {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.size -= size
	w.all.left += size
}

func (w *window) Done() {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.all.left += w.size
	w.size = 0
}

// tcpSocket counts what passes on a TCP connection and notes when.
type tcpSocket struct {
	net.Conn
	sent, received atomic.Uint64
	opened         time.Time
	heard          atomic.Int64 // when, counted from opened: a clock on the wall may be set meanwhile
}

func newTCPSocket(raw net.Conn) *tcpSocket {
	tuneTCP(raw)
	return &tcpSocket{Conn: raw, opened: time.Now()}
}

func (s *tcpSocket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.received.Add(uint64(n))
	if n > 0 {
		s.heard.Store(int64(time.Since(s.opened)))
	}
	return n, err
}

func (s *tcpSocket) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.sent.Add(uint64(n))
	return n, err
}

// silence is for how long nothing came.
func (s *tcpSocket) silence() time.Duration {
	return time.Since(s.opened) - time.Duration(s.heard.Load())
}

// finish ends both directions for us and tells the peer so after what was written.
func (s *tcpSocket) finish() error {
	_ = s.SetDeadline(time.Unix(1, 0)) // who reads or writes returns
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Conn.Close()
}

// linger reads on until the peer has closed, too. Bytes that nobody read would make
// the kernel reset the connection, and our last words with it.
func (s *tcpSocket) linger() {
	_ = s.SetReadDeadline(time.Now().Add(closeLinger))
	_, _ = io.Copy(io.Discard, s.Conn)
	_ = s.Conn.Close()
}

// tlsSession is what yamux writes to. Its end is the socket's: a GoAway inside the
// TLS session was the last word, and TLS's own would wait for a peer that reads
// nothing.
type tlsSession struct {
	*tls.Conn
	sock *tcpSocket
}

func (s tlsSession) Close() error { return s.sock.finish() }

// SetWriteDeadline does nothing: a slow write is no dead peer. [tcpConn.watch]
func (tlsSession) SetWriteDeadline(time.Time) error { return nil }

// tcpConn is a connection over TCP. run owns it.
type tcpConn struct {
	over     network
	mux      *yamux.Session
	sock     *tcpSocket
	state    tls.ConnectionState
	idle     time.Duration
	controls chan *yamux.Stream
	streams  chan *yamux.Stream

	why  atomic.Pointer[error] // why we ended it, if we did
	gone chan struct{}         // closed when it has ended
	err  error                 // why; once gone is closed
}

// run hands out the peer's streams until the connection ends.
func (c *tcpConn) run() {
	for {
		s, err := c.mux.AcceptStream()
		if err != nil {
			c.ended(err)
			return
		}
		to := c.streams
		if s.StreamID() == 1 {
			to = c.controls
		}
		select {
		case to <- s:
		case <-c.mux.CloseChan():
		}
	}
}

func (c *tcpConn) ended(err error) {
	c.err = plainTCP(err)
	if why := c.why.Load(); why != nil {
		c.err = *why
	}
	close(c.gone)
	_ = c.mux.Close() // waits until whoever closes it is done
	c.sock.linger()
}

// watch ends a connection whose peer was not heard for the idle time-out: it pings
// every KeepAlive. TCP itself would go on for a quarter of an hour.
func (c *tcpConn) watch() {
	every := time.NewTicker(c.idle / 16)
	defer every.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-every.C:
		}
		if c.sock.silence() >= c.idle {
			c.because(errSilent)
			_ = c.sock.Conn.Close()
			return
		}
	}
}

// because notes why we end the connection; the first reason stays.
func (c *tcpConn) because(err error) { c.why.CompareAndSwap(nil, &err) }

func (c *tcpConn) open(ctx context.Context) (duplex, error) {
	s, err := c.mux.OpenStream(ctx)
	if err != nil {
		return nil, c.plain(err)
	}
	return tcpControl{c, s}, nil
}

func (c *tcpConn) accept(ctx context.Context) (duplex, error) {
	select {
	case s := <-c.controls:
		return tcpControl{c, s}, nil
	case <-c.gone:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *tcpConn) send(ctx context.Context) (sendStream, error) {
	s, err := c.mux.OpenStream(ctx)
	if err != nil {
		return nil, c.plain(err)
	}
	out := tcpSend{c: c, s: s, refused: make(chan struct{})}
	go out.watch()
	return out, nil
}

func (c *tcpConn) receive(ctx context.Context) (receiveStream, error) {
	select {
	case s := <-c.streams:
		return bothWays{tcpControl{c, s}}, nil
	case <-c.gone:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close tells the peer the code; of the reason it learns what the code says.
func (c *tcpConn) close(code uint64, reason string) {
	c.because(fmt.Errorf("closed: %s", reason))
	cut := time.AfterFunc(closeWait, func() { _ = c.sock.SetWriteDeadline(time.Unix(1, 0)) })
	defer cut.Stop()
	_ = c.mux.CloseWithError(uint32(closeCodes + code))
}

func (c *tcpConn) network() network         { return c.over }
func (c *tcpConn) done() <-chan struct{}    { return c.gone }
func (c *tcpConn) tls() tls.ConnectionState { return c.state }
func (c *tcpConn) remote() net.Addr         { return c.sock.RemoteAddr() }

func (c *tcpConn) stats() connStats {
	s := connStats{rtt: c.mux.RTT(), sent: c.sock.sent.Load(), received: c.sock.received.Load()}
	readTCPInfo(c.sock.Conn, &s)
	return s
}

// plain turns the error of a stream into ours.
func (c *tcpConn) plain(err error) error {
	var reset *yamux.StreamError
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case errors.As(err, &reset):
		return errStream
	case c.mux.IsClosed():
		<-c.gone // run has the reason
		return c.err
	}
	return err
}

type tcpControl struct {
	c *tcpConn
	s *yamux.Stream
}

func (s tcpControl) Read(b []byte) (int, error) {
	n, err := s.s.Read(b)
	return n, s.c.plain(err)
}

func (s tcpControl) Write(b []byte) (int, error) {
	n, err := s.s.Write(b)
	return n, s.c.plain(err)
}

func (s tcpControl) closeWrite() { _ = s.s.CloseWrite() }
func (s tcpControl) reset()      { _ = s.s.ResetWithError(resetCode) }

func (s tcpControl) SetDeadline(t time.Time) error      { return s.s.SetDeadline(t) }
func (s tcpControl) SetReadDeadline(t time.Time) error  { return s.s.SetReadDeadline(t) }
func (s tcpControl) SetWriteDeadline(t time.Time) error { return s.s.SetWriteDeadline(t) }

type tcpSend struct {
	c       *tcpConn
	s       *yamux.Stream
	refused chan struct{}
}

// watch waits for the peer to refuse the stream: a reset, since it writes nothing.
func (s tcpSend) watch() {
	var b [1]byte
	_, _ = s.s.Read(b[:])
	close(s.refused)
}

func (s tcpSend) Write(b []byte) (int, error) {
	n, err := s.s.Write(b)
	return n, s.c.plain(err)
}

func (s tcpSend) done() <-chan struct{} { return s.refused }
func (s tcpSend) reset()                { _ = s.s.ResetWithError(resetCode) }

// errNoTCPAnswer is a dial over TCP that nothing came back from.
var errNoTCPAnswer = errors.New("no answer over TCP")

// errCut ends a tunnel whose connection ended without a word.
var errCut = errors.New("the connection was cut: the peer's process ended, or something on the way ended it")

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// remoteAlert says that the peer's TLS told us why it does not go on.
func remoteAlert(err error) (string, bool) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error(), true
	}
	return "", false
}

// plainTCP is why a connection ended.
func plainTCP(err error) error {
	var away *yamux.GoAwayError
	switch alert, refused := remoteAlert(err); {
	case errors.As(err, &away) && away.Remote && away.ErrorCode >= closeCodes:
		code := uint64(away.ErrorCode - closeCodes)
		return &closedError{code, wire.GoodbyeText(code)}
	case refused:
		return fmt.Errorf("the peer refused our certificate: %s", alert)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return errCut
	}
	return err
}

// handshakeError is why a TLS handshake failed: the peer, the way to it, or our own
// check of who it is.
func handshakeError(err error) error {
	var n net.Error
	var relay *relayError
	switch alert, refused := remoteAlert(err); {
	case refused:
		return fmt.Errorf("the peer refused our certificate: %s", alert)
	case errors.As(err, &relay):
		return relay
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return errNoTCPAnswer
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, io.EOF), errors.As(err, &n), errors.Is(err, syscall.ECONNRESET):
		return errCut
	}
	return fmt.Errorf("identity: %w", err)
}
