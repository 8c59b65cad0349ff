package home

import (
	"encoding/binary"
	"slices"

	"causeway/routing"
)

// Residency says that messages of a namespace whose topic matches Filter may be
// stored in the named regions only. All rules that match count, so a narrower one
// can only take regions away.
//
// Filter matches as in a subscription, with one exception: a wildcard in its first
// level also matches topics that begin with "$". A rule leaves out nothing by
// accident.
type Residency struct {
	Namespace string // empty: every namespace
	Filter    string
	Regions   []string
}

// MayLeave says whether a message may be sent to a region, or to a foreign link of
// that name, by the rules of residency in force. Whatever takes a message out of the
// region asks it, at the moment in which the message leaves. It takes no lock.
func (s *State) MayLeave(ns, topic, region string) bool {
	_, denied := s.ResidencyOf(ns, topic, region)
	return !denied
}

// ResidencyOf returns the rule that keeps a message out of a region. It takes no
// lock.
func (s *State) ResidencyOf(ns, topic, region string) (Residency, bool) {
	rules := s.config.Load().Residency
	for i := range rules {
		if r := &rules[i]; r.covers(ns, topic) && !slices.Contains(r.Regions, region) {
			return *r, true
		}
	}
	return Residency{}, false
}

// mayStay says whether the region that hosts this home may store a message.
func (s *State) mayStay(ns, topic string) bool { return s.MayLeave(ns, topic, s.currentEpoch().Host) }

func (r *Residency) covers(ns, topic string) bool {
	if r.Namespace != "" && r.Namespace != ns {
		return false
	}
	if topic != "" && topic[0] == '$' { // behind another level a wildcard sees it
		return routing.Matches("x/"+r.Filter, "x/"+topic)
	}
	return routing.Matches(r.Filter, topic)
}

// Unwanted are the filters of a namespace of which nothing may get from a region to
// this one, or be sent there: what this home wants of it needs not be told.
func (c *Configure) Unwanted(ns string, regions ...string) (filters []string) {
	for i := range c.Residency {
		r := &c.Residency[i]
		if r.Namespace != "" && r.Namespace != ns {
			continue
		}
		if slices.ContainsFunc(regions, func(x string) bool { return !slices.Contains(r.Regions, x) }) {
			filters = append(filters, r.Filter)
		}
	}
	return filters
}

// appendResidency writes nothing for no rules, as homes without them always did.
func appendResidency(b []byte, rules []Residency) []byte {
	if len(rules) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(rules)))
	for _, r := range rules {
		b = appendStrings(appendString(appendString(b, r.Namespace), r.Filter), r.Regions)
	}
	return b
}

func (r *reader) residency() (rules []Residency) {
	if r.err != nil || len(r.b) == 0 {
		return nil
	}
	n := r.count(3)
	rules = make([]Residency, 0, n)
	for range n {
		rules = append(rules, Residency{r.string(), r.string(), r.strings()})
	}
	return rules
}
