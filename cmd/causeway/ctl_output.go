package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"causeway/internal/admin"

	"gopkg.in/yaml.v3"
)

// encode prints JSON, or the same as YAML.
func (c *ctl) encode(w io.Writer, b json.RawMessage) error {
	if c.output.value == "yaml" {
		var n yaml.Node
		if err := yaml.Unmarshal(b, &n); err != nil { // JSON is YAML
			return fmt.Errorf("write YAML: %w", err)
		}
		blockStyle(&n)
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err := e.Encode(&n); err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		return e.Close()
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := fmt.Fprintln(w, strings.TrimSpace(out.String()))
	return err
}

// blockStyle undoes the braces and quotes that came with the JSON.
func blockStyle(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// maxCell is where cells are cut unless --wide is given, in characters. The last column, where the
// reasons are, is never cut.
const maxCell = 48

// table prints rows under headers, columns aligned, two spaces between. A header that begins with
// "-" is a column of numbers and stands at the right.
type table struct {
	headers []string
	rows    [][]string
	cut     bool
}

func (c *ctl) table(headers ...string) *table { return &table{headers: headers, cut: !c.wide} }

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = clean(fmt.Sprint(cell))
		if n := utf8.RuneCountInString(row[i]); t.cut && n > maxCell && i < len(cells)-1 {
			row[i] = string([]rune(row[i])[:maxCell-1]) + "…"
		}
	}
	t.rows = append(t.rows, row)
}

// print writes the table, or the sentence when it has no rows.
func (t *table) print(w io.Writer, empty string) {
	if len(t.rows) == 0 {
		fmt.Fprintln(w, empty)
		return
	}
	right := make([]bool, len(t.headers))
	head := make([]string, len(t.headers))
	for i, h := range t.headers {
		head[i], right[i] = strings.CutPrefix(h, "-")
	}
	all := append([][]string{head}, t.rows...)
	width := make([]int, len(head))
	for _, row := range all {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			line.WriteString(cell + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// facts prints names and values below each other; a fact without a value is left out.
func facts(w io.Writer, pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		width = max(width, len(pairs[i]))
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%-*s  %s\n", width, pairs[i], clean(pairs[i+1]))
		}
	}
}

// clean makes what came from devices safe for a terminal: a client id or topic may hold escape
// sequences.
func clean(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// ago writes the time from t to now.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return admin.FormatDuration(max(now.Sub(t), 0))
}

// orDash writes a cell that may have nothing to say.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// until writes the time from now to t, or "-".
func until(now time.Time, t *time.Time) string {
	if t == nil {
		return "-"
	}
	return admin.FormatDuration(max(t.Sub(now), 0))
}
