package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"causeway/broker/packet"
)

// device is an MQTT client that does exactly what the standard asks of one that keeps its
// session: it redials, re-sends in order with the same ids (PUBLISH with DUP, or PUBREL once
// PUBREC came) [MQTT-4.4.0-1], and hands a QoS 2 message over once [MQTT-4.3.3-10]. No client
// library at hand does all of that. It writes down what it sent, was acknowledged and got.
type device struct {
	addr   string
	id     string
	filter string // subscribed to, when not empty
	qos    byte
	topic  string // published to
	window int    // messages in flight
	pad    []byte // behind the number in each payload; begins with a space
	clean  bool   // its session ends with its connection

	dial func(ctx context.Context, addr string) (net.Conn, error) // nil is the usual way

	mu         sync.Mutex
	publish    int      // numbered messages to send for now
	frozen     bool     // publish stays
	conn       net.Conn // once CONNACK came
	connects   int
	lostState  int // connections that found no session where there was one
	next       int // number to send next
	flight     []*flying
	acked      []int
	got        []int
	dups       int // of got, those flagged DUP
	pending    map[uint16]bool
	subscribed bool
	goneAt     time.Time       // when the last connection ended, until CONNACK comes again
	outages    []time.Duration // from the end of a connection to the next CONNACK
	lostAt     time.Time       // when the last connection ended; zero once a message came again
	resumes    []time.Duration // from the loss of a connection to the next message
	nextID     uint16
	problem    error // that is no loss of connection
}

// flying is a message that is not acknowledged yet.
type flying struct {
	id       uint16
	number   int
	received bool // PUBREC came
	sent     bool // on this connection
}

// run keeps the device connected until ctx ends.
func (d *device) run(ctx context.Context) {
	d.mu.Lock()
	d.next, d.pending = 1, map[uint16]bool{}
	d.mu.Unlock()
	for ctx.Err() == nil {
		if err := d.connection(ctx); err != nil && ctx.Err() == nil {
			var refused *packet.Error
			if errors.As(err, &refused) || errors.Is(err, errRefused) {
				d.mu.Lock()
				d.problem = err
				d.mu.Unlock()
			}
			select { // what a device waits before it redials
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

var errRefused = errors.New("refused")

// connection is the life of one connection.
func (d *device) connection(ctx context.Context) error {
	d.mu.Lock()
	addr := d.addr
	d.mu.Unlock()
	dial := d.dial
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", addr)
		}
	}
	dialled, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer dialled.Close()
	defer context.AfterFunc(ctx, func() { dialled.Close() })()
	defer func() {
		d.mu.Lock()
		if d.conn != nil {
			d.goneAt = time.Now()
			if d.lostAt.IsZero() {
				d.lostAt = d.goneAt
			}
		}
		d.conn = nil
		d.mu.Unlock()
	}()
	r := bufio.NewReader(dialled)
	hello := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: d.id, CleanStart: d.clean})
	if _, err := dialled.Write(hello); err != nil {
		return err
	}
	for {
		h, body, err := readPacket(r, packet.V311)
		if err != nil {
			return err
		}
		if err := d.turn(dialled, h, body); err != nil {
			return err
		}
	}
}

// turn takes in a packet and writes what it calls for. Writes are under the lock, so that they
// are in order; what is in flight is too little to block them.
func (d *device) turn(conn net.Conn, h packet.Header, body []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	answer, err := d.heed(h, body)
	if err != nil {
		return err
	}
	d.conn = conn
	_, err = conn.Write(d.fill(answer))
	return err
}

// allow lets the device send messages up to number n.
func (d *device) allow(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		d.publish = n
	}
	if d.conn != nil {
		_, _ = d.conn.Write(d.fill(nil)) // the reader sees what went wrong
	}
}

// readPacket reads one packet that a server sent.
func readPacket(r *bufio.Reader, v packet.Version) (packet.Header, []byte, error) {
	var head []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return packet.Header{}, nil, err
		}
		head = append(head, b)
		h, n, err := packet.ReadHeader(head, v)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			body := make([]byte, h.Remaining)
			_, err := io.ReadFull(r, body)
			return h, body, err
		}
	}
}

