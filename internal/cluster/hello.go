package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Peer is who is at the other end of a stream: Node is proven by its certificate,
// the rest is what it says.
type Peer struct {
	Node        string
	Role        Role
	Disk        string
	Incarnation uint64
	Features    uint64
	Software    string
	Wall        time.Time // its wall clock, at its hello
}

// hello is what both sides of a stream say first.
//
//	magic "CWN" | version 1 | length uint16 | strings region node role disk
//	software wants (each: length byte, bytes) | incarnation, features, wall
//	(nanoseconds) uint64 | refusal code byte, reason string
//
// wants is the disk that the dialler asks for; code and reason are the
// acceptor's.
type hello struct {
	Peer
	region string
	wants  string
	code   RefusalCode
	reason string
}

const (
	helloVersion = 1
	maxHello     = 4096
	maxName      = 128
)

var helloMagic = [3]byte{'C', 'W', 'N'}

// RefusalCode is why a stream was refused.
type RefusalCode byte

// Reasons to refuse a stream.
const (
	WrongDisk       RefusalCode = 1 // the dialler wants another disk of this node
	WrongRegion     RefusalCode = 2
	WrongNode       RefusalCode = 3 // certificate and hello name different nodes
	Incompatible    RefusalCode = 4 // of another version
	UnknownProtocol RefusalCode = 5 // nobody serves it here, or not yet
	NotReady        RefusalCode = 6 // the node does not know yet who it is
	TooMany         RefusalCode = 7 // streams
)

// Refused is the answer of the other side's hello.
type Refused struct {
	Code   RefusalCode
	Reason string
}

// Error is the other side's reason.
func (r *Refused) Error() string { return "refused: " + r.Reason }

var errHello = errors.New("malformed hello")

func (h *hello) encode() ([]byte, error) {
	b := append(helloMagic[:], helloVersion, 0, 0)
	for _, s := range []string{h.region, h.Node, string(h.Role), h.Disk, h.Software, h.wants} {
		if len(s) > 255 {
			return nil, fmt.Errorf("%q is longer than 255 bytes", s)
		}
		b = append(append(b, byte(len(s))), s...)
	}
	for _, v := range []uint64{h.Incarnation, h.Features, uint64(h.Wall.UnixNano())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	reason := h.reason[:min(len(h.reason), 1024)]
	b = append(b, byte(h.code))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(reason))), reason...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-6))
	return b, nil
}

// readHello reads one hello and nothing behind it.
func readHello(r io.Reader) (hello, error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, err
	}
	switch {
	case [3]byte(head[:3]) != helloMagic:
		return hello{}, errHello
	case head[3] != helloVersion:
		return hello{}, &Refused{Incompatible, fmt.Sprintf("hello version %d, this build knows %d", head[3], helloVersion)}
	}
	n := int(binary.BigEndian.Uint16(head[4:]))
	if n > maxHello {
		return hello{}, fmt.Errorf("%w: %d bytes, the limit is %d", errHello, n, maxHello)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, err
	}
	return decodeHello(b)
}

func decodeHello(b []byte) (h hello, err error) {
	r := helloReader{b: b}
	h.region, h.Node, h.Role, h.Disk, h.Software, h.wants = r.string(), r.string(), Role(r.string()), r.string(), r.string(), r.string()
	h.Incarnation, h.Features = r.uint64(), r.uint64()
	h.Wall = time.Unix(0, int64(r.uint64()))
	h.code = RefusalCode(r.take(1)[0])
	h.reason = string(r.take(int(binary.BigEndian.Uint16(r.take(2)))))
	if r.short || len(r.b) > 0 {
		return hello{}, errHello
	}
	return h, nil
}

// helloReader consumes b; what is missing is zero, and noted.
type helloReader struct {
	b     []byte
	short bool
}

func (r *helloReader) take(n int) []byte {
	if n > len(r.b) {
		r.short = true
		return make([]byte, min(n, 8))
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *helloReader) string() string { return string(r.take(int(r.take(1)[0]))) }
func (r *helloReader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
