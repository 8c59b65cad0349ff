package sim

import (
	"fmt"
	"time"

	"causeway/internal/home"
)

func timeOf(ns int64) time.Duration { return time.Duration(ns) }

// device is a client: a publisher of numbered messages or a subscriber of all
// of them. It keeps what MQTT asks a client to keep, and reconnects at once.
type device struct {
	w    *World
	n    *node
	id   string
	key  home.SessionKey
	qos  byte
	sub  bool
	life int
	conn *conn
	on   bool // CONNACK seen

	inbox, outbox lane

	// Publisher.
	publishing bool
	next       int
	nextID     uint16
	pending    []*outgoing // in order
	acked      []int       // numbers acknowledged to it

	// Subscriber.
	subscribed bool
	received   map[uint16]bool // QoS 2 ids between PUBLISH and PUBREL
	seen       map[string][]int
}

type outgoing struct {
	num      int
	id       uint16
	released bool // PUBREC seen
}

func newDevice(w *World, n *node, id string, qos byte, sub bool) *device {
	return &device{w: w, n: n, id: id, key: home.SessionKey{ClientID: id}, qos: qos, sub: sub,
		received: map[uint16]bool{}, seen: map[string][]int{}}
}

func (d *device) connect() {
	d.life++
	life := d.life
	if !d.n.up {
		d.w.after(20*time.Millisecond, func() {
			if d.life == life {
				d.connect()
			}
		})
		return
	}
	d.on = false
	d.inbox, d.outbox = lane{}, lane{}
	d.conn = &conn{n: d.n, device: d, life: life, started: d.n.started, ids: map[uint16]uint64{}}
	d.send(packet{kind: "connect"})
}

// cut breaks the connection: what is on the way is lost.
func (d *device) cut() {
	if d.conn != nil {
		d.w.logf("%s is cut", d.id)
		d.conn.close()
	}
}

func (d *device) lost() {
	d.conn, d.on = nil, false
	life := d.life
	d.w.after(d.w.upTo(30*time.Millisecond), func() {
		if d.life == life {
			d.connect()
		}
	})
}

func (d *device) send(p packet) {
	c := d.conn
	if c == nil || c.closed {
		return
	}
	d.w.deliver(&d.outbox, func() { c.accept(p) })
}

func (d *device) receive(p packet) {
	switch p.kind {
	case "connack":
		d.connacked()
	case "suback":
		d.subscribed = true
	case "publish":
		d.message(p)
	case "pubrel":
		delete(d.received, p.id)
		d.send(packet{kind: "pubcomp", id: p.id})
	case "puback", "pubcomp":
		d.finished(p.id)
	case "pubrec":
		if o := d.find(p.id); o != nil {
			o.released = true
		}
		d.send(packet{kind: "pubrel", id: p.id})
	}
}

// connacked subscribes, or sends again what is pending: same ids, in order.
func (d *device) connacked() {
	d.on = true
	if d.sub {
		if !d.subscribed {
			d.send(packet{kind: "subscribe", id: 1, topic: "t/#", qos: d.qos})
		}
		return
	}
	for _, o := range d.pending {
		if o.released {
			d.send(packet{kind: "pubrel", id: o.id})
		} else {
			d.emit(o, true)
		}
	}
	d.step()
}

// step sends new messages while there is room.
func (d *device) step() {
	for d.publishing && d.on && !d.sub && len(d.pending) < 4 && d.next < d.w.opt.Messages {
		d.next++
		d.nextID = d.nextID%200 + 1
		o := &outgoing{num: d.next, id: d.nextID}
		d.pending = append(d.pending, o)
		d.emit(o, false)
	}
}

func (d *device) emit(o *outgoing, dup bool) {
	d.send(packet{kind: "publish", id: o.id, qos: d.qos, dup: dup, topic: "t/" + d.id, payload: fmt.Sprint(o.num)})
}

func (d *device) find(id uint16) *outgoing {
	for _, o := range d.pending {
		if o.id == id {
			return o
		}
	}
	return nil
}

func (d *device) finished(id uint16) {
	for i, o := range d.pending {
		if o.id == id {
			d.acked = append(d.acked, o.num)
			d.pending = append(d.pending[:i], d.pending[i+1:]...)
			break
		}
	}
	d.w.after(d.w.upTo(300*time.Millisecond), d.step)
}

// message notes what came. At QoS 2 the id tells a copy from a new message; a
// client that kept the id does not hand the copy on.
func (d *device) message(p packet) {
	if p.qos == 2 {
		if !d.received[p.id] {
			d.received[p.id] = true
			d.note(p)
		}
		d.send(packet{kind: "pubrec", id: p.id})
		return
	}
	d.note(p)
	d.send(packet{kind: "puback", id: p.id})
}

func (d *device) note(p packet) {
	var num int
	fmt.Sscan(p.payload, &num)
	d.seen[p.topic] = append(d.seen[p.topic], num)
}
