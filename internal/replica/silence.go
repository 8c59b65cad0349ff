package replica

import (
	"sync"
	"time"

	"causeway/internal/home"
)

// silence is how long ago nodes asked this leader what is committed. A new
// leader has heard nobody yet and gives everybody the time since it began. [B5]
type silence struct {
	mu       sync.Mutex
	since    time.Time
	heardAt  map[home.NodeID]time.Time
	declared map[home.Owner]time.Time
}

// redeclare is after how long a node that was declared dead, and is not, is
// declared again: the first word may have been lost with a leadership.
const redeclare = 5 * time.Second

// begin starts a leadership.
func (s *silence) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.heardAt, s.declared = now, map[home.NodeID]time.Time{}, map[home.Owner]time.Time{}
}

func (s *silence) heard(n home.NodeID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heardAt != nil {
		s.heardAt[n] = now
	}
}

// of is for how long the node has been silent.
func (s *silence) of(n home.NodeID, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.since
	if t, ok := s.heardAt[n]; ok && t.After(at) {
		at = t
	}
	return now.Sub(at)
}

// declare says whether to declare an owner dead now.
func (s *silence) declare(o home.Owner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.declared[o]; ok && time.Since(t) < redeclare {
		return false
	}
	s.declared[o] = time.Now()
	return true
}

func (s *silence) undeclare(o home.Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.declared, o)
}
