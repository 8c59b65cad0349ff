package packet

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mochiDecode reads one packet as mochi's server does: decode, then what it validates. A panic is a refusal.
func mochiDecode(first byte, body []byte, v Version, from side) (pk packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = byte(v)
	pk.FixedHeader.Remaining = len(body)
	if err := mochiBody(&pk, bytes.Clone(body)); err != nil {
		return pk, err
	}
	return pk, mochiValidate(&pk, from)
}

func mochiBody(pk *packets.Packet, body []byte) error {
	switch Type(pk.FixedHeader.Type) {
	case CONNECT:
		return pk.ConnectDecode(body)
	case CONNACK:
		return pk.ConnackDecode(body)
	case PUBLISH:
		return pk.PublishDecode(body)
	case PUBACK:
		return pk.PubackDecode(body)
	case PUBREC:
		return pk.PubrecDecode(body)
	case PUBREL:
		return pk.PubrelDecode(body)
	case PUBCOMP:
		return pk.PubcompDecode(body)
	case SUBSCRIBE:
		return pk.SubscribeDecode(body)
	case SUBACK:
		return pk.SubackDecode(body)
	case UNSUBSCRIBE:
		return pk.UnsubscribeDecode(body)
	case UNSUBACK:
		return pk.UnsubackDecode(body)
	case DISCONNECT:
		return pk.DisconnectDecode(body)
	case AUTH:
		return pk.AuthDecode(body)
	case PINGREQ, PINGRESP:
		return nil
	}
	return packets.ErrNoValidPacketAvailable
}

func mochiValidate(pk *packets.Packet, from side) error {
	code := packets.CodeSuccess
	switch Type(pk.FixedHeader.Type) {
	case CONNECT:
		code = pk.ConnectValidate()
	case PUBLISH:
		if from == fromClient {
			code = pk.PublishValidate(65535)
		}
	case SUBSCRIBE:
		code = pk.SubscribeValidate()
	case UNSUBSCRIBE:
		code = pk.UnsubscribeValidate()
	case AUTH:
		code = pk.AuthValidate()
	}
	if code != packets.CodeSuccess {
		return code
	}
	if !pk.ReasonCodeValid() {
		return packets.ErrProtocolViolationInvalidReason
	}
	return nil
}

// mochiRefusesWrongly names the packets that are valid and that mochi refuses (DESIGN.md has the list).
func mochiRefusesWrongly(first byte, body []byte, pk any) string {
	switch pk := pk.(type) {
	case *Connect:
		flags := body[2+int(body[1])+1]
		switch {
		case pk.HasPassword && len(pk.Password) == 0:
			return "empty password"
		case pk.Will != nil && len(pk.Will.Payload) == 0:
			return "empty will payload"
		case pk.Version == V31 && (flags&flagUsername != 0 && !pk.HasUsername || flags&flagPassword != 0 && !pk.HasPassword):
			return "3.1 flags without credentials"
		}
	case Auth:
		if len(body) == 0 {
			return "AUTH success in its short form"
		}
	}
	if first == 0x6A || first == 0x8A || first == 0xAA {
		return "3.1 repetition with DUP"
	}
	return ""
}

