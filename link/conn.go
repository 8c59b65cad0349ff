package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

// network is what carries a tunnel.
type network string

// The networks of tunnels. QUIC over UDP is preferred; TLS over TCP is for where
// UDP does not get through, and inside the tunnels of another region for where
// nothing does.
const (
	overUDP   network = "udp"
	overTCP   network = "tcp"
	overRelay network = "relay"
)

// ranking is the networks, the best first.
var ranking = []network{overUDP, overTCP, overRelay}

// outranks says whether a tunnel over n is better than one over o.
func (n network) outranks(o network) bool { return slices.Index(ranking, n) < slices.Index(ranking, o) }

// conn is a connection to a peer, over one of the networks. Closing it ends every
// call on it and on its streams.
type conn interface {
	network() network
	open(ctx context.Context) (duplex, error)   // of the dialling side the first is the control stream
	accept(ctx context.Context) (duplex, error) // over TCP the control stream alone
	send(ctx context.Context) (sendStream, error)
	receive(ctx context.Context) (receiveStream, error) // over TCP of both directions, too
	close(code uint64, reason string)
	done() <-chan struct{}
	tls() tls.ConnectionState
	remote() net.Addr
	stats() connStats
}

type control interface {
	io.ReadWriter
	closeWrite()
}

// duplex is a stream of both directions.
type duplex interface {
	control
	reset() // gives up both directions; the peer's Read and Write fail
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

type sendStream interface {
	io.Writer
	done() <-chan struct{} // closed when the peer refuses to read on
	reset()
}

type receiveStream interface {
	io.Reader
	refuse()              // the peer's sendStream ends; so does Read
	both() (duplex, bool) // the stream, if it has the other direction
}

// bothWays is a duplex that the peer opened.
type bothWays struct{ duplex }

func (s bothWays) refuse()              { s.reset() }
func (s bothWays) both() (duplex, bool) { return s.duplex, true }

// connStats are the transport's own figures of one connection.
type connStats struct {
	rtt                  time.Duration
	sent, received       uint64 // bytes
	packets, packetsLost uint64
}

// resetCode is the error code of streams that are given up.
const resetCode = 1

// maxStreams bounds the unidirectional streams of a peer: the classes of its
// spool and two more.
const maxStreams = 256

// A closedError says that the peer closed the tunnel, with one of the wire
// package's codes.
type closedError struct {
	code   uint64
	reason string
}

func (e *closedError) Error() string { return "the peer closed the tunnel: " + e.reason }

// errNoAnswer is a dial that nothing came back from.
var errNoAnswer = errors.New("no answer: nobody listens there, or UDP is blocked")

// errSilent ends a tunnel whose peer was not heard for the idle time-out.
var errSilent = errors.New("the peer is silent")

// errRestarted ends a tunnel of which the peer knows nothing any more.
var errRestarted = errors.New("the peer was restarted")

// errStream is the end of one stream, not of its tunnel.
var errStream = errors.New("the peer gave up the stream")
