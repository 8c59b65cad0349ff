package agent

import (
	"context"
	"time"

	"causeway/internal/takeover"
)

// asHost renews the promises, and sets the copy aside when a higher epoch is in force.
func (k *keeper) asHost(ctx context.Context, st *CopyState, now time.Duration) {
	k.mu.Lock()
	inForce, held := k.host.InForce, k.kept.Held
	fenced := inForce.Compare(st.Epoch) > 0
	k.stoodAlone(now)
	again := !fenced && !held && k.mustStandAgain(st, now)
	standing := k.stand != nil
	unheard := k.unheard(st, now)
	q := request{Subject: ask, Home: k.id, Epoch: st.Epoch, At: st.position(), Hold: k.need(st), Record: k.list(st)}
	if k.until.Load() > int64(now) {
		q.Flags |= flagOn
	}
	voters := k.copy.Settings.Voters
	k.mu.Unlock()
	switch {
	case fenced:
		if err := k.c.Retire(ctx, inForce); err != nil && ctx.Err() == nil {
			k.a.o.Logger.Warn("set the copy aside that another region took over from; it is tried again", "home", k.id, "in_force", inForce, "problem", err)
		}
	case held:
	case again || standing:
		k.standUp(ctx, st, now, bid{planned: true})
	case unheard: // not tell: it is no standby that has more
		k.each(ctx, voters, request{Subject: look, Home: k.id, Epoch: st.Epoch}, func(string, time.Duration, *reply) {})
	default:
		k.each(ctx, voters, q, func(name string, asked time.Duration, p *reply) {
			if p.Verdict == yes {
				k.host.Promises.Take(name, q.Epoch, asked)
				k.views[name].list = q.Record
				k.host.Confirm(k.a.now(), k.copy.Settings.Voters, k.copy.Settings.Policy)
			}
			k.repeat(ctx, name, p)
		})
	}
}

// unheard says that the host has had no lease for long and voters do not answer it: it
// does not ask then, since what they promise would bind them and help nobody when only
// their answers are lost. The caller holds mu.
func (k *keeper) unheard(st *CopyState, now time.Duration) bool {
	if !st.Settings.Votes() || k.alone == 0 || now-k.alone < st.Settings.Lease {
		return false
	}
	n := 0
	for _, name := range st.Settings.Voters {
		if v := k.views[name]; v != nil && v.any && now-v.heard < st.Settings.Lease/2 {
			n++
		}
	}
	return n < takeover.Majority(len(st.Settings.Voters))
}

// need is for how long voters have to keep their promises: what the home's terms say.
func (k *keeper) need(st *CopyState) time.Duration { return st.Settings.Hold }

// stoodAlone notes since when a host has no lease. The caller holds mu.
func (k *keeper) stoodAlone(now time.Duration) {
	switch {
	case k.until.Load() > int64(now):
		k.alone = 0
	case k.alone == 0:
		k.alone = now
	}
}

// mustStandAgain says that voters promised an epoch to a region that did not get enough
// of them, so that the host's own is refused for ever although nobody serves: it takes a
// new one. Nothing is missing in its copy. The caller holds mu.
func (k *keeper) mustStandAgain(st *CopyState, now time.Duration) bool {
	if !st.Settings.Votes() || k.alone == 0 || now-k.alone < st.Settings.Lease || now < k.rest {
		return false
	}
	for _, v := range k.views {
		if v.any && v.said.Verdict == old && v.said.InForce.Compare(st.Epoch) <= 0 {
			return true
		}
	}
	return false
}

// transition notes when the region begins or ceases to serve, for hooks, log and audit.
func (k *keeper) transition() {
	k.mu.Lock()
	serves := k.until.Load() > int64(k.a.now())
	was, st, standing, held, inForce := k.served, k.copy, k.standing(), k.kept.Held, k.host.InForce
	k.served = serves
	k.mu.Unlock()
	if serves == was {
		return
	}
	if serves {
		k.a.o.Logger.Info("the region serves the home", "home", k.id, "epoch", st.Epoch)
		if st.Epoch.Number > 1 { // at least once after each promotion, and after a restart again
			k.a.hook("promote", k.id, st.Epoch)
		}
		return
	}
	reason := standing.String()
	if held {
		reason = "stopped by an operator"
	}
	k.a.o.Logger.Warn("the region does not serve the home any more", "home", k.id, "epoch", st.Epoch, "reason", reason)
	if held || standing == takeover.Fenced || standing == takeover.Gone || st.Retired || !st.hosts(k.a.o.Region) {
		k.a.hook("fence", k.id, highest(st.Epoch, inForce))
	}
}
