package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"causeway/internal/drill"
	"causeway/internal/trial"
)

// A drill of two regions as an operator types it: a switchover and back, and a link that is paused, measured by canaries
// that know public addresses only. It meets its goals, and its report is proven; the same with a goal that nobody meets
// exits with 4. What needs an agent, and the rest, is held by make drill.
func TestDrill_IsHeldMeasuredAndProven(t *testing.T) {
	tr := start(t, trial.Options{Takeover: &trial.Takeover{StandbyOf: map[string][]string{"eu": {"us"}, "us": {"eu"}}, Section: "mode: manual"}})
	eu, us := tr.Node("eu"), tr.Node("us")
	await(t, "us to follow the home eu", func() bool {
		h, err := tr.Home(t.Context(), "eu", "eu")
		return err == nil && h.Follows("us", 10) && h.Serves()
	})
	dir := t.TempDir()
	hold := func(id, goals, steps string, code int) *drill.Report {
		t.Helper()
		plan := fmt.Sprintf(`name: %s
home: eu
regions: { eu: { socket: %q }, us: { socket: %q } }
canaries:
  pairs: 4
  clients: ["3.1.1", "5", mosquitto]
  across: 1
  rate: 20/s
  patience: 20s
  order: [eu, us]
  addresses: { eu: ["mqtt://%s"], us: ["mqtt://%s"] }
guardrails: { gap: 2m, readiness: false }
%s
steps:
  - { wait: 1s, name: baseline }
%s`, id, eu.Socket(), us.Socket(), eu.MQTT, us.MQTT, goals, steps)
		file := filepath.Join(dir, id+".yaml")
		if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, got := causeway(t, "", "", "ctl", "drill", "run", file, "--yes", "--by", "e2e", "--id", id, "--dir", dir); got != code {
			t.Fatalf("exit code %d, not %d:\n%s", got, code, out)
		}
		if out, got := causeway(t, "", "", "ctl", "--socket", us.Socket(), "drill", "verify", filepath.Join(dir, id)); got != 0 {
			t.Errorf("verify: exit code %d: %s", got, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, id, drill.ReportJSON))
		rep := &drill.Report{}
		if err == nil {
			err = json.Unmarshal(b, rep)
		}
		if err != nil {
			t.Fatal(err)
		}
		return rep
	}
	const moved = "  - { scenario: switchover, to: us }\n  - { scenario: failback }\n"
	rep := hold("short", "", moved+"  - { scenario: cut-link, region: eu, peer: us, method: pause, hold: 1s }\n", 0)
	if rep.Outcome != drill.OutcomeDone || len(rep.Phases) != 3 {
		t.Errorf("%s with %d phases", rep.Outcome, len(rep.Phases))
	}
	i := slices.IndexFunc(rep.Clients, func(c drill.Sums) bool { return c.Client == "mosquitto" })
	if i < 0 || rep.Clients[i].Acked == 0 || rep.Clients[i].Received < rep.Clients[i].Acked {
		t.Errorf("mosquitto published, and got, nothing: %+v", rep.Clients)
	}
	for _, m := range []string{"lost", "doubled_qos2", "reordered"} {
		if n := missed(rep, m); n > 0 {
			t.Errorf("%s: in %d phases", m, n)
		}
	}
	rep = hold("missed", "goals: { first_device: 1ms }", moved, 4)
	if n := missed(rep, "first_device"); rep.Outcome != drill.OutcomeMissed || n != 2 {
		t.Errorf("%s, with the goal missed in %d phases of two", rep.Outcome, n)
	}
	await(t, "the home to be back", func() bool {
		h, err := tr.Home(t.Context(), "eu", "eu")
		return err == nil && h.Serves()
	})
}

// missed is in how many phases a metric did not meet its goal.
func missed(r *drill.Report, metric string) (n int) {
	for _, ph := range r.Phases {
		for _, row := range ph.Rows {
			if row.Metric == metric && !row.Met {
				n++
			}
		}
	}
	return n
}
