package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"causeway/internal/audit"
	"causeway/internal/store"
)

func trail(t *testing.T, s *Server) (out []string) {
	t.Helper()
	for _, r := range answer[Page[AuditRecord]](t, call(t, s, "GET", "/v1/audit", "")).Items {
		line := fmt.Sprintf("%d %s %s %s", r.N, r.State, r.Who, r.Target)
		if r.Of > 0 {
			line += fmt.Sprintf(" of %d", r.Of)
		}
		if r.Request != "" {
			line += " " + r.Request
		}
		out = append(out, line)
	}
	return out
}

// What changes something is kept before it is done and after; looking and trying are not, but for payloads.
func TestAudit_WhatIsKept(t *testing.T) {
	s := fixture(t, newFake())
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/v1/clients", ""},
		{"DELETE", "/v1/clients/cars/car-1?dry_run=true", ""},
		{"DELETE", "/v1/clients/cars/car-1", ""},
		{"POST", "/v1/peers/us/forget", `{"confirm":"us"}`},
		{"POST", "/v1/peers/us/forget", ""},
		{"DELETE", "/v1/clients/cars/none", ""},
		{"GET", "/v1/sessions/cars/car-1/queue", ""},
		{"GET", "/v1/sessions/cars/car-1/queue?payload=true", ""},
		{"GET", "/v1/retained/cars/fleet%2Fa", ""},
	} {
		call(t, s, c.method, c.path, c.body)
	}
	want := []string{
		"1 asked socket /v1/clients/cars/car-1", "2 done socket /v1/clients/cars/car-1 of 1",
		`3 asked socket /v1/peers/us/forget {"confirm":"us"}`, "4 done socket /v1/peers/us/forget of 3",
		"5 asked socket /v1/peers/us/forget", "6 refused socket /v1/peers/us/forget of 5",
		"7 asked socket /v1/clients/cars/none", "8 refused socket /v1/clients/cars/none of 7",
		"9 asked socket /v1/sessions/cars/car-1/queue?payload=true", "10 done socket /v1/sessions/cars/car-1/queue?payload=true of 9",
		"11 asked socket /v1/retained/cars/fleet%2Fa", "12 done socket /v1/retained/cars/fleet%2Fa of 11",
	}
	if got := trail(t, s); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if v := answer[AuditVerified](t, call(t, s, "GET", "/v1/audit/verify", "")); !v.Intact || v.Last != 12 {
		t.Errorf("%+v", v)
	}
	exported := call(t, s, "GET", AuditPath, "").Body.String()
	if v, err := audit.Verify(strings.NewReader(exported)); err != nil || v.Last != 12 {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := audit.Verify(strings.NewReader(strings.Replace(exported, "car-1", "car-2", 1))); !errors.Is(err, audit.ErrAltered) {
		t.Errorf("altered: %+v, %v", v, err)
	}
}

// A log that cannot be written stops nobody, and is counted.
func TestAudit_DiskFull(t *testing.T) {
	fs := store.NewCrashFS()
	s := fixture(t, newFake(), func(o *Options) { o.Audit = audit.New(fs, "audit", audit.Options{}) })
	fs.FailAfter(0, errors.New("no space left on device"))
	if w := call(t, s, "DELETE", "/v1/clients/cars/car-1", ""); w.Code != http.StatusOK {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if w := call(t, s, "GET", "/metrics", ""); !strings.Contains(w.Body.String(), "causeway_audit_failures_total 2") {
		t.Error("the failures are not counted")
	}
}
