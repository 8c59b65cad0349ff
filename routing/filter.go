package routing

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits on what a device may name. The byte limit is MQTT's own; the level limit is ours, because every level of a
// wildcard filter costs a trie node and a 64 KiB filter of slashes would otherwise cost megabytes.
const (
	MaxBytes  = 65535 // of a topic name or a topic filter [MQTT-4.7.3-3]
	MaxLevels = 256   // of a topic filter; a topic name may have more
)

// ErrFilter and ErrTopic are wrapped by every refusal of a filter or a topic, so that the edge can answer with the
// MQTT 5 reason codes 0x8F (Topic Filter invalid) and 0x90 (Topic Name invalid).
var (
	ErrFilter = errors.New("topic filter is not valid")
	ErrTopic  = errors.New("topic name is not valid")
)

// ValidFilter says why filter is not a topic filter by MQTT section 4.7, or returns nil. A shared subscription's
// "$share/group/" is not looked into: use ParseShared on what a device sent.
func ValidFilter(filter string) error {
	if why := malformed(filter); why != "" {
		return fmt.Errorf("%w: %s", ErrFilter, why)
	}
	levels := 0
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		levels++
		switch {
		case levels > MaxLevels:
			return fmt.Errorf("%w: more than %d levels", ErrFilter, MaxLevels)
		case level == "#" && more: // [MQTT-4.7.1-1]
			return fmt.Errorf("%w: %q has levels after \"#\"; \"#\" must be the last", ErrFilter, brief(filter))
		case level == "#" || level == "+":
		case strings.ContainsAny(level, "#+"): // [MQTT-4.7.1-1], [MQTT-4.7.1-2]
			return fmt.Errorf("%w: level %d of %q mixes a wildcard with other characters; a wildcard must be a level of its own",
				ErrFilter, levels, brief(filter))
		}
	}
	return nil
}

// ValidTopic says why topic is not a topic name a message may be published to, or returns nil.
func ValidTopic(topic string) error {
	if why := malformed(topic); why != "" {
		return fmt.Errorf("%w: %s", ErrTopic, why)
	}
	if strings.ContainsAny(topic, "#+") { // [MQTT-3.3.2-2], [MQTT-4.7.0-1]
		return fmt.Errorf("%w: %q has a wildcard; publish to one topic", ErrTopic, brief(topic))
	}
	return nil
}

// malformed holds the rules topics and filters share; it returns the reason or "".
func malformed(s string) string {
	switch {
	case s == "":
		return "it is empty" // [MQTT-4.7.3-1]
	case len(s) > MaxBytes:
		return fmt.Sprintf("%d bytes, at most %d", len(s), MaxBytes) // [MQTT-4.7.3-3]
	case strings.IndexByte(s, 0) >= 0:
		return "it has a null character" // [MQTT-4.7.3-2]
	case !utf8.ValidString(s):
		return "it is not UTF-8" // [MQTT-1.5.4-1]
	}
	return ""
}

// brief keeps a device's 64 KiB filter out of a log line.
func brief(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

const sharePrefix = "$share/"

// ParseShared reads what a device wrote into SUBSCRIBE or UNSUBSCRIBE. For "$share/{group}/{filter}" (MQTT 5 section
// 4.8.2) it returns the group and the filter with shared true; any other filter comes back as rest. In both cases
// rest has passed ValidFilter when err is nil; otherwise err wraps ErrFilter. "$share" without a slash is an ordinary
// filter.
func ParseShared(filter string) (group, rest string, shared bool, err error) {
	tail, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return "", filter, false, ValidFilter(filter)
	}
	if why := malformed(filter); why != "" {
		return "", "", true, fmt.Errorf("%w: %s", ErrFilter, why)
	}
	group, rest, ok := strings.Cut(tail, "/")
	switch {
	case group == "": // [MQTT-4.8.2-1]
		return "", "", true, fmt.Errorf("%w: %q names no group; write $share/group/filter", ErrFilter, brief(filter))
	case strings.ContainsAny(group, "#+"): // [MQTT-4.8.2-2]
		return "", "", true, fmt.Errorf("%w: the group of %q has a wildcard", ErrFilter, brief(filter))
	case !ok || rest == "": // [MQTT-4.8.2-2]
		return "", "", true, fmt.Errorf("%w: %q has a group and no filter; write $share/group/filter", ErrFilter, brief(filter))
	}
	if err := ValidFilter(rest); err != nil {
		return "", "", true, fmt.Errorf("shared subscription: %w", err)
	}
	return group, rest, true, nil
}

// Matches says whether filter matches topic (MQTT section 4.7). It is total: what ValidFilter refuses is read as
// literal levels, so a misplaced wildcard matches nothing that can be published.
func Matches(filter, topic string) bool {
	if hidden(topic) && wildFirst(filter) {
		return false // [MQTT-4.7.2-1]
	}
	for {
		want, filterRest, filterMore := strings.Cut(filter, "/")
		if want == "#" && !filterMore {
			return true
		}
		have, topicRest, topicMore := strings.Cut(topic, "/")
		if want != have && want != "+" {
			return false
		}
		if !filterMore {
			return !topicMore
		}
		if !topicMore {
			return filterRest == "#" // "sport/#" includes its parent "sport" (4.7.1.2)
		}
		filter, topic = filterRest, topicRest
	}
}

// hidden says whether topic belongs to the server ("$SYS/…"): no wildcard in a filter's first level reaches it.
func hidden(topic string) bool { return topic != "" && topic[0] == '$' }

// wildFirst says whether the first level of filter is a wildcard.
func wildFirst(filter string) bool {
	return filter == "#" || filter == "+" || strings.HasPrefix(filter, "+/")
}

// wild says whether filter has a wildcard anywhere; if not, it matches exactly the topic of the same name.
func wild(filter string) bool {
	return wildFirst(filter) || strings.HasSuffix(filter, "/#") || strings.HasSuffix(filter, "/+") ||
		strings.Contains(filter, "/+/")
}
