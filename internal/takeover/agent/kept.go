package agent

import (
	"encoding/binary"

	"causeway/internal/home"
)

// Encode writes what is kept, for a Book that stores bytes. Decode reads it.
func (k Kept) Encode() []byte {
	b := putEpoch(putEpoch([]byte{wireVersion}, k.Promised), k.InForce)
	b = binary.AppendUvarint(putEpoch(b, k.Short.Epoch), k.Short.Record)
	b = putBool(putBool(putBool(b, k.Short.On), k.Held), k.Sole)
	if k.List.ID != 0 { // of an earlier version that kept none
		b = binary.AppendUvarint(putEpoch(binary.AppendUvarint(b, k.List.ID), k.List.At.Epoch), uint64(k.List.At.Seq))
	}
	return b
}

// DecodeKept reads what Encode wrote.
func DecodeKept(b []byte) (Kept, error) {
	r := reader{b: b}
	r.bad = r.byte() != wireVersion
	k := Kept{Promised: r.epoch(), InForce: r.epoch()}
	k.Short = Short{Epoch: r.epoch(), Record: r.number(), On: r.bool()}
	k.Held, k.Sole = r.bool(), r.bool()
	if len(r.b) > 0 {
		k.List.ID = r.number()
		k.List.At.Epoch = r.epoch()
		k.List.At.Seq = home.Seq(r.number())
		r.bad = r.bad || k.List.ID == 0
	}
	return k, r.end()
}

func highest(a, b home.Epoch) home.Epoch {
	if b.Compare(a) > 0 {
		return b
	}
	return a
}
