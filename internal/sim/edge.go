package sim

import (
	"fmt"
	"strings"
	"time"

	"causeway/internal/home"
)

// sessionExpiry is long in home time, which runs fast here.
const sessionExpiry = 1_000_000

// keepAlive is after how long a node finds out that a device is gone that has not
// said so.
const keepAlive = 3 * time.Second

// packet is what crosses a device's connection.
type packet struct {
	kind    string // connect, connack, subscribe, suback, unsubscribe, unsuback, publish, puback, pubrec, pubrel, pubcomp, disconnect
	id      uint16
	qos     byte
	dup     bool
	topic   string
	payload string
	retain  bool
	will    string // of connect: its payload
	present bool
}

func (p packet) String() string {
	s := strings.ToUpper(p.kind)
	switch p.kind {
	case "connack":
		return s + map[bool]string{true: ", session present", false: ", new session"}[p.present]
	case "publish":
		return fmt.Sprintf("%s %s %q, QoS %d, id %d%s", s, p.topic, p.payload, p.qos, p.id, map[bool]string{true: ", DUP"}[p.dup])
	case "suback", "unsuback":
		return s
	}
	return fmt.Sprintf("%s %d", s, p.id)
}

// conn is a connection of a device with a node, as the node's edge keeps it. Both
// directions are ordered; a cut loses what is on the way.
type conn struct {
	n       *node
	device  *device
	life    int // the device's connection it belongs to
	run     int // the node's life
	epoch   home.SessionEpoch
	ready   bool // CONNACK is sent
	ended   bool // the session is another's
	closed  bool
	gone    bool // the device has left without a word
	touched bool
	began   time.Duration
	sent    uint64 // last reference sent
	resumed uint64
	window  int
	ids     map[uint16]uint64 // packet id to reference
	moved   bool              // the region closes it

	inbox, outbox lane // of the device
}

// coming is a session whose Attach is under way here, once or more.
type coming struct {
	conns   []*conn
	yielded home.SessionEpoch // given up at lower epochs
}

// accept takes in a packet from the device.
func (c *conn) accept(p packet) {
	if !c.n.up || c.n.life != c.run { // the process it spoke to is gone
		c.close()
	}
	if c.closed || p.kind != "connect" && !c.ready {
		return
	}
	n, k := c.n, c.device.key
	switch p.kind {
	case "connect":
		c.connect(p)
	case "subscribe":
		c.propose(&home.Subscribe{Session: k, Epoch: c.epoch, Filters: []home.Subscription{{Filter: p.topic, QoS: p.qos}}}, func() {
			n.knownTo(func() { c.send(packet{kind: "suback", id: p.id}) })
		})
	case "unsubscribe":
		c.propose(&home.Unsubscribe{Session: k, Epoch: c.epoch, Filters: []string{p.topic}}, func() {
			c.send(packet{kind: "unsuback", id: p.id})
		})
	case "publish":
		c.publish(p)
	case "pubrel":
		done := func() { c.send(packet{kind: "pubcomp", id: p.id}) }
		if n.w.opt.Plant == ReleaseFirst {
			done()
			done = func() {}
		}
		c.propose(&home.Release{Session: k, Epoch: c.epoch, PacketID: p.id}, done)
	case "puback", "pubcomp":
		c.acked(p.id, func(r []home.Range) *home.Ack { return &home.Ack{Done: r} },
			func() { delete(c.ids, p.id); c.window++; c.drain() })
	case "pubrec":
		c.acked(p.id, func(r []home.Range) *home.Ack { return &home.Ack{Received: r} },
			func() { c.send(packet{kind: "pubrel", id: p.id}) })
	case "disconnect":
		c.leave(true)
	}
}

// attachAgain is for how long an Attach is made again that another overtook.
const attachAgain = time.Second

// connect attaches the session, and answers once its former owners have stopped.
func (c *conn) connect(p packet) {
	c.began = c.n.w.now
	c.attach(p)
}

func (c *conn) attach(p packet) {
	n, k := c.n, c.device.key
	op := &home.Attach{Session: k, Seen: n.state.SessionEpoch(), Expiry: sessionExpiry, Window: 8}
	if p.will != "" {
		op.Will = &home.Will{Topic: c.device.willTopic(), Payload: []byte(p.will), QoS: 2}
	}
	x := n.coming[k]
	if x == nil {
		x = &coming{}
		n.coming[k] = x
	}
	x.conns = append(x.conns, c)
	n.propose(op, func(o home.Outcome) {
		x.conns = x.conns[1:] // outcomes come in order
		if len(x.conns) == 0 {
			delete(n.coming, k)
		}
		if o.Code == home.CodeVoid && !c.closed && n.w.now-c.began < attachAgain {
			c.attach(p)
			return
		}
		c.attached(o, x.yielded)
	})
}

