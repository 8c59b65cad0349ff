package sim

import (
	"causeway/internal/home"
)

// sessionExpiry is long in home time, which runs fast here.
const sessionExpiry = 1_000_000

// packet is what crosses a device's connection.
type packet struct {
	kind    string // connect, connack, subscribe, suback, unsubscribe, unsuback, publish, puback, pubrec, pubrel, pubcomp
	id      uint16
	qos     byte
	dup     bool
	topic   string
	payload string
	retain  bool
	will    string // of connect: its payload
	present bool
}

// conn is a connection of a device with the node, as the node's edge keeps it.
// Both directions are ordered; a cut loses what is on the way.
type conn struct {
	n       *node
	device  *device
	life    int // the device's connection it belongs to
	started home.Incarnation
	epoch   home.SessionEpoch
	ready   bool
	ended   bool
	closed  bool
	sent    uint64 // last reference sent
	resumed uint64
	window  int
	ids     map[uint16]uint64 // packet id to reference
}

// accept takes in a packet from the device.
func (c *conn) accept(p packet) {
	if !c.n.up || c.n.started != c.started { // the process it spoke to is gone
		c.close()
	}
	if c.closed {
		return
	}
	n, k := c.n, c.device.key
	switch p.kind {
	case "connect":
		if old := n.conns[k]; old != nil {
			old.close()
		}
		n.conns[k] = c
		op := &home.Attach{Session: k, Expiry: sessionExpiry, Window: 8}
		if p.will != "" {
			op.Will = &home.Will{Topic: c.device.willTopic(), Payload: []byte(p.will), QoS: 2}
		}
		n.propose(op, func(o home.Outcome) {
			c.epoch, c.ready, c.window, c.resumed = o.Epoch, true, 8, o.Resumed
			c.send(packet{kind: "connack", present: o.SessionPresent})
		})
	case "subscribe":
		n.propose(&home.Subscribe{Session: k, Epoch: c.epoch, Filters: []home.Subscription{{Filter: p.topic, QoS: p.qos}}}, func(o home.Outcome) {
			c.reply(o, packet{kind: "suback", id: p.id})
		})
	case "unsubscribe":
		n.propose(&home.Unsubscribe{Session: k, Epoch: c.epoch, Filters: []string{p.topic}}, func(o home.Outcome) {
			c.reply(o, packet{kind: "unsuback", id: p.id})
		})
	case "publish":
		c.publish(p)
	case "pubrel":
		n.propose(&home.Release{Session: k, Epoch: c.epoch, PacketID: p.id}, func(o home.Outcome) {
			c.reply(o, packet{kind: "pubcomp", id: p.id})
		})
	case "puback", "pubcomp":
		c.acked(p.id, func(ref uint64) home.Op {
			return &home.Ack{Session: k, Epoch: c.epoch, Done: []home.Range{{From: ref, To: ref}}}
		}, func() { delete(c.ids, p.id); c.window++; c.drain() })
	case "pubrec":
		c.acked(p.id, func(ref uint64) home.Op {
			return &home.Ack{Session: k, Epoch: c.epoch, Received: []home.Range{{From: ref, To: ref}}}
		}, func() { c.send(packet{kind: "pubrel", id: p.id}) })
	}
}

func (c *conn) publish(p packet) {
	ack := packet{kind: "puback", id: p.id}
	if p.qos == 2 {
		ack.kind = "pubrec"
	}
	if c.n.w.opt.Plant == AckFirst {
		c.send(ack)
	}
	c.n.propose(&home.Publish{Session: c.device.key, Epoch: c.epoch, PacketID: p.id, Topic: p.topic, Payload: []byte(p.payload), QoS: p.qos, Retain: p.retain}, func(o home.Outcome) {
		if c.n.w.opt.Plant != AckFirst {
			c.reply(o, ack)
		}
	})
}

// reply answers unless the operation was void.
func (c *conn) reply(o home.Outcome, p packet) {
	if o.Code != home.CodeVoid {
		c.send(p)
	}
}

func (c *conn) acked(id uint16, op func(uint64) home.Op, done func()) {
	ref, known := c.ids[id]
	if !known {
		return
	}
	c.n.propose(op(ref), func(o home.Outcome) {
		if o.Code != home.CodeVoid {
			done()
		}
	})
}

// drain sends what the window allows.
func (c *conn) drain() {
	if c.ended {
		c.close()
	}
	if !c.ready || c.closed || c.window == 0 {
		return
	}
	for _, q := range c.n.state.Queue(c.device.key, c.epoch, c.sent, c.window, nil) {
		id := home.PacketID(q.Ref)
		if c.n.w.opt.Plant == NewPacketIDs {
			id = uint16(uint64(id)+uint64(c.epoch)*7)%32768 + 1
		}
		c.sent = q.Ref
		c.window--
		c.ids[id] = q.Ref
		if q.Received {
			c.send(packet{kind: "pubrel", id: id})
			continue
		}
		m := q.Message
		if q.Evicted {
			m = c.n.body(q.Seq)
		}
		c.send(packet{kind: "publish", id: id, qos: q.QoS, dup: q.Ref <= c.resumed, topic: m.Topic, payload: string(m.Payload)})
	}
}

// send delivers a packet to the device after a while, in order.
func (c *conn) send(p packet) {
	if c.closed || !c.n.up {
		return
	}
	w := c.n.w
	w.deliver(&c.device.inbox, func() {
		if !c.closed && c.device.life == c.life {
			c.device.receive(p)
		}
	})
}

// close ends the connection; the device notices a little later.
func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	if c.n.conns[c.device.key] == c {
		delete(c.n.conns, c.device.key)
		if c.ready && !c.ended {
			if c.n.w.opt.Plant == AckOnCut {
				c.n.propose(&home.Ack{Session: c.device.key, Epoch: c.epoch, Done: []home.Range{{From: 1, To: c.sent}}}, nil)
			}
			c.n.propose(&home.Detach{Session: c.device.key, Epoch: c.epoch, DropWill: c.n.w.opt.Plant == NoWills}, nil)
		}
	}
	d, life := c.device, c.life
	c.n.w.after(c.n.w.latency(), func() {
		if d.life == life {
			d.lost()
		}
	})
}

// lane keeps a direction of a connection in order: nothing overtakes.
type lane struct{ last int64 }

// deliver does something after the wire's latency, behind what is on the way.
func (w *World) deliver(l *lane, do func()) {
	at := max(int64(w.now+w.latency()), l.last)
	l.last = at
	w.after(timeOf(at)-w.now, do)
}
