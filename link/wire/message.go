package wire

import "encoding/binary"

// Flags of a message.
const (
	messageQoS       byte = 3 << 0
	messageRetain    byte = 1 << 2
	messageLive      byte = 1 << 3
	messageSameSpace byte = 1 << 4 // namespace as in the message before
	messageExpires   byte = 1 << 5
	messageForward   byte = 1 << 6
	messageVersion   byte = 1 << 7 // has a RetainVersion
)

const (
	minMessage = 3 // flags, length of the topic, length of the payload
	maxForward = MaxMessageBytes
	maxPayload = MaxMessageBytes
)

// MessageBytes is the size that limits on messages are about: topic, properties
// and payload.
func MessageBytes(m *Message) int { return len(m.Topic) + len(m.Forward) + len(m.Payload) }

// messageBound is at least the encoded size of m.
func messageBound(m *Message) int {
	n := 64 + len(m.Namespace) + len(m.Topic) + len(m.Forward) + len(m.Payload)
	for _, g := range m.Groups {
		n += 4 + len(g)
	}
	return n
}

func (e *Encoder) appendMessage(b []byte, m *Message) []byte {
	flags := m.QoS & messageQoS
	for _, f := range []struct {
		on  bool
		bit byte
	}{
		{m.Retain, messageRetain}, {m.Live, messageLive}, {m.Namespace == e.ns, messageSameSpace},
		{m.ExpiryMillis > 0, messageExpires}, {len(m.Forward) > 0, messageForward}, {m.RetainVersion > 0, messageVersion},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, flags)
	if !e.live {
		b = binary.AppendUvarint(b, m.Seq-e.last)
	}
	if flags&messageSameSpace == 0 {
		b = appendString(b, m.Namespace)
	}
	b = appendString(b, m.Topic)
	if m.ExpiryMillis > 0 {
		b = binary.AppendUvarint(b, m.ExpiryMillis)
	}
	if len(m.Forward) > 0 {
		b = appendBytes(b, m.Forward)
	}
	if m.RetainVersion > 0 {
		b = binary.AppendUvarint(b, m.RetainVersion)
	}
	return appendBytes(b, m.Payload)
}

// parseMessages reads exactly count messages, whose seqs rise within the span.
// Payloads and properties alias block.
func parseMessages(block []byte, count int, h *Header, groups bool) ([]Message, error) {
	f := fields{b: block}
	messages := make([]Message, count)
	last, ns := h.From, ""
	for i := range messages {
		m := &messages[i]
		f.message(m, h.Live, last, ns)
		if f.err == nil && !h.Live && (m.Seq <= last || m.Seq > h.To) {
			f.fail(corrupt("message %d of the frame (%d, %d] has seq %d after %d", i, h.From, h.To, m.Seq, last))
		}
		if f.err != nil {
			return nil, f.err
		}
		last, ns = m.Seq, m.Namespace
	}
	if groups {
		f.groups(messages)
	}
	if err := f.end("messages"); err != nil {
		return nil, err
	}
	return messages, nil
}

func (f *fields) message(m *Message, live bool, last uint64, ns string) {
	flags := f.byte("message flags")
	m.QoS = flags & messageQoS
	if m.QoS > 2 {
		f.fail(corrupt("a message has QoS 3"))
	}
	m.Retain, m.Live = flags&messageRetain != 0, flags&messageLive != 0
	if !live {
		m.Seq = last + f.uvarint("seq")
	}
	m.Namespace = ns
	if flags&messageSameSpace == 0 {
		m.Namespace = f.string("namespace", maxTopic)
	}
	m.Topic = f.string("topic", maxTopic)
	if flags&messageExpires != 0 {
		m.ExpiryMillis = f.uvarint("expiry")
	}
	if flags&messageForward != 0 {
		m.Forward = f.bytes("properties", maxForward)
	}
	if flags&messageVersion != 0 {
		m.RetainVersion = f.uvarint("retain version")
	}
	m.Payload = f.bytes("payload", maxPayload)
}
