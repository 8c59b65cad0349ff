package packet

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var (
	anyVersion = rapid.SampledFrom([]Version{V31, V311, V5})
	anyID      = rapid.Uint16Range(1, 65535)
	anyQoS     = rapid.ByteRange(0, 2)
	anyBytes   = rapid.SliceOfN(rapid.Byte(), 0, 40)
	anyText    = rapid.StringN(0, 12, 48).Filter(validString)
	someText   = rapid.StringN(1, 12, 48).Filter(validString)
	anyUser    = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) UserProperty {
		return UserProperty{Key: anyText.Draw(t, "key"), Value: anyText.Draw(t, "value")}
	}), 0, 3)
	anyLevel = rapid.StringN(0, 6, 24).Filter(func(s string) bool {
		return validString(s) && !strings.ContainsAny(s, "/+#") && s != "$share"
	})
	anyTopic = rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(anyLevel, 1, 4).Draw(t, "levels"), "/")
	}).Filter(func(s string) bool { return s != "" })
	anyFilter = rapid.Custom(func(t *rapid.T) string {
		level := rapid.OneOf(anyLevel, rapid.Just("+"))
		levels := rapid.SliceOfN(level, 1, 4).Draw(t, "levels")
		if rapid.Bool().Draw(t, "ends in #") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	}).Filter(func(s string) bool { return s != "" })
	anyForward = rapid.Custom(drawForward)
)

func optional[T any](g *rapid.Generator[T]) *rapid.Generator[Optional[T]] {
	return rapid.Custom(func(t *rapid.T) Optional[T] {
		if !rapid.Bool().Draw(t, "set") {
			return Optional[T]{}
		}
		return Some(g.Draw(t, "value"))
	})
}

func drawForward(t *rapid.T) []byte {
	var out []byte
	if rapid.Bool().Draw(t, "payload format") {
		out = append(out, propPayloadFormat, rapid.ByteRange(0, 1).Draw(t, "format"))
	}
	out = appendUser(out, anyUser.Draw(t, "user"))
	out = appendTextProperty(out, propContentType, anyText.Draw(t, "content type"))
	if rapid.Bool().Draw(t, "response topic") {
		out = appendTextProperty(out, propResponseTopic, anyTopic.Draw(t, "response topic"))
	}
	if rapid.Bool().Draw(t, "correlation") {
		out = appendBinary(append(out, propCorrelationData), anyBytes.Draw(t, "data"))
	}
	return out
}

// oneOf draws a reason code of the set.
func oneOf(set *codeSet) *rapid.Generator[Code] {
	var list []Code
	for c := range 256 {
		if set.has(Code(c)) {
			list = append(list, Code(c))
		}
	}
	return rapid.SampledFrom(list)
}

// decodeBoth decodes what an encoder wrote and has mochi agree on it.
func decodeBoth(t *rapid.T, raw []byte, v Version, from side) (any, []byte, error) {
	_, n, err := ReadHeader(raw, versionBefore(raw))
	if err == nil {
		compare(t, raw[0], raw[n:], v, from)
	}
	return decode(raw, v, from)
}

// same compares what was decoded with what was encoded.
func same(t *rapid.T, got, want any) {
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func drawPublish(t *rapid.T) (Version, *OutPublish) {
	p := &OutPublish{
		Topic: anyTopic.Draw(t, "topic"), QoS: anyQoS.Draw(t, "qos"), Retain: rapid.Bool().Draw(t, "retain"),
		Dup: rapid.Bool().Draw(t, "dup"), PacketID: anyID.Draw(t, "id"),
		Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"), Forward: anyForward.Draw(t, "forward"),
		MessageExpiry:   rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32()).Draw(t, "expiry"),
		SubscriptionIDs: rapid.SliceOfN(rapid.Uint32Range(1, MaxRemaining), 0, 3).Draw(t, "subscription ids"),
		TopicAlias:      rapid.OneOf(rapid.Just(uint16(0)), rapid.Uint16()).Draw(t, "alias"),
		OmitTopic:       rapid.Bool().Draw(t, "omit topic"),
	}
	return anyVersion.Draw(t, "version"), p
}

func TestPublishRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, out := drawPublish(t)
		raw := AppendPublish([]byte("before"), v, out)[len("before"):]
		if len(raw) != PublishSize(v, out) {
			t.Fatalf("PublishSize says %d, the packet has %d bytes", PublishSize(v, out), len(raw))
		}
		if head := AppendPublishHead(nil, v, out); !bytes.Equal(append(head, out.Payload...), raw) {
			t.Fatal("head and payload are not the packet")
		}
		pk, rest, err := decodeBoth(t, raw, v, fromServer)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, *pk.(*Publish), expectPublish(v, out))
	})
}

// expectPublish says what arrives of a packet sent to a client of version v.
func expectPublish(v Version, out *OutPublish) Publish {
	want := Publish{QoS: out.QoS, Retain: out.Retain, Topic: []byte(out.Topic), Payload: append([]byte{}, out.Payload...)}
	if out.QoS > 0 {
		want.Dup, want.PacketID = out.Dup, out.PacketID
	}
	if v != V5 {
		return want
	}
	want.TopicAlias = out.TopicAlias
	if out.TopicAlias != 0 && out.OmitTopic {
		want.Topic = []byte{}
	}
	if len(out.Forward) > 0 {
		want.Forward = out.Forward
	}
	if out.MessageExpiry != 0 {
		want.MessageExpiry = Some(out.MessageExpiry)
	}
	if len(out.SubscriptionIDs) > 0 {
		want.SubscriptionIDs = out.SubscriptionIDs
	}
	return want
}

// Forward is what a server passes on, in order, wherever else the sender put its other properties.
func TestForwardKeepsOrderAroundOtherProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		forwarded := rapid.Permutation([][]byte{
			{propPayloadFormat, 1}, appendTextProperty(nil, propContentType, "c"), appendTextProperty(nil, propResponseTopic, "r"),
			appendBinary([]byte{propCorrelationData}, []byte{0}), appendUser(nil, []UserProperty{{"k", "1"}}),
			appendUser(nil, []UserProperty{{"k", "2"}}),
		}).Draw(t, "order")
		expiryAt, aliasAt := rapid.IntRange(0, 6).Draw(t, "expiry at"), rapid.IntRange(0, 6).Draw(t, "alias at")
		var block, want []byte
		for i := range 7 {
			if i == expiryAt {
				block = append(block, propMessageExpiry, 0, 0, 0, 9)
			}
			if i == aliasAt {
				block = append(block, propTopicAlias, 0, 4)
			}
			if i < len(forwarded) {
				block, want = append(block, forwarded[i]...), append(want, forwarded[i]...)
			}
		}
		body := append(prefixLength(append([]byte{0, 1, 'a'}, block...), 3), "payload"...)
		var p Publish
		if err := DecodePublish(Header{Type: PUBLISH}, body, V5, &p); err != nil {
			t.Fatal(err)
		}
		same(t, p, Publish{Topic: []byte("a"), Payload: []byte("payload"), TopicAlias: 4, MessageExpiry: Some(uint32(9)), Forward: want})
	})
}

func TestConnectRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConnect(t)
		pk, rest, err := decodeBoth(t, AppendConnect(nil, c), 0, fromClient)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, c)
	})
}

