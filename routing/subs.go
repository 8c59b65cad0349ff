package routing

import (
	"hash/maphash"
	"slices"
)

// seed differs from process to process. Nothing a caller can see depends on it: a hash decides where in memory a leaf
// is, never the order of a result. It keeps devices from choosing filters that collide.
var seed = maphash.MakeSeed()

// subs is the subscribers of one filter in the order they came, at least one, each once. A value that a reader can
// reach does not change, except inside many, which knows how to be read meanwhile. Three sizes, because most filters
// have one subscriber and a few have hundreds of thousands.
type subs[S comparable] struct {
	one  S        // the only one, if more is nil
	more *more[S] // all of them otherwise
}

type more[S comparable] struct {
	few  []S      // all, if many is nil
	many *many[S] // all otherwise
}

// A list becomes a many above mostFew and shrinks back below half of that, so that it does not swing at the edge.
const mostFew = 32

// appendTo appends all to dst.
func (s *subs[S]) appendTo(dst []S) []S {
	switch {
	case s.more == nil:
		return append(dst, s.one)
	case s.more.many == nil:
		return append(dst, s.more.few...)
	default:
		return s.more.many.appendTo(dst)
	}
}

// with returns what s is with x at its end. Added is false, and nothing else, if x was in it already.
func (s *subs[S]) with(x S) (next subs[S], added bool) {
	switch {
	case s.more == nil:
		if s.one == x {
			return *s, false
		}
		return subs[S]{more: &more[S]{few: []S{s.one, x}}}, true
	case s.more.many == nil:
		few := s.more.few
		if slices.Contains(few, x) {
			return *s, false
		}
		few = append(slices.Clone(few), x)
		if len(few) <= mostFew {
			return subs[S]{more: &more[S]{few: few}}, true
		}
		return subs[S]{more: &more[S]{many: newMany(few)}}, true
	default:
		return *s, s.more.many.add(x)
	}
}

// without returns what s is without x, and how many that are; if none, next is of no use. Removed is false, and next
// is s, if x was not in it.
func (s *subs[S]) without(x S) (next subs[S], left int, removed bool) {
	switch {
	case s.more == nil:
		if s.one == x {
			return subs[S]{}, 0, true
		}
		return *s, 1, false
	case s.more.many == nil:
		few := s.more.few
		i := slices.Index(few, x)
		switch {
		case i < 0:
			return *s, len(few), false
		case len(few) == 2:
			return subs[S]{one: few[1-i]}, 1, true
		}
		few = slices.Concat(few[:i], few[i+1:])
		return subs[S]{more: &more[S]{few: few}}, len(few), true
	default:
		m := s.more.many
		if !m.remove(x) {
			return *s, m.size(), false
		}
		if m.size() >= mostFew/2 {
			return *s, m.size(), true
		}
		return subs[S]{more: &more[S]{few: m.appendTo(nil)}}, m.size(), true
	}
}
