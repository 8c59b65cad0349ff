package sim

import (
	"slices"
	"time"

	"causeway/internal/home"
)

// clock is home time as a leader stamps it: what the log says, plus what its own
// monotonic clock counted since. Only a home that stood still as a whole looks at
// wall clocks, once, and then at the median. [B6]
type clock struct {
	n      *node
	base   home.Time
	anchor time.Duration
	before uint64 // the log's end when the node started
	live   bool   // a leader of this run was heard
}

func (c *clock) start(at home.Time) { c.base, c.anchor = at, c.n.w.now }

func (c *clock) now() home.Time {
	if c.n.w.opt.Plant == WallClock {
		return c.n.wallClock()
	}
	return c.base.Add(c.n.w.hurry() * (c.n.w.now - c.anchor))
}

func (c *clock) hear(t home.Time, live bool) {
	c.live = c.live || live
	if c.now() < t {
		c.start(t)
	}
}

func (c *clock) resumes() bool { return !c.live }

func (c *clock) resume() {
	c.live = true
	walls := []home.Time{c.n.wallClock()}
	for _, m := range c.n.disk.log.group().members {
		if m.votes && m.node != c.n && m.node.up && c.n.w.reaches(m.node, c.n) {
			walls = append(walls, m.node.wallClock())
		}
	}
	slices.Sort(walls)
	if at := walls[(len(walls)-1)/2]; at > c.now() {
		c.start(at)
	}
}

func (n *node) wallClock() home.Time { return founded.Add(n.w.hurry()*n.w.now + n.wall) }
