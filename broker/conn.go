package broker

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
)

// conn is a device's connection from the moment its CONNECT was read.
//
//	connecting --Attach committed--> attached --CONNACK queued--> ready --shut--> closing --socket closed--> gone
//
// The reader goroutine lives from the end of connecting to gone and does the cleaning up. The drain goroutine runs only
// while there is something to send. The home's apply goroutine calls in through Server.Deliver and the done functions.
type conn struct {
	// Fixed before the connection attaches.
	s           *Server
	house       *House // of its session; nil until that is known
	l           *listener
	nc          net.Conn
	sock        net.Conn        // under nc's TLS or WebSocket: closing it never blocks
	raw         syscall.RawConn // nil unless nc is a TCP socket without TLS
	who         Identity
	key         home.SessionKey
	v           packet.Version
	keepAlive   time.Duration // one and a half of it; 0 is off
	sendMax     int           // the device's Maximum Packet Size, or ours if that is less
	window      int           // unacknowledged QoS 1 and 2 it takes
	aliasMax    uint16        // topic aliases we may use towards it
	connectedAt time.Time
	expiry      uint32 // seconds, in force
	cleanStart  bool
	noExpiry    bool // its CONNECT asked for session expiry 0 [MQTT-3.14.2-2 of v5]

	// Owned by the reader.
	in        input
	aliases   []string // of the device, by alias; nil until it uses one
	lastTopic string   // shared by the messages of a device that publishes to one topic
	active    instant  // something was read
	tenant    *tenant  // nil until a quota concerned it

	// Owned by the drain goroutine, of which there is one at a time.
	outAliases []string // topic by alias-1
	writeArmed instant  // deadline set on the socket

	bytesIn, bytesOut atomic.Int64

	leaving atomic.Bool // a stop: its publishes are not taken any more, nor is its queue sent from

	mu sync.Mutex
	outbound
	inbound
	epoch    home.SessionEpoch
	ready    bool // CONNACK is in ctrl: other packets may follow it; not any more once the reader is gone
	closing  bool // nothing new is sent but what is in ctrl
	draining bool // a drain goroutine runs
	silent   bool // nothing is written any more
	ended    bool // the home says that the session is not ours any more: no Detach
	reason   EndReason
	detach   home.Detach // filled in by DISCONNECT
	tookOver bool        // it has the session from another connection of this node
	before   *conn       // had the session on this node, and may be writing still
}

// instant is monotonic time since the server was made; 8 bytes where time.Time has 24.
type instant int64

// errClosing ends the reader when somebody else has closed the connection.
var errClosing = errors.New("connection is closing")

// lingerTime is how long a closing connection waits for the other side to read the last packet: closing at once, with
// unread input, would make the kernel reset the connection and throw that packet away.
const lingerTime = time.Second

// disconnectOverhead is the most a DISCONNECT has beside its texts.
const disconnectOverhead = 16

var longAgo = time.Unix(1, 0)

// shut begins the end of the connection; the first call decides the reason. With an MQTT 5 code from 0x80 on (0x00
// sends nothing) the device is told first. It never blocks.
func (c *conn) shut(reason EndReason, code packet.Code, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutLocked(reason, code, text, false)
}

// shutLocked is shut with mu held. With flush what waits to be written is written first, and the device reads it before
// the end.
func (c *conn) shutLocked(reason EndReason, code packet.Code, text string, flush bool) {
	if c.closing {
		return
	}
	tell := code.Failed() && c.v == packet.V5 && c.ready
	polite := tell || flush && c.ready
	if tell {
		d := packet.Disconnect{Code: code, ReasonString: text}
		if code == packet.UseAnotherServer {
			d.ServerReference = c.l.ServerReference
		}
		if c.sendMax > 0 && disconnectOverhead+len(d.ReasonString)+len(d.ServerReference) > c.sendMax { // [MQTT-3.14.2-3]
			d.ReasonString, d.ServerReference = "", ""
		}
		c.control(func(b []byte) []byte { return packet.AppendDisconnectPacket(b, packet.V5, &d) })
	}
	c.closing, c.reason = true, reason
	c.releaseReader()
	if !polite {
		// Ends the reads and writes that wait; the reader closes the socket. Close itself waits for them, and we may be
		// in the home's apply goroutine.
		_ = c.sock.SetDeadline(longAgo)
		return
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(lingerTime)) // also ends a write that is stuck now
	_ = c.nc.SetReadDeadline(time.Now().Add(2 * lingerTime))
	c.wake()
}

