package sim

import (
	"fmt"
	"slices"
	"time"

	"causeway/internal/home"
)

// device is a client. It keeps what MQTT asks a client to keep, and comes back at
// once, through the load balancer.
type device struct {
	w    *World
	r    *region
	id   string
	key  home.SessionKey
	qos  byte
	role role
	life int // counts connections
	conn *conn
	on   bool // CONNACK seen
	been bool // ever

	heard time.Duration // when something came last
	onAt  time.Duration // when its connection was accepted
	old   *conn         // twin: an earlier connection that it has not closed
	mute  bool          // acknowledges nothing

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
	twin                   // a subscriber that now and then has two connections at once
	member                 // of a shared subscription to everything
	steady                 // of another one, at QoS 1
	mortal                 // a member of that one, with a will: once its connection is lost it never comes back
	keeper                 // publishes retained messages and deletes them
	hopper                 // subscribes and unsubscribes, over and over
	worker                 // of a shared subscription that is one over all regions, from time to time
	manual                 // does what a scenario says
)

// The shared subscription of the workers.
const (
	workersGroup  = "w"
	workersFilter = "t/#"
)

// actor is a part in the cast of a region.
type actor struct {
	id   string
	qos  byte
	role role
	hops bool
}

// cast lists the devices of a region; a region of one node needs no twin.
func cast(id home.ID, several bool) (list []actor) {
	name := func(what string) string { return fmt.Sprintf("%s-%s", id, what) }
	list = []actor{
		{name("pub0"), 1, publisher, false}, {name("pub1"), 2, publisher, false},
		{name("sub0"), 1, subscriber, false}, {name("sub1"), 2, subscriber, false},
		{name("member0"), 2, member, false}, {name("member1"), 2, member, true},
		{name("keeper"), 1, keeper, false}, {name("hopper"), 2, hopper, true},
		{name("worker0"), 2, worker, true}, {name("worker1"), 2, worker, true},
	}
	if several {
		list = append(list, actor{name("twin"), 2, twin, false}, actor{name("steady"), 1, steady, false}, actor{name("mortal"), 1, mortal, false})
	}
	return list
}

// hop is a time in which a device was surely subscribed.
type hop struct{ from, to time.Duration }

func (r role) listens() bool {
	return r == subscriber || r == twin || r == member || r == steady || r == mortal || r == hopper || r == worker
}
func (d *device) publishes() bool { return d.role == publisher || d.role == keeper }
func (d *device) wills() bool     { return d.role == publisher || d.role == mortal }

func (d *device) filter() string {
	switch d.role {
	case member:
		return "$share/g/t/#"
	case steady, mortal:
		return "$share/h/t/#"
	case worker:
		return "$share/" + workersGroup + "/" + workersFilter
	}
	return "t/#"
}

func (d *device) willTopic() string { return "t/will/" + d.id }

type outgoing struct {
	topic    string
	payload  string
	num      int
	id       uint16
	qos      byte
	retain   bool
	released bool // PUBREC seen
}

func newDevice(r *region, a actor) *device {
	return &device{w: r.w, r: r, id: a.id, key: home.SessionKey{ClientID: a.id}, qos: a.qos, role: a.role, wanted: true,
		received: map[uint16]bool{}, seen: map[string][]int{}, sentAt: map[int]time.Duration{}, ackedAt: map[int]time.Duration{}, kept: map[string]string{}}
}

// connect opens a connection to whichever node the load balancer picks.
func (d *device) connect() {
	n := d.r.balance()
	if n == nil {
		life := d.life
		d.w.after(20*time.Millisecond, func() {
			if d.life == life {
				d.connect()
			}
		})
		return
	}
	will := ""
	if d.wills() {
		will = fmt.Sprint(d.life + 1)
	}
	d.dial(n, will)
}

func (d *device) dial(n *node, will string) {
	d.life++
	d.on, d.heard = false, d.w.now
	d.conn = &conn{n: n, device: d, life: d.life, run: n.life, ids: map[uint16]uint64{}}
	d.send(packet{kind: "connect", will: will})
}

// cut breaks the connection: what is on the way is lost.
func (d *device) cut() {
	if c := d.conn; c != nil {
		d.w.logf("%s is cut", d.id)
		d.lost(c)
		c.close()
	}
}

// vanish leaves the connection without a word: its node still thinks that the
// device is there, and sends.
func (d *device) vanish() {
	if c := d.conn; c != nil {
		d.w.logf("%s vanishes from %s", d.id, c.n.name)
		d.lost(c)
		c.expire()
	}
}

// expire lets the keep-alive find out that nobody is there.
func (c *conn) expire() {
	c.n.w.after(keepAlive, func() { c.close() })
}

