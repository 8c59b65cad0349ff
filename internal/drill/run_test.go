package drill

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is what a drill does things to: what was broken and is not mended yet.
type world struct {
	broken map[string]bool
	log    []string
}

var mends = map[string]string{DoStartRegion: DoKillRegion, DoHealRegion: DoIsolate, DoStartNode: DoKillNode, DoHealLink: DoCutLink, DoResumeLink: DoPauseLink, DoReturn: DoEvacuate, DoRenew: DoExpire}

func (w *world) do(a Action) {
	w.log = append(w.log, a.Do)
	place := " " + a.Region + " " + a.Node + " " + a.Peer
	switch {
	case mends[a.Do] != "":
		delete(w.broken, mends[a.Do]+place)
	case a.Do == DoBringHome:
		delete(w.broken, "home")
	case a.Do == DoSwitchover && a.To == a.Home:
		delete(w.broken, "home")
	case a.Do == DoSwitchover:
		w.broken["home"] = true
	case a.Do == DoReconcile, a.Do == DoFailover, a.Do == DoKickCohort:
	default:
		w.broken[a.Do+place] = true
		if (a.Do == DoKillRegion || a.Do == DoIsolate) && a.Region == "eu" {
			w.broken["home"] = true
		}
	}
}

// drive runs a drill in a world until it ends, with at most one thing that ends it early: at event
// number breakAt. With crash what was begun may have been done or not, and another process goes on.
func drive(t *testing.T, d *Drill, breakAt int, how string, rng *rand.Rand) (*Run, *world, []Event) {
	t.Helper()
	w := &world{broken: map[string]bool{}}
	var events []Event
	r := NewRun(d)
	note := func(what string, step int, name string) bool {
		e := Event{N: len(events), At: noon.Add(time.Duration(len(events)) * time.Second), What: what, Step: step, Name: name, Text: what}
		events = append(events, e)
		if err := r.Apply(e); err != nil {
			t.Fatal(err)
		}
		return len(events)-1 == breakAt
	}
	again := func() {
		r = NewRun(d)
		for _, e := range events {
			if err := r.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	note(EvStarted, -1, "")
	for range 1000 {
		c := r.Next()
		stop := false
		switch {
		case c.End:
			note(EvEnded, -1, r.Conclude(false))
			return r, w, events
		case c.Undo != nil:
			stop = note(EvUndoBegun, -1, "")
			if how == "crash" && stop {
				if rng.IntN(2) == 0 {
					w.do(c.Undo.Action)
				}
				again()
				continue
			}
			w.do(c.Undo.Action)
			stop = note(EvUndoDone, -1, "")
		default:
			s := c.Step
			if !r.Begun {
				stop = note(EvBegun, s.N, "")
			}
			if how == "crash" && stop {
				if s.Kind == KindAct && rng.IntN(2) == 0 {
					w.do(s.Act)
				}
				again()
				continue
			}
			if how == "fails" && stop {
				note(EvFailed, s.N, "")
				continue
			}
			if s.Kind == KindAct {
				w.do(s.Act)
			}
			stop = note(EvDone, s.N, "")
		}
		switch {
		case !stop:
		case how == "crash":
			again()
		case how == "tripped" && r.State == Running:
			note(EvTripped, -1, "")
		}
	}
	t.Fatal("it does not end")
	return nil, nil, nil
}

// Wherever a drill is ended early, and wherever it crashes, nothing stays broken and it comes to an end.
func TestRun_AlwaysCleansUp(t *testing.T) {
	d := compiled(t, quarterly+`
  - { scenario: isolate-region, region: eu }
  - { scenario: lose-region, region: us }
  - { scenario: switchover, to: us, hold: 1s }
  - { scenario: kill-node, region: us, node: us-1 }
  - { scenario: failback }
  - { scenario: certificate-expiry, region: eu, node: eu-1 }
  - { scenario: evacuate-node, region: eu, node: eu-1 }
`)
	whole, w, events := drive(t, d, -1, "", nil)
	if whole.Outcome != OutcomeDone || len(w.broken) > 0 || len(whole.Open) > 0 {
		t.Fatalf("undisturbed: %s, broken %v, open %v", whole.Outcome, w.broken, whole.Open)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for at := range events {
		for how, want := range map[string][]string{"tripped": {OutcomeAborted, OutcomeDone}, "fails": {OutcomeFailed, OutcomeDone}, "crash": {OutcomeDone}} {
			r, w, _ := drive(t, d, at, how, rng)
			if !slices.Contains(want, r.Outcome) || len(w.broken) > 0 {
				t.Errorf("%s at event %d (%s): %s, left broken: %v, did %v", how, at, events[at].What, r.Outcome, w.broken, w.log)
			}
		}
	}
}

// What cannot be undone is tried three times and then left to the operator, and the rest is undone all the same.
func TestRun_UndoFails(t *testing.T) {
	r := NewRun(compiled(t, quarterly))
	n := 0
	note := func(what string, step int) {
		t.Helper()
		if err := r.Apply(Event{N: n, At: noon.Add(time.Duration(n) * time.Second), What: what, Step: step, Text: what}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	note(EvStarted, -1)
	for r.Next().Step.Act.Do != DoKillRegion {
		s := r.Next().Step
		note(EvBegun, s.N)
		note(EvDone, s.N)
	}
	note(EvBegun, r.Next().Step.N)
	note(EvInterrupted, -1)
	for range undoTries {
		if do := r.Next().Undo.Action.Do; do != DoStartRegion {
			t.Fatalf("undoes %s", do)
		}
		note(EvUndoFailed, -1)
	}
	if do := r.Next().Undo.Action.Do; do != DoBringHome {
		t.Fatalf("then undoes %s", do)
	}
	note(EvUndoDone, -1)
	if !r.Next().End || r.Conclude(false) != OutcomePartly || ExitCode(OutcomePartly) != 6 || !r.Phases[0].Cut {
		t.Errorf("%+v", r)
	}
	if r.Why != EvInterrupted {
		t.Errorf("why: %q", r.Why)
	}
}

func TestRun_RefusesAnotherDrillsJournal(t *testing.T) {
	r := NewRun(compiled(t, quarterly))
	for _, e := range []Event{{What: EvDone, Step: 3}, {What: EvUndoDone}, {What: EvBegun, Step: 99}} {
		if r.Apply(e) == nil {
			t.Errorf("%s of step %d was taken", e.What, e.Step)
		}
	}
}

func TestGuard(t *testing.T) {
	g := NewGuard(Guardrails{Lost: 2, Gap: 10 * time.Second, Away: 0.5, AwayFor: 5 * time.Second, Disconnected: 0.1})
	ok := Sample{At: noon, Live: Live{Devices: 10, Connected: 10}, Devices: 100, Baseline: 100}
	for _, c := range []struct {
		change func(*Sample)
		want   string
	}{
		{func(*Sample) {}, ""},
		{func(s *Sample) { s.Live.Missing = 2 }, ""},
		{func(s *Sample) { s.Live.Missing = 3 }, "guardrails.lost: 3 "},
		{func(s *Sample) { s.Live.Silence = 10.5 }, "guardrails.gap: a canary heard nothing for 10.50 s"},
		{func(s *Sample) { s.Devices = 89 }, "guardrails.disconnected: 11.0% of the fleet is gone (11 of 100 devices)"},
		{func(s *Sample) { s.Devices = -1 }, ""},
		{func(s *Sample) { s.Live.Connected = 4 }, ""}, // not for long yet
		{func(s *Sample) { s.Live.Connected, s.At = 4, noon.Add(4*time.Second) }, ""},
		{func(s *Sample) { s.Live.Connected, s.At = 4, noon.Add(6*time.Second) }, "guardrails.away: 60%"},
	} {
		s := ok
		c.change(&s)
		if got := g.Tripped(s); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	g.Tripped(ok)
	s := ok
	s.Live.Connected, s.At = 4, noon.Add(time.Minute)
	if got := g.Tripped(s); got != "" {
		t.Errorf("counted from before they were back: %s", got)
	}
}

// A journal goes on behind its last whole line, and says what was changed.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := CreateJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{EvStarted, EvBegun, EvDone} {
		if _, err := j.Add(Event{What: what, Text: "of " + what}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, JournalFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(bytes.Clone(good), `{"n":3,"what":"do`...), 0o600); err != nil {
		t.Fatal(err)
	}
	j, events, err := OpenJournal(dir)
	if err != nil || len(events) != 3 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if e, err := j.Add(Event{What: EvEnded}); err != nil || e.N != 3 || e.Prev != events[2].Hash {
		t.Errorf("%+v, %v", e, err)
	}
	_ = j.Close()
	if _, err := CreateJournal(dir); err == nil {
		t.Error("a second journal was begun")
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for what, bad := range map[string][]byte{
		"a word":       bytes.Replace(good, []byte("of begun"), []byte("of later"), 1),
		"a line gone":  bytes.Join([][]byte{lines[0], lines[2]}, nil),
		"lines turned": bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
		"no JSON":      append(bytes.Clone(good), "x\n"...),
	} {
		if _, _, err := ReadJournal(bytes.NewReader(bad)); !errors.Is(err, ErrAltered) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
