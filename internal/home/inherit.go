package home

import (
	"encoding/binary"
	"math"
)

// After an unplanned promotion a session may have gone on at the lost host in ways
// that this copy cannot know. For each session that was there it remembers where that
// began.

// inheritance is what an unplanned promotion leaves with a session.
type inheritance struct {
	// stale are the numbers whose packet ids the device may still hold for a message of
	// the lost host: before a new QoS 2 PUBLISH under one goes out, the id is released by
	// a PUBREL. [E5]
	stale Range
	// shared is the last reference that both copies have, by the epoch that began then.
	// Oldest first.
	shared []sharedUpTo

	// Of the last reconciliation that took the session over as it was there: of which
	// epoch, in which life, and the session's epoch then.
	merged uint64
	life   uint64
	at     SessionEpoch
	// And, where that copy was named: the epoch that began where it went another way, and the last
	// reference that both have since.
	base uint64
	to   uint64

	restored *restored // nil: no backup brought the session
}

func (h *inheritance) merge(f Fork, life uint64, at SessionEpoch) {
	h.merged, h.life, h.at = f.From.Number, life, at
}

type sharedUpTo struct {
	epoch uint64 // number of the epoch that began
	ref   uint64
}

// maxShared bounds how many failovers in a row can be reconciled.
const maxShared = 8

// inherit marks every session at an unplanned promotion.
func (s *State) inherit() {
	number := s.currentEpoch().Number
	for _, x := range s.sessions {
		if x.inherited == nil {
			x.inherited = &inheritance{}
		}
		h := x.inherited
		h.mayHold(x.nextRef+1, x.nextRef+packetIDs)
		h.shared = append(h.shared, sharedUpTo{number, x.nextRef})
		if len(h.shared) > maxShared {
			h.shared = h.shared[1:]
		}
		x.resumed = max(x.resumed, x.queue.sentThrough(x.sendWindow()))
		s.changes.session(x)
	}
}

// mayHold notes of which numbers the device may hold the packet ids.
func (h *inheritance) mayHold(from, to uint64) {
	if h.stale.To != 0 && h.stale.From <= h.stale.To {
		from = min(from, h.stale.From)
	}
	h.stale = Range{from, max(h.stale.To, to)}
}

// common is the last reference that the copy of an epoch has as well.
func (h *inheritance) common(of Epoch) uint64 {
	last := uint64(math.MaxUint64)
	if h != nil {
		for _, u := range h.shared {
			if u.epoch > of.Number {
				last = min(last, u.ref)
			}
		}
	}
	return last
}

// releaseFirst says that the packet id of a reference may still be in use at the
// device for a message that this copy knows nothing of.
func (x *session) releaseFirst(r *ref) bool {
	h := x.inherited
	return h != nil && r.qos == 2 && r.state == refQueued && !r.asWas && h.stale.From <= r.num && r.num <= h.stale.To
}

// cleared notes that the device answered PUBREL for the ids of all references up to a
// number.
func (s *State) cleared(x *session, upTo uint64) {
	h := x.inherited
	if h == nil || upTo < h.stale.From || h.stale.From > h.stale.To {
		return
	}
	h.stale.From = upTo + 1
	s.note(effectCleared, x.id, upTo)
	s.changes.session(x)
}

// Inherited says whether ids of a session may still be in use at its device for
// messages of a lost host: Queue marks references with ReleaseFirst then. [E5]
func (s *State) Inherited(k SessionKey) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x := s.sessions[k]
	return x != nil && x.inherited != nil && x.inherited.stale.From <= x.inherited.stale.To && x.nextRef < x.inherited.stale.To
}

func (h *inheritance) encode(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, h.stale.From), h.stale.To)
	b = binary.AppendUvarint(b, uint64(len(h.shared)))
	for _, x := range h.shared {
		b = binary.AppendUvarint(binary.AppendUvarint(b, x.epoch), x.ref)
	}
	for _, v := range []uint64{h.merged, h.life, uint64(h.at)} {
		b = binary.AppendUvarint(b, v)
	}
	if h.base != 0 || h.restored != nil { // the last of a session
		b = binary.AppendUvarint(binary.AppendUvarint(b, h.base), h.to)
	}
	if h.restored != nil {
		b = h.restored.encode(b)
	}
	return b
}

func (r *reader) inheritance() *inheritance {
	h := &inheritance{stale: Range{r.uvarint(), r.uvarint()}}
	for range r.count(2) {
		h.shared = append(h.shared, sharedUpTo{r.uvarint(), r.uvarint()})
	}
	h.merged, h.life, h.at = r.uvarint(), r.uvarint(), SessionEpoch(r.uvarint())
	if len(r.b) > 0 {
		h.base, h.to = r.uvarint(), r.uvarint()
	}
	if len(r.b) > 0 {
		h.restored = r.restoredMark()
	}
	return h
}
