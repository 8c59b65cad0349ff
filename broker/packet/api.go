package packet

// Bounds on what one packet may make the broker allocate, beyond the packet size limit of the listener.
const (
	// MaxRemaining is the largest Remaining Length the wire can carry.
	MaxRemaining = 268_435_455
	// MaxHeader is the longest fixed header in bytes: type and flags, and four bytes of length.
	MaxHeader = 5
	// MaxFilters bounds the topic filters of one SUBSCRIBE or UNSUBSCRIBE; more are refused with QuotaExceeded.
	MaxFilters = 8192
	// MaxUserProperties bounds the user properties of one packet; more are refused with QuotaExceeded.
	MaxUserProperties = 1024
	// SessionNeverExpires is the session expiry interval that never ends.
	SessionNeverExpires uint32 = 0xFFFFFFFF
)

// Header is a packet's fixed header.
type Header struct {
	Type      Type
	Flags     byte // the lower four bits of the first byte
	Remaining int  // bytes of the body that follows, at most MaxRemaining
}

// ReadHeader reads the fixed header at the start of buf and returns it with its length n in bytes (2 to MaxHeader).
// n is 0 with a nil error while more bytes are needed. v is the connection's version, 0 before CONNECT: then only
// CONNECT is accepted [MQTT-3.1.0-1], and after it no second one [MQTT-3.1.0-2]. Wrong flags, a wrong type and a wrong
// length are refused as soon as their byte is there.
//
// The caller compares the size with its limit (CheckSize) before it makes room for the body.
func ReadHeader(buf []byte, v Version) (h Header, n int, err error) { panic("not yet") }

// CheckSize returns PacketTooLarge when the whole packet, of which n bytes are the fixed header, exceeds limit bytes.
func (h Header) CheckSize(n, limit int) error { panic("not yet") }

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
	AuthMethod          string // "" when left out
	AuthData            []byte
	User                []UserProperty
}

// Will is the will message of a CONNECT.
type Will struct {
	Topic         string
	Payload       []byte
	QoS           byte
	Retain        bool
	Delay         uint32 // seconds
	MessageExpiry Optional[uint32]
	Forward       []byte // as in Publish
}

// DecodeConnect decodes the body of a CONNECT. On error the Connect is not nil: its Version is the one to answer the
// client in, whatever else was read.
func DecodeConnect(body []byte) (*Connect, error) { panic("not yet") }

// Publish is a PUBLISH packet as received. Its slices are views of the body it was decoded from.
type Publish struct {
	QoS        byte
	Dup        bool
	Retain     bool
	PacketID   uint16 // 0 at QoS 0, never 0 otherwise
	TopicAlias uint16 // 0 without one
	Topic      []byte // empty only with a TopicAlias: the topic is the one the alias stands for
	Payload    []byte
	// MessageExpiry is in seconds.
	MessageExpiry Optional[uint32]
	// Forward holds the properties a server passes on unchanged (payload format, content type, response topic,
	// correlation data, user properties in their order [MQTT-3.3.2-17]) as they were on the wire, one after the other,
	// without a length in front. nil when there are none.
	Forward []byte
	// SubscriptionIDs are set by DecodeServerPublish only.
	SubscriptionIDs []uint32
}

// DecodePublish decodes a PUBLISH that a client sent into p, overwriting all of it. It allocates nothing, unless the
// forwarded properties are not next to each other: then once.
func DecodePublish(h Header, body []byte, v Version, p *Publish) error { panic("not yet") }

// DecodeServerPublish is DecodePublish for a PUBLISH that a server sent, which may carry subscription identifiers.
func DecodeServerPublish(h Header, body []byte, v Version, p *Publish) error { panic("not yet") }

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	Type     Type
	Code     Code
	PacketID uint16
}

// DecodeAck decodes the body of one of the four acks. It allocates nothing.
func DecodeAck(h Header, body []byte, v Version) (Ack, error) { panic("not yet") }

// Subscription is one topic filter of a SUBSCRIBE with its options.
type Subscription struct {
	Filter            string // with its $share/group/ if it has one; valid
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0 send retained, 1 only if the subscription is new, 2 never
}

// Subscribe is a SUBSCRIBE packet. It owns its bytes.
type Subscribe struct {
	PacketID       uint16
	SubscriptionID uint32 // 0 without one
	Filters        []Subscription
}

// DecodeSubscribe decodes the body of a SUBSCRIBE.
func DecodeSubscribe(body []byte, v Version) (Subscribe, error) { panic("not yet") }

// Unsubscribe is an UNSUBSCRIBE packet. It owns its bytes.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
}

// DecodeUnsubscribe decodes the body of an UNSUBSCRIBE.
func DecodeUnsubscribe(body []byte, v Version) (Unsubscribe, error) { panic("not yet") }

// Disconnect is a DISCONNECT packet. It owns its bytes.
type Disconnect struct {
	Code            Code
	SessionExpiry   Optional[uint32] // seconds; sent by clients only
	ServerReference string           // sent by servers only
	ReasonString    string
}

// DecodeDisconnect decodes the body of a DISCONNECT that a client sent.
func DecodeDisconnect(body []byte, v Version) (Disconnect, error) { panic("not yet") }

