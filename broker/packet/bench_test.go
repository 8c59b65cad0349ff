package packet

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// hot are the packets of the hot path as bodies with their headers.
func hot(t testing.TB) (v3, v5, scattered []byte) {
	payload := bytes.Repeat([]byte("x"), 256)
	v3 = append(wire(t, "s'region/eu/vehicle/1234/telemetry' 0007"), payload...)
	block := wire(t, "02 0000003C 01 01 03 s'application/json' 26 s'trace' s'4bf92f3577b34da6'")
	v5 = append(prefixLength(append(wire(t, "s'region/eu/vehicle/1234/telemetry' 0007"), block...), 36), payload...)
	block = wire(t, "01 01 02 0000003C 26 s'trace' s'4bf92f3577b34da6'")
	scattered = append(prefixLength(append(wire(t, "s'region/eu/vehicle/1234/telemetry' 0007"), block...), 36), payload...)
	return v3, v5, scattered
}

var (
	hotHeader  = Header{Type: PUBLISH, Flags: 2}
	outPublish = OutPublish{Topic: "region/eu/vehicle/1234/telemetry", QoS: 1, PacketID: 7, Payload: make([]byte, 256),
		Forward: []byte{1, 1}, MessageExpiry: 60, SubscriptionIDs: []uint32{1, 200}}
)

func TestAllocations(t *testing.T) {
	v3, v5, scattered := hot(t)
	var p Publish
	dst := make([]byte, 0, 4096)
	raw := []byte{0x40, 0x02, 0x00, 0x01}
	codes := []Code{1, 2, NotAuthorized}
	connack := Connack{ReceiveMaximum: 100, AssignedClientID: "auto-1", ServerKeepAlive: Some(uint16(60))}
	for _, row := range []struct {
		name string
		want float64
		do   func() error
	}{
		{"ReadHeader", 0, func() error { _, _, err := ReadHeader(raw, V5); return err }},
		{"CheckSize", 0, func() error { return hotHeader.CheckSize(2, 100) }},
		{"DecodePublish 3.1.1", 0, func() error { return DecodePublish(hotHeader, v3, V311, &p) }},
		{"DecodePublish 5", 0, func() error { return DecodePublish(hotHeader, v5, V5, &p) }},
		{"DecodePublish 5 with properties apart", 1, func() error { return DecodePublish(hotHeader, scattered, V5, &p) }},
		{"DecodeAck", 0, func() error { _, err := DecodeAck(Header{Type: PUBACK}, raw[2:], V5); return err }},
		{"DecodeDisconnect", 0, func() error { _, err := DecodeDisconnect(nil, V5); return err }},
		{"PublishSize", 0, func() error { PublishSize(V5, &outPublish); return nil }},
		{"AppendPublish", 0, func() error { dst = AppendPublish(dst[:0], V5, &outPublish); return nil }},
		{"AppendPublishHead", 0, func() error { dst = AppendPublishHead(dst[:0], V5, &outPublish); return nil }},
		{"AppendAck", 0, func() error { dst = AppendAck(dst[:0], V5, PUBREC, 1, QuotaExceeded); return nil }},
		{"AppendConnack", 0, func() error { dst = AppendConnack(dst[:0], V5, &connack); return nil }},
		{"AppendSuback", 0, func() error { dst = AppendSuback(dst[:0], V5, 1, codes); return nil }},
		{"AppendUnsuback", 0, func() error { dst = AppendUnsuback(dst[:0], V5, 1, codes); return nil }},
		{"AppendDisconnect", 0, func() error { dst = AppendDisconnect(dst[:0], ProtocolError, "why"); return nil }},
	} {
		var err error
		got := testing.AllocsPerRun(100, func() { err = row.do() })
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if got != row.want {
			t.Errorf("%s allocates %v times, want %v", row.name, got, row.want)
		}
	}
}

func benchDecode(b *testing.B, body []byte, v Version) {
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var p Publish
	for b.Loop() {
		if err := DecodePublish(hotHeader, body, v, &p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodePublishV311(b *testing.B) { v3, _, _ := hot(b); benchDecode(b, v3, V311) }
func BenchmarkDecodePublishV5(b *testing.B)   { _, v5, _ := hot(b); benchDecode(b, v5, V5) }
func BenchmarkDecodePublishV5Apart(b *testing.B) {
	_, _, scattered := hot(b)
	benchDecode(b, scattered, V5)
}

func BenchmarkDecodePublishV5Mochi(b *testing.B) {
	_, v5, _ := hot(b)
	b.SetBytes(int64(len(v5)))
	b.ReportAllocs()
	for b.Loop() {
		pk := packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Remaining: len(v5)}}
		if err := pk.PublishDecode(v5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	dst := make([]byte, 0, 4096)
	b.SetBytes(int64(PublishSize(V5, &outPublish)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendPublish(dst[:0], V5, &outPublish)
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	body := []byte{0, 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeAck(Header{Type: PUBACK}, body, V5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	body := wire(b, "s'MQTT' 05 C2 003C 08 11 00000E10 21 000A s'vehicle-1234' s'user' s'password'")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeConnect(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeSubscribe(b *testing.B) {
	body := wire(b, "0001 00 s'region/eu/vehicle/1234/#' 01 s'cmd/+/1234' 01")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeSubscribe(body, V5); err != nil {
			b.Fatal(err)
		}
	}
}
