package wire

import "encoding/binary"

// MaxHosts bounds the homes in Hosts.
const MaxHosts = 256

// Hosts says which homes the sender's region hosts, and at which epochs. It replaces
// what was said before.
type Hosts struct{ Homes []Source }

func (*Hosts) kind() uint64 { return typeHosts }

func (h *Hosts) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h.Homes)))
	for _, s := range h.Homes {
		b = appendSource(b, s)
	}
	return b
}

func (f *fields) hosts() *Hosts {
	n := f.uvarint("homes")
	if n > MaxHosts {
		f.fail(tooLarge("%d homes, at most %d are allowed", n, MaxHosts))
	}
	h := &Hosts{}
	for ; n > 0 && f.err == nil; n-- {
		h.Homes = append(h.Homes, f.source())
	}
	return h
}
