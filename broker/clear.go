package broker

import (
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// After an unplanned promotion the device may hold packet ids for QoS 2 messages that the lost host sent and this copy
// never heard of. A new PUBLISH under such an id would be taken for the old one. So its ids are cleared before the
// session's queue goes on, some hundred at a time: PUBREL in its form of two bytes makes every client let go of an id
// (longer forms make some of them fail), and PUBCOMP says that it did. Only when that is in the log are messages sent
// under these ids: after the next reconnect a PUBREL would complete one of them, and the PUBLISH behind it double it. [E5]
//
//	the queue comes to a stale id --PUBRELs sent--> clearing --all PUBCOMPs, or clearWait--> cleared
//	cleared --Ack{Cleared} committed--> the queue goes on
type clearing struct {
	clearTo uint64              // the last reference whose id is being cleared; 0: none is
	cleared uint64              // clearTo, once that is to be proposed; 0: nothing is
	clearly uint64              // the highest that an Ack operation says
	awaited map[uint16]struct{} // ids whose PUBCOMP has not come
	late    map[uint16]struct{} // and may still come, after clearWait
}

const (
	// clearIDs is how many ids are cleared at a time. All clients that were tried take 200 in one segment.
	clearIDs = 200
	// clearWait is how long the answers may take. A device that gives none has let go of the ids all the same: it read
	// the PUBRELs before what follows them.
	clearWait = 5 * time.Second
)

// releaseIDs begins to clear the packet ids of references from this one on.
func (w *writer) releaseIDs(from uint64) {
	c := w.c
	c.mu.Lock()
	c.more = true
	to := from + clearIDs - 1
	if len(c.win) > 0 { // what is in flight keeps its ids
		to = max(from, min(to, c.win[0].ref+queuedIDs-1))
	}
	c.clearTo = to
	if c.awaited == nil {
		c.awaited = make(map[uint16]struct{}, clearIDs)
	}
	for ref := from; ref <= to; ref++ {
		c.awaited[home.PacketID(ref)] = struct{}{}
	}
	c.mu.Unlock()
	w.messages = true
	for ref := from; ref <= to; ref++ {
		w.buf().b = packet.AppendAck(w.buf().b, c.v, packet.PUBREL, home.PacketID(ref), packet.Success)
	}
	time.AfterFunc(clearWait, func() { c.clearingEnds(to) })
}

// released takes a PUBCOMP for an id that was cleared. It is called with mu held.
func (c *conn) released(id uint16) bool {
	if _, ok := c.awaited[id]; ok {
		delete(c.awaited, id)
		if len(c.awaited) == 0 {
			c.cleared = c.clearTo
		}
		return true
	}
	_, late := c.late[id]
	delete(c.late, id)
	return late
}

// takeCleared is for the next Ack operation. It is called with mu held.
func (c *conn) takeCleared() uint64 {
	c.clearly, c.cleared = max(c.clearly, c.cleared), 0
	return c.clearly
}

// clearingEnds goes on without the answers that are missing; they may still come.
func (c *conn) clearingEnds(to uint64) {
	c.mu.Lock()
	missing := c.clearTo == to && len(c.awaited) > 0 && !c.closing
	if missing {
		c.cleared, c.late, c.awaited = to, c.awaited, nil
	}
	c.mu.Unlock()
	if missing {
		c.flushAcks()
	}
}

// afterClearing lets the queue go on when it is in the log that ids are clear. It is called with mu held.
func (c *conn) afterClearing() {
	if c.clearTo != 0 && c.clearTo == c.clearly {
		c.clearTo, c.more = 0, true
	}
}
