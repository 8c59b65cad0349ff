package broker

import (
	"hash/maphash"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// outgoing is a PUBLISH to send.
type outgoing struct {
	msg    *home.Message
	subs   []uint32
	qos    byte
	retain bool
	dup    bool
	id     uint16
	ref    uint64    // of the session's queue; 0 for a message from memory
	now    home.Time // 0 when nothing expires
}

type sentResult uint8

const (
	sentOK sentResult = iota
	sentExpired
	sentTooLarge
	sentWithheld
)

// publish encodes a message, and writes when enough was gathered.
func (w *writer) publish(o outgoing) (sentResult, error) {
	c := w.c
	if o.msg.Withheld { // also if it was begun elsewhere: there is nothing to send
		return sentWithheld, nil
	}
	p := packet.OutPublish{
		Topic: o.msg.Topic, QoS: o.qos, Retain: o.retain, Dup: o.dup, PacketID: o.id, Payload: o.msg.Payload,
		Forward: o.msg.Forward, SubscriptionIDs: o.subs,
	}
	if o.msg.Expires != 0 {
		left := o.msg.Expires.Sub(o.now)
		// What was begun on an earlier connection is carried through: the device may hold its packet id.
		if left <= 0 && !o.dup {
			c.traceSent(&o, sentExpired)
			return sentExpired, nil
		}
		p.MessageExpiry = uint32((max(left, 1) + time.Second - 1) / time.Second) // [MQTT-3.3.2-6]
	}
	alias := c.chooseAlias(&p)
	if c.sendMax > 0 && packet.PublishSize(c.v, &p) > c.sendMax { // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
		p.TopicAlias, p.OmitTopic, alias = 0, false, nil
		if packet.PublishSize(c.v, &p) > c.sendMax {
			c.traceSent(&o, sentTooLarge)
			return sentTooLarge, nil
		}
	}
	if alias != nil {
		*alias = p.Topic
	}
	if o.ref != 0 {
		c.remember(o.ref, o.qos, refSent)
	}
	c.l.stats.Sent[o.qos].Add(1)
	c.traceSent(&o, sentOK)
	return sentOK, w.append(&p)
}

func (w *writer) append(p *packet.OutPublish) error {
	b := w.buf()
	w.messages = true
	if len(p.Payload) >= apart {
		b.b = packet.AppendPublishHead(b.b, w.c.v, p)
		return w.flushWith(p.Payload)
	}
	b.b = packet.AppendPublish(b.b, w.c.v, p)
	if len(b.b) >= flushAt {
		return w.flush()
	}
	return nil
}

var aliasSeed = maphash.MakeSeed()

// chooseAlias gives the topic an alias when the device takes them: a topic has one place it can be in, and the last one
// sent from there stays. It returns the place to note the topic in when it is sent with its alias for the first time.
func (c *conn) chooseAlias(p *packet.OutPublish) *string {
	if c.aliasMax == 0 || len(p.Topic) < 4 {
		return nil
	}
	if c.outAliases == nil {
		c.outAliases = make([]string, c.aliasMax)
	}
	i := maphash.String(aliasSeed, p.Topic) % uint64(c.aliasMax)
	p.TopicAlias = uint16(i) + 1
	if c.outAliases[i] == p.Topic {
		p.OmitTopic = true
		return nil
	}
	return &c.outAliases[i]
}
