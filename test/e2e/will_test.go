package e2e

import (
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A device in eu dies without a word; who watches it in us hears its will, once.
func TestDeviceKilled_ItsWillIsHeardInTheOtherRegion(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	watch := subscribe(t, us.MQTT, "-q", "2", "-t", "gone/#", "-C", "2", "-v")
	awaitRoute(t, eu, "gone/car-7", 0, 1)
	car := subscribe(t, eu.MQTT, "-V", "5", "-i", "car-7", "-t", "cmd/car-7", "--will-topic", "gone/car-7", "--will-payload", "lost", "--will-qos", "1")
	awaitRoute(t, eu, "cmd/car-7", 1, 0)

	car.kill()
	awaitNoSession(t, eu, "car-7")
	publish(t, eu.MQTT, "-q", "1", "-t", "gone/end", "-m", "end")

	if got := watch.wait(); got != "gone/car-7 lost\ngone/end end\n" {
		t.Errorf("the watcher in us got %q", got)
	}
}

func awaitNoSession(t *testing.T, n *trial.Node, id string) {
	t.Helper()
	await(t, "the session of "+id+" to end", func() bool {
		var d admin.SessionDetail
		return get(t, n, "/v1/sessions/default/"+id, &d) != nil
	})
}

func awaitQueued(t *testing.T, n *trial.Node, id string, messages int) {
	t.Helper()
	await(t, "the queue of "+id+" at "+n.Name, func() bool {
		var d admin.SessionDetail
		return get(t, n, "/v1/sessions/default/"+id, &d) == nil && d.Session.Queued >= messages
	})
}
