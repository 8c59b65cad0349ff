package packet

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// The bytes themselves, for what a round trip cannot see.
func TestEncoded(t *testing.T) {
	for _, row := range []struct {
		name string
		got  []byte
		want string
	}{
		{"PINGREQ", AppendPingreq(nil), "C0 00"},
		{"PINGRESP", AppendPingresp(nil), "D0 00"},
		{"CONNACK 3.1 has no session present", AppendConnack(nil, V31, &Connack{SessionPresent: true}), "20 02 00 00"},
		{"CONNACK 3.1.1 session present", AppendConnack(nil, V311, &Connack{SessionPresent: true}), "20 02 01 00"},
		{"CONNACK never says session present with a refusal", AppendConnack(nil, V311, &Connack{SessionPresent: true, Code: NotAuthorized}), "20 02 00 05"},
		{"nor in 5", AppendConnack(nil, V5, &Connack{SessionPresent: true, Code: NotAuthorized}), "20 03 00 87 00"},
		{"CONNACK 3.1.1 has no word for malformed", AppendConnack(nil, V311, &Connack{Code: MalformedPacket}), ""},
		{"CONNACK leaves out maximum QoS 2", AppendConnack(nil, V5, &Connack{MaximumQoS: Some(byte(2))}), "20 03 00 00 00"},
		{"PUBACK 5 success is short", AppendAck(nil, V5, PUBACK, 258, Success), "40 02 0102"},
		{"PUBACK 5 with a code", AppendAck(nil, V5, PUBACK, 1, QuotaExceeded), "40 03 0001 97"},
		{"PUBACK 3.1.1 never has a code", AppendAck(nil, V311, PUBACK, 1, QuotaExceeded), "40 02 0001"},
		{"PUBREL never has a code", AppendAck(nil, V5, PUBREL, 1, PacketIdentifierNotFound), "62 02 0001"},
		{"PUBCOMP 5 with a code", AppendAck(nil, V5, PUBCOMP, 1, PacketIdentifierNotFound), "70 03 0001 92"},
		{"SUBACK 3.1.1 has one refusal", AppendSuback(nil, V311, 1, []Code{0, 1, 2, NotAuthorized, TopicFilterInvalid}), "90 07 0001 00 01 02 80 80"},
		{"SUBACK 5", AppendSuback(nil, V5, 1, []Code{2, NotAuthorized}), "90 05 0001 00 02 87"},
		{"UNSUBACK 3.1.1", AppendUnsuback(nil, V311, 1, []Code{0}), "B0 02 0001"},
		{"UNSUBACK 5", AppendUnsuback(nil, V5, 1, []Code{NoSubscriptionExisted}), "B0 04 0001 00 11"},
		{"DISCONNECT 5 normal", AppendDisconnect(nil, NormalDisconnection, ""), "E0 00"},
		{"DISCONNECT 5 with a code", AppendDisconnect(nil, SessionTakenOver, ""), "E0 01 8E"},
		{"DISCONNECT 5 with words", AppendDisconnect(nil, ProtocolError, "why"), "E0 08 82 06 1F s'why'"},
		{"DISCONNECT 3.1.1", AppendDisconnectPacket(nil, V311, &Disconnect{Code: 4, ReasonString: "x"}), "E0 00"},
		{"AUTH success", AppendAuth(nil, &Auth{}), "F0 00"},
		{"PUBLISH at QoS 0 drops DUP and id", AppendPublish(nil, V311, &OutPublish{Topic: "a", Dup: true, PacketID: 7, Payload: []byte("x")}), "30 04 s'a' 'x'"},
		{"PUBLISH 3.1.1 drops properties", AppendPublish(nil, V311, &OutPublish{Topic: "a", QoS: 1, Dup: true, PacketID: 7,
			Forward: []byte{1, 1}, MessageExpiry: 9, SubscriptionIDs: []uint32{1}, TopicAlias: 2, OmitTopic: true}), "3A 05 s'a' 0007"},
		{"PUBLISH 5 keeps its topic without an alias", AppendPublish(nil, V5, &OutPublish{Topic: "a", OmitTopic: true}), "30 04 s'a' 00"},
		{"PUBLISH 5", AppendPublish(nil, V5, &OutPublish{Topic: "a", QoS: 2, Retain: true, PacketID: 1, Forward: []byte{1, 1}, MessageExpiry: 9,
			TopicAlias: 2, OmitTopic: true, SubscriptionIDs: []uint32{200}, Payload: []byte("x")}), "35 13 s'' 0001 0D 01 01 02 00000009 23 0002 0B C801 'x'"},
		{"CONNECT 3.1", AppendConnect(nil, &Connect{Version: V31, ClientID: "a", CleanStart: true}), "10 0F s'MQIsdp' 03 02 0000 s'a'"},
		{"CONNECT 5 leaves defaults out", AppendConnect(nil, &Connect{Version: V5, ClientID: "a", ReceiveMaximum: 65535, RequestProblemInfo: true}),
			"10 0E s'MQTT' 05 00 0000 00 s'a'"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if want := wire(t, row.want); !bytes.Equal(row.got, want) {
				t.Fatalf("got  %x\nwant %x", row.got, want)
			}
		})
	}
}

