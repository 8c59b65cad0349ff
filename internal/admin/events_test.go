package admin

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who follows gets what is kept and what comes, once each, and goes on where it was.
func TestEvents_Follow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	events := &Events{}
	events.Emit("drill", "q-1", "first")
	s := fixture(t, newFake(), func(o *Options) { o.Socket, o.Events = path, events })
	running(t, s)
	r := remote(t, Address{Socket: path})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	listen := func(after uint64, until string) uint64 {
		t.Helper()
		one, stop := context.WithCancel(ctx)
		defer stop()
		after, _ = r.Follow(one, "events", after, func(e Event) {
			if e.Kind != "drill" {
				return // the server looks, too
			}
			got = append(got, e.Text)
			switch e.Text {
			case until:
				stop()
			case "first":
				events.Emit("drill", "q-1", "second")
			}
		})
		return after
	}
	after := listen(0, "second")
	events.Emit("drill", "q-1", "third")
	after = listen(after, "third")
	if want := "first second third"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
	if after >= 1000 {
		t.Fatal("more events than there can be")
	}
	if kept, _ := events.after(1 << 40); len(kept) == 0 {
		t.Error("who knows a number of the run before gets nothing")
	}
	for range 2 * keptEvents {
		events.Emit("x", "", "")
	}
	if kept, _ := events.after(0); len(kept) != keptEvents {
		t.Errorf("%d are kept", len(kept))
	}
}

// A region that is gone is the one thing wrong, with since when, what is left to decide, and what to type.
func TestStatus_RegionGone(t *testing.T) {
	h := RegionHome{Home: "eu", Region: "us", Role: "standby", Host: "eu", Mode: "manual", DownAfterSeconds: 10, Sessions: 500_000, FleetSeconds: 100,
		Voters: []RegionVoter{{Name: "eu", Votes: true, HeardSeconds: 42}, {Name: "w1", Votes: true, HeardSeconds: 0.5}}}
	tr := h.gone(noon)
	if tr == nil || !noon.Add(-42*time.Second).Equal(tr.Since) || tr.Next != "causeway ctl region failover eu --dry-run" ||
		!strings.HasPrefix(tr.Summary, "region eu is gone: 2 of 3 votes are heard without it, 500000 sessions are in the copy here, about 1m40s until") {
		t.Errorf("%+v", tr)
	}
	h.Mode = "auto"
	if tr := h.gone(noon); tr == nil || !strings.HasSuffix(tr.Summary, "the voters decide") {
		t.Errorf("%+v", tr)
	}
	h.Voters[0].HeardSeconds = 9
	if tr := h.gone(noon); tr != nil {
		t.Errorf("%+v", tr)
	}
}
