package broker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/broker/packet"
	"causeway/internal/home"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a broker with a home, and devices.
type lab struct {
	t    testing.TB
	home *testHome
	s    *Server
	// house is the server's side of home.
	house *House
	stop  func() // graceful, and waits

	panics int64 // that the test causes
}

// patience is how long a test waits for what must come: no test is about it, so a slow machine must not meet it.
const patience = time.Minute

// one is the only home of a server.
func one(h *testHome) []HomeOptions { return []HomeOptions{{ID: "eu", Home: h}} }

// newLab starts a broker with the listener "tcp" on a free port; change edits its options.
func newLab(t testing.TB, change ...func(*Options)) *lab {
	t.Helper()
	h := newTestHome(t)
	opt := Options{
		Homes: one(h), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), DrainTime: patience, DrainRate: 100_000,
		Listeners: []Listener{{Name: "tcp", Address: "127.0.0.1:0", Namespace: "ns", Methods: []Method{Anonymous}, ConnectTimeout: patience}},
	}
	for _, f := range change {
		f(&opt)
	}
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	h.sink.Store(s.House("eu"))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	l := &lab{t: t, home: h, s: s, house: s.House("eu")}
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("run: %v", err)
		}
		h.stop()
		if n := s.Stats().Panics.Load(); n != l.panics {
			t.Errorf("%d panics, want %d", n, l.panics)
		}
	})
	t.Cleanup(l.stop)
	return l
}

// piped is for labs on a virtual clock: the listener binds nothing, devices come by ServeConn.
func piped(o *Options) { o.Listeners[0].Address, o.Listeners[0].ConnectTimeout = "", 0 }

// device is a client that speaks in packets.
type device struct {
	t  testing.TB
	nc net.Conn
	v  packet.Version
	in []byte

	early []frame // came before the SUBACK that was waited for; read gives them first
}

// frame is a packet a device got.
type frame struct {
	h    packet.Header
	body []byte
}

func (l *lab) dial(v packet.Version) *device {
	l.t.Helper()
	nc, err := net.Dial("tcp", l.s.Addr("tcp").String())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = nc.Close() })
	return &device{t: l.t, nc: nc, v: v}
}

func (l *lab) pipe(v packet.Version) *device {
	l.t.Helper()
	ours, theirs := net.Pipe()
	if err := l.s.ServeConn(theirs, "tcp"); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = ours.Close() })
	return &device{t: l.t, nc: ours, v: v}
}

// connect dials and connects a clean session that ends with its connection, unless change says otherwise.
func (l *lab) connect(v packet.Version, id string, change ...func(*packet.Connect)) *device {
	l.t.Helper()
	d := l.dial(v)
	d.connectOK(id, change...)
	return d
}

func (d *device) hello(id string, change ...func(*packet.Connect)) packet.Connack {
	d.t.Helper()
	p := packet.Connect{Version: d.v, CleanStart: true, ClientID: id, ReceiveMaximum: 65535, RequestProblemInfo: true}
	for _, f := range change {
		f(&p)
	}
	d.send(packet.AppendConnect(nil, &p))
	f := d.read()
	if f.h.Type != packet.CONNACK {
		d.t.Fatalf("got %s, want CONNACK", f.h.Type)
	}
	ack, err := packet.DecodeConnack(f.body, d.v)
	if err != nil {
		d.t.Fatal(err)
	}
	return ack
}

func (d *device) connectOK(id string, change ...func(*packet.Connect)) packet.Connack {
	d.t.Helper()
	ack := d.hello(id, change...)
	if ack.Code != packet.Success {
		d.t.Fatalf("CONNACK %s", ack.Code)
	}
	return ack
}

// persistent asks for a session that outlives its connection.
func persistent(p *packet.Connect) {
	p.CleanStart, p.SessionExpiry = false, 3600
}

func (d *device) send(b []byte) {
	d.t.Helper()
	_ = d.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := d.nc.Write(b); err != nil {
		d.t.Fatalf("send: %v", err)
	}
}

// next reads a packet, or says why there is none.
func (d *device) next(within time.Duration) (frame, error) {
	_ = d.nc.SetReadDeadline(time.Now().Add(within))
	for {
		if len(d.in) >= 2 {
			if f, ok := d.cut(); ok {
				return f, nil
			}
		}
		var b [16 << 10]byte
		n, err := d.nc.Read(b[:])
		d.in = append(d.in, b[:n]...)
		if err != nil && n == 0 {
			return frame{}, err
		}
	}
}

