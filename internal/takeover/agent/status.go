package agent

import (
	"cmp"
	"slices"
	"time"

	"causeway/internal/takeover"
)

// Homes tells how the homes are in this region, in the order of their names.
func (a *Agent) Homes() []HomeStatus {
	var list []HomeStatus
	for _, k := range a.keepers {
		list = append(list, k.status())
	}
	slices.SortFunc(list, func(x, y HomeStatus) int { return cmp.Compare(x.Home, y.Home) })
	return list
}

// AtWork says whether this node decides for its region.
func (a *Agent) AtWork() bool { return a.atWork.Load() }

// word names a standing for programs.
func word(s takeover.Standing) string {
	return [...]string{"serving", "fenced", "handed", "starting", "isolated"}[s]
}

func (k *keeper) status() HomeStatus {
	st, now := k.c.State(), k.a.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	h := HomeStatus{Home: k.id, Role: k.role(&st), Copy: st, InForce: k.host.InForce, Held: k.kept.Held, Lease: -1, Act: k.acts.status()}
	if h.Role == "host" {
		standing := k.standing()
		h.Standing = word(standing)
		switch until := time.Duration(k.until.Load()); {
		case k.kept.Held:
			h.Standing, h.Reason = "held", "stopped by an operator"
		case until <= now:
			h.Reason = standing.String()
		default:
			h.Standing = word(takeover.Serving)
			if st.Settings.Votes() && !k.kept.Sole {
				h.Lease = until - now
			}
		}
	} else {
		h.Reason = k.why
		if k.kept.Held {
			h.Reason = "stopped here by an operator"
		}
	}
	for _, name := range k.everyone() {
		v, s := k.views[name], VoterStatus{Voter: name, Heard: -1}
		s.Votes = slices.Contains(st.Settings.Voters, name)
		if v != nil && v.any {
			s.Heard, s.Promised, s.Answer = now-v.heard, v.said.Promised, v.said.Verdict.String()
			h.Short = h.Short || v.said.Short
		}
		if v != nil && v.problem != "" {
			s.Answer = v.problem
		}
		h.Voters = append(h.Voters, s)
	}
	return h
}

// role is what a copy is for its region.
func (k *keeper) role(st *CopyState) string {
	switch {
	case st.hosts(k.a.o.Region):
		return "host"
	case st.Empty:
		return "empty"
	case st.Retired:
		return "retired"
	case st.Handed != "" && st.Epoch.Host == k.a.o.Region:
		return "handed"
	}
	return "standby"
}
