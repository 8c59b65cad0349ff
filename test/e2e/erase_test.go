package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// exported is `sessions export`: the client ids in its order.
func exported(t *testing.T, n *trial.Node, args ...string) (ids []string) {
	t.Helper()
	out, code := causeway(t, "", "", append([]string{"ctl", "--socket", n.Socket(), "sessions", "export"}, args...)...)
	if code != 0 {
		t.Fatal(out)
	}
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		var x admin.SessionDetail
		if err := json.Unmarshal(s.Bytes(), &x); err != nil || len(x.Subscriptions) != 1 {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		ids = append(ids, x.Session.ClientID)
	}
	return ids
}

// Of a client that is erased nothing is left in its region: no session with what waits for it, no retained message that is
// named, no memory of its connections, and only a hash in the record of who did it. Others keep theirs. The export has
// every session once, with its subscriptions.
func TestErase_NothingIsLeft(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	var want []string
	for i := range 20 {
		id := fmt.Sprintf("lamp-%02d", i)
		subscribe(t, eu.MQTT, "-V", "5", "-i", id, "-c", "-q", "1", "-t", "home/"+id, "-x", "100000", "-E").wait()
		want = append(want, id)
	}
	publishLines(t, eu.MQTT, numbers(3), "-q", "1", "-t", "home/lamp-07")
	for _, topic := range []string{"lamp-07/state", "lamp-08/state"} {
		publishLines(t, eu.MQTT, nil, "-q", "1", "-r", "-t", topic, "-m", "on")
	}
	awaitQueued(t, eu, "lamp-07", 3)
	if got := exported(t, eu); !slices.Equal(got, want) {
		t.Errorf("exported %v", got)
	}
	if got := exported(t, eu, "--prefix", "lamp-1", "-o", "ndjson"); !slices.Equal(got, want[10:]) {
		t.Errorf("exported %v of those with a prefix", got)
	}

	var plan, done admin.Erased
	ctlJSON(t, eu, &plan, "erase", "client", "lamp-07", "--retained", "lamp-07/#", "--dry-run")
	if got := exported(t, eu); !slices.Equal(got, want) {
		t.Errorf("a dry run removed something: %v", got)
	}
	ctlJSON(t, eu, &done, "erase", "client", "lamp-07", "--retained", "lamp-07/#", "--yes")
	if !slices.Equal(plan.Effects, done.Effects) || len(done.Remains) == 0 {
		t.Errorf("planned %q, did %q, remains %q", plan.Effects, done.Effects, done.Remains)
	}
	if text := strings.Join(done.Effects, "; "); !strings.Contains(text, "3 messages") || !strings.Contains(text, "1 retained") {
		t.Errorf("it says %q", text)
	}
	if got := exported(t, eu); !slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(id string) bool { return id == "lamp-07" })) {
		t.Errorf("left are %v", got)
	}
	var h admin.DeviceHistory
	ctlJSON(t, eu, &h, "clients", "history", "lamp-07")
	if len(h.Events) > 0 {
		t.Errorf("remembered %+v", h.Events)
	}
	var kept admin.Page[admin.Retained]
	ctlJSON(t, eu, &kept, "retained", "list")
	if len(kept.Items) != 1 || kept.Items[0].Topic != "lamp-08/state" {
		t.Errorf("retained %+v", kept.Items)
	}
	if out, _ := causeway(t, "", "", "ctl", "--socket", eu.Socket(), "audit", "export"); strings.Contains(out, "lamp-07") || !strings.Contains(out, done.Target) {
		t.Errorf("the audit log: %s", out)
	}
	// It begins anew: what waited is gone.
	again := []string{"-V", "5", "-i", "lamp-07", "-c", "-q", "1", "-t", "home/lamp-07", "-x", "100000"}
	subscribe(t, eu.MQTT, append(again, "-E")...).wait()
	publishLines(t, eu.MQTT, []string{"new"}, "-q", "1", "-t", "home/lamp-07")
	if got := subscribe(t, eu.MQTT, append(again, "-C", "1")...).lines(); !slices.Equal(got, []string{"new"}) {
		t.Errorf("it still got %v", got)
	}
}
