package agent

import (
	"encoding/binary"

	"causeway/internal/home"
)

// Encode writes what is kept, for a Book that stores bytes. Decode reads it.
func (k Kept) Encode() []byte {
	b := putEpoch(putEpoch([]byte{wireVersion}, k.Promised), k.InForce)
	b = binary.AppendUvarint(putEpoch(b, k.Short.Epoch), k.Short.Record)
	return putBool(putBool(putBool(b, k.Short.On), k.Held), k.Sole)
}

// DecodeKept reads what Encode wrote.
func DecodeKept(b []byte) (Kept, error) {
	r := reader{b: b}
	r.bad = r.byte() != wireVersion
	k := Kept{Promised: r.epoch(), InForce: r.epoch()}
	k.Short = Short{Epoch: r.epoch(), Record: r.number(), On: r.bool()}
	k.Held, k.Sole = r.bool(), r.bool()
	return k, r.end()
}

func highest(a, b home.Epoch) home.Epoch {
	if b.Compare(a) > 0 {
		return b
	}
	return a
}
