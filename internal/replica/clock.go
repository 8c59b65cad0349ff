package replica

import (
	"slices"
	"sync"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// clock is home time as a leader stamps it: what the log says, plus what the
// process's monotonic clock counted since. A step of the wall clock therefore
// moves nothing [B6]; only a home that stood still as a whole looks at the wall
// clock again, once, when it has a leader.
type clock struct {
	mu      sync.Mutex
	base    home.Time
	anchor  time.Time // carries the monotonic reading
	running bool      // some leader's time was heard, or the wall clock's taken
}

// start begins at what the disk says.
func (c *clock) start(at home.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.anchor = at, time.Now()
}

// live says that home time runs already.
func (c *clock) live() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// resume goes on from the later of what the disk says and the wall clock. It
// returns by how much the wall clock was ahead (or, if negative, behind); 0 for a
// new home.
func (c *clock) resume(wall time.Time) (ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
	now, at := c.at(), home.Time(wall.UnixNano())
	if c.base != 0 {
		ahead = at.Sub(now)
	}
	if at > now {
		c.base, c.anchor = at, time.Now()
	}
	return ahead
}

// at is the home time now. Guarded by mu.
func (c *clock) at() home.Time { return c.base.Add(time.Since(c.anchor)) }

// now is the home time now. It never goes back.
func (c *clock) now() home.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at()
}

// heard moves the clock forward to a time some leader stamped; live, if that
// leader is of this run.
func (c *clock) heard(t home.Time, live bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = c.running || live
	if since := time.Since(c.anchor); c.base.Add(since) < t {
		c.base = t.Add(-since)
	}
}

// walls remembers by how much the wall clocks of other nodes are ahead of ours.
type walls struct {
	mu    sync.Mutex
	ahead map[home.NodeID]time.Duration
}

func (w *walls) heard(node home.NodeID, theirs, ours time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ahead == nil {
		w.ahead = map[home.NodeID]time.Duration{}
	}
	w.ahead[node] = theirs.Round(0).Sub(ours.Round(0))
}

// median is the median of our clock and of those known of the nodes.
func (w *walls) median(now time.Time, nodes []home.NodeID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []time.Duration{0}
	for _, n := range nodes {
		if d, ok := w.ahead[n]; ok {
			list = append(list, d)
		}
	}
	slices.Sort(list)
	return now.Add(list[(len(list)-1)/2])
}

// wallOf notes what another node's clock says.
func (r *Replica) wallOf(p cluster.Peer) {
	if !p.Wall.IsZero() {
		r.walls.heard(home.NodeID(p.Node), p.Wall, time.Now())
	}
}