// double opens another connection beside the one there is.
func (d *device) double() {
	if d.conn == nil || !d.on || d.old != nil {
		return
	}
	if d.w.opt.Hurry {
		d.vanish()
		return
	}
	d.w.logf("%s has a second connection beside that to %s", d.id, d.conn.n.name)
	d.old = d.conn
	d.connect()
}

// lost finds that a connection has ended.
func (d *device) lost(c *conn) {
	c.gone = true
	if d.old == c {
		d.old = nil
	}
	if d.conn != c {
		return
	}
	if d.on && d.publishing && d.wills() { // before that nobody had to be subscribed
		d.lived = append(d.lived, d.life)
	}
	on := d.on
	d.conn, d.on = nil, false
	if d.role == manual {
		d.w.say("%s: the connection with %s is gone", d.id, c.n.name)
	}
	switch {
	case d.role == manual, d.role == mortal && d.publishing && on:
		return
	}
	life := d.life
	d.w.after(d.w.upTo(30*time.Millisecond), func() {
		if d.life == life {
			d.connect()
		}
	})
}

// patience is how long a device waits for an answer before it tries another
// connection.
const patience = 2500 * time.Millisecond

// watch gives up a connection that owes an answer and is silent.
func (d *device) watch() {
	owed := !d.on || len(d.pending) > 0 || d.role.listens() && d.subscribed != d.wanted
	if d.conn != nil && owed && d.w.now-d.heard > patience {
		d.vanish()
	}
	d.w.after(time.Second, d.watch)
}

func (d *device) send(p packet) { d.over(d.conn, p) }

// over sends a packet on a connection.
func (d *device) over(c *conn, p packet) {
	if d.mute && slices.Contains([]string{"puback", "pubrec", "pubcomp", "pubrel"}, p.kind) {
		return
	}
	if c != nil && !c.gone {
		d.w.deliver(&c.outbox, 0, func() { c.accept(p) })
	}
}

func (d *device) receive(c *conn, p packet) {
	d.heard = d.w.now
	if d.role == manual {
		d.w.say("%s: %s from %s", d.id, p, c.n.name)
	}
	switch p.kind {
	case "connack":
		if c == d.conn {
			d.connacked(p)
		}
	case "suback", "unsuback":
		if c == d.conn {
			d.settled(p.kind == "suback")
		}
	case "publish":
		d.message(c, p)
	case "pubrel":
		delete(d.received, p.id)
		d.over(c, packet{kind: "pubcomp", id: p.id})
	case "puback", "pubcomp":
		d.finished(p.id)
	case "pubrec":
		if o := d.find(p.id); o != nil {
			o.released = true
		}
		d.over(c, packet{kind: "pubrel", id: p.id})
	}
}

// connacked subscribes, or sends again what is pending: same ids, in order.
func (d *device) connacked(p packet) {
	d.on, d.onAt = true, d.w.now
	if d.been && !p.present {
		d.w.violate("%s came back and its session was not there", d.id)
	}
	d.been = true
	if d.role.listens() {
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
	if d.role == manual {
		return
	}
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
		o := &outgoing{num: d.next, id: d.freeID(), qos: d.qos, retain: d.role == keeper, topic: "t/" + d.id, payload: fmt.Sprint(d.next)}
		if d.role == keeper {
			d.keep(o)
		}
		d.pending = append(d.pending, o)
		d.sentAt[o.num] = d.w.now
		d.emit(o, false)
	}
}

// freeID reuses packet ids as soon as it may.
func (d *device) freeID() uint16 {
	if d.role == manual {
		d.nextID = 0 // the lowest one, as many clients do
	}
	for {
		if d.nextID = d.nextID%6 + 1; d.find(d.nextID) == nil {
			return d.nextID
		}
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
	d.send(packet{kind: "publish", id: o.id, qos: o.qos, dup: dup, topic: o.topic, payload: o.payload, retain: o.retain})
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
		pause = 2 * time.Second
	}
	d.w.after(d.w.upTo(pause), d.step)
}

// slack is how long a packet may be on the way to a device.
const slack = 6 * time.Millisecond

// message notes what came. At QoS 2 the id tells a copy from a new message; a
// client that kept the id does not hand the copy on.
func (d *device) message(c *conn, p packet) {
	if c != d.conn && d.on && d.w.now-d.onAt > slack {
		d.w.violate("%s got %s %s from %s, %v after %s had answered it that the session is there", d.id, p.topic, p.payload,
			c.n.name, d.w.now-d.onAt, d.conn.n.name)
	}
	if p.qos == 2 {
		if !d.received[p.id] {
			d.received[p.id] = true
			d.note(p)
		}
		d.over(c, packet{kind: "pubrec", id: p.id})
		return
	}
	d.note(p)
	d.over(c, packet{kind: "puback", id: p.id})
}

func (d *device) note(p packet) {
	var num int
	_, _ = fmt.Sscan(p.payload, &num) // what is no number is message 0, which nobody sent
	d.seen[p.topic] = append(d.seen[p.topic], num)
}
