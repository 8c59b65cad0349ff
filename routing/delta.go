package routing

import (
	"fmt"
	"slices"
	"strings"
)

// Filter is a topic filter in a namespace; the same text in two namespaces is two filters.
type Filter struct{ Namespace, Filter string }

func (f Filter) compare(g Filter) int {
	if c := strings.Compare(f.Namespace, g.Namespace); c != 0 {
		return c
	}
	return strings.Compare(f.Filter, g.Filter)
}

// Delta takes a set of filters from version Base to Version. Add and Remove are sorted and disjoint, and no filter
// that came and went in between is in either, so a Delta may be empty and still raise the version.
type Delta struct {
	Base, Version uint64
	Add, Remove   []Filter
}

// Empty says whether the delta changes neither the set nor its version.
func (d Delta) Empty() bool { return d.Base == d.Version }

// Snapshot is a whole set of filters at a version: Filters sorted and distinct, Digest as the sender holds it.
type Snapshot struct {
	Version uint64
	Filters []Filter
	Digest  Digest
}

// SnapshotOf makes a snapshot of filters, which it keeps.
func SnapshotOf(version uint64, filters []Filter) Snapshot {
	return Snapshot{Version: version, Filters: filters, Digest: digestAll(slices.Values(filters))}
}

// Check finds out whether the filters are sorted, distinct and add up to the digest. If not the snapshot was damaged on
// the way or at its sender: ErrDiverged.
func (s Snapshot) Check() error {
	if !distinct(s.Filters) {
		return fmt.Errorf("%w: snapshot of version %d is not sorted and distinct; ask again", ErrDiverged, s.Version)
	}
	if got := digestAll(slices.Values(s.Filters)); got != s.Digest {
		return fmt.Errorf("%w: snapshot of version %d says digest %s and has %s; ask again", ErrDiverged, s.Version, s.Digest, got)
	}
	return nil
}

// sorted returns the keys of set in the order that snapshots and deltas use.
func sorted[V any](set map[Filter]V) []Filter {
	out := make([]Filter, 0, len(set))
	for f := range set {
		out = append(out, f)
	}
	slices.SortFunc(out, Filter.compare)
	return out
}

// distinct says whether filters are sorted and none is there twice.
func distinct(filters []Filter) bool {
	for i := 1; i < len(filters); i++ {
		if filters[i-1].compare(filters[i]) >= 0 {
			return false
		}
	}
	return true
}
