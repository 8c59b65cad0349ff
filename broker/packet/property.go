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

// properties walks one property block. While it does, the reader ends where the block ends, so that no value can reach
// into the fields behind it; next puts the rest back.
//
//	for p := r.properties(); p.next(); {
//		switch p.id { … read the value from r … }
//	}
type properties struct {
	r     *reader
	where scope
	block []byte
	rest  []byte // the body behind the block
	seen  uint64 // a bit for each identifier met
	users int

	id    byte   // the property whose value stands next in r
	field string // its name
	from  int    // where its identifier stands in block
}

// properties begins the property block of the packet itself.
func (r *reader) properties() properties { return r.propertiesOf(1 << r.packet) }

// propertiesOf begins a property block with the properties allowed in where.
func (r *reader) propertiesOf(where scope) properties {
	block := r.take(r.varint("property length"), "property length")
	p := properties{r: r, where: where, block: block, rest: r.buf}
	if r.refusal == nil {
		r.buf = block
	}
	return p
}

// next moves to the next property. It refuses identifiers that do not exist or do not belong here, and repeated ones.
func (p *properties) next() bool {
	if p.r.refusal != nil {
		return false
	}
	if len(p.r.buf) == 0 {
		p.r.buf = p.rest
		return false
	}
	p.from = p.at()
	p.id = p.r.byte("property identifier")
	if int(p.id) >= len(propertyTable) || propertyTable[p.id].name == "" {
		p.r.failf(MalformedPacket, "property", "0x%02X does not exist (MQTT 5 section 2.2.2.2)", p.id)
		return false
	}
	entry := &propertyTable[p.id]
	p.field = entry.name
	if entry.in&p.where == 0 {
		p.r.fail(MalformedPacket, p.field, "does not belong in this packet (MQTT 5 section 2.2.2.2)")
		return false
	}
	bit := uint64(1) << p.id
	if p.seen&bit != 0 && p.id != propUser && !(p.id == propSubscriptionID && p.r.packet == PUBLISH) {
		p.r.fail(ProtocolError, p.field, "stands there more than once (MQTT 5 section 2.2.2.2)")
		return false
	}
	p.seen |= bit
	return true
}

// at returns the offset in block of what the reader reads next.
func (p *properties) at() int { return len(p.block) - len(p.r.buf) }

// bit reads a byte that is 0 or 1.
func (p *properties) bit() bool {
	b := p.r.byte(p.field)
	if b > 1 {
		p.r.failf(ProtocolError, p.field, "is %d, neither 0 nor 1 (MQTT 5 section 2.2.2.2)", b)
	}
	return b == 1
}

// positive16 reads a number that may not be 0.
func (p *properties) positive16() uint16 {
	n := p.r.uint16(p.field)
	if n == 0 {
		p.r.fail(ProtocolError, p.field, "is 0 (MQTT 5 section 3.1.2.11)")
	}
	return n
}

// positive32 reads a number that may not be 0.
func (p *properties) positive32() uint32 {
	n := p.r.uint32(p.field)
	if n == 0 {
		p.r.fail(ProtocolError, p.field, "is 0 (MQTT 5 section 3.1.2.11)")
	}
	return n
}

// subscriptionID reads a subscription identifier, 1 to 268,435,455.
func (p *properties) subscriptionID() uint32 {
	n := p.r.varint(p.field)
	if n == 0 {
		p.r.fail(ProtocolError, p.field, "is 0 (MQTT 5 section 3.8.2.1.2)")
	}
	return uint32(n)
}

// user reads a user property as views.
func (p *properties) user() (key, value []byte) {
	p.users++
	if p.users > MaxUserProperties {
		p.r.failf(QuotaExceeded, p.field, "stands there more than %d times", MaxUserProperties)
		return nil, nil
	}
	return p.r.text("user property name"), p.r.text("user property value")
}

// skipNote checks and drops the two properties every acknowledgement may carry.
func (p *properties) skipNote() {
	if p.id == propUser {
		p.user()
		return
	}
	p.r.text(p.field)
}
