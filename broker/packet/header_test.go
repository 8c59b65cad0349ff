package packet

import (
	"bytes"
	"testing"
)

func TestReadHeaderRefuses(t *testing.T) {
	for _, row := range []struct {
		name  string
		v     Version
		bytes string
		code  Code
		words string
	}{
		{"type 0", V5, "00", MalformedPacket, "packet type 0 is reserved"},
		{"type 0 before CONNECT", 0, "00 00", MalformedPacket, "packet type 0 is reserved"},
		{"PINGREQ before CONNECT", 0, "C0", ProtocolError, "MQTT-3.1.0-1"},
		{"PUBLISH before CONNECT", 0, "30 05", ProtocolError, "MQTT-3.1.0-1"},
		{"TLS hello before CONNECT", 0, "16 03 01", MalformedPacket, "CONNECT flags"},
		{"HTTP before CONNECT", 0, "'GET /'", ProtocolError, "MQTT-3.1.0-1"},
		{"second CONNECT", V5, "10", ProtocolError, "MQTT-3.1.0-2"},
		{"CONNECT flags", 0, "11", MalformedPacket, "MQTT-2.1.3-1"},
		{"CONNACK flags", V5, "28", MalformedPacket, "MQTT-2.1.3-1"},
		{"PUBLISH QoS 3", V311, "36", MalformedPacket, "MQTT-3.3.1-4"},
		{"PUBLISH QoS 3 with DUP", V5, "3F", MalformedPacket, "MQTT-3.3.1-4"},
		{"PUBLISH DUP at QoS 0", V5, "38", ProtocolError, "MQTT-3.3.1-2"},
		{"PUBACK flags", V5, "42", MalformedPacket, "PUBACK flags"},
		{"PUBREC flags", V5, "51", MalformedPacket, "PUBREC flags"},
		{"PUBREL flags 0", V5, "60", MalformedPacket, "PUBREL flags"},
		{"PUBREL flags 3", V311, "63", MalformedPacket, "PUBREL flags"},
		{"PUBREL DUP in 3.1.1", V311, "6A", MalformedPacket, "PUBREL flags"},
		{"PUBCOMP flags", V5, "72", MalformedPacket, "PUBCOMP flags"},
		{"SUBSCRIBE flags 0", V311, "80", MalformedPacket, "SUBSCRIBE flags"},
		{"SUBSCRIBE QoS 2", V5, "84", MalformedPacket, "SUBSCRIBE flags"},
		{"SUBSCRIBE DUP in 5", V5, "8A", MalformedPacket, "SUBSCRIBE flags"},
		{"SUBACK flags", V5, "92", MalformedPacket, "SUBACK flags"},
		{"UNSUBSCRIBE flags 0", V5, "A0", MalformedPacket, "UNSUBSCRIBE flags"},
		{"UNSUBSCRIBE retain", V31, "A3", MalformedPacket, "UNSUBSCRIBE flags"},
		{"UNSUBACK flags", V5, "B2", MalformedPacket, "UNSUBACK flags"},
		{"PINGREQ flags", V311, "C2", MalformedPacket, "PINGREQ flags"},
		{"PINGRESP flags", V311, "D1", MalformedPacket, "PINGRESP flags"},
		{"DISCONNECT flags", V311, "E8", MalformedPacket, "DISCONNECT flags"},
		{"AUTH flags", V5, "F4", MalformedPacket, "AUTH flags"},
		{"AUTH in 3.1.1", V311, "F0", MalformedPacket, "AUTH is reserved before MQTT 5"},
		{"AUTH in 3.1", V31, "F0 00", MalformedPacket, "AUTH is reserved before MQTT 5"},
		{"length of five bytes", V5, "30 FFFFFFFF01", MalformedPacket, "four bytes"},
		{"length goes on at the fourth byte", V5, "30 80808080", MalformedPacket, "four bytes"},
		{"length 0 in two bytes", V5, "C0 8000", MalformedPacket, "MQTT-1.5.5-1"},
		{"length 127 in two bytes", V5, "30 FF00", MalformedPacket, "MQTT-1.5.5-1"},
		{"length in four bytes, two would do", V311, "30 FFFF8000", MalformedPacket, "MQTT-1.5.5-1"},
		{"PINGREQ with a body", V5, "C0 01", MalformedPacket, "PINGREQ remaining length"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, n, err := ReadHeader(wire(t, row.bytes), row.v)
			wantRefusal(t, err, row.code, row.words)
			if n != 0 || h != (Header{}) {
				t.Fatalf("a refused header came with %+v and length %d", h, n)
			}
		})
	}
}

