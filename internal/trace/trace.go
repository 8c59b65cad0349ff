package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"causeway/routing"
)

// Kind is what a trace follows.
type Kind string

// The kinds. A trace of a topic follows what a topic filter matches, one of an address a prefix of addresses.
const (
	Client  Kind = "client"
	Topic   Kind = "topic"
	Address Kind = "address"
)

// Bounds of a trace, and of a node.
const (
	DefaultFor   = 10 * time.Minute
	MaxFor       = 24 * time.Hour
	DefaultLines = 10_000
	MaxLines     = 50_000
	maxBytes     = 8 << 20 // of the lines of one trace
	payloadMost  = 4 << 10 // of one line; the rest is cut
	running      = 4       // at a time
	kept         = 8       // with those that ended
	acksMost     = 4096    // deliveries whose acknowledgement a trace of a topic waits for
)

// Spec is what an operator asked for.
type Spec struct {
	ID        string
	Kind      Kind
	Namespace string // of a client or a topic
	Value     string
	Payload   bool
	Lines     int
	Start     time.Time
	Until     time.Time
	By        string
}

// Check fills in the defaults and says what is wrong.
func (s *Spec) Check() error {
	if s.Lines == 0 {
		s.Lines = DefaultLines
	}
	if s.Until.IsZero() {
		s.Until = s.Start.Add(DefaultFor)
	}
	switch {
	case s.Value == "":
		return errors.New("value is empty: give the client id, topic filter or address to follow")
	case s.Lines < 1 || s.Lines > MaxLines:
		return fmt.Errorf("lines is %d; use 1 to %d", s.Lines, MaxLines)
	case s.Until.Sub(s.Start) > MaxFor || !s.Until.After(s.Start):
		return fmt.Errorf("for is %s; use up to %s", s.Until.Sub(s.Start), MaxFor)
	}
	switch s.Kind {
	case Client:
		return nil
	case Topic:
		if err := routing.ValidFilter(s.Value); err != nil {
			return fmt.Errorf("value: %w", err)
		}
		return nil
	case Address:
		_, err := prefix(s.Value)
		return err
	}
	return fmt.Errorf("kind is %q; use client, topic or address", s.Kind)
}

// prefix reads an address or a prefix of addresses.
func prefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("value is %q; use an address such as 10.7.0.9, or a prefix such as 10.7.0.0/16", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Line is one thing that was seen.
type Line struct {
	N         uint64 // of the trace at this node, from 1
	At        time.Time
	Event     string
	Namespace string
	ClientID  string
	Address   string
	Listener  string
	Topic     string // or the filter of a subscription
	QoS       byte
	PacketID  uint16
	Bytes     int    // of the payload
	Peer      string // a link's other end
	Reason    string
	Payload   []byte // only if asked for
}

const lineOverhead = 200

func (l *Line) size() int {
	return lineOverhead + len(l.ClientID) + len(l.Address) + len(l.Topic) + len(l.Reason) + len(l.Payload)
}

// What a line may be about. Connected, Ended and Refused are as a device's history has them.
const (
	Connected    = "connected"
	Refused      = "refused"
	Ended        = "ended"
	Subscribed   = "subscribed"
	Unsubscribed = "unsubscribed"
	Published    = "published"    // it came from the device
	Accepted     = "accepted"     // its acknowledgement goes to the device
	Denied       = "denied"       // by an access rule
	Delivered    = "delivered"    // sent to the device
	Acknowledged = "acknowledged" // by the device
	Dropped      = "dropped"
	Forwarding   = "forwarding" // it is handed to a link
	Forwarded    = "forwarded"  // written to a link
	Arrived      = "arrived"    // from a link
)

// about says whether a line belongs to the trace.
func (t *Trace) about(l *Line) bool {
	switch t.spec.Kind {
	case Client:
		return l.ClientID == t.spec.Value && l.Namespace == t.spec.Namespace
	case Address:
		return l.Address != "" && t.covers(l.Address)
	}
	switch {
	case l.Namespace != t.spec.Namespace:
		return false
	case l.Topic == "":
		return l.Event == Acknowledged && t.awaited(l)
	case l.Event == Subscribed || l.Event == Unsubscribed:
		return routing.Overlaps(t.spec.Value, l.Topic)
	}
	return routing.Matches(t.spec.Value, l.Topic)
}

func (t *Trace) covers(remote string) bool {
	if a, err := netip.ParseAddrPort(remote); err == nil {
		return t.prefix.Contains(a.Addr().Unmap())
	}
	a, err := netip.ParseAddr(remote)
	return err == nil && t.prefix.Contains(a.Unmap())
}
