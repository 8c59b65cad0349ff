package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/app"
	"causeway/internal/home"
	meshtls "causeway/tls"
)

// A spool that lies in runs, partly on the disk, is looked at, by a sample where it is long; a
// change of policy and a trim say beforehand what they do, and do it.
func TestLinkSpool_LookedAtAndTrimmed(t *testing.T) {
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(filepath.Join(dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	is, err := meshtls.Issue(ca, meshtls.Identity{Region: "eu", Node: "eu-1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := is.Write(dir, "node", false); err != nil {
		t.Fatal(err)
	}
	eu := start(t, fmt.Sprintf(`
region: eu
data_dir: %[1]s/data
identity: { cert: %[1]s/node.pem, key: %[1]s/node-key.pem, ca: %[1]s/ca.pem }
listeners: [ { name: mqtt, type: mqtt, listen: "127.0.0.1:0", auth: [anonymous] } ]
admin: { socket: %[1]s/s }
link: { listen: "127.0.0.1:0" }
links: [ { peer: us, spool: { bytes: 4MiB, classes: [ { name: cmd, filters: ["cmd/#"] } ] } } ]
`, dir), app.Options{LookTime: patience}) // a look that is cut short sees less than its sample
	r := eu.Replica()
	do := func(op home.Op) {
		for r.Propose(op, func(home.Outcome, error) {}) != nil {
			if err := r.Room(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	do(&home.Interest{Peer: "us", Epoch: home.Epoch{Number: 1, Host: "us"}, Full: true, Version: 1, Add: []home.InterestFilter{{Namespace: "default", Filter: "#"}}})
	const n = 60_000
	for i := range n {
		topic := []string{"fleet/a/x", "fleet/b/x", "fleet/b/y", "cmd/z"}[i%4]
		do(&home.Publish{Session: home.SessionKey{Namespace: "default"}, Topic: topic, Payload: []byte(strings.Repeat("x", 40)), QoS: 1})
	}
	call := caller(t, filepath.Join(dir, "s"))
	var report admin.SpoolReport
	await(t, "everything to be spooled", func() bool { call("GET", "/v1/links/us/spool", "", &report); return report.Messages == n })
	if !report.Sampled || report.LookedAt < 10_000 || report.LookedAt == n || len(report.Classes) != 2 || report.Classes[0].Messages != n/4 {
		t.Errorf("report %+v", report)
	}
	if len(report.Topics) != 3 || report.Topics[0].Filter != "fleet/b/#" || !near(report.Topics[0].Messages, n/2) || !near(report.Topics[1].Messages, n/4) {
		t.Errorf("topics %+v", report.Topics)
	}

	var change admin.PolicyChange
	const hide = `{"set":[{"key":"never","value":["fleet/a/#"]}]}`
	call("POST", "/v1/links/us/policy?dry_run=true", hide, &change)
	if !change.Sampled || !near(change.Withheld, n/4) || len(change.Diff) != 1 || !eu.State().MayGo("us", "fleet/a/x") {
		t.Errorf("change %+v", change)
	}
	call("POST", "/v1/links/us/policy", hide, &change)
	if eu.State().MayGo("us", "fleet/a/x") || !eu.State().MayGo("us", "fleet/b/x") {
		t.Error("the policy was not changed")
	}

	call("POST", "/v1/links/us/policy?dry_run=true", `{"set":[{"key":"spool.bytes","value":["1MiB"]},{"key":"spool.age","value":["1s"]},{"key":"in_prefix","value":["us/"]}]}`, &change)
	if len(change.Effects) != 6 || !strings.Contains(change.Effects[3], "over its new bound") || !strings.Contains(change.Effects[4], "over the new age") {
		t.Errorf("effects %q", change.Effects)
	}

	var done admin.Change
	call("POST", "/v1/links/us/spool/trim?dry_run=true&class=cmd", "", &done)
	if want := fmt.Sprintf("%d spooled messages", n/4); len(done.Effects) != 1 || !strings.HasPrefix(done.Effects[0], want) {
		t.Errorf("a trim would be %+v, want %s", done, want)
	}
	call("POST", "/v1/links/us/spool/trim?class=cmd", `{"confirm":"us"}`, &done)
	call("POST", "/v1/links/us/spool/trim?filter=fleet%2Fb%2F%23", `{"confirm":"us"}`, &done)
	call("GET", "/v1/links/us/spool?depth=1", "", &report)
	if report.Messages != n*3/4 || report.Dropped != n/4 || len(report.Trims) != 1 || report.Trims[0].Filter != "fleet/b/#" || len(report.Topics) != 1 {
		t.Errorf("after the trims: %+v", report)
	}
	call("GET", "/v1/links/us/drain", "", nil) // refused: nobody is there
}

// near allows for what a sample misses.
func near(got, want int) bool { return got > want*9/10 && got < want*11/10 }

// caller calls the API at a socket. A nil answer wants a refusal.
func caller(t *testing.T, socket string) func(method, path, body string, into any) {
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	t.Cleanup(c.CloseIdleConnections)
	return func(method, path, body string, into any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://node"+path, bytes.NewBufferString(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		switch {
		case into == nil && resp.StatusCode != http.StatusConflict, into != nil && resp.StatusCode != http.StatusOK:
			t.Fatalf("%s %s: %s", method, path, resp.Status)
		case into != nil:
			if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
		}
	}
}
