package lab

import (
	"math/rand/v2"
	"time"
)

// Conditions of one direction of a path. The zero value lets everything pass at
// once.
type Conditions struct {
	Delay   time.Duration
	Jitter  time.Duration // added, between zero and this; alone it does not reorder
	Loss    float64       // part of the packets, each by itself
	Reorder float64       // part of the packets that take half the delay
	Rate    int           // bytes a second; 0 is unlimited
	Queue   int           // bytes that wait for the rate; more is dropped. 0 means 256 KiB
	MTU     int           // larger packets vanish, without a word to their sender; 0 is unlimited
	Down    bool          // everything vanishes
}

// fate is what becomes of a packet.
type fate int

const (
	passes fate = iota
	lost
	overflows // the queue
	tooLarge
	cut
)

const defaultQueue = 256 << 10

// schedule decides about the packets of one direction, in the order in which they
// come. It is pure but for its random numbers.
type schedule struct {
	rng     *rand.Rand
	busy    time.Duration // when the last byte has left the queue
	arrival time.Duration // of the last packet that kept its place
}

// next says when a packet of size bytes that comes at now arrives. Times count from
// any moment.
func (s *schedule) next(c *Conditions, now time.Duration, size int) (at time.Duration, f fate) {
	switch {
	case c.Down:
		return 0, cut
	case c.MTU > 0 && size > c.MTU:
		return 0, tooLarge
	case c.Loss > 0 && s.rng.Float64() < c.Loss:
		return 0, lost
	}
	at = now
	if c.Rate > 0 {
		queue := c.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		s.busy = max(s.busy, now)
		if (s.busy-now).Seconds()*float64(c.Rate) > float64(queue) {
			return 0, overflows
		}
		s.busy += time.Duration(size) * time.Second / time.Duration(c.Rate)
		at = s.busy
	}
	if c.Reorder > 0 && s.rng.Float64() < c.Reorder {
		return at + c.Delay/2, passes
	}
	at += c.Delay
	if c.Jitter > 0 {
		at += time.Duration(s.rng.Int64N(int64(c.Jitter)))
	}
	s.arrival = max(s.arrival, at)
	return s.arrival, passes
}
