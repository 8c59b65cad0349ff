package home

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Picker picks from the rows of a home's store, which it sees in the order of their keys, those that
// an Excerpt of a namespace needs. It takes eight bytes a session.
type Picker struct {
	Namespace string
	// What was picked.
	Sessions, References, Retained uint64

	ids    []uint64 // of sessions
	sorted bool
}

// Picks says whether a row is needed.
func (p *Picker) Picks(key, value []byte) (bool, error) {
	if len(key) == 0 {
		return false, fmt.Errorf("empty key in the store: %w", ErrCorrupt)
	}
	r := reader{b: value}
	of := false
	switch key[0] {
	case tableMeta:
		of = slices.Equal(key, metaKey)
	case tableBody:
		of = decodeHead(&r).Namespace == p.Namespace
	case tableSession:
		if of = p.owns(key, 2, 0, &r); of {
			p.ids = append(p.ids, r.uvarint())
			p.Sessions++
		}
	case tableSub:
		of = r.session().Namespace == p.Namespace
	case tableGroup:
		of = p.owns(key, 3, 0, &r)
	case tableGroupRef:
		of = p.owns(key, 4, 8, &r)
	case tableRef:
		if of = len(key) == 17 && p.known(binary.BigEndian.Uint64(key[1:])); of {
			p.References++
		}
	case tableRetained:
		if of = p.owns(key, 2, 0, &r); of {
			p.Retained++
		}
	}
	if r.err != nil {
		return false, fmt.Errorf("store key %x: %w", key, r.err)
	}
	return of, nil
}

func (p *Picker) owns(key []byte, parts, tail int, r *reader) bool {
	return keyParts(key, parts, tail, r)[0] == p.Namespace
}

func (p *Picker) known(id uint64) bool {
	if !p.sorted {
		slices.Sort(p.ids)
		p.sorted = true
	}
	_, found := slices.BinarySearch(p.ids, id)
	return found
}

// Rows are rows of a home's store.
type Rows interface {
	// Get fails for a key that is not there.
	Get(key []byte) ([]byte, error)
	// ScanRange calls fn for the keys from start up to, not including, end, in order. An error of fn
	// ends it and is returned.
	ScanRange(start, end []byte, fn func(key, value []byte) error) error
}

// Excerpt reads what a home's store holds of a namespace, in pieces, so that it takes no more memory
// than one piece.
type Excerpt struct {
	rows  Rows
	space string
	meta  []byte
}

// OpenExcerpt opens the excerpt of rows that a Picker picked.
func OpenExcerpt(rows Rows, namespace string) (*Excerpt, error) {
	meta, err := rows.Get(metaKey)
	if err != nil {
		return nil, fmt.Errorf("what the home is: %w", err)
	}
	e := &Excerpt{rows, namespace, meta}
	_, err = e.loader()
	return e, err
}

