package broker

import (
	"sync/atomic"
	"time"

	"causeway/broker/packet"
)

// Stats are the broker's counters. Fields are read at any time; only the broker writes them. A metrics package gives
// them names; String methods give the labels.
type Stats struct {
	// Listeners are the counters of each listener, by name. The map is not written after New.
	Listeners map[string]*ListenerStats
	// Disconnects counts connections that had a session and ended, by reason.
	Disconnects [EndReasons]atomic.Int64
	// Dropped counts messages that were dropped here, by reason. The home counts those of queues.
	Dropped [DropReasons]atomic.Int64
	// DeniedSubscribes counts filters of SUBSCRIBE that the access rules denied.
	DeniedSubscribes atomic.Int64
	// Throttled counts messages of MQTT 3.x for which a device was not read for a moment: its namespace was beyond its rate.
	Throttled atomic.Int64
	// BytesIn and BytesOut count bytes of MQTT packets.
	BytesIn, BytesOut atomic.Int64
	// Malformed counts packets that a decoder or a protocol rule refused.
	Malformed atomic.Int64
	// Panics counts panics that cost one connection.
	Panics atomic.Int64
	// UnknownAcks counts acknowledgements of packet ids that were not in use.
	UnknownAcks atomic.Int64
	// AcceptErrors counts errors of accept that were waited out (EMFILE and its like).
	AcceptErrors atomic.Int64
	// MemoryBytes is what waits in memory for all connections now.
	MemoryBytes atomic.Int64
	// Takeovers counts sessions that a connection here took along, from another one here or of another node.
	Takeovers [Takeovers]atomic.Int64
	// Parked is how many CONNECTs wait for the home now.
	Parked atomic.Int64
}

// ListenerStats are the counters of one listener.
type ListenerStats struct {
	// Open is how many connections it has now, with and without a session.
	Open atomic.Int64
	// Connected is how many have a session now, by protocol version (3, 4, 5).
	Connected [packet.V5 + 1]atomic.Int64
	// Connects counts what became of the connections it accepted.
	Connects [ConnectResults]atomic.Int64
	// Received and Sent count PUBLISH packets of its connections, by QoS.
	Received, Sent [3]atomic.Int64
}

// ConnectResult is what became of an accepted connection.
type ConnectResult uint8

// The results of a connect.
const (
	ConnectOK            ConnectResult = iota
	ConnectOverLimit                   // the listener's MaxConnections; closed at accept
	ConnectTimeout                     // no complete CONNECT in time
	ConnectGone                        // closed by the other side, or TLS failed
	ConnectMalformed                   // what it sent is no CONNECT
	ConnectUnsupported                 // protocol version, enhanced authentication, client id
	ConnectBadLogin                    // user name, password or certificate
	ConnectNotAuthorized               // the will's topic, or the client id for this user
	ConnectQuota                       // the home has as many sessions as it may
	ConnectParkedOut                   // the home could not serve it in time; closed without an answer
	ConnectInternal                    // a panic, or a stop
	ConnectTurnedAway                  // the node is being evacuated; closed at accept
	ConnectOverQuota                   // the namespace has as many connections as it may
	ConnectBanned                      // an operator keeps it out, or it flapped
	ConnectRevoked                     // its certificate is revoked
	ConnectNoCRL                       // nobody can say whether its certificate is revoked
	ConnectResults       int           = iota
)

// String is the result as a metric label.
func (r ConnectResult) String() string {
	return [...]string{"ok", "over_limit", "timeout", "gone", "malformed", "unsupported", "bad_login", "not_authorized",
		"quota", "parked_out", "internal", "evacuating", "namespace_quota", "banned", "revoked", "crl_stale"}[r]
}

// Stage is a part of what a connection goes through until its CONNACK.
type Stage uint8

// The stages.
const (
	StageQueue   Stage = iota // accepted, until its turn
	StageTLS                  // the PROXY header, if there is one, and the handshake
	StageConnect              // the CONNECT packet comes
	StageAuth                 // who it is and what it may
	StageAttach               // its home is found, and has attached the session
	Stages       int   = iota
)

// String is the stage as a metric label.
func (s Stage) String() string { return [...]string{"queue", "tls", "connect", "auth", "attach"}[s] }

// stage tells how long a stage took that began at a time.
func (s *Server) stage(stage Stage, began instant) instant {
	now := s.now()
	if s.opt.ConnectStage != nil {
		s.opt.ConnectStage(stage, time.Duration(now-began))
	}
	return now
}

// Takeover is where a session was taken from, and how that went.
type Takeover uint8

// The takeovers.
const (
	TakeoverHere      Takeover = iota // from a connection of this node
	TakeoverElsewhere                 // from another node, which surely sends nothing more
	TakeoverParkedOut                 // from another node, and nobody could say so in time; closed without an answer
	Takeovers         int      = iota
)

// Scope is where from, as a metric label.
func (t Takeover) Scope() string {
	if t == TakeoverHere {
		return "node"
	}
	return "region"
}

// String is the result as a metric label.
func (t Takeover) String() string { return [...]string{"ok", "ok", "parked_out"}[t] }

// EndReason is why a connection with a session ended.
type EndReason uint8

// The reasons.
const (
	EndClient    EndReason = iota // DISCONNECT
	EndGone                       // closed without DISCONNECT
	EndKeepAlive                  // silent for one and a half keep-alives
	EndProtocol                   // a packet that breaks the protocol
	EndTakenOver                  // the client id connected again
	EndDeleted                    // an operator ended the session or the connection
	EndHome                       // the home stopped, or gave the session to another node
	EndSlow                       // it left a write unfinished, or its memory queue overflowed
	EndShutdown                   // this node stops
	EndInternal                   // a panic
	EndEvicted                    // its device is to go to another node
	EndRevoked                    // its device's certificate has been revoked
	EndReasons   int       = iota
)

// String is the reason as a metric label.
func (r EndReason) String() string {
	return [...]string{"client", "gone", "keep_alive", "protocol", "taken_over", "deleted", "home", "slow", "shutdown",
		"internal", "evicted", "revoked"}[r]
}

// Drop is why the broker dropped a message.
type Drop uint8

// The reasons.
const (
	DropDenied         Drop = iota // the publisher may not publish there
	DropRefused                    // the home took it, and refused it: too many retained messages
	DropMemoryFull                 // QoS 0: the connection's memory queue, or all of them together, was full
	DropMemoryExpired              // it expired before it could be sent
	DropMemoryTooLarge             // larger than the device's Maximum Packet Size
	DropAway                       // QoS 1 by the policy memory, and the durable session has no connection here
	DropConnectionLost             // QoS 1 or 2 that waited in memory for a connection that ended
	DropQuota                      // beyond the rate of its namespace
	DropReasons        int  = iota
)

// String is the reason as a metric label.
func (d Drop) String() string {
	return [...]string{"denied", "refused", "memory_full", "expired", "packet_too_large", "session_away", "connection_lost", "namespace_quota"}[d]
}

// Place is the place as a metric label.
func (d Drop) Place() string {
	if d == DropDenied || d == DropRefused || d == DropQuota {
		return "publish"
	}
	return "memory"
}

func newStats(ls []Listener) *Stats {
	s := &Stats{Listeners: map[string]*ListenerStats{}}
	for i := range ls {
		s.Listeners[ls[i].Name] = &ListenerStats{}
	}
	return s
}

func (s *Stats) drop(d Drop, n int) { s.Dropped[d].Add(int64(n)) }
