package admin

import (
	"testing"
	"time"
)

// A link that is up and forwards nothing is the one thing wrong, before what its
// spool may become of it. One that is down, or another node's, is not late.
func TestDiagnose_ALinkThatIsUpAndForwardsNothing(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		link Link
		want string
	}{
		{Link{State: LinkUp, Canary: &LinkCanary{OutAgeSeconds: 9, InAgeSeconds: 9}}, ""},
		{Link{State: LinkUp}, ""},
		{Link{State: LinkElsewhere, Canary: &LinkCanary{OutAgeSeconds: 60}}, ""},
		{Link{State: LinkUp, Canary: &LinkCanary{OutAgeSeconds: 60, InAgeSeconds: 1}}, "the link to us is up, but nothing has arrived there for 1m"},
		{Link{State: LinkUp, LagMessages: 12, SpoolBytes: 90, SpoolCapacityBytes: 100, Canary: &LinkCanary{OutAgeSeconds: 60, InAgeSeconds: 90}},
			"the link to us is up, but what arrived there last was sent 1m ago; 12 messages wait for it"},
		{Link{State: LinkUp, Canary: &LinkCanary{OutAgeSeconds: 1, InAgeSeconds: 60}}, "the link to us is up, but nothing has come from there for 1m"},
	} {
		c.link.Peer = "us"
		got := diagnose(Status{Now: now, State: State{State: "ready"}, Links: []Link{{Peer: "ap", State: LinkUp, Canary: &LinkCanary{OutAgeSeconds: 2}}, c.link}})
		switch {
		case got == nil && c.want != "":
			t.Errorf("nothing is wrong with %+v", c.link)
		case got != nil && (got.Summary != c.want || got.Next != "causeway ctl link test us" || !got.Since.Equal(now.Add(-time.Minute))):
			t.Errorf("%+v", got)
		}
	}
}
