package home

import "causeway/routing"

// PeerInterest returns what a peer wants, as it is held, with a digest computed
// from it. It copies and sorts the table.
func (s *State) PeerInterest(id ID) (routing.Snapshot, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.peers[id]
	if p == nil {
		return routing.Snapshot{}, false
	}
	return p.interest.Snapshot(), true
}
