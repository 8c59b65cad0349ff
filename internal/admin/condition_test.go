package admin

import (
	"fmt"
	"testing"
)

func TestConditions_ByDegrees(t *testing.T) {
	for percent, want := range map[int64]string{0: "", 49: "", 50: "notice", 79: "notice", 80: "warning", 94: "warning", 95: "critical", 120: "critical"} {
		st := Status{State: State{State: "ready"}, Links: []Link{{Peer: "us", State: LinkUp, SpoolBytes: percent * 10, SpoolCapacityBytes: 1000}},
			Stores: []Store{{FreeBytes: lowDisk, SpoolBytes: percent << 20, SpoolLimitBytes: 100 << 20, SpoolLimitBy: "reserve", SpoolLimitNode: "eu-1", SpoolFullInSeconds: 60}}}
		got := conditions(st)
		if want == "" {
			if len(got) != 0 {
				t.Errorf("%d%%: %+v", percent, got)
			}
			continue
		}
		if len(got) != 2 || got[0].Level != want || got[0].Peer != "us" || got[1].Level != want {
			t.Errorf("%d%%: %+v", percent, got)
		}
		if s := fmt.Sprintf("the spools hold %s of 100.0 MiB that disk.reserve of eu-1 leaves them, full in 1m", FormatBytes(percent<<20)); got[1].Summary != s {
			t.Errorf("%q", got[1].Summary)
		}
		st.Links, st.Conditions = nil, got
		if tr := diagnose(st); tr == nil || tr.Summary != got[1].Summary {
			t.Errorf("trouble %+v", tr)
		}
	}
}
