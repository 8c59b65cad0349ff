package routing

import (
	"iter"

	"github.com/google/btree"
)

// View is a set of filters as it was at a version. Taking one costs the same however large the set is, and it is read
// without a lock while the set goes on changing. The zero View is empty.
type View struct {
	Version uint64
	Digest  Digest // kept up with each change; Compute derives it anew
	Len     int
	ascend  func(yield func(Filter) bool)
}

// All yields the filters in sorted order.
func (v View) All() iter.Seq[Filter] {
	if v.ascend == nil {
		return func(func(Filter) bool) {}
	}
	return v.ascend
}

// Snapshot returns the view in a slice, which the caller owns.
func (v View) Snapshot() Snapshot {
	out := make([]Filter, 0, v.Len)
	for f := range v.All() {
		out = append(out, f)
	}
	return Snapshot{Version: v.Version, Filters: out, Digest: v.Digest}
}

// Compute derives the digest from the filters in memory, so that it notices what no change did: a flipped bit, a bug.
// A million filters take a tenth of a second or so.
func (v View) Compute() Digest { return digestAll(v.All()) }

// set is a sorted set of filters with a number for each, shared with the views of it: a change copies the nodes on its
// path, each once after a view.
type set struct{ tree *btree.BTreeG[member] }

type member struct {
	Filter
	holders int
}

// setDegree makes nodes of up to 63 filters, 2.5 KiB: what a change copies of each level.
const setDegree = 32

func newSet() set {
	return set{btree.NewG(setDegree, func(a, b member) bool { return a.Filter.compare(b.Filter) < 0 })}
}

func (s set) get(f Filter) (m member, held bool) { return s.tree.Get(member{Filter: f}) }
func (s set) put(m member)                       { s.tree.ReplaceOrInsert(m) }
func (s set) delete(f Filter)                    { s.tree.Delete(member{Filter: f}) }
func (s set) len() int                           { return s.tree.Len() }

func (s set) has(f Filter) bool {
	_, held := s.get(f)
	return held
}

func (s set) all(yield func(Filter) bool) {
	s.tree.Ascend(func(m member) bool { return yield(m.Filter) })
}

// view marks all nodes as shared. It changes the set's own bookkeeping, so it is the writer's.
func (s set) view(version uint64, d Digest) View {
	frozen := set{s.tree.Clone()}
	return View{Version: version, Digest: d, Len: frozen.len(), ascend: frozen.all}
}
