package admin

import (
	"fmt"
	"slices"
	"time"

	"causeway/internal/readiness"
)

// regionTroubles are what the node that decides for this region sees: a home that is not served here
// although it should be, a region that is gone, and a fence that somebody forgot.
func (s *Server) regionTroubles(now time.Time) (list []Trouble) {
	homes, err := s.node.RegionHomes()
	if err != nil {
		return nil // another node decides, or no region stands by another
	}
	for _, find := range []func(*RegionHome, time.Time) *Trouble{(*RegionHome).stopped, (*RegionHome).gone, (*RegionHome).barred} {
		for i := range homes {
			if t := find(&homes[i], now); t != nil {
				list = append(list, *t)
			}
		}
	}
	return list
}

// stopped says that the region hosts a home and does not serve it.
func (h *RegionHome) stopped(now time.Time) *Trouble {
	switch {
	case h.Role != "host":
	case h.Held:
		return &Trouble{Summary: fmt.Sprintf("the home %s is not served: an operator stopped it here", h.Home), Since: h.fencedAt(now), Next: h.resume()}
	case h.Standing == "isolated":
		return &Trouble{Summary: fmt.Sprintf("the home %s is not served: this region reaches %d of %d votes (%s)", h.Home, h.heard(), h.votes(), h.Reason), Since: now,
			Next: "causeway ctl region show " + h.Home}
	}
	return nil
}

// gone says that the host of a home was not heard for as long as it takes to count as gone, who could take
// it over, and what that would take.
func (h *RegionHome) gone(now time.Time) *Trouble {
	if h.Role != "standby" || h.Host == h.Region || h.DownAfterSeconds <= 0 {
		return nil
	}
	i := slices.IndexFunc(h.Voters, func(v RegionVoter) bool { return v.Name == h.Host })
	if i < 0 || h.Voters[i].HeardSeconds < h.DownAfterSeconds {
		return nil
	}
	silent := time.Duration(h.Voters[i].HeardSeconds * float64(time.Second))
	next, does := "causeway ctl region failover "+h.Home+" --dry-run", "an operator decides"
	switch {
	case h.Held:
		next, does = h.resume(), "it is not taken over: an operator stopped the home here"
	case h.Reason != "":
		does = "it is not taken over: " + h.Reason
		if h.Mode == "auto" {
			next = "causeway ctl region show " + h.Home
		}
	case h.Mode == "auto" && 2*h.heard() <= h.votes():
		next, does = "bring voters back, or: causeway ctl region failover "+h.Home+" --force --dry-run", "no majority is left to decide"
	case h.Mode == "auto":
		next, does = "causeway ctl region show "+h.Home, "the voters decide"
	}
	return &Trouble{Since: now.Add(-silent), Next: next,
		Summary: fmt.Sprintf("region %s is gone: %d of %d votes are heard without it, %d sessions are in the copy here, about %s until their devices are let in; %s",
			h.Host, h.heard(), h.votes(), h.Sessions, FormatDuration(time.Duration(h.FleetSeconds*float64(time.Second)).Round(time.Second)), does)}
}

// barred says that a fence stands of a home that another region took over meanwhile: this one stands by
// and may not be given it.
func (h *RegionHome) barred(now time.Time) *Trouble {
	if !h.Held || h.Role == "host" {
		return nil
	}
	return &Trouble{Summary: fmt.Sprintf("the home %s cannot come here: an operator stopped it here, and region %s serves it", h.Home, h.Host), Since: h.fencedAt(now), Next: h.resume()}
}

func (h *RegionHome) resume() string { return "causeway ctl region resume " + h.Home }

// fencedAt is when the fence was laid, as far as the node remembers.
func (h *RegionHome) fencedAt(now time.Time) time.Time {
	if h.Act != nil && h.Act.Action == "fence" {
		return h.Act.Began
	}
	return now
}

// votes and heard count the voters, and those that were heard lately, this region among them.
func (h *RegionHome) votes() (n int) {
	for _, v := range h.Voters {
		if v.Votes {
			n++
		}
	}
	return n + h.ownVote()
}

func (h *RegionHome) heard() (n int) {
	for _, v := range h.Voters {
		if v.Votes && v.HeardSeconds >= 0 && v.HeardSeconds < h.DownAfterSeconds {
			n++
		}
	}
	return n + h.ownVote()
}

// ownVote is this region's, where the voters are only the others.
func (h *RegionHome) ownVote() int {
	for _, v := range h.Voters {
		if v.Name == h.Region {
			return 0
		}
	}
	return 1
}

// blockerTrouble names the readiness check that fails, when nothing else is wrong.
func blockerTrouble(r readiness.Report) *Trouble {
	for _, i := range r.Items {
		if i.State == readiness.StateFail {
			next := i.Fix
			if next == "" {
				next = "causeway ctl readiness"
			}
			return &Trouble{Summary: "not ready for a disaster: " + i.Name + ": " + i.Reason, Since: i.Since, Next: next}
		}
	}
	return nil
}

// drillConditions tell of a drill under way: what looks like a disaster may be one.
func (s *Server) drillConditions() (list []Condition) {
	all, err := s.node.Drills()
	if err != nil {
		return nil
	}
	for _, d := range all {
		if d.Ended == nil {
			list = append(list, Condition{Name: "drill", Level: "notice", Summary: fmt.Sprintf("the drill %s of home %s is under way: %s", d.ID, d.Home, d.Progress), Next: "causeway ctl drill watch"})
		}
	}
	return list
}
