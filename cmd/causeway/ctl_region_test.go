package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
)

// regionAnswers are what the API says of homes and the regions that host them.
func regionAnswers() map[string]any {
	home := admin.RegionHome{Home: "eu", Region: "us", Node: "us-1", Role: "standby", Reason: "the host acknowledged what no standby has", Epoch: 1, Host: "eu", InForceEpoch: 1, InForceHost: "eu",
		Mode: "auto", Isolation: "self-fence", Records: 9000, Sessions: 750, QueuedBytes: 5 << 20, LeaseSeconds: -1, DownAfterSeconds: 10, Short: true,
		Voters: []admin.RegionVoter{{Name: "eu", Votes: true, HeardSeconds: -1, Answer: "ask eu about eu: no answer in time"}, {Name: "us", Votes: true, HeardSeconds: 0.4, Answer: "yes", Promised: "1@eu"}}}
	own := admin.RegionHome{Home: "us", Region: "us", Node: "us-1", Role: "host", Standing: "serving", Epoch: 3, Host: "us", InForceEpoch: 3, InForceHost: "us", Mode: "auto", Isolation: "self-fence",
		Records: 500, Sessions: 12, LeaseSeconds: 6.5, DownAfterSeconds: 10, Standbys: []admin.RegionStandby{{Region: "eu", Connected: true, Records: 499, LagMessages: 1, LagBytes: 300, LagSeconds: 0.02}},
		Act: &admin.RegionAct{Action: "switchover", To: "eu", By: "socket", Began: noon.Add(-time.Minute), Step: "ship", Steps: []admin.RegionStep{}, MessagesLeft: 70}}
	plan := func(act, home, risk string, effects ...string) admin.RegionChange {
		return admin.RegionChange{Action: act, Target: home, DryRun: true, Effects: effects, Risk: risk, Confirm: home, Node: "us-1"}
	}
	ended := func(act, home, outcome, detail string) admin.RegionHome {
		h := own
		h.Home, h.Act = home, &admin.RegionAct{Action: act, By: "socket", Began: noon, Ended: at(1500 * time.Millisecond), Step: "serve", Outcome: outcome, Detail: detail,
			Steps: []admin.RegionStep{{Name: "drain", At: noon}, {Name: "serve", At: noon.Add(time.Second)}}}
		return h
	}
	refused := &admin.Problem{Type: admin.ProblemRefused, Title: "A precondition is not met", Status: 409, Detail: "no majority of voters can be asked", Instance: "/v1/homes/ap/failover",
		Refused: []admin.Refusal{{Condition: "no_majority", Reason: "no majority of voters can be asked: eu: no answer", Fix: "bring voters back"},
			{Condition: "capacity", Reason: "the home has 750 sessions and us has room for 100 more", Fix: "add nodes there"}}}
	divergence := admin.Divergence{Home: "eu", State: "pending", Epoch: 1, Host: "eu", Records: 1200, Messages: 990, Bytes: 1 << 20, Classes: []admin.DivergenceCount{{Name: "cmd", Count: 3}, {Name: "telemetry", Count: 987}},
		Ages: []admin.DivergenceCount{{Name: "up to 1m", Count: 990}}, Sessions: []admin.DivergenceCount{{Name: "untouched", Count: 400}, {Name: "touched", Count: 2}}, Retained: 7, Wills: 1, Oldest: at(-time.Hour)}
	act := func(action string, dry bool, effects ...string) admin.Change {
		return admin.Change{Action: action, Target: "eu", DryRun: dry, Effects: effects}
	}
	const risk = "nothing stops eu: if it lives and only we cannot see it, both regions serve the home until they see each other"
	return map[string]any{
		"GET /v1/homes":                                            admin.Page[admin.RegionHome]{Items: []admin.RegionHome{home, own}},
		"GET /v1/homes/us":                                         own,
		"GET /v1/homes/eu":                                         ended("failover", "eu", "done", "us serves the home at 2@us"),
		"GET /v1/homes/b":                                          ended("switchover", "b", "aborted", "us did not have everything within 10s"),
		"GET /v1/homes/c":                                          ended("switchover", "c", "partly", "the home is handed over and us did not say yet that it serves"),
		"GET /v1/homes/d":                                          ended("resume", "d", "failed", "keep the operator's word: the disk is full"),
		"GET /v1/homes/e":                                          home,
		"POST /v1/homes/eu/failover?dry_run=true":                  plan("failover", "eu", risk, "us begins a new epoch of eu above 1@eu with the 9000 records it has"),
		"POST /v1/homes/eu/failover":                               plan("failover", "eu", risk),
		"POST /v1/homes/ap/failover?dry_run=true":                  refused,
		"POST /v1/homes/b/switchover?dry_run=true&to=us":           plan("switchover", "b", "", "devices of b are parked"),
		"POST /v1/homes/b/switchover?to=us":                        plan("switchover", "b", ""),
		"POST /v1/homes/c/switchover?dry_run=true&to=c":            plan("switchover", "c", "", "devices of c are parked"),
		"POST /v1/homes/c/switchover?to=c":                         plan("switchover", "c", ""),
		"POST /v1/homes/d/resume?dry_run=true&force=true":          plan("resume", "d", "both serve it"),
		"POST /v1/homes/d/resume?force=true":                       plan("resume", "d", "both serve it"),
		"POST /v1/homes/us/fence?dry_run=true":                     plan("fence", "us", "", "us stops serving 12 sessions"),
		"POST /v1/homes/us/fence":                                  admin.RegionChange{Action: "fence", Target: "us", Effects: []string{"us stops serving 12 sessions"}, Confirm: "us", Node: "us-1"},
		"GET /v1/homes/eu/divergence":                              divergence,
		"POST /v1/homes/eu/reconcile?dry_run=true&replay=report":   act("reconcile approve", true, "990 messages are reported and not delivered"),
		"POST /v1/homes/eu/reconcile?replay=report":                act("reconcile approve", false, "990 messages are reported and not delivered"),
		"POST /v1/homes/eu/discard?dry_run=true":                   act("reconcile discard", true, "990 messages are given up"),
		"POST /v1/homes/eu/reconcile?dry_run=true&max_age=1parsec": &admin.Problem{Type: admin.ProblemBadRequest, Title: "The request is not understood", Status: 400, Detail: `the parameter max_age is "1parsec"`, Fix: "give max_age as a duration such as 30m or 2d"},
	}
}

// An order that does not end is not called done.
func TestRegionOrder_DoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	answers := regionAnswers()
	for _, dry := range []string{"", "?dry_run=true"} {
		answers["POST /v1/homes/e/fence"+dry] = admin.RegionChange{Action: "fence", Target: "e", Confirm: "e"}
	}
	(&fakeAPI{answers: answers}).serve(t, filepath.Join(dir, "data"))
	_, stderr, code := ctlRun{dir: dir}.run(t.Context(), "--data-dir", filepath.Join(dir, "data"), "region", "fence", "e", "--yes", "--timeout", "1ms")
	if code != exitPartly || !strings.Contains(stderr, "it did not end within 1ms; causeway ctl region show e") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}
