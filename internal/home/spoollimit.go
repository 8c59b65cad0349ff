package home

import (
	"encoding/binary"
	"math/bits"
)

// SpoolLimit bounds the bytes of all spools together, since they lie on one disk.
// Apply reads no disk: the node that leads measures its own and enters what may be
// taken. 0 bytes: no bound.
//
// At the bound the peer that is furthest above its share loses its oldest of its
// lowest class. Shares are parts of the bound by the peers' own limits. A peer whose
// policy is to refuse publishers refuses them above its share, and loses nothing.
type SpoolLimit struct {
	Bytes uint64
	By    LimitCause
	Node  NodeID // whose disk
}

// LimitCause says what a SpoolLimit comes of.
type LimitCause uint8

// What bounds the spools.
const (
	LimitMax     LimitCause = 1 // the part of the disk that spools may take
	LimitReserve LimitCause = 2 // what is free above the reserve
)

func (c LimitCause) String() string {
	if c == LimitReserve {
		return "reserve"
	}
	return "spool_max"
}

// Kind of the operation.
func (*SpoolLimit) Kind() Kind { return KindSpoolLimit }

func (op *SpoolLimit) append(b []byte) []byte {
	return appendString(append(binary.AppendUvarint(b, op.Bytes), byte(op.By)), string(op.Node))
}

func (s *State) setSpoolLimit(op *SpoolLimit) Outcome {
	s.spoolLimit = *op
	s.note(effectConfigured, op.Bytes, uint64(op.By))
	s.limitSpools()
	return Outcome{}
}

// limitSpools drops what is over the bound.
func (s *State) limitSpools() {
	if s.spoolLimit.Bytes == 0 {
		return
	}
	for total := s.spooledBytes(); total > s.spoolLimit.Bytes; {
		p := s.furthestOver()
		if p == nil {
			return // those that are refuse
		}
		total -= s.dropLowest(p)
	}
}

func (s *State) spooledBytes() (total uint64) {
	for _, p := range s.peers {
		total += p.waiting()
	}
	return total
}

// share is a peer's part of the bound.
func (s *State) share(p *peer) uint64 {
	var all uint64
	for _, other := range s.peers {
		var carry uint64
		if all, carry = bits.Add64(all, other.spoolBytes(), 0); carry != 0 {
			return s.spoolLimit.Bytes / uint64(len(s.peers)) // absurd limits: alike
		}
	}
	hi, lo := bits.Mul64(s.spoolLimit.Bytes, p.spoolBytes())
	part, _ := bits.Div64(hi, lo, all)
	return part
}

// furthestOver is the peer that is over its share by most and may lose something.
func (s *State) furthestOver() (worst *peer) {
	var most uint64
	for _, p := range s.peersInOrder() {
		if has, may := p.waiting(), s.share(p); !p.policy.Refuse && has > may && has-may > most {
			worst, most = p, has-may
		}
	}
	return worst
}

// dropLowest drops the oldest of a peer's lowest class.
func (s *State) dropLowest(p *peer) uint64 {
	for i := len(p.spools) - 1; i >= 0; i-- {
		if p.spools[i].waiting > 0 {
			return s.dropOldest(p, p.spools[i], DropDiskLimit)
		}
	}
	return 0
}

// overLimit says that the spools have no room for so much more of a peer.
func (s *State) overLimit(p *peer, size uint64) bool {
	return s.spoolLimit.Bytes != 0 && s.spooledBytes()+size > s.spoolLimit.Bytes && p.waiting()+size > s.share(p)
}

// SpoolLimit returns the bound on all spools, and how much they hold.
func (s *State) SpoolLimit() (limit SpoolLimit, spooled uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.spoolLimit, s.spooledBytes()
}

// SpoolShare is a peer's part of the bound on all spools; 0 if there is none.
func (s *State) SpoolShare(id ID) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.peers[id]; p != nil && s.spoolLimit.Bytes != 0 {
		return s.share(p)
	}
	return 0
}

// settings are what an operator or a leader set, as the state keeps it.
func (s *State) settings() []byte {
	b := AppendOp(nil, s.config.Load())
	if s.spoolLimit.Bytes != 0 {
		b = AppendOp(b, &s.spoolLimit)
	}
	if len(s.quotaOp.Quotas) > 0 {
		b = AppendOp(b, &s.quotaOp)
	}
	return b
}

func (l *loader) settings(b []byte, r *reader) {
	for in := (reader{b: b}); len(in.b) > 0; {
		op, err := in.op()
		if err != nil {
			r.fail("%v", err)
			return
		}
		switch op := op.(type) {
		case *Configure:
			l.s.config.Store(op)
		case *SpoolLimit:
			l.s.spoolLimit = *op
		case *SetQuotas:
			l.s.takeQuotas(op)
		}
	}
}
