package packet

import "bytes"

// Connect is a CONNECT packet. It owns its bytes. What a packet left out has its default filled in.
type Connect struct {
	Version     Version
	CleanStart  bool   // clean session in 3.1 and 3.1.1
	KeepAlive   uint16 // seconds, 0 is off
	ClientID    string // "" asks the server for one
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	Will        *Will // nil without a will

	// SessionExpiry is in seconds. 3.x has no such property: 0 with a clean session, else SessionNeverExpires.
	SessionExpiry       uint32
	ReceiveMaximum      uint16 // never 0; 65535 when left out
	MaximumPacketSize   uint32 // bytes; 0 when left out: no limit
	TopicAliasMaximum   uint16
	RequestResponseInfo bool
	RequestProblemInfo  bool   // true when left out
	AuthMethod          string // "" when left out, never empty otherwise
	AuthData            []byte // nil when left out
	User                []UserProperty
}

// Will is the will message of a CONNECT.
type Will struct {
	Topic         string
	Payload       []byte
	QoS           byte
	Retain        bool
	Delay         uint32           // seconds
	MessageExpiry Optional[uint32] // seconds
	Forward       []byte           // as in Publish
}

// The connect flags (MQTT 5 section 3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// bridgeBit is what mosquitto's bridges set in the protocol level when they try for a broker that speaks their dialect.
// Refused in 3.1.1's words they come again without it.
const bridgeBit = 0x80

// DecodeConnect decodes the body of a CONNECT. On error the Connect is not nil: its Version is the one to answer the
// client in, whatever else was read.
func DecodeConnect(body []byte) (*Connect, error) {
	r := reader{buf: body, packet: CONNECT}
	c := &Connect{Version: V311, ReceiveMaximum: 65535, RequestProblemInfo: true}
	r.protocol(c)
	flags := r.connectFlags(c.Version)
	c.CleanStart = flags&flagCleanStart != 0
	c.KeepAlive = r.uint16("keep alive")
	if c.Version == V5 {
		r.connectProperties(c)
	} else if !c.CleanStart {
		c.SessionExpiry = SessionNeverExpires
	}
	r.clientID(c)
	if flags&flagWill != 0 {
		c.Will = r.will(c.Version, flags)
	}
	r.credentials(c, flags)
	r.end()
	return c, r.err()
}

// protocol reads the protocol name and level, and settles the version to answer in.
func (r *reader) protocol(c *Connect) {
	name := r.binary("protocol name")
	level := r.byte("protocol version")
	if r.refusal != nil {
		return
	}
	if level >= byte(V5) && level&bridgeBit == 0 {
		c.Version = V5
	}
	switch {
	case bytes.Equal(name, []byte("MQTT")):
		if level != byte(V311) && level != byte(V5) {
			r.failf(UnsupportedProtocolVersion, "protocol version", "is %d, known are 4 (3.1.1) and 5 [MQTT-3.1.2-2]", level)
			return
		}
	case bytes.Equal(name, []byte("MQIsdp")):
		if level != byte(V31) {
			r.failf(UnsupportedProtocolVersion, "protocol version", "is %d, MQIsdp has 3 only [MQTT-3.1.2-2]", level)
			return
		}
	default:
		r.fail(UnsupportedProtocolVersion, "protocol name", "is neither MQTT nor MQIsdp [MQTT-3.1.2-1]")
		return
	}
	c.Version = Version(level)
}

// connectFlags reads the connect flags and refuses contradictions between them.
func (r *reader) connectFlags(v Version) byte {
	const field = "flags"
	flags := r.byte(field)
	qos := flags >> 3 & 3
	switch {
	case flags&flagReserved != 0:
		r.fail(MalformedPacket, field, "have the reserved bit set [MQTT-3.1.2-3]")
	case flags&flagWill == 0 && qos != 0:
		r.fail(MalformedPacket, field, "have a will QoS and no will [MQTT-3.1.2-11]")
	case qos == 3:
		r.fail(MalformedPacket, field, "have will QoS 3 [MQTT-3.1.2-12]")
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		r.fail(MalformedPacket, field, "have will retain and no will [MQTT-3.1.2-13]")
	case v != V5 && flags&flagUsername == 0 && flags&flagPassword != 0:
		r.fail(MalformedPacket, field, "have a password and no user name [MQTT-3.1.2-22 of 3.1.1]")
	}
	return flags
}

