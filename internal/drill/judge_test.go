package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// script writes a ledger: "0.5 pub s 3" is that the publisher sent message 3 half a second after noon.
func script(t *testing.T, qos byte, text string) *Judge {
	t.Helper()
	j := NewJudge()
	j.Begin()
	names := map[string]int{"pub": 0, "sub": 1, "wills": 2}
	j.Add(Entry{Canary: &Canary{Device: 0, Role: "pub", QoS: qos, Stream: 7, Client: "causeway 5"}})
	j.Add(Entry{Canary: &Canary{Device: 1, Role: "sub", QoS: qos, Stream: 7, Client: "causeway 5"}})
	j.Add(Entry{Canary: &Canary{Device: 2, Role: "wills", QoS: 1, Client: "causeway 5"}})
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var at float64
		var who, saw string
		var n uint64
		if _, err := fmt.Sscan(line, &at, &who, &saw, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		e := Entry{At: noon.Add(time.Duration(at * float64(time.Second))).UnixNano(), Saw: saw, Device: names[who], Stream: 7, N: n}
		if saw == SawConnect {
			e.Present, e.N = n == 1, 0
		}
		j.Add(e)
	}
	return j
}

func span(from, to float64) Span {
	return Span{Begin: noon.Add(time.Duration(from * float64(time.Second))), End: noon.Add(time.Duration(to * float64(time.Second))), Moves: true}
}

const lossOfARegion = `
0.0 pub c 1
0.0 sub c 1
0.1 pub s 0
0.2 pub a 0
0.3 sub r 0
0.4 pub s 1
0.5 pub a 1
1.0 pub x 0
1.0 sub x 0
3.0 pub c 1
3.5 sub c 1
4.0 pub s 2
4.2 pub a 2
4.5 sub r 2
5.0 sub r 1
6.0 pub s 3
6.1 pub a 3
6.2 sub r 3
`

// Message 1 was acknowledged before the loss and comes after one that was sent later: it was unavailable, and is
// neither lost nor a breach of order. Times count from the loss.
func TestJudge_UnavailableUntilReconcile(t *testing.T) {
	v := script(t, 2, lossOfARegion).Verdict([]Span{span(1, 10)})
	want := map[string]float64{"first_device": 3.2, "p50": 3.2, "p95": 3.5, "p999": 3.5, "away": 0, "unavailable": 1, "lost": 0, "doubled_qos1": 0, "doubled_qos2": 0, "reordered": 0, "forgotten": 0, "false_wills": 0, "detect": none}
	for k, x := range want {
		if got := v.Phases[0][k]; math.Abs(got-x) > 1e-6 {
			t.Errorf("%s is %g, want %g", k, got, x)
		}
	}
	if len(v.Stranded) != 0 || len(v.Clients) != 1 || v.Clients[0].Sent != 4 || v.Clients[0].Lost != 0 {
		t.Errorf("%+v", v)
	}
}

// A region is cut off at 1 and has its lease until 3: message 1, which it acknowledged, comes with the reconciliation.
// Message 2 it did not acknowledge; the next host did, and that it comes after 3 is a breach of order.
func TestJudge_WhatAnIsolatedHostAcknowledged(t *testing.T) {
	const text = `
0.0 pub c 1
0.0 sub c 1
0.1 pub s 0
0.2 pub a 0
0.3 sub r 0
1.5 pub s 1
1.6 pub a 1
3.5 pub s 2
5.0 pub x 0
6.0 pub c 1
6.1 pub a 2
6.2 pub s 3
6.3 pub a 3
6.4 sub r 3
8.0 sub r 2
8.1 sub r 1
`
	for planned, unavailable := range map[bool]float64{false: 1, true: 0} {
		p := span(1, 10)
		p.Planned = planned
		m := script(t, 1, text).Verdict([]Span{p}).Phases[0]
		if reordered := 2 - unavailable; m["unavailable"] != unavailable || m["reordered"] != reordered || m["lost"] != 0 {
			t.Errorf("planned %v: %g unavailable, %g reordered, %g lost, want %g, %g, 0", planned, m["unavailable"], m["reordered"], m["lost"], unavailable, reordered)
		}
	}
}

