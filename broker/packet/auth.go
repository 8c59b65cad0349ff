package packet

// Auth is an AUTH packet, of MQTT 5 only. It owns its bytes.
type Auth struct {
	Code         Code
	Method       string // empty only in a server's success without properties
	Data         []byte // nil when left out
	ReasonString string
}

var (
	// [MQTT-3.15.2-1] and section 3.15.2.1, "sent by".
	clientAuthCodes = codes(ContinueAuthentication, ReAuthenticate)
	serverAuthCodes = codes(Success, ContinueAuthentication)
)

// DecodeAuth decodes the body of an AUTH that a client sent. ReadHeader refuses AUTH before MQTT 5.
func DecodeAuth(body []byte) (Auth, error) { return decodeAuth(body, clientAuthCodes) }

// DecodeServerAuth decodes the body of an AUTH that a server sent.
func DecodeServerAuth(body []byte) (Auth, error) { return decodeAuth(body, serverAuthCodes) }

func decodeAuth(body []byte, allowed *codeSet) (Auth, error) {
	r := reader{buf: body, packet: AUTH}
	var a Auth
	if len(body) == 0 { // the short form of success (MQTT 5 section 3.15.2.1)
		if !allowed.has(Success) {
			r.fail(ProtocolError, "reason code", "0x00 is not one a client sends (MQTT 5 section 3.15.2.1)")
		}
		return a, r.err()
	}
	a.Code = r.code(allowed)
	for r.begin(); r.next(); {
		switch r.id {
		case propAuthMethod:
			a.Method = r.authMethod()
		case propAuthData:
			a.Data = clone(r.binary(r.field))
		case propReasonString:
			a.ReasonString = string(r.text(r.field))
		case propUser:
			r.user()
		}
	}
	if a.Method == "" {
		r.fail(ProtocolError, "authentication method", "is missing (MQTT 5 section 3.15.2.2.2)")
	}
	r.end()
	return a, r.err()
}

// AppendAuth appends an AUTH.
func AppendAuth(dst []byte, a *Auth) []byte {
	dst = append(dst, byte(AUTH)<<4)
	at := len(dst)
	if a.Code == Success && a.Method == "" && a.ReasonString == "" {
		return append(dst, 0)
	}
	dst = append(dst, byte(a.Code))
	block := len(dst)
	dst = appendTextProperty(dst, propAuthMethod, a.Method)
	if a.Data != nil {
		dst = appendBinary(append(dst, propAuthData), a.Data)
	}
	dst = appendReason(dst, a.ReasonString)
	dst = prefixLength(dst, block)
	return prefixLength(dst, at)
}
