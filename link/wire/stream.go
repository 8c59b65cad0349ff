package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// StreamKind says what a stream carries.
type StreamKind uint64

// Kinds of streams. The control stream is the first bidirectional stream and
// has no such opening.
const (
	StreamSpool    StreamKind = 1 // frames of one class of a spool
	StreamLive     StreamKind = 2 // frames of messages that are in no spool
	StreamInterest StreamKind = 3 // interest messages
	StreamRelay    StreamKind = 4 // of both directions: a tunnel between two regions of which one is not at an end of this one
	StreamCall     StreamKind = 5 // of both directions: a request, then its answer
	StreamShip     StreamKind = 6 // the records of a home, or a copy of it
	StreamPadding  StreamKind = 8 // bytes that the receiver throws away
)

const maxStreamHead = 1024

// StreamHead opens a stream. Source and Class are used by StreamSpool alone, Path by
// StreamRelay, Call by StreamCall, Nonce by StreamShip and StreamPadding, Bytes by that.
type StreamHead struct {
	Kind   StreamKind
	Source Source
	Class  string
	Path   RelayPath
	Call   byte   // what kind of request it is
	Nonce  uint64 // of the ShipAt that answers it; of the Answer that says that all bytes were read
	Bytes  uint64 // that follow
}

// Append adds the opening to b.
func (h *StreamHead) Append(b []byte) []byte {
	var body []byte
	switch h.Kind {
	case StreamSpool:
		body = appendSource(body, h.Source)
		body = appendString(body, h.Class)
	case StreamRelay:
		body = h.Path.append(body)
	case StreamCall:
		body = append(body, h.Call)
	case StreamShip:
		body = binary.AppendUvarint(body, h.Nonce)
	case StreamPadding:
		body = binary.AppendUvarint(binary.AppendUvarint(body, h.Nonce), h.Bytes)
	}
	b = binary.AppendUvarint(b, uint64(h.Kind))
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// ReadStreamHead reads the opening of a stream. Of kinds it does not know it
// returns the kind alone: such a stream is to be refused, not the tunnel.
func ReadStreamHead(r *bufio.Reader) (StreamHead, error) {
	kind, err := binary.ReadUvarint(r)
	if err != nil {
		return StreamHead{}, fmt.Errorf("read a stream's opening: %w", noEOF(err))
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return StreamHead{}, fmt.Errorf("read a stream's opening: %w", noEOF(err))
	}
	if n > maxStreamHead {
		return StreamHead{}, tooLarge("a stream's opening has %d bytes, at most %d are allowed", n, maxStreamHead)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return StreamHead{}, fmt.Errorf("read a stream's opening: %w", noEOF(err))
	}
	h := StreamHead{Kind: StreamKind(kind)}
	f := fields{b: body}
	switch h.Kind {
	case StreamSpool:
		h.Source, h.Class = f.source(), f.string("class", maxName)
	case StreamRelay:
		h.Path = f.relayPath()
	case StreamCall:
		h.Call = f.byte("kind of call")
	case StreamShip:
		h.Nonce = f.uvarint("nonce")
	case StreamPadding:
		h.Nonce, h.Bytes = f.uvarint("nonce"), f.uvarint("bytes")
	}
	if f.err != nil {
		return StreamHead{}, f.err
	}
	return h, nil
}