// Where a length needs one byte more, for the properties and for the whole.
func TestPublishSizeWhereLengthsGrow(t *testing.T) {
	for _, n := range []int{120, 121, 122, 123, 127, 128, 16370, 16383, 16384, 65000} {
		user := []UserProperty{{Key: "k", Value: strings.Repeat("v", n-6)}} // n bytes on the wire
		for _, p := range []OutPublish{
			{Topic: "a", Forward: appendUser(nil, user)},
			{Topic: "a", Payload: make([]byte, n)},
			{Topic: "a", QoS: 1, PacketID: 1, Forward: appendUser(nil, user), Payload: make([]byte, 3*n), MessageExpiry: 1},
		} {
			raw := AppendPublish(nil, V5, &p)
			if len(raw) != PublishSize(V5, &p) {
				t.Fatalf("%d: PublishSize says %d, the packet has %d bytes", n, PublishSize(V5, &p), len(raw))
			}
			got := mustDecode(t, raw, V5, fromServer).(*Publish)
			if !bytes.Equal(got.Forward, p.Forward) || !bytes.Equal(got.Payload, p.Payload) {
				t.Fatalf("%d: %d bytes of properties and %d of payload arrived as %d and %d", n, len(p.Forward), len(p.Payload),
					len(got.Forward), len(got.Payload))
			}
		}
	}
}

// A reason string is a help for a human: cut at a rune when long, left out when it would break the packet.
func TestReasonStringIsCutOrLeftOut(t *testing.T) {
	long := strings.Repeat("é", maxReason) // two bytes each
	d := mustDecode(t, AppendDisconnect(nil, ProtocolError, "x"+long), V5, fromServer).(Disconnect)
	if len(d.ReasonString) > maxReason || len(d.ReasonString) < maxReason-utf8.UTFMax || !utf8.ValidString(d.ReasonString) {
		t.Fatalf("a reason of %d bytes arrives as %d bytes", 1+len(long), len(d.ReasonString))
	}
	for _, bad := range []string{"a\x00b", "a\xff"} {
		got := mustDecode(t, AppendDisconnect(nil, ProtocolError, bad), V5, fromServer)
		if got != (Disconnect{Code: ProtocolError}) {
			t.Errorf("%q was sent as %+v", bad, got)
		}
	}
}

func TestEncoderPanicsOnWhatTheWireCannotHold(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a topic of 65536 bytes was encoded")
		}
	}()
	AppendPublish(nil, V5, &OutPublish{Topic: strings.Repeat("a", 65536)})
}

func TestConnackV3(t *testing.T) {
	want := map[Code]byte{
		Success: 0, UnsupportedProtocolVersion: 1, ClientIdentifierNotValid: 2, UnspecifiedError: 3, ImplementationSpecificError: 3,
		ServerUnavailable: 3, ServerBusy: 3, ServerShuttingDown: 3, QuotaExceeded: 3, UseAnotherServer: 3, ServerMoved: 3,
		ConnectionRateExceeded: 3, BadUserNameOrPassword: 4, NotAuthorized: 5, Banned: 5, BadAuthenticationMethod: 5,
	}
	for c := range 256 {
		rc, ok := Code(c).ConnackV3()
		if w, in := want[Code(c)]; ok != in || rc != w {
			t.Errorf("0x%02X: got %d, %v, want %d, %v", c, rc, ok, w, in)
		}
	}
}

func TestNames(t *testing.T) {
	if got := PUBLISH.String() + " " + Type(0).String() + " " + Type(99).String(); got != "PUBLISH packet type 0 packet type 99" {
		t.Error(got)
	}
	if got := V31.String() + " " + V311.String() + " " + V5.String() + " " + Version(9).String(); got != "3.1 3.1.1 5 level 9" {
		t.Error(got)
	}
	if got := QoSNotSupported.String() + ", " + Code(0x42).String(); got != "QoS not supported, reason code 0x42" {
		t.Error(got)
	}
	err := &Error{Code: ProtocolError, Reason: "PUBLISH topic alias is 0"}
	if got := err.Error(); got != "PUBLISH topic alias is 0 (0x82 protocol error)" {
		t.Error(got)
	}
	if Success.Failed() || NoSubscriptionExisted.Failed() || !UnspecifiedError.Failed() {
		t.Error("failure does not begin at 0x80")
	}
}
