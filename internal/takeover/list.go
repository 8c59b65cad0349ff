package takeover

import (
	"hash/fnv"
	"slices"
)

// The list of a home's voters is an entry of its log, which its host changes by one voter at
// a time: any two majorities of neighbouring lists have a voter in common, and that one
// promises to one of two. A standby may be further behind. So voters keep which list the host
// decides by, refuse a candidate that decides by an older one, and the host makes the next
// change only once a majority by the present list keeps that one (docs/adr/0042).

// List is the list of voters that a host decides by, as a voter knows it. It is durable. The
// zero List is of a host that did not say.
type List struct {
	ID uint64
	At Position // of a copy that has it
}

// ListID tells lists of voters apart. It is never 0.
func ListID(voters []string) uint64 {
	h := fnv.New64a()
	for _, v := range slices.Sorted(slices.Values(voters)) {
		_, _ = h.Write(append([]byte(v), 0))
	}
	return max(h.Sum64(), 1)
}

// Told is the list after a host said which one it decides by; id is 0 if it did not say. A
// word that was overtaken changes nothing.
func (l List) Told(id uint64, at Position) List {
	if id == 0 || id == l.ID || at.Behind(l.At) {
		return l
	}
	return List{id, at}
}

// Outdated says that a candidate decides by a list older than the host's: by another one, and
// its copy does not go as far.
func (l List) Outdated(id uint64, at Position) bool {
	return l.ID != 0 && id != 0 && id != l.ID && at.Behind(l.At)
}
