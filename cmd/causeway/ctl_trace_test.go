package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
)

// traceAPI is a node with a trace of two pages, two pages of sessions, and another node that does not answer.
func traceAPI(t *testing.T) (*fakeAPI, ctlRun) {
	t.Helper()
	of := admin.Trace{ID: "t1", Kind: "client", Value: "car-1", State: "over", Start: noon, Until: noon, Dropped: 4}
	line := func(n uint64, event, reason string) admin.TraceLine {
		return admin.TraceLine{N: n, At: noon.Add(time.Duration(n) * time.Second), Node: "eu-1", Event: event, ClientID: "car-1", Topic: "cmd/x", QoS: 1, Bytes: 12, PacketID: 7, Reason: reason}
	}
	session := func(id string) admin.SessionDetail {
		return admin.SessionDetail{Session: admin.Session{Namespace: "cars", ClientID: id}, Subscriptions: []admin.Subscription{{Filter: "cmd/" + id}}}
	}
	gone := []admin.Unanswered{{Node: "eu-2", Reason: "it is not seen"}}
	f := &fakeAPI{answers: map[string]any{
		"GET /v1/traces/t1?limit=1000":                                   admin.TracePage{Trace: of, Items: []admin.TraceLine{line(1, "published", "")}, Next: "eu-1=1", More: true, Unanswered: gone},
		"GET /v1/traces/t1?after=eu-1%3D1&limit=1000":                    admin.TracePage{Trace: of, Items: []admin.TraceLine{line(2, "denied", "publish: \x1b[31mno")}, Next: "eu-1=2"},
		"GET /v1/sessions/export?limit=1000&namespace=cars":              admin.Page[admin.SessionDetail]{Items: []admin.SessionDetail{session("a"), session("b")}, Next: "x"},
		"GET /v1/sessions/export?after=x&limit=1000&namespace=cars":      admin.Page[admin.SessionDetail]{Items: []admin.SessionDetail{session("c")}, Next: "y"},
		"POST /v1/erase/default/car-1?retained=car%2F1%2F%23%2Cstate%2F": admin.Erased{Action: "erase", Target: "client sha256:ab", Effects: []string{"its session"}, Remains: []string{"2 backups"}, Unanswered: gone},
	}}
	dir := t.TempDir()
	f.serve(t, filepath.Join(dir, "data"))
	return f, ctlRun{dir: dir, env: []string{"CAUSEWAY_DATA_DIR=" + filepath.Join(dir, "data")}}
}

func TestCtlTrace_PrintsAllPages(t *testing.T) {
	_, run := traceAPI(t)
	out, errs, code := run.run(t.Context(), "trace", "get", "t1")
	if want := "12:00:01.000  eu-1     published    car-1  cmd/x  qos 1  12 B  id 7\n12:00:02.000  eu-1     denied       car-1  cmd/x  qos 1  12 B  id 7  publish: "; code != 0 || !strings.HasPrefix(out, want) || strings.Contains(out, "\x1b") {
		t.Errorf("%d: %q", code, out)
	}
	if !strings.Contains(errs, "eu-2 is missing") || !strings.Contains(errs, "4 older lines") {
		t.Errorf("it says %q", errs)
	}
	out, _, code = run.run(t.Context(), "trace", "get", "t1", "-o", "ndjson")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || len(lines) != 2 || !strings.Contains(lines[1], `"event":"denied"`) {
		t.Errorf("%d: %q", code, out)
	}
	if _, _, code = run.run(t.Context(), "trace", "start", "--client", "a", "--topic", "b"); code != exitUsage {
		t.Errorf("a client and a topic: %d", code)
	}
}

// An export that breaks off printed what it had, and says where to go on.
func TestCtlExport_SaysWhereToGoOn(t *testing.T) {
	_, run := traceAPI(t)
	out, errs, code := run.run(t.Context(), "sessions", "export", "--namespace", "cars")
	if code != exitFailed || strings.Count(out, "\n") != 3 || !strings.Contains(out, `"filter":"cmd/c"`) || !strings.Contains(errs, "--after y") {
		t.Errorf("%d: %q, %q", code, out, errs)
	}
}

func TestCtlErase_PartlyWhenANodeIsAway(t *testing.T) {
	_, run := traceAPI(t)
	out, errs, code := run.run(t.Context(), "erase", "client", "car-1", "--retained", "car/1/#", "--retained", "state/", "--yes")
	if code != exitPartly || !strings.Contains(out, "2 backups") || !strings.Contains(out, "eu-2 is missing") || !strings.Contains(errs, "did not answer") {
		t.Errorf("%d: %q, %q", code, out, errs)
	}
}
