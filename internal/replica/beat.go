package replica

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// An idle node pays for each time it wakes up, and little for what it does then.
// So what is done again and again falls on the same moments, the beats: the
// leader's heartbeats and its looks around; and a follower asks what is committed
// in the wake of a heartbeat, when both nodes are awake.

// beat is the time between two heartbeats: a follower misses the leader after
// four of them, heartbeatTimeout.
const beat = 50 * time.Millisecond

// beats counts from when the node began.
type beats struct{ began time.Time }

// until is how long it is to the next multiple of every, which is one of beat.
func (b beats) until(every time.Duration) time.Duration {
	return every - time.Since(b.began)%every
}

// hearts puts the heartbeats to all copies on the beats. Raft by itself sends
// each when a random time has passed.
type hearts struct {
	beats

	mu   sync.Mutex
	last map[raft.ServerID]time.Time // when the last one was sent
}

// wait is how long to hold back a heartbeat to a copy that raft would send now. One that is late goes at
// once, and the next is on the beat again: none comes more than one and a half
// beats after the last.
func (h *hearts) wait(to raft.ServerID, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var at time.Time
	if last, ok := h.last[to]; ok {
		at = last.Add(beat / 2)
		at = at.Add((beat - at.Sub(h.began)%beat) % beat)
	}
	if at.Before(now) {
		at = now
	}
	h.last[to] = at
	return at.Sub(now)
}

func (r *Replica) beats() beats { return beats{r.fresh.started} }
