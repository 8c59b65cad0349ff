package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := home.Time(time.Now().UnixNano())
		var c clock
		if ahead := c.start(wall.Add(-time.Hour)); ahead != time.Hour {
			t.Errorf("wall clock is ahead by %s, want 1h", ahead)
		}
		if got := c.now(); got != wall {
			t.Errorf("starts at %d, want the wall clock %d: it is later", got, wall)
		}
		time.Sleep(time.Second)
		if got := c.now(); got != wall.Add(time.Second) {
			t.Errorf("after a second: %d, want %d", got, wall.Add(time.Second))
		}
		c.heard(wall) // the past changes nothing
		if got := c.now(); got != wall.Add(time.Second) {
			t.Errorf("after hearing the past: %d, want %d", got, wall.Add(time.Second))
		}
		c.heard(wall.Add(time.Minute))
		time.Sleep(time.Second)
		if got := c.now(); got != wall.Add(61*time.Second) {
			t.Errorf("a second after hearing a later time: %d, want %d", got, wall.Add(61*time.Second))
		}
	})
}

func TestClock_WallClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := home.Time(time.Now().UnixNano()).Add(time.Hour)
		var c clock
		if ahead := c.start(state); ahead != -time.Hour {
			t.Errorf("wall clock is ahead by %s, want -1h", ahead)
		}
		if got := c.now(); got != state {
			t.Errorf("starts at %d, want the state's time %d", got, state)
		}
	})
}
