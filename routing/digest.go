package routing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"
)

// Digest is a 128-bit fingerprint of a set of filters that does not depend on their order: two sums, modulo 2^64, of
// independent halves of a hash of each member. The empty set has the zero Digest. It is the same on every machine and
// in every release, because peers compare it.
//
// The hash is SHA-256, cut to 128 bits, and not a faster one: devices choose the filters and sums need members whose
// hashes are unrelated. With FNV-1a, sets such as {x1, y2} and {x2, y1} often have equal sums.
type Digest struct{ Hi, Lo uint64 }

// String returns 32 hexadecimal digits.
func (d Digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.Hi)
	binary.BigEndian.PutUint64(b[8:], d.Lo)
	return hex.EncodeToString(b[:])
}

func (d Digest) plus(e Digest) Digest  { return Digest{d.Hi + e.Hi, d.Lo + e.Lo} }
func (d Digest) minus(e Digest) Digest { return Digest{d.Hi - e.Hi, d.Lo - e.Lo} }

// digestOf hashes one member. The length in front keeps ("ab", "c") and ("a", "bc") apart.
func digestOf(f Filter) Digest {
	var stack [256]byte
	b := binary.AppendUvarint(stack[:0], uint64(len(f.Namespace)))
	b = append(b, f.Namespace...)
	b = append(b, f.Filter...)
	sum := sha256.Sum256(b)
	return Digest{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

func digestAll(filters iter.Seq[Filter]) (d Digest) {
	for f := range filters {
		d = d.plus(digestOf(f))
	}
	return d
}
