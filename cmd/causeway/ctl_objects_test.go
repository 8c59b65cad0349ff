package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
)

// --home is passed on by every command about what is configured, and admission show has the queue and its stages.
func TestCtl_OfAHomeThatWasTakenOver(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	(&fakeAPI{answers: map[string]any{
		"GET /v1/objects/history?home=eu":              admin.Page[admin.ObjectsRevision]{Items: []admin.ObjectsRevision{{Revision: 9, At: at, By: "alice", InForce: true}}},
		"GET /v1/objects?home=eu&section=acl":          admin.ObjectsText{Revision: 9, At: at, By: "alice", Text: "acl: []\n"},
		"POST /v1/objects/rollback?home=eu&revision=7": admin.ObjectsChange{Action: "roll back region objects", Target: "revision 7", Revision: 10},
		"DELETE /v1/users/lamp?home=eu":                admin.Change{Action: "delete user", Target: "lamp"},
		"GET /v1/tokens?home=eu":                       admin.Page[admin.Token]{Items: []admin.Token{{Name: "ci", Role: "viewer", Origin: admin.OriginRegion}}},
		"GET /v1/admission": admin.AdmissionReport{Node: "eu-1", Rule: admin.AdmissionRule{PerSecond: 500, By: "ops"}, Queue: admin.Admission{PerSecond: 500, Waiting: 1500, DrainSeconds: 3,
			Namespaces: []admin.QueueCount{{Namespace: "cars", Count: 1500}}}, Stages: []admin.StageTime{{Stage: "tls", Connections: 4, MeanSeconds: 0.06, Share: 0.6}}},
	}}).serve(t, filepath.Join(dir, "data"))
	for line, want := range map[string]string{
		"history --home eu":                 "in force",
		"get acl --home eu":                 "acl: []",
		"rollback 7 --home eu --yes":        "revision 7: done",
		"users delete lamp --home eu --yes": "delete user",
		"tokens list --home eu":             "ci",
		"admission show":                    "1500 wait for their turn, 500 a second are let in: 3s until all are",
		"admission show -o table":           "60%",
	} {
		stdout, stderr, code := ctlRun{dir: dir}.run(t.Context(), append([]string{"--data-dir", filepath.Join(dir, "data")}, strings.Fields(line)...)...)
		if code != 0 || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%s: exit %d\n%s%s", line, code, stdout, stderr)
		}
	}
}
