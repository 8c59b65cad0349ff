package admin

import (
	"slices"
	"strings"
	"testing"
)

// All of a client goes and nothing of another; a dry run says the same and does nothing. The audit log, and the events, have
// a hash of who it was.
func TestErase_WhatItRemoves(t *testing.T) {
	f := newFake()
	f.bans = []Ban{{ID: "1", Kind: "client", Namespace: "cars", Value: "car-1"}, {ID: "2", Kind: "client", Namespace: "plants", Value: "car-1"}, {ID: "3", Kind: "user", Namespace: "cars", Value: "car-1"}}
	s := fixture(t, f)
	plan := answer[Erased](t, call(t, s, "POST", "/v1/erase/cars/car-1?retained=fleet%2F%23&dry_run=true", ""))
	if did := f.done(); len(did) > 0 {
		t.Errorf("a dry run did %v", did)
	}
	e := answer[Erased](t, call(t, s, "POST", "/v1/erase/cars/car-1?retained=fleet%2F%23", ""))
	if !slices.Equal(plan.Effects, e.Effects) || len(e.Effects) < 3 || len(e.Remains) == 0 {
		t.Errorf("planned %q, did %q, remains %q", plan.Effects, e.Effects, e.Remains)
	}
	did := strings.Join(f.done(), "; ")
	for _, want := range []string{"delete session cars/car-1 will=false", "take back 1 ", "forget cars/car-1"} {
		if !strings.Contains(did, want) {
			t.Errorf("it did %q, and not %q", did, want)
		}
	}
	if strings.Contains(did, "take back 2") || strings.Contains(did, "take back 3") {
		t.Errorf("it took back others' bans: %q", did)
	}
	for _, r := range answer[Page[AuditRecord]](t, call(t, s, "GET", "/v1/audit?limit=50", "")).Items {
		if strings.Contains(r.Target+r.Request+r.Reason, "car-1") || !strings.Contains(r.Target, "client sha256:") {
			t.Errorf("the audit log says %+v", r)
		}
	}
	if none := answer[Erased](t, call(t, s, "POST", "/v1/erase/cars/nobody", "")); none.Target == e.Target || strings.Contains(strings.Join(none.Effects, " "), "session") {
		t.Errorf("of nobody: %+v", none)
	}
}