func (c *conn) attached(o home.Outcome, yielded home.SessionEpoch) {
	n, k := c.n, c.device.key
	c.epoch, c.window, c.resumed = o.Epoch, 8, o.Resumed
	if o.Code != home.CodeOK {
		c.close()
		return
	}
	if c.closed {
		n.propose(&home.Detach{Session: k, Epoch: c.epoch, DropWill: true}, nil)
		return
	}
	if old := n.conns[k]; old != nil {
		old.end()
	}
	n.conns[k] = c
	if c.epoch < yielded {
		c.end()
		return
	}
	n.yield(o.Formers, k, c.epoch, func() {
		if c.closed {
			return
		}
		c.ready = true
		c.send(packet{kind: "connack", present: o.SessionPresent})
		c.drain()
	})
}

func (c *conn) publish(p packet) {
	ack := packet{kind: "puback", id: p.id}
	if p.qos == 2 {
		ack.kind = "pubrec"
	}
	done := func() { c.send(ack) }
	if c.n.w.opt.Plant == AckFirst {
		done()
		done = func() {}
	}
	c.propose(&home.Publish{Session: c.device.key, Epoch: c.epoch, PacketID: p.id, Topic: p.topic, Payload: []byte(p.payload),
		QoS: p.qos, Retain: p.retain}, done)
}

// propose does something when the operation was applied; one that was void ends
// the connection: the session is another's.
func (c *conn) propose(op home.Op, done func()) {
	c.n.propose(op, func(o home.Outcome) {
		if o.Code == home.CodeVoid {
			c.close()
			return
		}
		done()
	})
}

func (c *conn) acked(id uint16, op func([]home.Range) *home.Ack, done func()) {
	ref, known := c.ids[id]
	if !known {
		return
	}
	ack := op([]home.Range{{From: ref, To: ref}})
	ack.Session, ack.Epoch = c.device.key, c.epoch
	c.propose(ack, done)
}

// drain sends what the window allows, as long as the node may speak for the
// session.
func (c *conn) drain() {
	if !c.ready || c.closed || c.window == 0 || !c.n.speaks() {
		return
	}
	for _, q := range c.n.state.Queue(c.device.key, c.epoch, c.sent, c.window, nil) {
		id := home.PacketID(q.Ref)
		if c.n.w.opt.Plant == NewPacketIDs {
			id = uint16((uint64(id)+uint64(c.epoch)*7)%ids) + 1
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
	if c.closed || !c.n.up || c.n.life != c.run {
		return
	}
	c.n.w.deliver(&c.inbox, 0, func() {
		if !c.gone {
			c.device.receive(c, p)
		}
	})
}

// end ends a connection whose session is another's.
func (c *conn) end() {
	c.ended = true
	c.close()
}

// close ends the connection; the device notices a little later.
func (c *conn) close() {
	if c.closed {
		return
	}
	c.leave(c.n.w.opt.Plant == NoWills)
	d := c.device
	c.n.w.after(c.n.w.latency(), func() { d.lost(c) })
}

// leave gives the session up, if the connection has it.
func (c *conn) leave(dropWill bool) {
	c.closed = true
	k := c.device.key
	if c.n.conns[k] != c {
		return
	}
	delete(c.n.conns, k)
	if c.ended {
		return
	}
	if c.n.w.opt.Plant == AckOnCut && c.sent > 0 {
		c.n.propose(&home.Ack{Session: k, Epoch: c.epoch, Done: []home.Range{{From: 1, To: c.sent}}}, nil)
	}
	// A device that never heard that it was connected does not leave a will either.
	c.n.propose(&home.Detach{Session: k, Epoch: c.epoch, DropWill: dropWill || !c.ready, Moved: c.moved}, nil)
}

// lane keeps a direction of a connection in order: nothing overtakes.
type lane struct{ last time.Duration }

// deliver does something after the wire's latency and a delay, behind what is on
// the way.
func (w *World) deliver(l *lane, delay time.Duration, do func()) {
	l.last = max(w.now+w.latency()+delay, l.last)
	w.after(l.last-w.now, do)
}
