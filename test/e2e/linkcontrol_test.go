package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A link under load is given a policy, paused, its region's leader killed, resumed and drained.
// The pause and the policy outlive the leader, nothing crosses meanwhile, and nothing is lost,
// doubled or reordered.
func TestLinkPaused_LeaderKilled(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Nodes: 3})
	eu, us := tr.Region("eu"), tr.Region("us")
	i := leaderOf(t, eu)
	leads, other := eu[i], eu[(i+1)%3]
	s := newStream(t, other, us[0], "paused", 2, 3000)
	secret := subscribe(t, us[0].MQTT, "-i", "spy", "-c", "-q", "1", "-t", "secret/#")
	awaitRoute(t, other, "secret/x", 0, 1)

	s.from.allow(500)
	s.awaitGot(200)
	ctl(t, other, "link", "policy", "us", "--never", "secret/#", "--rate", "20Mbit/s", "--yes")
	awaitRoute(t, other, "secret/x", 0, 0)
	publish(t, other.MQTT, "-q", "1", "-t", "secret/x", "-m", "leaked")
	s.awaitGot(500)

	ctl(t, other, "link", "pause", "us", "--reason", "cable work", "--yes")
	await(t, "the link to be paused at the leader", func() bool { return linkTo(t, leads, "us").State == admin.LinkPaused })
	s.from.allow(2000)
	s.awaitAcked(1500)
	leads.Kill()
	await(t, "another leader to have the link, paused", func() bool {
		return slices.ContainsFunc(eu, func(n *trial.Node) bool { return n != leads && linkTo(t, n, "us").State == admin.LinkPaused })
	})
	s.awaitAcked(2000)
	if got := s.got(); got != 500 {
		t.Errorf("%d messages have arrived while the link was paused, want 500", got)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", other.Socket(), "link", "drain", "us"); code != 3 || !strings.Contains(out, "causeway ctl link resume us") {
		t.Errorf("drain of a paused link: exit code %d\n%s", code, out)
	}
	var spool admin.SpoolReport
	ctlJSON(t, other, &spool, "link", "spool", "us")
	if spool.Messages < 1500 || len(spool.Topics) != 1 || spool.Topics[0].Filter != "stream/paused" {
		t.Errorf("spool %+v", spool)
	}
	restart(t, leads, 0)
	for _, n := range eu {
		if got := policyOf(t, n); got != "never=secret/# rate=20Mbit/s paused=cable work" {
			t.Errorf("at %s: %s", n.Name, got)
		}
	}

	s.from.allow(3000)
	ctl(t, leads, "link", "resume", "us", "--yes")
	var drained struct {
		Done     bool
		Messages int
		Dropped  int
	}
	ctlJSON(t, other, &drained, "link", "drain", "us", "--timeout", "40s")
	if !drained.Done || drained.Messages != 0 || drained.Dropped != 0 {
		t.Errorf("drained: %+v", drained)
	}
	if got := s.got(); got < 2000 {
		t.Errorf("%d messages have arrived by the end of the drain", got)
	}
	s.finish()
	settle("paused", s.from, s.to, 0).check(t, 3000, 2)
	if got := secret.out.String(); got != "" {
		t.Errorf("what must never go has gone: %q", got)
	}
}

// ctl runs a command that must succeed.
func ctl(t *testing.T, n *trial.Node, args ...string) {
	t.Helper()
	if out, code := causeway(t, "", "", append([]string{"ctl", "--socket", n.Socket()}, args...)...); code != 0 {
		t.Fatalf("ctl %q: exit code %d\n%s", args, code, out)
	}
}

// linkTo is a node's view of a link, empty if it does not answer.
func linkTo(t *testing.T, n *trial.Node, peer string) admin.Link {
	t.Helper()
	var d admin.LinkDetail
	if get(t, n, "/v1/links/"+peer, &d) != nil {
		return admin.Link{}
	}
	return d.Link
}

// policyOf is what was set for the region of the link to us, as a node knows it.
func policyOf(t *testing.T, n *trial.Node) string {
	t.Helper()
	var p admin.LinkPolicy
	ctlJSON(t, n, &p, "link", "policy", "us")
	var set []string
	for _, k := range p.Keys {
		if k.Origin == admin.OriginRegion {
			set = append(set, k.Key+"="+strings.Join(k.Value, " "))
		}
	}
	if p.Pause != nil {
		set = append(set, fmt.Sprintf("paused=%s", p.Pause.Reason))
	}
	return strings.Join(set, " ")
}

// leaderOf is which node of a region leads its home.
func leaderOf(t *testing.T, nodes []*trial.Node) (i int) {
	t.Helper()
	await(t, "a leader", func() bool {
		var c admin.Cluster
		if get(t, nodes[0], "/v1/cluster", &c) != nil {
			return false
		}
		i = slices.IndexFunc(nodes, func(n *trial.Node) bool { return n.Name == c.Leader })
		return i >= 0
	})
	return i
}

// What comes by the link from us has its place under a prefix in eu.
func TestLinkPrefix_MapsWhatComesIn(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	ctl(t, eu, "link", "policy", "us", "--in-prefix", "us/", "--yes")
	sub := subscribe(t, eu.MQTT, "-q", "1", "-t", "us/+/door", "-v", "-C", "3")
	awaitRoute(t, us, "car-1/door", 0, 1)
	awaitRoute(t, us, "us/car-1/door", 0, 0)
	began := time.Now()
	publish(t, us.MQTT, "-q", "1", "-t", "car-1/door", "-m", "open")
	publish(t, us.MQTT, "-q", "2", "-t", "car-2/door", "-m", "shut", "-r")
	publish(t, us.MQTT, "-q", "0", "-t", "car-3/door", "-m", "ajar")
	got := sub.lines()
	slices.Sort(got)
	if want := []string{"us/car-1/door open", "us/car-2/door shut", "us/car-3/door ajar"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q after %v", got, want, time.Since(began))
	}
	late := subscribe(t, eu.MQTT, "-q", "1", "-t", "us/car-2/#", "-v", "-C", "1")
	if got := late.lines(); !slices.Equal(got, []string{"us/car-2/door shut"}) {
		t.Errorf("retained: %q", got)
	}
}
