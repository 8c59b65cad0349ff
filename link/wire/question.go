package wire

import "encoding/binary"

// MaxView bounds the view in an Answer.
const MaxView = 64 << 10

// Question asks the peer something while the tunnel stands: for a sign of life that
// measures the round trip, or for how it sees the link. Only the newest needs an
// answer.
type Question struct {
	Nonce     uint64
	View      bool   // asks how the peer sees the link
	Namespace string // with View: what becomes of a message there;
	Topic     string // empty: none is asked about
}

// Answer answers a Question, and a stream of padding that was read to its end.
type Answer struct {
	Nonce uint64
	View  []byte // JSON, for people; nil if it was not asked for
}

func (*Question) kind() uint64 { return typeQuestion }
func (*Answer) kind() uint64   { return typeAnswer }

func (q *Question) append(b []byte) []byte {
	b = append(binary.AppendUvarint(b, q.Nonce), flag(q.View))
	return appendString(appendString(b, q.Namespace), q.Topic)
}

func (a *Answer) append(b []byte) []byte {
	return appendBytes(binary.AppendUvarint(b, a.Nonce), a.View[:min(len(a.View), MaxView)])
}

func (f *fields) question() *Question {
	return &Question{Nonce: f.uvarint("nonce"), View: f.byte("view") != 0, Namespace: f.string("namespace", maxTopic), Topic: f.string("topic", maxTopic)}
}

func (f *fields) answer() *Answer {
	return &Answer{Nonce: f.uvarint("nonce"), View: f.bytes("view", MaxView)}
}
