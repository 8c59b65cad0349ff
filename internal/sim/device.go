package sim

import (
	"fmt"
	"strings"
	"time"

	"causeway/internal/home"
)

func timeOf(ns int64) time.Duration { return time.Duration(ns) }

// device is a client. It keeps what MQTT asks a client to keep, and reconnects at
// once.
type device struct {
	w    *World
	n    *node
	id   string
	key  home.SessionKey
	qos  byte
	role role
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
	sentAt     map[int]time.Duration
	ackedAt    map[int]time.Duration
	kept       map[string]string // keeper: what it retained last, by topic
	lived      []int             // connections that were open for it and ended

	// Subscriber.
	subscribed bool
	wanted     bool            // it wants to be
	spans      []hop           // when it was surely subscribed
	received   map[uint16]bool // QoS 2 ids between PUBLISH and PUBREL
	seen       map[string][]int
}

// role is what a device does.
type role int

const (
	publisher  role = iota // of numbered messages to a topic of its own, with a will
	subscriber             // of everything
	member                 // of a shared subscription to everything; one of two in a region
	keeper                 // publishes retained messages and deletes them
	hopper                 // subscribes and unsubscribes, over and over
)

// hop is a time in which a device was surely subscribed.
type hop struct{ from, to time.Duration }

func (d *device) listens() bool   { return d.role == subscriber || d.role == member || d.role == hopper }
func (d *device) publishes() bool { return d.role == publisher || d.role == keeper }

// hops says whether the device gives up its subscription now and then. The other
// member of a group stays, so the group does.
func (d *device) hops() bool {
	return d.role == hopper || d.role == member && strings.HasSuffix(d.id, "1")
}

func (d *device) filter() string {
	if d.role == member {
		return "$share/g/t/#"
	}
	return "t/#"
}

func (d *device) willTopic() string { return "t/will/" + d.id }

type outgoing struct {
	topic    string
	payload  string
	num      int
	id       uint16
	released bool // PUBREC seen
}

func newDevice(w *World, n *node, id string, qos byte, r role) *device {
	return &device{w: w, n: n, id: id, key: home.SessionKey{ClientID: id}, qos: qos, role: r, wanted: true,
		received: map[uint16]bool{}, seen: map[string][]int{}, sentAt: map[int]time.Duration{}, ackedAt: map[int]time.Duration{}, kept: map[string]string{}}
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
	hello := packet{kind: "connect"}
	if d.role == publisher {
		hello.will = fmt.Sprint(d.life)
	}
	d.send(hello)
}

// cut breaks the connection: what is on the way is lost.
func (d *device) cut() {
	if d.conn != nil {
		d.w.logf("%s is cut", d.id)
		d.conn.close()
	}
}

func (d *device) lost() {
	if d.on && d.publishing { // before that nobody had to be subscribed
		d.lived = append(d.lived, d.life)
	}
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
	case "suback", "unsuback":
		d.settled(p.kind == "suback")
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
	if d.listens() {
		d.ask()
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

// ask sends SUBSCRIBE or UNSUBSCRIBE if the device is not what it wants to be.
func (d *device) ask() {
	if d.subscribed == d.wanted || !d.on {
		return
	}
	kind := "subscribe"
	if !d.wanted {
		kind = "unsubscribe"
	}
	d.send(packet{kind: kind, id: 1, topic: d.filter(), qos: d.qos})
}

// settled hears that the subscription is there, or gone.
func (d *device) settled(on bool) {
	d.subscribed = on
	if on {
		d.spans = append(d.spans, hop{from: d.w.now, to: never})
	}
	d.ask()
}

const never = time.Duration(1 << 62)

// hop changes the device's mind until the world is calm: then it subscribes.
func (d *device) hop() {
	if d.subscribed == d.wanted {
		d.wanted = d.w.calm || !d.wanted
		if n := len(d.spans); n > 0 && !d.wanted {
			d.spans[n-1].to = d.w.now
			if d.w.opt.Plant == LateUnsubscribe {
				d.spans[n-1].to += 200 * time.Millisecond
			}
		}
		d.ask()
	}
	if !d.w.calm || !d.wanted {
		d.w.after(d.w.upTo(time.Second), d.hop)
	}
}

// step sends new messages while there is room.
func (d *device) step() {
	for d.publishing && d.on && d.publishes() && len(d.pending) < 4 && d.next < d.messages() {
		d.next++
		d.nextID = d.nextID%200 + 1
		o := &outgoing{num: d.next, id: d.nextID, topic: "t/" + d.id, payload: fmt.Sprint(d.next)}
		if d.role == keeper {
			d.keep(o)
		}
		d.pending = append(d.pending, o)
		d.sentAt[o.num] = d.w.now
		d.emit(o, false)
	}
}

func (d *device) messages() int {
	if d.role == keeper {
		return d.w.opt.Messages / 2
	}
	return d.w.opt.Messages
}

// keep makes a message one to be retained, of a topic of the keeper or of one
// that all keepers write; every third is a deletion.
func (d *device) keep(o *outgoing) {
	o.topic = []string{"r/" + d.id + "/0", "r/" + d.id + "/1", commonTopic}[d.w.rnd.IntN(3)]
	o.payload = fmt.Sprintf("%s:%d", d.id, o.num)
	if d.w.rnd.IntN(3) == 0 {
		o.payload = ""
	}
	d.kept[o.topic] = o.payload
}

const commonTopic = "r/common"

func (d *device) emit(o *outgoing, dup bool) {
	d.send(packet{kind: "publish", id: o.id, qos: d.qos, dup: dup, topic: o.topic, payload: o.payload, retain: d.role == keeper})
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
			d.ackedAt[o.num] = d.w.now
			d.pending = append(d.pending[:i], d.pending[i+1:]...)
			break
		}
	}
	pause := 300 * time.Millisecond
	if d.role == keeper {
		pause = 4 * time.Second
	}
	d.w.after(d.w.upTo(pause), d.step)
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
	_, _ = fmt.Sscan(p.payload, &num) // what is no number is message 0, which nobody sent
	d.seen[p.topic] = append(d.seen[p.topic], num)
}
