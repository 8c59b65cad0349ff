package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxCall bounds the request and the answer of a call, in bytes.
const MaxCall = 256 << 10

// Codes of the answer to a call.
const (
	CallAnswered byte = 0 // the bytes are the answer
	CallFailed   byte = 1 // they say why there is none, for people
	CallBusy     byte = 2 // too many calls are under way; nobody was asked
	CallUnknown  byte = 3 // nobody answers calls there
)

// AppendRequest adds what follows the opening of a stream of kind StreamCall.
func AppendRequest(b, request []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(request)))
	return append(b, request...)
}

// ReadRequest reads it, and no byte beyond it.
func ReadRequest(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read a call: %w", noEOF(err))
	}
	return readCall(r, binary.BigEndian.Uint32(head[:]))
}

// AppendReply adds the answer to a call.
func AppendReply(b []byte, code byte, answer []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, code), uint32(len(answer)))
	return append(b, answer...)
}

// ReadReply reads it.
func ReadReply(r io.Reader) (code byte, answer []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read the answer of a call: %w", noEOF(err))
	}
	answer, err = readCall(r, binary.BigEndian.Uint32(head[1:]))
	return head[0], answer, err
}

func readCall(r io.Reader, size uint32) ([]byte, error) {
	if size > MaxCall {
		return nil, tooLarge("a call has %d bytes, at most %d are allowed", size, MaxCall)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read a call: %w", noEOF(err))
	}
	return b, nil
}