func drawConnect(t *rapid.T) *Connect {
	c := &Connect{
		Version: anyVersion.Draw(t, "version"), CleanStart: rapid.Bool().Draw(t, "clean"), KeepAlive: rapid.Uint16().Draw(t, "keep alive"),
		ClientID: someText.Draw(t, "id"), HasUsername: rapid.Bool().Draw(t, "has user name"), ReceiveMaximum: 65535, RequestProblemInfo: true,
	}
	if c.HasUsername {
		c.Username = anyText.Draw(t, "user name")
	}
	if c.HasPassword = rapid.Bool().Draw(t, "has password") && (c.HasUsername || c.Version == V5); c.HasPassword {
		c.Password = anyBytes.Draw(t, "password")
	}
	if rapid.Bool().Draw(t, "has will") {
		c.Will = &Will{Topic: anyTopic.Draw(t, "will topic"), Payload: anyBytes.Draw(t, "will payload"),
			QoS: anyQoS.Draw(t, "will qos"), Retain: rapid.Bool().Draw(t, "will retain")}
	}
	if c.Version != V5 {
		if !c.CleanStart {
			c.SessionExpiry = SessionNeverExpires
		}
		return c
	}
	if c.Will != nil {
		c.Will.Delay = rapid.Uint32().Draw(t, "will delay")
		c.Will.MessageExpiry = optional(rapid.Uint32()).Draw(t, "will expiry")
		if f := anyForward.Draw(t, "will forward"); len(f) > 0 {
			c.Will.Forward = f
		}
	}
	c.SessionExpiry = rapid.Uint32().Draw(t, "session expiry")
	c.ReceiveMaximum = anyID.Draw(t, "receive maximum")
	c.MaximumPacketSize = rapid.Uint32().Draw(t, "maximum packet size")
	c.TopicAliasMaximum = rapid.Uint16().Draw(t, "topic alias maximum")
	c.RequestResponseInfo = rapid.Bool().Draw(t, "response info")
	c.RequestProblemInfo = rapid.Bool().Draw(t, "problem info")
	if rapid.Bool().Draw(t, "has method") {
		c.AuthMethod, c.AuthData = someText.Draw(t, "method"), anyBytes.Draw(t, "data")
	}
	if u := anyUser.Draw(t, "user"); len(u) > 0 {
		c.User = u
	}
	return c
}

func TestConnackRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Connack{
			Code:          oneOf(connackCodes).Draw(t, "code"),
			SessionExpiry: optional(rapid.Uint32()).Draw(t, "session expiry"), ReceiveMaximum: rapid.Uint16().Draw(t, "receive maximum"),
			MaximumQoS: optional(rapid.ByteRange(0, 1)).Draw(t, "maximum qos"), RetainAvailable: optional(rapid.Bool()).Draw(t, "retain"),
			MaximumPacketSize: rapid.Uint32().Draw(t, "packet size"), AssignedClientID: anyText.Draw(t, "assigned"),
			TopicAliasMaximum: rapid.Uint16().Draw(t, "aliases"), ReasonString: anyText.Draw(t, "reason"),
			WildcardAvailable: optional(rapid.Bool()).Draw(t, "wildcard"), SubIDAvailable: optional(rapid.Bool()).Draw(t, "sub id"),
			SharedAvailable: optional(rapid.Bool()).Draw(t, "shared"), ServerKeepAlive: optional(rapid.Uint16()).Draw(t, "keep alive"),
			ResponseInfo: anyText.Draw(t, "response info"), ServerReference: anyText.Draw(t, "reference"),
			AuthMethod: anyText.Draw(t, "method"),
		}
		if rapid.Bool().Draw(t, "has data") {
			c.AuthData = anyBytes.Draw(t, "data")
		}
		if u := anyUser.Draw(t, "user"); len(u) > 0 {
			c.User = u
		}
		c.SessionPresent = c.Code == Success && rapid.Bool().Draw(t, "session present")
		pk, rest, err := decodeBoth(t, AppendConnack(nil, V5, &c), V5, fromServer)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, c)
	})
}

func TestAckRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyVersion.Draw(t, "version")
		want := Ack{Type: rapid.SampledFrom([]Type{PUBACK, PUBREC, PUBREL, PUBCOMP}).Draw(t, "type"), PacketID: anyID.Draw(t, "id")}
		want.Code = oneOf(ackCodes(want.Type)).Draw(t, "code")
		raw := AppendAck(nil, v, want.Type, want.PacketID, want.Code)
		if v != V5 || want.Type == PUBREL {
			want.Code = Success
		}
		if (v != V5 || want.Code == Success) && len(raw) != 4 {
			t.Fatalf("%x is not the short form", raw)
		}
		pk, rest, err := decodeBoth(t, raw, v, fromClient)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, want)
	})
}

func TestSubscribeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyVersion.Draw(t, "version")
		s := Subscribe{PacketID: anyID.Draw(t, "id")}
		s.Filters = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Subscription { return drawSubscription(t, v) }), 1, 5).Draw(t, "filters")
		if v == V5 {
			s.SubscriptionID = rapid.Uint32Range(0, MaxRemaining).Draw(t, "subscription id")
		}
		pk, rest, err := decodeBoth(t, AppendSubscribe(nil, v, &s), v, fromClient)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, s)

		u := Unsubscribe{PacketID: s.PacketID}
		for _, f := range s.Filters {
			u.Filters = append(u.Filters, f.Filter)
		}
		pk, rest, err = decodeBoth(t, AppendUnsubscribe(nil, v, &u), v, fromClient)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, u)
	})
}

func drawSubscription(t *rapid.T, v Version) Subscription {
	s := Subscription{Filter: anyFilter.Draw(t, "filter"), QoS: anyQoS.Draw(t, "qos")}
	shared := rapid.Bool().Draw(t, "shared")
	if shared {
		s.Filter = sharePrefix + anyLevel.Filter(func(s string) bool { return s != "" }).Draw(t, "group") + "/" + s.Filter
	}
	if v != V5 {
		return s
	}
	s.NoLocal = !shared && rapid.Bool().Draw(t, "no local")
	s.RetainAsPublished = rapid.Bool().Draw(t, "retain as published")
	s.RetainHandling = rapid.ByteRange(0, 2).Draw(t, "retain handling")
	return s
}

func TestSubackRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyVersion.Draw(t, "version")
		allowed := subackCodes
		unsubscribe := rapid.Bool().Draw(t, "unsuback")
		if unsubscribe {
			allowed = unsubackCodes
		}
		code := oneOf(allowed)
		want := Suback{PacketID: anyID.Draw(t, "id"), Codes: rapid.SliceOfN(code, 1, 5).Draw(t, "codes")}
		raw := AppendSuback(nil, v, want.PacketID, want.Codes)
		if unsubscribe {
			raw = AppendUnsuback(nil, v, want.PacketID, want.Codes)
		}
		pk, rest, err := decodeBoth(t, raw, v, fromServer)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		switch {
		case v != V5 && unsubscribe:
			want.Codes = nil
		case v != V5:
			for i, c := range want.Codes {
				if c > GrantedQoS2 {
					want.Codes[i] = UnspecifiedError // what 3.1.1 has for all of them
				}
			}
		}
		same(t, pk, want)
	})
}

func TestDisconnectAndAuthRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := side(rapid.Bool().Draw(t, "from server"))
		d := Disconnect{ReasonString: anyText.Draw(t, "reason")}
		a := Auth{Code: ContinueAuthentication, Method: someText.Draw(t, "method"), ReasonString: d.ReasonString}
		allowed := clientDisconnectCodes
		if from == fromServer {
			allowed = serverDisconnectCodes
			d.ServerReference = anyText.Draw(t, "reference")
		} else {
			d.SessionExpiry = optional(rapid.Uint32()).Draw(t, "session expiry")
		}
		d.Code = oneOf(allowed).Draw(t, "code")
		pk, rest, err := decodeBoth(t, AppendDisconnectPacket(nil, V5, &d), V5, from)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, d)

		if rapid.Bool().Draw(t, "has data") {
			a.Data = anyBytes.Draw(t, "data")
		}
		pk, rest, err = decodeBoth(t, AppendAuth(nil, &a), V5, from)
		if err != nil || len(rest) != 0 {
			t.Fatalf("decode: %v, %d left", err, len(rest))
		}
		same(t, pk, a)
	})
}
