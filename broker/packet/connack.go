package packet

// Connack is a CONNACK packet. It owns its bytes. The zero value accepts the connection and restricts nothing. All but
// SessionPresent and Code is dropped for 3.1 and 3.1.1.
type Connack struct {
	SessionPresent    bool
	Code              Code
	SessionExpiry     Optional[uint32] // seconds; unset: what the client asked for
	ReceiveMaximum    uint16           // 0: left out, which means 65535
	MaximumQoS        Optional[byte]   // 0 or 1; unset: 2
	RetainAvailable   Optional[bool]   // unset: true, as the next three
	MaximumPacketSize uint32           // bytes; 0: left out, no limit
	AssignedClientID  string
	TopicAliasMaximum uint16
	ReasonString      string
	WildcardAvailable Optional[bool]
	SubIDAvailable    Optional[bool]
	SharedAvailable   Optional[bool]
	ServerKeepAlive   Optional[uint16] // seconds; unset: what the client asked for
	ResponseInfo      string
	ServerReference   string
	AuthMethod        string
	AuthData          []byte // nil when left out
	User              []UserProperty
}

// [MQTT-3.2.2-8]
var connackCodes = codes(Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
	UnsupportedProtocolVersion, ClientIdentifierNotValid, BadUserNameOrPassword, NotAuthorized, ServerUnavailable,
	ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded, PayloadFormatInvalid,
	RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved, ConnectionRateExceeded)

// connackV3 are the codes that say what the return codes of 3.1.1 say, by return code (MQTT 3.1.1 section 3.2.2.3).
var connackV3 = [...]Code{Success, UnsupportedProtocolVersion, ClientIdentifierNotValid, ServerUnavailable,
	BadUserNameOrPassword, NotAuthorized}

// DecodeConnack decodes the body of a CONNACK, for a client. For 3.1 and 3.1.1 Code is the MQTT 5 code that says the
// same as the return code.
func DecodeConnack(body []byte, v Version) (Connack, error) {
	r := reader{buf: body, packet: CONNACK}
	var c Connack
	flags := r.byte("flags")
	if flags > 1 {
		r.failf(MalformedPacket, "flags", "are 0x%02X, which has reserved bits set [MQTT-3.2.2-1]", flags)
	}
	c.SessionPresent = flags == 1
	if v == V5 {
		c.Code = r.code(connackCodes)
		r.connackProperties(&c)
	} else if rc := r.byte("return code"); int(rc) < len(connackV3) {
		c.Code = connackV3[rc]
	} else {
		r.failf(MalformedPacket, "return code", "is %d, which is reserved (MQTT 3.1.1 section 3.2.2.3)", rc)
	}
	if c.SessionPresent && c.Code != Success {
		r.fail(ProtocolError, "flags", "say session present beside a refusal [MQTT-3.2.2-6]")
	}
	r.end()
	return c, r.err()
}

func (r *reader) connackProperties(c *Connack) {
	for r.begin(); r.next(); {
		switch r.id {
		case propSessionExpiry:
			c.SessionExpiry = Some(r.uint32(r.field))
		case propReceiveMaximum:
			c.ReceiveMaximum = r.positive16()
		case propMaximumQoS:
			c.MaximumQoS = Some(bit(r.bit()))
		case propRetainAvailable:
			c.RetainAvailable = Some(r.bit())
		case propMaximumPacketSize:
			c.MaximumPacketSize = r.positive32()
		case propAssignedClientID:
			c.AssignedClientID = string(r.text(r.field))
		case propTopicAliasMaximum:
			c.TopicAliasMaximum = r.uint16(r.field)
		case propReasonString:
			c.ReasonString = string(r.text(r.field))
		case propUser:
			c.User = r.appendUser(c.User)
		default:
			r.connackFeature(c)
		}
	}
}

func (r *reader) connackFeature(c *Connack) {
	switch r.id {
	case propWildcardAvailable:
		c.WildcardAvailable = Some(r.bit())
	case propSubIDAvailable:
		c.SubIDAvailable = Some(r.bit())
	case propSharedAvailable:
		c.SharedAvailable = Some(r.bit())
	case propServerKeepAlive:
		c.ServerKeepAlive = Some(r.uint16(r.field))
	case propResponseInfo:
		c.ResponseInfo = string(r.text(r.field))
	case propServerReference:
		c.ServerReference = string(r.text(r.field))
	case propAuthMethod:
		c.AuthMethod = string(r.text(r.field))
	case propAuthData:
		c.AuthData = clone(r.binary(r.field))
	}
}

// AppendConnack appends c. It appends nothing when v is 3.1 or 3.1.1 and those have no return code for c.Code: close
// without a CONNACK then (Code.ConnackV3). Session present is written with success only [MQTT-3.2.2-6], and not for 3.1,
// where the byte is unused. When the packet is longer than the client's Maximum Packet Size the caller sends it without
// reason string and user properties [MQTT-3.2.2-19].
func AppendConnack(dst []byte, v Version, c *Connack) []byte {
	present := bit(c.SessionPresent && c.Code == Success)
	if v != V5 {
		rc, ok := c.Code.ConnackV3()
		if !ok {
			return dst
		}
		if v == V31 {
			present = 0
		}
		return append(dst, byte(CONNACK)<<4, 2, present, rc)
	}
	dst = append(dst, byte(CONNACK)<<4)
	at := len(dst)
	dst = append(dst, present, byte(c.Code))
	block := len(dst)
	dst = c.appendProperties(dst)
	dst = prefixLength(dst, block)
	return prefixLength(dst, at)
}

func (c *Connack) appendProperties(dst []byte) []byte {
	if c.SessionExpiry.Set {
		dst = appendUint32(append(dst, propSessionExpiry), c.SessionExpiry.Value)
	}
	dst = appendNonZero16(dst, propReceiveMaximum, c.ReceiveMaximum)
	if c.MaximumQoS.Set && c.MaximumQoS.Value < 2 {
		dst = append(dst, propMaximumQoS, c.MaximumQoS.Value)
	}
	dst = appendFlag(dst, propRetainAvailable, c.RetainAvailable)
	dst = appendNonZero32(dst, propMaximumPacketSize, c.MaximumPacketSize)
	dst = appendTextProperty(dst, propAssignedClientID, c.AssignedClientID)
	dst = appendNonZero16(dst, propTopicAliasMaximum, c.TopicAliasMaximum)
	dst = appendReason(dst, c.ReasonString)
	dst = appendUser(dst, c.User)
	dst = appendFlag(dst, propWildcardAvailable, c.WildcardAvailable)
	dst = appendFlag(dst, propSubIDAvailable, c.SubIDAvailable)
	dst = appendFlag(dst, propSharedAvailable, c.SharedAvailable)
	if c.ServerKeepAlive.Set {
		dst = appendUint16(append(dst, propServerKeepAlive), c.ServerKeepAlive.Value)
	}
	dst = appendTextProperty(dst, propResponseInfo, c.ResponseInfo)
	dst = appendTextProperty(dst, propServerReference, c.ServerReference)
	dst = appendTextProperty(dst, propAuthMethod, c.AuthMethod)
	if c.AuthData != nil {
		dst = appendBinary(append(dst, propAuthData), c.AuthData)
	}
	return dst
}
