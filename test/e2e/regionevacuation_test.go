package e2e

import (
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
	"causeway/test/outage"
)

// A region is emptied under load: load balancers hear while it still serves, its node is killed and goes on where it was,
// its home goes to the standby, its devices follow, and it takes none. With the failback it is over, and it serves again.
// Nothing is lost, and all stays in order. The long cases of the lab have three nodes in the region that is emptied.
func TestRegionEvacuation_ResumedAndBack(t *testing.T) {
	nodes := 1
	if *wholeLab {
		nodes = 3
	}
	x := newTwoRegions(t, standbyOptions{nodes: nodes, section: "down_after: 3s", change: func(o *trial.Options) { o.Alone = []string{"us"} }, fleet: outage.Options{Name: "evacuated", Pairs: 20, Rate: 100, Patience: 15 * time.Second}})
	eu := x.tr.Node("eu")
	evacuate := func(args ...string) (string, int) {
		return causeway(t, "", "", append([]string{"ctl", "--socket", eu.Socket(), "region", "evacuate"}, args...)...)
	}
	x.published(t, 100)
	x.follows("us", "eu")
	if out, code := evacuate("us", "--yes"); code != 3 || !strings.Contains(out, "node of region eu") {
		t.Errorf("another region: %d %s", code, out)
	}
	var plan admin.EvacuationChange
	ctlJSON(t, eu, &plan, "region", "evacuate", "eu", "--dry-run", "--wait-health-check", "30s", "--wait-takeover", "2s")
	if plan.Connections < 40 || plan.ExpectedSeconds < 32 || plan.ExpectedSeconds > 33 {
		t.Errorf("planned %+v", plan)
	}
	if _, code := evacuate("eu", "--status"); code == 0 {
		t.Error("a dry run began it")
	}
	if out, code := evacuate("eu", "--yes", "--wait-health-check", "1h"); code != 0 {
		t.Fatal(out)
	}
	await(t, "load balancers to hear", func() bool { code, state := readyz(t, eu); return code == 503 && state == "evacuating" })
	if out, code := evacuate("eu", "--yes"); code != 3 || !strings.Contains(out, "is being evacuated") {
		t.Errorf("twice: %d %s", code, out)
	}
	ctl(t, eu, "region", "evacuate", "eu", "--stop", "--yes")
	await(t, "load balancers to hear that it was stopped", func() bool { code, _ := readyz(t, eu); return code == 200 })

	if out, code := evacuate("eu", "--yes", "--wait-health-check", "12s", "--wait-takeover", "1s", "--reason", "floods"); code != 0 {
		t.Fatal(out)
	}
	x.Loss()
	eu.Kill()
	if err := eu.Start(); err != nil {
		t.Fatal(err)
	}
	x.awaitHome("eu", "be served on", (*trial.Home).Serves)
	await(t, "the node to hear of it again", func() bool { _, code := evacuate("eu", "--status"); return code == 0 })
	var e admin.Evacuation
	ctlJSON(t, eu, &e, "region", "evacuate", "eu", "--status")
	if e.Reason != "floods" || e.State == "prohibiting" {
		t.Errorf("after the restart: %+v", e)
	}
	x.awaitHome("us", "serve", (*trial.Home).Serves)
	x.Point(x.tr.Front("us").MQTT)
	if out, code := evacuate("eu", "--status", "--wait", "--timeout", "60s"); code != 0 || !strings.Contains(out, "may be stopped") {
		t.Errorf("%d %s", code, out)
	}
	if missing := x.settled(t); missing > 0 {
		t.Errorf("%d messages are missing after the home went to us", missing)
	}
	if out, code := evacuate("eu", "--stop", "--yes"); code != 3 || !strings.Contains(out, "failback") {
		t.Errorf("stopped when it was over there: %d %s", code, out)
	}

	x.moves("us", "eu")
	await(t, "eu to take devices again", func() bool { code, _ := readyz(t, eu); return code == 200 })
	if out, code := evacuate("eu", "--status"); code == 0 {
		t.Errorf("it is over, and there: %s", out)
	}
	x.judge(x.finish(t, "and back", outage.Marks{}, 0), false)
}
