package broker

import (
	"context"
	"time"
)

// CloseAtPace closes the connections of a home that this node serves no more, so many a second, without a word: their
// devices come back, here or elsewhere, and where they come they must not come all at once. It returns when there are
// none, or ctx ended, and says how many it closed.
func (h *House) CloseAtPace(ctx context.Context, perSecond int) (n int) {
	const tick = 20 * time.Millisecond
	step := max(1, int(float64(perSecond)*tick.Seconds()))
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		var open []*conn
		h.sessions.each(func(c *conn) {
			if !c.isClosing() {
				open = append(open, c)
			}
		})
		if len(open) == 0 {
			return n
		}
		for len(open) > 0 {
			k := min(step, len(open))
			for _, c := range open[:k] {
				c.shut(EndHome, 0, "")
				_ = c.sock.Close()
			}
			n, open = n+k, open[k:]
			select {
			case <-t.C:
			case <-ctx.Done():
				return n
			}
		}
	}
}
