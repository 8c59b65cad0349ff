package app

import (
	"context"
	"slices"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
)

// configureTakeover brings what the home's copies know about each other to what the
// host's node file says.
func (h *homeService) configureTakeover(ctx context.Context, r *replica.Replica) error {
	op := takeoverOp(h.a.region(), string(h.id))
	have := r.State().Takeover()
	if len(op.Standbys) == 0 && len(have.Standbys) == 0 || sameOp(&have, op) {
		return nil
	}
	for r.State().Level() < home.LevelOf(op.Kind()) { // raised once all nodes support it
		if !wait(ctx, officeEvery) || !r.Leads() {
			return ctx.Err()
		}
	}
	return proposeWait(ctx, r, op)
}

// takeoverOp is what the node file says of a home that this region hosts: all others
// that may host it stand by, in their order.
func takeoverOp(cfg *config.Config, id string) *home.SetTakeover {
	t := &cfg.Takeover
	op := &home.SetTakeover{Voters: cfg.Voters(), Lease: t.Lease, Hold: t.Hold, DownAfter: t.DownAfter,
		Grace:    uint32((t.WillGrace + time.Second - 1) / time.Second),
		Standbys: slices.DeleteFunc(cfg.Hosts(id), func(region string) bool { return region == cfg.Region })}
	if t.Mode == config.TakeoverAuto {
		op.Mode = home.TakeoverAuto
	}
	if t.SelfFences() {
		op.Isolation = home.IsolationSelfFence
	}
	if t.StandbyAway == config.StandbyWait {
		op.StandbyAway = home.AwayWait
	}
	return op
}

// knownRun is the newest run of a node that the region's own home knows.
func (a *App) knownRun(n home.NodeID) home.Incarnation {
	run, _ := a.home.State().Incarnation(n)
	return run
}
