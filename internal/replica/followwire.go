package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"causeway/internal/home"
	"causeway/internal/store"
)

// FollowProtocol is the stream protocol by which a replicant follows a core. The
// replicant begins with one request; what the core answers are frames.
//
//	request := what u8 | home: length u8, bytes | index u64 | term u64
//	frame   := length u32 | kind u8 | fields
//
// A request to follow names how far the replicant's state is, 0 for none: then a
// copy of the core's comes first. On a stream for bodies the replicant goes on
// with questions (seq u64 | index u64), one at a time, and each is answered by
// one frame.
const FollowProtocol = "causeway-follow/1"

const (
	wantsLog    = 'f'
	wantsBodies = 'b'
)

// The kinds of frames.
const (
	frameCopy   = 1  // a copy of the state begins: position
	frameKeys   = 2  // of the copy: (length, key, length, value)*, in ascending order over all frames
	frameWhole  = 3  // the copy is whole: how many keys it had
	frameRecord = 4  // a record of the log: position, record
	framePassed = 5  // position: what came up to here and was not sent is no record
	framePulse  = 6  // how far the core is, and who leads as far as it knows
	frameBehind = 7  // the core's log does not reach back to the replicant's state: reason
	frameNot    = 8  // not now, or not here: reason
	frameBody   = 9  // a body, as the store has it
	frameGone   = 10 // nothing refers to the message from this index on

	frameNumbered = 11 // a record with its number, to be passed unless it is the next: position, number, record
)

// maxFrame is the largest frame: that of the largest record.
const maxFrame = raftMaxEntry + 64

var errFrame = errors.New("malformed frame")

// request is what a replicant begins with.
type request struct {
	what byte
	home home.ID
	at   store.Position
}

const maxHomeName = 255

func (q *request) append(b []byte) []byte {
	b = append(b, q.what, byte(len(q.home)))
	b = append(b, q.home...)
	b = binary.BigEndian.AppendUint64(b, q.at.Index)
	return binary.BigEndian.AppendUint64(b, q.at.Term)
}

func readRequestOf(in io.Reader) (q request, err error) {
	var b [2 + maxHomeName + 16]byte
	if _, err := io.ReadFull(in, b[:2]); err != nil {
		return q, err
	}
	n := int(b[1])
	if _, err := io.ReadFull(in, b[2:2+n+16]); err != nil {
		return q, err
	}
	q.what, q.home = b[0], home.ID(b[2:2+n])
	q.at = store.Position{Index: binary.BigEndian.Uint64(b[2+n:]), Term: binary.BigEndian.Uint64(b[10+n:])}
	return q, nil
}

// followFrame is a frame, decoded. Its slices are parts of what was read.
type followFrame struct {
	kind   byte
	at     store.Position // copy, record, passed; pulse and gone: the index
	data   []byte         // record, body, keys
	text   string         // pulse: the leader; behind, not: the reason
	number uint64         // whole, numbered
}

// appendFrame appends a frame with its length.
func appendFrame(b []byte, f *followFrame) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, f.kind)
	switch f.kind {
	case frameCopy, framePassed:
		b = appendPosition(b, f.at)
	case frameRecord:
		b = append(appendPosition(b, f.at), f.data...)
	case frameNumbered:
		b = append(binary.AppendUvarint(appendPosition(b, f.at), f.number), f.data...)
	case frameKeys, frameBody:
		b = append(b, f.data...)
	case frameWhole:
		b = binary.AppendUvarint(b, f.number)
	case framePulse:
		b = append(binary.AppendUvarint(b, f.at.Index), f.text...)
	case frameGone:
		b = binary.AppendUvarint(b, f.at.Index)
	case frameBehind, frameNot:
		b = append(b, f.text...)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendPosition(b []byte, p store.Position) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, p.Index), p.Term)
}

// decodeFrame decodes what follows a frame's length.
func decodeFrame(b []byte) (f followFrame, err error) {
	if len(b) == 0 {
		return f, errFrame
	}
	f.kind, b = b[0], b[1:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = errFrame, nil
			return 0
		}
		b = b[n:]
		return v
	}
	rest := func() []byte {
		v := b
		b = nil
		return v
	}
	switch f.kind {
	case frameCopy, framePassed:
		f.at = store.Position{Index: number(), Term: number()}
	case frameRecord:
		f.at = store.Position{Index: number(), Term: number()}
		f.data = rest()
	case frameNumbered:
		f.at = store.Position{Index: number(), Term: number()}
		f.number = number()
		f.data = rest()
	case frameKeys, frameBody:
		f.data = rest()
	case frameWhole:
		f.number = number()
	case framePulse:
		f.at.Index = number()
		f.text = string(rest())
	case frameGone:
		f.at.Index = number()
	case frameBehind, frameNot:
		f.text = string(rest())
	default:
		return f, fmt.Errorf("frame of kind %d, which this version does not know: %w", f.kind, errFrame)
	}
	if err == nil && len(b) > 0 {
		err = errFrame
	}
	return f, err
}

// readFrame reads one frame. A record stays valid for good, the rest until the
// next frame, for which buf is used again.
func readFrame(in io.Reader, buf *[]byte) (followFrame, error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return followFrame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return followFrame{}, fmt.Errorf("a frame of %d bytes, the limit is %d: %w", n, maxFrame, errFrame)
	}
	var b []byte
	if head[4] == frameRecord || head[4] == frameNumbered {
		b = make([]byte, n) // the state refers to what was in it
	} else {
		if cap(*buf) < int(n) {
			*buf = make([]byte, n)
		}
		b = (*buf)[:n]
	}
	b[0] = head[4]
	if _, err := io.ReadFull(in, b[1:]); err != nil {
		return followFrame{}, err
	}
	return decodeFrame(b)
}

func appendPair(b, key, value []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// eachPair calls fn for the keys and values of a frame.
func eachPair(b []byte, fn func(key, value []byte) error) error {
	take := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		v := b[k : k+int(n)]
		b = b[k+int(n):]
		return v, true
	}
	for len(b) > 0 {
		key, ok := take()
		if !ok {
			return errFrame
		}
		value, ok := take()
		if !ok {
			return errFrame
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}
