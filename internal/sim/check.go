package sim

import "slices"

// check holds what every subscriber saw against what every publisher was told.
func (w *World) check() error {
	for _, p := range w.devices {
		if p.sub {
			continue
		}
		if len(p.acked) != w.opt.Messages {
			return w.failf("%s: %d of %d messages acknowledged after a long calm (%d pending)", p.id, len(p.acked), w.opt.Messages, len(p.pending))
		}
		for _, s := range w.devices {
			if s.sub {
				if err := w.checkPair(p, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *World) checkPair(p, s *device) error {
	seen := s.seen["t/"+p.id]
	last, first := 0, map[int]bool{}
	for _, num := range seen {
		if first[num] {
			if p.qos == 2 && s.qos == 2 {
				return w.failf("%s got message %d of %s twice at QoS 2: %v", s.id, num, p.id, seen)
			}
			continue
		}
		first[num] = true
		if num < last {
			return w.failf("%s got message %d of %s after %d", s.id, num, p.id, last)
		}
		last = num
	}
	for _, num := range p.acked {
		if !first[num] {
			slices.Sort(seen)
			return w.failf("%s never got message %d of %s, though it was acknowledged (%d of %d seen)", s.id, num, p.id, len(first), w.opt.Messages)
		}
	}
	return nil
}
