package link

import (
	"iter"
	"slices"

	"causeway/internal/home"
	"causeway/link/wire"
	"causeway/routing"
)

// stepBytes is how much of what a peer wants one operation changes. While it is
// applied the home does nothing else: these are some 800 filters and three
// milliseconds. A million take 1,250 turns of the log.
const stepBytes = 32 << 10

// steps turns a snapshot into operations. A large one changes the table in
// steps, of which none makes it narrower than it was before and will be after:
// what is wanted stays wanted.
func (h *heeder) steps(epoch home.Epoch, s routing.Snapshot) iter.Seq[*home.Interest] {
	held, _ := h.state().PeerInterest(h.id())
	if within(held.All(), h.step) && within(slices.Values(s.Filters), h.step) {
		whole := &home.Interest{Peer: h.id(), Epoch: epoch, Full: true, Version: s.Version, Add: s.Filters}
		return func(yield func(*home.Interest) bool) { yield(whole) }
	}
	to := stretch{peer: h.id(), epoch: epoch, base: held.Version, version: s.Version, step: h.step}
	add, remove := difference(held, s.Filters)
	return func(yield func(*home.Interest) bool) {
		// What is held is renumbered first if the peer counts anew: in another epoch, or
		// from less after a restore.
		if info, _ := h.state().Peer(h.id()); info.Epoch != epoch || to.version < to.base {
			if !yield(to.op(0, nil, nil)) {
				return
			}
			to.base = 0
		}
		to.ops(add, remove)(yield)
	}
}

// stretch is the way of a peer's table from one version to another.
type stretch struct {
	peer          home.ID
	epoch         home.Epoch
	base, version uint64
	step          int // bytes of filters in one operation
}

func (t *stretch) op(version uint64, add, remove []routing.Filter) *home.Interest {
	return &home.Interest{Peer: t.peer, Epoch: t.epoch, Base: t.base, Version: version, Add: add, Remove: remove}
}

// ops goes it in one step if that is short enough. Otherwise additions come
// first, and the last step carries the version: before it the table counts as
// what it was.
func (t *stretch) ops(add, remove []routing.Filter) iter.Seq[*home.Interest] {
	return func(yield func(*home.Interest) bool) {
		if filterBytes(add)+filterBytes(remove) <= t.step {
			yield(t.op(t.version, add, remove))
			return
		}
		for part := range parts(slices.Values(add), t.step) {
			if !yield(t.op(t.base, part, nil)) {
				return
			}
		}
		for part := range parts(slices.Values(remove), t.step) {
			if !yield(t.op(t.base, nil, part)) {
				return
			}
		}
		yield(t.op(t.version, nil, nil))
	}
}

// difference compares what is held with a sorted list.
func difference(held routing.View, want []routing.Filter) (add, remove []routing.Filter) {
	for f := range held.All() {
		for len(want) > 0 && compareFilters(want[0], f) < 0 {
			add, want = append(add, want[0]), want[1:]
		}
		if len(want) > 0 && want[0] == f {
			want = want[1:]
		} else {
			remove = append(remove, f)
		}
	}
	if add == nil {
		return want, remove
	}
	return append(add, want...), remove
}

// parts cuts a list so that no part has more than limit bytes. A part is the
// caller's.
func parts(list iter.Seq[routing.Filter], limit int) iter.Seq[[]routing.Filter] {
	return func(yield func([]routing.Filter) bool) {
		var part []routing.Filter
		size := 0
		for f := range list {
			n := wire.FilterBytes(wire.Filter(f))
			if size+n > limit && size > 0 {
				if !yield(part) {
					return
				}
				part, size = nil, 0
			}
			part, size = append(part, f), size+n
		}
		if size > 0 {
			yield(part)
		}
	}
}

// within says whether a list has at most limit bytes.
func within(list iter.Seq[routing.Filter], limit int) bool {
	size := 0
	for f := range list {
		if size += wire.FilterBytes(wire.Filter(f)); size > limit {
			return false
		}
	}
	return true
}

func filterBytes(list []routing.Filter) (n int) {
	for _, f := range list {
		n += wire.FilterBytes(wire.Filter(f))
	}
	return n
}
