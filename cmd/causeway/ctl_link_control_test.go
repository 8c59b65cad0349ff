package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
)

// linkAnswers are what the API says of what an operator does to links.
func linkAnswers() map[string]any {
	policy := admin.LinkPolicy{Peer: "us", Revision: 4, Pause: &admin.LinkPause{Since: noon.Add(-time.Minute), Until: at(29 * time.Minute), Reason: "maintenance"},
		Keys: []admin.PolicyKey{{Key: "out", Value: []string{"#"}, Origin: "file", File: []string{"#"}}, {Key: "never", Origin: "file"},
			{Key: "rate", Value: []string{"25MB/s"}, Origin: "region", File: []string{"0"}}},
		Trims: []admin.SpoolTrim{{Filter: "a/#", ToSeq: 900}}}
	change := admin.PolicyChange{Action: "set link policy", Target: "us", Effects: []string{"never: pii/# (region), was -", "spooled messages that do not go any more: 12"},
		Diff: []admin.PolicyDiff{{Key: "never", To: []string{"pii/#"}, Origin: "region"}}, Withheld: 12}
	wouldChange := change
	wouldChange.DryRun = true
	act := func(action string, dry bool, effects ...string) admin.Change {
		return admin.Change{Action: action, Target: "us", DryRun: dry, Effects: effects}
	}
	report := admin.SpoolReport{Peer: "us", Messages: 100_000, Bytes: 5 << 30, CapacityBytes: 10 << 30, FullInSeconds: 7200, Dropped: 3, Sampled: true, LookedAt: 50_000,
		Classes: []admin.LinkSpool{{Class: "cmd", Filters: []string{"cmd/#"}, AckedSeq: 5, Messages: 10, Bytes: 1 << 10, OldestSeconds: 60}, {Messages: 99_990, Bytes: 5 << 30, OldestSeconds: 7200, Dropped: 3}},
		Topics:  []admin.TopicSum{{Filter: "fleet/eu/#", Messages: 90_000, Bytes: 4 << 30}, {Filter: "x", Messages: 10_000, Bytes: 1 << 30}}}
	return map[string]any{
		"GET /v1/links/us/policy":                                           policy,
		"POST /v1/links/us/policy?dry_run=true":                             wouldChange,
		"POST /v1/links/us/policy":                                          change,
		"POST /v1/links/us/pause?dry_run=true&for=30m&reason=maintenance":   act("pause link", true, "nothing crosses"),
		"POST /v1/links/us/pause?for=30m&reason=maintenance":                act("pause link", false, "nothing crosses"),
		"POST /v1/links/us/resume":                                          act("resume link", false, "5 spooled messages go on"),
		"GET /v1/links/us/spool?depth=2":                                    report,
		"POST /v1/links/us/spool/trim?dry_run=true&filter=fleet%2F%23":      act("trim spool", true, "90000 spooled messages are left out"),
		"POST /v1/links/us/spool/trim?filter=fleet%2F%23":                   act("trim spool", false, "90000 spooled messages are left out"),
		"POST /v1/links/us/spool/trim?class=cmd&dry_run=true&older_than=2d": act("trim spool", true, "3 spooled messages are dropped"),
		"GET /v1/links/us/drain":                                            admin.LinkDrain{Peer: "us", ToSeq: 900, Messages: 5, Bytes: 500, Dropped: 7, State: "up"},
		"GET /v1/links/us/drain?to=900":                                     admin.LinkDrain{Peer: "us", ToSeq: 900, Dropped: 8, State: "up", Done: true},
		"GET /v1/links/slow/drain":                                          admin.LinkDrain{Peer: "slow", ToSeq: 7, Messages: 5, State: "up"},
		"GET /v1/links/slow/drain?to=7":                                     admin.LinkDrain{Peer: "slow", ToSeq: 7, Messages: 4, State: "down"},
		"GET /v1/links/ap/drain": &admin.Problem{Type: admin.ProblemRefused, Title: "A precondition is not met", Status: 409, Detail: "the link to ap is paused",
			Refused: []admin.Refusal{{Condition: "link_paused", Reason: "the link to ap is paused", Fix: "causeway ctl link resume ap"}}},
	}
}

// A drain ends well when all is acknowledged, and with an exit code of its own when its time is
// over.
func TestLinkDrain(t *testing.T) {
	dir := t.TempDir()
	(&fakeAPI{answers: linkAnswers()}).serve(t, filepath.Join(dir, "data"))
	for _, c := range []struct {
		args     string
		terminal bool
		code     int
		out, err string
	}{
		{"link drain us", true, exitOK, "us has everything that was spooled for it: 5 messages in", "5 messages (500 B) left, link up"},
		{"link drain us", false, exitOK, "1 dropped, 0 left", ""},
		{"link drain us -o json", false, exitOK, `"drained_messages": 5`, ""},
		{"link drain slow --timeout 1s", true, exitMissed, "slow does not have everything yet: 1 messages", "4 messages are left (the link is down)"},
		{"link drain ap", false, exitRefused, "", "link_paused: the link to ap is paused; causeway ctl link resume ap"},
	} {
		r := ctlRun{dir: dir, terminal: c.terminal}
		out, errs, code := r.run(t.Context(), append([]string{"--data-dir", filepath.Join(dir, "data")}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.err) || !c.terminal && c.err == "" && errs != "" {
			t.Errorf("%s: exit %d\n%s\n%s", c.args, code, out, errs)
		}
	}
}

// A paused link says so wherever it is listed, also by a node that has not got it.
func TestPrintLinks_Paused(t *testing.T) {
	c := &ctl{now: func() time.Time { return noon }}
	here, elsewhere := link(), link()
	here.State, here.Pause = admin.LinkPaused, &admin.LinkPause{Since: noon.Add(-time.Minute), Until: at(time.Hour), Reason: "cable work"}
	elsewhere.Peer, elsewhere.State, elsewhere.Pause = "ap", admin.LinkElsewhere, here.Pause
	var out strings.Builder
	c.printLinks(noon)(&out, []admin.Link{here, elsewhere})
	for _, want := range []string{"us    paused ", "ap    elsewhere, paused ", "for 1m, goes on in 1h: cable work"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestDrainLine(t *testing.T) {
	first, now := admin.LinkDrain{Messages: 1000}, admin.LinkDrain{Messages: 400, Bytes: 2048, State: "up"}
	if got, want := drainLine(first, now, 3*time.Second), "400 messages (2.0 KiB) left, link up, 200/s, done in 2s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := drainLine(now, now, 3*time.Second), "400 messages (2.0 KiB) left, link up"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What waited for slow devices is a line of its own, and none while nothing did.
func TestSlowedLine(t *testing.T) {
	for d, want := range map[admin.Seconds]string{0: "", 90: "what came waited 1m30s for connected devices whose queues fill up"} {
		if got := slowedLine(admin.Link{SlowedSeconds: d}); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
