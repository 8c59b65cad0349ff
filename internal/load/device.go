package load

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"causeway/broker/packet"
)

// Options of a device.
type Options struct {
	Addr      string
	ID        string
	Clean     bool // its session ends with its connection
	Reconnect bool // comes back, to Addr, when the connection is lost
	QoS       byte

	// Others are where the device goes, in turn, when Addr does not answer with a
	// CONNACK: other regions, as DNS would have it. It stays where it is answered.
	Others []string
	Redial time.Duration // before it comes back; 20 ms
	Buffer int           // bytes, of each direction; 16 KiB

	// Version is what it speaks; packet.V311.
	Version packet.Version
	// Dial, if set, connects in place of TCP.
	Dial               func(addr string) (net.Conn, error)
	Username, Password string // none if Username is ""
	// KeepAlive, if set, is after how long without a packet the device asks whether the broker lives;
	// after half as long again it gives the connection up.
	KeepAlive time.Duration
	// Trace, if set, hears of everything that the device sends and sees. It is called one at a time
	// and must not wait.
	Trace func(Seen)

	// Will is the topic of a will that each connection leaves: a message of the stream
	// WillOf(Number), whose number is how many connections there were before.
	Will string

	// A subscriber has a Filter, and the streams it gets by their number.
	Filter  string
	Streams map[uint32]*Stream
	// Foreign says that messages of other streams come, too, and are passed over.
	Foreign bool
	// OnMessage hears of each first arrival.
	OnMessage func(number uint32, at time.Time)

	// A publisher has a Topic, and Out, its stream, with its number.
	Topic   string
	Number  uint32
	Out     *Stream
	Window  int // messages in flight; of QoS 0, sent and not arrived
	Payload int // bytes
	// Body, if set, appends what follows the stamp of message n, in place of Payload
	// zero bytes. It is asked again when the message is sent again.
	Body func(n uint64, b []byte) []byte
	// OnAck hears of each acknowledgement.
	OnAck func(at time.Time)
}

// Seen is something that a device sent or saw.
type Seen struct {
	What    What
	Stream  uint32
	N       uint64
	Present bool // of a connection: the session was there
	At      time.Time
}

// What a device saw.
type What byte

// The kinds.
const (
	Sent    What = iota // a message, for the first time
	Acked               // a message
	Arrived             // a message, again or for the first time
	Connected
	Lost // the connection
)

// trace tells. Guarded by mu.
func (d *Device) trace(what What, stream uint32, n uint64, present bool) {
	if d.Trace != nil {
		d.Trace(Seen{what, stream, n, present, time.Now()})
	}
}

// Device is one MQTT client, of 3.1.1 if nothing else is said. It sends again what was in flight when its
// connection was lost, in order and with the same ids [MQTT-4.4.0-1], and takes
// in a QoS 2 message once [MQTT-4.3.3-10].
type Device struct {
	Options

	mu         sync.Mutex
	at         int  // of Addr and Others, where it is or looks
	answered   bool // the connection had its CONNACK
	conn       net.Conn
	out        *bufio.Writer
	ready      chan struct{} // closed once connected, and subscribed if it has a filter; another after each loss
	subscribed bool
	allowed    uint64 // numbers below may be sent
	next       uint64
	due        func(n uint64) time.Time // nil: at once
	flights    []flight                 // by id, from 1
	free       []uint16
	pending    map[uint16]bool
	payload    []byte
	buf        []byte
	connects   int
	found      bool // a session, at the first connection
	lostState  int
	problem    error
	losses     []Loss
	quietFrom  time.Time     // the last acknowledgement or arrival
	gap        time.Duration // the longest time between two, since Watch
	acks, lat  Histogram     // until the acknowledgement; until the arrival
	since      time.Time     // latencies of what was due before do not count
	stopped    bool

	done chan struct{}
}

// flight is a message that is not acknowledged.
type flight struct {
	n        uint64
	due      time.Time
	on       bool
	received bool // PUBREC came
}

