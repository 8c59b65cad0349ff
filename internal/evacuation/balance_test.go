package evacuation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func loads(n ...int) (all []Load) {
	for i, c := range n {
		all = append(all, Load{string(rune('a' + i)), c})
	}
	return all
}

func TestBalance(t *testing.T) {
	tests := []struct {
		name   string
		nodes  []Load
		donors []Donor
		takers []string
		reason string
	}{
		{"one came back empty", loads(30_000, 30_000, 0), []Donor{{"a", 30_000, 20_000}, {"b", 30_000, 20_000}}, []string{"c"}, ""},
		{"one has all", loads(0, 9_000, 0), []Donor{{"b", 9_000, 3_000}}, []string{"a", "c"}, ""},
		{"few", loads(900, 0), nil, nil, "below abs-conn-threshold 1000"},
		{"nearly equal", loads(21_000, 20_000), nil, nil, "below rel-conn-threshold 1.1"},
		{"equal", loads(5_000, 5_000, 5_000), nil, nil, "no node has more"},
		{"one more than equal", loads(5_001, 5_000, 5_000), nil, nil, "no node has more"},
		{"alone", loads(5_000), nil, nil, "two nodes"},
		{"nobody", nil, nil, nil, "two nodes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Balance(tt.nodes, DefaultThresholds())
			if !slices.Equal(p.Donors, tt.donors) || !slices.Equal(p.Recipients, tt.takers) || !strings.Contains(p.Reason, tt.reason) || (p.Reason == "") != (tt.reason == "") {
				t.Errorf("plan %+v", p)
			}
		})
	}
}

// What donors give has room at the recipients, nobody is both, and afterwards there is nothing to do.
func TestBalance_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := loads(rapid.SliceOfN(rapid.IntRange(0, 100_000), 2, 7).Draw(t, "connections")...)
		th := Thresholds{AbsConn: rapid.IntRange(1, 5_000).Draw(t, "abs"), RelConn: rapid.Float64Range(1.01, 3).Draw(t, "rel")}
		p := Balance(nodes, th)
		if (len(p.Donors) == 0) != (p.Reason != "") {
			t.Fatalf("plan %+v", p)
		}
		if p.Reason != "" {
			return
		}
		after, free := map[string]int{}, 0
		for _, n := range nodes {
			after[n.Node] = n.Connections
		}
		for _, d := range p.Donors {
			if d.Leave >= d.Has || slices.Contains(p.Recipients, d.Node) {
				t.Fatalf("plan %+v", p)
			}
			free += d.Has - d.Leave
			after[d.Node] = d.Leave
		}
		for free > 0 { // the load balancer sends each to whoever has least
			least := slices.MinFunc(p.Recipients, func(x, y string) int { return after[x] - after[y] })
			after[least]++
			free--
		}
		var again []Load
		for node, n := range after {
			again = append(again, Load{node, n})
		}
		if p := Balance(again, th); p.Reason == "" {
			t.Fatalf("balanced, and again: %+v -> %+v: %+v", nodes, again, p)
		}
	})
}

// play runs a rebalance in steps of a second; give says how many connections a donor closes in one.
func play(r *Rebalance, nodes []Load, give int) (*Rebalance, []Load, time.Time) {
	now := noon
	for ; r.Active(); now = now.Add(time.Second) {
		if next := r.Next(now, nodes); next != nil {
			r = next
		}
		for i := range nodes {
			if d := r.Donor(nodes[i].Node); d != nil && r.State == EvictingConns {
				gone := min(give, max(0, nodes[i].Connections-d.Leave))
				nodes[i].Connections -= gone
				nodes[len(nodes)-1].Connections += gone
			}
		}
	}
	return r, nodes, now
}

func TestRebalance_Ends(t *testing.T) {
	begin := func() (*Rebalance, []Load) {
		nodes := loads(30_000, 30_000, 0)
		return BeginRebalance(Balance(nodes, DefaultThresholds()), "ops", Defaults(), DefaultThresholds(), noon), nodes
	}
	t.Run("done", func(t *testing.T) {
		r, nodes := begin()
		if r.Expected != 140*time.Second {
			t.Errorf("expected %s", r.Expected)
		}
		r, nodes, ended := play(r, nodes, r.Options.ConnEvictRate)
		if r.Outcome != OutcomeDone || !slices.Equal(nodes, loads(20_000, 20_000, 20_000)) {
			t.Errorf("%+v: %v", r, nodes)
		}
		if took := ended.Sub(noon); took < r.Expected || took > r.Expected+4*time.Second {
			t.Errorf("took %s, said %s", took, r.Expected)
		}
	})
	t.Run("devices come back to the donor", func(t *testing.T) {
		r, nodes := begin()
		r, _, _ = play(r, nodes, 10)
		if r.Outcome != OutcomePartly || !strings.Contains(r.Detail, "[a b]") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a donor died", func(t *testing.T) {
		r, nodes := begin()
		r = r.Next(noon.Add(time.Minute), nodes)
		r = r.Next(noon.Add(time.Minute), []Load{{"b", 20_000}, {"c", 40_000}})
		if r == nil || r.State != WaitingTakeover {
			t.Errorf("%+v", r)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		r, nodes := begin()
		r = r.End(OutcomeStopped, "by ops", noon)
		if r.Active() || r.Donor("a") != nil || r.Next(noon.Add(time.Hour), nodes) != nil || r.Left(noon, nodes) != 0 {
			t.Errorf("%+v goes on", r)
		}
	})
}
