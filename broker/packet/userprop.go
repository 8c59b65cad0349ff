package packet

import "encoding/binary"

// CutUserProperty takes the user properties of a name out of forwarded properties (Publish.Forward). It returns their
// values in order and what is left, which is forward itself when there are none; forward is not changed.
func CutUserProperty(forward []byte, name string) (values []string, rest []byte) {
	rest = forward
	for at := 0; at < len(forward); {
		n := forwardedSize(forward[at:])
		if n == 0 { // not what a decoder handed out
			return values, rest
		}
		key, value := userOf(forward[at : at+n])
		switch {
		case value != nil && string(key) == name:
			if values == nil {
				rest = append(make([]byte, 0, len(forward)), forward[:at]...)
			}
			values = append(values, string(value))
		case values != nil:
			rest = append(rest, forward[at:at+n]...)
		}
		at += n
	}
	return values, rest
}

// AppendUserProperty appends a user property to forwarded properties.
func AppendUserProperty(forward []byte, name, value string) []byte {
	return appendUser(forward, []UserProperty{{Key: name, Value: value}})
}

// forwardedSize is the length of the property that b begins with, 0 if it is none that is forwarded.
func forwardedSize(b []byte) int {
	length := func(at int) int { // of two bytes and what they announce
		if at+2 > len(b) || at+2+int(binary.BigEndian.Uint16(b[at:])) > len(b) {
			return 0
		}
		return 2 + int(binary.BigEndian.Uint16(b[at:]))
	}
	switch b[0] {
	case propPayloadFormat:
		return min(2, len(b)) &^ 1
	case propContentType, propResponseTopic, propCorrelationData:
		if n := length(1); n > 0 {
			return 1 + n
		}
	case propUser:
		if k := length(1); k > 0 {
			if v := length(1 + k); v > 0 {
				return 1 + k + v
			}
		}
	}
	return 0
}

// userOf reads a user property, nil if it is another one.
func userOf(b []byte) (key, value []byte) {
	if b[0] != propUser {
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	return b[3 : 3+n : 3+n], b[5+n:]
}
