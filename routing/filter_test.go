package routing

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestValidFilter(t *testing.T) {
	valid := []string{
		"sport/tennis/player1/#", "sport/#", "#", "+", "+/tennis/#", "sport/+/player1", "/finance", "+/+", "/+", // 4.7.1
		"$SYS/#", "$SYS/monitor/+", "/", "//", "ACCOUNTS", "Accounts payable", "a//b", " ", "температура/°C", "$share",
		strings.Repeat("a", MaxBytes), strings.Repeat("/", MaxLevels-1),
	}
	for _, f := range valid {
		if err := ValidFilter(f); err != nil {
			t.Errorf("%q: %v", brief(f), err)
		}
	}
	for f, why := range map[string]string{
		"":                               "empty",
		"sport/tennis#":                  "mixes a wildcard", // [MQTT-4.7.1-1]
		"sport/tennis/#/ranking":         "levels after",
		"#/":                             "levels after",
		"##":                             "mixes a wildcard",
		"sport+":                         "mixes a wildcard", // [MQTT-4.7.1-2]
		"a/+b":                           "level 2",
		"a/++/c":                         "mixes a wildcard",
		"a\x00b":                         "null character",
		"a/\xff":                         "UTF-8",
		"a/\xed\xa0\x80":                 "UTF-8", // a surrogate [MQTT-1.5.4-1]
		strings.Repeat("a", MaxBytes+1):  "65536 bytes",
		strings.Repeat("/", MaxLevels):   "more than 256 levels",
		strings.Repeat("/", 60000) + "#": "more than 256 levels",
	} {
		err := ValidFilter(f)
		if !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", brief(f), err, why)
		} else if len(err.Error()) > 250 {
			t.Errorf("%q: the error has %d bytes", brief(f), len(err.Error()))
		}
	}
}

// TestErrorsStayShort: a log line holds the start of a device's long filter, cut between characters.
func TestErrorsStayShort(t *testing.T) {
	err := ValidFilter(strings.Repeat("é", 30_000) + "#")
	if err == nil || len(err.Error()) > 250 || !utf8.ValidString(err.Error()) || !strings.Contains(err.Error(), "éé…") {
		t.Errorf("%v", err)
	}
}

func TestValidTopic(t *testing.T) {
	for _, topic := range []string{"a", "/", "/finance", "Accounts payable", "$SYS/x", strings.Repeat("/", MaxBytes)} {
		if err := ValidTopic(topic); err != nil {
			t.Errorf("%q: %v", brief(topic), err)
		}
	}
	for topic, why := range map[string]string{
		"": "empty", "a/+": "wildcard", "#": "wildcard", "a+b": "wildcard", "a\x00": "null", "\xff": "UTF-8",
		strings.Repeat("é", MaxBytes/2+1): "65536 bytes",
	} {
		if err := ValidTopic(topic); !errors.Is(err, ErrTopic) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", brief(topic), err, why)
		}
	}
}

func TestParseShared(t *testing.T) {
	for _, c := range []struct {
		in, group, rest string
		shared          bool
	}{
		{"a/b", "", "a/b", false},
		{"$share/consumer1/sport/tennis/+", "consumer1", "sport/tennis/+", true}, // 4.8.2
		{"$share/g/#", "g", "#", true},
		{"$share/consumer1//finance", "consumer1", "/finance", true},
		{"$share/g//", "g", "/", true},
		{"$share/g/$SYS/x", "g", "$SYS/x", true},
		{"$share", "", "$share", false},
		{"$shared/g/a", "", "$shared/g/a", false},
		{"/$share/g/a", "", "/$share/g/a", false},
	} {
		group, rest, shared, err := ParseShared(c.in)
		if group != c.group || rest != c.rest || shared != c.shared || err != nil {
			t.Errorf("%q: %q %q %v %v", c.in, group, rest, shared, err)
		}
	}
	for in, why := range map[string]string{
		"$share/":        "names no group", // [MQTT-4.8.2-1]
		"$share//a":      "names no group",
		"$share/g":       "no filter", // [MQTT-4.8.2-2]
		"$share/g/":      "no filter",
		"$share/+/a":     "the group",
		"$share/a#/a":    "the group",
		"$share/g/a#":    "shared subscription",
		"$share/g/#/a":   "shared subscription",
		"$share/g\x00/a": "null",
		"$share/\xff/a":  "UTF-8",
		"a/#/b":          "levels after",
		"$share/g/" + strings.Repeat("x", MaxBytes-5): "65539 bytes",
	} {
		if _, _, _, err := ParseShared(in); !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", brief(in), err, why)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		// 4.7.1.2
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/#", "sports", false},
		{"sport/#", "sport/", true},
		{"#", "sport/tennis", true},
		{"#", "/", true},
		// 4.7.1.3
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player2", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/tennis/#", "sport/tennis/x/y", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		// 4.7.2
		{"#", "$SYS/monitor", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"+", "$SYS", false},
		{"+/#", "$SYS/x", false},
		{"$SYS/#", "$SYS/monitor", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/#", "a/$x", true},
		{"a/+", "a/$x", true},
		// 4.7.3
		{"ACCOUNTS", "Accounts", false},
		{"/finance", "finance", false},
		{"a", "a", true},
		{"a", "a/", false},
		{"a/", "a", false},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"a/b", "a/b/c", false},
		{"a/b/c", "a/b", false},
	} {
		if got := Matches(c.filter, c.topic); got != c.want {
			t.Errorf("Matches(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

// refMatches reads MQTT 4.7 once more, in the plainest way.
func refMatches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "+" || f[0] == "#" && len(f) == 1) {
		return false
	}
	if f[len(f)-1] == "#" {
		f = f[:len(f)-1]
		if len(t) < len(f) {
			return false
		}
		t = t[:len(f)]
	}
	if len(f) != len(t) {
		return false
	}
	for i := range f {
		if f[i] != "+" && f[i] != t[i] {
			return false
		}
	}
	return true
}

// Generators over a few short levels, so that what is drawn often meets.

func drawLevels(texts ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(texts), 1, 4).Draw(t, "levels"), "/")
	})
}

func drawTopic() *rapid.Generator[string] {
	return drawLevels("", "a", "b", "$x").Filter(func(s string) bool { return ValidTopic(s) == nil })
}

func drawFilter() *rapid.Generator[string] {
	return drawLevels("", "a", "b", "$x", "+", "+", "#").Filter(func(s string) bool { return ValidFilter(s) == nil })
}

func TestMatchesLikeReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter, topic := drawFilter().Draw(t, "filter"), drawTopic().Draw(t, "topic")
		if got, want := Matches(filter, topic), refMatches(filter, topic); got != want {
			t.Fatalf("Matches(%q, %q) = %v", filter, topic, got)
		}
	})
}
