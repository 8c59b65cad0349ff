package broker

import (
	"causeway/broker/packet"
	"causeway/internal/home"
)

// outbound is what waits to be sent to a device, and what was sent and waits for an acknowledgement. It is guarded by
// conn.mu.
//
// There are two sources. The session's queue is in the home and pulled from (more says that there may be something).
// mem0 and memN are this connection's own: QoS 0, and QoS 1 and 2 that are in no queue (of sessions that end with the
// connection, and of the ack policy memory). Order holds within a QoS [MQTT-4.6.0-6], so QoS 0 need not wait for a
// window.
type outbound struct {
	ctrl     *buffer // encoded packets that go first: acks, SUBACK, PINGRESP, CONNACK, DISCONNECT
	mem0     ring[item]
	memN     ring[item]
	memBytes int
	more     bool      // the home's queue may have something after pulled
	pulled   uint64    // number of the last reference taken from it
	resumed  uint64    // references up to this one may have been sent on an earlier connection
	win      []sentRef // references sent and not removed by a committed Ack, in order
	gathered int       // of them: acknowledged, and not proposed yet
	acking   bool      // an Ack operation is in the log's hands
	stuck    bool      // or waits for room there
	// References not delivered, to be proposed; skipping counts them until the home has removed them. Until then they
	// are among those the home takes for possibly sent, so they keep their places in the window.
	skips    [len(skipReasons)][]home.Range // by why
	skipping int

	clearing // of packet ids that a lost host may have used

	local  map[uint16]bool // packet ids of memN in flight; true when PUBREC came
	lastID uint16          // of them
}

// item is a message that waits in memory. The message is shared by all its recipients.
type item struct {
	msg    *home.Message
	subs   []uint32
	qos    byte
	retain bool
	weak   bool // acknowledged by the policy memory, if at all: it may be dropped at any QoS
}

// cost is what an item counts against the bounds: the whole message, although it is shared.
func (it *item) cost() int {
	return opOverhead + len(it.msg.Topic) + len(it.msg.Payload) + len(it.msg.Forward)
}

// Deliver takes a message for a session from the home, while it applies. It does not block.
func (h *House) Deliver(d home.Delivery) {
	if d.Owner != h.home.Owner() {
		return
	}
	it := item{msg: d.Message, subs: d.SubIDs, qos: d.QoS, retain: d.Retain}
	c, late := h.sessions.find(d.Session, early{epoch: d.Epoch, item: it})
	switch {
	case c != nil:
		c.deliver(it)
	case late && it.qos > 0:
		h.s.stats.drop(DropConnectionLost, 1)
	}
}

// Queued hears from the home that a session's queue has something new. It does not block.
func (h *House) Queued(k home.SessionKey, epoch home.SessionEpoch, owner home.Owner) {
	if owner != h.home.Owner() {
		return
	}
	// A connection that is still attaching looks into the queue anyway.
	if c := h.sessions.get(k); c != nil && c.epoch == epoch {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.more = true
		c.wake()
	}
}

// Ended hears from the home that an owner has lost a session. It does not block. The epoch alone says whose it was: when
// the home was started again under us, its owner is an incarnation that is not the present one.
func (h *House) Ended(k home.SessionKey, epoch home.SessionEpoch, _ home.Owner, why home.EndReason) {
	if c, _ := h.sessions.find(k, early{epoch: epoch, ended: why}); c != nil {
		c.sessionEnded(why)
	}
}

// deliver puts a message into the connection's memory, or drops it when there is no room. QoS 0 and what was accepted
// under the policy memory is dropped and counted. Dropping any other QoS 1 or 2 would break what the subscription says
// without anybody knowing; ending the connection tells the device, and costs this device only. [MQTT-4.5.0-1]
func (c *conn) deliver(it item) {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		if it.qos > 0 {
			c.s.stats.drop(DropConnectionLost, 1)
		}
		return
	}
	fits := c.hasRoom(it.cost())
	if fits {
		c.put(it)
		c.wake()
	}
	c.mu.Unlock()
	switch {
	case fits:
	case it.qos == 0 || it.weak:
		c.s.stats.drop(DropMemoryFull, 1)
		c.traceUnsent(&it, "the device does not read fast enough: its memory is full")
	default:
		c.s.stats.drop(DropConnectionLost, 1)
		c.shut(EndSlow, packet.QuotaExceeded, "too many messages wait for this client")
	}
}

// behind is how many bytes a connection may have waiting when all connections together have too many: a device that
// keeps up does not pay for those that do not.
const behind = 64 << 10

func (c *conn) hasRoom(cost int) bool {
	o := &c.s.opt
	if c.mem0.len()+c.memN.len() >= o.MemoryMessages || c.memBytes+cost > o.MemoryBytes {
		return false
	}
	return c.memBytes+cost <= behind || c.s.stats.MemoryBytes.Load() <= o.MemoryTotal
}

func (c *conn) put(it item) {
	c.memBytes += it.cost()
	c.s.stats.MemoryBytes.Add(int64(it.cost()))
	if it.qos == 0 {
		c.mem0.push(it)
	} else {
		c.memN.push(it)
	}
}

// take removes the next message from a ring.
func (c *conn) take(r *ring[item]) item {
	it := r.pop()
	cost := it.cost()
	c.memBytes -= cost
	c.s.stats.MemoryBytes.Add(-int64(cost))
	return it
}

// dropAll empties the connection's memory; it returns how many of QoS 1 and 2 were lost with it.
func (c *conn) dropAll() (lost int) {
	for c.mem0.len() > 0 {
		c.take(&c.mem0)
	}
	for lost = len(c.local); c.memN.len() > 0; lost++ {
		c.take(&c.memN)
	}
	c.local, c.win = nil, nil
	if !c.draining {
		giveBack(c.ctrl)
		c.ctrl = nil
	}
	return lost
}

// control appends an encoded packet that goes before all messages.
func (c *conn) control(encode func([]byte) []byte) {
	if c.closing {
		return
	}
	if c.ctrl == nil {
		c.ctrl = borrow(0)
	}
	c.ctrl.b = encode(c.ctrl.b)
}

func (c *conn) controlBytes() int {
	if c.ctrl == nil {
		return 0
	}
	return len(c.ctrl.b)
}

// wake makes sure that somebody sends what there is to send.
func (c *conn) wake() {
	if c.draining || !c.ready {
		return
	}
	c.draining = true
	c.s.conns.Add(1)
	go c.drain()
}
