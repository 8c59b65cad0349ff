package home

import "encoding/binary"

// LinkSpace is the namespace of the sessions that links to foreign brokers have in
// the home. No listener's namespace is called so: no device can take one over.
const LinkSpace = "$link"

// LinkSession is the session of a link to a foreign broker. It holds which QoS 2
// messages the broker has not released, and fences: what a node that had the link
// before still proposes is void.
func LinkSession(link ID) SessionKey { return SessionKey{LinkSpace, string(link)} }

// Import publishes a message that came from a foreign broker, for the link's
// session. Towards sessions and peers it is a publish like any other, but for those
// in Not.
type Import struct {
	Publish          // Session is a LinkSession, Epoch that of its Attach
	Namespace string // of the message
	Trail     string // becomes the message's
	Not       []ID   // peers that had it: the link itself, regions it came through
}

// Kind of the operation.
func (*Import) Kind() Kind { return KindImport }

func (op *Import) append(b []byte) []byte {
	b = op.Publish.append(b)
	b = appendString(appendString(b, op.Namespace), op.Trail)
	b = binary.AppendUvarint(b, uint64(len(op.Not)))
	for _, id := range op.Not {
		b = appendString(b, string(id))
	}
	return b
}

func (r *reader) importOp() Op {
	op := &Import{Publish: *r.publish().(*Publish), Namespace: r.namespace(), Trail: r.string()}
	op.Not = make([]ID, 0, r.count(1))
	for range cap(op.Not) {
		op.Not = append(op.Not, ID(r.string()))
	}
	return op
}

// passage is how a message gets into the home.
type passage struct {
	namespace string
	trail     string
	not       []ID
	foreign   bool
}

func (s *State) importOp(op *Import) Outcome {
	switch {
	case op.Session.Namespace != LinkSpace || op.Epoch == 0:
		return Outcome{Code: CodeVoid}
	case !keySafe(op.Namespace):
		return Outcome{Code: CodeTopicInvalid}
	}
	s.fill = 0
	o := s.publishFor(&op.Publish, &passage{namespace: op.Namespace, trail: op.Trail, not: op.Not, foreign: true})
	o.Fill = s.fill
	return o
}

// publisher is a hash that keeps publishers apart, never 0.
func (k SessionKey) publisher() uint32 {
	const offset, prime = 2166136261, 16777619 // FNV-1a
	h := uint32(offset)
	for _, part := range [...]string{k.Namespace, "\x00", k.ClientID} {
		for i := range len(part) {
			h = (h ^ uint32(part[i])) * prime
		}
	}
	return max(h, 1)
}
