package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ReportFormat is the version of the report's JSON.
const ReportFormat = 1

// Report is what came of a drill, for the operator and the auditor.
type Report struct {
	Format    int            `json:"format"`
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	About     string         `json:"about"`
	Home      string         `json:"home"`
	Scope     string         `json:"scope"`
	Outcome   string         `json:"outcome"`
	ExitCode  int            `json:"exit_code"`
	Why       string         `json:"why"` // it ended early
	Started   time.Time      `json:"started"`
	Ended     time.Time      `json:"ended"`
	By        string         `json:"by"`
	Approvals []Approval     `json:"approvals"`
	Observers []string       `json:"observers"`
	Tool      string         `json:"tool"` // version of what ran it
	PlanHash  string         `json:"plan_sha256"`
	Journal   string         `json:"journal_head"`
	Regions   []RegionFacts  `json:"regions"`
	Phases    []PhaseReport  `json:"phases"`
	Share     Share          `json:"share"`
	NotTested []string       `json:"not_tested"`
	Clients   []Sums         `json:"clients"`
	Stranded  []Stranded     `json:"stranded"`
	Reconcile []Reconciled   `json:"reconciled"`
	Findings  []Finding      `json:"findings"`
	Left      []string       `json:"left"` // could not be undone
	Timeline  []TimelineLine `json:"timeline"`
}

// Approval is who let a step begin.
type Approval struct {
	Step string    `json:"step"`
	By   string    `json:"by"`
	Role string    `json:"role"`
	At   time.Time `json:"at"`
}

// RegionFacts is what a region said of itself when the drill began.
type RegionFacts struct {
	Region   string            `json:"region"`
	Nodes    map[string]string `json:"nodes"`  // versions by node
	Config   map[string]string `json:"config"` // digests of its parts, of the node that was asked
	Score    int               `json:"readiness"`
	Blockers []string          `json:"blockers"`
	Devices  int               `json:"devices"`
	Sessions int               `json:"sessions"`
	Reason   string            `json:"reason"` // it did not answer
}

// Share is what part of the fleet took part.
type Share struct {
	Devices  int     `json:"devices"`  // connected at the start, to all regions
	InHome   int     `json:"in_home"`  // sessions of the home that was drilled
	Canaries int     `json:"canaries"` // devices of the drill's own
	Part     float64 `json:"part"`     // of the sessions of all regions, those of the home
}

// Reconciled is what a region held alone.
type Reconciled struct {
	Region string            `json:"region"`
	Home   string            `json:"home"`
	Data   map[string]string `json:"data"`
}

// PhaseReport is what was measured of a scenario.
type PhaseReport struct {
	Name     string    `json:"name"`
	Scenario string    `json:"scenario"`
	Planned  bool      `json:"planned"`
	Begin    time.Time `json:"begin"` // of the disaster
	End      time.Time `json:"end"`
	Whole    bool      `json:"whole"` // it ran to its end
	Rows     []Row     `json:"rows"`

	moves bool // devices lose their connections
}

// Row is one metric: the goal, what was measured, and the last four times. Below 0: none, or not seen.
type Row struct {
	Metric   string    `json:"metric"`
	Title    string    `json:"title"`
	Seconds  bool      `json:"seconds"`
	Goal     float64   `json:"goal"`
	Measured float64   `json:"measured"`
	Met      bool      `json:"met"`
	Last     []float64 `json:"last"` // the newest first
}

// Finding is something to look into.
type Finding struct {
	Key   string `json:"key"` // the same in the next drill
	Text  string `json:"text"`
	State string `json:"state"` // new, again; and of those of the last drill: gone, not looked at
}

// TimelineLine is a line of what happened.
type TimelineLine struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Text string    `json:"text"`
}

