package routing

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPrefix is how long a prefix may be, in bytes.
const MaxPrefix = 1024

// ValidPrefix says why a prefix cannot be put before topics, or returns nil: it is whole levels without wildcards, and
// no part of the server's topics, which wildcards would not reach.
func ValidPrefix(prefix string) error {
	switch {
	case !strings.HasSuffix(prefix, "/"):
		return errors.New(`a prefix must end with "/"`)
	case len(prefix) > MaxPrefix:
		return fmt.Errorf("a prefix of %d bytes, at most %d", len(prefix), MaxPrefix)
	case hidden(prefix):
		return errors.New(`a prefix must not begin with "$"`)
	}
	return ValidTopic(prefix)
}

// Unprefix turns a filter for topics that have a prefix into the filter for the same topics without it: it matches
// topic exactly when filter matches prefix+topic. ok is false if there is no such topic. The server's topics ("$SYS/…")
// are left out, since under the prefix wildcards would reach them and without it they do not. [MQTT-4.7.2-1]
func Unprefix(filter, prefix string) (rest string, ok bool) {
	rest, more := filter, true
	for prefix != "" {
		var level, want string
		level, prefix, _ = strings.Cut(prefix, "/")
		if !more {
			return "", false
		}
		if rest == "#" {
			return "#", true
		}
		want, rest, more = strings.Cut(rest, "/")
		if want != level && want != "+" {
			return "", false
		}
	}
	return rest, more && rest != "" && !hidden(rest)
}