// DecodeServerDisconnect decodes the body of a DISCONNECT that a server sent (MQTT 5 only).
func DecodeServerDisconnect(body []byte) (Disconnect, error) { panic("not yet") }

// Auth is an AUTH packet. It owns its bytes.
type Auth struct {
	Code         Code
	Method       string
	Data         []byte
	ReasonString string
}

// DecodeAuth decodes the body of an AUTH that a client sent (MQTT 5 only; ReadHeader refuses it otherwise).
func DecodeAuth(body []byte) (Auth, error) { panic("not yet") }

// DecodeServerAuth decodes the body of an AUTH that a server sent.
func DecodeServerAuth(body []byte) (Auth, error) { panic("not yet") }

// Connack is a CONNACK packet. The zero value accepts the connection and restricts nothing.
type Connack struct {
	SessionPresent    bool
	Code              Code
	SessionExpiry     Optional[uint32] // seconds; unset: what the client asked for
	ReceiveMaximum    uint16           // 0: left out, which means 65535
	MaximumQoS        Optional[byte]   // 0 or 1; unset: 2
	RetainAvailable   Optional[bool]
	MaximumPacketSize uint32 // bytes; 0: left out, no limit
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
	AuthData          []byte
	User              []UserProperty
}

// DecodeConnack decodes the body of a CONNACK. For 3.1 and 3.1.1 Code is the MQTT 5 code that says the same.
func DecodeConnack(body []byte, v Version) (Connack, error) { panic("not yet") }

// AppendConnack appends c. It appends nothing when v is 3.1 or 3.1.1 and those have no return code for c.Code: close
// without a CONNACK then (Code.ConnackV3). Session present is written with success only [MQTT-3.2.2-6].
func AppendConnack(dst []byte, v Version, c *Connack) []byte { panic("not yet") }

// Suback is a SUBACK or, with DecodeUnsuback, an UNSUBACK packet (which has no codes in 3.1 and 3.1.1).
type Suback struct {
	PacketID uint16
	Codes    []Code
}

// DecodeSuback decodes the body of a SUBACK.
func DecodeSuback(body []byte, v Version) (Suback, error) { panic("not yet") }

// DecodeUnsuback decodes the body of an UNSUBACK.
func DecodeUnsuback(body []byte, v Version) (Suback, error) { panic("not yet") }

// OutPublish is a PUBLISH to send.
type OutPublish struct {
	Topic    string
	QoS      byte
	Retain   bool
	Dup      bool   // ignored at QoS 0 [MQTT-3.3.1-2]
	PacketID uint16 // ignored at QoS 0
	Payload  []byte

	// The rest is dropped for 3.1 and 3.1.1.

	Forward         []byte   // as in Publish
	MessageExpiry   uint32   // seconds; 0 leaves it out
	SubscriptionIDs []uint32 // none 0
	TopicAlias      uint16   // 0 leaves it out
	OmitTopic       bool     // send the alias in place of the topic; ignored without a TopicAlias
}

// PublishSize returns the size in bytes of the whole packet AppendPublish would append.
func PublishSize(v Version, p *OutPublish) int { panic("not yet") }

// AppendPublish appends p.
func AppendPublish(dst []byte, v Version, p *OutPublish) []byte { panic("not yet") }

// AppendPublishHead appends all of p up to its payload, which the caller writes behind it.
func AppendPublishHead(dst []byte, v Version, p *OutPublish) []byte { panic("not yet") }

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. Success takes the two byte form, PUBREL always does: clients
// exist that fail on a PUBREL with a reason code.
func AppendAck(dst []byte, v Version, t Type, id uint16, code Code) []byte { panic("not yet") }

// AppendSuback appends a SUBACK. For 3.1 and 3.1.1 codes above 0x02 become 0x80.
func AppendSuback(dst []byte, v Version, id uint16, codes []Code) []byte { panic("not yet") }

// AppendUnsuback appends an UNSUBACK. 3.1 and 3.1.1 have no codes in it.
func AppendUnsuback(dst []byte, v Version, id uint16, codes []Code) []byte { panic("not yet") }

// AppendPingresp appends a PINGRESP.
func AppendPingresp(dst []byte) []byte { panic("not yet") }

// AppendDisconnect appends an MQTT 5 DISCONNECT with the code and, unless it is empty, the reason in words.
// A server never sends DISCONNECT to a 3.1 or 3.1.1 client.
func AppendDisconnect(dst []byte, code Code, reason string) []byte { panic("not yet") }

// AppendDisconnectPacket appends d with all its properties; for 3.1 and 3.1.1 the two bytes a client says goodbye with.
func AppendDisconnectPacket(dst []byte, v Version, d *Disconnect) []byte { panic("not yet") }

// AppendAuth appends an AUTH.
func AppendAuth(dst []byte, a *Auth) []byte { panic("not yet") }

// AppendConnect appends c in its Version, for a client.
func AppendConnect(dst []byte, c *Connect) []byte { panic("not yet") }

// AppendSubscribe appends s, for a client. 3.1 and 3.1.1 know the QoS only.
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte { panic("not yet") }

// AppendUnsubscribe appends u, for a client.
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte { panic("not yet") }

// AppendPingreq appends a PINGREQ, for a client.
func AppendPingreq(dst []byte) []byte { panic("not yet") }
