package admin

import (
	"fmt"
	"time"
)

// lateStandby is when what a standby lacks becomes the thing to look at.
const lateStandby = 5 * time.Second

// sessionsServed says of which homes the sessions are devices of this region.
func (st Status) sessionsServed(home string) bool {
	for _, h := range st.Homes {
		if h.ID == home {
			return h.Role == RoleHome
		}
	}
	return false
}

// leadsOwn says whether the node leads the region's own home, and so has its links.
func (st Status) leadsOwn() bool {
	for _, h := range st.Homes {
		if h.ID == st.Region {
			return h.Leading
		}
	}
	return false
}

// standbyTrouble names a home that would lose something if this region failed now. The
// node that leads the home knows.
func standbyTrouble(st Status) (list []Trouble) {
	for _, h := range st.Homes {
		if h.Role == RoleHome && h.Leading && len(h.Standbys) > 0 {
			if t := h.standbyTrouble(st.Now); t != nil {
				list = append(list, *t)
			}
		}
	}
	return list
}

func (h *Home) standbyTrouble(now time.Time) *Trouble {
	best := &h.Standbys[0]
	for i := range h.Standbys {
		if s := &h.Standbys[i]; s.Connected && (!best.Connected || s.LagSeconds < best.LagSeconds) {
			best = s
		}
	}
	t := &Trouble{Since: now.Add(-best.LagSeconds.Duration()), Next: "causeway ctl region show " + h.ID}
	switch {
	case !best.Connected:
		t.Summary, t.Since = fmt.Sprintf("the home %s is on no standby: %s does not take it (%s)", h.ID, best.Region, best.why()), best.Since
	case best.LagSeconds.Duration() > lateStandby:
		t.Summary = fmt.Sprintf("the standby %s of home %s is %s behind", best.Region, h.ID, best.behind())
	default:
		return nil
	}
	return t
}

func (s *HomeStandby) why() string {
	if s.Reason != "" {
		return s.Reason
	}
	return s.State
}

func (s *HomeStandby) behind() string {
	return fmt.Sprintf("%d records (%s)", s.LagRecords, FormatDuration(s.LagSeconds.Duration()))
}

// Line is how the standby is, in a few words.
func (s *HomeStandby) Line() string {
	if !s.Connected {
		return s.Region + " does not stand by: " + s.why()
	}
	return s.Region + " stands by " + s.behind() + " behind"
}

// standbys are the gauges of a home's copies.
func (s *samples) standbys(h *Home) {
	for _, role := range homeRoles {
		s.add(descRegionState, oneIf(role == h.Role), h.ID, role)
	}
	for _, b := range h.Standbys {
		s.add(descRPO, float64(b.LagSeconds), h.ID, b.Region)
		s.add(descRPOMessages, float64(b.LagMessages), h.ID, b.Region)
	}
}