// differs says in which field mochi read the packet differently, "" if in none.
func differs(ours any, m packets.Packet, body []byte) string {
	switch pk := ours.(type) {
	case *Connect:
		return differsConnect(pk, m)
	case *Publish:
		return firstDifference(
			"qos", pk.QoS, m.FixedHeader.Qos, "dup", pk.Dup, m.FixedHeader.Dup, "retain", pk.Retain, m.FixedHeader.Retain,
			"topic", string(pk.Topic), m.TopicName, "id", pk.PacketID, m.PacketID, "payload", string(pk.Payload), string(m.Payload),
			"alias", pk.TopicAlias, m.Properties.TopicAlias, "expiry", pk.MessageExpiry.Value, m.Properties.MessageExpiryInterval,
			"subscription ids", fmt.Sprint(pk.SubscriptionIDs), fmt.Sprint(m.Properties.SubscriptionIdentifier),
			"forward", describeForward(pk.Forward), describeProperties(m.Properties))
	case Ack:
		return firstDifference("id", pk.PacketID, m.PacketID, "code", pk.Code, Code(m.ReasonCode))
	case Subscribe:
		return differsSubscribe(pk, m)
	case Unsubscribe:
		var filters []string
		for _, f := range m.Filters {
			filters = append(filters, f.Filter)
		}
		return firstDifference("id", pk.PacketID, m.PacketID, "filters", fmt.Sprintf("%q", pk.Filters), fmt.Sprintf("%q", filters))
	case Suback:
		return firstDifference("id", pk.PacketID, m.PacketID, "codes", fmt.Sprintf("%d", pk.Codes), fmt.Sprintf("%d", m.ReasonCodes))
	case Disconnect:
		if len(body) == 1 {
			m.ReasonCode = body[0] // mochi does not read the code of a DISCONNECT of one byte
		}
		return firstDifference("code", pk.Code, Code(m.ReasonCode), "reason", pk.ReasonString, m.Properties.ReasonString,
			"reference", pk.ServerReference, m.Properties.ServerReference,
			"session expiry", pk.SessionExpiry, Optional[uint32]{m.Properties.SessionExpiryInterval, m.Properties.SessionExpiryIntervalFlag})
	case Auth:
		return firstDifference("code", pk.Code, Code(m.ReasonCode), "method", pk.Method, m.Properties.AuthenticationMethod,
			"data", string(pk.Data), string(m.Properties.AuthenticationData), "reason", pk.ReasonString, m.Properties.ReasonString)
	case Connack:
		return differsConnack(pk, m)
	}
	return ""
}

func differsConnect(c *Connect, m packets.Packet) string {
	p := m.Properties
	receiveMaximum := p.ReceiveMaximum
	if receiveMaximum == 0 {
		receiveMaximum = 65535
	}
	expiry := p.SessionExpiryInterval
	if c.Version != V5 && !m.Connect.Clean {
		expiry = SessionNeverExpires
	}
	var will Will
	if c.Will != nil {
		will = *c.Will
	}
	wp := m.Connect.WillProperties
	return firstDifference(
		"version", byte(c.Version), m.ProtocolVersion, "clean", c.CleanStart, m.Connect.Clean, "keep alive", c.KeepAlive, m.Connect.Keepalive,
		"id", c.ClientID, m.Connect.ClientIdentifier, "has user name", c.HasUsername, m.Connect.UsernameFlag,
		"user name", c.Username, string(m.Connect.Username), "has password", c.HasPassword, m.Connect.PasswordFlag,
		"password", string(c.Password), string(m.Connect.Password), "has will", c.Will != nil, m.Connect.WillFlag,
		"will topic", will.Topic, m.Connect.WillTopic, "will payload", string(will.Payload), string(m.Connect.WillPayload),
		"will qos", will.QoS, m.Connect.WillQos, "will retain", will.Retain, m.Connect.WillRetain,
		"will delay", will.Delay, wp.WillDelayInterval, "will expiry", will.MessageExpiry.Value, wp.MessageExpiryInterval,
		"will forward", describeForward(will.Forward), describeProperties(wp),
		"session expiry", c.SessionExpiry, expiry, "receive maximum", c.ReceiveMaximum, receiveMaximum,
		"packet size", c.MaximumPacketSize, p.MaximumPacketSize, "aliases", c.TopicAliasMaximum, p.TopicAliasMaximum,
		"response info", c.RequestResponseInfo, p.RequestResponseInfo == 1,
		"problem info", c.RequestProblemInfo, !p.RequestProblemInfoFlag || p.RequestProblemInfo == 1,
		"method", c.AuthMethod, p.AuthenticationMethod, "data", string(c.AuthData), string(p.AuthenticationData),
		"user", describeUser(c.User), describeMochiUser(p.User))
}

