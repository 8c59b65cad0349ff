package admin

import (
	"strings"
	"testing"
	"time"
)

// A home that would lose something if its region failed now is the thing to look at; one
// of which another region has the newest is not, and one that is led elsewhere is not
// known.
func TestStandbyTrouble(t *testing.T) {
	away := HomeStandby{Region: "us", State: "away", Reason: "the peer is silent", Since: noon.Add(-time.Hour)}
	late := HomeStandby{Region: "us", Connected: true, State: "behind", LagRecords: 90, LagSeconds: 7}
	good := HomeStandby{Region: "ap", Connected: true, State: "follows"}
	for _, c := range []struct {
		name string
		home Home
		want string // in the summary; "" for none
		ago  time.Duration
	}{
		{"no standbys", Home{}, "", 0},
		{"away", Home{Standbys: []HomeStandby{away}}, "the home eu is on no standby: us does not take it (the peer is silent)", time.Hour},
		{"late", Home{Standbys: []HomeStandby{late}}, "the standby us of home eu is 90 records", 7 * time.Second},
		{"one of two away", Home{Standbys: []HomeStandby{away, good}}, "", 0},
		{"one of two late", Home{Standbys: []HomeStandby{late, good}}, "", 0},
		{"one away and one late", Home{Standbys: []HomeStandby{away, late}}, "is 90 records", 7 * time.Second},
		{"not served here", Home{Role: RoleFenced, Standbys: []HomeStandby{away}}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.home.ID, c.home.Leading = "eu", true
			if c.home.Role == "" {
				c.home.Role = RoleHome
			}
			st := Status{Now: noon, Homes: []Home{c.home}}
			got := standbyTrouble(st)
			switch {
			case got == nil && c.want == "":
			case got == nil || c.want == "" || !strings.Contains(got[0].Summary, c.want) || noon.Sub(got[0].Since) != c.ago:
				t.Errorf("%+v, want %q for %v", got, c.want, c.ago)
			}
			st.Homes[0].Leading = false
			if standbyTrouble(st) != nil {
				t.Error("trouble of a home that another node leads")
			}
		})
	}
}

// Sessions of a copy that stands by are not devices of this region, and whoever leads
// only that copy does not have the region's links.
func TestTotals_OfHomesServedHere(t *testing.T) {
	st := Status{Region: "us", Homes: []Home{{ID: "us", Role: RoleHome}, {ID: "eu", Role: RoleStandby, Leading: true}},
		Sessions: []SessionCount{{Home: "us", State: "attached", Count: 3}, {Home: "eu", State: "detached", Count: 90}}}
	if got := totals(st, Counts{}, nil); got.Sessions != 3 || got.SessionsAttached != 3 {
		t.Errorf("%+v", got)
	}
	if st.leadsOwn() {
		t.Error("it leads another home only")
	}
}