// Loss is a lost connection: when, when something had been acknowledged or arrived
// last, and when the device was answered, got a message and was acknowledged one
// again. Zero: not yet.
type Loss struct{ At, Last, Back, Message, Ack time.Time }

// redial is what a device waits before it comes back, if nothing is said.
const redial = 20 * time.Millisecond

// connectIn bounds a connection up to its CONNACK and SUBACK.
const connectIn = 20 * time.Second

// Start connects the device, subscribes it if it has a filter, and leaves it
// running until Stop. It waits until that is done.
func Start(ctx context.Context, o Options) (*Device, error) {
	if o.Version == 0 {
		o.Version = packet.V311
	}
	d := &Device{Options: o, ready: make(chan struct{}), pending: map[uint16]bool{}, done: make(chan struct{})}
	d.flights = make([]flight, o.Window+1)
	for id := o.Window; id >= 1; id-- {
		d.free = append(d.free, uint16(id))
	}
	d.payload = make([]byte, max(o.Payload, stampBytes))
	ctx, cancel := context.WithTimeout(ctx, connectIn)
	defer cancel()
	go d.run()
	return d, d.Ready(ctx)
}

// Ready waits until the device is connected and subscribed.
func (d *Device) Ready(ctx context.Context) error {
	d.mu.Lock()
	ready := d.ready
	d.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-d.done:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Errorf("device %s is not connected to %s: %w", d.ID, d.Addr, errors.Join(d.problem, ctx.Err()))
}

func (d *Device) run() {
	defer close(d.done)
	for {
		err := d.connection()
		d.mu.Lock()
		d.problem = err
		if !d.answered {
			d.at = (d.at + 1) % (1 + len(d.Others))
		}
		d.answered = false
		stopped := d.stopped
		d.mu.Unlock()
		if stopped || !d.Reconnect {
			return
		}
		time.Sleep(cmp.Or(d.Redial, redial))
	}
}

// connection is the life of one connection.
func (d *Device) connection() error {
	dial := d.Dial
	if dial == nil {
		dial = func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 2*time.Second) }
	}
	conn, err := dial(d.where())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer d.lost()
	if err := d.open(conn); err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, d.buffer())
	if d.KeepAlive > 0 {
		ended := make(chan struct{})
		defer close(ended)
		go d.ping(ended)
	}
	for {
		if d.KeepAlive > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(d.KeepAlive * 3 / 2))
		}
		if err := d.read(in); err != nil {
			return err
		}
	}
}

// ping asks whether the broker lives, until the connection has ended.
func (d *Device) ping(ended <-chan struct{}) {
	tick := time.NewTicker(d.KeepAlive / 2)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		d.mu.Lock()
		if d.out != nil && d.answered {
			d.send(packet.AppendPingreq(d.buf[:0]))
			_ = d.out.Flush() // the reader sees what went wrong
		}
		d.mu.Unlock()
	}
}

// where is the address to dial.
func (d *Device) where() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == 0 {
		return d.Addr
	}
	return d.Others[d.at-1]
}

func (d *Device) buffer() int { return cmp.Or(d.Buffer, 16<<10) }

func (d *Device) open(conn net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return net.ErrClosed
	}
	d.conn, d.out = conn, bufio.NewWriterSize(conn, d.buffer())
	c := &packet.Connect{Version: d.Version, ClientID: d.ID, CleanStart: d.Clean, HasUsername: d.Username != "", Username: d.Username,
		HasPassword: d.Username != "", Password: []byte(d.Password), KeepAlive: uint16((d.KeepAlive + time.Second - 1) / time.Second)}
	if d.Version == packet.V5 {
		c.ReceiveMaximum, c.RequestProblemInfo = 65535, true
		if !d.Clean {
			c.SessionExpiry = packet.SessionNeverExpires
		}
	}
	if d.Will != "" {
		c.Will = &packet.Will{Topic: d.Will, QoS: 1, Payload: appendStamp(nil, WillOf(d.Number), uint64(d.connects), time.Now())}
	}
	_, err := conn.Write(packet.AppendConnect(nil, c))
	return err
}

