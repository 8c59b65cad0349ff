package home

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Received says of spooled messages of QoS 2 that a foreign broker has them and was not told to release them, or, with
// Forgotten, that it has lost its session. It commits before PUBREL goes out: whoever has the link next knows which
// messages to release and not to send. [A4]
type Received struct {
	Peer      ID
	Seqs      []Seq
	Forgotten bool
}

// maxReceived bounds what a peer's record holds; links have fewer under way.
const maxReceived = 1 << 16

// Kind of the operation.
func (*Received) Kind() Kind { return KindReceived }

func (op *Received) append(b []byte) []byte {
	b = append(appendString(b, string(op.Peer)), flag(op.Forgotten, 1))
	return appendSeqs(b, op.Seqs)
}

func (r *reader) received() Op {
	return &Received{Peer: ID(r.string()), Forgotten: r.byte() != 0, Seqs: r.seqs()}
}

// appendSeqs writes numbers in ascending order, each as the distance from the last.
func appendSeqs(b []byte, list []Seq) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	var last Seq
	for _, seq := range list {
		b = binary.AppendUvarint(b, uint64(seq-last))
		last = seq
	}
	return b
}

func (r *reader) seqs() []Seq {
	list := make([]Seq, 0, r.count(1))
	var seq Seq
	for range cap(list) {
		seq += Seq(r.uvarint())
		list = append(list, seq)
	}
	return list
}

func (s *State) receivedOp(op *Received) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	before := len(p.received)
	for _, seq := range op.Seqs {
		switch {
		case op.Forgotten:
			delete(p.received, seq)
		case seq > p.start() && seq <= s.seq && len(p.received) < maxReceived:
			if p.received == nil {
				p.received = map[Seq]struct{}{}
			}
			p.received[seq] = struct{}{}
		}
	}
	s.note(effectReleased, uint64(before), uint64(len(p.received)))
	s.changes.peer(p)
	return Outcome{Count: len(p.received)}
}

// start is the number up to which nothing waits for the peer.
func (p *peer) start() Seq {
	start := p.spools[0].start
	for _, sp := range p.spools {
		start = min(start, sp.start)
	}
	return start
}

// forgetReceived drops what is not spooled any more.
func (p *peer) forgetReceived() {
	if len(p.received) == 0 {
		return
	}
	start := p.start()
	maps.DeleteFunc(p.received, func(seq Seq, _ struct{}) bool { return seq <= start })
}

func (p *peer) receivedList() []Seq { return slices.Sorted(maps.Keys(p.received)) }

// Received returns the messages for a peer that it has and that are not released, by number.
func (s *State) Received(id ID) []Seq {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.peers[id]; p != nil {
		return p.receivedList()
	}
	return nil
}