func (r *reader) connectProperties(c *Connect) {
	hasData, hasMethod := false, false
	for r.begin(); r.next(); {
		switch r.id {
		case propSessionExpiry:
			c.SessionExpiry = r.uint32(r.field)
		case propReceiveMaximum:
			c.ReceiveMaximum = r.positive16()
		case propMaximumPacketSize:
			c.MaximumPacketSize = r.positive32()
		case propTopicAliasMaximum:
			c.TopicAliasMaximum = r.uint16(r.field)
		case propRequestResponse:
			c.RequestResponseInfo = r.bit()
		case propRequestProblem:
			c.RequestProblemInfo = r.bit()
		case propAuthMethod:
			hasMethod = true
			c.AuthMethod = r.authMethod()
		case propAuthData:
			hasData = true
			c.AuthData = clone(r.binary(r.field))
		case propUser:
			c.User = r.appendUser(c.User)
		}
	}
	if hasData && !hasMethod {
		r.fail(ProtocolError, "authentication data", "comes without an authentication method (MQTT 5 section 3.1.2.11.10)")
	}
}

// clientID reads the client identifier. Only MQTT 5, and 3.1.1 with a clean session, may leave it empty.
func (r *reader) clientID(c *Connect) {
	const field = "client identifier"
	c.ClientID = string(r.text(field))
	if c.ClientID != "" || r.refusal != nil {
		return
	}
	switch {
	case c.Version == V31:
		r.fail(ClientIdentifierNotValid, field, "is empty (MQTT 3.1 section 3.1)")
	case c.Version == V311 && !c.CleanStart:
		r.fail(ClientIdentifierNotValid, field, "is empty without a clean session [MQTT-3.1.3-8 of 3.1.1]")
	}
}

func (r *reader) will(v Version, flags byte) *Will {
	w := &Will{QoS: flags >> 3 & 3, Retain: flags&flagWillRetain != 0}
	if v == V5 {
		var f forward
		for r.beginIn(inWill); r.next(); {
			switch {
			case r.forwardable(&f):
			case r.id == propMessageExpiry:
				w.MessageExpiry = Some(r.uint32(r.field))
			case r.id == propWillDelay:
				w.Delay = r.uint32(r.field)
			}
		}
		w.Forward = clone(f.bytes())
	}
	w.Topic = string(r.topicName("will topic"))
	w.Payload = clone(r.binary("will payload"))
	return w
}

// credentials reads the user name and password. In 3.1 the remaining length goes before their flags: a flag with
// nothing behind it is valid and means none (MQTT 3.1 section 3.1).
func (r *reader) credentials(c *Connect, flags byte) {
	absent := func() bool { return c.Version == V31 && len(r.buf) == 0 }
	if flags&flagUsername != 0 && !absent() {
		c.HasUsername = true
		c.Username = string(r.text("user name"))
	}
	if flags&flagPassword != 0 && !absent() {
		c.HasPassword = true
		c.Password = clone(r.binary("password"))
	}
}

// authMethod reads an authentication method. An empty one names no method the server could have; only a CONNECT can be
// told so, DISCONNECT has no such code.
func (r *reader) authMethod() string {
	method := string(r.text(r.field))
	if method == "" {
		code := ProtocolError
		if r.packet == CONNECT {
			code = BadAuthenticationMethod
		}
		r.fail(code, r.field, "is empty [MQTT-4.12.0-1]")
	}
	return method
}

// appendUser reads a user property and appends a copy.
func (r *reader) appendUser(to []UserProperty) []UserProperty {
	key, value := r.user()
	return append(to, UserProperty{Key: string(key), Value: string(value)})
}

// clone copies b; nil stays nil and empty stays empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}
