package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by every decoding error: the bytes do not follow the
// format. The tunnel they came by must be closed.
var ErrCorrupt = errors.New("corrupt")

// ErrTooLarge is wrapped by the errors for lengths above a limit, whether of a
// message to send or of bytes that came.
var ErrTooLarge = errors.New("too large")

// Bounds of single fields. Names are regions, homes, hosts and classes.
const (
	maxName  = 255
	maxText  = 1024
	maxTopic = 65535 // [MQTT-1.5.4]
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("link bytes: "+format+": %w", append(args, ErrCorrupt)...)
}

func tooLarge(format string, args ...any) error {
	return fmt.Errorf("link bytes: "+format+": %w", append(args, ErrTooLarge)...)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBytes(b, s []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// fields reads the fields of one message in order. The first failure sticks;
// callers check err once, at the end.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
		f.b = nil
	}
}

func (f *fields) byte(name string) byte {
	if len(f.b) < 1 {
		f.fail(corrupt("%s is missing", name))
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

func (f *fields) uint64(name string) uint64 {
	if len(f.b) < 8 {
		f.fail(corrupt("%s is missing", name))
		return 0
	}
	v := binary.BigEndian.Uint64(f.b)
	f.b = f.b[8:]
	return v
}

func (f *fields) uvarint(name string) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail(corrupt("%s is not an integer", name))
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes returns a byte string of at most limit bytes. It aliases the input.
func (f *fields) bytes(name string, limit int) []byte {
	n := f.uvarint(name)
	if f.err != nil {
		return nil
	}
	if n > uint64(limit) {
		f.fail(tooLarge("%s has %d bytes, at most %d are allowed", name, n, limit))
		return nil
	}
	if n > uint64(len(f.b)) {
		f.fail(corrupt("%s has %d bytes, %d are left", name, n, len(f.b)))
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) string(name string, limit int) string {
	return string(f.bytes(name, limit))
}

// end fails if anything is left. Formats that may grow at their end do not call
// it.
func (f *fields) end(name string) error {
	if f.err == nil && len(f.b) > 0 {
		f.fail(corrupt("%d bytes follow the %s", len(f.b), name))
	}
	return f.err
}
