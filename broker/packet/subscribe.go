package packet

// Subscription is one topic filter of a SUBSCRIBE with its options.
type Subscription struct {
	Filter string // with its $share/group/ if it has one; valid
	QoS    byte

	// The rest is zero in 3.1 and 3.1.1.

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

// DecodeSubscribe decodes the body of a SUBSCRIBE. User properties are checked and dropped.
func DecodeSubscribe(body []byte, v Version) (Subscribe, error) {
	r := reader{buf: body, packet: SUBSCRIBE}
	s := Subscribe{PacketID: r.packetID()}
	if v == V5 {
		for r.begin(); r.next(); {
			switch r.id {
			case propSubscriptionID:
				s.SubscriptionID = r.subscriptionID()
			case propUser:
				r.user()
			}
		}
	}
	for r.moreFilters(len(s.Filters)) {
		filter, shared := r.filter()
		options := r.subscribeOptions(v, shared)
		options.Filter = string(filter)
		s.Filters = append(s.Filters, options)
	}
	return s, r.err()
}

// Unsubscribe is an UNSUBSCRIBE packet. It owns its bytes.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
}

// DecodeUnsubscribe decodes the body of an UNSUBSCRIBE. User properties are checked and dropped.
func DecodeUnsubscribe(body []byte, v Version) (Unsubscribe, error) {
	r := reader{buf: body, packet: UNSUBSCRIBE}
	u := Unsubscribe{PacketID: r.packetID()}
	if v == V5 {
		for r.begin(); r.next(); {
			r.user()
		}
	}
	for r.moreFilters(len(u.Filters)) {
		filter, _ := r.filter()
		u.Filters = append(u.Filters, string(filter))
	}
	return u, r.err()
}

// moreFilters reports whether another filter follows the n read so far. There is at least one and at most MaxFilters.
func (r *reader) moreFilters(n int) bool {
	switch {
	case r.refusal != nil:
		return false
	case n == 0 && len(r.buf) == 0 && r.packet == SUBSCRIBE:
		r.fail(ProtocolError, "payload", "has no topic filter [MQTT-3.8.3-2]")
	case n == 0 && len(r.buf) == 0:
		r.fail(ProtocolError, "payload", "has no topic filter [MQTT-3.10.3-2]")
	case n == MaxFilters && len(r.buf) > 0:
		r.failf(QuotaExceeded, "payload", "has more than %d topic filters", MaxFilters)
	}
	return len(r.buf) > 0
}

// filter reads a valid topic filter and reports whether it is that of a shared subscription.
func (r *reader) filter() (filter []byte, shared bool) {
	const field = "topic filter"
	filter = r.text(field)
	if r.refusal != nil {
		return nil, false
	}
	fault, shared := faultOfFilter(filter)
	if fault != "" {
		r.fail(TopicFilterInvalid, field, fault)
		return nil, false
	}
	return filter, shared
}

// subscribeOptions reads the byte behind a filter (MQTT 5 section 3.8.3.1).
func (r *reader) subscribeOptions(v Version, shared bool) Subscription {
	const field = "subscription options"
	b := r.byte(field)
	reserved := byte(0xC0)
	if v != V5 {
		reserved = 0xFC
	}
	s := Subscription{QoS: b & 3, NoLocal: b&4 != 0, RetainAsPublished: b&8 != 0, RetainHandling: b >> 4 & 3}
	switch {
	case b&reserved != 0:
		r.failf(MalformedPacket, field, "are 0x%02X, which has reserved bits set [MQTT-3.8.3-5]", b)
	case s.QoS == 3:
		r.fail(ProtocolError, field, "have QoS 3 (MQTT 5 section 3.8.3.1)")
	case s.RetainHandling == 3:
		r.fail(ProtocolError, field, "have retain handling 3 (MQTT 5 section 3.8.3.1)")
	case s.NoLocal && shared:
		r.fail(ProtocolError, field, "have no local on a shared subscription [MQTT-3.8.3-4]")
	}
	return s
}

// AppendSubscribe appends s, for a client. 3.1 and 3.1.1 know the QoS only.
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte {
	dst = append(dst, byte(SUBSCRIBE)<<4|2)
	at := len(dst)
	dst = appendUint16(dst, s.PacketID)
	if v == V5 {
		block := len(dst)
		if s.SubscriptionID != 0 {
			dst = appendVarint(append(dst, propSubscriptionID), int(s.SubscriptionID))
		}
		dst = prefixLength(dst, block)
	}
	for i := range s.Filters {
		f := &s.Filters[i]
		options := f.QoS
		if v == V5 {
			options |= bit(f.NoLocal)<<2 | bit(f.RetainAsPublished)<<3 | f.RetainHandling<<4
		}
		dst = append(appendString(dst, f.Filter), options)
	}
	return prefixLength(dst, at)
}

// AppendUnsubscribe appends u, for a client.
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte {
	dst = append(dst, byte(UNSUBSCRIBE)<<4|2)
	at := len(dst)
	dst = appendUint16(dst, u.PacketID)
	if v == V5 {
		dst = append(dst, 0)
	}
	for _, filter := range u.Filters {
		dst = appendString(dst, filter)
	}
	return prefixLength(dst, at)
}
