package replica

import (
	"sync"
	"time"

	"causeway/internal/home"
)

// clock is home time as the leader stamps it: where it started, plus what the
// process's monotonic clock counted since. A step of the wall clock therefore
// moves nothing [B6]; only a restart looks at the wall clock again.
type clock struct {
	mu     sync.Mutex
	base   home.Time
	anchor time.Time // carries the monotonic reading
}

// start begins at the later of what the state says and the wall clock, and
// returns by how much the wall clock was ahead (or, if negative, behind).
func (c *clock) start(state home.Time) (ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anchor = time.Now()
	wall := home.Time(c.anchor.UnixNano())
	c.base = max(state, wall)
	if state == 0 {
		return 0
	}
	return wall.Sub(state)
}

// now is the home time now. It never goes back.
func (c *clock) now() home.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.Add(time.Since(c.anchor))
}

// heard moves the clock forward to a time some leader stamped.
func (c *clock) heard(t home.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if since := time.Since(c.anchor); c.base.Add(since) < t {
		c.base = t.Add(-since)
	}
}
