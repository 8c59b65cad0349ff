package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
	"causeway/routing"
)

// State of a link.
type State string

// States of a link.
const (
	Down    State = "down"
	Dialing State = "dialing"
	Up      State = "up"
)

// DropReason says why a link dropped a message.
type DropReason string

// Reasons to drop. DropExpired, DropTooLarge, DropPolicyOut, DropPolicyIn,
// DropOperator and DropTopicTooLong concern messages of a spool, too; the others are
// of messages in no log.
const (
	DropLinkDown  DropReason = "link_down"
	DropLiveFull  DropReason = "link_queue_full"
	DropPolicyOut DropReason = "policy_out"
	DropPolicyIn  DropReason = "policy_in"
	DropExpired   DropReason = "expired"
	DropTooLarge  DropReason = "too_large" // for the peer
	DropRelayed   DropReason = "came_by_link"

	DropResidency    DropReason = "residency" // the rules keep it out of the region where it would go
	DropPaused       DropReason = "paused"
	DropOperator     DropReason = "operator"       // dropped from a spool by filter
	DropTopicTooLong DropReason = "topic_too_long" // under the prefix of what comes in
)

var dropReasons = []DropReason{DropLinkDown, DropLiveFull, DropPolicyOut, DropPolicyIn, DropExpired, DropTooLarge, DropRelayed,
	DropPaused, DropOperator, DropTopicTooLong, DropResidency}

// counters only grow, over all tunnels of a link.
type counters struct {
	framesOut, framesIn, messagesOut, messagesIn atomic.Uint64
	liveOut, liveIn, acksOut, acksIn             atomic.Uint64
	rawOut, wireOut, rawIn, wireIn               atomic.Uint64
	interestOut, interestIn                      atomic.Uint64
	snapshotsOut, snapshotsIn, digestMismatches  atomic.Uint64
	tunnels, tunnelsTCP, tunnelsRelay            atomic.Uint64
	probes, dialFailures                         atomic.Uint64
	resyncs, gapsOut, gapsIn, held               atomic.Uint64
	throttled, slowed                            atomic.Uint64 // nanoseconds
	canariesOut                                  atomic.Uint64
	drops                                        [11]atomic.Uint64
}

func (c *counters) drop(r DropReason, n int) {
	for i, known := range dropReasons {
		if known == r {
			c.drops[i].Add(uint64(n))
		}
	}
}

// Counters of a link since New. Raw bytes are messages before compression, wire
// bytes are frames with their headers.
type Counters struct {
	FramesOut, FramesIn       uint64
	MessagesOut, MessagesIn   uint64 // of spools; some may come again after a break
	LiveOut, LiveIn           uint64 // in no log
	AcksOut, AcksIn           uint64
	RawOut, WireOut           uint64
	RawIn, WireIn             uint64
	InterestOut, InterestIn   uint64 // bytes
	SnapshotsOut, SnapshotsIn uint64
	DigestMismatches          uint64 // what a peer wants was not what we held at that version
	Tunnels, DialFailures     uint64
	TunnelsTCP, TunnelsRelay  uint64        // of Tunnels
	Probes                    uint64        // of a better network
	Resyncs                   uint64        // streams begun again at the receiver's cursor
	GapsOut, GapsIn           uint64        // spans of which a part was not in the spool any more
	Held                      uint64        // times a class could not be sent; the log says why
	Throttled                 time.Duration // that frames waited for the link's rate, each class and QoS 0 for itself
	Slowed                    time.Duration // that frames of the peer waited for devices over here whose queues fill up
	CanariesOut               uint64        // proposed; they are none of MessagesOut
	Dropped                   map[DropReason]uint64
}

