package simlab

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"causeway/broker/packet"
)

// window is how many messages a device has unacknowledged.
const window = 8

// Redial times of a device.
const (
	redialLeast = 10 * time.Millisecond
	redialMost  = 60 * time.Millisecond
	answerIn    = 30 * time.Second // to CONNECT, then the device dials again
	huntIn      = 2 * time.Second  // the same for one that may go elsewhere
)

// DeviceOptions describe a client.
type DeviceOptions struct {
	Region  string
	ID      string
	Version packet.Version // default 5
	Will    *packet.Will
	// Wills is the topic of wills: each connection leaves one of its own.
	Wills     string
	WillDelay uint32 // of those, in seconds
	Away      bool   // begins off line
	Node      string // connects to this one only, past the balancer
	// Anywhere makes it go on at a standby of its region's home when it is not answered.
	Anywhere bool
}

// Device is an MQTT client with a persistent session. It keeps what MQTT asks a
// client to keep over connections: what it sent and was not told of, in order
// and with its packet ids, and the ids of QoS 2 messages it took. It reconnects
// by itself.
type Device struct {
	// fixed after it was made
	lab    *Lab
	region *Region
	opt    DeviceOptions
	ID     string

	mu      sync.Mutex
	wanted  bool // on line
	changed chan struct{}
	place   int           // of the regions where it may go, the one it tries now
	conn    *connection   // after CONNECT was written, until it breaks
	conns   []*connection // that ever were, in order
	known   bool          // CONNACK was seen once: the session exists
	wishes  []*wish
	broken  []string // rules that the other side broke
	lose    bool     // the next acknowledgement, either way, is lost with the connection

	sent    []*Sent
	waiting []*outgoing // not sent yet
	pending []*outgoing // sent, not told of, in order
	nextID  uint16

	taken map[uint16]bool // QoS 2 ids between PUBLISH and PUBREL
	seen  []Seen
}

// outgoing is a message on its way to the node.
type outgoing struct {
	s        *Sent
	id       uint16
	sentOnce bool
	received bool // PUBREC came
}

// Device makes a client, which connects at once.
func (l *Lab) Device(o DeviceOptions) *Device {
	if o.Version == 0 {
		o.Version = packet.V5
	}
	d := &Device{lab: l, region: l.Region(o.Region), opt: o, ID: o.ID, wanted: !o.Away, changed: make(chan struct{}, 1), taken: map[uint16]bool{}}
	l.mu.Lock()
	l.devices = append(l.devices, d)
	l.mu.Unlock()
	l.lives.Go(d.live)
	return d
}

// Subscribe asks for filters, now or at the next connection.
func (d *Device) Subscribe(qos byte, filters ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range filters {
		w := newWish(f, qos)
		d.wishes = append(d.wishes, w)
		if d.online() {
			d.conn.subscribe(len(d.wishes), w)
		}
	}
}

// Publish hands the device a message; it goes as soon as the window allows.
func (d *Device) Publish(m Message) *Sent {
	doubt := d.lab.inDoubt()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &Sent{Message: m, Num: len(d.sent) + 1, At: time.Now(), Doubt: doubt}
	if !m.Empty {
		s.Text = text(d.ID, s.Num, m.Size)
	}
	d.sent = append(d.sent, s)
	d.waiting = append(d.waiting, &outgoing{s: s})
	d.pump()
	return s
}

// Idle says whether everything that was published is acknowledged.
func (d *Device) Idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting)+len(d.pending) == 0
}

// Acked is how many messages were acknowledged.
func (d *Device) Acked() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sent {
		if !s.Acked.IsZero() {
			n++
		}
	}
	return n
}

// Granted says whether all subscriptions are.
func (d *Device) Granted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !slices.ContainsFunc(d.wishes, func(w *wish) bool { return !w.granted })
}

// Connected says whether the device has its CONNACK.
func (d *Device) Connected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.online()
}

// Seen is what the device was given, in order.
func (d *Device) Seen() []Seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// Cut breaks the device's connection; it dials again.
func (d *Device) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil && !d.conn.behind {
		d.conn.line.cut()
	}
}

// LoseNext breaks the connection when the next acknowledgement is on the way, to
// the device or from it: what it was for is done, and its sender does not know.
func (d *Device) LoseNext() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose = true
}

