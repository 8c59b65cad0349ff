package routing

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnprefix(t *testing.T) {
	for _, c := range []struct{ filter, prefix, want string }{
		{"eu/a", "eu/", "a"},
		{"eu/#", "eu/", "#"},
		{"#", "eu/", "#"},
		{"+/a", "eu/", "a"},
		{"+/#", "eu/", "#"},
		{"+/+/a", "eu/", "+/a"},
		{"x/eu/a", "x/eu/", "a"},
		{"x/#", "x/eu/", "#"},
		{"x/+/a/#", "x/eu/", "a/#"},
		{"eu//a", "eu/", "/a"},
		{"//a", "/", "/a"},
		{"eu", "eu/", ""},
		{"eu/", "eu/", ""},
		{"us/#", "eu/", ""},
		{"x/eu", "x/eu/", ""},
		{"x/us/a", "x/eu/", ""},
		{"$SYS/#", "eu/", ""},
		{"eu/$SYS/a", "eu/", ""},
		{"+", "eu/", ""},
		{"a", "a/b/c/", ""},
	} {
		got, ok := Unprefix(c.filter, c.prefix)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s without %s: %q %t, want %q", c.filter, c.prefix, got, ok, c.want)
		}
	}
}

// A topic is wanted without the prefix exactly when it is wanted with it.
func TestUnprefix_MatchesWhatThePrefixedDoes(t *testing.T) {
	levels := []string{"", "a", "b", "eu"}
	words := func(t *rapid.T, name string, from []string, least int) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), least, 4).Draw(t, name), "/")
	}
	rapid.Check(t, func(t *rapid.T) {
		prefix := words(t, "prefix", levels, 1) + "/"
		topic := words(t, "topic", append(levels, "$SYS"), 1)
		filter := words(t, "filter", append(levels, "+", "+", "eu"), 1)
		if rapid.Bool().Draw(t, "multi") {
			filter += "/#"
		}
		if topic == "" || filter == "" || hidden(topic) {
			return
		}
		rest, ok := Unprefix(filter, prefix)
		if ok && ValidFilter(rest) != nil {
			t.Fatalf("%q without %q: %q is no filter", filter, prefix, rest)
		}
		if got, want := ok && Matches(rest, topic), Matches(filter, prefix+topic); got != want {
			t.Fatalf("filter %q, prefix %q, topic %q: %q matches %t, want %t", filter, prefix, topic, rest, got, want)
		}
	})
}

func TestValidPrefix(t *testing.T) {
	for _, ok := range []string{"eu/", "/", "a/b/"} {
		if err := ValidPrefix(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "eu", "+/", "a/#/", "$SYS/", "\x00/", strings.Repeat("a", MaxPrefix) + "/"} {
		if ValidPrefix(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
