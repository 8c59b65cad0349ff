package packet

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
	// without a length in front. nil when there are none. When they were not neighbours it is a copy, not a view.
	Forward []byte
	// SubscriptionIDs are set by DecodeServerPublish only.
	SubscriptionIDs []uint32
}

// DecodePublish decodes a PUBLISH that a client sent into p, overwriting all of it; after an error p is of no use. It allocates nothing, unless the
// forwarded properties are not next to each other: then once. A topic alias is not compared with the maximum announced
// to the client: that is the caller's [MQTT-3.3.2-9].
func DecodePublish(h Header, body []byte, v Version, p *Publish) error {
	return decodePublish(h, body, v, p, false)
}

// DecodeServerPublish is DecodePublish for a PUBLISH that a server sent, which may carry subscription identifiers.
func DecodeServerPublish(h Header, body []byte, v Version, p *Publish) error {
	return decodePublish(h, body, v, p, true)
}

func decodePublish(h Header, body []byte, v Version, p *Publish, fromServer bool) error {
	r := reader{buf: body, packet: PUBLISH}
	*p = Publish{QoS: h.QoS(), Dup: h.Dup(), Retain: h.Retain()}
	p.Topic = r.text("topic name")
	if p.QoS > 0 {
		p.PacketID = r.packetID()
	}
	if v == V5 {
		r.publishProperties(p, fromServer)
	}
	switch {
	case r.refusal != nil:
	case len(p.Topic) == 0 && p.TopicAlias == 0:
		r.fail(ProtocolError, "topic name", "is empty and there is no topic alias (MQTT 5 section 3.3.2.1)")
	case hasWildcard(p.Topic):
		r.fail(TopicNameInvalid, "topic name", "contains a wildcard [MQTT-3.3.2-2]")
	}
	p.Payload = r.buf[:len(r.buf):len(r.buf)] // an append cannot reach what lies behind the packet
	return r.err()
}

func (r *reader) publishProperties(p *Publish, fromServer bool) {
	var f forward
	for r.begin(); r.next(); {
		if r.forwardable(&f) {
			continue
		}
		switch r.id {
		case propMessageExpiry:
			p.MessageExpiry = Some(r.uint32(r.field))
		case propTopicAlias:
			p.TopicAlias = r.uint16(r.field)
			if p.TopicAlias == 0 {
				r.fail(TopicAliasInvalid, r.field, "is 0 [MQTT-3.3.2-8]")
			}
		case propSubscriptionID:
			if !fromServer {
				r.fail(ProtocolError, r.field, "was sent by a client [MQTT-3.3.4-6]")
				continue
			}
			p.SubscriptionIDs = append(p.SubscriptionIDs, r.subscriptionID())
		}
	}
	p.Forward = f.bytes()
}
