package admin

import (
	"fmt"
	"time"

	"causeway/internal/readiness"
)

// regionTrouble names a region that is gone, as the node sees it that decides for this one: since
// when, who could take its home over, and what that would take.
func (s *Server) regionTrouble(now time.Time) *Trouble {
	homes, err := s.node.RegionHomes()
	if err != nil {
		return nil // another node decides, or no region stands by another
	}
	for i := range homes {
		h := &homes[i]
		switch {
		case h.Role == "standby" && h.Host != h.Region:
			if t := h.gone(now); t != nil {
				return t
			}
		case h.Role == "host" && h.Standing == "isolated":
			return &Trouble{Summary: fmt.Sprintf("the home %s is not served: this region reaches %d of %d votes (%s)", h.Home, h.heard(), h.votes(), h.Reason), Since: now,
				Next: "causeway ctl region show " + h.Home}
		}
	}
	return nil
}

// gone says that the host of a home was not heard for as long as it takes to count as gone.
func (h *RegionHome) gone(now time.Time) *Trouble {
	for _, v := range h.Voters {
		if v.Name != h.Host || v.HeardSeconds < h.DownAfterSeconds || h.DownAfterSeconds <= 0 {
			continue
		}
		silent := time.Duration(v.HeardSeconds * float64(time.Second))
		next := "causeway ctl region failover " + h.Home + " --dry-run"
		does := "an operator decides"
		if h.Mode == "auto" {
			next, does = "causeway ctl region show "+h.Home, "the voters decide"
		}
		if h.Reason != "" {
			does = "it is not taken over: " + h.Reason
		}
		return &Trouble{Since: now.Add(-silent), Next: next,
			Summary: fmt.Sprintf("region %s is gone: %d of %d votes are heard without it, %d sessions are in the copy here, about %s until their devices are let in; %s",
				h.Host, h.heard(), h.votes(), h.Sessions, FormatDuration(time.Duration(h.FleetSeconds*float64(time.Second)).Round(time.Second)), does)}
	}
	return nil
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