// lost notes the end of a connection.
func (d *Device) lost() {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.ready:
		d.ready = make(chan struct{})
		d.losses = append(d.losses, Loss{At: time.Now(), Last: d.quietFrom})
		d.trace(Lost, 0, 0, false)
	default: // it had not come up
	}
	d.conn, d.out = nil, nil
}

// read takes in one packet. What it calls for is sent once there is nothing more
// to read for now.
func (d *Device) read(in *bufio.Reader) error {
	h, n, err := header(in, d.Version)
	if err != nil {
		return err
	}
	var body []byte
	if n+h.Remaining <= in.Size() {
		whole, err := in.Peek(n + h.Remaining)
		if err != nil {
			return err
		}
		body = whole[n:]
		defer in.Discard(n + h.Remaining) //nolint:errcheck // it was peeked
	} else {
		_, _ = in.Discard(n)
		body = make([]byte, h.Remaining)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
	}
	idle := in.Buffered() <= n+h.Remaining
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out == nil {
		return net.ErrClosed
	}
	if err := d.heed(h, body); err != nil {
		return err
	}
	if !idle {
		return nil
	}
	d.fill()
	return d.out.Flush()
}

func header(in *bufio.Reader, v packet.Version) (packet.Header, int, error) {
	for want := 2; ; want++ {
		b, err := in.Peek(want)
		if err != nil {
			return packet.Header{}, 0, err
		}
		if h, n, err := packet.ReadHeader(b, v); err != nil || n > 0 {
			return h, n, err
		}
	}
}

// heed takes in a packet. Guarded by mu, as all that follows.
func (d *Device) heed(h packet.Header, body []byte) error {
	v := d.Version
	switch h.Type {
	case packet.PINGRESP:
		return nil
	case packet.DISCONNECT:
		return fmt.Errorf("DISCONNECT from the server: %w", io.EOF)
	case packet.CONNACK:
		c, err := packet.DecodeConnack(body, v)
		if err == nil && c.Code.Failed() {
			err = fmt.Errorf("CONNACK %v", c.Code)
		}
		if err != nil {
			return err
		}
		d.connected(c.SessionPresent)
		return nil
	case packet.SUBACK:
		s, err := packet.DecodeSuback(body, v)
		if err == nil && s.Codes[0].Failed() {
			err = fmt.Errorf("SUBACK %v", s.Codes)
		}
		if err != nil {
			return err
		}
		d.subscribed = true
		close(d.ready)
		return nil
	case packet.PUBLISH:
		var p packet.Publish
		if err := packet.DecodeServerPublish(h, body, v, &p); err != nil {
			return err
		}
		return d.message(&p)
	}
	a, err := packet.DecodeAck(h, body, v)
	if err != nil {
		return err
	}
	d.ack(a)
	return nil
}

// connected goes on where the last connection ended.
func (d *Device) connected(present bool) {
	d.answered = true
	d.trace(Connected, 0, 0, present)
	switch d.connects++; {
	case d.connects == 1:
		d.found = present
	case !present && !d.Clean:
		d.lostState++
	}
	if !present {
		d.subscribed = false
		clear(d.pending)
	}
	d.mend(func(l *Loss) *time.Time { return &l.Back }, time.Now())
	if d.Filter != "" && !d.subscribed {
		d.send(packet.AppendSubscribe(d.buf[:0], d.Version, &packet.Subscribe{PacketID: 65535,
			Filters: []packet.Subscription{{Filter: d.Filter, QoS: d.QoS}}}))
	} else {
		close(d.ready)
	}
	var again []uint16
	for id := range d.flights {
		if d.flights[id].on {
			again = append(again, uint16(id))
		}
	}
	slices.SortFunc(again, func(a, b uint16) int { return int(d.flights[a].n) - int(d.flights[b].n) })
	for _, id := range again {
		d.publish(id, true)
	}
}

// send writes p, whose space is kept for the next packet.
func (d *Device) send(p []byte) {
	_, _ = d.out.Write(p) // the reader sees what went wrong
	d.buf = p[:0]
}