// heed takes in a packet and returns what to answer. d.mu is held.
func (d *device) heed(h packet.Header, body []byte) ([]byte, error) {
	const v = packet.V311
	switch h.Type {
	case packet.CONNACK:
		c, err := packet.DecodeConnack(body, v)
		if err != nil || c.Code.Failed() {
			return nil, fmt.Errorf("%w: CONNACK %v: %v", errRefused, c.Code, err)
		}
		return d.connected(c.SessionPresent), nil
	case packet.SUBACK:
		s, err := packet.DecodeSuback(body, v)
		if err != nil || s.Codes[0].Failed() {
			return nil, fmt.Errorf("%w: SUBACK %v: %v", errRefused, s.Codes, err)
		}
		d.subscribed = true
		return nil, nil
	case packet.PUBLISH:
		var p packet.Publish
		if err := packet.DecodeServerPublish(h, body, v, &p); err != nil {
			return nil, err
		}
		return d.message(&p)
	}
	a, err := packet.DecodeAck(h, body, v)
	if err != nil {
		return nil, err
	}
	return d.ack(a), nil
}

// connected goes on where the last connection ended.
func (d *device) connected(present bool) (out []byte) {
	if d.connects++; d.connects > 1 && !present {
		d.lostState++
	}
	if !d.goneAt.IsZero() {
		d.outages, d.goneAt = append(d.outages, time.Since(d.goneAt)), time.Time{}
	}
	for _, f := range d.flight {
		f.sent = false
	}
	if d.filter != "" && !d.subscribed {
		out = packet.AppendSubscribe(out, packet.V311, &packet.Subscribe{PacketID: 65535, Filters: []packet.Subscription{{Filter: d.filter, QoS: d.qos}}})
	}
	return out
}

// fill sends again what was in flight, then new messages up to the window.
func (d *device) fill(out []byte) []byte {
	for _, f := range d.flight {
		if !f.sent {
			out = d.send(out, f, true)
		}
	}
	for len(d.flight) < d.window && d.next <= d.publish {
		d.nextID = d.nextID%60000 + 1
		f := &flying{id: d.nextID, number: d.next}
		d.flight = append(d.flight, f)
		d.next++
		out = d.send(out, f, false)
	}
	return out
}

func (d *device) send(out []byte, f *flying, dup bool) []byte {
	f.sent = true
	if f.received {
		return packet.AppendAck(out, packet.V311, packet.PUBREL, f.id, packet.Success)
	}
	payload := append(strconv.AppendInt(nil, int64(f.number), 10), d.pad...)
	return packet.AppendPublish(out, packet.V311, &packet.OutPublish{Topic: d.topic, QoS: d.qos, Dup: dup, PacketID: f.id, Payload: payload})
}

func (d *device) message(p *packet.Publish) ([]byte, error) {
	digits, _, _ := bytes.Cut(p.Payload, []byte(" "))
	number, err := strconv.Atoi(string(digits))
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %v", errRefused, err)
	}
	answer := packet.PUBREC
	if p.QoS == 2 && d.pending[p.PacketID] {
		return packet.AppendAck(nil, packet.V311, answer, p.PacketID, packet.Success), nil
	}
	if p.QoS == 2 {
		d.pending[p.PacketID] = true
	} else {
		answer = packet.PUBACK
	}
	d.got = append(d.got, number)
	if !d.lostAt.IsZero() {
		d.resumes, d.lostAt = append(d.resumes, time.Since(d.lostAt)), time.Time{}
	}
	if p.Dup {
		d.dups++
	}
	if p.QoS == 0 {
		return nil, nil
	}
	return packet.AppendAck(nil, packet.V311, answer, p.PacketID, packet.Success), nil
}

func (d *device) ack(a packet.Ack) []byte {
	if a.Type == packet.PUBREL {
		delete(d.pending, a.PacketID)
		return packet.AppendAck(nil, packet.V311, packet.PUBCOMP, a.PacketID, packet.Success)
	}
	for i, f := range d.flight {
		if f.id != a.PacketID {
			continue
		}
		if a.Type != packet.PUBCOMP && !f.received {
			d.acked = append(d.acked, f.number)
		}
		if a.Type == packet.PUBREC {
			f.received = true
			return packet.AppendAck(nil, packet.V311, packet.PUBREL, a.PacketID, packet.Success)
		}
		d.flight = append(d.flight[:i], d.flight[i+1:]...)
		return nil
	}
	return nil
}

// progress says how many messages were acknowledged and arrived.
func (d *device) progress() (acked, got int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked), len(d.got)
}

// distinct says how many different messages arrived.
func (d *device) distinct() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := make(map[int]bool, len(d.got))
	for _, n := range d.got {
		seen[n] = true
	}
	return len(seen)
}

// has says that the device was told that it is subscribed.
func (d *device) has() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.subscribed
}

// there says that the device is connected.
func (d *device) there() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn != nil
}
