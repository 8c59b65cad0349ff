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

// walls remembers what the wall clocks of other nodes said.
type walls struct {
	mu   sync.Mutex
	said map[home.NodeID]said
}

// said is what a clock said when it was heard. It is counted on from there by our monotonic
// clock: were it kept as a difference to our wall clock, that one's step would take it along.
type said struct {
	wall  time.Time
	heard time.Time // carries the monotonic reading
}

func (w *walls) heard(node home.NodeID, theirs time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said == nil {
		w.said = map[home.NodeID]said{}
	}
	w.said[node] = said{theirs.Round(0), time.Now()}
}

// median is the median of our clock and of those known of the nodes.
func (w *walls) median(ours time.Time, nodes []home.NodeID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []time.Time{ours.Round(0)}
	for _, n := range nodes {
		if s, ok := w.said[n]; ok {
			list = append(list, s.wall.Add(time.Since(s.heard)))
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return list[(len(list)-1)/2]
}

// wallOf notes what another node's clock says.
func (r *Replica) wallOf(p cluster.Peer) {
	if !p.Wall.IsZero() {
		r.walls.heard(home.NodeID(p.Node), p.Wall)
	}
}
