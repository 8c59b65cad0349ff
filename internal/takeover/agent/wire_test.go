package agent

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

var (
	aRequest = request{Subject: ask, Home: "eu", Flags: flagCandidate | flagForced | flagOn, Epoch: home.Epoch{Number: 7, Host: "us"},
		At: takeover.Position{Epoch: home.Epoch{Number: 6, Host: "eu"}, Seq: 1 << 40}, Hold: 9 * time.Second, Record: 300}
	aReply = reply{Verdict: behind, Promised: home.Epoch{Number: 7, Host: "us"}, InForce: home.Epoch{Number: 6, Host: "eu"}, Silent: time.Minute, Short: true,
		Look: Look{Has: true, Ready: true, Records: 5, Room: Room{Sessions: -1, Queued: 0, DiskBytes: 1 << 40}, Supports: 3, Why: "it is not"}}
	aKept = Kept{Promised: home.Epoch{Number: 7, Host: "us"}, InForce: home.Epoch{Number: 6, Host: "eu"}, Short: Short{Epoch: home.Epoch{Number: 6, Host: "eu"}, Record: 9, On: true}, Held: true, Sole: true,
		List: takeover.List{ID: 1 << 60, At: takeover.Position{Epoch: home.Epoch{Number: 6, Host: "eu"}, Seq: 12}}}
)

func TestWire_RoundTrip(t *testing.T) {
	if got, err := decodeRequest(aRequest.encode()); err != nil || got != aRequest {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := decodeReply(aReply.encode()); err != nil || got != aReply {
		t.Errorf("%+v %v", got, err)
	}
	for _, k := range []Kept{aKept, {Promised: aKept.Promised}} {
		if got, err := DecodeKept(k.Encode()); err != nil || got != k {
			t.Errorf("%+v %v", got, err)
		}
	}
	long := reply{Look: Look{Why: strings.Repeat("x", 5000)}}
	if got, err := decodeReply(long.encode()); err != nil || len(got.Look.Why) != maxNote {
		t.Errorf("%d %v", len(got.Look.Why), err)
	}
}

// What is cut, longer, of another version or names nothing is refused.
func TestWire_Malformed(t *testing.T) {
	whole := aRequest.encode()
	for i := range whole {
		if _, err := decodeRequest(whole[:i]); err == nil {
			t.Errorf("%d of %d bytes are taken", i, len(whole))
		}
	}
	for name, b := range map[string][]byte{
		"longer":          append(bytes.Clone(whole), 0),
		"another version": append([]byte{2}, whole[1:]...),
		"no subject":      (&request{Home: "eu"}).encode(),
		"unknown subject": (&request{Subject: lastSubject, Home: "eu"}).encode(),
		"no home":         (&request{Subject: ask}).encode(),
		"unknown flag":    (&request{Subject: ask, Home: "eu", Flags: 0x80}).encode(),
		"a long name":     (&request{Subject: ask, Home: home.ID(strings.Repeat("a", 256))}).encode(),
	} {
		if _, err := decodeRequest(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for i, b := 0, aReply.encode(); i < len(b); i++ {
		if _, err := decodeReply(b[:i]); err == nil {
			t.Errorf("%d of %d bytes of a reply are taken", i, len(b))
		}
	}
}

// Whatever comes is refused, or is what its fields say and nothing else.
func FuzzWire(f *testing.F) {
	f.Add(aRequest.encode())
	f.Add(aReply.encode())
	f.Add(aKept.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := decodeRequest(b); err == nil && !bytes.Equal(q.encode(), b) {
			t.Errorf("request %x is also %x", b, q.encode())
		}
		if p, err := decodeReply(b); err == nil && !bytes.Equal(p.encode(), b) {
			t.Errorf("reply %x is also %x", b, p.encode())
		}
		if k, err := DecodeKept(b); err == nil && !bytes.Equal(k.Encode(), b) {
			t.Errorf("kept %x is also %x", b, k.Encode())
		}
	})
}
