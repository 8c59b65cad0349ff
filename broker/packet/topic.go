package packet

import (
	"bytes"
	"unicode/utf8"
)

// faultOfText says what is wrong with a UTF-8 encoded string, "" if nothing is. Control characters and non-characters
// are allowed: the specification only advises against them (MQTT 5 section 1.5.4).
func faultOfText(b []byte) string {
	if !utf8.Valid(b) {
		return "is not well-formed UTF-8 [MQTT-1.5.4-1]"
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "contains U+0000 [MQTT-1.5.4-2]"
	}
	return ""
}

func hasWildcard(b []byte) bool {
	for _, c := range b {
		if c == '+' || c == '#' {
			return true
		}
	}
	return false
}

const sharePrefix = "$share/"

// faultOfFilter says what is wrong with a topic filter, "" if nothing is, and whether it is that of a shared
// subscription. Every version is held to the $share syntax of MQTT 5, since the broker shares for all.
func faultOfFilter(filter []byte) (fault string, shared bool) {
	rest, shared := bytes.CutPrefix(filter, []byte(sharePrefix))
	if !shared {
		return faultOfLevels(filter), false
	}
	name, rest, found := bytes.Cut(rest, []byte{'/'})
	switch {
	case len(name) == 0:
		return "has an empty share name [MQTT-4.8.2-1]", true
	case hasWildcard(name):
		return "has a wildcard in its share name [MQTT-4.8.2-2]", true
	case !found || len(rest) == 0:
		return "has nothing behind its share name [MQTT-4.8.2-2]", true
	}
	return faultOfLevels(rest), true
}

// faultOfLevels checks that wildcards stand alone in their level, # in the last.
func faultOfLevels(filter []byte) string {
	if len(filter) == 0 {
		return "is empty [MQTT-4.7.3-1]"
	}
	last := len(filter) - 1
	for i, c := range filter {
		if c != '+' && c != '#' {
			continue
		}
		begins := i == 0 || filter[i-1] == '/'
		switch {
		case c == '#' && i != last:
			return "has a # that is not its last character [MQTT-4.7.1-1]"
		case c == '#' && !begins:
			return "has a # that does not stand alone in its level [MQTT-4.7.1-1]"
		case c == '+' && (!begins || i != last && filter[i+1] != '/'):
			return "has a + that does not stand alone in its level [MQTT-4.7.1-2]"
		}
	}
	return ""
}
