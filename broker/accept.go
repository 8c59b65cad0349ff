package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// listener is a way in, once it is bound. It also is the net.Listener that net/http accepts from.
type listener struct {
	Listener
	s     *Server
	stats *ListenerStats
	pace  *pace
	most  atomic.Int64 // connections; 0: no bound
	ln    net.Listener // nil until open
}

func (l *listener) open() error {
	if l.ln = l.Net; l.ln != nil {
		return nil
	}
	if l.Address == "" {
		return nil // connections come by ServeConn only
	}
	ln, err := net.Listen("tcp", l.Address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listener %q: %s is in use by another process: stop that one, or give the listener another "+
			"address (listen): %w", l.Name, l.Address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listener %q: %s may not be bound by this user: use a port above 1023 or grant "+
			"CAP_NET_BIND_SERVICE: %w", l.Name, l.Address, err)
	case err != nil:
		return fmt.Errorf("listener %q: listen on %s: %w", l.Name, l.Address, err)
	}
	l.ln = ln
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		if l.ln != nil {
			_ = l.ln.Close()
		}
	}
}

// serve accepts until the listener is closed.
func (l *listener) serve() {
	if l.Transport.websocket() {
		l.serveHTTP()
		return
	}
	for {
		for l.s.admission.full() {
			if !l.sleep(firstBackOff) {
				return
			}
		}
		sock, err := l.next()
		if err != nil {
			return
		}
		l.arrive(sock)
	}
}

// arrive has a connection wait for its turn, before TLS.
func (l *listener) arrive(sock net.Conn) {
	began := l.s.now()
	let := func() {
		defer l.s.guard()
		l.s.stage(StageQueue, began)
		nc := sock
		if l.Transport == TLS {
			nc = tls.Server(sock, l.TLS)
		}
		_ = l.s.begin(l, nc, sock)
	}
	drop := func() {
		l.stats.Connects[ConnectGone].Add(1)
		_ = sock.Close()
		l.closed()
	}
	if !l.s.admission.enter(l.Namespace, false, &arrival{let: let, gone: func() bool { return hungUp(sock) }, drop: drop}) {
		let()
	}
}

const (
	firstBackOff = 5 * time.Millisecond
	lastBackOff  = time.Second
)

// Accept is for net/http: it returns the next connection when it is its turn.
func (l *listener) Accept() (net.Conn, error) {
	if !l.s.admission.wait(l.Namespace, false, l.s.stopping) {
		return nil, net.ErrClosed
	}
	return l.next()
}

// next returns the next connection under the listener's bounds. Its only error is that the listener is closed: one
// that ends at the first EMFILE takes the whole node out, and every device with it.
func (l *listener) next() (net.Conn, error) {
	backOff := firstBackOff
	for {
		if !l.sleep(l.pace.wait(time.Now())) {
			return nil, net.ErrClosed
		}
		nc, err := l.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed), err != nil && l.s.isStopping():
			return nil, net.ErrClosed
		case err != nil:
			l.s.stats.AcceptErrors.Add(1)
			l.s.quiet.warn("accept; waiting", "listener", l.Name, "error", err, "wait", backOff)
			if !l.sleep(backOff) {
				return nil, net.ErrClosed
			}
			backOff = min(2*backOff, lastBackOff)
		case l.admit(nc):
			return nc, nil
		}
	}
}

// admit counts a connection, or closes it when the listener has as many as it may, or none are wanted: without a word, because an error
// makes clients give up where a closed connection makes them come back.
func (l *listener) admit(nc net.Conn) bool {
	n := l.stats.Open.Add(1)
	result := ConnectOK
	switch {
	case l.s.turning.Load():
		result = ConnectTurnedAway
	case l.most.Load() > 0 && n > l.most.Load():
		result = ConnectOverLimit
	default:
		return true
	}
	l.stats.Connects[result].Add(1)
	_ = nc.Close()
	l.closed()
	return false
}

// closed is called once for each admitted connection.
func (l *listener) closed() { l.stats.Open.Add(-1) }

// sleep waits; it reports false when the server stops meanwhile.
func (l *listener) sleep(d time.Duration) bool {
	if d <= 0 {
		return !l.s.isStopping()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.s.stopping:
		return false
	}
}

// Close is for net/http; the server closes its listeners itself.
func (l *listener) Close() error { return l.ln.Close() }

// Addr is for net/http.
func (l *listener) Addr() net.Addr { return l.ln.Addr() }
