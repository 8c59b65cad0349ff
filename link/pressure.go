package link

import (
	"context"
	"time"

	"causeway/internal/group"
)

// A backlog comes faster than a device reads. So that it does not run over in the
// queue of one that is connected, fewer frames are under way the fuller the fullest
// queue is that the last one went to, and the next one waits. A queue that is full all
// the same belongs to a device that reads nearly nothing, and holds nobody up: the
// limit of the queue decides then, as for any publisher.

// underWay is how many frames may be proposed and not committed. A frame has 1,024
// messages at most as we send them: what is under way at each step fits into what was
// left of a queue of the default size.
func underWay(fill uint8) int {
	switch {
	case fill < 25 || fill >= 100:
		return maxProposed
	case fill < 50:
		return maxProposed / 4
	case fill < 75:
		return maxProposed / 16
	}
	return 1
}

// Breath is how long what comes next waits, a frame of 1,024 messages, while the
// fullest queue of a connected device is so many percent full.
func Breath(fill uint8) time.Duration {
	switch {
	case fill < 75 || fill >= 100:
		return 0
	case fill < 85:
		return 20 * time.Millisecond
	case fill < 95:
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// breathe waits for the device whose queue is filling up.
func (v *receiver) breathe(ctx context.Context) error {
	v.mu.Lock()
	d := Breath(v.fill)
	v.mu.Unlock()
	if d == 0 {
		return nil
	}
	v.t.p.counts.slowed.Add(uint64(d))
	return group.Pause(ctx, d)
}
