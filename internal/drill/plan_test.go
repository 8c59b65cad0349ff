package drill

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const quarterly = `
name: quarterly
about: lose eu and come back
home: eu
regions:
  eu: { context: eu }
  us: { context: us }
agent: { exec: /etc/causeway/drill, timeout: 20s }
canaries:
  pairs: 4
  addresses: { eu: ["mqtt://eu:1883"], us: ["mqtts://us:8883"] }
approvers: [ { name: alice, role: admin } ]
goals: { p95: 30s, unavailable: 100 }
guardrails: { gap: 2m, disconnected: 60% }
steps:
  - { wait: 10s, name: baseline }
  - { approve: the region is going to be killed, by: [bob] }
  - { scenario: lose-region, region: eu, within: 1m, hold: 30s, goals: { p95: 20s } }
  - { check: [/etc/causeway/checks/orders, --strict], within: 30s }
  - { scenario: cut-link, region: eu, peer: us, method: pause }
`

func compiled(t *testing.T, text string) *Drill {
	t.Helper()
	p, err := Parse("plan.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Compile(p)
}

func TestParse(t *testing.T) {
	d := compiled(t, quarterly)
	p := d.Plan
	if p.Guardrails.Disconnected != 0.6 || p.Guardrails.Lost != none || p.Agent.Timeout != 20*time.Second || len(p.Steps) != 5 || p.Canaries.Redial == 0 {
		t.Errorf("%+v", p)
	}
	var names []string
	for _, ph := range d.Phases {
		names = append(names, ph.Name)
	}
	if got := strings.Join(names, "; "); got != "lose-region eu; failback after lose-region eu; cut-link eu us" {
		t.Errorf("phases %s", got)
	}
	if g := d.Phases[0].Goals; g["p95"] != 20 || g["unavailable"] != 100 || g["lost"] != 0 {
		t.Errorf("goals %v", g)
	}
	if _, some := d.Phases[0].Goals["detect"]; some {
		t.Error("a goal that nobody set")
	}
	if g := d.Phases[1].Goals; g["unavailable"] != 100 || g["doubled_qos2"] != 0 {
		t.Errorf("goals of the failback %v", g)
	}
	if slices.ContainsFunc(d.NotTested, func(s string) bool { return strings.HasPrefix(s, "lose-region") }) || len(d.NotTested) < 5 {
		t.Errorf("not tested: %q", d.NotTested)
	}
}

// All that is wrong with a file is said at once, each with its line and column.
func TestParse_Wrong(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"name: quarterly", "name: a b", `plan.yaml:2:7: name: has other characters`},
		{"home: eu", "home: mars", `plan.yaml:4:7: home: is "mars", which is none of the regions`},
		{"{ context: us }", "{}", `plan.yaml:7:7: regions.us: says not where its admin API is`},
		{"timeout: 20s", "timeout: 20", `plan.yaml:8:46: agent.timeout: is "20" and no duration`},
		{"pairs: 4", "pears: 4", `plan.yaml:10:3: canaries.pears: is not known here; known are across, addresses`},
		{"mqtt://eu:1883", "eu:1883", `plan.yaml:11:20: canaries.addresses.eu: the address "eu:1883" is none`},
		{"p95: 30s", "p95: 30", `plan.yaml:13:15: goals.p95: is "30" and no duration`},
		{"p95: 30s", "p96: 30s", `goals.p96: is not known here; known are away`},
		{"60%", "160%", `plan.yaml:14:38: guardrails.disconnected: is "160%"`},
		{"{ scenario: cut-link", "{ approve: again, by: [bob] }\n  - { scenario: cut-link", `steps[4].name: is missing or there twice: an approval of "approval"`},
		{"wait: 10s, name: baseline", "name: baseline", `plan.yaml:16:5: steps[0]: is to be one of scenario, wait, check and approve`},
		{"lose-region", "loose-region", `steps[2].scenario: is "loose-region"; use certificate-expiry or cut-link`},
		{"region: eu, within", "region: ap, within", `steps[2].region: is "ap", which is none of the regions`},
		{"peer: us, ", "", `steps[4].peer: is missing; cut-link needs it`},
		{", method: pause", ", method: pause, method: agent", `steps[4].method: is there twice`},
		{"agent: { exec: /etc/causeway/drill, timeout: 20s }", "", `steps[2].scenario: lose-region needs agent.exec`},
		{"home: eu\n", "home: eu\nscope: { cohort: car- }\n", `lose-region does not go with the scope cohort`},
	} {
		if !strings.Contains(quarterly, c.from) {
			t.Fatalf("the plan has no %q", c.from)
		}
		_, err := Parse("plan.yaml", []byte(strings.Replace(quarterly, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("with %q: got %v, want %q", c.to, err, c.want)
		}
	}
	_, err := Parse("plan.yaml", []byte(strings.NewReplacer("pairs: 4", "pears: 4", "60%", "x").Replace(quarterly)))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("not both are said: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(quarterly))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := Parse("p", text); err == nil {
			Compile(p)
		}
	})
}
