package routing

import (
	"errors"
	"fmt"
	"iter"
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
	digest  Digest
	held    set
}

// NewRemote returns an empty Remote at version 0. Apply and Replace call changed for each filter that came (added) or
// went, in an order that depends only on the arguments and the set: removals, then additions, each sorted. The call is
// made after the set has changed; changed must not call back into the Remote. Nil means nobody needs to know.
func NewRemote(changed func(f Filter, added bool)) *Remote {
	if changed == nil {
		changed = func(Filter, bool) {}
	}
	return &Remote{changed: changed, held: newSet()}
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
		r.held.delete(f)
		r.digest = r.digest.minus(digestOf(f))
	}
	for _, f := range d.Add {
		r.held.put(member{Filter: f})
		r.digest = r.digest.plus(digestOf(f))
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
		if !r.Has(f) {
			return fmt.Errorf("%w: delta to %d removes %q, which is not held; ask for a snapshot", ErrDiverged, d.Version, brief(f.Filter))
		}
	}
	for _, f := range d.Add {
		if r.Has(f) {
			return fmt.Errorf("%w: delta to %d adds %q, which is held; ask for a snapshot", ErrDiverged, d.Version, brief(f.Filter))
		}
	}
	return nil
}

// Replace takes the set to exactly s, whatever was held before and at whatever version: the peer's word stands, also
// when it is older (a peer restored from a backup starts again with a raised epoch). What s.Check refuses changes
// nothing.
func (r *Remote) Replace(s Snapshot) error {
	if err := s.Check(); err != nil {
		return err
	}
	next := newSet()
	var come []Filter
	for _, f := range s.Filters {
		next.put(member{Filter: f})
		if !r.Has(f) {
			come = append(come, f)
		}
	}
	var gone []Filter
	for f := range r.held.all {
		if !next.has(f) {
			gone = append(gone, f)
		}
	}
	r.held, r.version, r.digest = next, s.Version, s.Digest
	r.report(gone, come)
	return nil
}

// Renumber takes the set as it is from base to version, which may be lower: the peer counts anew. It is refused with
// ErrGap if base is not held.
func (r *Remote) Renumber(base, version uint64) error {
	if base != r.version {
		return fmt.Errorf("%w: renumbered from %d, held %d; ask for a snapshot", ErrGap, base, r.version)
	}
	r.version = version
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

// Version is the peer's version that is held.
func (r *Remote) Version() uint64 { return r.version }

// Has says whether f is held.
func (r *Remote) Has(f Filter) bool { return r.held.has(f) }

// Len is the number of filters held.
func (r *Remote) Len() int { return r.held.len() }

// Digest is the set's fingerprint, kept up with each change. That of memory as it is now is View().Compute().
func (r *Remote) Digest() Digest { return r.digest }

// All yields the filters in sorted order. The set must not change meanwhile.
func (r *Remote) All() iter.Seq[Filter] { return r.held.all }

// View returns the set as it is now. It is the writer's to call, and anybody's to read.
func (r *Remote) View() View { return r.held.view(r.version, r.digest) }

// Snapshot returns the set as held. The caller owns the slice.
func (r *Remote) Snapshot() Snapshot { return r.View().Snapshot() }
