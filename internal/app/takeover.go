package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/takeover"
)

// configureTakeover brings what the home's copies know about each other to what the
// host's node file says.
func (h *homeService) configureTakeover(ctx context.Context, r *replica.Replica) error {
	op := takeoverOp(h.a.region(), string(h.id))
	have := r.State().Takeover()
	if !h.own() { // its own region's rules
		op.Replay = have.Replay
	}
	if why := tooManyVoters(have.Voters, op.Voters); why != "" {
		h.a.log.Error("the voters stay as they were", "home", string(h.id), "voters", have.Voters, "file", op.Voters, "reason", why,
			"fix", "change one voter in the files of all regions, wait until causeway ctl region status shows it everywhere, then the next")
		op.Voters = have.Voters
	} else if changesVoters(have.Voters, op.Voters) && !h.mayChangeVoters(ctx, r) {
		h.a.log.Warn("the voters stay as they were for now", "home", string(h.id), "voters", have.Voters, "file", op.Voters,
			"reason", "a majority of those there are has not heard yet that they are")
		op.Voters = have.Voters
	}
	if len(op.Standbys) == 0 && len(have.Standbys) == 0 || sameOp(&have, op) {
		return nil
	}
	if h.tooOld(r, op, "the home's standbys and voters") {
		return nil
	}
	if h.adopting(r) && !h.mayAdopt() {
		h.a.log.Warn("the home's standbys and voters are not in force yet", "home", string(h.id), "reason", "too few of the voters answer this region's nodes, or know of the home",
			"fix", "the same regions and takeover belong into the files of all nodes and regions: causeway ctl region status")
		return nil
	}
	return proposeWait(ctx, r, op)
}

// changesVoters says that a list of voters is another one than the home has. One that has none
// gets its first.
func changesVoters(have, want []string) bool {
	return len(have) > 0 && takeover.ListID(have) != takeover.ListID(want)
}

// mayChangeVoters says that the home's voters may be others now. They are told of the list
// that there is with a record that is later than it.
func (h *homeService) mayChangeVoters(ctx context.Context, r *replica.Replica) bool {
	if h.a.deciding == nil || h.a.deciding.VotersKnow(h.id) {
		return true
	}
	_, _ = outcomeOf(ctx, r, &home.Tick{}) // without a lease there is none, and no change
	return false
}

// votersTurn says that a change of voters that the file wants has its turn. It is looked at now
// and then while there is one.
func (h *homeService) votersTurn(ctx context.Context, r *replica.Replica) bool {
	have, want := r.State().Takeover().Voters, h.a.region().Voters()
	return changesVoters(have, want) && tooManyVoters(have, want) == "" && h.mayChangeVoters(ctx, r)
}

// tooManyVoters says why a list of voters may not follow on another: of two lists that differ by
// one voter every two majorities have one in common, so that a standby which has not heard of the
// change yet finds none beside the host's. "": it may.
func tooManyVoters(have, want []string) string {
	if len(have) == 0 {
		return ""
	}
	var changes []string
	for _, v := range want {
		if !slices.Contains(have, v) {
			changes = append(changes, "+"+v)
		}
	}
	for _, v := range have {
		if !slices.Contains(want, v) {
			changes = append(changes, "-"+v)
		}
	}
	if len(changes) <= 1 {
		return ""
	}
	return "the node file changes several voters at once: " + strings.Join(changes, " ")
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
	if slices.ContainsFunc(cfg.Ack, func(r config.AckRule) bool { return r.Replay == config.ReplayReport || r.MaxReplayAge > 0 }) {
		for _, r := range cfg.Ack {
			rule := home.ReplayRule{Filter: r.Filter, MaxAge: r.MaxReplayAge}
			if r.Replay == config.ReplayReport {
				rule.Replay = home.ReplayReport
			}
			op.Replay = append(op.Replay, rule)
		}
	}
	return op
}

// knownRun is the newest run of a node that the region's own home knows.
func (a *App) knownRun(n home.NodeID) home.Incarnation {
	run, _ := a.home.State().Incarnation(n)
	return run
}