// fill sends new messages up to the window.
func (d *Device) fill() {
	if d.QoS == 0 {
		d.fire()
		return
	}
	for len(d.free) > 0 && d.next < d.allowed {
		id := d.free[len(d.free)-1]
		d.free = d.free[:len(d.free)-1]
		d.flights[id] = flight{n: d.next, due: d.dueAt(d.next), on: true}
		d.next++
		d.Out.Sent.Add(1)
		d.trace(Sent, d.Number, d.flights[id].n, false)
		d.publish(id, false)
	}
}

func (d *Device) dueAt(n uint64) time.Time {
	if d.due != nil {
		return d.due(n)
	}
	return time.Now()
}

// fire sends messages of QoS 0, which nobody acknowledges: the window is what has
// not arrived.
func (d *Device) fire() {
	for d.next < d.allowed && d.next < d.Out.Received.Load()+uint64(d.Window) {
		f := flight{n: d.next, due: d.dueAt(d.next)}
		d.next++
		d.Out.Sent.Add(1)
		d.Out.Acked.Add(1)
		d.stamp(&f)
		d.send(packet.AppendPublish(d.buf[:0], d.Version, &packet.OutPublish{Topic: d.Topic, Payload: d.payload}))
	}
}

// Arrived tells a publisher of QoS 0 that its window may have moved.
func (d *Device) Arrived() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fillNow()
}

// fillNow sends what may be sent, unless the device is not connected: what was in flight goes first then, once CONNACK
// has come.
func (d *Device) fillNow() {
	select {
	case <-d.ready:
	default:
		return
	}
	d.fill()
	_ = d.out.Flush() // the reader sees what went wrong
}

// stampBytes is the head of each payload: the stream, the message's number in it,
// and when it was due.
const stampBytes = 4 + 8 + 8

func appendStamp(b []byte, stream uint32, n uint64, due time.Time) []byte {
	b = binary.BigEndian.AppendUint32(b, stream)
	b = binary.BigEndian.AppendUint64(b, n)
	return binary.BigEndian.AppendUint64(b, uint64(due.UnixNano()))
}

// WillOf is the stream of the wills of the publisher of another stream.
func WillOf(stream uint32) uint32 { return 1<<31 | stream }

func (d *Device) publish(id uint16, dup bool) {
	f := &d.flights[id]
	if f.received {
		d.send(packet.AppendAck(d.buf[:0], d.Version, packet.PUBREL, id, packet.Success))
		return
	}
	d.stamp(f)
	d.send(packet.AppendPublish(d.buf[:0], d.Version, &packet.OutPublish{Topic: d.Topic, QoS: d.QoS, Dup: dup, PacketID: id, Payload: d.payload}))
}

// stamp makes the payload of a message.
func (d *Device) stamp(f *flight) {
	appendStamp(d.payload[:0], d.Number, f.n, f.due)
	if d.Body != nil {
		d.payload = d.Body(f.n, d.payload[:stampBytes])
	}
}

func (d *Device) message(p *packet.Publish) error {
	if len(p.Payload) < stampBytes {
		return fmt.Errorf("a message of %d bytes on %s is none of this load's", len(p.Payload), p.Topic)
	}
	switch {
	case p.QoS == 2:
		known := d.pending[p.PacketID]
		d.pending[p.PacketID] = true
		d.send(packet.AppendAck(d.buf[:0], d.Version, packet.PUBREC, p.PacketID, packet.Success))
		if known {
			return nil
		}
	case p.QoS == 1:
		d.send(packet.AppendAck(d.buf[:0], d.Version, packet.PUBACK, p.PacketID, packet.Success))
	}
	number, n := binary.BigEndian.Uint32(p.Payload), binary.BigEndian.Uint64(p.Payload[4:])
	s := d.Streams[number]
	if s == nil && d.Foreign {
		return nil
	}
	if s == nil {
		return fmt.Errorf("a message of stream %d on %s is none of this device's", number, p.Topic)
	}
	d.trace(Arrived, number, n, false)
	if !s.take(n) {
		return nil
	}
	now := time.Now()
	if due := time.Unix(0, int64(binary.BigEndian.Uint64(p.Payload[12:]))); !due.Before(d.since) {
		d.lat.Add(now.Sub(due))
	}
	d.mend(func(l *Loss) *time.Time { return &l.Message }, now)
	d.heard(now)
	if d.OnMessage != nil {
		d.OnMessage(number, now)
	}
	return nil
}

