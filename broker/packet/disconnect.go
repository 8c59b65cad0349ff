package packet

// Disconnect is a DISCONNECT packet. It owns its bytes.
type Disconnect struct {
	Code            Code
	SessionExpiry   Optional[uint32] // seconds; sent by clients only
	ServerReference string           // sent by servers only
	ReasonString    string
}

var (
	// MQTT 5 section 3.14.2.1, "sent by": the client's codes.
	clientDisconnectCodes = codes(NormalDisconnection, DisconnectWithWill, UnspecifiedError, MalformedPacket,
		ProtocolError, ImplementationSpecificError, TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid,
		PacketTooLarge, MessageRateTooHigh, QuotaExceeded, AdministrativeAction, PayloadFormatInvalid)
	// The server's codes.
	serverDisconnectCodes = codes(NormalDisconnection, UnspecifiedError, MalformedPacket, ProtocolError,
		ImplementationSpecificError, NotAuthorized, ServerBusy, ServerShuttingDown, KeepAliveTimeout, SessionTakenOver,
		TopicFilterInvalid, TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge,
		MessageRateTooHigh, QuotaExceeded, AdministrativeAction, PayloadFormatInvalid, RetainNotSupported,
		QoSNotSupported, UseAnotherServer, ServerMoved, SharedSubscriptionsNotSupported, ConnectionRateExceeded,
		MaximumConnectTime, SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported)
)

// DecodeDisconnect decodes the body of a DISCONNECT that a client sent. Whether its session expiry may follow the one
// in CONNECT is the caller's to check (a protocol error if that was 0, MQTT 5 section 3.14.2.2.2).
func DecodeDisconnect(body []byte, v Version) (Disconnect, error) {
	r := reader{buf: body, packet: DISCONNECT}
	var d Disconnect
	if v == V5 {
		d = r.disconnect(clientDisconnectCodes, false)
	}
	r.end()
	return d, r.err()
}

// DecodeServerDisconnect decodes the body of a DISCONNECT that a server sent, which is MQTT 5 only.
func DecodeServerDisconnect(body []byte) (Disconnect, error) {
	r := reader{buf: body, packet: DISCONNECT}
	d := r.disconnect(serverDisconnectCodes, true)
	r.end()
	return d, r.err()
}

// disconnect reads the code and the properties, both of which may be missing.
func (r *reader) disconnect(allowed *codeSet, fromServer bool) Disconnect {
	var d Disconnect
	if len(r.buf) == 0 {
		return d
	}
	d.Code = r.code(allowed)
	if len(r.buf) == 0 {
		return d
	}
	for r.begin(); r.next(); {
		switch r.id {
		case propSessionExpiry:
			if fromServer {
				r.fail(ProtocolError, r.field, "was sent by a server [MQTT-3.14.2-2]")
			}
			d.SessionExpiry = Some(r.uint32(r.field))
		case propServerReference:
			if !fromServer {
				r.fail(ProtocolError, r.field, "was sent by a client (MQTT 5 section 3.14.2.2.5)")
			}
			d.ServerReference = string(r.text(r.field))
		case propReasonString:
			d.ReasonString = string(r.text(r.field))
		case propUser:
			r.user()
		}
	}
	return d
}

// AppendDisconnect appends an MQTT 5 DISCONNECT with the code and, unless it is empty, the reason in words. A server
// never sends DISCONNECT to a 3.1 or 3.1.1 client. When the packet is longer than the client's Maximum Packet Size the
// caller sends it without the reason [MQTT-3.14.2-3].
func AppendDisconnect(dst []byte, code Code, reason string) []byte {
	return AppendDisconnectPacket(dst, V5, &Disconnect{Code: code, ReasonString: reason})
}

// AppendDisconnectPacket appends d with all its properties; for 3.1 and 3.1.1 the two bytes a client says goodbye with.
func AppendDisconnectPacket(dst []byte, v Version, d *Disconnect) []byte {
	dst = append(dst, byte(DISCONNECT)<<4)
	bare := !d.SessionExpiry.Set && d.ServerReference == "" && d.ReasonString == ""
	switch {
	case v != V5 || bare && d.Code == NormalDisconnection:
		return append(dst, 0)
	case bare:
		return append(dst, 1, byte(d.Code))
	}
	at := len(dst)
	dst = append(dst, byte(d.Code))
	block := len(dst)
	if d.SessionExpiry.Set {
		dst = appendUint32(append(dst, propSessionExpiry), d.SessionExpiry.Value)
	}
	dst = appendReason(dst, d.ReasonString)
	dst = appendTextProperty(dst, propServerReference, d.ServerReference)
	dst = prefixLength(dst, block)
	return prefixLength(dst, at)
}