func differsSubscribe(s Subscribe, m packets.Packet) string {
	if len(s.Filters) != len(m.Filters) {
		return fmt.Sprintf("%d filters, mochi has %d", len(s.Filters), len(m.Filters))
	}
	for i, f := range s.Filters {
		mf := m.Filters[i]
		if d := firstDifference("id", s.PacketID, m.PacketID, "filter", f.Filter, mf.Filter, "qos", f.QoS, mf.Qos,
			"no local", f.NoLocal, mf.NoLocal, "retain as published", f.RetainAsPublished, mf.RetainAsPublished,
			"retain handling", f.RetainHandling, mf.RetainHandling, "subscription id", int(s.SubscriptionID), mf.Identifier); d != "" {
			return d
		}
	}
	return ""
}

func differsConnack(c Connack, m packets.Packet) string {
	p := m.Properties
	code := Code(m.ReasonCode)
	if m.ProtocolVersion != 5 {
		code = connackV3[m.ReasonCode]
	}
	flag := func(v byte, set bool) Optional[bool] { return Optional[bool]{v == 1, set} }
	return firstDifference(
		"session present", c.SessionPresent, m.SessionPresent, "code", c.Code, code,
		"session expiry", c.SessionExpiry, Optional[uint32]{p.SessionExpiryInterval, p.SessionExpiryIntervalFlag},
		"receive maximum", c.ReceiveMaximum, p.ReceiveMaximum, "maximum qos", c.MaximumQoS, Optional[byte]{p.MaximumQos, p.MaximumQosFlag},
		"retain", c.RetainAvailable, flag(p.RetainAvailable, p.RetainAvailableFlag), "packet size", c.MaximumPacketSize, p.MaximumPacketSize,
		"assigned id", c.AssignedClientID, p.AssignedClientID, "aliases", c.TopicAliasMaximum, p.TopicAliasMaximum,
		"reason", c.ReasonString, p.ReasonString, "wildcard", c.WildcardAvailable, flag(p.WildcardSubAvailable, p.WildcardSubAvailableFlag),
		"subscription ids", c.SubIDAvailable, flag(p.SubIDAvailable, p.SubIDAvailableFlag),
		"shared", c.SharedAvailable, flag(p.SharedSubAvailable, p.SharedSubAvailableFlag),
		"keep alive", c.ServerKeepAlive, Optional[uint16]{p.ServerKeepAlive, p.ServerKeepAliveFlag},
		"response info", c.ResponseInfo, p.ResponseInfo, "reference", c.ServerReference, p.ServerReference,
		"method", c.AuthMethod, p.AuthenticationMethod, "data", string(c.AuthData), string(p.AuthenticationData),
		"user", describeUser(c.User), describeMochiUser(p.User))
}

// firstDifference takes triples of name, ours, mochi's.
func firstDifference(triples ...any) string {
	for i := 0; i < len(triples); i += 3 {
		if !reflect.DeepEqual(triples[i+1], triples[i+2]) {
			return fmt.Sprintf("%s is %v, mochi has %v", triples[i], triples[i+1], triples[i+2])
		}
	}
	return ""
}

// describeForward reads forwarded properties with mochi's decoder, so that both sides can be compared in its words.
func describeForward(forward []byte) string {
	var p packets.Properties
	if _, err := p.Decode(packets.Publish, bytes.NewBuffer(append(appendVarint(nil, len(forward)), forward...))); err != nil {
		return err.Error()
	}
	return describeProperties(p)
}

func describeProperties(p packets.Properties) string {
	return fmt.Sprintf("%v %d %q %q %q %s", p.PayloadFormatFlag, p.PayloadFormat, p.ContentType, p.ResponseTopic,
		p.CorrelationData, describeMochiUser(p.User))
}

func describeUser(user []UserProperty) string {
	s := ""
	for _, u := range user {
		s += fmt.Sprintf("%q=%q ", u.Key, u.Value)
	}
	return s
}

func describeMochiUser(user []packets.UserProperty) string {
	s := ""
	for _, u := range user {
		s += fmt.Sprintf("%q=%q ", u.Key, u.Val)
	}
	return s
}
