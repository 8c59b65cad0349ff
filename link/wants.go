package link

import (
	"cmp"
	"slices"

	"causeway/internal/home"
	"causeway/routing"
)

// wantedSource is what our home wants of all peers.
type wantedSource interface {
	Wanted() (version uint64, d routing.Digest)
	WantedSince(version uint64) (routing.Delta, bool)
	WantedView() routing.View
	Config() *home.Configure
}

// wants is what we ask of one peer: what our home wants, narrowed by the link's
// policy. It has the versions of the home's set, so that every node of the region
// tells the same, and needs no memory of its own to go on after a restart.
//
// What is asked for on behalf of global groups is told to peers that know them,
// and only where the policy lets in all that the group subscribed to: a peer that
// chose this region for a message that may not come would lose it.
type wants struct {
	src       wantedSource
	in, never []string        // as the peer names topics
	prefix    string          // before them here
	rules     *home.Configure // whose residency keeps what is wanted from being told
	regions   [2]string       // this one and the peer's
	groups    bool            // the peer knows global groups
	narrow    bool
	set       *routing.Interest // narrowed set at version, counted; nil: not built
	version   uint64
}

func newWants(src wantedSource, policy *home.LinkPolicy, own home.ID, groups bool) *wants {
	w := &wants{src: src, in: policy.In, never: policy.Never, prefix: policy.InPrefix, rules: src.Config(),
		regions: [2]string{string(own), string(policy.Peer)}, groups: groups}
	w.narrow = len(w.in)+len(w.never)+len(w.prefix)+len(w.rules.Residency) > 0 || !groups
	return w
}

// of says whether w is what a policy, and the rules of a home, make of what our home
// wants.
func (w *wants) of(policy *home.LinkPolicy, rules *home.Configure) bool {
	return slices.Equal(w.in, policy.In) && slices.Equal(w.never, policy.Never) && w.prefix == policy.InPrefix &&
		(w.rules == rules || len(w.rules.Residency)+len(rules.Residency) == 0)
}

// asks is what a filter of our home asks of the peer, as that names topics. Of what
// the rules of residency keep apart nothing is asked: it would tell the peer for
// nothing what is wanted here.
func (w *wants) asks(f routing.Filter) []string {
	filter := f.Filter
	if slices.ContainsFunc(w.rules.Unwanted(f.Namespace, w.regions[:]...), func(wide string) bool { return routing.Covers(wide, filter) }) {
		return nil
	}
	if w.prefix != "" {
		var ok bool
		if filter, ok = routing.Unprefix(filter, w.prefix); !ok {
			return nil
		}
	}
	in := w.in
	if len(in) == 0 {
		in = []string{filter}
	}
	return routing.Restrict(filter, in, w.never)
}

// digest brings the set up to date and returns its version and fingerprint.
func (w *wants) digest() (uint64, routing.Digest) {
	if !w.narrow {
		return w.src.Wanted()
	}
	w.advance()
	return w.version, w.set.Digest()
}

// since returns what changed from a version to now; not ok if only a snapshot
// can tell.
func (w *wants) since(version uint64) (routing.Delta, bool) {
	if !w.narrow {
		return w.src.WantedSince(version)
	}
	if w.set == nil || version != w.version {
		return routing.Delta{}, false
	}
	return w.advance()
}

func (w *wants) view() routing.View {
	if !w.narrow {
		return w.src.WantedView()
	}
	w.advance()
	v := w.set.View()
	v.Version = w.version
	return v
}

// advance takes the narrowed set to the home's version. It returns the change,
// or not ok when the set had to be built anew.
func (w *wants) advance() (routing.Delta, bool) {
	if w.set != nil {
		if raw, ok := w.src.WantedSince(w.version); ok {
			return w.apply(raw), true
		}
	}
	all := w.src.WantedView()
	w.set = routing.NewInterest(0)
	for f := range all.All() {
		for _, part := range w.parts(f) {
			w.set.Add(f.Namespace, part)
		}
	}
	w.version = all.Version
	return routing.Delta{}, false
}

// parts is what the policy leaves of a filter.
func (w *wants) parts(f routing.Filter) []string {
	filter, claimed := home.Claimed(f)
	if !claimed {
		return w.asks(f)
	}
	if w.groups && (filter == "" || w.all(f.Namespace, filter)) {
		return []string{f.Filter}
	}
	return nil
}

// all says whether everything that a filter matches may come, as the peer names
// it.
func (w *wants) all(namespace, filter string) bool {
	if w.prefix != "" {
		return false
	}
	for _, never := range slices.Concat(w.never, w.rules.Unwanted(namespace, w.regions[:]...)) {
		if _, both := routing.Intersect(filter, never); both {
			return false
		}
	}
	return len(w.in) == 0 || slices.ContainsFunc(w.in, func(in string) bool { return routing.Covers(in, filter) })
}

// apply counts: two filters may be narrowed to the same one, which goes only
// with the last of them.
func (w *wants) apply(raw routing.Delta) routing.Delta {
	net := map[routing.Filter]int{}
	for _, f := range raw.Add {
		for _, part := range w.parts(f) {
			if w.set.Add(f.Namespace, part) {
				net[routing.Filter{Namespace: f.Namespace, Filter: part}]++
			}
		}
	}
	for _, f := range raw.Remove {
		for _, part := range w.parts(f) {
			if w.set.Remove(f.Namespace, part) {
				net[routing.Filter{Namespace: f.Namespace, Filter: part}]--
			}
		}
	}
	out := routing.Delta{Base: w.version, Version: raw.Version}
	for f, n := range net {
		switch {
		case n > 0:
			out.Add = append(out.Add, f)
		case n < 0:
			out.Remove = append(out.Remove, f)
		}
	}
	slices.SortFunc(out.Add, compareFilters)
	slices.SortFunc(out.Remove, compareFilters)
	w.version = raw.Version
	return out
}

func compareFilters(a, b routing.Filter) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Filter, b.Filter))
}
