package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/admin"
	"causeway/internal/cluster"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// Versions run side by side: what an older build could not apply stands in a home's log only once its
// feature level was raised, and that is done by an operator, when all nodes and standbys support it. Until
// then each node may go back.

// kindBuild is the call by which a region says what its nodes run.
const kindBuild byte = 9

// builds is what a region's nodes run.
type builds struct {
	Version string `json:"version"` // of all; "" if they differ
	Level   uint32 `json:"level"`   // that all support; 0: one was not heard of
}

func (a *App) builds() (b builds) {
	b.Level = home.MaxLevel
	versions := map[string]bool{}
	members := a.members()
	if c, err := a.node().Cluster(); err == nil {
		members = concerned(members, &c)
	}
	for _, m := range members {
		versions[m.Software] = true
		level := uint32(min(m.Features, 1<<31))
		if a.cluster == nil {
			level = home.MaxLevel
		}
		b.Level = min(b.Level, level)
	}
	if len(versions) == 1 {
		for v := range versions {
			b.Version = v
		}
	}
	return b
}

func (a *App) answerBuild() ([]byte, error) { return json.Marshal(a.builds()) }

// askBuild bounds one question to a region.
const askBuild = 3 * time.Second

// standbyBuilds asks the standbys of the homes that this region serves, in their order.
func (a *App) standbyBuilds(ctx context.Context) (steps []admin.UpgradeStep) {
	var regions []string
	for _, h := range a.homes {
		if r := h.opened.Load(); r == nil || !r.Hosting() {
			continue
		}
		for _, region := range a.cfg.Hosts(string(h.id)) {
			if region != a.cfg.Region && !slices.Contains(regions, region) {
				regions = append(regions, region)
			}
		}
	}
	for _, region := range regions {
		x := admin.UpgradeStep{Kind: "standby", Name: region, Role: "standby"}
		asking, cancel := context.WithTimeout(ctx, askBuild)
		answer, err := caller{a}.Call(asking, region, kindBuild, nil)
		cancel()
		var b builds
		if err == nil {
			err = json.Unmarshal(answer, &b)
		}
		if err != nil {
			x.Reason = "it does not say what it runs: " + err.Error()
		} else {
			x.Version, x.Supports = cmp.Or(b.Version, "several"), b.Level
		}
		steps = append(steps, x)
	}
	return steps
}

// Upgrade implements admin.Upgrades.
func (n node) Upgrade(ctx context.Context, to string) (admin.Upgrade, error) {
	a := n.a
	r := a.home.opened.Load()
	if r == nil {
		return admin.Upgrade{}, fmt.Errorf("%w: %s", admin.ErrUnavailable, a.home.reason())
	}
	c, err := n.Cluster()
	if err != nil {
		return admin.Upgrade{}, err
	}
	u := admin.Upgrade{To: to, Level: r.State().Level(), Supports: home.MaxLevel, Steps: a.standbyBuilds(ctx)}
	leader, _ := r.Leader()
	u.Steps = append(u.Steps, nodeSteps(concerned(a.members(), &c), string(leader), a.cluster == nil)...)
	planUpgrade(&u, &c)
	return u, nil
}

// concerned are the nodes that are there, and those that are missed: a node that was taken out is neither.
func concerned(members []cluster.Member, c *admin.Cluster) (list []cluster.Member) {
	for _, m := range members {
		held := slices.ContainsFunc(c.Nodes, func(x admin.ClusterNode) bool {
			return x.Node == m.Node && (x.State == "voter" || x.State == "learner" || x.State == "leader")
		})
		if m.Alive || held {
			list = append(list, m)
		}
	}
	return list
}

// nodeSteps orders the nodes of a region: replicants and followers first, the leader last, so that
// leadership moves once.
func nodeSteps(members []cluster.Member, leader string, alone bool) (steps []admin.UpgradeStep) {
	for _, m := range members {
		x := admin.UpgradeStep{Kind: "node", Name: m.Node, Role: string(m.Role), Version: m.Software, Supports: uint32(min(m.Features, 1<<31))}
		if alone {
			x.Supports = home.MaxLevel
		}
		if m.Node == leader {
			x.Role = "leader"
		}
		if !m.Alive {
			x.Reason = "it is not seen"
		}
		steps = append(steps, x)
	}
	place := func(x *admin.UpgradeStep) int { return slices.Index([]string{"replicant", "core", "leader"}, x.Role) }
	slices.SortFunc(steps, func(x, y admin.UpgradeStep) int {
		return cmp.Or(cmp.Compare(place(&x), place(&y)), cmp.Compare(x.Name, y.Name))
	})
	return steps
}

