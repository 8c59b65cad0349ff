package packet

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type     Type
	Code     Code // Success in 3.1 and 3.1.1, which have none
	PacketID uint16
}

// DecodeAck decodes the body of one of the four acks. It allocates nothing. Reason string and user properties are
// checked and dropped.
func DecodeAck(h Header, body []byte, v Version) (Ack, error) {
	r := reader{buf: body, packet: h.Type}
	a := Ack{Type: h.Type, PacketID: r.packetID()}
	if v == V5 && len(r.buf) > 0 {
		a.Code = r.code(ackCodes(h.Type))
		if len(r.buf) > 0 {
			for r.begin(); r.next(); {
				r.skipNote()
			}
		}
	}
	r.end()
	return a, r.err()
}

// codeSet is a set of reason codes.
type codeSet [4]uint64

func codes(list ...Code) *codeSet {
	var s codeSet
	for _, c := range list {
		s[c>>6] |= 1 << (c & 63)
	}
	return &s
}

func (s *codeSet) has(c Code) bool { return s[c>>6]&(1<<(c&63)) != 0 }

var (
	// [MQTT-3.4.2-1], [MQTT-3.5.2-1]
	receiptCodes = codes(Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicNameInvalid, PacketIdentifierInUse, QuotaExceeded, PayloadFormatInvalid)
	// [MQTT-3.6.2-1], [MQTT-3.7.2-1]
	releaseCodes = codes(Success, PacketIdentifierNotFound)
)

func ackCodes(t Type) *codeSet {
	if t == PUBACK || t == PUBREC {
		return receiptCodes
	}
	return releaseCodes
}

// code reads a reason code that must be one of the set.
func (r *reader) code(allowed *codeSet) Code {
	c := Code(r.byte("reason code"))
	if r.refusal == nil && !allowed.has(c) {
		r.failf(ProtocolError, "reason code", "0x%02X is not one for this packet (MQTT 5 section 2.4)", byte(c))
	}
	return c
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. Success takes the two byte form, PUBREL always does: clients
// exist that fail on a PUBREL with a reason code. 3.1 and 3.1.1 have no code in it.
func AppendAck(dst []byte, v Version, t Type, id uint16, code Code) []byte {
	var flags byte
	if t == PUBREL {
		flags = 2 // [MQTT-3.6.1-1]
	}
	first := byte(t)<<4 | flags
	if v != V5 || code == Success || t == PUBREL {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), byte(code))
}
