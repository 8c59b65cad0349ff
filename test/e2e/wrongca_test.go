package e2e

import (
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// The node of us has its certificate from another authority. The link stays down and says
// whose certificate it saw, who had issued it, and whom it wanted; devices are served.
func TestWrongCA_LinkSaysWhatItSawAndWanted(t *testing.T) {
	t.Parallel()
	at := []trial.Ports{}
	for range 2 {
		at = append(at, trial.Ports{MQTT: port(t), WebSocket: port(t), Link: port(t), Metrics: port(t)})
	}
	same := func(i, _ int) trial.Ports { return at[i] }
	eu := layOut(t, trial.Options{Ports: same}).Node("eu")
	us := layOut(t, trial.Options{Ports: same}).Node("us") // of a trial with a CA of its own
	restart(t, us, 0)
	restart(t, eu, 0)

	var reason string
	await(t, "eu's link to tell", func() bool {
		var links struct{ Items []admin.Link }
		if err := get(t, eu, "/v1/links", &links); err != nil || len(links.Items) != 1 {
			reason = "no link"
			return false
		}
		l := links.Items[0]
		reason = l.Reason
		return l.State != admin.LinkUp && l.Cause == "identity"
	})
	for _, w := range []string{"region/us", "authority"} {
		if !strings.Contains(reason, w) {
			t.Errorf("%q does not name %s", reason, w)
		}
	}
	t.Log(reason)

	sub := subscribe(t, eu.MQTT, "-q", "1", "-t", "a", "-C", "1")
	awaitRoute(t, eu, "a", 1, 0)
	publish(t, eu.MQTT, "-q", "1", "-t", "a", "-m", "served")
	if got := sub.wait(); got != "served\n" {
		t.Errorf("got %q", got)
	}
}
