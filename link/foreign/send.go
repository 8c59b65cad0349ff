package foreign

import (
	"math"
	"time"

	"causeway/broker/packet"
)

const (
	writeBytes  = 64 << 10 // at which a write ends
	mostFlights = 1024     // of a connection, unless Inflight says more
)

// fill appends what there is to write. rest is how long the broker is spared, if it has no room.
func (c *lane) fill(buf []byte, s *conn) (_ []byte, rest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf = c.acks.append(append(buf, c.control...), s.dialect.version)
	c.control = c.control[:0]
	if rest = time.Until(c.putOff); rest <= 0 {
		buf = c.sendAll(buf, s, &c.queue)
	}
	before := len(c.live)
	if buf = c.sendAll(buf, s, &c.live); len(c.live) != before {
		c.size = 0
		for _, f := range c.live {
			c.size += size(&f.msg)
		}
	}
	return buf, rest
}

// sendAll sends what a queue holds, in order, as far as the broker takes it.
func (c *lane) sendAll(buf []byte, s *conn, queue *[]*flight) []byte {
	n := 0
	for n < len(*queue) && len(buf) < writeBytes {
		f := (*queue)[n]
		if len(c.flights) >= c.window(s) || !c.identify(f) {
			break
		}
		buf = c.send(buf, s, f)
		(*queue)[n] = nil
		n++
	}
	if *queue = (*queue)[n:]; len(*queue) == 0 {
		*queue = nil
	}
	return buf
}

// window is how many messages the broker takes unacknowledged.
func (c *lane) window(s *conn) int {
	if c.suspect > 0 {
		return 1
	}
	limit := c.t.l.cfg.Inflight
	if limit == 0 {
		return min(s.receiveMax, mostFlights)
	}
	if s.dialect.version == packet.V5 {
		return min(s.receiveMax, limit)
	}
	return limit
}

// identify gives a flight its packet id, unless that is in use. It follows from the message's number, so that a node that
// is started again, or another one, sends it under the same id: a broker that has our session then knows that it has a
// message of QoS 2.
func (c *lane) identify(f *flight) bool {
	if f.id != 0 {
		return true
	}
	id := uint16(f.seq%math.MaxUint16) + 1
	if f.seq == 0 {
		id = c.free()
	}
	if c.ids[id] != nil {
		return false
	}
	f.id = id
	return true
}

// free is a packet id that is not in use; windows are far smaller than there are ids.
func (c *lane) free() uint16 {
	for c.ids[c.freeID] != nil {
		c.freeID = max(c.freeID-1, 1)
		if c.freeID == 1 {
			c.freeID = math.MaxUint16
		}
	}
	return c.freeID
}

// send appends a message, or drops it if the broker would not take it.
func (c *lane) send(buf []byte, s *conn, f *flight) []byte {
	p, reason := c.publish(s, f)
	if reason == "" && packet.PublishSize(s.dialect.version, &p) > s.maxPacket {
		reason = DropTooLarge
	}
	if reason != "" {
		c.t.l.counts.drop(reason, 1)
		c.finish(f)
		return buf
	}
	f.qos = p.QoS
	switch p.QoS {
	case 0:
		c.written = append(c.written, f)
	case 2:
		if c.clean.first(f.id) && !f.maybe && !f.sent {
			buf = packet.AppendAck(buf, s.dialect.version, packet.PUBREL, f.id, packet.Success)
		}
		fallthrough
	default:
		f.sent = true
		c.ids[f.id] = f
		c.flights = append(c.flights, f)
	}
	if f.canary.IsZero() {
		c.noteSent(s, f)
	}
	return packet.AppendPublish(buf, s.dialect.version, &p)
}

// noteSent counts, and remembers what will come back without a mark.
func (c *lane) noteSent(s *conn, f *flight) {
	l := c.t.l
	l.counts.messagesOut.Add(1)
	if s.dialect.version == packet.V5 {
		return
	}
	if len(f.msg.Forward) > 0 {
		l.counts.bare.Add(1)
	}
	if len(l.cfg.In) > 0 {
		c.t.echoes.sent(&f.msg)
	}
}

// publish is the packet of a flight on this connection.
func (c *lane) publish(s *conn, f *flight) (p packet.OutPublish, reason DropReason) {
	policy, m := c.t.l.policy(), &f.msg
	p = packet.OutPublish{Topic: m.Topic, QoS: min(policy.QoS(m.QoS), s.maxQoS), Retain: m.Retain && policy.Retained && s.retain,
		Dup: f.sent || f.maybe && s.present, PacketID: f.id, Payload: m.Payload}
	if s.dialect.version == packet.V5 && f.canary.IsZero() {
		p.Forward = c.t.l.mark(m)
	}
	if m.Expires == 0 {
		return p, ""
	}
	switch left := m.Expires.Sub(c.t.st.Now()); {
	case left > 0:
		p.MessageExpiry = uint32(min((left+time.Second-1)/time.Second, math.MaxUint32))
	case f.sent: // the broker may have it
		p.MessageExpiry = 1
	case p.Retain: // it replaced what the topic retained before
		p.Payload, p.Forward = nil, nil
	default:
		return p, DropExpired
	}
	return p, ""
}

// wrote notes that what was filled is written: for QoS 0 that is all.
func (c *lane) wrote() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.written {
		c.finish(f)
	}
	c.written = c.written[:0]
}

// cleanIDs knows which packet ids the broker cannot hold from a time that we know nothing of. A message under an id that
// was not released would be taken for a repetition, and lost; a PUBREL before it releases the id.
type cleanIDs struct {
	all bool
	set map[uint16]struct{}
}

func (c *cleanIDs) connected(present bool) {
	if !present {
		c.all, c.set = true, nil
	}
}

// first says whether an id may be held over there, once.
func (c *cleanIDs) first(id uint16) bool {
	if _, known := c.set[id]; known || c.all {
		return false
	}
	if c.set == nil {
		c.set = map[uint16]struct{}{}
	}
	c.set[id] = struct{}{}
	return true
}
