package wire

import (
	"encoding/binary"
	"fmt"
)

// RelayPath is what the opening of a StreamRelay names: the region that opened the
// tunnel, the one it is for, and how many relays may yet pass the stream on. Each
// takes one off, so that no circle of relays goes on for ever.
type RelayPath struct {
	From, To string
	Hops     uint64
}

// MaxHops bounds RelayPath.Hops.
const MaxHops = 8

func (p *RelayPath) append(b []byte) []byte {
	b = appendString(b, p.From)
	b = appendString(b, p.To)
	return binary.AppendUvarint(b, p.Hops)
}

func (f *fields) relayPath() RelayPath {
	p := RelayPath{From: f.string("region that asks", maxName), To: f.string("region asked for", maxName), Hops: f.uvarint("hops")}
	if f.err == nil && p.Hops > MaxHops {
		f.fail(tooLarge("a stream may pass %d relays, at most %d are allowed", p.Hops, MaxHops))
	}
	return p
}

// RelayAnswer is the first thing that comes back on a StreamRelay: from the far end
// if Code is RelayThrough, after which the stream is the two ends' own; otherwise
// from whoever refused.
type RelayAnswer struct {
	Code   uint64
	Reason string // for people; cut at 1024 bytes
}

// Codes of a RelayAnswer.
const (
	RelayThrough   uint64 = 0
	RelayForbidden uint64 = 1 // the relay's configuration does not allow the pair
	RelayNoTunnel  uint64 = 2 // the relay has no tunnel of its own to the region asked for
	RelayTooOld    uint64 = 3 // the software there does not know relayed tunnels
	RelayBusy      uint64 = 4 // too many relayed tunnels
	RelayHops      uint64 = 5 // it has passed as many relays as it may
	RelayUnknown   uint64 = 6 // the region asked for has no link to the one that asks
	RelayFailed    uint64 = 7 // the stream could not be passed on
)

// RelayReasons are the codes in words, by code.
var RelayReasons = [...]string{"through", "forbidden", "no_tunnel", "too_old", "busy", "hops", "unknown", "failed"}

// RelayReason is a code in a word.
func RelayReason(code uint64) string {
	if code < uint64(len(RelayReasons)) {
		return RelayReasons[code]
	}
	return fmt.Sprintf("code_%d", code)
}

func (*RelayAnswer) kind() uint64 { return typeRelayAnswer }

func (a *RelayAnswer) append(b []byte) []byte {
	b = binary.AppendUvarint(b, a.Code)
	return appendString(b, a.Reason[:min(len(a.Reason), maxText)])
}

func (f *fields) relayAnswer() *RelayAnswer {
	return &RelayAnswer{Code: f.uvarint("code"), Reason: f.string("reason", maxText)}
}
