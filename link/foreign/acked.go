package foreign

import (
	"cmp"
	"slices"
	"time"

	"causeway/broker/packet"
	"causeway/internal/group"
	"causeway/internal/home"
)

// acknowledged heeds a PUBACK, PUBREC or PUBCOMP.
func (c *lane) acknowledged(s *conn, a packet.Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer group.Wake(c.wake)
	f := c.ids[a.PacketID]
	switch {
	case f == nil && a.Type == packet.PUBREC && !a.Code.Failed(): // of a time that nobody remembers
		c.control = packet.AppendAck(c.control, s.dialect.version, packet.PUBREL, a.PacketID, packet.Success)
	case f == nil:
	case a.Type == packet.PUBREC && f.qos == 2 && !refuses(f, a.Code):
		c.received(f)
	case a.Type == packet.PUBREC && f.qos == 2, a.Type == packet.PUBACK && f.qos == 1 && a.Code.Failed():
		c.refused(f, a.Code)
	case a.Type == packet.PUBACK && f.qos == 1, a.Type == packet.PUBCOMP && f.kept:
		c.patient.Reset()
		if !f.canary.IsZero() {
			c.t.l.canaryOut(f.canary)
		}
		c.finish(f)
	}
}

// received has the home note that the broker has a message, and releases it then; again if that was done.
func (c *lane) received(f *flight) {
	if f.kept {
		c.sendRelease(f)
		return
	}
	f.received = true
	c.t.receipts.add(c, f)
}

// refuses says whether a PUBREC means that the broker does not have the message. One that was told it before may say that
// the id is in use: by this message.
func refuses(f *flight, code packet.Code) bool {
	return code.Failed() && !(code == packet.PacketIdentifierInUse && f.maybe)
}

// refused puts a message off if the broker has no room, and else drops it: it would be refused for ever.
func (c *lane) refused(f *flight, code packet.Code) {
	if code != packet.QuotaExceeded || f.seq == 0 {
		if f.canary.IsZero() {
			c.t.l.counts.drop(DropRefused, 1)
		}
		c.t.l.setPart("the broker refuses messages: " + code.String())
		c.finish(f)
		return
	}
	c.t.l.counts.put.Add(1)
	c.land(f)
	f.id, f.sent = 0, false
	at, _ := slices.BinarySearchFunc(c.queue, f.seq, func(q *flight, seq home.Seq) int { return cmp.Compare(q.seq, seq) })
	c.queue = slices.Insert(c.queue, at, f)
	c.putOff = time.Now().Add(c.patient.Wait())
}

// blame looks for the message that made the broker end the connection, where its reason says that one did: what was under
// way goes one at a time, until the reason comes again.
func (c *lane) blame(code packet.Code) {
	switch code {
	case packet.NotAuthorized, packet.TopicNameInvalid, packet.PacketTooLarge, packet.PayloadFormatInvalid, packet.RetainNotSupported, packet.QoSNotSupported:
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspect > 0 && len(c.flights) == 1 && !c.flights[0].received {
		c.suspect = 0
		c.refused(c.flights[0], code)
		return
	}
	c.suspect = len(c.flights)
}

// finish is the end of a flight.
func (c *lane) finish(f *flight) {
	c.suspect = max(c.suspect-1, 0)
	c.land(f)
	if f.seq != 0 {
		c.t.ledger.done(f.seq)
	}
}

// land takes a flight off the connection's books.
func (c *lane) land(f *flight) {
	if c.ids[f.id] == f {
		delete(c.ids, f.id)
	}
	if i := slices.Index(c.flights, f); i == 0 {
		c.flights = c.flights[1:]
	} else if i > 0 {
		c.flights = slices.Delete(c.flights, i, i+1)
	}
}