func (d *Device) ack(a packet.Ack) {
	if a.Type == packet.PUBREL {
		delete(d.pending, a.PacketID)
		d.send(packet.AppendAck(d.buf[:0], d.Version, packet.PUBCOMP, a.PacketID, packet.Success))
		return
	}
	if int(a.PacketID) >= len(d.flights) || !d.flights[a.PacketID].on {
		return // a second answer
	}
	f := &d.flights[a.PacketID]
	if a.Type != packet.PUBCOMP && !f.received {
		d.acked(f)
	}
	if a.Type == packet.PUBREC {
		f.received = true
		d.publish(a.PacketID, false)
		return
	}
	*f = flight{}
	d.free = append(d.free, a.PacketID)
}

func (d *Device) acked(f *flight) {
	now := time.Now()
	d.Out.acked.set(f.n)
	d.trace(Acked, d.Number, f.n, false)
	d.Out.Acked.Add(1)
	d.mend(func(l *Loss) *time.Time { return &l.Ack }, now)
	d.heard(now)
	if !f.due.Before(d.since) {
		d.acks.Add(now.Sub(f.due))
	}
	if d.OnAck != nil {
		d.OnAck(now)
	}
}

// mend notes at the losses that wait for it when something came again.
func (d *Device) mend(what func(*Loss) *time.Time, now time.Time) {
	for i := len(d.losses) - 1; i >= 0 && what(&d.losses[i]).IsZero(); i-- {
		*what(&d.losses[i]) = now
	}
}

// heard notes an acknowledgement or an arrival.
func (d *Device) heard(now time.Time) {
	if !d.quietFrom.IsZero() {
		d.gap = max(d.gap, now.Sub(d.quietFrom))
	}
	d.quietFrom = now
}

// Allow lets the device send messages below number n.
func (d *Device) Allow(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allowed = n
	d.fillNow()
}

// Halt takes back what Allow gave and was not sent yet.
func (d *Device) Halt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allowed = d.next
}

// measureFrom drops the latencies so far.
func (d *Device) measureFrom(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since, d.acks, d.lat = t, Histogram{}, Histogram{}
}

// Move has the device connect elsewhere the next time.
func (d *Device) Move(addr string, others ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Addr, d.Others, d.at = addr, others, 0
}

// Break ends the connection as a network does: without a DISCONNECT.
func (d *Device) Break() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// Watch begins to measure Gap.
func (d *Device) Watch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gap, d.quietFrom = 0, time.Now()
}

// Gap is the longest time without an acknowledgement or an arrival since Watch.
func (d *Device) Gap() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.gap, time.Since(d.quietFrom))
}

// History says how often the device connected, how often the broker had
// forgotten its session, and which connections were lost.
func (d *Device) History() (connects, forgotten int, losses []Loss) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connects, d.lostState, slices.Clone(d.losses)
}

// String says how it is with the device.
func (d *Device) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	state := "away"
	if d.answered {
		state = "answered"
	}
	return fmt.Sprintf("%s is %s at its connection %d (subscribed %v, %d to send of which %d were), last problem %v, losses %v", d.ID, state, d.connects, d.subscribed,
		d.allowed, d.next, d.problem, d.losses)
}

// Stop ends the connection, with a DISCONNECT, and the device.
func (d *Device) Stop() {
	d.mu.Lock()
	d.stopped = true
	if d.conn != nil {
		d.send(packet.AppendDisconnectPacket(d.buf[:0], d.Version, &packet.Disconnect{}))
		_ = d.out.Flush()
		_ = d.conn.Close()
	}
	d.mu.Unlock()
	<-d.done
}

// present says that the broker had the device's session at its first connection.
func (d *Device) present() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}
