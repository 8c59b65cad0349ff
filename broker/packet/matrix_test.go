package packet

import (
	"fmt"
	"testing"
)

// sample holds one valid value for each property.
var sample = map[byte]string{
	propPayloadFormat:     "01",
	propMessageExpiry:     "0000000A",
	propContentType:       "s'text/plain'",
	propResponseTopic:     "s'r/1'",
	propCorrelationData:   "0002 00FF",
	propSubscriptionID:    "05",
	propSessionExpiry:     "0000003C",
	propAssignedClientID:  "s'auto-1'",
	propServerKeepAlive:   "003C",
	propAuthMethod:        "s'SCRAM'",
	propAuthData:          "0002 00FF",
	propRequestProblem:    "00",
	propWillDelay:         "0000001E",
	propRequestResponse:   "01",
	propResponseInfo:      "s'resp/'",
	propServerReference:   "s'other:1883'",
	propReasonString:      "s'because'",
	propReceiveMaximum:    "000A",
	propTopicAliasMaximum: "000A",
	propTopicAlias:        "0001",
	propMaximumQoS:        "01",
	propRetainAvailable:   "00",
	propUser:              "s'k' s'v'",
	propMaximumPacketSize: "00010000",
	propWildcardAvailable: "01",
	propSubIDAvailable:    "01",
	propSharedAvailable:   "00",
}

// host is a packet with room for a property block: what stands before it and behind it.
type host struct {
	name          string
	from          side
	first         byte
	before, after string
	allowed       []byte
	// also is a property the packet cannot do without when a block is there.
	also string
}

var hosts = []host{
	{"CONNECT", fromClient, 0x10, "s'MQTT' 05 02 003C", "s'a'", []byte{propSessionExpiry, propReceiveMaximum,
		propMaximumPacketSize, propTopicAliasMaximum, propRequestResponse, propRequestProblem, propUser, propAuthMethod}, ""},
	{"CONNECT with method", fromClient, 0x10, "s'MQTT' 05 02 003C", "s'a'", []byte{propAuthData}, "15 s'SCRAM'"},
	{"will", fromClient, 0x10, "s'MQTT' 05 06 003C 00 s'a'", "s'w' s'x'", []byte{propWillDelay, propPayloadFormat,
		propMessageExpiry, propContentType, propResponseTopic, propCorrelationData, propUser}, ""},
	{"CONNACK", fromServer, 0x20, "00 00", "", []byte{propSessionExpiry, propReceiveMaximum, propMaximumQoS,
		propRetainAvailable, propMaximumPacketSize, propAssignedClientID, propTopicAliasMaximum, propReasonString, propUser,
		propWildcardAvailable, propSubIDAvailable, propSharedAvailable, propServerKeepAlive, propResponseInfo,
		propServerReference, propAuthMethod, propAuthData}, ""},
	{"PUBLISH", fromClient, 0x32, "s'a' 0001", "'payload'", []byte{propPayloadFormat, propMessageExpiry, propContentType,
		propResponseTopic, propCorrelationData, propUser, propTopicAlias}, ""},
	{"PUBLISH from a server", fromServer, 0x30, "s'a'", "'payload'", []byte{propPayloadFormat, propMessageExpiry,
		propContentType, propResponseTopic, propCorrelationData, propUser, propTopicAlias, propSubscriptionID}, ""},
	{"PUBACK", fromClient, 0x40, "0001 00", "", []byte{propReasonString, propUser}, ""},
	{"PUBREC", fromClient, 0x50, "0001 10", "", []byte{propReasonString, propUser}, ""},
	{"PUBREL", fromClient, 0x62, "0001 92", "", []byte{propReasonString, propUser}, ""},
	{"PUBCOMP", fromClient, 0x70, "0001 00", "", []byte{propReasonString, propUser}, ""},
	{"SUBSCRIBE", fromClient, 0x82, "0001", "s'a/+/#' 01", []byte{propSubscriptionID, propUser}, ""},
	{"SUBACK", fromServer, 0x90, "0001", "02", []byte{propReasonString, propUser}, ""},
	{"UNSUBSCRIBE", fromClient, 0xA2, "0001", "s'a'", []byte{propUser}, ""},
	{"UNSUBACK", fromServer, 0xB0, "0001", "11", []byte{propReasonString, propUser}, ""},
	{"DISCONNECT", fromClient, 0xE0, "04", "", []byte{propSessionExpiry, propReasonString, propUser}, ""},
	{"DISCONNECT from a server", fromServer, 0xE0, "8E", "", []byte{propServerReference, propReasonString, propUser}, ""},
	{"AUTH", fromClient, 0xF0, "18", "", []byte{propAuthData, propReasonString, propUser}, "15 s'SCRAM'"},
	{"AUTH from a server", fromServer, 0xF0, "18", "", []byte{propAuthData, propReasonString, propUser}, "15 s'SCRAM'"},
}

