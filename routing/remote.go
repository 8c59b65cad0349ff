package routing

import (
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Refusals of Remote. After any of them nothing has changed and the peer must be asked for a snapshot.
var (
	ErrGap      = errors.New("interest delta does not follow the version held")
	ErrDiverged = errors.New("interest held differs from what the peer has")
)

// Remote is what one peer wants, as applied on our side. Like Interest it belongs to the home's state machine and is
// not safe for concurrent use.
type Remote struct {
	changed func(f Filter, added bool) // fixed after NewRemote
	version uint64
	filters map[Filter]struct{}
}

// NewRemote returns an empty Remote at version 0. Apply and Replace call changed for each filter that came (added) or
// went, in an order that depends only on the arguments and the set: removals, then additions, each sorted. The call is
// made after the set has changed; changed must not call back into the Remote. Nil means nobody needs to know.
func NewRemote(changed func(f Filter, added bool)) *Remote {
	if changed == nil {
		changed = func(Filter, bool) {}
	}
	return &Remote{changed: changed, filters: map[Filter]struct{}{}}
}

// Apply takes the set from d.Base to d.Version, which may be the same: so a set is read back from a disk. A delta that does not start at the current version is refused with
// ErrGap. One that adds what is there or removes what is not shows that the two sides differ: ErrDiverged.
func (r *Remote) Apply(d Delta) error {
	if d.Base != r.version || d.Version < d.Base {
		return fmt.Errorf("%w: delta from %d to %d, held %d; ask for a snapshot", ErrGap, d.Base, d.Version, r.version)
	}
	if err := r.check(d); err != nil {
		return err
	}
	for _, f := range d.Remove {
		delete(r.filters, f)
	}
	for _, f := range d.Add {
		r.filters[f] = struct{}{}
	}
	r.version = d.Version
	r.report(d.Remove, d.Add)
	return nil
}

// check is done in full before the first change, so that a refused delta leaves no trace.
func (r *Remote) check(d Delta) error {
	if !distinct(d.Remove) || !distinct(d.Add) {
		return fmt.Errorf("%w: delta to %d is not sorted and distinct; ask for a snapshot", ErrDiverged, d.Version)
	}
	for _, f := range d.Remove {
		if _, held := r.filters[f]; !held {
			return fmt.Errorf("%w: delta to %d removes %q, which is not held; ask for a snapshot", ErrDiverged, d.Version, brief(f.Filter))
		}
	}
	for _, f := range d.Add {
		if _, held := r.filters[f]; held {
			return fmt.Errorf("%w: delta to %d adds %q, which is held; ask for a snapshot", ErrDiverged, d.Version, brief(f.Filter))
		}
	}
	return nil
}

// Replace takes the set to exactly s, whatever was held before and at whatever version: the peer's word stands, also
// when it is older (a peer restored from a backup starts again with a raised epoch). A snapshot whose filters do not
// add up to its digest was damaged on the way or on the peer: ErrDiverged.
func (r *Remote) Replace(s Snapshot) error {
	if !distinct(s.Filters) {
		return fmt.Errorf("%w: snapshot of version %d is not sorted and distinct; ask again", ErrDiverged, s.Version)
	}
	next := make(map[Filter]struct{}, len(s.Filters))
	var come []Filter
	for _, f := range s.Filters {
		next[f] = struct{}{}
		if !r.Has(f) {
			come = append(come, f)
		}
	}
	if got := digestSet(next); got != s.Digest {
		return fmt.Errorf("%w: snapshot of version %d says digest %s and has %s; ask again", ErrDiverged, s.Version, s.Digest, got)
	}
	gone := missing(r.filters, next)
	r.filters, r.version = next, s.Version
	r.report(gone, come)
	return nil
}

func (r *Remote) report(gone, come []Filter) {
	for _, f := range gone {
		r.changed(f, false)
	}
	for _, f := range come {
		r.changed(f, true)
	}
}

// missing returns what is in a and not in b, sorted.
func missing(a, b map[Filter]struct{}) (only []Filter) {
	for f := range a {
		if _, both := b[f]; !both {
			only = append(only, f)
		}
	}
	slices.SortFunc(only, Filter.compare)
	return only
}

// Version is the peer's version that is held.
func (r *Remote) Version() uint64 { return r.version }

// Has says whether f is held.
func (r *Remote) Has(f Filter) bool {
	_, held := r.filters[f]
	return held
}

// Len is the number of filters held.
func (r *Remote) Len() int { return len(r.filters) }

// Digest is computed from the filters in memory at each call, never remembered, so that it notices what no Apply did:
// a flipped bit, a bug. A million filters take a tenth of a second or so.
func (r *Remote) Digest() Digest { return digestSet(r.filters) }

func digestSet(set map[Filter]struct{}) (d Digest) {
	for f := range set {
		d = d.plus(digestOf(f))
	}
	return d
}

// All yields the filters in sorted order, as they were when the iteration began.
func (r *Remote) All() iter.Seq[Filter] {
	return func(yield func(Filter) bool) {
		for _, f := range sorted(r.filters) {
			if !yield(f) {
				return
			}
		}
	}
}

// Snapshot returns the set as held, with the digest computed from it. The caller owns the slice.
func (r *Remote) Snapshot() Snapshot {
	return Snapshot{Version: r.version, Filters: sorted(r.filters), Digest: r.Digest()}
}
