package sim

import (
	"time"

	"causeway/internal/home"
)

// In some runs the messages of each region's first publisher may be stored in that
// region only, by a rule that comes when some of them wait for the peers already.

// rules are those of a region.
func (w *World) rules(r *region) (list []home.Residency) {
	if !w.opt.Resident {
		return nil
	}
	for _, d := range w.devices {
		if d.r == r && d.resident() {
			list = append(list, home.Residency{Filter: "t/" + d.id, Regions: []string{string(r.id)}})
		}
	}
	return list
}

// resident says that what a device publishes stays in its region.
func (d *device) resident() bool {
	return d.w.opt.Resident && d.role == publisher && d.qos == 1
}

// confine lets publishers begin while the links are cut, and then sets the rules.
func (w *World) confine() error {
	w.calm = true
	defer func() { w.calm = false }()
	for _, l := range w.links {
		l.cut()
	}
	w.run(w.now + 60*time.Millisecond)
	waiting, set := 0, 0
	for _, r := range w.regions {
		l := r.leader()
		if l == nil {
			return w.failf("%s has no leader before anything went wrong", r.id)
		}
		for _, p := range l.state.Peers() {
			waiting += p.Spooled
		}
		l.propose(&home.Configure{Revision: w.order, Limits: w.limits(), Residency: w.rules(r)}, func(home.Outcome) { set++ })
	}
	w.run(w.now + 500*time.Millisecond)
	if set < len(w.regions) || waiting == 0 {
		return w.failf("%d of %d regions have their rules, %d messages waited for peers then", set, len(w.regions), waiting)
	}
	for _, l := range w.links {
		l.heal()
	}
	return nil
}

// checkConfined wants nothing of a publisher at a device of another region.
func (w *World) checkConfined(p, s *device) error {
	if seen := s.seen["t/"+p.id]; len(seen) > 0 {
		return w.failf("%s got messages %v of %s, which must not leave %s", s.id, seen, p.id, p.r.id)
	}
	return nil
}