func (h host) packet(t testing.TB, block string) []byte {
	t.Helper()
	body := wire(t, h.before)
	properties := append(wire(t, h.also), wire(t, block)...)
	body = append(appendVarint(body, len(properties)), properties...)
	return frame(h.first, append(body, wire(t, h.after)...))
}

func (h host) allows(id byte) bool {
	for _, a := range h.allowed {
		if a == id {
			return true
		}
	}
	return false
}

func property(id byte) string { return fmt.Sprintf("%02X %s", id, sample[id]) }

// Each property is accepted once where it belongs, refused where it does not, and refused twice unless it may repeat.
// The lists of where are written out a second time here, from the packets' own sections of the specification.
func TestPropertyMatrix(t *testing.T) {
	for _, h := range hosts {
		for id := range sample {
			t.Run(fmt.Sprintf("%s/%s", h.name, propertyTable[id].name), func(t *testing.T) {
				once := h.packet(t, property(id))
				_, _, err := decode(once, V5, h.from)
				switch {
				case h.allows(id):
					if err != nil {
						t.Fatalf("once: %v", err)
					}
				case belongsElsewhere(h, id):
					// Allowed in the packet, not in this combination: the tables of malformed packets have it.
				default:
					wantRefusal(t, err, MalformedPacket, "does not belong")
				}
				if !h.allows(id) {
					return
				}
				_, _, err = decode(h.packet(t, property(id)+" "+property(id)), V5, h.from)
				if id == propUser || id == propSubscriptionID && h.from == fromServer {
					if err != nil {
						t.Fatalf("twice: %v", err)
					}
					return
				}
				wantRefusal(t, err, ProtocolError, "more than once")
			})
		}
	}
}

// belongsElsewhere reports whether another host of the same packet allows the property.
func belongsElsewhere(h host, id byte) bool {
	if h.also != "" && id == propAuthMethod {
		return true
	}
	if h.name == "will" {
		return false
	}
	for _, other := range hosts {
		if other.name != "will" && other.first>>4 == h.first>>4 && other.allows(id) {
			return true
		}
	}
	return false
}

func TestUnknownPropertyIsMalformedEverywhere(t *testing.T) {
	for _, h := range hosts {
		for id := range 256 {
			if _, known := sample[byte(id)]; known {
				continue
			}
			_, _, err := decode(h.packet(t, fmt.Sprintf("%02X 00000000", id)), V5, h.from)
			wantRefusal(t, err, MalformedPacket, "does not exist")
		}
	}
}

// Every packet that is valid becomes invalid when its body ends earlier, and, if nothing in it runs to the end of the
// packet, when a byte is added: with the length in the fixed header always matching the body.
func TestTruncatedAndExtended(t *testing.T) {
	refused := 0
	for _, h := range hosts {
		for id := range sample {
			if !h.allows(id) {
				continue
			}
			raw := h.packet(t, property(id))
			_, n, _ := ReadHeader(raw, versionBefore(raw))
			body := raw[n:]
			for cut := range body {
				if endsWell(h, cut, body) {
					continue
				}
				_, _, err := decode(frame(h.first, body[:cut]), V5, h.from)
				if err == nil {
					t.Errorf("%s with %s: body cut to %d of %d bytes was accepted", h.name, propertyTable[id].name, cut, len(body))
				}
				refused++
			}
			if Type(h.first>>4) == PUBLISH {
				continue
			}
			if _, _, err := decode(frame(h.first, append(body[:len(body):len(body)], 0xFE)), V5, h.from); err == nil {
				t.Errorf("%s with %s: a byte behind the last field was accepted", h.name, propertyTable[id].name)
			}
		}
	}
	if refused < 900 {
		t.Fatalf("only %d truncations were tried", refused)
	}
}

// endsWell reports whether the body cut there is a valid shorter packet.
func endsWell(h host, cut int, body []byte) bool {
	switch Type(h.first >> 4) {
	case PUBLISH:
		return cut >= len(body)-len("payload")
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return cut == 2 || cut == 3
	case DISCONNECT:
		return cut <= 1
	case AUTH:
		return cut == 0 && h.from == fromServer
	}
	return false
}

func versionBefore(raw []byte) Version {
	if Type(raw[0]>>4) == CONNECT {
		return 0
	}
	return V5
}
