package e2e

import (
	"encoding/json"
	"regexp"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// What an operator looks at with `causeway ctl`, as text and as JSON, on a region that is linked
// and has a device away.
func TestCtl_ShowsWhatIsThere(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	subscribe(t, us.MQTT, "-i", "lamp", "-c", "-q", "1", "-t", "home/#", "-E").wait()
	awaitRoute(t, eu, "home/lamp", 0, 1)
	publish(t, eu.MQTT, "-q", "1", "-t", "home/lamp", "-m", "on")
	awaitQueued(t, us, "lamp", 1)

	for _, c := range []struct {
		n    *trial.Node
		args []string
		want string
	}{
		{eu, []string{"status"}, `node +eu-1 in region eu(?s:.*)state +ready(?s:.*)trouble +(none|not ready for a disaster)(?s:.*)us +up`},
		{us, []string{"sessions", "list"}, `lamp +us +detached +- +1 `},
		{eu, []string{"link", "show", "us"}, `up(?s:.*)` + regexp.QuoteMeta(us.Link)},
		{eu, []string{"routes", "test", "home/lamp"}, `sessions 0, shared groups 0, peers 1(?s:.*)peer +us +yes`},
	} {
		out, code := causeway(t, "", "", append([]string{"ctl", "--socket", c.n.Socket()}, c.args...)...)
		if code != 0 || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("ctl %q: exit code %d, no match of %s\n%s", c.args, code, c.want, out)
		}
	}

	var st admin.Status
	ctlJSON(t, eu, &st, "status")
	if st.Region != "eu" || st.Node != "eu-1" || st.State.State != "ready" || len(st.Links) != 1 || st.Links[0].State != admin.LinkUp {
		t.Errorf("status %+v", st)
	}
	var sessions struct{ Items []admin.Session }
	ctlJSON(t, us, &sessions, "sessions", "list")
	if len(sessions.Items) != 1 || sessions.Items[0].ClientID != "lamp" || sessions.Items[0].State != "detached" || sessions.Items[0].Queued != 1 {
		t.Errorf("sessions %+v", sessions)
	}
	var link admin.LinkDetail
	ctlJSON(t, eu, &link, "link", "show", "us")
	if link.Link.Peer != "us" || link.Link.State != admin.LinkUp || link.Interest.Filters != 1 {
		t.Errorf("link %+v", link)
	}
	var route admin.Route
	ctlJSON(t, eu, &route, "routes", "test", "home/lamp")
	if route.Topic != "home/lamp" || route.Peers != 1 || len(route.Targets) != 1 || !route.Targets[0].Sends {
		t.Errorf("route %+v", route)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", eu.Socket(), "link", "show", "mars"); code != 1 {
		t.Errorf("a link that is not there: exit code %d\n%s", code, out)
	}
}

func ctlJSON(t *testing.T, n *trial.Node, into any, args ...string) {
	t.Helper()
	out, code := causeway(t, "", "", append([]string{"ctl", "--socket", n.Socket(), "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil || code != 0 {
		t.Errorf("ctl %q -o json: exit code %d, %v\n%s", args, code, err, out)
	}
}
