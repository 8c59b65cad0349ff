package home

import "encoding/binary"

// Canary sends a message that no device sees the way of every durable message to a
// peer: through this log into each class of the peer's spool, in frames into the
// peer's log. Whoever waits for it to be acknowledged knows whether messages cross,
// not only whether a tunnel is up. No policy of a link holds it back; it has no
// topic, so the peer's home takes it in and gives it to nobody.
//
// None is sent where the spool is full, since it takes no message's place, and while
// an earlier one still waits last in a class: an idle spool does not grow by them.
// Then the outcome is CodeQuota; otherwise Seq is its number and Count the classes.
type Canary struct{ Peer ID }

// Kind of the operation.
func (*Canary) Kind() Kind { return KindCanary }

// CanaryNamespace is where canaries are: no listener's namespace is called so.
const CanaryNamespace = "$canary"

// canaryRoom is what a canary takes of a spool, at most.
const canaryRoom = 64

func (op *Canary) append(b []byte) []byte { return appendString(b, string(op.Peer)) }

func (s *State) canary(op *Canary) Outcome {
	p := s.peers[op.Peer]
	if p == nil {
		return Outcome{Code: CodeUnknown}
	}
	into := p.canarySpools()
	if len(into) == 0 || p.waiting()+canaryRoom > p.spoolBytes() || s.overLimit(p, canaryRoom) {
		return Outcome{Code: CodeQuota}
	}
	m := newMessage(Message{Namespace: CanaryNamespace, Payload: binary.AppendUvarint(nil, uint64(len(into))), QoS: 1})
	s.number(m)
	for _, sp := range into {
		s.hold(m)
		sp.push(spoolRef{seq: m.Seq, msg: m, at: s.time, canary: true})
		s.note(effectSpooled, uint64(m.Seq), 0)
	}
	s.changes.peer(p)
	s.sink.Spooled(p.id)
	return Outcome{Seq: m.Seq, Count: len(into)}
}

// canarySpools are the spools of all classes but those that are only drained; none
// if one has nothing behind its last canary.
func (p *peer) canarySpools() (list []*spool) {
	for _, sp := range p.spools {
		if n := len(sp.refs); n > 0 && sp.refs[n-1].canary {
			return nil
		}
		if sp.class == "" || len(sp.filters) > 0 {
			list = append(list, sp)
		}
	}
	return list
}

// CanaryClasses is in how many classes a canary was put that came by a link; 0 if
// the message is none.
func (fm *FrameMessage) CanaryClasses() int {
	if fm.Namespace != CanaryNamespace {
		return 0
	}
	n, size := binary.Uvarint(fm.Payload)
	if size <= 0 || n == 0 || n > maxCursors {
		return 0
	}
	return int(n)
}
