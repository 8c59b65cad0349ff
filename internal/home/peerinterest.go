package home

import "causeway/routing"

// PeerInterest returns what a peer wants, as it is held. However much that is,
// nothing waits for it: it is read without the lock.
func (s *State) PeerInterest(id ID) (routing.View, bool) {
	s.mu.Lock() // taking it marks the set as shared
	defer s.mu.Unlock()
	p := s.peers[id]
	if p == nil {
		return routing.View{}, false
	}
	return p.interest.View(), true
}
