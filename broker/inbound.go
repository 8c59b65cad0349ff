package broker

import (
	"causeway/broker/packet"
	"causeway/internal/home"
)

// inbound is what a device sent and waits to hear about. It is guarded by conn.mu.
type inbound struct {
	answers ring[answer] // PUBACK and PUBREC in the order of their PUBLISH [MQTT-4.6.0-2], [MQTT-4.6.0-3]
	first   uint64       // number of the answer at the front
	ops     int          // operations proposed and not decided
	bytes   int          // of them
	logged  int          // of them: publishes that without RETAIN would not be in the log
	subacks int          // SUBSCRIBEs that are committed and not answered
	blocked chan struct{}
}

// answer is the acknowledgement of one PUBLISH.
type answer struct {
	id   uint16
	qos  byte
	code packet.Code
	done bool
}

// expect appends an answer and returns its number.
func (c *conn) expect(id uint16, qos byte) uint64 {
	c.answers.push(answer{id: id, qos: qos})
	return c.first + uint64(c.answers.len()) - 1
}

// decide fills in an answer, and sends those at the front that are decided.
func (c *conn) decide(number uint64, code packet.Code) {
	a := c.answers.at(int(number - c.first))
	a.code, a.done = code, true
	sent := false
	for c.answers.len() > 0 && c.answers.at(0).done {
		a := c.answers.pop()
		c.first++
		t := packet.PUBACK
		if a.qos == 2 {
			t = packet.PUBREC
		}
		c.control(func(b []byte) []byte { return packet.AppendAck(b, c.v, t, a.id, a.code) })
		sent = true
	}
	if sent {
		c.wake()
	}
}

// answerNow is the acknowledgement of a PUBLISH that needs no log. It still waits for its turn.
func (c *conn) answerNow(id uint16, qos byte, code packet.Code) {
	if qos == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decide(c.expect(id, qos), code)
}

// reserve counts an operation the reader is about to propose, and waits while the device has too much undecided or
// reads too little of what is sent to it. The connection is not read meanwhile, so TCP slows the device down.
func (c *conn) reserve(size int) error {
	c.mu.Lock()
	for c.full() && !c.closing {
		room := make(chan struct{})
		c.blocked = room
		c.mu.Unlock()
		c.flushAcks()
		<-room
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.closing {
		return errClosing
	}
	c.ops++
	c.inbound.bytes += size
	return nil
}

// waitForReader is reserve for a packet that needs no operation but is answered.
func (c *conn) waitForReader() error {
	if err := c.reserve(0); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops--
	return nil
}

const controlMax = 64 << 10 // bytes of unsent control packets above which a device is not read

func (c *conn) full() bool {
	return c.ops >= c.s.opt.ReceiveMaximum || c.inbound.bytes >= c.s.opt.UnackedBytes || c.controlBytes() > controlMax
}

// release undoes reserve when the operation is decided.
func (c *conn) release(size int) {
	c.ops--
	c.inbound.bytes -= size
	if !c.full() {
		c.releaseReader()
	}
}

// releaseReader lets the reader look again.
func (c *conn) releaseReader() {
	if c.blocked != nil {
		close(c.blocked)
		c.blocked = nil
	}
}

// proposeFor proposes an operation that reserve counted. done runs with conn.mu held, and only if the home decided; with
// ship, when a standby knows of it too.
func (c *conn) proposeFor(size int, op home.Op, ship bool, done func(home.Outcome)) error {
	err := c.house.propose(op, func(o home.Outcome, err error) {
		void := err != nil || o.Code == home.CodeVoid
		decided := func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.release(size)
			if !void {
				done(o)
			}
		}
		if ship && !void {
			c.house.home.AwaitShipped(o.Record, decided)
			return
		}
		decided()
		if void {
			c.lost()
		}
	})
	if err != nil {
		c.lost()
		return errClosing
	}
	return nil
}

// propose waits while the home has no room. The error is that of a home, or a server, that stops.
func (h *House) propose(op home.Op, done func(home.Outcome, error)) error {
	for {
		err := h.home.Propose(op, done)
		if err == nil {
			return nil
		}
		if e := h.home.Room(h.s.ctx); e != nil {
			return e
		}
	}
}
