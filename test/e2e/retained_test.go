package e2e

import (
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A retained message reaches who subscribes later in the other region, flagged as retained;
// deleting it there deletes it here.
func TestRetained_CrossesAndItsDeletionToo(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")

	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/lamp", "-m", "on")
	awaitRetained(t, us, "state/lamp", true)
	wantRetained(t, us, "1 state/lamp on\n")

	publish(t, us.MQTT, "-q", "1", "-r", "-t", "state/lamp", "-n")
	awaitRetained(t, eu, "state/lamp", false)
	wantRetained(t, eu, "")
	wantRetained(t, us, "")
}

// What is set and deleted while the link is cut is so on both sides once it is healed: the
// deletion is not forgotten, and the old value does not come back.
func TestRetained_DeletedWhileTheLinkWasCut(t *testing.T) {
	t.Parallel()
	tr, cable := startWithRelay(t, "")
	eu, us := tr.Node("eu"), tr.Node("us")
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/old", "-m", "on")
	awaitRetained(t, us, "state/old", true)

	cable.cut()
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/old", "-n")
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/new", "-m", "green")
	wantRetained(t, us, "1 state/old on\n")
	cable.heal()

	awaitRetained(t, us, "state/new", true)
	awaitRetained(t, us, "state/old", false)
	wantRetained(t, us, "1 state/new green\n")
	wantRetained(t, eu, "1 state/new green\n")
}

// The same while the peer's node is down, killed without warning.
func TestRetained_DeletedWhileThePeerWasDown(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	publish(t, us.MQTT, "-q", "1", "-r", "-t", "state/old", "-m", "on")
	awaitRetained(t, eu, "state/old", true)

	us.Kill()
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/old", "-n")
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "state/new", "-m", "green")
	restart(t, us, 1)

	awaitRetained(t, us, "state/new", true)
	awaitRetained(t, us, "state/old", false)
	wantRetained(t, us, "1 state/new green\n")
	wantRetained(t, eu, "1 state/new green\n")
}

// wantRetained subscribes and compares what is retained with want. A message published once the
// subscription stands ends the list: whatever is retained comes before it.
func wantRetained(t *testing.T, n *trial.Node, want string) {
	t.Helper()
	sub := subscribe(t, n.MQTT, "-i", "reader", "-q", "1", "-t", "state/#", "-F", "%r %t %p")
	awaitRoute(t, n, "state/end", 1, 0)
	publish(t, n.MQTT, "-q", "1", "-t", "state/end", "-m", ".")
	await(t, "the end of what is retained", func() bool { return strings.Contains(sub.out.String(), "0 state/end .\n") })
	sub.kill()
	if got := strings.TrimSuffix(sub.out.String(), "0 state/end .\n"); got != want {
		t.Errorf("retained in %s: %q, want %q", n.Region, got, want)
	}
	awaitNoSession(t, n, "reader")
}

func awaitRetained(t *testing.T, n *trial.Node, topic string, want bool) {
	t.Helper()
	await(t, topic+" to be retained or not at "+n.Name, func() bool {
		var page admin.Page[admin.Retained]
		if err := get(t, n, "/v1/retained", &page); err != nil {
			return false
		}
		for _, r := range page.Items {
			if r.Topic == topic {
				return want
			}
		}
		return !want
	})
}
