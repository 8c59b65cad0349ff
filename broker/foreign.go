package broker

import (
	"slices"

	"causeway/internal/home"
)

// PublishFromForeign hands out a message of QoS 0 that came from a foreign broker, as if a device had published it here:
// to connections of this region, and to peers but for those in not. m must not be written afterwards.
func (s *Server) PublishFromForeign(m *home.Message, not []home.ID) {
	f := fanOuts.Get().(*fanOut)
	defer f.free()
	f.targets = s.opt.Home.Match(m.Namespace, m.Topic, f.targets)
	s.resolve(f, nil, m.Topic, m.QoS, not)
	s.handOut(f, m)
	s.handOver(f, m)
	for _, x := range f.peers {
		if !slices.Contains(not, x.peer) {
			s.opt.Forwarder.Forward(x.peer, m, x.claim)
		}
	}
}
