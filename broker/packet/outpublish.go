package packet

import "slices"

// OutPublish is a PUBLISH to send.
type OutPublish struct {
	Topic    string
	QoS      byte
	Retain   bool
	Dup      bool   // ignored at QoS 0 [MQTT-3.3.1-2]
	PacketID uint16 // ignored at QoS 0 [MQTT-2.2.1-2]
	Payload  []byte

	// The rest is dropped for 3.1 and 3.1.1.

	Forward         []byte   // as in Publish
	MessageExpiry   uint32   // seconds; 0 leaves it out
	SubscriptionIDs []uint32 // none 0
	TopicAlias      uint16   // 0 leaves it out
	OmitTopic       bool     // send the alias in place of the topic; ignored without a TopicAlias
}

// PublishSize returns the size in bytes of the whole packet AppendPublish would append: what the client's Maximum
// Packet Size is about [MQTT-3.1.2-24]. A packet of more than MaxHeader+MaxRemaining bytes cannot be encoded at all:
// AppendPublish panics on it.
func PublishSize(v Version, p *OutPublish) int {
	_, remaining := p.lengths(v)
	return 1 + varintSize(remaining) + remaining
}

// AppendPublish appends p.
func AppendPublish(dst []byte, v Version, p *OutPublish) []byte {
	return append(AppendPublishHead(slices.Grow(dst, PublishSize(v, p)), v, p), p.Payload...)
}

// AppendPublishHead appends all of p up to its payload, which the caller writes behind it.
func AppendPublishHead(dst []byte, v Version, p *OutPublish) []byte {
	properties, remaining := p.lengths(v)
	first := byte(PUBLISH)<<4 | p.QoS<<1 | bit(p.Retain)
	if p.QoS > 0 {
		first |= bit(p.Dup) << 3
	}
	dst = appendVarint(append(dst, first), remaining)
	dst = appendString(dst, p.topic(v))
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v != V5 {
		return dst
	}
	dst = appendVarint(dst, properties)
	dst = append(dst, p.Forward...)
	dst = appendNonZero32(dst, propMessageExpiry, p.MessageExpiry)
	dst = appendNonZero16(dst, propTopicAlias, p.TopicAlias)
	for _, id := range p.SubscriptionIDs {
		dst = appendVarint(append(dst, propSubscriptionID), int(id))
	}
	return dst
}

func (p *OutPublish) topic(v Version) string {
	if v == V5 && p.OmitTopic && p.TopicAlias != 0 {
		return ""
	}
	return p.Topic
}

// lengths returns the property length and the remaining length.
func (p *OutPublish) lengths(v Version) (properties, remaining int) {
	remaining = 2 + len(p.topic(v)) + len(p.Payload)
	if p.QoS > 0 {
		remaining += 2
	}
	if v != V5 {
		return 0, remaining
	}
	properties = len(p.Forward)
	if p.MessageExpiry != 0 {
		properties += 5
	}
	if p.TopicAlias != 0 {
		properties += 3
	}
	for _, id := range p.SubscriptionIDs {
		properties += 1 + varintSize(int(id))
	}
	return properties, remaining + varintSize(properties) + properties
}
