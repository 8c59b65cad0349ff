package drill

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"value": func(r Row, v float64) string {
		m, _ := MetricOf(r.Metric)
		return m.Format(v)
	},
	"time":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
	"took":   func(a, b time.Time) string { return b.Sub(a).Round(time.Second).String() },
	"bars":   bars,
	"brief":  brief,
	"lines":  lines,
	"short":  func(s string) string { return s[:min(12, len(s))] },
	"per":    func(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) },
	"shown":  func(r Row) bool { return r.Measured >= 0 || r.Goal >= 0 },
	"keys":   sortedKeys[string],
	"lookup": func(m map[string]string, k string) string { return m[k] },
}).Parse(pageText))

// HTML writes the report as one page that needs nothing beside it. sum is the SHA-256 of its JSON.
func (rep *Report) HTML(w io.Writer, sum string) error {
	return page.Execute(w, struct {
		*Report
		Sum string
	}{rep, sum})
}

// brief are the metrics that the summary shows of each phase.
func brief() []Metric {
	return slices.DeleteFunc(slices.Clone(Metrics), func(m Metric) bool { return m.Brief == "" })
}

// Row is that of a metric.
func (p PhaseReport) Row(metric string) Row {
	for _, r := range p.Rows {
		if r.Metric == metric {
			return r
		}
	}
	return Row{Metric: metric, Goal: none, Measured: none, Met: true}
}

// Met says that every goal of the phase was.
func (p PhaseReport) Met() bool {
	return !slices.ContainsFunc(p.Rows, func(r Row) bool { return !r.Met })
}

// line is a step of the timeline with how long it took, or something else that happened.
type line struct {
	TimelineLine
	Took string
}

// lines has a step that began and was done at once in one line.
func lines(all []TimelineLine) (list []line) {
	for i, x := range all {
		if i+1 < len(all) && x.What == EvBegun && all[i+1].What == EvDone && strings.HasPrefix(all[i+1].Text, x.Text) {
			continue
		}
		l := line{TimelineLine: x}
		if i > 0 && x.What == EvDone && all[i-1].What == EvBegun && strings.HasPrefix(x.Text, all[i-1].Text) {
			l.At, l.Took = all[i-1].At, seconds(x.At.Sub(all[i-1].At).Seconds())
		}
		list = append(list, l)
	}
	return list
}

// bar is one step of a recovery, in percent of the longest.
type bar struct {
	Title, Value string
	At           float64
	Missed       bool
}

// bars are the steps of a recovery in time.
func bars(p PhaseReport) (list []bar) {
	longest := 0.0
	for _, r := range p.Rows {
		if r.Seconds && r.Metric != "gap" {
			longest = max(longest, r.Measured)
		}
	}
	if longest == 0 {
		return nil
	}
	for _, r := range p.Rows {
		if m, _ := MetricOf(r.Metric); r.Seconds && r.Metric != "gap" && r.Measured >= 0 {
			list = append(list, bar{Title: r.Title, Value: m.Format(r.Measured), At: 100 * r.Measured / longest, Missed: !r.Met})
		}
	}
	return list
}
