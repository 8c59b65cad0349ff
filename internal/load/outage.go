package load

import (
	"slices"
	"time"
)

// Served is after how long the devices of a fleet were served again that lost their connection: a publisher by its
// first acknowledgement, a subscriber by its first message, one that is neither by its CONNACK.
type Served struct {
	After []time.Duration // sorted
	Away  int             // devices that were not, yet
}

// Quantile is when a part of all devices was served, of which those that are away never are: false if one of them
// would have to be.
func (s *Served) Quantile(q float64) (time.Duration, bool) {
	n := len(s.After) + s.Away
	i := int(q*float64(n)+0.9999) - 1
	if n == 0 || i >= len(s.After) {
		return 0, false
	}
	return s.After[max(i, 0)], true
}

// ServedSince says when devices were served that lost their connection since a moment, counted from it.
func ServedSince(since time.Time, devices ...*Device) *Served {
	s := &Served{}
	for _, d := range devices {
		at, lost := d.servedSince(since)
		switch {
		case !lost:
		case at.IsZero():
			s.Away++
		default:
			s.After = append(s.After, at.Sub(since))
		}
	}
	slices.Sort(s.After)
	return s
}

// servedSince looks at the first connection that was lost since a moment, or before and had no successor by then: a
// device may be answered, and lose its next connection before anything came.
func (d *Device) servedSince(since time.Time) (at time.Time, lost bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.losses {
		if l.At.Before(since) && !l.Back.IsZero() && l.Back.Before(since) {
			continue
		}
		switch {
		case d.Out != nil:
			return l.Ack, true
		case d.Filter != "":
			return l.Message, true
		}
		return l.Back, true
	}
	return time.Time{}, false
}

// Sums adds up the streams of some pairs as they are now, while their devices run.
func (f *Fleet) Sums(which func(pair int) bool) (sum Sums) {
	for i, s := range f.Streams {
		if which != nil && !which(i) {
			continue
		}
		pub, sub := f.Publishers[i], f.Subscribers[i]
		sub.mu.Lock() // first, as OnMessage has it
		pub.mu.Lock()
		sum.Add(s)
		pub.mu.Unlock()
		sub.mu.Unlock()
	}
	return sum
}

// Devices are all of a fleet, in no order.
func (f *Fleet) Devices() []*Device { return f.devices() }

// Missing counts, below a number for each pair, the messages that were acknowledged and have not come; passed says
// that each subscriber has got one at or above it.
func (f *Fleet) Missing(below []uint64) (missing uint64, passed bool) {
	passed = true
	for i, s := range f.Streams {
		pub, sub := f.Publishers[i], f.Subscribers[i]
		sub.mu.Lock()
		pub.mu.Lock()
		for n := range below[i] {
			if s.acked.has(n) && !s.got.has(n) {
				missing++
			}
		}
		passed = passed && s.highest >= below[i] && s.Received.Load() > 0
		pub.mu.Unlock()
		sub.mu.Unlock()
	}
	return missing, passed
}

// Got says whether a device has got a message of a stream.
func (d *Device) Got(stream uint32, n uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Streams[stream].got.has(n)
}