func TestJudge_WhatGoesWrong(t *testing.T) {
	for _, c := range []struct {
		name, from, to, metric string
		want                   float64
		stranded               string
	}{
		{"lost", "5.0 sub r 1\n", "", "lost", 1, "not explained"},
		{"still unavailable", "5.0 sub r 1\n", "", "unavailable", 1, ""},
		{"session forgotten", "3.5 sub c 1\n", "3.5 sub c 0\n", "forgotten", 1, ""},
		{"doubled", "6.2 sub r 3\n", "6.2 sub r 3\n6.3 sub r 3\n6.4 sub r 3\n", "doubled_qos2", 2, ""},
		{"reordered", "4.5 sub r 2\n", "6.3 sub r 2\n", "reordered", 1, ""},
		{"never back", "4.5 sub r 2\n5.0 sub r 1\n6.0 pub s 3\n6.1 pub a 3\n6.2 sub r 3\n", "", "away", 1, "the subscriber did not come back"},
		{"false will", "6.2 sub r 3\n", "6.2 sub r 3\n7.0 wills w 0\n", "false_wills", 1, ""},
		{"a will of a later connection", "6.2 sub r 3\n", "6.2 sub r 3\n7.0 wills w 1\n", "false_wills", 0, ""},
		{"silence", "6.0 pub s 3\n6.1 pub a 3\n6.2 sub r 3\n", "", "gap", 5.8, ""},
	} {
		if !strings.Contains(lossOfARegion, c.from) {
			t.Fatalf("%s: the ledger has no %q", c.name, c.from)
		}
		text := strings.Replace(lossOfARegion, c.from, c.to, 1)
		if c.name == "never back" {
			text = strings.Replace(text, "3.5 sub c 1\n", "", 1)
		}
		v := script(t, 2, text).Verdict([]Span{span(1, 10)})
		if got := v.Phases[0][c.metric]; math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %s is %g, want %g", c.name, c.metric, got, c.want)
		}
		if c.stranded != "" && (len(v.Stranded) != 1 || v.Stranded[0].Reason != c.stranded) {
			t.Errorf("%s: stranded %+v", c.name, v.Stranded)
		}
	}
}

// What happens in one phase is not held against another.
func TestJudge_Phases(t *testing.T) {
	v := script(t, 1, lossOfARegion+"12.0 pub s 4\n12.1 pub a 4\n12.2 sub r 4\n12.3 sub r 4\n").Verdict([]Span{span(1, 10), span(11, 20)})
	if v.Phases[0]["unavailable"] != 1 || v.Phases[1]["unavailable"] != 0 || v.Phases[0]["doubled_qos1"] != 0 || v.Phases[1]["doubled_qos1"] != 1 || v.Phases[1]["p95"] != none || v.Phases[1]["away"] != 0 {
		t.Errorf("%v", v.Phases)
	}
}

// sealed is a whole drill on disk.
func sealed(t *testing.T) (dir string, rep *Report) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(PlanFile, []byte(quarterly))
	d := compiled(t, quarterly)
	_, _, events := drive(t, d, -1, "", nil)
	j, err := CreateJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if _, err := j.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	_ = j.Close()
	var ledger bytes.Buffer
	enc := json.NewEncoder(&ledger)
	for _, e := range []Entry{{Canary: &Canary{Role: "pub", QoS: 1, Stream: 1}}, {At: 1, Saw: SawSent, Stream: 1}, {At: 2, Saw: SawAck, Stream: 1}} {
		_ = enc.Encode(e)
	}
	write(LedgerPrefix+"0.jsonl", ledger.Bytes())
	r, events, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	spans, _ := r.Spans()
	v, err := JudgeDir(dir, spans)
	if err != nil {
		t.Fatal(err)
	}
	before := Summary{ID: "0", Name: "quarterly", Outcome: "done", Started: noon.AddDate(0, -3, 0), Phases: map[string]map[string]float64{"lose-region eu": {"p95": 12}},
		Findings: map[string]string{"goal lose-region eu lost": "it was so", "old": "it is gone"}}
	rep = NewReport(r, events, Facts{ID: "q-1", By: "alice", Tool: "v1", Verdict: v, History: []Summary{before, {ID: "x", Name: "another", Outcome: "done"}}})
	if _, err := Seal(dir, rep); err != nil {
		t.Fatal(err)
	}
	return dir, rep
}

