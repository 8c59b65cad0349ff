package packet

// Header is a packet's fixed header (MQTT 5 section 2.1).
type Header struct {
	Type      Type
	Flags     byte // the lower four bits of the first byte
	Remaining int  // bytes of the body that follows, at most MaxRemaining
}

// QoS returns the quality of service in the flags of a PUBLISH.
func (h Header) QoS() byte { return h.Flags >> 1 & 3 }

// Dup reports the duplicate flag of a PUBLISH.
func (h Header) Dup() bool { return h.Flags&8 != 0 }

// Retain reports the retain flag of a PUBLISH.
func (h Header) Retain() bool { return h.Flags&1 != 0 }

// ReadHeader reads the fixed header at the start of buf and returns it with its length n in bytes (2 to MaxHeader).
// n is 0 with a nil error while more bytes are needed. v is the connection's version, 0 before CONNECT: then only
// CONNECT is accepted [MQTT-3.1.0-1], and after it no second one [MQTT-3.1.0-2]. Wrong flags, a wrong type and a wrong
// length are refused as soon as their byte is there.
//
// The caller compares the size with its limit (CheckSize) before it makes room for the body.
func ReadHeader(buf []byte, v Version) (h Header, n int, err error) {
	if len(buf) == 0 {
		return Header{}, 0, nil
	}
	h = Header{Type: Type(buf[0] >> 4), Flags: buf[0] & 0x0F}
	if refusal := h.checkType(v); refusal != nil {
		return Header{}, 0, refusal
	}
	if refusal := h.checkFlags(v); refusal != nil {
		return Header{}, 0, refusal
	}
	remaining, n, fault := readVarint(buf[1:])
	if fault != "" {
		return Header{}, 0, newError(MalformedPacket, h.Type, "remaining length", fault)
	}
	if n == 0 {
		return Header{}, 0, nil
	}
	if remaining != 0 && (h.Type == PINGREQ || h.Type == PINGRESP) {
		return Header{}, 0, newError(MalformedPacket, h.Type, "remaining length", "is not 0 (MQTT 5 section 3.12.1)")
	}
	h.Remaining = remaining
	return h, 1 + n, nil
}

// CheckSize returns PacketTooLarge when the whole packet, of which n bytes are the fixed header, exceeds limit bytes.
func (h Header) CheckSize(n, limit int) error {
	if n+h.Remaining <= limit {
		return nil
	}
	return newErrorf(PacketTooLarge, h.Type, "remaining length",
		"makes a packet of %d bytes, the limit is %d [MQTT-3.2.2-15]", n+h.Remaining, limit)
}

// checkType refuses a type that may not come at this point of a connection of version v.
func (h Header) checkType(v Version) *Error {
	switch {
	case h.Type == 0:
		return newError(MalformedPacket, h.Type, "is", "reserved (MQTT 5 section 2.1.2)")
	case v == 0 && h.Type != CONNECT:
		return newError(ProtocolError, h.Type, "packet", "comes before CONNECT [MQTT-3.1.0-1]")
	case v != 0 && h.Type == CONNECT:
		return newError(ProtocolError, h.Type, "packet", "comes a second time [MQTT-3.1.0-2]")
	case h.Type == AUTH && v != V5:
		return newError(MalformedPacket, h.Type, "is", "reserved before MQTT 5 (MQTT 3.1.1 section 2.2.1)")
	}
	return nil
}

// checkFlags refuses reserved and impossible flags.
func (h Header) checkFlags(v Version) *Error {
	switch h.Type {
	case PUBLISH:
		if h.QoS() == 3 {
			return newError(MalformedPacket, h.Type, "QoS", "is 3 [MQTT-3.3.1-4]")
		}
		if h.Dup() && h.QoS() == 0 {
			return newError(ProtocolError, h.Type, "DUP flag", "is set at QoS 0 [MQTT-3.3.1-2]")
		}
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		// MQTT 3.1 sends these as QoS 1 messages and sets DUP when it repeats one (MQTT 3.1 section 2.1).
		if h.Flags == 2 || v == V31 && h.Flags == 10 {
			return nil
		}
	default:
		if h.Flags == 0 {
			return nil
		}
	}
	return newErrorf(MalformedPacket, h.Type, "flags", "are 0x%X, which is reserved [MQTT-2.1.3-1]", h.Flags)
}

// readVarint reads a variable byte integer (MQTT 5 section 1.5.5) and returns its length in bytes, 0 when buf ends
// before it does. fault says what is wrong with it, if anything is.
func readVarint(buf []byte) (value, n int, fault string) {
	for n < len(buf) && n < 4 {
		b := buf[n]
		value |= int(b&0x7F) << (7 * n)
		n++
		switch {
		case b == 0 && n > 1:
			return 0, 0, "is longer than its value needs [MQTT-1.5.5-1]"
		case b < 0x80:
			return value, n, ""
		case n == 4:
			return 0, 0, "is longer than four bytes (MQTT 5 section 1.5.5)"
		}
	}
	return 0, 0, ""
}