func (e *Excerpt) loader() (*loader, error) {
	l := &loader{s: New(), bodies: map[Seq]*message{}, byID: map[uint64]*session{}}
	l.s.sink = noSink{}
	return l, l.load(metaKey, e.meta)
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// scan calls fn for the rows with a prefix behind what comes after it in a key, until fn says that it
// has enough.
func (e *Excerpt) scan(prefix []byte, after string, fn func(key, value []byte) (more bool, err error)) error {
	start := slices.Clone(prefix)
	if after != "" {
		start = append(append(start, after...), 0)
	}
	end := slices.Clone(prefix)
	for end[len(end)-1] == 0xff { // of a number
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	err := e.rows.ScanRange(start, end, func(key, value []byte) error {
		more, err := fn(key, value)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// Retained returns retained messages behind a topic, of about max bytes, and the last topic that was
// looked at. A message that the backup does not hold has no topic; deletions are left out.
func (e *Excerpt) Retained(after string, max int) (list []MessageExport, last string, err error) {
	size := 0
	err = e.scan(joinKey(tableRetained, e.space, ""), after, func(key, value []byte) (bool, error) {
		r := reader{b: value}
		last = keyParts(key, 2, 0, &r)[1]
		version, by := r.uvarint(), ID(r.string())
		_, _ = r.uvarint(), r.uvarint()
		if flags := r.byte(); flags&1 != 0 {
			seq := Seq(r.uvarint())
			m := decodeMessage(&r)
			m.Seq = seq
			x := exported(m)
			x.Retain, x.RetainVersion, x.RetainHome = true, version, by
			list = append(list, x)
			size += x.size()
		}
		if r.err != nil {
			return false, fmt.Errorf("store key %x: %w", key, r.err)
		}
		return size < max, nil
	})
	return list, last, err
}

// exported is a message as an operation has it.
func exported(m *message) MessageExport {
	x := MessageExport{Message: m.Message}
	if m.Withheld {
		x.Size = m.size
	}
	return x
}

// Body returns a message that is waited for.
func (e *Excerpt) Body(seq Seq) (MessageExport, error) {
	b, err := e.rows.Get(BodyKey(seq))
	if err != nil {
		return MessageExport{}, fmt.Errorf("body %d: %w", seq, err)
	}
	r := reader{b: b}
	m := decodeMessage(&r)
	m.Seq = seq
	if r.err != nil {
		return MessageExport{}, fmt.Errorf("body %d: %w", seq, r.err)
	}
	return exported(m), nil
}

// Sessions returns sessions behind a client id, with about max references, and the last client id that
// was looked at; "": there is none. Those that ended with their connections are left out, and what is
// left of those that had moved to another region.
func (e *Excerpt) Sessions(after string, max int) (list []RestoredSession, last string, err error) {
	l, err := e.loader()
	if err != nil {
		return nil, "", err
	}
	var keys []SessionKey
	err = e.scan(joinKey(tableSession, e.space, ""), after, func(key, value []byte) (bool, error) {
		if err := l.load(key, value); err != nil {
			return false, err
		}
		_, id, _ := strings.Cut(string(key[1:]), "\x00")
		last = id
		keys = append(keys, SessionKey{e.space, id})
		return len(keys) < sessionsAtOnce, nil
	})
	n := 0
	for i, k := range keys {
		if err != nil {
			return nil, "", err
		}
		x := l.s.sessions[k]
		if x.transient || x.expiry == 0 || k.remains() || x.still() && x.leaves() == nil {
			continue
		}
		var s RestoredSession
		if s, err = e.session(l, x); err != nil {
			return nil, "", err
		}
		list = append(list, s)
		if n += 8 + len(s.Refs); n >= max && i+1 < len(keys) {
			return list, k.ClientID, nil
		}
	}
	return list, last, err
}

// sessionsAtOnce bounds how many sessions are looked at for one piece.
const sessionsAtOnce = 512

// session reads what a session is, and its references.
func (e *Excerpt) session(l *loader, x *session) (s RestoredSession, err error) {
	sub := binary.BigEndian.AppendUint64([]byte{tableSub}, x.id)
	if err := e.scan(sub, "", func(key, value []byte) (bool, error) { return true, l.load(key, value) }); err != nil {
		return s, err
	}
	s = RestoredSession{Export: x.export(), Last: true}
	if g := x.leaves(); g != nil {
		s.Export.Subs = append(s.Export.Subs, g.shared...)
	}
	if !x.attached() {
		s.ExpiresAt, s.WillAt = x.expireAt, x.willAt
		if x.willAt == 0 {
			s.Export.Will = nil
		}
	}
	var h inheritance
	if x.inherited != nil {
		h.stale = x.inherited.stale
	}
	h.mayHold(x.nextRef+1, x.nextRef+packetIDs)
	s.Stale = h.stale
	ref := binary.BigEndian.AppendUint64([]byte{tableRef}, x.id)
	err = e.scan(ref, "", func(key, value []byte) (bool, error) {
		r := reader{b: value}
		f := RestoredRef{Num: tailNumber(key, &r), Seq: Seq(r.uvarint())}
		flags := r.byte()
		f.QoS, f.Retain, f.Received = flags&3, flags&4 != 0, flags&8 != 0
		for range r.count(1) {
			f.SubIDs = append(f.SubIDs, uint32(r.uvarint()))
		}
		if flags&16 != 0 {
			f.Group = r.string()
		}
		if r.err != nil {
			return false, fmt.Errorf("store key %x: %w", key, r.err)
		}
		if f.Num < owedFrom { // what is owed, and held for a session that arrives, is not in the backup's queue
			s.Refs = append(s.Refs, f)
		}
		return true, nil
	})
	if n := min(len(s.Refs), x.sendWindow()); x.attached() && n > 0 { // these may have been sent
		s.Export.Resumed = max(s.Export.Resumed, s.Refs[n-1].Num)
	}
	return s, err
}

// Group returns what waits in a shared subscription behind a key, at most max messages, and the key
// of the last; "": nothing more waits.
func (e *Excerpt) Group(after string, max int) (g RestoredGroup, last string, err error) {
	prefix := joinKey(tableGroupRef, e.space, "")
	err = e.scan(prefix, after, func(key, _ []byte) (bool, error) {
		var r reader
		parts := keyParts(key, 4, 8, &r)
		seq := Seq(tailNumber(key, &r))
		if r.err != nil {
			return false, fmt.Errorf("store key %x: %w", key, r.err)
		}
		if len(g.Seqs) > 0 && (g.Name != parts[1] || g.Filter != parts[2]) {
			return false, nil
		}
		g.Name, g.Filter, g.Seqs = parts[1], parts[2], append(g.Seqs, seq)
		last = string(bytes.TrimPrefix(key, prefix))
		return len(g.Seqs) < max, nil
	})
	return g, last, err
}

// key is that of one of the group's messages, as Group has it.
func (g *RestoredGroup) key(seq Seq) string {
	b := append([]byte(g.Name+"\x00"+g.Filter), 0)
	return string(binary.BigEndian.AppendUint64(b, uint64(seq)))
}
