package app

import (
	"testing"
	"time"
)

func rates(seconds float64, connections, denied int64) guardRates {
	return guardRates{Seconds: seconds, Connections: connections, Events: map[string]int64{guardPublishes: denied}, PerSecond: map[string]float64{guardPublishes: float64(denied) / seconds}}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		before, now guardRates
		others      []guardRates
		harm        bool
	}{
		"nothing was refused":               {rates(60, 10, 0), rates(10, 10, 0), nil, false},
		"much is refused":                   {rates(60, 10, 0), rates(10, 10, 100), nil, true},
		"too few to tell":                   {rates(60, 10, 0), rates(2, 10, 9), nil, false},
		"as much as before":                 {rates(60, 10, 600), rates(10, 10, 110), nil, false},
		"three times as much":               {rates(60, 10, 600), rates(10, 10, 300), nil, true},
		"as much on nodes without it":       {rates(60, 10, 0), rates(10, 10, 100), []guardRates{rates(10, 10, 90)}, false},
		"as much on a node ten times large": {rates(60, 10, 0), rates(10, 10, 100), []guardRates{rates(10, 100, 90)}, true},
		"slowly":                            {rates(60, 10, 0), rates(100, 10, 50), nil, false},
	} {
		if got := judge(c.before, c.now, c.others, usualTerms); (len(got) > 0) != c.harm {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGuard_RemembersAWindow(t *testing.T) {
	var g guard
	began := time.Now()
	for i := range 400 {
		g.note(guardSample{at: began.Add(time.Duration(i) * guardEvery), counts: map[string]int64{guardPublishes: int64(i)}, connections: 3})
	}
	last := began.Add(399 * guardEvery)
	r := g.between(last.Add(-guardWindow), last)
	if r.Events[guardPublishes] != 60 || r.PerSecond[guardPublishes] != 1 || r.Connections != 3 {
		t.Errorf("%+v", r)
	}
	if n := len(g.samples); n > 130 {
		t.Errorf("%d samples are kept", n)
	}
	if r := (&guard{}).between(began, last); r.Seconds != 0 || len(judge(r, r, nil, usualTerms)) > 0 {
		t.Errorf("nothing is known: %+v", r)
	}
}

// A storm of seconds before does not hide one that comes now.
func TestGuard_UsualIsWithoutAStorm(t *testing.T) {
	var g guard
	began := time.Now()
	var n int64
	for i := range 20 {
		if n += 2; i >= 10 && i < 15 {
			n += 1000
		}
		trying := i >= 15 && i < 19 // longer than anything usual
		if trying {
			n += 5000
		}
		g.note(guardSample{at: began.Add(time.Duration(i) * guardEvery), counts: map[string]int64{guardPublishes: n}, connections: 3, trying: trying})
	}
	last := began.Add(19 * guardEvery)
	usual := g.usual(last.Add(-guardWindow), last)
	if usual.PerSecond[guardPublishes] != 2 {
		t.Errorf("%+v", usual)
	}
	if len(judge(usual, rates(2, 3, 400), nil, usualTerms)) == 0 {
		t.Error("the next storm is no harm")
	}
}

// A node that has just begun, and tries a file at once, knows of nothing usual: what it refuses from then on is harm.
func TestGuard_HarmAtOnceIsNotUsual(t *testing.T) {
	var g guard
	began := time.Now()
	inForce := began.Add(guardEvery / 2)
	for i := range 4 {
		g.note(guardSample{at: began.Add(time.Duration(i) * guardEvery), counts: map[string]int64{guardPublishes: int64(i) * 1500}, connections: 8})
	}
	before := g.usual(inForce.Add(-guardWindow), inForce)
	now := g.between(inForce.Add(-guardEvery), began.Add(3*guardEvery))
	if len(judge(before, now, nil, usualTerms)) == 0 {
		t.Errorf("before %+v, now %+v", before, now)
	}
}
