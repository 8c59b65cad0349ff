package conductor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill"
	"causeway/internal/group"
)

// The regions are the board on which a drill under way is shown, and on which others write that
// they approve of a step, or want it ended. It is written to every region that answers, and read
// from all: one of them may be the one that is being lost.

// SummaryOf is a drill as regions keep it.
func SummaryOf(d admin.Drill) drill.Summary {
	s := drill.Summary{ID: d.ID, Name: d.Name, Home: d.Home, Outcome: d.Outcome, Why: d.Why, By: d.By, Started: d.Started, Ended: d.Ended, Progress: d.Progress, Head: d.Head, Missed: d.Missed,
		Phases: map[string]map[string]float64{}, Findings: map[string]string{}}
	for _, p := range d.Phases {
		s.Phases[p.Name] = map[string]float64{}
		for _, v := range p.Values {
			s.Phases[p.Name][v.Metric] = v.Value
		}
	}
	for _, f := range d.Findings {
		s.Findings[f.Key] = f.Text
	}
	return s
}

// DrillOf is the same the other way.
func DrillOf(s drill.Summary) admin.Drill {
	d := admin.Drill{ID: s.ID, Name: s.Name, Home: s.Home, Outcome: s.Outcome, Why: s.Why, By: s.By, Started: s.Started, Ended: s.Ended, Progress: s.Progress, Head: s.Head, Missed: s.Missed}
	for name, values := range s.Phases {
		p := admin.DrillPhase{Name: name}
		for _, m := range drill.Metrics {
			if v, ok := values[m.Name]; ok {
				p.Values = append(p.Values, admin.DrillValue{Metric: m.Name, Value: v})
			}
		}
		d.Phases = append(d.Phases, p)
	}
	slices.SortFunc(d.Phases, func(a, b admin.DrillPhase) int { return strings.Compare(a.Name, b.Name) })
	for key, text := range s.Findings {
		d.Findings = append(d.Findings, admin.DrillFinding{Key: key, Text: text})
	}
	slices.SortFunc(d.Findings, func(a, b admin.DrillFinding) int { return strings.Compare(a.Key, b.Key) })
	return d
}

// put writes the drill to all regions, takes in what others did, and says how many regions have it.
func (c *conductor) put(ctx context.Context, d admin.Drill) (kept int) {
	d.Missed = append([]string{}, d.Missed...)
	for _, name := range c.names() {
		within, cancel := context.WithTimeout(ctx, 3*time.Second)
		var is admin.Drill
		err := c.regions[name].call(within, http.MethodPut, "drills", admin.Path("drills", d.ID), nil, d, &is)
		cancel()
		if err != nil {
			continue
		}
		kept++
		c.takeIn(is.Conductor, is.Touches)
	}
	return kept
}

// publish shows how far the drill is, until ctx ends.
func (c *conductor) publish(ctx context.Context) {
	for group.Pause(ctx, time.Second) == nil {
		c.mu.Lock()
		d := c.shown
		c.mu.Unlock()
		if d.ID != "" {
			c.put(ctx, d)
		}
	}
}

// show keeps what publish writes; on the conductor's goroutine.
func (c *conductor) show() {
	d := admin.Drill{ID: c.o.ID, Name: c.plan.Name, Home: c.plan.Home, Plan: c.plan.Hash(), By: c.o.By, At: c.place(), Started: c.run.Started, Why: c.run.Why, Progress: c.run.Progress()}
	if next := c.run.Next(); next.Step != nil && next.Step.Kind == drill.KindApprove {
		d.Waits, d.WaitsWhy = next.Step.Name, next.Step.Why
	}
	c.mu.Lock()
	c.shown = d
	c.mu.Unlock()
}

// takeIn notes what others did that was not known. Nobody approves of a drill by the name it is conducted with, in
// whatever region.
func (c *conductor) takeIn(self string, touches []admin.DrillTouch) {
	c.mu.Lock()
	c.selves[self] = true
	c.mu.Unlock()
	for _, t := range touches {
		key := t.What + "\x00" + t.Step + "\x00" + t.By
		c.mu.Lock()
		_, known := c.touched[key]
		c.touched[key] = t
		if !known {
			c.fresh = append(c.fresh, t)
		}
		c.mu.Unlock()
		if !known && t.What == admin.DrillAbort {
			c.give(drill.Event{What: drill.EvAbort, By: t.By, Text: strings.TrimSuffix("given up by "+t.By+": "+t.Why, ": ")})
		}
	}
}

// approval waits until somebody approves who may. One that is in the journal stays: a conductor that is resumed does
// not ask again.
func (c *conductor) approval(ctx context.Context, s *drill.Step) (string, error) {
	limit := time.NewTimer(s.Wait)
	defer limit.Stop()
	for {
		if i := slices.IndexFunc(c.events, func(e drill.Event) bool { return e.What == drill.EvApproved && e.Step == s.N }); i >= 0 {
			return "by " + c.events[i].By, nil
		}
		if by := c.approved(s); by != nil {
			if err := c.note(drill.Event{What: drill.EvApproved, Step: s.N, By: by.By, Text: by.Why, Data: map[string]string{"role": by.Role}}); err != nil {
				return "", err
			}
			continue
		}
		select {
		case <-limit.C:
			var names []string
			for _, a := range s.By {
				names = append(names, a.Name)
			}
			return "", missed("nobody approved within %s: %s may, with causeway ctl drill approve %s", s.Wait, strings.Join(names, ", "), c.o.ID)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// approved finds who approved of a step and may; nil: nobody yet.
func (c *conductor) approved(s *drill.Step) *admin.DrillTouch {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.touched {
		if t.What == admin.DrillApprove && t.Step == s.Name && !c.selves[t.By] && mayApprove(s.By, t) {
			return &t
		}
	}
	return nil
}

// mayApprove says whether who touched the drill is one of those who may, with the role for it.
func mayApprove(by []drill.Approver, t admin.DrillTouch) bool {
	return slices.ContainsFunc(by, func(a drill.Approver) bool {
		return a.Name == t.By && (t.Role == a.Role || t.Role == "admin")
	})
}

// describe is a problem in a line.
func describe(err error) string { return strings.ReplaceAll(fmt.Sprint(err), "\n", "; ") }
