package broker

import (
	"slices"

	"causeway/internal/home"
)

// PublishFromForeign hands out a message of QoS 0 that came from a foreign broker, as if a device had published it here:
// to connections of this region, and to peers but for those in not. m must not be written afterwards.
func (h *House) PublishFromForeign(m *home.Message, not []home.ID) {
	f := fanOuts.Get().(*fanOut)
	defer f.free()
	f.targets = h.home.Match(m.Namespace, m.Topic, f.targets)
	h.resolve(f, nil, m.Topic, m.QoS, not)
	h.handOut(f, m)
	h.handOver(f, m)
	for _, x := range f.peers {
		if !slices.Contains(not, x.peer) {
			h.forward.Forward(x.peer, m, x.claim)
		}
	}
}
