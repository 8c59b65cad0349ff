package broker

import (
	"slices"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// sentRef is a reference of the session's queue that was sent and not removed by a committed Ack.
//
//	QoS 1: sent --PUBACK--> done --proposed--> doneLogged --committed--> gone
//	QoS 2: sent --PUBREC--> received --proposed--> receivedLogged --committed, PUBREL sent--> released
//	       released --PUBCOMP--> done --proposed--> doneLogged --committed--> gone
//
// PUBREL goes out after the PUBREC is in the log: a node that takes over then knows that the message must not be sent
// again [A4]. A place in the window is free when the removal is in the log [C2].
type sentRef struct {
	ref   uint64
	qos   byte
	state refState
}

type refState uint8

const (
	refSent refState = iota
	refReceived
	refReceivedLogged
	refReleased
	refDone
	refDoneLogged
)

// remember puts a reference into the window. References come in the order of their numbers.
func (c *conn) remember(ref uint64, qos byte, state refState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.win = append(c.win, sentRef{ref: ref, qos: qos, state: state})
}

// skipReasons are what the home is told of references that were not delivered.
var skipReasons = [...]home.SkipReason{sentExpired: home.SkipExpired, sentTooLarge: home.SkipTooLarge, sentWithheld: home.SkipWithheld}

// skip notes a reference that is not delivered; flushAcks proposes it.
func (c *conn) skip(ref uint64, why sentResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skips[why] = appendRef(c.skips[why], ref)
	c.skipping++
}

// appendRef adds a number above all in rs.
func appendRef(rs []home.Range, ref uint64) []home.Range {
	if n := len(rs); n > 0 && rs[n-1].To+1 == ref {
		rs[n-1].To = ref
		return rs
	}
	return append(rs, home.Range{From: ref, To: ref})
}

// queuedIDs is how many packet ids belong to the queue in the home: 1 to queuedIDs.
const queuedIDs = home.FirstLocalID - 1

// findSent returns the reference in flight with a packet id, or nil. Those in flight span less than all ids, so the
// first one tells which round of the ids it is.
func (c *conn) findSent(id uint16) *sentRef {
	if len(c.win) == 0 {
		return nil
	}
	first := c.win[0].ref
	ref := first + uint64((id-home.PacketID(first))%queuedIDs)
	i, ok := slices.BinarySearchFunc(c.win, ref, func(s sentRef, ref uint64) int {
		switch {
		case s.ref < ref:
			return -1
		case s.ref > ref:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &c.win[i]
}

// handleAck takes an acknowledgement of the device. What it means for the queue is gathered; the end of the read, or
// the end of the Ack operation in flight, proposes it.
func (c *conn) handleAck(a packet.Ack) error {
	c.traceAck(a)
	if a.Type == packet.PUBREC { // the one that is answered
		if err := c.waitForReader(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.PacketID >= home.FirstLocalID {
		return c.ackLocal(a)
	}
	if a.Type == packet.PUBCOMP && c.released(a.PacketID) {
		return nil
	}
	r := c.findSent(a.PacketID)
	if r == nil {
		c.s.stats.UnknownAcks.Add(1)
		c.releaseAgain(a)
		return nil
	}
	switch {
	case a.Type == packet.PUBACK && r.qos == 1 && r.state == refSent,
		a.Type == packet.PUBCOMP && r.state == refReleased,
		a.Type == packet.PUBREC && r.state == refSent && r.qos == 2 && a.Code.Failed(): // [MQTT-4.3.3]: the exchange ends
		r.state = refDone
		c.gathered++
	case a.Type == packet.PUBREC && r.state == refSent && r.qos == 2:
		r.state = refReceived
		c.gathered++
	case a.Type == packet.PUBREC && r.state == refReleased:
		c.releaseAgain(a) // it missed our PUBREL
	case a.Type == packet.PUBREC && r.qos == 2, r.state == refDone, r.state == refDoneLogged: // again
	default:
		return &packet.Error{Code: packet.ProtocolError, Reason: a.Type.String() + " for a message that is not at that point"}
	}
	return nil
}

// ackLocal is handleAck for a message that is in no queue.
func (c *conn) ackLocal(a packet.Ack) error {
	_, known := c.local[a.PacketID]
	switch {
	case !known:
		c.s.stats.UnknownAcks.Add(1)
		c.releaseAgain(a)
		return nil
	case a.Type == packet.PUBREC && !a.Code.Failed():
		c.local[a.PacketID] = true
		c.releaseAgain(a)
		return nil
	}
	delete(c.local, a.PacketID)
	if c.memN.len() > 0 || c.more {
		c.wake()
	}
	return nil
}

// releaseAgain answers a PUBREC with PUBREL, also for an unknown id, so that the device lets go of it.
func (c *conn) releaseAgain(a packet.Ack) {
	if a.Type == packet.PUBREC && !a.Code.Failed() {
		c.control(func(b []byte) []byte { return packet.AppendAck(b, c.v, packet.PUBREL, a.PacketID, packet.Success) })
		c.wake()
	}
}

// newLocalID returns a packet id for a message from memory. There is one: the window is far smaller than the ids.
func (c *conn) newLocalID() uint16 {
	if c.local == nil {
		c.local = map[uint16]bool{}
	}
	for {
		if c.lastID++; c.lastID < home.FirstLocalID {
			c.lastID = home.FirstLocalID
		}
		if _, used := c.local[c.lastID]; !used {
			c.local[c.lastID] = false
			return c.lastID
		}
	}
}
