package sibling

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"causeway/internal/home"
)

// kind is the type of a frame: one byte, behind a length of four.
type kind byte

const (
	kindDeliver kind = 1 // a message for the node's devices
	kindDirect  kind = 2 // a message for one session of the node
	kindForward kind = 3 // a message for a peer region, by the node's link
	kindYield   kind = 4 // question: give up a session
	kindApplied kind = 5 // question: say when an index is applied
	kindAnswer  kind = 6 // to the question of that number
	kindClaimed kind = 7 // kindForward on behalf of global groups
)

// frame is what crosses a stream.
type frame struct {
	kind    kind
	number  uint64 // of a question or answer
	index   uint64 // kindApplied
	peer    home.ID
	claim   home.Claim
	session home.SessionKey
	epoch   home.SessionEpoch
	qos     byte
	retain  bool
	subIDs  []uint32
	message *home.Message
}

var (
	errFrame   = errors.New("malformed frame")
	errNotHere = errors.New("a frame of a kind that the other side sends")
)

const (
	// frameRoom is what a frame may hold beside a message's payload and properties:
	// names of at most 64 KiB each, those of groups, and numbers.
	frameRoom = 512 << 10
	// answerMax bounds an answer.
	answerMax = 64
)

// frameMax bounds a frame, without its length.
func (o *Options) frameMax() int { return o.MaxMessage + frameRoom }

// room is at least the bytes of the frame of a message.
func (f *frame) room() int {
	n := 128 + len(f.peer) + len(f.session.Namespace) + len(f.session.ClientID) + binary.MaxVarintLen32*len(f.subIDs)
	for _, g := range f.claim.Groups {
		n += binary.MaxVarintLen32 + len(g)
	}
	if m := f.message; m != nil {
		n += len(m.Namespace) + len(m.Topic) + len(m.Forward) + len(m.Payload)
	}
	return n
}

func (f *frame) append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, byte(f.kind))
	switch f.kind {
	case kindDirect:
		b = appendSession(b, f.session)
		b = binary.AppendUvarint(b, uint64(f.epoch))
		b = append(b, f.qos, flag(f.retain))
		b = binary.AppendUvarint(b, uint64(len(f.subIDs)))
		for _, id := range f.subIDs {
			b = binary.AppendUvarint(b, uint64(id))
		}
	case kindForward:
		b = appendString(b, string(f.peer))
	case kindClaimed:
		b = append(appendString(b, string(f.peer)), flag(f.claim.Live))
		b = binary.AppendUvarint(b, uint64(len(f.claim.Groups)))
		for _, g := range f.claim.Groups {
			b = appendString(b, g)
		}
	case kindYield:
		b = binary.AppendUvarint(b, f.number)
		b = appendSession(b, f.session)
		b = binary.AppendUvarint(b, uint64(f.epoch))
	case kindApplied:
		b = binary.AppendUvarint(binary.AppendUvarint(b, f.number), f.index)
	case kindAnswer:
		b = binary.AppendUvarint(b, f.number)
	}
	if m := f.message; m != nil {
		b = appendString(appendString(b, m.Namespace), m.Topic)
		b = binary.AppendVarint(b, int64(m.Expires))
		b = append(b, m.QoS, flag(m.Retain))
		b = binary.AppendUvarint(b, uint64(len(m.Forward)))
		b = append(b, m.Forward...)
		b = append(b, m.Payload...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendSession(b []byte, k home.SessionKey) []byte {
	return appendString(appendString(b, k.Namespace), k.ClientID)
}

// readFrame reads one frame of at most limit bytes.
func readFrame(in io.Reader, limit int) (frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || uint64(n) > uint64(limit) {
		return frame{}, fmt.Errorf("%w: %d bytes, the limit is %d", errFrame, n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return frame{}, err
	}
	return decodeFrame(b)
}

// decodeFrame decodes a frame without its length. The message aliases b.
func decodeFrame(b []byte) (frame, error) {
	if len(b) == 0 {
		return frame{}, errFrame
	}
	r := reader{b: b[1:]}
	f := frame{kind: kind(b[0])}
	switch f.kind {
	case kindDeliver:
		f.message = r.message()
	case kindDirect:
		f.session, f.epoch = r.session(), home.SessionEpoch(r.uvarint())
		f.qos, f.retain = r.byte(), r.byte() != 0
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			return frame{}, errFrame
		}
		for range n {
			f.subIDs = append(f.subIDs, r.uint32())
		}
		f.message = r.message()
	case kindForward:
		f.peer, f.claim.Live = home.ID(r.string()), true
		f.message = r.message()
	case kindClaimed:
		f.peer, f.claim.Live = home.ID(r.string()), r.byte() != 0
		n := r.uvarint()
		if n > uint64(len(r.b)) {
			return frame{}, errFrame
		}
		for range n {
			f.claim.Groups = append(f.claim.Groups, r.string())
		}
		f.message = r.message()
	case kindYield:
		f.number, f.session, f.epoch = r.uvarint(), r.session(), home.SessionEpoch(r.uvarint())
	case kindApplied:
		f.number, f.index = r.uvarint(), r.uvarint()
	case kindAnswer:
		f.number = r.uvarint()
	default:
		return frame{}, fmt.Errorf("%w: kind %d", errFrame, f.kind)
	}
	if r.bad || len(r.b) > 0 || f.qos > 2 || f.message != nil && f.message.QoS > 2 {
		return frame{}, errFrame
	}
	return f, nil
}

// reader consumes b; what is missing is zero, and noted.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.bad = true
	}
	return uint32(v)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.take(r.uvarint())) }

func (r *reader) session() home.SessionKey {
	return home.SessionKey{Namespace: r.string(), ClientID: r.string()}
}

func (r *reader) message() *home.Message {
	m := &home.Message{Namespace: r.string(), Topic: r.string(), Expires: home.Time(r.varint())}
	m.QoS, m.Retain = r.byte(), r.byte() != 0
	m.Forward = r.take(r.uvarint())
	m.Payload = r.take(uint64(len(r.b)))
	return m
}
