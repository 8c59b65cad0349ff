package routing

import (
	"slices"
	"strings"
)

// Covers says whether every topic that b matches is matched by a. Both must be valid filters.
func Covers(a, b string) bool {
	if wildFirst(a) && hidden(b) {
		return false // [MQTT-4.7.2-1]
	}
	switch b { // no topic is empty, so these two are the same as
	case "#":
		b = "+/#"
	case "/#":
		b = "/+/#"
	}
	for {
		wide, aRest, aMore := strings.Cut(a, "/")
		if wide == "#" {
			return true
		}
		narrow, bRest, bMore := strings.Cut(b, "/")
		if narrow == "#" || wide != "+" && wide != narrow {
			return false
		}
		if !aMore {
			return !bMore
		}
		if !bMore {
			return aRest == "#"
		}
		a, b = aRest, bRest
	}
}

// Overlaps says whether some topic matches both a and b. Both must be valid filters.
func Overlaps(a, b string) bool {
	_, ok := Intersect(a, b)
	return ok
}

// Intersect returns the filter that matches exactly the topics both a and b match; ok is false if there are none. Two
// valid filters that overlap always have such a filter: at each level the narrower side stands.
func Intersect(a, b string) (both string, ok bool) {
	if wildFirst(a) && hidden(b) || wildFirst(b) && hidden(a) {
		return "", false // [MQTT-4.7.2-1]
	}
	var levels []string
	for {
		if a == "#" {
			return strings.Join(append(levels, b), "/"), true
		}
		if b == "#" {
			return strings.Join(append(levels, a), "/"), true
		}
		la, aRest, aMore := strings.Cut(a, "/")
		lb, bRest, bMore := strings.Cut(b, "/")
		switch {
		case la == "+":
			levels = append(levels, lb)
		case lb == "+" || la == lb:
			levels = append(levels, la)
		default:
			return "", false
		}
		switch {
		case aMore && bMore:
			a, b = aRest, bRest
		case !aMore && !bMore, !aMore && bRest == "#", !bMore && aRest == "#":
			both = strings.Join(levels, "/") // "x/#" includes "x", so the shorter one stands
			return both, both != ""          // "/#" and "+" have only the empty topic in common, which is none
		default:
			return "", false
		}
	}
}

// Restrict narrows a filter that a peer or a session asked for to what a link's policy lets through: the filters to
// export. In lists what is allowed (empty: nothing) and never what is forbidden. The result is filter itself if one of
// in covers it, otherwise its intersections with in, in the order of in and without those that another one covers.
// What a filter of never covers is left out.
//
// MQTT has no filter for "all of a/# but a/secret/#". A result that only overlaps never therefore stays, and whoever
// exports must still test each topic against never before it leaves.
func Restrict(filter string, in, never []string) (out []string) {
	for _, allowed := range in {
		part, ok := Intersect(filter, allowed)
		if Covers(allowed, filter) {
			part = filter // the same set; keep the spelling that was asked for ("#", not "+/#")
		}
		if ok && !coveredByAny(never, part) {
			out = addMaximal(out, part)
		}
	}
	return out
}

// addMaximal adds filter to set, of which no member covers another, and keeps it so.
func addMaximal(set []string, filter string) []string {
	if coveredByAny(set, filter) {
		return set
	}
	set = slices.DeleteFunc(set, func(have string) bool { return Covers(filter, have) })
	return append(set, filter)
}

func coveredByAny(filters []string, filter string) bool {
	return slices.ContainsFunc(filters, func(wide string) bool { return Covers(wide, filter) })
}
