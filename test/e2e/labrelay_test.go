package e2e

import (
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/lab"
)

// throughHub is eu and us behind NATs, with no path between them and one of each to a hub that
// relays.
func throughHub(t *testing.T) *wide {
	t.Helper()
	n := lab.New(t)
	w := newWide(t)
	w.eu, w.us = n.Site("eu", lab.SymmetricNAT), n.Site("us", lab.PortRestrictedNAT)
	hub := n.Site("hub", lab.Router)
	w.path = n.Path(w.eu, w.us)
	w.path.Down(true)
	n.Path(w.eu, hub).Set(ordinary)
	n.Path(w.us, hub).Set(ordinary)
	w.sites = map[string]*lab.Site{"eu": w.eu, "us": w.us, "hub": hub}
	w.tr = start(t, trial.Options{
		Regions: []string{"eu", "us", "hub"},
		Within:  func(region string) []string { return w.sites[region].Exec() },
		Links: func(region string, _ int) trial.Links {
			at := w.sites[region].Address()
			l := trial.Links{Listen: at + ":7444", ListenTCP: at + ":7445", Dial: []string{"udp://" + at + ":7444"}}
			if region == "us" { // as eu dials it
				l.Dial = []string{"relay://hub"}
			}
			return l
		},
		Relay: func(region string) []string {
			return map[string][]string{"hub": {"eu", "us"}}[region]
		},
	})
	w.bothWays()
	return w
}

// Two regions behind NATs have a hub alone in common: it relays between them. Its node is killed
// while batches are on their way.
func TestLab_RelayKilled(t *testing.T) {
	w := throughHub(t)
	w.on("relay")
	l := w.link("eu")
	t.Logf("through %s, round trip %v (to the hub %v); %s (%s)", l.Via, l.RTTSeconds.Duration().Round(time.Millisecond),
		w.linkTo("eu", "hub").RTTSeconds.Duration().Round(time.Millisecond), l.TransportReason, l.Cause)
	if l.Via != "hub" || l.Cause != "relayed" || l.RTTSeconds.Duration() < 80*time.Millisecond {
		t.Errorf("eu says %+v", l)
	}
	times := 1
	if *wholeLab {
		times = 4
	}
	hub := w.tr.Node("hub")
	for range times {
		if *wholeLab {
			time.Sleep(6 * time.Second) // a tunnel that ends young is dialled again later and later
		}
		hub.Kill()
		killed := time.Now()
		restart(t, hub, 0)
		took := w.caughtUp("after the hub was killed")
		t.Logf("hub killed: served again after %v, %v more to the first message published since", (time.Since(killed) - took).Round(time.Millisecond), took.Round(time.Millisecond))
	}
	w.on("relay")
	if r := w.linkTo("hub", "eu").Relayed; len(r) != 1 || r[0].To != "us" || r[0].Bytes == 0 {
		t.Errorf("the hub says it relayed from eu %+v", r)
	}
	w.finish()
	if direct := w.path.Carried(); direct.Sum() != 0 {
		t.Errorf("%+v passed between eu and us directly", direct)
	}
}
