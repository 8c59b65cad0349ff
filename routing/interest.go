package routing

// Interest is what one home wants from the others: the set of distinct (namespace, filter) of its subscriptions, with
// a count of how many hold each, a version, and the recent changes, so that a peer is sent a delta and not the set.
//
// It belongs to the home's state machine and is not safe for concurrent use. The version is +1 for each filter that
// comes or goes, so replicas that apply the same entries have the same version, set and digest. What Since still
// remembers may differ (a replica restored from a snapshot remembers nothing); it decides only how a peer is brought
// up to date, never to what.
type Interest struct {
	held    set
	version uint64
	digest  Digest

	recent []change // a ring: the change to version v is at v % len(recent)
	oldest uint64   // the first version Since can start from
}

type change struct {
	filter Filter
	added  bool
}

// NewInterest returns an empty set at version 0 that remembers the last history changes for Since. A change takes 40
// bytes and keeps its filter's text alive. History 0 means that every Since to an older version needs a snapshot.
func NewInterest(history int) *Interest {
	return &Interest{held: newSet(), recent: make([]change, max(history, 0))}
}

// Add counts one more holder of filter and reports whether it is the first, that is, whether the version rose.
func (in *Interest) Add(ns, filter string) (changed bool) {
	f := Filter{ns, filter}
	if m, held := in.held.get(f); held {
		m.holders++
		in.held.put(m)
		return false
	}
	in.held.put(member{f, 1})
	in.digest = in.digest.plus(digestOf(f))
	in.record(change{f, true})
	return true
}

// Remove counts one holder of filter less and reports whether it was the last, that is, whether the version rose.
// Without a holder it does nothing.
func (in *Interest) Remove(ns, filter string) (changed bool) {
	f := Filter{ns, filter}
	m, held := in.held.get(f)
	switch {
	case !held:
		return false
	case m.holders > 1:
		m.holders--
		in.held.put(m)
		return false
	}
	in.held.delete(f)
	in.digest = in.digest.minus(digestOf(f))
	in.record(change{f, false})
	return true
}

func (in *Interest) record(c change) {
	in.version++
	size := uint64(len(in.recent))
	if size == 0 {
		in.oldest = in.version
		return
	}
	in.recent[in.version%size] = c
	if in.version-in.oldest > size {
		in.oldest = in.version - size
	}
}

// Version is the number of changes the set has seen, plus what Rebase set.
func (in *Interest) Version() uint64 { return in.version }

// Len is the number of distinct filters.
func (in *Interest) Len() int { return in.held.len() }

// Digest is the set's fingerprint, kept up with each change.
func (in *Interest) Digest() Digest { return in.digest }

// Rebase sets the version and forgets the recent changes. A home restored from its snapshot adds its subscriptions
// again and then takes the version the snapshot recorded.
func (in *Interest) Rebase(version uint64) {
	in.version, in.oldest = version, version
	clear(in.recent)
}

// Since returns the changes from version to now. Ok is false if they are no longer known, or if version is one this
// set has not reached: the peer then needs a Snapshot. The caller owns the slices.
func (in *Interest) Since(version uint64) (delta Delta, ok bool) {
	if version < in.oldest || version > in.version {
		return Delta{}, false
	}
	delta = Delta{Base: version, Version: in.version}
	net := make(map[Filter]bool)
	for v := version + 1; v <= in.version; v++ {
		c := in.recent[v%uint64(len(in.recent))]
		if _, undone := net[c.filter]; undone {
			delete(net, c.filter) // a filter's changes alternate, so the second takes back the first
			continue
		}
		net[c.filter] = c.added
	}
	for _, f := range sorted(net) {
		if net[f] {
			delta.Add = append(delta.Add, f)
		} else {
			delta.Remove = append(delta.Remove, f)
		}
	}
	return delta, true
}

// View returns the set as it is now. It is the writer's to call, and anybody's to read.
func (in *Interest) View() View { return in.held.view(in.version, in.digest) }

// Snapshot returns the whole set. The caller owns the slice.
func (in *Interest) Snapshot() Snapshot { return in.View().Snapshot() }