// planUpgrade says what is next and what is in the way.
func planUpgrade(u *admin.Upgrade, c *admin.Cluster) {
	versions := map[string]bool{}
	var next *admin.UpgradeStep
	for i := range u.Steps {
		x := &u.Steps[i]
		versions[x.Version] = true
		u.Supports = min(u.Supports, x.Supports)
		x.Done = u.To != "" && x.Version == u.To
		if !x.Done && next == nil {
			next = x
		}
		if x.Reason != "" {
			fix := "start it, or take it out: causeway ctl cluster force-leave " + x.Name
			if x.Kind == "standby" {
				fix = "see why with: causeway ctl link show " + x.Name
			}
			u.Refused = append(u.Refused, admin.Refusal{Condition: "heard", Reason: x.Kind + " " + x.Name + ": " + x.Reason, Fix: fix})
		}
	}
	if c.Quorum.Have < c.Voters {
		u.Refused = append(u.Refused, admin.Refusal{Condition: "votes", Reason: fmt.Sprintf("%d of %d votes are here: with another node down the home may stop", c.Quorum.Have, c.Voters),
			Fix: "wait until the node that was restarted last has caught up: causeway ctl cluster status"})
	}
	switch {
	case len(u.Refused) > 0:
		u.State, u.Next = "waits", u.Refused[0].Fix
	case len(versions) > 1 || u.To != "" && next != nil:
		u.State, u.Next = "mixed", "causeway ctl upgrade plan --to VERSION to see who is next"
		if u.To != "" && next != nil {
			u.Next = "upgrade " + next.Kind + " " + next.Name + ", then ask again"
		}
	case u.Level < u.Supports:
		u.State, u.Next = "final", "once nobody wants to go back: causeway ctl upgrade finalize"
	default:
		u.State, u.Next = "done", ""
	}
}

// FinalizeUpgrade implements admin.Upgrades.
func (n node) FinalizeUpgrade(ctx context.Context, dryRun bool) ([]string, error) {
	a := n.a
	r := a.home.opened.Load()
	if r == nil {
		return nil, fmt.Errorf("%w: %s", admin.ErrUnavailable, a.home.reason())
	}
	u, err := n.Upgrade(ctx, "")
	if err != nil {
		return nil, err
	}
	var refused []admin.Refusal
	for _, x := range u.Steps {
		if x.Supports < home.MaxLevel || x.Reason != "" {
			refused = append(refused, admin.Refusal{Condition: "support", Reason: fmt.Sprintf("%s %s runs %s and supports feature level %d, not %d; %s", x.Kind, x.Name, cmp.Or(x.Version, "an older version"), x.Supports, home.MaxLevel, cmp.Or(x.Reason, "it is to be upgraded first")),
				Fix: "upgrade it, or take it out: causeway ctl upgrade plan"})
		}
	}
	if len(refused) > 0 {
		return nil, &admin.Refused{Reasons: refused}
	}
	// By now everybody who may be asked knows what this one knows.
	if leader, ok := r.Leader(); !r.Leads() {
		if !ok {
			return nil, fmt.Errorf("%w: nobody leads the home", admin.ErrUnavailable)
		}
		return nil, &admin.Elsewhere{Node: string(leader)}
	}
	var effects []string
	for _, h := range a.homes {
		r := h.opened.Load()
		switch {
		case r == nil || !r.Hosting():
			continue
		case r.State().Level() >= home.MaxLevel:
			continue
		case !r.Leads():
			effects = append(effects, fmt.Sprintf("home %s is led by another node: run it there as well", h.id))
			continue
		}
		effects = append(effects, fmt.Sprintf("home %s goes from feature level %d to %d: no node and no standby can go back to a version that does not know it", h.id, r.State().Level(), home.MaxLevel))
		if dryRun {
			continue
		}
		var no *replica.RefusedError
		if err := r.RaiseLevel(ctx, home.MaxLevel); errors.As(err, &no) {
			return effects, admin.Refuse("support", no.Error(), "causeway ctl upgrade plan")
		} else if err != nil {
			return effects, err
		}
	}
	if len(effects) == 0 {
		effects = []string{fmt.Sprintf("all homes are at feature level %d: there is nothing to do", home.MaxLevel)}
	}
	return effects, nil
}
