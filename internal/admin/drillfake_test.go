package admin

import (
	"context"
	"time"
)

func (f *fake) Drills() ([]Drill, error) {
	if f.config == nil {
		return nil, f.down
	}
	ended := noon.Add(time.Hour)
	return []Drill{{ID: "q-1", Name: "quarterly", Home: "eu", By: "alice", Started: noon, Progress: "3 of 9: lose eu", Waits: "lose eu", Phases: []DrillPhase{{Name: "lose-region eu", Values: []DrillValue{{"p95", 4.5}}}},
		Findings: []DrillFinding{{"left x", "could not be undone"}}, Touches: []DrillTouch{{What: DrillObserve, By: "bob", Role: "viewer", At: noon}}},
		{ID: "q-0", Name: "quarterly", Home: "eu", By: "alice", Started: noon.Add(-time.Hour), Ended: &ended, Outcome: "missed", Missed: []string{"p95"}, Phases: []DrillPhase{{Name: "lose-region eu", Values: []DrillValue{{"p95", 9}}}}}}, f.down
}

func (f *fake) PutDrill(_ context.Context, d Drill, by string) (Drill, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("put drill %s by %s, %d touches", d.ID, by, len(d.Touches))
	return d, f.down
}

func (f *fake) TouchDrill(_ context.Context, id string, t DrillTouch) (Drill, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("%s drill %s step %q by %s (%s): %s", t.What, id, t.Step, t.By, t.Role, t.Why)
	return Drill{ID: id, Touches: []DrillTouch{t}}, f.down
}
