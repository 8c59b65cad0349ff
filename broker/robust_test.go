package broker

import (
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// panicky is an Authenticator with a bug.
type panicky struct{ allowAll }

func (panicky) Authorize(_ *Identity, name string, _ bool) bool {
	if name == "boom" {
		panic("boom")
	}
	return true
}

func (panicky) Authenticate(info *ConnectInfo) (Identity, packet.Code) {
	if info.ClientID == "boom" {
		panic("boom")
	}
	return allowAll{}.Authenticate(info)
}

func TestPanic_CostsOneConnection(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Authenticator = panicky{} })
	l.panics = 2
	other := l.connect(packet.V5, "other")
	d := l.connect(packet.V5, "dev")
	d.publish(pub("boom", "", 0, 0))
	if code := d.closed(); code != packet.ImplementationSpecificError {
		t.Errorf("closed with %s", code)
	}
	d = l.dial(packet.V5)
	d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "boom", ReceiveMaximum: 1}))
	d.closed()
	other.silent()
	s := l.s.Stats()
	eventually(t, "both are counted", func() bool { return s.Panics.Load() == 2 && s.Disconnects[EndInternal].Load() == 1 })
}

// A device that we do not read, because its messages wait for the log, is not called silent.
func TestKeepAlive_BackPressureIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped, func(o *Options) { o.ReceiveMaximum = 2 })
		d := l.pipe(packet.V5)
		d.connectOK("dev", func(p *packet.Connect) { p.KeepAlive = 10 })
		l.home.hold()
		var b []byte
		for i := uint16(1); i <= 3; i++ {
			b = packet.AppendPublish(b, d.v, pub("a", "x", 1, i))
		}
		d.send(b)
		time.Sleep(time.Minute)
		l.home.release()
		for i := uint16(1); i <= 3; i++ {
			d.ack(packet.PUBACK, i)
		}
		time.Sleep(14 * time.Second)
		d.silent()
		l.stop()
	})
}

// A device that sends but does not read what is answered is not read either.
func TestBounds_AnswersThatAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped, func(o *Options) { o.WriteTimeout = time.Hour })
		d := l.pipe(packet.V5)
		d.connectOK("dev")
		var b []byte
		for range 1 << 20 {
			b = packet.AppendPingreq(b)
		}
		_ = d.nc.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := d.nc.Write(b)
		if err == nil || n > 4*controlMax {
			t.Errorf("%d bytes were taken: %v", n, err)
		}
		d.nc.Close()
		synctest.Wait()
		l.stop()
	})
}

// The reference of a packet id is found whatever round of the ids it is in.
func TestWindow_FindSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &conn{}
		ref := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		end := ref + queuedIDs
		var refs []uint64
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			if ref >= end {
				break
			}
			refs = append(refs, ref)
			c.remember(ref, 1, refSent)
			ref += rapid.Uint64Range(1, 2000).Draw(t, "step")
		}
		in := map[uint16]uint64{}
		for _, r := range refs {
			in[home.PacketID(r)] = r
		}
		id := rapid.OneOf(rapid.Uint16Range(1, queuedIDs), rapid.Map(rapid.SampledFrom(refs), home.PacketID)).Draw(t, "id")
		got := c.findSent(id)
		switch want, ok := in[id]; {
		case !ok && got != nil:
			t.Fatalf("id %d is reference %d, want none", id, got.ref)
		case ok && (got == nil || got.ref != want):
			t.Fatalf("id %d: got %v, want reference %d", id, got, want)
		}
	})
}

func TestRing_IsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring[int]
		var model []int
		for i := range rapid.IntRange(1, 500).Draw(t, "n") {
			if len(model) > 0 && rapid.Bool().Draw(t, "pop") {
				if got := r.pop(); got != model[0] {
					t.Fatalf("got %d, want %d", got, model[0])
				}
				model = model[1:]
			} else {
				r.push(i)
				model = append(model, i)
			}
			if r.len() != len(model) {
				t.Fatalf("length %d, want %d", r.len(), len(model))
			}
		}
	})
}

func TestConn_IsSmall(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 1024 {
		t.Errorf("a connection takes %d bytes before it holds anything", n)
	}
	t.Logf("%d bytes", unsafe.Sizeof(conn{}))
}

// FuzzStream sends arbitrary bytes behind a CONNECT, cut anywhere. Nothing may panic, and other devices are served.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0xC0, 0, 0x30, 3, 0, 1, 'a'}, uint8(3), uint8(5))
	f.Add(packet.AppendPublish(nil, packet.V5, pub("a", "x", 2, 1)), uint8(1), uint8(5))
	f.Add(packet.AppendSubscribe(nil, packet.V311, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "#", QoS: 2}}}), uint8(9), uint8(4))
	f.Add([]byte{0x82, 3, 0, 1, 0}, uint8(2), uint8(5))
	f.Add([]byte{0xE0, 0}, uint8(1), uint8(3))
	l := newLab(f)
	f.Fuzz(func(t *testing.T, data []byte, step, level uint8) {
		l.t = t
		d := l.dial(versions[int(level)%len(versions)])
		d.connectOK("fuzz")
		for n := max(int(step), len(data)/16+1); len(data) > 0; {
			part := data[:min(n, len(data))]
			data = data[len(part):]
			if _, err := d.nc.Write(part); err != nil {
				break
			}
		}
		d.nc.Close()
		if n := l.s.Stats().Panics.Load(); n > 0 {
			t.Fatalf("%d panics", n)
		}
	})
}
