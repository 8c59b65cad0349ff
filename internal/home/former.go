package home

import (
	"slices"
	"time"
)

// formerFor is how long it is remembered from whom a session was taken: longer
// than any node may send for a session after it lost it, with room for clocks
// that run differently fast.
const formerFor = 5 * time.Second

// formers remembers from whom sessions were taken a moment ago. The owner before
// the last may still be sending as well: it has not applied that it lost the
// session, and the last one, which had to ask it, has lost it before it knew.
// Nothing but Outcome.Formers depends on it, so it is not kept on disk. [C1]
type formers struct {
	of    map[SessionKey][]former
	order []taken // oldest first
}

type former struct {
	owner Owner
	at    Time
}

type taken struct {
	key SessionKey
	at  Time
}

// lost notes that an owner lost a session by somebody else's word.
func (f *formers) lost(k SessionKey, o Owner, at Time) {
	if f.of == nil {
		f.of = map[SessionKey][]former{}
	}
	list := slices.DeleteFunc(f.of[k], func(x former) bool { return x.owner == o })
	f.of[k] = append(list, former{o, at})
	f.order = append(f.order, taken{k, at})
}

// forget lets go of what was too long ago.
func (f *formers) forget(now Time) {
	n := 0
	for ; n < len(f.order) && now.Sub(f.order[n].at) >= formerFor; n++ {
		k := f.order[n].key
		left := slices.DeleteFunc(f.of[k], func(x former) bool { return now.Sub(x.at) >= formerFor })
		if len(left) == 0 {
			delete(f.of, k)
		} else {
			f.of[k] = left
		}
	}
	if f.order = f.order[n:]; len(f.order) == 0 {
		f.order = nil
	}
}

// formersOf are the runs of other nodes that may still be sending for a session.
func (s *State) formersOf(k SessionKey, owner Owner) (list []Owner) {
	for _, x := range s.formers.of[k] {
		if x.owner.Node != owner.Node && s.alive(x.owner) {
			list = append(list, x.owner)
		}
	}
	return list
}