// Summary is what the regions keep of a drill.
type Summary struct {
	ID       string                        `json:"id"`
	Name     string                        `json:"name"`
	Home     string                        `json:"home"`
	Outcome  string                        `json:"outcome"` // "" while it runs
	Why      string                        `json:"why"`
	By       string                        `json:"by"`
	Started  time.Time                     `json:"started"`
	Ended    *time.Time                    `json:"ended"`
	Progress string                        `json:"progress"`
	Head     string                        `json:"head"` // of the manifest
	Missed   []string                      `json:"missed"`
	Phases   map[string]map[string]float64 `json:"phases"`
	Findings map[string]string             `json:"findings"` // by key
}

// Facts are what a report is made of beside journal and ledgers.
type Facts struct {
	ID, By, Tool string
	Regions      []RegionFacts
	Share        Share
	Verdict      Verdict
	History      []Summary // of drills before, in any order
}

// NewReport makes the report of a run whose events are all there, but for the last.
func NewReport(r *Run, events []Event, f Facts) *Report {
	p := r.Drill.Plan
	rep := &Report{Format: ReportFormat, ID: f.ID, Name: p.Name, About: p.About, Home: p.Home, Scope: p.Scope.Kind, Why: r.Why, Started: r.Started, By: f.By, Tool: f.Tool,
		PlanHash: p.Hash(), Regions: f.Regions, Share: f.Share, NotTested: slices.Clone(r.Drill.NotTested), Clients: f.Verdict.Clients, Stranded: f.Verdict.Stranded}
	if p.Scope.Prefix != "" {
		rep.Scope += " " + p.Scope.Prefix
	}
	rep.Share.Canaries = f.Verdict.Canaries
	if n := len(events); n > 0 {
		rep.Ended, rep.Journal = events[n-1].At, events[n-1].Hash
	}
	last := lastOf(p.Name, f.ID, f.History)
	missed := rep.phases(r, f.Verdict, last)
	rep.Outcome = r.Conclude(missed)
	rep.ExitCode = ExitCode(rep.Outcome)
	for i := range r.Drill.Phases {
		if r.Phases[i].Begin.IsZero() {
			rep.NotTested = append(rep.NotTested, "the phase "+r.Drill.Phases[i].Name+": it was not reached")
		}
	}
	for _, x := range rep.Phases {
		if x.moves && x.Whole && p.Scope.Kind != ScopeShadow && x.Row("first_device").Measured < 0 && x.Row("away").Measured == 0 {
			rep.NotTested = append(rep.NotTested, "how devices come back from "+x.Name+": no canary lost its connection")
		}
	}
	for _, o := range r.Left {
		rep.Left = append(rep.Left, o.Action.String())
	}
	rep.story(r, events)
	rep.findings(r, events, last)
	return rep
}

// lastOf are the drills of the same plan that came to an end, the newest first.
func lastOf(name, id string, history []Summary) (list []Summary) {
	for _, s := range history {
		if s.Name == name && s.ID != id && s.Outcome != "" {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b Summary) int { return b.Started.Compare(a.Started) })
	return slices.CompactFunc(list, func(a, b Summary) bool { return a.ID == b.ID })
}

// phases holds what was measured against the goals.
func (rep *Report) phases(r *Run, v Verdict, last []Summary) (missed bool) {
	spans, of := r.Spans()
	for n, s := range spans {
		i := of[n]
		d := &r.Drill.Phases[i]
		p := PhaseReport{Name: d.Name, Scenario: d.Scenario, Planned: d.Planned, Begin: s.Begin, End: s.End, Whole: !r.Phases[i].Cut, moves: s.Moves}
		values := map[string]float64{}
		if n < len(v.Phases) {
			values = v.Phases[n]
		}
		for mark, metric := range map[string]string{"detected": "detect", "decided": "decide", "promoted": "promote"} {
			if at := r.Phases[i].Marks[mark]; !at.IsZero() {
				values[metric] = max(0, at.Sub(s.Begin).Seconds())
			}
		}
		for _, m := range Metrics {
			row := Row{Metric: m.Name, Title: m.Title, Seconds: m.Seconds, Goal: none, Measured: none, Met: true}
			if x, ok := values[m.Name]; ok {
				row.Measured = x
			}
			if g, ok := d.Goals[m.Name]; ok {
				row.Goal = g
				row.Met = !p.Whole && m.Name == "away" || row.Measured <= g && (row.Measured >= 0 || !m.Seconds || !p.Whole || !d.Measures)
			}
			for _, l := range last[:min(4, len(last))] {
				x, ok := l.Phases[d.Name][m.Name]
				if !ok {
					x = none
				}
				row.Last = append(row.Last, x)
			}
			missed = missed || !row.Met
			p.Rows = append(p.Rows, row)
		}
		rep.Phases = append(rep.Phases, p)
	}
	return missed
}