func (c *counters) read() Counters {
	out := Counters{
		FramesOut: c.framesOut.Load(), FramesIn: c.framesIn.Load(), MessagesOut: c.messagesOut.Load(), MessagesIn: c.messagesIn.Load(),
		LiveOut: c.liveOut.Load(), LiveIn: c.liveIn.Load(), AcksOut: c.acksOut.Load(), AcksIn: c.acksIn.Load(),
		RawOut: c.rawOut.Load(), WireOut: c.wireOut.Load(), RawIn: c.rawIn.Load(), WireIn: c.wireIn.Load(),
		InterestOut: c.interestOut.Load(), InterestIn: c.interestIn.Load(),
		SnapshotsOut: c.snapshotsOut.Load(), SnapshotsIn: c.snapshotsIn.Load(), DigestMismatches: c.digestMismatches.Load(),
		Tunnels: c.tunnels.Load(), TunnelsTCP: c.tunnelsTCP.Load(), TunnelsRelay: c.tunnelsRelay.Load(), Probes: c.probes.Load(), DialFailures: c.dialFailures.Load(),
		Resyncs: c.resyncs.Load(), GapsOut: c.gapsOut.Load(), GapsIn: c.gapsIn.Load(), Held: c.held.Load(),
		Throttled: time.Duration(c.throttled.Load()), Slowed: time.Duration(c.slowed.Load()), CanariesOut: c.canariesOut.Load(), Dropped: map[DropReason]uint64{},
	}
	for i, r := range dropReasons {
		out.Dropped[r] = c.drops[i].Load()
	}
	return out
}

// Status is a link as an operator sees it.
type Status struct {
	Peer           home.ID
	Leaf           bool // its region is one, as it last said
	Region         string
	State          State
	Reason         string    // why it is not up; while up: why a part of it does not work
	Since          time.Time // of the state
	Heard          time.Time // when something came from the peer last, over any tunnel; zero: never
	Network        string    // udp, tcp or relay, while up
	Connections    int       // of the tunnel, while up
	WhyConnections string    // why there are several, while up
	WhyNotUDP      string    // why it is not udp, while up
	Via            string    // the region that relays, while up through one
	Address        string    // of the peer's end, while up
	Dialled        bool      // by us, while up

	RTT                    time.Duration // while up
	BytesSent, BytesRecv   uint64        // of the transport, with everything, over all tunnels
	PacketsSent, LostCount uint64        // packets sent, and found lost

	Protocol uint64 // version in use, while up
	Software string // the peer's version, while up

	LagMessages int // spooled for the peer and not acknowledged
	LagBytes    uint64
	LagAge      time.Duration // since the oldest of them was spooled

	Canary CanaryStatus

	InterestVersion uint64 // of what the peer wants, as our home has it
	InterestFilters int

	Relayed      []Relayed         // from the peer to others
	RelayRefused map[string]uint64 // streams of the peer that were refused, by reason

	Counters Counters
}

func (p *peer) status() Status {
	cfg := p.config()
	st := Status{Peer: cfg.ID, Region: cfg.region(), Counters: p.counts.read(), Relayed: p.relays.relayed(), RelayRefused: p.relays.refusedBy()}
	p.mu.Lock()
	st.State, st.Reason, st.Since, st.Heard, st.Leaf = p.state, p.reason, p.since, p.heard, p.leaf
	c := p.former
	if t := p.tunnel; t != nil && p.state == Up {
		st.Address, st.Dialled, st.Protocol, st.Software = t.c.remote().String(), t.dialled, t.agreed.Version, t.remote.Software
		st.Connections, st.WhyConnections = t.connections()
		if st.Network = string(t.c.network()); t.c.network() != overUDP {
			st.WhyNotUDP = cmp.Or(t.said(), t.whyNotUDP)
		}
		if via, ok := t.c.remote().(relayAddr); ok {
			st.Via = via.region
		}
		c = c.plus(t.c.stats())
		st.RTT = c.rtt
		st.Reason = p.heldReason()
	}
	p.mu.Unlock()
	st.BytesSent, st.BytesRecv, st.PacketsSent, st.LostCount = c.sent, c.received, c.packets, c.packetsLost
	st.Canary = p.canaries.status(time.Now())
	if p.key.purpose != wire.PurposeLink {
		return st
	}
	h := p.m.o.Home.State()
	if info, ok := h.Peer(cfg.ID); ok {
		st.LagMessages, st.LagBytes = info.Spooled, info.Bytes
		st.InterestVersion, st.InterestFilters = info.Version, info.Filters
		if info.Oldest != 0 {
			st.LagAge = max(0, h.Now().Sub(info.Oldest))
		}
	}
	return st
}

