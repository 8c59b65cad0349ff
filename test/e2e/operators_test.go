package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// readyz is what a load balancer is told: the status code and the state.
func readyz(t *testing.T, n *trial.Node) (code int, state string) {
	t.Helper()
	body, code := page(t, n, "/readyz")
	if m := regexp.MustCompile(`"state":"(\w+)"`).FindStringSubmatch(body); m != nil {
		state = m[1]
	}
	return code, state
}

func page(t *testing.T, n *trial.Node, path string) (body string, code int) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + n.Metrics + path)
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(b), resp.StatusCode
}

// Through any node an operator sees the devices of all, and throws one off wherever it is. The numbers of the region are
// on the metrics page. A node that is gone is named.
func TestCtl_OverARegion(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	f := newFleet(t, addr, 6)
	defer f.pace(50 * time.Millisecond)()

	at := map[string]string{} // node by device
	for i, n := range nodes {
		var p admin.ClientPage
		ctlJSON(t, n, &p, "clients", "list", "--limit", "0")
		if len(p.Items) != 12 || len(p.Unanswered) > 0 {
			t.Errorf("through %s: %d devices, unanswered %v", n.Name, len(p.Items), p.Unanswered)
		}
		for _, c := range p.Items {
			at[c.ClientID] = c.Node
		}
		other := nodes[(i+1)%3].Name
		ctlJSON(t, n, &p, "clients", "list", "--node", other)
		if len(p.Items) != 4 || slices.ContainsFunc(p.Items, func(c admin.Client) bool { return c.Node != other }) {
			t.Errorf("%s through %s: %+v", other, n.Name, p.Items)
		}
	}
	d := f.pairs[0].to
	through := nodes[slices.IndexFunc(nodes, func(n *trial.Node) bool { return n.Name != at[d.id] })]
	if out, code := causeway(t, "", "", "ctl", "--socket", through.Socket(), "clients", "show", d.id); code != 0 || !strings.Contains(out, at[d.id]) {
		t.Errorf("clients show: exit code %d\n%s", code, out)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", through.Socket(), "clients", "kick", d.id, "--yes"); code != 0 {
		t.Errorf("clients kick: exit code %d\n%s", code, out)
	}
	await(t, "the device that was thrown off to be back", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.connects == 2 && d.conn != nil })

	leader := gateway(t, nodes)
	text, _ := page(t, leader, "/metrics")
	for _, n := range nodes {
		if n == leader {
			continue
		}
		for _, want := range []string{`causeway_home_follower_lag_entries{home="eu",node="%s"} `, `causeway_sibling_up{node="%s"} 1`} {
			if want = fmt.Sprintf(want, n.Name); !strings.Contains(text, want) {
				t.Errorf("the metrics of %s have no %s", leader.Name, want)
			}
		}
	}
	for _, want := range []string{`causeway_home_leader{home="eu"} 1`, `causeway_home_votes{home="eu"} 3`, `causeway_home_votes_configured{home="eu"} 3`,
		`causeway_region_nodes{role="core",seen="yes"} 3`, `causeway_home_stale_seconds{home="eu"} 0`, `causeway_node_state{state="ready"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics of %s have no %s", leader.Name, want)
		}
	}

	nodes[2].Kill()
	await(t, "the node that is gone to be named", func() bool {
		out, code := causeway(t, "", "", "ctl", "--socket", nodes[0].Socket(), "status", "--region")
		return code == 0 && regexp.MustCompile(`(?m)^eu-1 +ready(?s:.*)^eu-2 +ready(?s:.*)^eu-3 +no answer`).MatchString(out)
	})
}

// A node that crashed is out of the load balancer with the first device that is refused, before a health check fails
// twice. It comes back with an empty disk, is catching up, and gets nobody before it is ready.
func TestBalancer_CrashAndEmptyDisk(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	front, n := tr.Front("eu"), tr.Region("eu")[1]
	f := newFleet(t, addr, 20)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	n.Kill()
	began := time.Now()
	var why string
	await(t, "the load balancer to give the node up", func() bool {
		up, check := front.Server(n.Name)
		why = check
		return !up
	})
	took := time.Since(began)
	t.Logf("the crashed node is out after %s, by %s", took.Round(time.Millisecond), why)
	if why != "HANA" && took > 100*time.Millisecond { // two failed checks are 100 ms apart
		t.Errorf("out after %s by %s, want by a connection that was refused", took, why)
	}

	if err := n.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the node to be ready", func() bool {
		var st admin.Status
		if get(t, n, "/v1/status", &st) != nil {
			return false
		}
		if st.State.State != "ready" && st.Totals.Connections > 0 {
			t.Fatalf("a node that is %s has %d devices", st.State.State, st.Totals.Connections)
		}
		return st.State.State == "ready"
	})
	if log := n.LogTail(40); !regexp.MustCompile(`state=catching_up(?s:.*)state=ready`).MatchString(log) || strings.Contains(log, "state=isolated") {
		t.Errorf("it was not catching up, or called itself isolated:\n%s", log)
	}
	await(t, "the load balancer to see it", func() bool { up, _ := front.Server(n.Name); return up })
	stop()
	f.settle()
}
