package simlab

import (
	"fmt"
	"sync"
	"time"
)

// wall is a machine's clock on the wall: the lab's time, but set wrong, and running at a
// speed of its own. What a node counts by it (its leases and promises, too) counts at
// that speed; nothing but the home's time after a full stop may look at what it says.
type wall struct {
	mu     sync.Mutex
	base   time.Time // what it said at anchor
	anchor time.Time
	speed  float64
}

// runsWrong is by what part clocks run fast or slow: two may differ by a tenth.
const runsWrong = 0.04

func newWall() *wall {
	now := time.Now()
	return &wall{base: now, anchor: now, speed: 1}
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.base.Add(time.Duration(float64(time.Since(w.anchor)) * w.speed))
}

// pace is how fast the clocks of the machine run.
func (w *wall) pace() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.speed
}

// set makes it wrong by a time, and by a part of its speed.
func (w *wall) set(wrong time.Duration, speed float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anchor, w.speed = time.Now(), speed
	w.base = w.anchor.Add(wrong)
}

// boots sets the clock of a machine that was without power: it asks the network for the time.
func (w *wall) boots() { w.set(0, w.pace()) }

// wrongClock has the clock of a region's machine jump: of one of several, since a home that
// stood still goes on by the median, or of the only one, until it boots.
func (l *Lab) wrongClock(region string, by time.Duration) {
	n := l.Region(region).nodes[0]
	n.wall.set(by, n.wall.pace())
	l.log.note(n.Name, fmt.Sprintf("its clock is wrong by %s", by))
}

// wrongSpeeds has all clocks run fast or slow, each by a part of its own.
func (l *Lab) wrongSpeeds(d dice) {
	for _, n := range l.Nodes() {
		n.wall.set(0, 1-runsWrong+2*runsWrong*d.Float64())
	}
	for _, w := range l.witnesses {
		w.wall.set(0, 1-runsWrong+2*runsWrong*d.Float64())
	}
}
