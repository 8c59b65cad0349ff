package routing

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// someTopics has every topic of up to five levels over the texts that the drawn filters know and one ("z") that they
// do not: enough to tell any two filters of up to four levels apart.
var someTopics = func() (all []string) {
	layer := []string{""}
	for range 5 {
		var next []string
		for _, above := range layer {
			for _, text := range []string{"", "a", "b", "$x", "z"} {
				next = append(next, above+"/"+text)
			}
		}
		for _, topic := range next {
			if topic = topic[1:]; topic != "" {
				all = append(all, topic)
			}
		}
		layer = next
	}
	return all
}()

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b         string
		want, mirror bool
	}{
		{"#", "a/b", true, false},
		{"#", "+/#", true, true},
		{"a/#", "a", true, false},
		{"a/#", "a/+/#", true, false},
		{"a/+", "a/b", true, false},
		{"a/+", "a/#", false, true},
		{"a/b", "a/b", true, true},
		{"+/b", "a/+", false, false},
		{"#", "$SYS/#", false, false},
		{"+/a", "$SYS/a", false, false},
		{"$SYS/#", "$SYS/+/x", true, false},
		{"/#", "/", true, false},
		{"/+", "/", true, false},
		{"/#", "/+/#", true, true},
		{"x/#", "x/+/#", true, false},
	} {
		if got := Covers(c.a, c.b); got != c.want {
			t.Errorf("Covers(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Covers(c.b, c.a); got != c.mirror {
			t.Errorf("Covers(%q, %q) = %v", c.b, c.a, got)
		}
	}
}

func TestIntersect(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"a/+", "+/b", "a/b"},
		{"a/#", "+/b/#", "a/b/#"},
		{"a/#", "a", "a"},
		{"a/+/c", "a/#", "a/+/c"},
		{"#", "/finance", "/finance"},
		{"/+", "+/finance", "/finance"},
		{"+/+/#", "+/#", "+/+/#"},
		{"a/#", "b/#", ""},
		{"#", "$SYS/a", ""},
		{"+/a", "$SYS/+", ""},
		{"a/+", "a", ""},
		{"a/b/#", "a/+", "a/b"},
		{"a//#", "a/+/b", "a//b"},
		{"/#", "+", ""},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			got, ok := Intersect(pair[0], pair[1])
			if got != c.want || ok != (c.want != "") || Overlaps(pair[0], pair[1]) != ok {
				t.Errorf("Intersect(%q, %q) = %q, %v", pair[0], pair[1], got, ok)
			}
		}
	}
}

func TestRestrict(t *testing.T) {
	for _, c := range []struct{ filter, in, never, want string }{
		{"cmd/lock", "cmd/#", "", "cmd/lock"},
		{"cmd/lock", "cmd/# +/lock", "", "cmd/lock"},
		{"#", "cmd/# events/+", "", "cmd/# events/+"},
		{"#", "cmd/# #", "", "#"},
		{"#", "+/#", "", "#"},
		{"+/lock/#", "cmd/# +/+", "", "cmd/lock/# +/lock"},
		{"pii/#", "#", "pii/#", ""},
		{"#", "#", "pii/#", "#"}, // egress tests each topic
		{"+/x", "#", "pii/#", "+/x"},
		{"pii/x", "#", "pii/+", ""},
		{"telemetry/#", "cmd/#", "", ""},
		{"a", "", "", ""},
		{"$SYS/#", "#", "", ""},
	} {
		got := Restrict(c.filter, strings.Fields(c.in), strings.Fields(c.never))
		if strings.Join(got, " ") != c.want {
			t.Errorf("Restrict(%q, in %q, never %q) = %q", c.filter, c.in, c.never, got)
		}
	}
}

func TestCoverAlgebraByBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawFilter().Draw(t, "a"), drawFilter().Draw(t, "b")
		both, ok := Intersect(a, b)
		if ok && ValidFilter(both) != nil {
			t.Fatalf("Intersect gives %q", both)
		}
		covers, overlaps := true, false
		for _, topic := range someTopics {
			inA, inB := refMatches(a, topic), refMatches(b, topic)
			covers = covers && (inA || !inB)
			overlaps = overlaps || inA && inB
			if got := ok && refMatches(both, topic); got != (inA && inB) {
				t.Fatalf("Intersect(%q, %q) = %q, which is wrong for %q", a, b, both, topic)
			}
		}
		if Covers(a, b) != covers || Overlaps(a, b) != overlaps {
			t.Fatalf("%q, %q: Covers %v, Overlaps %v", a, b, Covers(a, b), Overlaps(a, b))
		}
	})
}

func TestRestrictByBruteForce(t *testing.T) {
	some := rapid.SliceOfN(drawFilter(), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		filter, in, never := drawFilter().Draw(t, "filter"), some.Draw(t, "in"), some.Draw(t, "never")
		out := Restrict(filter, in, never)
		any := func(filters []string, topic string) bool {
			return slices.ContainsFunc(filters, func(f string) bool { return refMatches(f, topic) })
		}
		for _, topic := range someTopics {
			wanted := refMatches(filter, topic) && any(in, topic)
			switch got := any(out, topic); {
			case got && !wanted:
				t.Fatalf("%q lets %q through", out, topic)
			case !got && wanted && !any(never, topic):
				t.Fatalf("%q keeps %q away", out, topic)
			}
		}
		for i, f := range out {
			if coveredByAny(never, f) || coveredByAny(slices.Delete(slices.Clone(out), i, i+1), f) {
				t.Fatalf("%q has no place in %q", f, out)
			}
		}
		if coveredByAny(in, filter) && !coveredByAny(never, filter) && !slices.Equal(out, []string{filter}) {
			t.Fatalf("%q is allowed as it is, got %q", filter, out)
		}
	})
}
