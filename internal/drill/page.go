package drill

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
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
