package replica

import (
	"sync"
	"time"

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
