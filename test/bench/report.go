package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// figure is what was measured of one broker, a value a round.
type figure struct {
	Measure string    `json:"measure"`
	Broker  string    `json:"broker"`
	Unit    string    `json:"unit"`
	Values  []float64 `json:"values"`
}

func (f *figure) median() float64 {
	s := slices.Sorted(slices.Values(f.Values))
	return s[len(s)/2]
}

// goal is what the project wants of itself.
type goal struct {
	Goal string `json:"goal"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

type report struct {
	Figures []*figure `json:"figures"`
	Goals   []goal    `json:"goals"`
}

// add notes a value of one round.
func (r *report) add(measure, broker, unit string, v float64) {
	f := r.find(measure, broker)
	if f == nil {
		f = &figure{Measure: measure, Broker: broker, Unit: unit}
		r.Figures = append(r.Figures, f)
	}
	f.Values = append(f.Values, v)
}

// total adds up over all rounds what must not happen in any.
func (r *report) total(measure, broker string, n uint64) {
	if f := r.find(measure, broker); f != nil {
		f.Values[0] += float64(n)
	} else {
		r.add(measure, broker, "", float64(n))
	}
}

func (r *report) find(measure, broker string) *figure {
	for _, f := range r.Figures {
		if f.Measure == measure && f.Broker == broker {
			return f
		}
	}
	return nil
}

// below and above hold our median to a limit.
func (r *report) below(what, measure string, limit float64) { r.hold(ours, what, measure, limit, -1) }
func (r *report) above(what, measure string, limit float64) { r.hold(ours, what, measure, limit, 1) }

// belowOf is below for another arrangement of ours.
func (r *report) belowOf(broker, what, measure string, limit float64) {
	r.hold(broker, what, measure, limit, -1)
}

func (r *report) hold(broker, what, measure string, limit, sign float64) {
	if f := r.find(measure, broker); f != nil {
		v := f.median()
		r.Goals = append(r.Goals, goal{what, number(v) + " " + f.Unit, sign*v >= sign*limit})
	}
}

// ratio holds our median to a multiple of another broker's.
func (r *report) ratio(what, measure, broker string, limit float64) {
	a, b := r.find(measure, ours), r.find(measure, broker)
	if a != nil && b != nil {
		x := a.median() / b.median()
		r.Goals = append(r.Goals, goal{what, fmt.Sprintf("%.1f times", x), x >= limit})
	}
}

// atMost holds our median to another broker's.
func (r *report) atMost(what, measure, broker string) {
	a, b := r.find(measure, ours), r.find(measure, broker)
	if a != nil && b != nil {
		r.Goals = append(r.Goals, goal{what, fmt.Sprintf("%.2f times", a.median()/b.median()), a.median() <= b.median()})
	}
}

// number prints three digits.
func number(v float64) string {
	switch {
	case v >= 100_000:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 1000:
		return fmt.Sprintf("%.1fk", v/1000)
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// markdown prints all: a row a measure, a column a broker, the median with the
// range where there are several rounds.
func (r *report) markdown(w io.Writer) {
	var rows, columns []string
	for _, f := range r.Figures {
		if !slices.Contains(rows, f.Measure) {
			rows = append(rows, f.Measure)
		}
		if !slices.Contains(columns, f.Broker) {
			columns = append(columns, f.Broker)
		}
	}
	if len(rows) > 0 {
		fmt.Fprintf(w, "| | unit | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("--:|", len(columns)))
	}
	for _, row := range rows {
		unit := ""
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = "–"
			if f := r.find(row, c); f != nil {
				unit, cells[i] = f.Unit, f.String()
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", row, unit, strings.Join(cells, " | "))
	}
	if len(r.Goals) > 0 {
		fmt.Fprintf(w, "\n| goal | measured | met |\n|---|--:|---|\n")
	}
	for _, g := range r.Goals {
		fmt.Fprintf(w, "| %s | %s | %s |\n", g.Goal, g.Got, map[bool]string{true: "yes", false: "**no**"}[g.Met])
	}
}

// String is the median, with the range if there were several rounds.
func (f *figure) String() string {
	if len(f.Values) == 1 {
		return number(f.Values[0])
	}
	return fmt.Sprintf("%s (%s-%s)", number(f.median()), number(slices.Min(f.Values)), number(slices.Max(f.Values)))
}
