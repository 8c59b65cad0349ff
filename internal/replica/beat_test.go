package replica

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Raft would send heartbeats to two copies whenever a random time has passed, and one answer is late; they go at the
// same moments, and never so late that a follower misses the leader.
func TestHearts_KeepTheBeat(t *testing.T) {
	const ms = time.Millisecond
	start := time.Now()
	h := &hearts{beats: beats{start}, last: map[raft.ServerID]time.Time{}}
	for _, c := range []struct {
		to    raft.ServerID
		after []time.Duration // from a heartbeat to when raft would send the next
		want  []time.Duration
	}{
		{"a", []time.Duration{20 * ms, 40 * ms, 30 * ms, 21 * ms, 35 * ms}, []time.Duration{0, 50 * ms, 100 * ms, 150 * ms, 200 * ms}},
		{"b", []time.Duration{39 * ms, 22 * ms, 60 * ms, 30 * ms, 90 * ms}, []time.Duration{0, 50 * ms, 100 * ms, 160 * ms, 200 * ms}},
	} {
		var sent []time.Duration
		now := start
		for _, d := range c.after {
			at := now.Add(h.wait(c.to, now))
			sent = append(sent, at.Sub(start))
			now = at.Add(d)
		}
		if !slices.Equal(sent, c.want) {
			t.Errorf("heartbeats to %s went at %v, want %v", c.to, sent, c.want)
		}
	}
}