func TestReadHeaderReads(t *testing.T) {
	for _, row := range []struct {
		name  string
		v     Version
		bytes string
		want  Header
		n     int
	}{
		{"CONNECT", 0, "10 0C", Header{CONNECT, 0, 12}, 2},
		{"PUBLISH all flags", V311, "3D 7F", Header{PUBLISH, 13, 127}, 2},
		{"two bytes", V5, "30 8001", Header{PUBLISH, 0, 128}, 3},
		{"three bytes", V5, "30 808001", Header{PUBLISH, 0, 16384}, 4},
		{"four bytes", V5, "30 80808001", Header{PUBLISH, 0, 2097152}, 5},
		{"largest", V5, "30 FFFFFF7F", Header{PUBLISH, 0, MaxRemaining}, 5},
		{"bytes behind", V5, "C0 00 30 05", Header{PINGREQ, 0, 0}, 2},
		{"PUBREL", V5, "62 02", Header{PUBREL, 2, 2}, 2},
		{"PUBREL repeated in 3.1", V31, "6A 02", Header{PUBREL, 10, 2}, 2},
		{"SUBSCRIBE repeated in 3.1", V31, "8A 06", Header{SUBSCRIBE, 10, 6}, 2},
		{"UNSUBSCRIBE repeated in 3.1", V31, "AA 06", Header{UNSUBSCRIBE, 10, 6}, 2},
		{"AUTH", V5, "F0 00", Header{AUTH, 0, 0}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := wire(t, row.bytes)
			h, n, err := ReadHeader(raw, row.v)
			if err != nil || h != row.want || n != row.n {
				t.Fatalf("got %+v, %d, %v", h, n, err)
			}
			for cut := range n {
				if h, n, err := ReadHeader(raw[:cut], row.v); n != 0 || err != nil || h != (Header{}) {
					t.Fatalf("of %d bytes: got %+v, %d, %v, want to be asked for more", cut, h, n, err)
				}
			}
		})
	}
}

func TestHeaderFlags(t *testing.T) {
	h := Header{PUBLISH, 0b1101, 0}
	if h.QoS() != 2 || !h.Dup() || !h.Retain() {
		t.Fatalf("flags 1101 read as QoS %d, DUP %v, retain %v", h.QoS(), h.Dup(), h.Retain())
	}
	h = Header{PUBLISH, 0b0010, 0}
	if h.QoS() != 1 || h.Dup() || h.Retain() {
		t.Fatalf("flags 0010 read as QoS %d, DUP %v, retain %v", h.QoS(), h.Dup(), h.Retain())
	}
}

// The limit is on the whole packet, its fixed header included, as MQTT counts Maximum Packet Size.
func TestCheckSize(t *testing.T) {
	h := Header{PUBLISH, 0, 100}
	if err := h.CheckSize(2, 102); err != nil {
		t.Fatalf("a packet of 102 bytes at a limit of 102: %v", err)
	}
	wantRefusal(t, h.CheckSize(2, 101), PacketTooLarge, "102 bytes, the limit is 101")
}

func TestVarint(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, MaxRemaining} {
		b := appendVarint(nil, n)
		got, size, fault := readVarint(b)
		if got != n || size != len(b) || size != varintSize(n) || fault != "" {
			t.Errorf("%d: read %d of %d bytes, varintSize %d, fault %q", n, got, size, varintSize(n), fault)
		}
	}
}

func TestPrefixLengthMovesBytes(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 20000} {
		content := bytes.Repeat([]byte{7}, n)
		got := prefixLength(append([]byte{1, 2}, content...), 2)
		want := append(appendVarint([]byte{1, 2}, n), content...)
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %x", n, got[:min(len(got), 8)])
		}
	}
}
