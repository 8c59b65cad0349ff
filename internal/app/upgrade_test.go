package app

import (
	"slices"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/cluster"
)

func TestUpgrade_LeaderGoesLast(t *testing.T) {
	steps := nodeSteps([]cluster.Member{
		{Node: "eu-1", Role: cluster.Core, Alive: true, Software: "v1", Features: 2},
		{Node: "eu-2", Role: cluster.Core, Alive: true, Software: "v2", Features: 3},
		{Node: "eu-3", Role: cluster.Core, Software: "v1", Features: 2},
		{Node: "edge", Role: cluster.Replicant, Alive: true, Software: "v1", Features: 2},
	}, "eu-1", false)
	var names []string
	for _, x := range steps {
		names = append(names, x.Name)
	}
	if !slices.Equal(names, []string{"edge", "eu-2", "eu-3", "eu-1"}) || steps[3].Role != "leader" || steps[2].Reason == "" {
		t.Errorf("%+v", steps)
	}
}

func TestUpgrade_Plan(t *testing.T) {
	old, young := admin.UpgradeStep{Kind: "node", Name: "eu-1", Version: "v1", Supports: 2}, admin.UpgradeStep{Kind: "node", Name: "eu-2", Version: "v2", Supports: 3}
	lost := admin.UpgradeStep{Kind: "standby", Name: "us", Reason: "it does not say"}
	for name, c := range map[string]struct {
		to          string
		level       uint32
		have        int
		steps       []admin.UpgradeStep
		state, next string
	}{
		"nothing to do":          {"", 3, 3, []admin.UpgradeStep{young}, "done", ""},
		"to be finalized":        {"", 2, 3, []admin.UpgradeStep{young}, "final", "once nobody wants to go back: causeway ctl upgrade finalize"},
		"one is left":            {"v2", 2, 3, []admin.UpgradeStep{young, old}, "mixed", "upgrade node eu-1, then ask again"},
		"nobody said where to":   {"", 2, 3, []admin.UpgradeStep{young, old}, "mixed", "causeway ctl upgrade plan --to VERSION to see who is next"},
		"a vote is missing":      {"v2", 2, 2, []admin.UpgradeStep{young, old}, "waits", "wait until the node that was restarted last has caught up: causeway ctl cluster status"},
		"a standby is not there": {"v2", 2, 3, []admin.UpgradeStep{lost, young}, "waits", "see why with: causeway ctl link show us"},
	} {
		u := admin.Upgrade{To: c.to, Level: c.level, Supports: 3, Steps: slices.Clone(c.steps)}
		planUpgrade(&u, &admin.Cluster{Voters: 3, Quorum: admin.Quorum{Have: c.have, Need: 2}})
		if u.State != c.state || u.Next != c.next {
			t.Errorf("%s: %s, next: %s", name, u.State, u.Next)
		}
	}
}
