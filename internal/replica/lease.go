package replica

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// freshFor is how old what a node knows of the log may be while it still speaks
// for sessions. [C1]
const freshFor = 300 * time.Millisecond

// FreshFor is for how long a node may go on after Options.Lease of the leader says no.
const FreshFor = freshFor

// contacts is what a leader knows of the copies it sends to: when each last
// answered, and how far its log was then. A time is that of the request's
// sending, so an answer proves that the copy followed this leader from then on,
// whatever the network did to the two.
type contacts struct {
	mu  sync.Mutex
	all map[raft.ServerID]*contact
}

type contact struct {
	sent time.Time // of the newest request that was answered well
	last uint64    // last index of its log
}

func newContacts() *contacts { return &contacts{all: map[raft.ServerID]*contact{}} }

// answered notes that a copy took a request sent at the time.
func (c *contacts) answered(id raft.ServerID, sent time.Time, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.all[id]
	if k == nil {
		k = &contact{}
		c.all[id] = k
	}
	if sent.After(k.sent) {
		k.sent = sent
	}
	k.last = max(k.last, last)
}

// forget begins anew: what was heard in an earlier leadership counts for nothing.
func (c *contacts) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.all)
}

// of says when a copy was last heard, zero if never, and how far its log was.
func (c *contacts) of(id raft.ServerID) (sent time.Time, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.all[id]; k != nil {
		return k.sent, k.last
	}
	return time.Time{}, 0
}

// held is the time up to which a majority of the voters, self among them, is
// known to have followed this leader; zero if never. Nobody of that majority
// votes for another before its heartbeat time-out after then.
func (c *contacts) held(servers []raft.Server, self raft.ServerID, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var times []time.Time
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		switch k := c.all[s.ID]; {
		case s.ID == self:
			times = append(times, now)
		case k == nil:
			times = append(times, time.Time{})
		default:
			times = append(times, k.sent)
		}
	}
	if len(times) == 0 {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[len(times)/2]
}
