package packet

import "encoding/binary"

// reader walks the body of one packet. The first failure sticks: it empties the buffer, later reads return zero values,
// and the decoder asks once at its end. Byte slices it returns are views.
type reader struct {
	buf     []byte
	packet  Type
	refusal *Error
	properties
}

// err returns the first failure. It exists because a nil *Error in an error is not a nil error.
func (r *reader) err() error {
	if r.refusal == nil {
		return nil
	}
	return r.refusal
}

func (r *reader) fail(code Code, field, what string) {
	if r.refusal == nil {
		r.refusal = newError(code, r.packet, field, what)
	}
	r.buf = nil
}

func (r *reader) failf(code Code, field, format string, args ...any) {
	if r.refusal == nil {
		r.refusal = newErrorf(code, r.packet, field, format, args...)
	}
	r.buf = nil
}

// take returns the next n bytes.
func (r *reader) take(n int, field string) []byte {
	if n > len(r.buf) {
		r.failf(MalformedPacket, field, "needs %d bytes where %d are left (MQTT 5 section 4.13.1)", n, len(r.buf))
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

func (r *reader) byte(field string) byte {
	if b := r.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16(field string) uint16 {
	if b := r.take(2, field); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32(field string) uint32 {
	if b := r.take(4, field); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) varint(field string) int {
	value, n, fault := readVarint(r.buf)
	switch {
	case fault != "":
		r.fail(MalformedPacket, field, fault)
	case n == 0:
		r.fail(MalformedPacket, field, "ends before its last byte (MQTT 5 section 1.5.5)")
	default:
		r.buf = r.buf[n:]
	}
	return value
}

// binary reads binary data: two bytes of length and as many bytes (MQTT 5 section 1.5.6).
func (r *reader) binary(field string) []byte {
	return r.take(int(r.uint16(field)), field)
}

// text reads a UTF-8 encoded string (MQTT 5 section 1.5.4).
func (r *reader) text(field string) []byte {
	b := r.binary(field)
	if fault := faultOfText(b); fault != "" {
		r.fail(MalformedPacket, field, fault)
		return nil
	}
	return b
}

// topicName reads a topic name that may not be empty.
func (r *reader) topicName(field string) []byte {
	b := r.text(field)
	if r.refusal != nil {
		return nil
	}
	if len(b) == 0 {
		r.fail(TopicNameInvalid, field, "is empty [MQTT-4.7.3-1]")
		return nil
	}
	if hasWildcard(b) {
		r.fail(TopicNameInvalid, field, "contains a wildcard [MQTT-4.7.0-1]")
		return nil
	}
	return b
}

// packetID reads a packet identifier, which is never 0.
func (r *reader) packetID() uint16 {
	id := r.uint16("packet identifier")
	if id == 0 {
		r.fail(ProtocolError, "packet identifier", "is 0 [MQTT-2.2.1-3]")
	}
	return id
}

// end refuses bytes behind the last field.
func (r *reader) end() {
	if len(r.buf) > 0 {
		r.failf(MalformedPacket, "body", "has %d bytes behind its last field (MQTT 5 section 4.13.1)", len(r.buf))
	}
}
