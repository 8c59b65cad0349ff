package load

import "sync/atomic"

// Stream is the messages of one publisher to one subscriber, by number from 0.
type Stream struct {
	Sent, Acked, Received atomic.Uint64 // received counts each once

	acked bitset // owned by the publishing device

	// Owned by the subscribing device.
	got                bitset
	first              uint64 // number of the first arrival
	highest            uint64
	doubled, reordered uint64
}

// Sums are what is known of streams once their devices have stopped.
type Sums struct {
	Sent, Acked, Received uint64
	Lost                  uint64 // acknowledged and never received
	Unheard               uint64 // of them, sent before the first that was received: the subscription was on its way
	Doubled               uint64 // arrivals beyond the first
	Reordered             uint64 // first arrivals behind one with a greater number
}

// take notes the arrival of a message; first says that it had not come yet.
func (s *Stream) take(n uint64) (first bool) {
	switch {
	case s.got.has(n):
		s.doubled++
		return false
	case n < s.highest:
		s.reordered++
	}
	if s.Received.Load() == 0 {
		s.first = n
	}
	s.got.set(n)
	s.highest = max(s.highest, n)
	s.Received.Add(1)
	return true
}

// Add adds up a stream.
func (a *Sums) Add(s *Stream) {
	a.Sent += s.Sent.Load()
	a.Acked += s.Acked.Load()
	a.Received += s.Received.Load()
	a.Doubled += s.doubled
	a.Reordered += s.reordered
	for n := range s.Sent.Load() {
		if s.acked.has(n) && !s.got.has(n) {
			a.Lost++
			if n < s.first {
				a.Unheard++
			}
		}
	}
}

type bitset []uint64

func (b bitset) has(n uint64) bool { return n>>6 < uint64(len(b)) && b[n>>6]&(1<<(n&63)) != 0 }

func (b *bitset) set(n uint64) {
	for n>>6 >= uint64(len(*b)) {
		*b = append(*b, 0)
	}
	(*b)[n>>6] |= 1 << (n & 63)
}
