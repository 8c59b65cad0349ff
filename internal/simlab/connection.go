package simlab

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"causeway/broker/packet"
)

// connection is one connection of a device. Its fields but for the first group
// are guarded by the device's mu.
type connection struct {
	// fixed
	d    *Device
	at   *Region
	line *line
	v    packet.Version
	num  int // of the device's connections, from 1
	more chan struct{}
	done chan struct{} // closed when the line broke
	left chan struct{} // closed when the device went away from it

	open   bool      // CONNACK seen
	opened time.Time // when
	ended  time.Time // when the device noticed, or went away
	doubt  bool      // a region may have been lost meanwhile
	behind bool      // left behind
	dead   time.Time // when the device was first answered on a later one
	out    []byte    // to be written
}

// serve connects, reads until the line breaks, and waits for the writer.
func (c *connection) serve() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	c.d.mu.Lock()
	c.send(packet.AppendConnect(nil, &packet.Connect{Version: c.v, ClientID: c.d.ID, SessionExpiry: cmp.Or(c.d.lab.opt.Expiry, packet.SessionNeverExpires),
		ReceiveMaximum: math.MaxUint16, RequestProblemInfo: true, Will: c.will()}))
	c.d.mu.Unlock()
	_ = c.line.device().SetReadDeadline(time.Now().Add(c.d.patience()))
	c.read()
	c.line.cut()
	close(c.done)
	<-written
}

// over says that the line broke.
func (c *connection) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// will is what the connection leaves.
func (c *connection) will() *packet.Will {
	o := &c.d.opt
	if o.Wills == "" {
		return o.Will
	}
	return &packet.Will{Topic: o.Wills, Payload: []byte(text(testator(c.d.ID), c.num, 0)), QoS: 2, Delay: o.WillDelay}
}

// testator is who a will says that it is from: its numbers are those of
// connections.
func testator(id string) string { return id + "!" }

// send queues bytes for the writer. The device's mu is held.
func (c *connection) send(b []byte) {
	c.out = append(c.out, b...)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *connection) write() {
	for {
		select {
		case <-c.more:
		case <-c.done:
			return
		}
		c.d.mu.Lock()
		b := c.out
		c.out = nil
		c.d.mu.Unlock()
		if _, err := c.line.device().Write(b); err != nil {
			return
		}
	}
}