func (c *conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// halfClose lets the device read what was written last; the reader discards what comes until it closes too. Called by
// the drain goroutine when a closing connection has sent everything.
func (c *conn) halfClose() {
	h, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || h.CloseWrite() != nil {
		_ = c.sock.Close()
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
}

// fail ends the connection for an error of the reader: what the device did, or what its network did.
func (c *conn) fail(err error) {
	var refused *packet.Error
	switch {
	case errors.Is(err, errClosing):
	case errors.As(err, &refused):
		c.s.stats.Malformed.Add(1)
		c.s.quiet.warn("packet refused", "listener", c.l.Name, "client", c.key.ClientID, "error", err)
		c.shut(EndProtocol, refused.Code, refused.Reason)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.shut(EndKeepAlive, packet.KeepAliveTimeout, "")
	default:
		c.shut(EndGone, 0, "")
	}
}

// guard turns a panic into the end of this connection only. It is deferred by the goroutines of a connection.
func (c *conn) guard() {
	if p := recover(); p != nil {
		c.s.panicked(p)
		c.shut(EndInternal, packet.ImplementationSpecificError, "")
	}
}

// guard turns a panic into a count. It is deferred by what has no connection yet, or none any more.
func (s *Server) guard() {
	if p := recover(); p != nil {
		s.panicked(p)
	}
}

func (s *Server) panicked(p any) {
	s.stats.Panics.Add(1)
	s.opt.Panicked(&group.Panic{Value: p, Stack: debug.Stack()})
}

// serve is the reader goroutine of an attached connection, from CONNACK to the end.
func (c *conn) serve() {
	defer c.s.conns.Done()
	defer c.s.guard()
	defer c.finish()
	c.readToTheEnd()
	c.linger()
}

func (c *conn) readToTheEnd() {
	defer c.guard()
	c.fail(c.readPackets())
}

// linger reads and forgets until the device has closed, so that it can read our DISCONNECT; shut set the deadline.
func (c *conn) linger() {
	giveBack(c.in.buf)
	c.in.buf = nil
	b := borrow(smallBuffer)
	defer giveBack(b)
	for {
		if _, err := c.nc.Read(b.b[:cap(b.b)]); err != nil {
			return
		}
	}
}

// finish closes the socket, takes the connection out of the server, and detaches its session.
func (c *conn) finish() {
	_ = c.sock.Close()
	giveBack(c.in.buf)
	c.house.sessions.remove(c)
	c.shut(EndInternal, 0, "") // unless it was shut before
	c.lastAcks()
	c.mu.Lock()
	c.ready = false // an outcome that comes later starts no drain goroutine: a stop has counted them
	lost := c.dropAll()
	op, ended, reason := c.detach, c.ended, c.reason
	c.mu.Unlock()
	c.s.opt.Watcher.Ended(c.info(), reason)
	c.traceEnd(reason)
	c.s.stats.drop(DropConnectionLost, lost)
	c.s.stats.Disconnects[reason].Add(1)
	c.l.stats.Connected[c.v].Add(-1)
	c.l.closed()
	if !ended {
		op.Session, op.Epoch = c.key, c.epoch
		op.Moved = reason == EndHome || reason == EndShutdown || reason == EndEvicted
		c.house.proposeDetach(&op)
	}
}

// proposeDetach waits for room if need be. When the home has stopped, its next NodeUp detaches the session.
func (h *House) proposeDetach(op *home.Detach) {
	_ = h.propose(op, ignoreOutcome)
}

// sessionEnded is the home's word that the session has another owner, or is no more.
func (c *conn) sessionEnded(why home.EndReason) {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	switch why {
	case home.EndTakenOver, home.EndMoved:
		c.shut(EndTakenOver, packet.SessionTakenOver, "")
	case home.EndDeleted:
		c.shut(EndDeleted, packet.AdministrativeAction, "")
	default:
		c.shut(EndHome, 0, "")
	}
}

// lost ends the connection when the home could not say what became of an operation: the acknowledgement is withheld,
// and the device comes back and sends again. It is not told with a reason code, which would make it give up.
func (c *conn) lost() { c.shut(EndHome, 0, "") }
