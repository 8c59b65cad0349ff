package packet

// Property identifiers (MQTT 5 section 2.2.2.2). All fit one byte of a variable byte integer.
const (
	propPayloadFormat     = 0x01
	propMessageExpiry     = 0x02
	propContentType       = 0x03
	propResponseTopic     = 0x08
	propCorrelationData   = 0x09
	propSubscriptionID    = 0x0B
	propSessionExpiry     = 0x11
	propAssignedClientID  = 0x12
	propServerKeepAlive   = 0x13
	propAuthMethod        = 0x15
	propAuthData          = 0x16
	propRequestProblem    = 0x17
	propWillDelay         = 0x18
	propRequestResponse   = 0x19
	propResponseInfo      = 0x1A
	propServerReference   = 0x1C
	propReasonString      = 0x1F
	propReceiveMaximum    = 0x21
	propTopicAliasMaximum = 0x22
	propTopicAlias        = 0x23
	propMaximumQoS        = 0x24
	propRetainAvailable   = 0x25
	propUser              = 0x26
	propMaximumPacketSize = 0x27
	propWildcardAvailable = 0x28
	propSubIDAvailable    = 0x29
	propSharedAvailable   = 0x2A
)

// scope is the set of places a property may stand in: a bit for each packet type, and bit 0 (no type) for a will.
type scope uint16

const inWill scope = 1

func in(types ...Type) scope {
	var s scope
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

// propertyTable is Table 2-4 of MQTT 5. An identifier with no name does not exist.
var propertyTable = [...]struct {
	name string
	in   scope
}{
	propPayloadFormat:     {"payload format indicator", in(PUBLISH) | inWill},
	propMessageExpiry:     {"message expiry interval", in(PUBLISH) | inWill},
	propContentType:       {"content type", in(PUBLISH) | inWill},
	propResponseTopic:     {"response topic", in(PUBLISH) | inWill},
	propCorrelationData:   {"correlation data", in(PUBLISH) | inWill},
	propSubscriptionID:    {"subscription identifier", in(PUBLISH, SUBSCRIBE)},
	propSessionExpiry:     {"session expiry interval", in(CONNECT, CONNACK, DISCONNECT)},
	propAssignedClientID:  {"assigned client identifier", in(CONNACK)},
	propServerKeepAlive:   {"server keep alive", in(CONNACK)},
	propAuthMethod:        {"authentication method", in(CONNECT, CONNACK, AUTH)},
	propAuthData:          {"authentication data", in(CONNECT, CONNACK, AUTH)},
	propRequestProblem:    {"request problem information", in(CONNECT)},
	propWillDelay:         {"will delay interval", inWill},
	propRequestResponse:   {"request response information", in(CONNECT)},
	propResponseInfo:      {"response information", in(CONNACK)},
	propServerReference:   {"server reference", in(CONNACK, DISCONNECT)},
	propReasonString:      {"reason string", in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	propReceiveMaximum:    {"receive maximum", in(CONNECT, CONNACK)},
	propTopicAliasMaximum: {"topic alias maximum", in(CONNECT, CONNACK)},
	propTopicAlias:        {"topic alias", in(PUBLISH)},
	propMaximumQoS:        {"maximum QoS", in(CONNACK)},
	propRetainAvailable:   {"retain available", in(CONNACK)},
	propUser: {"user property", inWill | in(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK,
		UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH)},
	propMaximumPacketSize: {"maximum packet size", in(CONNECT, CONNACK)},
	propWildcardAvailable: {"wildcard subscription available", in(CONNACK)},
	propSubIDAvailable:    {"subscription identifiers available", in(CONNACK)},
	propSharedAvailable:   {"shared subscription available", in(CONNACK)},
}

// properties is a reader's place in a property block. It is part of the reader, not beside it with a pointer to it, so
// that both stay on the stack.
//
//	for r.begin(); r.next(); {
//		switch r.id { … read the value … }
//	}
type properties struct {
	where scope
	block []byte
	rest  []byte // the body behind the block
	seen  uint64 // a bit for each identifier met
	users int

	id    byte   // the property whose value stands next
	field string // its name
	from  int    // where its identifier stands in block
}

// begin enters the property block of the packet itself.
func (r *reader) begin() { r.beginIn(1 << r.packet) }

// beginIn enters a property block with the properties allowed in where. Until next puts the rest of the body back the
// reader ends where the block ends, so that no value can reach into the fields behind it.
func (r *reader) beginIn(where scope) {
	block := r.take(r.varint("property length"), "property length")
	r.properties = properties{where: where, block: block, rest: r.buf}
	if r.refusal == nil {
		r.buf = block
	}
}

// next moves to the next property. It refuses identifiers that do not exist or do not belong here, and repeated ones.
func (r *reader) next() bool {
	if r.refusal != nil {
		return false
	}
	if len(r.buf) == 0 {
		r.buf = r.rest
		return false
	}
	r.from = r.at()
	r.id = r.byte("property identifier")
	if int(r.id) >= len(propertyTable) || propertyTable[r.id].name == "" {
		r.failf(MalformedPacket, "property", "0x%02X does not exist (MQTT 5 section 2.2.2.2)", r.id)
		return false
	}
	entry := &propertyTable[r.id]
	r.field = entry.name
	if entry.in&r.where == 0 {
		r.fail(MalformedPacket, r.field, "does not belong in this packet (MQTT 5 section 2.2.2.2)")
		return false
	}
	bit := uint64(1) << r.id
	if r.seen&bit != 0 && r.id != propUser && !(r.id == propSubscriptionID && r.packet == PUBLISH) {
		r.fail(ProtocolError, r.field, "stands there more than once (MQTT 5 section 2.2.2.2)")
		return false
	}
	r.seen |= bit
	return true
}

// at returns the offset in the block of what is read next.
func (r *reader) at() int { return len(r.block) - len(r.buf) }

// bit reads a byte that is 0 or 1.
func (r *reader) bit() bool {
	b := r.byte(r.field)
	if b > 1 {
		r.failf(ProtocolError, r.field, "is %d, neither 0 nor 1 (MQTT 5 section 2.2.2.2)", b)
	}
	return b == 1
}

// positive16 reads a number that may not be 0.
func (r *reader) positive16() uint16 {
	n := r.uint16(r.field)
	if n == 0 {
		r.fail(ProtocolError, r.field, "is 0 (MQTT 5 section 3.1.2.11)")
	}
	return n
}

// positive32 reads a number that may not be 0.
func (r *reader) positive32() uint32 {
	n := r.uint32(r.field)
	if n == 0 {
		r.fail(ProtocolError, r.field, "is 0 (MQTT 5 section 3.1.2.11)")
	}
	return n
}

// subscriptionID reads a subscription identifier, 1 to 268,435,455.
func (r *reader) subscriptionID() uint32 {
	n := r.varint(r.field)
	if n == 0 {
		r.fail(ProtocolError, r.field, "is 0 (MQTT 5 section 3.8.2.1.2)")
	}
	return uint32(n)
}

// user reads a user property as views.
func (r *reader) user() (key, value []byte) {
	r.users++
	if r.users > MaxUserProperties {
		r.failf(QuotaExceeded, r.field, "stands there more than %d times", MaxUserProperties)
		return nil, nil
	}
	return r.text("user property name"), r.text("user property value")
}

// skipNote checks and drops the two properties every acknowledgement may carry.
func (r *reader) skipNote() {
	if r.id == propUser {
		r.user()
		return
	}
	r.text(r.field)
}