// read takes packets until the line breaks or the node breaks a rule.
func (c *connection) read() {
	for {
		h, body, err := readPacket(c.line.device())
		if err != nil {
			return
		}
		c.d.mu.Lock()
		if c.behind {
			err = c.haunt(h)
		} else {
			err = c.take(h, body)
		}
		if err != nil {
			c.d.fault("%s: %v", h.Type, err)
		}
		c.d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// readPacket reads one packet that a server sent.
func readPacket(r io.Reader) (packet.Header, []byte, error) {
	var b [1]byte
	next := func() (byte, error) {
		_, err := io.ReadFull(r, b[:])
		return b[0], err
	}
	first, err := next()
	if err != nil {
		return packet.Header{}, nil, err
	}
	h := packet.Header{Type: packet.Type(first >> 4), Flags: first & 15}
	for shift := 0; ; shift += 7 {
		x, err := next()
		if err != nil {
			return h, nil, err
		}
		h.Remaining |= int(x&0x7F) << shift
		if x < 0x80 {
			break
		}
	}
	body := make([]byte, h.Remaining)
	_, err = io.ReadFull(r, body)
	return h, body, err
}

// rivalled says that an earlier CONNECT of the device was not answered: it may get
// through late, and take the session away again. The device's mu is held.
func (c *connection) rivalled() bool {
	return slices.ContainsFunc(c.d.conns[:c.num-1], func(old *connection) bool { return !old.open })
}

// echo is how long something may be on the way to a connection that was left.
const echo = 50 * time.Millisecond

// haunt sees what the node sends to a connection that was left behind: nothing,
// once the device was answered on another. [C1]
func (c *connection) haunt(h packet.Header) error {
	if h.Type == packet.DISCONNECT || c.dead.IsZero() || time.Since(c.dead) < echo {
		return nil
	}
	return fmt.Errorf("sent %s after the device was answered on another connection", time.Since(c.dead))
}

// take handles one packet. The device's mu is held.
func (c *connection) take(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.CONNACK:
		return c.connack(body)
	case packet.SUBACK:
		return c.suback(body)
	case packet.PUBLISH:
		err := c.message(h, body)
		c.lost() // before the writer gets to write
		return err
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.DecodeAck(h, body, c.v)
		if err == nil && (a.Type == packet.PUBREL || !c.lost()) {
			c.ack(a)
		}
		return err
	case packet.DISCONNECT:
		p, err := packet.DecodeServerDisconnect(body)
		if err == nil && (p.Code != packet.SessionTakenOver || !c.rivalled()) {
			c.d.fault("DISCONNECT %s: %s", p.Code, p.ReasonString)
		}
		return err
	}
	return nil
}

// lost breaks the line if the acknowledgement that is due shall be lost. The
// device's mu is held, which the writer needs.
func (c *connection) lost() bool {
	if !c.d.lose {
		return false
	}
	c.d.lose = false
	c.line.cut()
	return true
}

// connack resumes: what was not told of goes again, in the old order and with
// the same ids. [MQTT-4.4.0-1]
func (c *connection) connack(body []byte) error {
	p, err := packet.DecodeConnack(body, c.v)
	if err != nil {
		return err
	}
	d := c.d
	if p.Code != packet.Success {
		d.fault("CONNACK %s: %s", p.Code, p.ReasonString)
		return nil
	}
	if d.known && !p.SessionPresent {
		d.fault("its session was forgotten")
	}
	d.known, c.open, c.opened = true, true, time.Now()
	for _, old := range d.conns[:c.num-1] {
		if old.dead.IsZero() {
			old.dead = c.opened
		}
	}
	_ = c.line.device().SetReadDeadline(time.Time{})
	for i, w := range d.wishes {
		if !w.granted {
			c.subscribe(i+1, w)
		}
	}
	for _, o := range d.pending {
		if o.received {
			c.send(packet.AppendAck(nil, c.v, packet.PUBREL, o.id, packet.Success))
		} else {
			c.publish(o)
		}
	}
	d.pump()
	return nil
}

// subscribeIDs is where the packet ids of SUBSCRIBE begin.
const subscribeIDs = 1000

func (c *connection) subscribe(n int, w *wish) {
	c.send(packet.AppendSubscribe(nil, c.v, &packet.Subscribe{PacketID: uint16(subscribeIDs + n),
		Filters: []packet.Subscription{{Filter: w.asked(), QoS: w.qos}}}))
}

func (c *connection) suback(body []byte) error {
	p, err := packet.DecodeSuback(body, c.v)
	if err != nil {
		return err
	}
	w := c.d.wishes[int(p.PacketID)-subscribeIDs-1]
	if len(p.Codes) != 1 || p.Codes[0] != packet.Code(w.qos) {
		c.d.fault("SUBACK %v for %s at QoS %d", p.Codes, w.filter, w.qos)
	}
	w.granted = true
	return nil
}

// publish writes a message, with DUP if it was written before. [MQTT-3.3.1-1]
func (c *connection) publish(o *outgoing) {
	c.send(packet.AppendPublish(nil, c.v, &packet.OutPublish{Topic: o.s.Topic, QoS: o.s.QoS, Retain: o.s.Retain,
		Dup: o.sentOnce, PacketID: o.id, Payload: []byte(o.s.Text), MessageExpiry: c.d.lab.opt.Expiry}))
	o.sentOnce = true
}

// ack handles the four acknowledgements.
func (c *connection) ack(a packet.Ack) {
	d := c.d
	if a.Type == packet.PUBREL {
		delete(d.taken, a.PacketID)
		c.send(packet.AppendAck(nil, c.v, packet.PUBCOMP, a.PacketID, packet.Success))
		return
	}
	o := d.find(a.PacketID)
	if a.Code.Failed() && (o == nil || !o.received) {
		d.fault("%s %s for packet %d", a.Type, a.Code, a.PacketID)
	}
	switch {
	case o == nil:
		if a.Type == packet.PUBREC { // an old one: the id was released before
			c.send(packet.AppendAck(nil, c.v, packet.PUBREL, a.PacketID, packet.Success))
		}
		return
	case a.Type == packet.PUBREC:
		o.received = true
		o.s.promised()
		c.send(packet.AppendAck(nil, c.v, packet.PUBREL, a.PacketID, packet.Success))
		return
	case (a.Type == packet.PUBACK) != (o.s.QoS == 1):
		d.fault("%s for packet %d of QoS %d", a.Type, a.PacketID, o.s.QoS)
	}
	o.s.promised()
	d.pending = slices.DeleteFunc(d.pending, func(p *outgoing) bool { return p == o })
	d.pump()
}

func (s *Sent) promised() {
	if s.Acked.IsZero() {
		s.Acked = time.Now()
	}
}

// message notes what came. A QoS 2 message whose id was taken is the same one
// again. [MQTT-4.3.3-10]
func (c *connection) message(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodeServerPublish(h, body, c.v, &p); err != nil {
		return err
	}
	d := c.d
	known := p.QoS == 2 && d.taken[p.PacketID]
	if !known {
		s := Seen{Topic: string(p.Topic), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, At: time.Now()}
		s.parse(string(p.Payload))
		d.seen = append(d.seen, s)
	}
	switch p.QoS {
	case 1:
		c.send(packet.AppendAck(nil, c.v, packet.PUBACK, p.PacketID, packet.Success))
	case 2:
		d.taken[p.PacketID] = true
		c.send(packet.AppendAck(nil, c.v, packet.PUBREC, p.PacketID, packet.Success))
	}
	return nil
}
