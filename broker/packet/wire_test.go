package packet

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// wire reads the tests' notation: hexadecimal bytes, s'text' for a string with its two bytes of length, and 'text' for
// plain bytes. Spaces separate.
func wire(t testing.TB, notation string) []byte {
	t.Helper()
	var out []byte
	for rest := notation; rest != ""; {
		token, after, _ := strings.Cut(rest, " ")
		if i := strings.IndexByte(token, '\''); i >= 0 {
			text, behind, closed := strings.Cut(rest[i+1:], "'")
			if !closed {
				t.Fatalf("%q: a quote is left open", notation)
			}
			if i == 1 {
				out = append(out, byte(len(text)>>8), byte(len(text)))
			}
			out = append(out, text...)
			rest = strings.TrimPrefix(behind, " ")
			continue
		}
		b, err := hex.DecodeString(token)
		if err != nil {
			t.Fatalf("%q: %v", notation, err)
		}
		out = append(out, b...)
		rest = after
	}
	return out
}

// frame puts a fixed header in front of a body.
func frame(first byte, body []byte) []byte {
	return append(appendVarint([]byte{first}, len(body)), body...)
}

// side says who sent the packet to decode.
type side bool

const (
	fromClient side = false
	fromServer side = true
)

// decode reads one whole packet as a broker (or, from a server, as a client) of a connection of version v does, and
// returns what was decoded. rest is what lies behind the packet.
func decode(raw []byte, v Version, from side) (pk any, rest []byte, err error) {
	known := v
	if len(raw) > 0 && Type(raw[0]>>4) == CONNECT {
		known = 0
	}
	h, n, err := ReadHeader(raw, known)
	if err != nil {
		return nil, nil, err
	}
	if n == 0 || n+h.Remaining > len(raw) {
		return nil, nil, errShort
	}
	body := raw[n : n+h.Remaining : n+h.Remaining]
	pk, err = decodeBody(h, body, v, from)
	return pk, raw[n+h.Remaining:], err
}

var errShort = errors.New("the packet is not complete")

func decodeBody(h Header, body []byte, v Version, from side) (any, error) {
	switch h.Type {
	case CONNECT:
		return DecodeConnect(body)
	case CONNACK:
		return DecodeConnack(body, v)
	case PUBLISH:
		p := new(Publish)
		if from == fromServer {
			return p, DecodeServerPublish(h, body, v, p)
		}
		return p, DecodePublish(h, body, v, p)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return DecodeAck(h, body, v)
	case SUBSCRIBE:
		return DecodeSubscribe(body, v)
	case SUBACK:
		return DecodeSuback(body, v)
	case UNSUBSCRIBE:
		return DecodeUnsubscribe(body, v)
	case UNSUBACK:
		return DecodeUnsuback(body, v)
	case PINGREQ, PINGRESP:
		return h.Type, nil
	case DISCONNECT:
		if from == fromServer && v == V5 {
			return DecodeServerDisconnect(body)
		}
		return DecodeDisconnect(body, v)
	default:
		if from == fromServer {
			return DecodeServerAuth(body)
		}
		return DecodeAuth(body)
	}
}

// mustDecode decodes one packet that is valid and has nothing behind it.
func mustDecode(t testing.TB, raw []byte, v Version, from side) any {
	t.Helper()
	pk, rest, err := decode(raw, v, from)
	if err != nil {
		t.Fatalf("decode %x: %v", raw, err)
	}
	if len(rest) > 0 {
		t.Fatalf("decode %x: %d bytes left over", raw, len(rest))
	}
	return pk
}

// wantRefusal checks the code and that the reason says the words.
func wantRefusal(t testing.TB, err error, code Code, words string) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal with 0x%02X %s", err, byte(code), code)
	}
	if refusal.Code != code || !strings.Contains(refusal.Reason, words) {
		t.Fatalf("got %v, want 0x%02X and a reason that says %q", err, byte(code), words)
	}
}