// cut takes a whole packet from what was read. The fixed header is read by hand: packet.ReadHeader reads clients'.
func (d *device) cut() (frame, bool) {
	size, shift, i := 0, 0, 1
	for ; ; i++ {
		if i >= len(d.in) {
			return frame{}, false
		}
		size |= int(d.in[i]&0x7F) << shift
		shift += 7
		if d.in[i]&0x80 == 0 {
			break
		}
	}
	if len(d.in) < i+1+size {
		return frame{}, false
	}
	f := frame{
		h:    packet.Header{Type: packet.Type(d.in[0] >> 4), Flags: d.in[0] & 15, Remaining: size},
		body: append([]byte(nil), d.in[i+1:i+1+size]...),
	}
	d.in = d.in[i+1+size:]
	return f, true
}

func (d *device) read() frame {
	d.t.Helper()
	if len(d.early) > 0 {
		f := d.early[0]
		d.early = d.early[1:]
		return f
	}
	f, err := d.next(patience)
	if err != nil {
		d.t.Fatalf("read: %v", err)
	}
	return f
}

// closed waits until the broker closes, and returns the code of its DISCONNECT (0 without one).
func (d *device) closed() packet.Code {
	d.t.Helper()
	var code packet.Code
	for {
		f, err := d.next(patience)
		if err != nil {
			if isTimeout(err) {
				d.t.Fatal("the connection was not closed")
			}
			return code
		}
		if f.h.Type == packet.DISCONNECT {
			p, err := packet.DecodeServerDisconnect(f.body)
			if err != nil {
				d.t.Fatal(err)
			}
			code = p.Code
		}
	}
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}

// silent checks that the broker sends nothing: it answers a PINGREQ first.
func (d *device) silent() {
	d.t.Helper()
	d.send(packet.AppendPingreq(nil))
	if f := d.read(); f.h.Type != packet.PINGRESP {
		d.t.Fatalf("got %s, want nothing", f.h.Type)
	}
}

func (d *device) ack(want packet.Type, id uint16) packet.Code {
	d.t.Helper()
	f := d.read()
	if f.h.Type != want {
		d.t.Fatalf("got %s, want %s %d", f.h.Type, want, id)
	}
	a, err := packet.DecodeAck(f.h, f.body, d.v)
	if err != nil {
		d.t.Fatal(err)
	}
	if a.PacketID != id {
		d.t.Fatalf("%s for %d, want %d", want, a.PacketID, id)
	}
	return a.Code
}

func (d *device) sendAck(t packet.Type, id uint16) {
	d.t.Helper()
	d.send(packet.AppendAck(nil, d.v, t, id, packet.Success))
}

func (d *device) subscribe(qos byte, filters ...string) []packet.Code {
	d.t.Helper()
	s := packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: qos})
	}
	return d.subscribeWith(s)
}

func (d *device) subscribeWith(s packet.Subscribe) []packet.Code {
	d.t.Helper()
	d.send(packet.AppendSubscribe(nil, d.v, &s))
	f := d.suback()
	a, err := packet.DecodeSuback(f.body, d.v)
	if err != nil {
		d.t.Fatal(err)
	}
	return a.Codes
}

// suback waits for a SUBACK; messages may come before it.
func (d *device) suback() frame {
	d.t.Helper()
	var early []frame
	for {
		f := d.read()
		if f.h.Type == packet.SUBACK {
			d.early = append(d.early, early...)
			return f
		}
		if f.h.Type != packet.PUBLISH {
			d.t.Fatalf("got %s, want SUBACK", f.h.Type)
		}
		f.body = append([]byte(nil), f.body...)
		early = append(early, f)
	}
}

func pub(topic, payload string, qos byte, id uint16) *packet.OutPublish {
	return &packet.OutPublish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

func (d *device) publish(p *packet.OutPublish) {
	d.t.Helper()
	d.send(packet.AppendPublish(nil, d.v, p))
}

// publish1 publishes at QoS 1 and waits for the PUBACK.
func (d *device) publish1(topic, payload string, id uint16) packet.Code {
	d.t.Helper()
	d.publish(pub(topic, payload, 1, id))
	return d.ack(packet.PUBACK, id)
}

// message reads a PUBLISH.
func (d *device) message() packet.Publish {
	d.t.Helper()
	f := d.read()
	return d.asPublish(f)
}

func (d *device) asPublish(f frame) packet.Publish {
	d.t.Helper()
	if f.h.Type != packet.PUBLISH {
		d.t.Fatalf("got %s, want PUBLISH", f.h.Type)
	}
	var p packet.Publish
	if err := packet.DecodeServerPublish(f.h, f.body, d.v, &p); err != nil {
		d.t.Fatal(err)
	}
	return p
}

func (d *device) wantMessage(payload string) packet.Publish {
	d.t.Helper()
	p := d.message()
	if string(p.Payload) != payload {
		d.t.Fatalf("got %q, want %q", p.Payload, payload)
	}
	return p
}

// eventually polls for what has no event to wait for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func key(id string) home.SessionKey { return home.SessionKey{Namespace: "ns", ClientID: id} }
