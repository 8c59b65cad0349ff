package packet

// Suback is a SUBACK or an UNSUBACK packet: a code for each topic filter, in their order. An UNSUBACK of 3.1 and 3.1.1
// has none.
type Suback struct {
	PacketID uint16
	Codes    []Code
}

var (
	// [MQTT-3.9.3-2]
	subackCodes = codes(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIdentifierInUse, QuotaExceeded, SharedSubscriptionsNotSupported,
		SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported)
	// [MQTT-3.9.3-2 of 3.1.1]
	subackCodesV3 = codes(GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError)
	// [MQTT-3.11.3-2]
	unsubackCodes = codes(Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicFilterInvalid, PacketIdentifierInUse)
)

// DecodeSuback decodes the body of a SUBACK, for a client.
func DecodeSuback(body []byte, v Version) (Suback, error) {
	allowed := subackCodesV3
	if v == V5 {
		allowed = subackCodes
	}
	return decodeSuback(SUBACK, body, v, allowed)
}

// DecodeUnsuback decodes the body of an UNSUBACK, for a client.
func DecodeUnsuback(body []byte, v Version) (Suback, error) {
	if v == V5 {
		return decodeSuback(UNSUBACK, body, v, unsubackCodes)
	}
	r := reader{buf: body, packet: UNSUBACK}
	s := Suback{PacketID: r.packetID()}
	r.end()
	return s, r.err()
}

func decodeSuback(t Type, body []byte, v Version, allowed *codeSet) (Suback, error) {
	r := reader{buf: body, packet: t}
	s := Suback{PacketID: r.packetID()}
	if v == V5 {
		for r.begin(); r.next(); {
			r.skipNote()
		}
	}
	switch {
	case r.refusal != nil:
	case len(r.buf) == 0:
		r.fail(ProtocolError, "payload", "has no reason code (MQTT 5 section 3.9.3)")
	case len(r.buf) > MaxFilters:
		r.failf(QuotaExceeded, "payload", "has more than %d reason codes", MaxFilters)
	default:
		s.Codes = make([]Code, 0, len(r.buf))
	}
	for len(r.buf) > 0 {
		s.Codes = append(s.Codes, r.code(allowed))
	}
	return s, r.err()
}

// AppendSuback appends a SUBACK. For 3.1 and 3.1.1 codes above 0x02 become 0x80.
func AppendSuback(dst []byte, v Version, id uint16, codes []Code) []byte {
	dst = append(dst, byte(SUBACK)<<4)
	at := len(dst)
	dst = appendUint16(dst, id)
	if v == V5 {
		dst = append(dst, 0)
	}
	for _, c := range codes {
		if v != V5 && c > GrantedQoS2 {
			c = UnspecifiedError
		}
		dst = append(dst, byte(c))
	}
	return prefixLength(dst, at)
}

// AppendUnsuback appends an UNSUBACK. 3.1 and 3.1.1 have no codes in it.
func AppendUnsuback(dst []byte, v Version, id uint16, codes []Code) []byte {
	dst = append(dst, byte(UNSUBACK)<<4)
	at := len(dst)
	dst = appendUint16(dst, id)
	if v == V5 {
		dst = append(dst, 0)
		for _, c := range codes {
			dst = append(dst, byte(c))
		}
	}
	return prefixLength(dst, at)
}
