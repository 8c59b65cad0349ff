package foreign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"causeway/internal/home"
	"causeway/link"
)

// DropReason says why a link dropped a message.
type DropReason string

// Reasons to drop. Those of messages of QoS 0, and of the policy memory, are DropLinkDown and DropLiveFull.
const (
	DropLinkDown  DropReason = "link_down"
	DropLiveFull  DropReason = "link_queue_full"
	DropPolicyOut DropReason = "policy_out"
	DropPolicyIn  DropReason = "policy_in"
	DropExpired   DropReason = "expired"
	DropTooLarge  DropReason = "too_large" // for the broker
	DropRefused   DropReason = "refused"   // by the broker, with a reason that will not change
	DropLoop      DropReason = "loop"      // it was here before
	DropResidency DropReason = "residency" // the rules do not name the link
	DropOperator  DropReason = "operator"  // trimmed by filter
)

// DropReasons are all of them.
func DropReasons() []DropReason { return slices.Clone(dropReasons) }

var dropReasons = []DropReason{DropLinkDown, DropLiveFull, DropPolicyOut, DropPolicyIn, DropExpired, DropTooLarge, DropRefused, DropLoop, DropResidency, DropOperator}

// counters only grow, over all connections of a link.
type counters struct {
	messagesOut, messagesIn, again    atomic.Uint64
	bytesOut, bytesIn                 atomic.Uint64
	connects, dialFailures, bare, put atomic.Uint64
	slowed                            atomic.Uint64 // nanoseconds
	drops                             [10]atomic.Uint64
}

func (c *counters) drop(r DropReason, n int) {
	for i, known := range dropReasons {
		if known == r {
			c.drops[i].Add(uint64(n))
		}
	}
}

// Counters of a link since New.
type Counters struct {
	MessagesOut  uint64 // PUBLISH sent, Again among them
	Again        uint64 // sent once more after a connection was lost
	MessagesIn   uint64 // taken in
	BytesOut     uint64
	BytesIn      uint64
	Connects     uint64
	DialFailures uint64        // rounds of all addresses
	Bare         uint64        // messages sent without their MQTT 5 properties, since the broker speaks 3.1.1
	Slowed       time.Duration // that acknowledgements of what came in waited for devices whose queues fill up
	PutOff       uint64        // messages that the broker had no room for, sent again later
	Dropped      map[DropReason]uint64
}

func (c *counters) read() Counters {
	out := Counters{MessagesOut: c.messagesOut.Load(), Again: c.again.Load(), MessagesIn: c.messagesIn.Load(), BytesOut: c.bytesOut.Load(),
		BytesIn: c.bytesIn.Load(), Connects: c.connects.Load(), DialFailures: c.dialFailures.Load(), Bare: c.bare.Load(), PutOff: c.put.Load(),
		Slowed:  time.Duration(c.slowed.Load()),
		Dropped: map[DropReason]uint64{}}
	for i, r := range dropReasons {
		out.Dropped[r] = c.drops[i].Load()
	}
	return out
}

// Status is a link as an operator sees it.
type Status struct {
	Name        string
	Peer        home.ID
	State       link.State
	Reason      string // why it is not up; while up: why a part of it does not work
	Since       time.Time
	Address     string // of the broker, while up
	Protocol    string // while up
	Connected   int    // connections that the broker has accepted
	Connections int    // that there are to be
	UnderWay    int    // messages taken from the spool and not done with

	LagMessages int // spooled and not acknowledged
	LagBytes    uint64
	LagAge      time.Duration

	Canaries Canaries
	Returns  bool // canaries come back
	Counters Counters
}

func (l *linkTo) status() Status {
	l.mu.Lock()
	st := Status{Name: l.cfg.Name, Peer: l.peer(), State: l.state, Reason: l.reason, Since: l.since, Connections: l.cfg.Connections, Counters: l.counts.read(),
		Canaries: l.canaries.read()}
	if l.state == link.Up {
		st.Reason = l.part
	}
	l.mu.Unlock()
	if t := l.term.Load(); t != nil {
		t.describe(&st)
	}
	h := l.m.o.Home.State()
	if info, ok := h.Peer(l.peer()); ok {
		st.LagMessages, st.LagBytes = info.Spooled, info.Bytes
		if info.Oldest != 0 {
			st.LagAge = max(0, h.Now().Sub(info.Oldest))
		}
	}
	return st
}

func (t *term) describe(st *Status) {
	select {
	case <-t.settled:
	default:
		return
	}
	st.Connections, st.Connected, st.Protocol, st.UnderWay = len(t.lanes), int(t.up.Load()), t.dialect.String(), t.ledger.underWay()
	st.Returns = len(t.l.cfg.In) > 0 && len(t.l.cfg.Out) > 0 && t.echoes.come.Load()
	if at := t.first.address.Load(); at != nil && st.State == link.Up {
		st.Address = *at
	}
}

// setUp notes that a connection was accepted. The link is up with the first one, which has what comes in.
func (c *lane) setUp(s *conn) {
	l := c.t.l
	l.counts.connects.Add(1)
	l.known.Store(true)
	c.address.Store(&s.address)
	c.connected.Store(true)
	c.t.up.Add(1)
	if c.n > 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.reason, l.part, l.since = link.Up, "", "", time.Now()
	if s.expiry < l.cfg.SessionExpiry {
		l.part = fmt.Sprintf("the broker keeps our session for %s only, not %s: raise its limit, or lower spool.age", s.expiry, l.cfg.SessionExpiry)
	}
	l.log.Info("foreign link up", "address", s.address, "protocol", s.dialect.String(), "session_present", s.present)
}

// setEnded notes why a connection ended.
func (c *lane) setEnded(err error) {
	c.connected.Store(false)
	c.t.up.Add(-1)
	switch {
	case errors.Is(err, context.Canceled):
		c.t.l.setIdle("stopped")
	case c.n == 0:
		c.t.l.setDown(oneLine(err))
	default:
		c.t.l.setPart(oneLine(err))
	}
}

func (l *linkTo) setDown(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == link.Up {
		l.since = time.Now()
	}
	if l.reason != reason {
		l.log.Warn("foreign link down", "reason", reason)
	}
	l.state, l.reason = link.Down, reason
}

// setIdle notes why this node does not try.
func (l *linkTo) setIdle(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == link.Up {
		l.since = time.Now()
	}
	l.state, l.reason = link.Down, reason
}

// setPart notes what does not work while the link is up.
func (l *linkTo) setPart(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.part != reason && reason != "" {
		l.log.Warn("a part of the foreign link does not work", "reason", reason)
	}
	l.part = reason
}
