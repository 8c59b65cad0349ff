package home

import (
	"bytes"
	"encoding/binary"
	"fmt"
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
	switch {
	case n == 0 || n > s.records:
		return nil, fmt.Errorf("record %d of %d: it was not applied yet", n, s.records)
	case n < s.notes.from:
		return nil, fmt.Errorf("who got what record %d withholds from %s: %w", n, to, ErrForgotten)
	case !s.notes.withholds(to):
		return raw, nil
	}
	b := s.notes.of[n]
	if b == nil {
		return raw, nil
	}
	list, err := decodePlacings(b)
	if err != nil {
		return nil, fmt.Errorf("placings of record %d: %w", n, err)
	}
	rec, err := DecodeRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", n, err)
	}
	if len(rec.Entries) > 0 && len(rec.Entries[0].Ops) == 1 && rec.Entries[0].Ops[0].Kind() == KindWithheld {
		rec.Entries = rec.Entries[1:] // it came here in shipped form
	}
	veil(&rec, list, to)
	rec.Entries = append([]Entry{{Ops: []Op{&Withheld{b}}}}, rec.Entries...)
	return rec.Append(nil), nil
}

// Veil returns a key and value of the store as they go to a copy in another region:
// without what residency keeps from it.
func (s *State) Veil(to string, key, value []byte) (k, v []byte, err error) {
	if len(key) == 0 || len(s.config.Load().Residency) == 0 {
		return key, value, nil
	}
	r := reader{b: value}
	switch key[0] {
	case tableBody:
		m := decodeMessage(&r)
		if r.err == nil && s.keptBack(m, to) {
			m.veil()
			value = m.encode(nil)
		}
	case tableRetained:
		key, value = s.veilRetained(to, key, value, &r)
	case tableSession:
		value = s.veilSession(to, key, value, &r)
	case tableRunValue:
		value = s.veilRun(to, value, &r)
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("store key %x: %w", key, r.err)
	}
	return key, value, nil
}

func (s *State) keptBack(m *message, to string) bool {
	return !m.Withheld && !s.MayLeave(m.Namespace, m.Topic, to)
}

func (s *State) veilRetained(to string, key, value []byte, r *reader) (k, v []byte) {
	parts := keyParts(key, 2, 0, r)
	version, home, seq, at, flags := r.uvarint(), r.string(), r.uvarint(), r.uvarint(), r.byte()
	if r.err != nil || s.MayLeave(parts[0], parts[1], to) && parts[1][:1] != "#" {
		return key, value
	}
	b := appendString(binary.AppendUvarint(nil, version), home)
	b = append(binary.AppendUvarint(binary.AppendUvarint(b, seq), at), flags)
	if flags&1 != 0 {
		b = binary.AppendUvarint(b, r.uvarint())
		m := decodeMessage(r)
		if parts[1][:1] == "#" && !s.keptBack(m, to) { // it got its body back here, or never had one
			return key, value
		}
		m.veil()
		b = m.encode(b)
	} else if parts[1][:1] == "#" {
		return key, value
	}
	return joinKey(tableRetained, parts[0], veiled(Seq(seq))), b
}

// veilSession takes the will out of a session.
func (s *State) veilSession(to string, key, value []byte, r *reader) []byte {
	ns := keyParts(key, 2, 0, r)[0]
	_, _, _, _ = r.uvarint(), r.uvarint(), r.string(), r.uvarint()
	flags := r.byte()
	for range 6 {
		r.uvarint()
	}
	if r.err != nil || flags&2 == 0 {
		return value
	}
	head := value[:len(value)-len(r.b)]
	w := r.will()
	if r.err != nil || w.Withheld || s.MayLeave(ns, w.Topic, to) {
		return value
	}
	w.veil()
	return append(w.append(bytes.Clone(head)), r.b...)
}

// veilRun takes out of a run of a spool what it holds of messages that are withheld.
func (s *State) veilRun(to string, value []byte, r *reader) []byte {
	n := r.count(3)
	b := binary.AppendUvarint(nil, uint64(n))
	for range n {
		flags := r.byte()
		b = append(b, flags)
		b = binary.AppendUvarint(binary.AppendUvarint(b, r.uvarint()), r.uvarint())
		if flags&8 != 0 {
			b = appendStrings(b, r.strings())
		}
		if flags&2 == 0 {
			m := decodeMessage(r)
			if s.keptBack(m, to) {
				m.veil()
			}
			b = m.encode(b)
		}
	}
	return b
}
