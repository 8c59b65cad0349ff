package packet

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// slowFilter states the syntax of topic filters a second way, as one regular expression.
var filterSyntax = regexp.MustCompile(`(?s)^(\$share/[^/+#]+/)?(#|(\+|[^/+#]*)(/(\+|[^/+#]*))*(/#)?)$`)

func slowFilter(filter string) bool {
	m := filterSyntax.FindStringSubmatch(filter)
	if m == nil || m[2] == "" {
		return false
	}
	// Without a valid group the expression can still read $share/… as plain levels.
	return m[1] != "" || len(filter) < len(sharePrefix) || filter[:len(sharePrefix)] != sharePrefix
}

func TestFilterSyntax(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter := rapid.StringOfN(rapid.SampledFrom([]rune("a/+#$é")), 0, 8, -1).Draw(t, "filter")
		if rapid.Bool().Draw(t, "shared") {
			filter = sharePrefix + filter
		}
		if fault, _ := faultOfFilter([]byte(filter)); (fault == "") != slowFilter(filter) {
			t.Fatalf("%q: fault %q, by the rules it is valid: %v", filter, fault, slowFilter(filter))
		}
	})
}

func TestFilters(t *testing.T) {
	for filter, valid := range map[string]bool{
		"a": true, "/": true, "//": true, "a/": true, "/a": true, "#": true, "+": true, "+/+": true, "/+": true, "+/": true,
		"a/+/b": true, "a/#": true, "/#": true, "+/#": true, "$SYS/#": true, "$share": true, "$shared/g": true, "$share/g/a": true,
		"$share/g/#": true, "$share/g//": true, "$share/g/+/a/#": true, "a b": true, "é/ü": true, "$share/g/$share/h/#": true,

		"": false, "a#": false, "#a": false, "#/a": false, "a/#/": false, "a+": false, "+a": false, "a/+b": false, "a/b+/c": false, "++": false,
		"+#": false, "##": false, "$share/": false, "$share//": false, "$share//a": false, "$share/g": false, "$share/g/": false,
		"$share/g+/a": false, "$share/#/a": false, "$share/g/a#": false,
	} {
		if fault, _ := faultOfFilter([]byte(filter)); (fault == "") != valid {
			t.Errorf("%q: fault %q, want it valid: %v", filter, fault, valid)
		}
		if slowFilter(filter) != valid {
			t.Errorf("%q: the test's own second opinion is wrong", filter)
		}
	}
}
