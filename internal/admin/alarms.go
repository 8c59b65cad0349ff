package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"causeway/internal/health"
	"causeway/internal/readiness"
)

// Alarm is one thing that is wrong at a node. Where the status names the first, alarms are all of them.
type Alarm struct {
	Node    string    `json:"node"`
	Name    string    `json:"name"`  // a word for programs
	Level   string    `json:"level"` // critical, warning, notice
	Summary string    `json:"summary"`
	Since   time.Time `json:"since"`
	Next    string    `json:"next"` // a command or an act
}

// AlarmPage is what is wrong in a region, the worst first.
type AlarmPage struct {
	Items      []Alarm      `json:"items"`
	Unanswered []Unanswered `json:"unanswered"`
}

// listAlarms is what is wrong at this node, or for a caller at all nodes of the region. A node that does
// not answer is one of them.
func (a *api) listAlarms(r *http.Request, _ *query) (any, error) {
	all := AlarmPage{Items: a.alarms(a.Server.status()), Unanswered: []Unanswered{}}
	if a.alone(r) {
		return all, nil
	}
	others, unanswered, err := askOthers[AlarmPage](r.Context(), a, Path("alarms"), nil)
	if err != nil {
		return nil, fmt.Errorf("alarms: %w", err)
	}
	for _, o := range others {
		all.Items = append(all.Items, o.Items...)
	}
	all.Unanswered = list(unanswered)
	for _, u := range unanswered {
		all.Items = append(all.Items, Alarm{Node: u.Node, Name: "silent", Level: LevelCritical, Summary: "the node does not answer: " + u.Reason, Since: time.Now(),
			Next: "start it, or if it is gone for good: causeway ctl cluster force-leave " + u.Node})
	}
	slices.SortStableFunc(all.Items, func(x, y Alarm) int {
		return cmp.Or(cmp.Compare(rankOf(x.Level), rankOf(y.Level)), x.Since.Compare(y.Since), cmp.Compare(x.Node, y.Node))
	})
	return all, nil
}

func rankOf(level string) int {
	return slices.Index([]string{LevelCritical, LevelWarning, LevelNotice}, level)
}

// saidBy names the alarms that say what a check of the readiness would say again.
var saidBy = map[string]string{"state": "state", "links": "link", "standby_lag": "standby", "services": "service"}

// alarms are all that is wrong as this node sees it, in the order of their causes.
func (s *Server) alarms(st Status) []Alarm {
	out := []Alarm{}
	add := func(name, level, summary string, since time.Time, next string) {
		out = append(out, Alarm{Node: st.Node, Name: name, Level: level, Summary: summary, Since: since.UTC(), Next: next})
	}
	for _, t := range s.regionTroubles(st.Now) {
		add("region", LevelCritical, t.Summary, t.Since, t.Next)
	}
	for _, f := range finders {
		if f.name == "spool" || f.name == "disk_spools" {
			continue // the condition of that name says how full
		}
		for _, t := range f.find(st) {
			add(f.name, f.level, t.Summary, t.Since, t.Next)
		}
	}
	for _, c := range st.Conditions {
		add(c.Name, c.Level, c.Summary, st.Now, c.Next)
	}
	for _, p := range st.State.Parts { // what a part has to say although it is well, as that somebody broke the glass
		if p.State == string(health.Ready) && p.Reason != "" {
			add(p.Part, LevelNotice, p.Reason, p.Since, "causeway ctl status")
		}
	}
	for _, i := range s.ready.Report().Items {
		if said := saidBy[i.Name]; said != "" && slices.ContainsFunc(out, func(a Alarm) bool { return a.Name == said }) {
			continue
		}
		switch i.State {
		case readiness.StateFail:
			add("readiness", LevelWarning, i.Name+": "+i.Reason, i.Since, cmp.Or(i.Fix, "causeway ctl readiness"))
		case readiness.StateWarn:
			add("readiness", LevelNotice, i.Name+": "+i.Reason, i.Since, cmp.Or(i.Fix, "causeway ctl readiness"))
		}
	}
	return out
}