// plus adds the figures of a later connection; its round trip is the newer one.
func (c connStats) plus(d connStats) connStats {
	return connStats{rtt: d.rtt, sent: c.sent + d.sent, received: c.received + d.received,
		packets: c.packets + d.packets, packetsLost: c.packetsLost + d.packetsLost}
}

func (p *peer) isUp() bool { return p.up.Load() }

func (p *peer) setState(s State, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter(s, reason)
}

// enter is called with mu held. The time of a state is that of its beginning:
// another reason for being down does not restart it, and a dial is a part of it.
func (p *peer) enter(s State, reason string) {
	if p.state == Up || s == Up {
		p.since = time.Now()
	}
	if s != Dialing { // while dialing the last reason stays
		p.reason = reason
	}
	p.state = s
	p.up.Store(s == Up)
}

func (p *peer) setUp(t *tunnel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel != t {
		return
	}
	p.counts.tunnels.Add(1)
	p.leaf = t.remote.Leaf()
	p.enter(Up, "")
	log := p.talk.logger(p.log, time.Now()).With("network", string(t.c.network()), "address", t.c.remote().String(), "dialled", t.dialled, "peer_version", t.remote.Software)
	if t.c.network() == overUDP {
		log.Info("link up")
		return
	}
	if t.c.network() == overRelay {
		p.counts.tunnelsRelay.Add(1)
		log.Warn("link up through a relay", "reason", t.whyNotUDP)
		return
	}
	p.counts.tunnelsTCP.Add(1)
	log.Warn("link up over TCP", "reason", t.whyNotUDP)
}

// setEnded notes why t ended. If another tunnel has its place, the link is up.
func (p *peer) setEnded(t *tunnel, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.former = p.former.plus(t.c.stats())
	if p.tunnel != t {
		return
	}
	reason := endReason(err)
	p.enter(Down, reason)
	p.talk.logger(p.log, time.Now()).Info("link down", "reason", reason)
}

// hold notes why a class is not sent; "" that it is.
func (p *peer) hold(class, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reason == "" {
		delete(p.held, class)
		return
	}
	if p.held == nil {
		p.held = map[string]string{}
	}
	p.held[class] = reason
}

// whyDown is why there is no tunnel.
func (p *peer) whyDown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// whyHeld says why a class is not sent; "" if all are.
func (p *peer) whyHeld() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heldReason()
}

// heldReason is called with mu held.
func (p *peer) heldReason() string {
	reasons := slices.Sorted(maps.Values(p.held))
	return strings.Join(reasons, "; ")
}

// endReason is the cause of a tunnel's end, whichever of its streams noticed it
// first.
func endReason(err error) string {
	var closed *closedError
	var relay *relayError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return "closed"
	case errors.As(err, &closed):
		return closed.Error()
	case errors.Is(err, errSilent):
		return errSilent.Error()
	case errors.Is(err, errRestarted):
		return errRestarted.Error()
	case errors.Is(err, errCut):
		return errCut.Error()
	case errors.As(err, &relay):
		return relay.Error()
	}
	return err.Error()
}

// setDown notes why there is no tunnel.
func (p *peer) setDown(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel != nil {
		return
	}
	reason := oneLine(err)
	if p.reason != reason {
		p.talk.logger(p.log, time.Now()).Warn("link down", "reason", reason)
	}
	p.enter(Down, reason)
}

// waiting is the reason of a link that only the peer can open.
const waiting = "waiting for the peer to dial"

// setWaiting notes that only the peer can open a tunnel.
func (p *peer) setWaiting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel == nil && p.reason == notStarted {
		p.enter(Down, waiting)
	}
}

// noteStranger tells a link that waits who came and was refused: it may be its
// peer with a wrong certificate.
func (p *peer) noteStranger(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel == nil && strings.HasPrefix(p.reason, waiting) {
		p.enter(Down, waiting+"; the last one to try was refused: "+err.Error())
	}
}

func protocolError(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errProtocol)...)
}

func validTopic(topic string) bool { return routing.ValidTopic(topic) == nil }

// countingReader counts what is read through it.
type countingReader struct {
	r io.Reader
	n *atomic.Uint64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(uint64(n))
	return n, err
}
