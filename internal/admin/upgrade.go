package admin

import (
	"context"
	"fmt"
	"net/http"
)

// Upgrades are mixed versions, and their end.
type Upgrades interface {
	// Upgrade tells what runs where, and what to do next; version is what it goes to, "" if that is not known.
	Upgrade(ctx context.Context, version string) (Upgrade, error)
	// FinalizeUpgrade raises the feature level of the homes that this region serves to what all their nodes and
	// standbys support, or refuses with every reason.
	FinalizeUpgrade(ctx context.Context, dryRun bool) ([]string, error)
}

// Upgrade is what runs where.
type Upgrade struct {
	To       string        `json:"to"`       // the version it goes to; "" if that was not said
	Level    uint32        `json:"level"`    // feature level of the region's home
	Supports uint32        `json:"supports"` // level that everything that was heard supports
	State    string        `json:"state"`    // done: nothing to do; mixed: versions differ; final: may be finalized; waits: something is in the way
	Steps    []UpgradeStep `json:"steps"`    // in the order in which they are to be taken
	Refused  []Refusal     `json:"refused"`  // why the next step must not be taken now
	Next     string        `json:"next"`     // what to do
}

// UpgradeStep is one node or region.
type UpgradeStep struct {
	Kind     string `json:"kind"` // standby: a region; node
	Name     string `json:"name"`
	Role     string `json:"role"` // core, replicant, leader
	Version  string `json:"version"`
	Supports uint32 `json:"supports"` // feature level
	Done     bool   `json:"done"`
	Reason   string `json:"reason"` // what is not known of it; ""
}

func (a *api) getUpgrade(r *http.Request, q *query) (any, error) {
	u, err := a.node.Upgrade(r.Context(), q.text("to"))
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	u.Steps, u.Refused = list(u.Steps), list(u.Refused)
	return u, nil
}

func (a *api) finalizeUpgrade(r *http.Request, q *query) (any, error) {
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.FinalizeUpgrade(r.Context(), dry)
	c, err := callElsewhere(a, r, err, Path("upgrade"), withCaller(r, a.caller(r)), Change{Effects: effects})
	if err != nil {
		return nil, fmt.Errorf("finalize the upgrade: %w", err)
	}
	return Change{Action: "finalize upgrade", Target: a.name, DryRun: dry, Effects: list(c.Effects)}, nil
}
