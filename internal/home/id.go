package home

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
)

// ID names a home. The home of a region carries the region's name.
type ID string

// NodeID names a broker node.
type NodeID string

// Incarnation counts the starts of a node. It is persisted before it is used,
// so two runs of one node never share it.
type Incarnation uint64

// Owner is a run of a node: the one that may speak for the sessions it attached.
// The zero Owner is nobody.
type Owner struct {
	Node        NodeID
	Incarnation Incarnation
}

func (o Owner) String() string { return fmt.Sprintf("%s/%d", o.Node, o.Incarnation) }

// Seq numbers the messages of a home, densely, from 1. It goes on over epochs;
// with the epoch it is unique even when two hosts numbered on from one point.
type Seq uint64

// SessionEpoch is raised at every attach in the home, so no two attaches share
// one. An operation that speaks for a session carries it; a stale one is void.
type SessionEpoch uint64

// Time is home time in nanoseconds. It advances by the leader's monotonic
// clock, by record; it starts at the Unix time of the home's creation.
type Time int64

// Add returns t shifted by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Epoch is the lineage number of a home. A promotion raises it. Two forced
// promotions to one number are ordered by host.
type Epoch struct {
	Number uint64
	Host   string // region that hosts the home at this epoch
}

// Compare orders epochs by number, then host.
func (e Epoch) Compare(o Epoch) int {
	return cmp.Or(cmp.Compare(e.Number, o.Number), cmp.Compare(e.Host, o.Host))
}

func (e Epoch) String() string { return strconv.FormatUint(e.Number, 10) + "@" + e.Host }

// Source is where a message was numbered first.
type Source struct {
	Home  ID
	Epoch Epoch
}

// SessionKey is the identity of a session.
type SessionKey struct {
	Namespace string
	ClientID  string
}

func (k SessionKey) String() string {
	if k.Namespace == "" {
		return k.ClientID
	}
	return k.Namespace + "/" + k.ClientID
}

// Replicated packet ids are 1 … packetIDs; the rest of MQTT's id space belongs
// to the connection, for deliveries that are not queued in the home. So both
// sides number without asking the other.
const (
	packetIDs      = 32768
	FirstLocalID   = packetIDs + 1
	maxUnackedSpan = packetIDs - 1 // [C2]: an id in use never comes round
	MaxWindow      = 1024          // cap of the "possibly sent" part of a queue
	neverExpires   = 0xFFFFFFFF
)

// PacketID is the MQTT packet id of the reference with the given number in its
// session's queue. A re-delivery on any node gets the same one.
func PacketID(ref uint64) uint16 { return uint16((ref-1)%packetIDs) + 1 }
