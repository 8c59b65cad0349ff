package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ALPNJoin is the application protocol of the further connections of a tunnel: each
// begins with Join instead of an opening.
const ALPNJoin = "causeway-link-join/1"

// MaxConnections bounds the connections of a tunnel.
const MaxConnections = 32

// MaxChunk bounds what one chunk of a stream carries.
const MaxChunk = 64 << 10

// JoinToken is the secret by which a connection joins a tunnel.
type JoinToken [32]byte

// Join asks to add the connection it comes by to a tunnel: the first message of the
// control stream. Welcome or Goodbye answers it.
type Join struct{ Token JoinToken }

// Connections says how many connections the sender of this needs for what it sends,
// and whether that goes better over TCP. Only the dialling side of a tunnel can add
// some, or move it.
type Connections struct {
	Want uint64
	TCP  bool
}

func (*Join) kind() uint64        { return typeJoin }
func (*Connections) kind() uint64 { return typeConnections }

func (j *Join) append(b []byte) []byte { return append(b, j.Token[:]...) }

func (c *Connections) append(b []byte) []byte {
	return append(binary.AppendUvarint(b, c.Want), flag(c.TCP))
}

func (f *fields) join() *Join {
	var j Join
	if n := copy(j.Token[:], f.b); n < len(j.Token) {
		f.fail(corrupt("a join token of %d bytes", n))
	}
	return &j
}

// AppendStripe adds what a stripe begins with: the number of the stream that it is a
// part of.
func AppendStripe(b []byte, number uint64) []byte { return binary.AppendUvarint(b, number) }

// ReadStripe reads the beginning of a stripe.
func ReadStripe(r *bufio.Reader) (number uint64, err error) {
	number, err = binary.ReadUvarint(r)
	if err != nil {
		return 0, fmt.Errorf("read a stripe's opening: %w", noEOF(err))
	}
	return number, nil
}

// AppendChunk adds the chunk with the number seq of its stream; without data it ends
// its stripe, and the stream goes on in the others.
func AppendChunk(b []byte, seq uint64, data []byte) []byte {
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

// ReadChunkHead reads the number and the size of the next chunk, whose data follows.
// Between two chunks it returns io.EOF at the end of the stream.
func ReadChunkHead(r *bufio.Reader) (seq uint64, size int, err error) {
	seq, err = binary.ReadUvarint(r)
	if errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read a chunk: %w", noEOF(err))
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, 0, fmt.Errorf("read a chunk: %w", noEOF(err))
	}
	if n > MaxChunk {
		return 0, 0, tooLarge("a chunk has %d bytes, at most %d are allowed", n, MaxChunk)
	}
	return seq, int(n), nil
}
