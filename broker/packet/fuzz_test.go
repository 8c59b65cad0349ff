package packet

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// Whatever the bytes: no panic; a refusal has a code that may answer the packet; what lies behind the body has no
// influence; and what was accepted, encoded again, decodes to the same.
func FuzzDecode(f *testing.F) {
	seeds(f, func(first byte, body []byte, v Version, from side) { f.Add(first, byte(v), bool(from), body) })
	f.Fuzz(func(t *testing.T, first, v byte, server bool, body []byte) {
		checkDecode(t, first, body, V31+Version(v)%3, side(server))
	})
}

// What the fuzz targets look for at random, in every run for each known packet with each of its bytes changed.
func TestChangedBytes(t *testing.T) {
	changes := []func(byte) byte{
		func(b byte) byte { return b }, func(b byte) byte { return b ^ 1 }, func(b byte) byte { return b + 1 },
		func(byte) byte { return 0 }, func(byte) byte { return 0x26 }, func(byte) byte { return 0x7F }, func(byte) byte { return 0xFF },
	}
	n := 0
	seeds(t, func(first byte, body []byte, v Version, from side) {
		for i := range min(len(body), 64) {
			for _, change := range changes {
				b := bytes.Clone(body)
				b[i] = change(b[i])
				checkDecode(t, first, b, v, from)
				compare(t, first, b, v, from)
				n++
			}
		}
	})
	if n < 50_000 {
		t.Fatalf("only %d packets were tried", n)
	}
}

func checkDecode(t fataler, first byte, body []byte, v Version, from side) {
	t.Helper()
	pk, rest, err := decode(frame(first, body), v, from)
	longer, _, errLonger := decode(append(frame(first, body), 0x30, 0xFF, 0xFF, 0xFF), v, from)
	if !reflect.DeepEqual(pk, longer) || !reflect.DeepEqual(err, errLonger) {
		t.Fatalf("what lies behind the packet changed it: %+v, %v and %+v, %v", pk, err, longer, errLonger)
	}
	if err != nil {
		checkRefusal(t, Type(first>>4), err)
		return
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes of the packet were not consumed", len(rest))
	}
	if c, ok := pk.(*Connect); ok {
		v = c.Version
	}
	again := encode(pk, v)
	if again == nil {
		return
	}
	pk2, rest, err := decode(again, v, from)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%+v encoded as %x: %v, %d left", pk, again, err, len(rest))
	}
	if !bytes.Equal(encode(pk2, v), again) || !reflect.DeepEqual(normal(pk2), normal(pk)) {
		t.Fatalf("%+v came back as %+v", pk, pk2)
	}
}

func checkRefusal(t fataler, packet Type, err error) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("a decoder failed with %T %v", err, err)
	}
	answers := serverDisconnectCodes
	if packet == CONNECT {
		answers = connackCodes
	}
	if !answers.has(refusal.Code) || !refusal.Code.Failed() {
		t.Fatalf("%s is refused with 0x%02X, which cannot answer it", packet, byte(refusal.Code))
	}
	if !validString(refusal.Reason) || len(refusal.Reason) > maxReason {
		t.Fatalf("the reason cannot be sent: %q", refusal.Reason)
	}
}

// encode writes a decoded packet again, nil for what loses something by design.
func encode(pk any, v Version) []byte {
	switch pk := pk.(type) {
	case *Connect:
		return AppendConnect(nil, pk)
	case *Publish:
		if pk.MessageExpiry == Some(uint32(0)) {
			return nil // a message that expires at once is not sent on
		}
		return AppendPublish(nil, v, &OutPublish{Topic: string(pk.Topic), QoS: pk.QoS, Retain: pk.Retain, Dup: pk.Dup, PacketID: pk.PacketID,
			Payload: pk.Payload, Forward: pk.Forward, MessageExpiry: pk.MessageExpiry.Value, SubscriptionIDs: pk.SubscriptionIDs,
			TopicAlias: pk.TopicAlias, OmitTopic: len(pk.Topic) == 0})
	case Ack:
		if pk.Type == PUBREL && pk.Code != Success {
			return nil // PUBREL is always sent short
		}
		return AppendAck(nil, v, pk.Type, pk.PacketID, pk.Code)
	case Subscribe:
		return AppendSubscribe(nil, v, &pk)
	case Unsubscribe:
		return AppendUnsubscribe(nil, v, &pk)
	case Suback:
		return nil // SUBACK or UNSUBACK: the type is not in it, TestSubackRoundTrip has both
	case Disconnect:
		if len(pk.ReasonString) > maxReason {
			return nil
		}
		return AppendDisconnectPacket(nil, v, &pk)
	case Auth:
		if len(pk.ReasonString) > maxReason {
			return nil
		}
		return AppendAuth(nil, &pk)
	case Connack:
		if v == V31 && pk.SessionPresent || len(pk.ReasonString) > maxReason {
			return nil
		}
		return AppendConnack(nil, v, &pk)
	}
	return nil
}

// normal makes packets comparable that differ only in whether nothing is nil or empty.
func normal(pk any) any {
	if c, ok := pk.(*Connect); ok && c.Will != nil && len(c.Will.Forward) == 0 {
		c.Will.Forward = nil
	}
	return pk
}

// A fixed header is read the same however its bytes arrive, and never past them.
func FuzzReadHeader(f *testing.F) {
	for _, raw := range []string{"\x10\x0c", "\x30\xff\xff\xff\x7f", "\x30\xff\xff\xff\xff\x01", "\xc0\x80\x00", "\x62\x02", "", "\x00\x00"} {
		f.Add([]byte(raw), byte(5))
		f.Add([]byte(raw), byte(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, level byte) {
		v := Version(level % 6)
		h, n, err := ReadHeader(raw, v)
		if n > len(raw) || n > MaxHeader || h.Remaining > MaxRemaining || n == 1 || n > 0 && err != nil {
			t.Fatalf("%x: %+v, %d, %v", raw, h, n, err)
		}
		for cut := range min(len(raw), MaxHeader) {
			early, m, earlyErr := ReadHeader(raw[:cut], v)
			switch {
			case m == 0 && earlyErr == nil: // asked for more
			case early != h || m != n || !reflect.DeepEqual(earlyErr, err):
				t.Fatalf("%x: of %d bytes %+v, %d, %v; of all %+v, %d, %v", raw, cut, early, m, earlyErr, h, n, err)
			}
		}
		if err == nil && n == 0 && len(raw) >= MaxHeader {
			t.Fatalf("%x: asks for more than %d bytes", raw, MaxHeader)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a", "#", "+/#", "$share/g/a", "$share//a", "a#", "$share/g/", "+a", "/", "$share", "$share/g/$share/h/#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		fault, shared := faultOfFilter([]byte(filter))
		if want := slowFilter(filter); (fault == "") != want {
			t.Fatalf("%q: fault %q, by the rules it is valid: %v", filter, fault, want)
		}
		if shared != (len(filter) >= len(sharePrefix) && filter[:len(sharePrefix)] == sharePrefix) {
			t.Fatalf("%q: shared is %v", filter, shared)
		}
	})
}
