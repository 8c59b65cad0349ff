package admin

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"
)

var rewriteMetrics = flag.Bool("rewrite-metrics", false, "write the list of docs/metrics.md anew")

// metric is what a description says. Prometheus's library has no other way to ask it.
type metric struct {
	name, help string
	labels     []string
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*)", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// served are the metrics of a node, but for those of the Go runtime and the process.
func served(t *testing.T) map[string]metric {
	t.Helper()
	m := NewMetrics(Build{})
	descs := make(chan *prometheus.Desc, 1000)
	(&scraper{}).Describe(descs)
	m.registry.Describe(descs)
	close(descs)
	all := map[string]metric{}
	for d := range descs {
		x := described.FindStringSubmatch(d.String())
		if x == nil {
			t.Fatalf("not understood: %s", d)
		}
		if !strings.HasPrefix(x[1], "causeway_") {
			continue
		}
		one := metric{name: x[1], help: strings.ReplaceAll(x[2], `\"`, `"`)}
		for _, l := range strings.FieldsFunc(x[4], func(r rune) bool { return r == ',' || r == ' ' }) {
			one.labels = append(one.labels, strings.Trim(l, `"`))
		}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(x[3], -1) {
			one.labels = append(one.labels, l[1])
		}
		all[one.name] = one
	}
	return all
}

// Each metric that is served is in the documentation, and none that is not.
func TestMetrics_Documented(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "metrics.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := served(t)
	names := slices.SortedFunc(func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	}, cmp.Compare[string])
	var list strings.Builder
	list.WriteString("| metric | labels | |\n|---|---|---|\n")
	for _, name := range names {
		labels := ""
		if l := all[name].labels; len(l) > 0 {
			labels = "`" + strings.Join(l, "`, `") + "`"
		}
		fmt.Fprintf(&list, "| `%s` | %s | %s |\n", name, labels, strings.ReplaceAll(all[name].help, "|", `\|`))
	}
	const mark = "-rewrite-metrics -->\n"
	prose, have, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("%s has no list", path)
	}
	if *rewriteMetrics {
		if err := os.WriteFile(path, []byte(prose+mark+"\n"+list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(have) != strings.TrimSpace(list.String()) {
		t.Errorf("the list of %s is not what is served: go test ./internal/admin -run Metrics_Documented -rewrite-metrics", path)
	}
	asksFor(t, path, prose, all)
}

var (
	asked    = regexp.MustCompile(`causeway_[a-z_0-9]+(\{[^}]*\})?`)
	selected = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=|,|$)`)
)

// asksFor fails where a text names a metric, or a label of one, that is not served.
func asksFor(t *testing.T, where, text string, all map[string]metric) {
	t.Helper()
	for _, found := range asked.FindAllString(text, -1) {
		name, selector, _ := strings.Cut(strings.TrimSuffix(found, "}"), "{")
		m, ok := all[name]
		if base, bucket := strings.CutSuffix(name, "_bucket"); !ok && bucket {
			m, ok = all[base]
		}
		if !ok {
			t.Errorf("%s: %s is not served", where, name)
			continue
		}
		for _, l := range selected.FindAllStringSubmatch(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(selector, ""), -1) {
			if !slices.Contains(m.labels, l[1]) {
				t.Errorf("%s: %s has no label %s, but %v", where, name, l[1], m.labels)
			}
		}
	}
}

// The rules ask for what is served; each alert says what to do, and each name is recorded once.
func TestRules_AskForWhatIsServed(t *testing.T) {
	all := served(t)
	for _, file := range []string{"causeway.rules.yml", "emqx.rules.yml"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "prometheus", file))
		if err != nil {
			t.Fatal(err)
		}
		var rules struct {
			Groups []struct {
				Name  string
				Rules []struct {
					Alert, Record, Expr, For string
					Labels, Annotations      map[string]string
				}
			}
		}
		if err := yaml.Unmarshal(b, &rules); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		names := map[string]bool{}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				name := r.Alert + r.Record
				if names[name] || name == "" || r.Expr == "" {
					t.Errorf("%s: %+v", file, r)
				}
				names[name] = true
				asksFor(t, file+": "+name, r.Expr, all)
				if r.Alert != "" && (r.Labels["severity"] == "" || r.Annotations["summary"] == "") {
					t.Errorf("%s: %s has no severity, or says nothing", file, r.Alert)
				}
			}
		}
		if len(names) < 10 {
			t.Errorf("%s has %d rules", file, len(names))
		}
	}
}