// Roam leaves the connection behind, as a device does that goes from one network
// to another: the node is told nothing, and still reaches who is not there any
// more. The device connects anew.
func (d *Device) Roam() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.conn; c != nil && !c.behind {
		c.behind = true
		close(c.left)
	}
}

// Move makes the device connect to that node only, past the balancer, from the
// next connection on.
func (d *Device) Move(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opt.Node = node
}

// end takes the device off for good.
func (d *Device) end() {
	d.Offline()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.line.cut()
	}
}

// Offline breaks the connection without a word and stays away.
func (d *Device) Offline() { d.want(false) }

// Online comes back.
func (d *Device) Online() { d.want(true) }

func (d *Device) want(on bool) {
	d.mu.Lock()
	d.wanted = on
	d.mu.Unlock()
	if !on {
		d.Cut()
	}
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// live connects again and again, until the lab ends.
func (d *Device) live() {
	for {
		d.mu.Lock()
		on := d.wanted
		d.mu.Unlock()
		var pause <-chan time.Time
		if on {
			d.connect()
			pause = time.After(redialLeast + d.lab.upTo(redialMost-redialLeast))
		}
		select {
		case <-pause:
		case <-d.changed:
		case <-d.lab.end:
			return
		}
	}
}

// connect serves one connection until it ends or is left behind.
func (d *Device) connect() {
	at := d.at()
	line, err := d.dial(at)
	if err != nil {
		d.elsewhere()
		return // a node that is down, or stops, does not answer
	}
	d.mu.Lock()
	if !d.wanted {
		d.mu.Unlock()
		line.cut()
		return
	}
	c := &connection{d: d, at: at, line: line, v: d.opt.Version, num: len(d.conns) + 1, more: make(chan struct{}, 1), done: make(chan struct{}),
		left: make(chan struct{})}
	d.conns = append(d.conns, c)
	d.conn = c
	d.mu.Unlock()
	d.lab.lives.Go(c.serve)
	select {
	case <-c.done:
	case <-c.left:
	}
	doubt := d.lab.inDoubt()
	d.mu.Lock()
	d.conn = nil
	c.ended = time.Now()
	c.doubt = doubt
	answered := c.open
	d.mu.Unlock()
	if !answered {
		d.elsewhere()
	}
}

// at is the region that it goes to.
func (d *Device) at() *Region {
	if !d.opt.Anywhere {
		return d.region
	}
	list := d.lab.places(d.region.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known { // its session begins at home
		return d.region
	}
	return list[d.place%len(list)]
}

// elsewhere makes it go to another region next.
func (d *Device) elsewhere() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.place++
}

// patience is how long it waits to be answered.
func (d *Device) patience() time.Duration {
	if d.opt.Anywhere {
		return huntIn
	}
	return answerIn
}

// dial connects through the balancer, if there is one and no node is named.
func (d *Device) dial(at *Region) (*line, error) {
	d.mu.Lock()
	node := d.opt.Node
	d.mu.Unlock()
	switch b := at.balancer; {
	case node != "":
		return d.lab.Node(node).dial()
	case b != nil:
		return b.dial()
	}
	return at.nodes[0].dial()
}

// online is called with mu held.
func (d *Device) online() bool { return d.conn != nil && d.conn.open && !d.conn.behind }

// pump sends what the window allows. mu is held.
func (d *Device) pump() {
	for d.online() && len(d.waiting) > 0 && len(d.pending) < window {
		o := d.waiting[0]
		d.waiting = d.waiting[1:]
		if o.s.QoS > 0 {
			o.id = d.freeID()
			d.pending = append(d.pending, o)
		}
		d.conn.publish(o)
	}
}

// freeID is a packet id that is not in use; ids go round soon. mu is held.
func (d *Device) freeID() uint16 {
	for {
		d.nextID = d.nextID%100 + 1
		if d.find(d.nextID) == nil {
			return d.nextID
		}
	}
}

func (d *Device) find(id uint16) *outgoing {
	i := slices.IndexFunc(d.pending, func(o *outgoing) bool { return o.id == id })
	if i < 0 {
		return nil
	}
	return d.pending[i]
}

// fault notes a rule that the node broke. mu is held.
func (d *Device) fault(format string, args ...any) {
	d.broken = append(d.broken, d.ID+": "+fmt.Sprintf(format, args...))
}
