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
		c.start(wall.Add(-time.Hour))
		if c.live() {
			t.Error("home time runs before anybody said so")
		}
		if ahead := c.resume(time.Now()); ahead != time.Hour {
			t.Errorf("wall clock is ahead by %s, want 1h", ahead)
		}
		if got := c.now(); got != wall || !c.live() {
			t.Errorf("goes on at %d, want the wall clock %d: it is later", got, wall)
		}
		time.Sleep(time.Second)
		if got := c.now(); got != wall.Add(time.Second) {
			t.Errorf("after a second: %d, want %d", got, wall.Add(time.Second))
		}
		c.heard(wall, true) // the past changes nothing
		if got := c.now(); got != wall.Add(time.Second) {
			t.Errorf("after hearing the past: %d, want %d", got, wall.Add(time.Second))
		}
		c.heard(wall.Add(time.Minute), true)
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
		c.start(state)
		if ahead := c.resume(time.Now()); ahead != -time.Hour {
			t.Errorf("wall clock is ahead by %s, want -1h", ahead)
		}
		if got := c.now(); got != state {
			t.Errorf("goes on at %d, want the state's time %d", got, state)
		}
	})
}

// What is read back from the log at a start says nothing of how long the home
// stood still; what a leader of this run stamped does.
func TestClock_RunsOnceALeaderWasHeard(t *testing.T) {
	var c clock
	c.start(1)
	if c.heard(5, false); c.live() {
		t.Error("a replayed record made home time run")
	}
	if c.heard(9, true); !c.live() {
		t.Error("a leader's record did not make home time run")
	}
}
