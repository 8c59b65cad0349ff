package admin

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"causeway/internal/health"
)

// All that is wrong at any node, and each node that is silent, the worst first; each says what to do.
func TestAlarms_OfTheWholeRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		defer n.all.Wait()
		n.hangs["eu-3"] = true
		for _, f := range n.fakes {
			f.links, f.st.Links = nil, nil
		}
		two := n.fakes["eu-2"]
		two.st.Links = []Link{{Peer: "us", State: "down", Reason: "no answer", Since: noon}, {Peer: "ap", State: "down", Reason: "no answer", Since: noon.Add(-1)},
			{Peer: "sa", State: LinkUp, SpoolBytes: 60, SpoolCapacityBytes: 100}}
		two.st.Stores = []Store{{Name: "data", Path: "/d", FreeBytes: lowDisk, ReserveBytes: lowDisk}}
		n.nodes["eu-2"].health.Set("glass", health.Condition{State: health.Ready, Reason: "break-glass/anna called"})
		n.nodes["eu-1"].health.Set("replica", health.Condition{State: health.Isolated, Reason: "no leader"})

		p := answer[AlarmPage](t, call(t, n.nodes["eu-1"], "GET", "/v1/alarms", ""))
		var got []string
		for _, a := range p.Items {
			if a.Name == "readiness" {
				continue
			}
			got = append(got, strings.Join([]string{a.Level, a.Node, a.Name}, " "))
			if a.Next == "" || a.Summary == "" || a.Since.IsZero() {
				t.Errorf("%+v", a)
			}
		}
		want := []string{"critical eu-1 state", "critical eu-3 silent", "warning eu-2 link", "warning eu-2 link", "warning eu-2 disk_reserve", "notice eu-2 glass", "notice eu-1 drill", "notice eu-2 drill", "notice eu-2 spool"}
		for _, list := range []*[]string{&got, &want} {
			slices.Sort(*list)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if len(p.Unanswered) != 1 || p.Unanswered[0].Node != "eu-3" {
			t.Errorf("%+v", p.Unanswered)
		}
		if !slices.IsSortedFunc(p.Items, func(x, y Alarm) int { return rankOf(x.Level) - rankOf(y.Level) }) {
			t.Errorf("not the worst first: %+v", p.Items)
		}
		if w := call(t, n.nodes["eu-2"], "GET", "/metrics", ""); !strings.Contains(w.Body.String(), `causeway_alarms{level="warning",name="link"} 2`) {
			t.Errorf("the metrics do not say so")
		}
	})
}