func TestReport_GoalsAndFindings(t *testing.T) {
	_, rep := sealed(t)
	// The message that never came was sent before the first phase, so it is held against that one.
	if rep.Phases[0].Name != "lose-region eu" || rep.Outcome != OutcomeDone {
		t.Fatalf("%s %s", rep.Phases[0].Name, rep.Outcome)
	}
	states := map[string]string{}
	for _, f := range rep.Findings {
		states[f.Key] = f.State
	}
	if states["goal lose-region eu lost"] != "again" || states["old"] != "gone" || states["stranded nobody subscribed"] != "new" {
		t.Errorf("findings %v", states)
	}
	for _, row := range rep.Phases[0].Rows {
		if row.Metric == "p95" && (len(row.Last) != 1 || row.Last[0] != 12 || row.Goal != 20) {
			t.Errorf("%+v", row)
		}
	}
	var html bytes.Buffer
	if err := rep.HTML(&html, "sum"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<title>Drill q-1: done</title>", "lose-region eu", "What was not tested", "<h2>Summary</h2>", "first device"} {
		if !strings.Contains(html.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(html.String(), "http://") || strings.Contains(html.String(), "https://") {
		t.Error("the page needs something from elsewhere")
	}
}

// Whatever is changed in a drill's files is seen: also a report whose manifest was made anew to fit.
func TestVerify(t *testing.T) {
	dir, rep := sealed(t)
	v, err := Verify(dir)
	if err != nil || !v.Intact || v.ID != "q-1" {
		t.Fatalf("%v %q, %v", v.Intact, v.Reasons, err)
	}
	change := func(name, from, to string) func(string) {
		return func(dir string) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Contains(b, []byte(from)) {
				t.Fatalf("%s has no %q: %v", name, from, err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), bytes.Replace(b, []byte(from), []byte(to), 1), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, spoil := range map[string]func(string){
		"the report":    change(ReportJSON, `"alice"`, `"alive"`),
		"the page":      change(ReportHTML, "Drill", "Thrill"),
		"the plan":      change(PlanFile, "quarterly", "daily"),
		"the ledger":    change(LedgerPrefix+"0.jsonl", `"t":2`, `"t":3`),
		"the journal":   change(JournalFile, "begun", "began"),
		"the manifest":  change(ManifestFile, `"link": "`, `"link": "0`),
		"a file more":   func(dir string) { _ = os.WriteFile(filepath.Join(dir, "more"), nil, 0o600) },
		"a ledger gone": func(dir string) { _ = os.Remove(filepath.Join(dir, LedgerPrefix+"0.jsonl")) },
		"all made anew": func(dir string) {
			better := *rep
			better.Phases = append([]PhaseReport{}, rep.Phases...)
			better.Phases[0].Rows = append([]Row{}, rep.Phases[0].Rows...)
			for i, row := range better.Phases[0].Rows {
				if row.Metric == "lost" {
					better.Phases[0].Rows[i].Measured = 0
				}
			}
			if _, err := Seal(dir, &better); err != nil {
				t.Fatal(err)
			}
		},
	} {
		at := t.TempDir()
		if err := os.CopyFS(at, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		spoil(at)
		if v, err := Verify(at); err != nil || v.Intact {
			t.Errorf("%s was changed and that is not seen: %+v, %v", what, v, err)
		}
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add([]byte(`{"canary":{"role":"pub","stream":1}}` + "\n" + `{"t":1,"k":"s","s":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := NewJudge()
		j.Begin()
		if ReadLedger(bytes.NewReader(b), j.Add) == nil {
			j.Verdict([]Span{span(0, 1), span(2, 3)})
		}
	})
}

// The conductor dies, and with it the canaries; those of a drill that is resumed are others. What was on its way to the
// first ones nobody saw come: it is no loss, and the report says how much it is. A loss among the later ones is one.
func TestJudge_CanariesThatDiedWithTheConductor(t *testing.T) {
	j := script(t, 1, "0.1 pub s 0\n0.2 pub a 0\n0.3 sub r 0\n0.4 pub s 1\n0.5 pub a 1\n0.6 pub x 0\n0.6 sub x 0\n")
	j.Begin()
	const later = 7 + RoundStep
	j.Add(Entry{Canary: &Canary{Device: 0, Role: "pub", QoS: 1, Stream: later, Client: "causeway 5"}})
	j.Add(Entry{Canary: &Canary{Device: 1, Role: "sub", QoS: 1, Stream: later, Client: "causeway 5"}})
	for _, saw := range []string{SawSent, SawAck} {
		j.Add(Entry{At: noon.Add(time.Second).UnixNano(), Saw: saw, Stream: later, N: 0})
	}
	v := j.Verdict([]Span{span(0.35, 2)})
	if v.Phases[0]["away"] != 0 {
		t.Errorf("%v away", v.Phases[0]["away"])
	}
	if v.Phases[0]["lost"] != 1 || len(v.Stranded) != 2 || v.Clients[0].Lost != 1 {
		t.Errorf("%v lost, %d in all, stranded %v", v.Phases[0]["lost"], v.Clients[0].Lost, v.Stranded)
	}
	for _, s := range v.Stranded {
		if s.Count != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// A client of another make sends what waited while it had no connection after what came since, as Paho and mosquitto do: that
// is no breach of the broker's. What it was acknowledged before the disaster is held against the broker as ever.
func TestJudge_ThePublisherIsOfAnotherMake(t *testing.T) {
	const text = "0.1 pub s 0\n0.2 pub a 0\n0.8 pub s 1\n1.1 pub s 2\n3.0 pub a 2\n3.1 sub r 2\n3.2 pub a 1\n3.3 sub r 1\n3.4 sub r 0\n4.0 pub s 3\n4.1 pub a 3\n4.2 sub r 3\n"
	j := script(t, 1, text)
	j.canaries[0].Blind = true
	m := j.Verdict([]Span{span(1, 10)}).Phases[0]
	for metric, want := range map[string]float64{"reordered": 0, "unavailable": 1, "lost": 0, "away": 0} {
		if m[metric] != want {
			t.Errorf("%s: %g, not %g", metric, m[metric], want)
		}
	}
}
