package packet

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// The encoders trust their input: texts come from decoded packets or from validated configuration, so that one that
// does not fit the wire is a broken invariant and panics rather than being cut.

func appendUint16(dst []byte, n uint16) []byte { return binary.BigEndian.AppendUint16(dst, n) }
func appendUint32(dst []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(dst, n) }

func appendString(dst []byte, s string) []byte {
	mustFit(len(s), math.MaxUint16)
	return append(appendUint16(dst, uint16(len(s))), s...)
}

func appendBinary(dst, b []byte) []byte {
	mustFit(len(b), math.MaxUint16)
	return append(appendUint16(dst, uint16(len(b))), b...)
}

func mustFit(n, limit int) {
	if n > limit {
		panic(fmt.Sprintf("packet: %d bytes in a field of at most %d", n, limit))
	}
}

// appendVarint appends a variable byte integer (MQTT 5 section 1.5.5).
func appendVarint(dst []byte, n int) []byte {
	mustFit(n, MaxRemaining)
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// varintSize returns the length of n as a variable byte integer.
func varintSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	default:
		return 4
	}
}

// prefixLength puts the length of dst[at:] in front of it. It moves those bytes, so it is for the small packets.
func prefixLength(dst []byte, at int) []byte {
	n := len(dst) - at
	size := varintSize(n)
	dst = append(dst, make([]byte, size)...)
	copy(dst[at+size:], dst[at:at+n])
	appendVarint(dst[:at], n) // in place: the room was made above
	return dst
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// appendTextProperty appends a string property, nothing when it is empty.
func appendTextProperty(dst []byte, id byte, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, id), s)
}

// maxReason bounds a reason string, in bytes. It is a line for a human.
const maxReason = 1024

// appendReason appends a reason string, cut to maxReason. One that is not a valid MQTT string is left out: it is a help
// in diagnosis and not worth breaking the protocol for.
func appendReason(dst []byte, reason string) []byte {
	if len(reason) > maxReason {
		cut := maxReason
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	if !validString(reason) {
		return dst
	}
	return appendTextProperty(dst, propReasonString, reason)
}

func validString(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func appendNonZero16(dst []byte, id byte, n uint16) []byte {
	if n == 0 {
		return dst
	}
	return appendUint16(append(dst, id), n)
}

func appendNonZero32(dst []byte, id byte, n uint32) []byte {
	if n == 0 {
		return dst
	}
	return appendUint32(append(dst, id), n)
}

func appendFlag(dst []byte, id byte, flag Optional[bool]) []byte {
	if !flag.Set {
		return dst
	}
	return append(dst, id, bit(flag.Value))
}

func appendUser(dst []byte, user []UserProperty) []byte {
	for _, u := range user {
		dst = appendString(appendString(append(dst, propUser), u.Key), u.Value)
	}
	return dst
}
