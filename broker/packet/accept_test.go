package packet

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestAccepted(t *testing.T) {
	for _, row := range []struct {
		name  string
		v     Version
		from  side
		first byte
		body  string
		want  any
	}{
		{"CONNECT 3.1.1", 0, fromClient, 0x10, "s'MQTT' 04 02 003C s'dev'",
			&Connect{Version: V311, CleanStart: true, KeepAlive: 60, ClientID: "dev", ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 3.1.1 that keeps its session", 0, fromClient, 0x10, "s'MQTT' 04 00 0000 s'dev'",
			&Connect{Version: V311, ClientID: "dev", SessionExpiry: SessionNeverExpires, ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 3.1.1 without client id", 0, fromClient, 0x10, "s'MQTT' 04 02 003C s''",
			&Connect{Version: V311, CleanStart: true, KeepAlive: 60, ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 3.1 with a long client id", 0, fromClient, 0x10, "s'MQIsdp' 03 02 003C s'a-client-id-of-more-than-23-bytes'",
			&Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "a-client-id-of-more-than-23-bytes", ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 3.1 with flags for credentials and none", 0, fromClient, 0x10, "s'MQIsdp' 03 C2 003C s'dev'",
			&Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "dev", ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 3.1 with a user name and no password", 0, fromClient, 0x10, "s'MQIsdp' 03 C2 003C s'dev' s'u'",
			&Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "dev", HasUsername: true, Username: "u", ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 5 without client id that keeps its session", 0, fromClient, 0x10, "s'MQTT' 05 00 003C 00 s''",
			&Connect{Version: V5, KeepAlive: 60, ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 5 with a password only", 0, fromClient, 0x10, "s'MQTT' 05 42 003C 00 s'd' s'pw'",
			&Connect{Version: V5, CleanStart: true, KeepAlive: 60, ClientID: "d", HasPassword: true, Password: []byte("pw"), ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 5 with empty credentials and will payload", 0, fromClient, 0x10, "s'MQTT' 05 C6 003C 00 s'd' 00 s'w' s'' s'' s''",
			&Connect{Version: V5, CleanStart: true, KeepAlive: 60, ClientID: "d", HasUsername: true, HasPassword: true, Password: []byte{},
				Will: &Will{Topic: "w", Payload: []byte{}}, ReceiveMaximum: 65535, RequestProblemInfo: true}},
		{"CONNECT 5 with everything", 0, fromClient, 0x10,
			"s'MQTT' 05 EC 0001 31 11 00000E10 21 000A 27 00010000 22 0005 19 01 17 00 15 s'SCRAM' 16 s'data' 26 s'k' s'1' 26 s'k' s'2' " +
				"s'dev' 1F 18 0000001E 01 01 26 s'a' s'b' 02 0000000A 03 s'text' 09 0002 00FF s'w/t' s'bye' s'user' s'pw'",
			&Connect{Version: V5, KeepAlive: 1, ClientID: "dev", HasUsername: true, Username: "user", HasPassword: true, Password: []byte("pw"),
				Will: &Will{Topic: "w/t", Payload: []byte("bye"), QoS: 1, Retain: true, Delay: 30, MessageExpiry: Some(uint32(10)),
					Forward: wire(t, "01 01 26 s'a' s'b' 03 s'text' 09 0002 00FF")},
				SessionExpiry: 3600, ReceiveMaximum: 10, MaximumPacketSize: 65536, TopicAliasMaximum: 5, RequestResponseInfo: true,
				AuthMethod: "SCRAM", AuthData: []byte("data"), User: []UserProperty{{"k", "1"}, {"k", "2"}}}},

		{"PUBLISH 3.1.1", V311, fromClient, 0x31, "s'a/b' 'hello'",
			&Publish{Retain: true, Topic: []byte("a/b"), Payload: []byte("hello")}},
		{"PUBLISH 3.1.1 reads no properties", V311, fromClient, 0x3C, "s'a' 0007 00 05",
			&Publish{QoS: 2, Dup: true, PacketID: 7, Topic: []byte("a"), Payload: []byte{0, 5}}},
		{"PUBLISH without payload", V5, fromClient, 0x30, "s'a' 00", &Publish{Topic: []byte("a"), Payload: []byte{}}},
		{"PUBLISH with control characters and BOM", V5, fromClient, 0x30, "0006 01 7F 09 EFBBBF 00",
			&Publish{Topic: []byte("\x01\x7f\t\uFEFF"), Payload: []byte{}}},
		{"PUBLISH with an alias for a topic", V5, fromClient, 0x32, "s'' 0001 03 23 0009 'x'",
			&Publish{QoS: 1, PacketID: 1, TopicAlias: 9, Topic: []byte{}, Payload: []byte("x")}},
		{"PUBLISH that expires at once", V5, fromClient, 0x30, "s'a' 05 02 00000000",
			&Publish{Topic: []byte("a"), Payload: []byte{}, MessageExpiry: Some(uint32(0))}},
		{"PUBLISH with forwarded properties in a row", V5, fromClient, 0x30, "s'a' 19 02 0000000A 01 00 26 s'k' s'1' 08 s'r' 26 s'k' s'2' 'p'",
			&Publish{Topic: []byte("a"), Payload: []byte("p"), MessageExpiry: Some(uint32(10)), Forward: wire(t, "01 00 26 s'k' s'1' 08 s'r' 26 s'k' s'2'")}},
		{"PUBLISH with forwarded properties apart", V5, fromClient, 0x30, "s'a' 1A 26 s'k' s'1' 02 0000000A 26 s'k' s'2' 23 0003 03 s'c' 'p'",
			&Publish{Topic: []byte("a"), Payload: []byte("p"), TopicAlias: 3, MessageExpiry: Some(uint32(10)), Forward: wire(t, "26 s'k' s'1' 26 s'k' s'2' 03 s'c'")}},
		{"PUBLISH with empty texts", V5, fromClient, 0x30, "s'a' 0B 03 s'' 09 s'' 26 s'' s''",
			&Publish{Topic: []byte("a"), Payload: []byte{}, Forward: wire(t, "03 s'' 09 s'' 26 s'' s''")}},
		{"PUBLISH from a server", V5, fromServer, 0x30, "s'a' 07 0B 05 0B FFFFFF7F 'p'",
			&Publish{Topic: []byte("a"), Payload: []byte("p"), SubscriptionIDs: []uint32{5, MaxRemaining}}},

		{"PUBACK", V311, fromClient, 0x40, "0102", Ack{Type: PUBACK, PacketID: 0x0102}},
		{"PUBREC with a code", V5, fromClient, 0x50, "0001 97", Ack{Type: PUBREC, PacketID: 1, Code: QuotaExceeded}},
		{"PUBREL long", V5, fromClient, 0x62, "FFFF 92 00", Ack{Type: PUBREL, PacketID: 65535, Code: PacketIdentifierNotFound}},
		{"PUBCOMP with properties", V5, fromClient, 0x70, "0001 00 0C 26 s'k' s'v' 1F s'ok' ", Ack{Type: PUBCOMP, PacketID: 1}},

		{"SUBSCRIBE 3.1.1", V311, fromClient, 0x82, "0001 s'a/#' 02 s'+' 00",
			Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a/#", QoS: 2}, {Filter: "+"}}}},
		{"SUBSCRIBE 5", V5, fromClient, 0x82, "0001 05 0B FFFFFF7F s'/' 2E s'$share/g/#' 19",
			Subscribe{PacketID: 1, SubscriptionID: MaxRemaining, Filters: []Subscription{
				{Filter: "/", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2},
				{Filter: "$share/g/#", QoS: 1, RetainAsPublished: true, RetainHandling: 1}}}},
		{"UNSUBSCRIBE", V5, fromClient, 0xA2, "0009 07 26 s'k' s'v' s'a' s'+/+'", Unsubscribe{PacketID: 9, Filters: []string{"a", "+/+"}}},
		{"PINGREQ", V311, fromClient, 0xC0, "", PINGREQ},
		{"DISCONNECT 3.1.1", V311, fromClient, 0xE0, "", Disconnect{}},
		{"DISCONNECT 5 empty", V5, fromClient, 0xE0, "", Disconnect{}},
		{"DISCONNECT 5 with a code only", V5, fromClient, 0xE0, "04", Disconnect{Code: DisconnectWithWill}},
		{"DISCONNECT 5 long", V5, fromClient, 0xE0, "00 09 11 00000000 1F s'x'", Disconnect{SessionExpiry: Some(uint32(0)), ReasonString: "x"}},
		{"AUTH", V5, fromClient, 0xF0, "19 09 15 s'SCR' 16 s''", Auth{Code: ReAuthenticate, Method: "SCR", Data: []byte{}}},
		{"AUTH success", V5, fromServer, 0xF0, "", Auth{}},

		{"CONNACK 3.1.1", V311, fromServer, 0x20, "01 00", Connack{SessionPresent: true}},
		{"CONNACK 3.1.1 refused", V311, fromServer, 0x20, "00 04", Connack{Code: BadUserNameOrPassword}},
		{"SUBACK 3.1.1", V311, fromServer, 0x90, "0001 00 01 02 80", Suback{1, []Code{0, 1, 2, 0x80}}},
		{"UNSUBACK 3.1.1", V311, fromServer, 0xB0, "0001", Suback{PacketID: 1}},
		{"UNSUBACK 5", V5, fromServer, 0xB0, "0001 00 00 11", Suback{1, []Code{Success, NoSubscriptionExisted}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := mustDecode(t, frame(row.first, wire(t, row.body)), row.v, row.from)
			if !reflect.DeepEqual(got, row.want) {
				t.Fatalf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

// A refusal is answered in the client's own protocol: 3.1.1's words for what is older, MQTT 5's for what is newer, and
// 3.1.1's for mosquitto's bridge dialect, which then comes again without it.
func TestRefusedConnectTellsTheVersionToAnswerIn(t *testing.T) {
	for _, row := range []struct {
		name   string
		body   string
		v      Version
		answer string
	}{
		{"nothing readable", "00", V311, ""},
		{"unknown name", "s'HTTP' 04 02 003C s'a'", V311, "20 02 00 01"},
		{"unknown name, level 5", "s'HTTP' 05 02 003C 00 s'a'", V5, "20 03 00 84 00"},
		{"level 2", "s'MQTT' 02 02 003C s'a'", V311, "20 02 00 01"},
		{"level 6", "s'MQTT' 06 02 003C 00 s'a'", V5, "20 03 00 84 00"},
		{"bridge of 3.1.1", "s'MQTT' 84 02 003C s'a'", V311, "20 02 00 01"},
		{"bridge of 3.1", "s'MQIsdp' 83 02 003C s'a'", V311, "20 02 00 01"},
		{"empty id 3.1", "s'MQIsdp' 03 02 003C s''", V31, "20 02 00 02"},
		{"malformed 3.1.1 gets no CONNACK", "s'MQTT' 04 03 003C s'a'", V311, ""},
		{"malformed 5", "s'MQTT' 05 03 003C 00 s'a'", V5, "20 03 00 81 00"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := DecodeConnect(wire(t, row.body))
			if err == nil || c == nil || c.Version != row.v {
				t.Fatalf("got %+v, %v, want a refusal to be answered in %s", c, err, row.v)
			}
			got := AppendConnack(nil, c.Version, &Connack{Code: err.(*Error).Code})
			if !bytes.Equal(got, wire(t, row.answer)) {
				t.Fatalf("the answer is %x, want %s", got, row.answer)
			}
		})
	}
}

// What a decoder keeps does not change with the buffer it read from; what it hands out as a view cannot be appended to
// into the buffer.
func TestOwnership(t *testing.T) {
	body := wire(t, "s'MQTT' 05 C6 003C 0A 15 s'SCR' 16 0001 41 s'd' 02 01 00 s'w' s'x' s'u' s'p'")
	c, err := DecodeConnect(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = 0xEE
	}
	if c.Username != "u" || string(c.Password) != "p" || string(c.Will.Payload) != "x" || string(c.AuthData) != "A" ||
		!bytes.Equal(c.Will.Forward, []byte{1, 0}) {
		t.Fatalf("overwriting the body changed the packet: %+v, will %+v", c, c.Will)
	}

	buffer := wire(t, "s'a' 07 01 00 02 0000000A 'payload' 'the next packet'")
	before := bytes.Clone(buffer)
	body = buffer[:len(buffer)-len("the next packet")]
	var p Publish
	if err := DecodePublish(Header{Type: PUBLISH}, body, V5, &p); err != nil {
		t.Fatal(err)
	}
	_ = append(p.Topic, "XXXX"...)
	_ = append(p.Forward, "XXXX"...)
	_ = append(p.Payload, "XXXX"...)
	if !bytes.Equal(buffer, before) {
		t.Fatal("appending to a view wrote into the caller's buffer")
	}
	body[2] = 'b'
	if string(p.Topic) != "b" {
		t.Fatal("the topic is a copy, not a view")
	}
}

func TestBoundsOnCounts(t *testing.T) {
	filters := func(n int) string { return "0001 00" + strings.Repeat(" s'a' 00", n) }
	if _, err := DecodeSubscribe(wire(t, filters(MaxFilters)), V5); err != nil {
		t.Errorf("%d filters: %v", MaxFilters, err)
	}
	_, err := DecodeSubscribe(wire(t, filters(MaxFilters+1)), V5)
	wantRefusal(t, err, QuotaExceeded, "topic filters")

	unsubscribe := "0001" + strings.Repeat(" s'a'", MaxFilters+1)
	_, err = DecodeUnsubscribe(wire(t, unsubscribe), V311)
	wantRefusal(t, err, QuotaExceeded, "topic filters")

	_, err = DecodeSuback(wire(t, "0001"+strings.Repeat("00", MaxFilters+1)), V311)
	wantRefusal(t, err, QuotaExceeded, "reason codes")

	users := func(n int) []byte {
		block := wire(t, strings.Repeat("26 s'' s'' ", n))
		return append(appendVarint(wire(t, "s'a'"), len(block)), block...)
	}
	var p Publish
	if err := DecodePublish(Header{Type: PUBLISH}, users(MaxUserProperties), V5, &p); err != nil {
		t.Errorf("%d user properties: %v", MaxUserProperties, err)
	}
	wantRefusal(t, DecodePublish(Header{Type: PUBLISH}, users(MaxUserProperties+1), V5, &p), QuotaExceeded, "user property")
}
