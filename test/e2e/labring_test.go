package e2e

import (
	"testing"
	"time"

	"causeway/test/lab"
)

// ring is three regions, each linked with both others, where everybody wants everything: what is
// published in one arrives once in each.
func ring(t *testing.T) *wide {
	t.Helper()
	n := lab.New(t)
	w := newWide(t)
	w.pace = 2
	regions := []string{"eu", "us", "ap"}
	w.sites = map[string]*lab.Site{}
	for _, r := range regions {
		w.sites[r] = n.Site(r, lab.Router)
	}
	w.eu, w.us = w.sites["eu"], w.sites["us"]
	for _, pair := range [][2]string{{"us", "ap"}, {"ap", "eu"}, {"eu", "us"}} { // the last is cut
		w.path = n.Path(w.sites[pair[0]], w.sites[pair[1]])
		w.path.Set(ordinary)
	}
	o := w.inSites()
	o.Regions = regions
	w.tr = start(t, o)
	for _, from := range regions {
		for _, to := range regions {
			w.stream(from, to, "ring/"+from)
		}
	}
	w.load()
	w.caughtUp("at the start")
	return w
}

// One link of three in a ring is cut: what goes over the other two is not held up, what goes over
// this one waits, and takes no other way. Nothing goes round.
func TestLab_Ring(t *testing.T) {
	w := ring(t)
	away, rounds := 4*time.Second, 1
	if *wholeLab {
		away, rounds = 30*time.Second, 3
	}
	for range rounds {
		var before []int
		for _, s := range w.flows {
			before = append(before, s.to.last())
		}
		w.outage(away)
		for i, s := range w.flows {
			over := s.name == "eu to us" || s.name == "us to eu"
			if passed := s.to.last() - before[i]; over == (passed > 100) {
				t.Errorf("%s: %d messages arrived while the link between eu and us was cut", s.name, passed)
			}
		}
		t.Logf("%v without the link between eu and us: %v to the first message published since it was back", away, w.caughtUp("after the outage").Round(time.Millisecond))
	}
	w.finish()
	before := w.path.Carried()
	time.Sleep(time.Second)
	if passed := w.path.Carried().Minus(before); passed.Sum() > 20_000 { // of keep-alives
		t.Errorf("%d bytes passed in a second without load: something goes round", passed.Sum())
	}
}