// story is what happened, in words.
func (rep *Report) story(r *Run, events []Event) {
	for _, e := range events {
		line := TimelineLine{At: e.At, What: e.What, Text: e.Text}
		name := e.Name
		if e.Step >= 0 && e.Step < len(r.Drill.Steps) && e.What != EvMark {
			name = r.Drill.Steps[e.Step].Name
		}
		line.Text = strings.TrimSuffix(name+": "+e.Text, ": ")
		if name == "" {
			line.Text = e.Text
		}
		switch e.What {
		case EvApproved:
			rep.Approvals = append(rep.Approvals, Approval{Step: name, By: e.By, Role: e.Data["role"], At: e.At})
			line.Text += " by " + e.By
		case EvStarted, EvResumed, EvAbort:
			if e.What == EvStarted && e.By != "" {
				rep.By = e.By // whoever resumed it is in the timeline
			}
			if e.By != "" {
				line.Text = strings.TrimSpace(line.Text + " by " + e.By)
			}
		case EvNote:
			if e.Name == "observer" && !slices.Contains(rep.Observers, e.By) {
				rep.Observers = append(rep.Observers, e.By)
			}
			if e.Name == "reconcile" {
				rep.Reconcile = append(rep.Reconcile, Reconciled{Region: e.Data["region"], Home: e.Data["home"], Data: e.Data})
			}
		}
		rep.Timeline = append(rep.Timeline, line)
	}
}

// findings are what is to be looked into, and what became of those of the last drill.
func (rep *Report) findings(r *Run, events []Event, last []Summary) {
	now := map[string]string{}
	for _, p := range rep.Phases {
		for _, row := range p.Rows {
			if m, _ := MetricOf(row.Metric); !row.Met {
				now["goal "+p.Name+" "+row.Metric] = fmt.Sprintf("%s: %s: %s, the goal is %s", p.Name, row.Title, m.Format(row.Measured), m.Format(row.Goal))
			}
		}
	}
	for _, e := range events {
		switch e.What {
		case EvMissed:
			now["step "+r.Drill.Steps[e.Step].Name] = r.Drill.Steps[e.Step].Name + ": " + e.Text
		case EvFailed:
			now["step "+r.Drill.Steps[e.Step].Name] = r.Drill.Steps[e.Step].Name + " failed: " + e.Text
		case EvTripped:
			key, _, _ := strings.Cut(e.Text, ":")
			now[key] = e.Text
		case EvNote:
			if e.Name == "finding" {
				now["note "+e.Data["key"]] = e.Text
			}
		}
	}
	for _, s := range rep.Stranded {
		now["stranded "+s.Reason] = fmt.Sprintf("%d acknowledged messages were not seen to come: %s", s.Count, s.Reason)
	}
	for _, x := range rep.Left {
		now["left "+x] = "could not be undone: " + x
	}
	var before map[string]string
	if len(last) > 0 {
		before = last[0].Findings
	}
	for key, text := range now {
		state := "new"
		if _, again := before[key]; again {
			state = "again"
		}
		rep.Findings = append(rep.Findings, Finding{key, text, state})
	}
	for key, text := range before {
		if _, again := now[key]; again {
			continue
		}
		state := "gone"
		if rep.Outcome != OutcomeDone && rep.Outcome != OutcomeMissed {
			state = "not looked at"
		}
		rep.Findings = append(rep.Findings, Finding{key, text, state})
	}
	order := map[string]int{"again": 0, "new": 1, "not looked at": 2, "gone": 3}
	slices.SortFunc(rep.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.State], order[b.State]), strings.Compare(a.Key, b.Key))
	})
}

