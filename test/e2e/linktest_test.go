package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// An operator tries a link. It works; then the other region's process is frozen for a
// moment that no tunnel outlives, and the exit code says so.
func TestLinkTest_SaysWhatALinkIsWorth(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	subscribe(t, us.MQTT, "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-E").wait()
	awaitRoute(t, eu, "home/lamp", 0, 1)
	await(t, "canaries to cross both ways", func() bool {
		a, b := linkOf(t, eu).Canary, linkOf(t, us).Canary
		return a != nil && b != nil && a.RoundTripSeconds > 0 && b.RoundTripSeconds > 0
	})
	test := func(args ...string) (x admin.LinkTest, code int) {
		out, code := causeway(t, "", "", append([]string{"ctl", "--socket", eu.Socket(), "-o", "json", "link", "test", "us"}, args...)...)
		dec := json.NewDecoder(strings.NewReader(out))
		if err := dec.Decode(&x); err != nil {
			t.Fatalf("%v, exit code %d\n%s", err, code, out)
		}
		return x, code
	}
	x, code := test("--topic", "home/lamp", "--bytes", "2MiB", "--yes")
	if code != 0 || x.State != admin.LinkTestOK || len(x.Steps) != 9 {
		t.Errorf("exit code %d, %+v", code, x)
	}
	for _, s := range x.Steps {
		t.Logf("%s: %s", s.Name, s.Detail)
	}
	if x, code = test("--topic", "elsewhere"); code != 4 || x.State != admin.LinkTestMissed {
		t.Errorf("a topic nobody wants: exit code %d, %+v", code, x)
	}
	metrics, _ := page(t, eu, "/metrics")
	for _, want := range []string{`causeway_link_canary_age_seconds{direction="in",peer="us"} \d`, `causeway_link_canary_age_seconds{direction="out",peer="us"} \d`, `causeway_link_canary_seconds{peer="us"} 0\.\d`} {
		if !regexp.MustCompile(want).MatchString(metrics) {
			t.Errorf("no metric %s", want)
		}
	}

	if err := syscall.Kill(us.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(us.PID(), syscall.SIGCONT) }()
	x, code = test()
	if code != 1 || x.State != admin.LinkTestFailed {
		t.Errorf("a peer that hangs: exit code %d, %+v", code, x)
	}
	for _, s := range x.Steps {
		t.Logf("%s %s: %s", s.Name, s.State, s.Detail)
	}
}

func linkOf(t *testing.T, n *trial.Node) admin.Link {
	t.Helper()
	var links struct{ Items []admin.Link }
	if err := get(t, n, "/v1/links", &links); err != nil || len(links.Items) != 1 {
		t.Fatalf("links of %s: %v, %+v", n.Name, err, links)
	}
	return links.Items[0]
}