// Summary is what the regions keep of it; head is that of its manifest.
func (rep *Report) Summary(head string) Summary {
	ended := rep.Ended
	s := Summary{ID: rep.ID, Name: rep.Name, Home: rep.Home, Outcome: rep.Outcome, Why: rep.Why, By: rep.By, Started: rep.Started, Ended: &ended, Progress: rep.Outcome, Head: head,
		Phases: map[string]map[string]float64{}, Findings: map[string]string{}}
	for _, p := range rep.Phases {
		values := map[string]float64{}
		for _, row := range p.Rows {
			if row.Measured >= 0 {
				values[row.Metric] = row.Measured
			}
			if m, _ := MetricOf(row.Metric); !row.Met {
				s.Missed = append(s.Missed, fmt.Sprintf("%s: %s %s, the goal is %s", p.Name, row.Title, m.Format(row.Measured), m.Format(row.Goal)))
			}
		}
		s.Phases[p.Name] = values
	}
	for _, f := range rep.Findings {
		if f.State == "new" || f.State == "again" {
			s.Findings[f.Key] = f.Text
		}
	}
	return s
}

// String is the report in a few lines.
func (rep *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "drill %s (%s) of home %s: %s", rep.ID, rep.Name, rep.Home, rep.Outcome)
	if rep.Why != "" {
		fmt.Fprintf(&b, ": %s", rep.Why)
	}
	fmt.Fprintf(&b, "\n%s, %d canaries beside %d devices; by %s\n", rep.Ended.Sub(rep.Started).Round(time.Second), rep.Share.Canaries, rep.Share.Devices, rep.By)
	for _, p := range rep.Phases {
		fmt.Fprintf(&b, "\n%s\n", p.Name)
		for _, row := range p.Rows {
			if row.Measured < 0 && row.Goal < 0 {
				continue
			}
			m, _ := MetricOf(row.Metric)
			verdict := ""
			if row.Goal >= 0 {
				verdict = "goal " + m.Format(row.Goal)
				if !row.Met {
					verdict += "  MISSED"
				}
			}
			line := fmt.Sprintf("  %-52s %10s  %s", row.Title, m.Format(row.Measured), verdict)
			if len(row.Last) > 0 {
				var last []string
				for _, x := range row.Last {
					last = append(last, m.Format(x))
				}
				line += "  (before: " + strings.Join(last, ", ") + ")"
			}
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	b.WriteString("\nledgers\n")
	for _, c := range rep.Clients {
		fmt.Fprintf(&b, "  %-18s %d devices, %d connects: sent %d, acknowledged %d, received %d, lost %d, doubled %d at QoS 1, %d at QoS 2\n", c.Client, c.Devices, c.Connects, c.Sent, c.Acked, c.Received, c.Lost, c.DoubledQoS1, c.DoubledQoS2)
	}
	for _, s := range rep.Stranded {
		fmt.Fprintf(&b, "  stranded: %d, %s\n", s.Count, s.Reason)
	}
	for _, f := range rep.Findings {
		fmt.Fprintf(&b, "finding (%s): %s\n", f.State, f.Text)
	}
	for _, x := range rep.Left {
		fmt.Fprintf(&b, "NOT UNDONE: %s\n", x)
	}
	for _, x := range rep.NotTested {
		fmt.Fprintf(&b, "not tested: %s\n", x)
	}
	return strings.TrimRight(b.String(), "\n")
}
