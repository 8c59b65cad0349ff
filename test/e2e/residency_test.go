package e2e

import (
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// What a rule keeps in eu does not get to a session in us that asked for it, retained or
// not; the operator is told which rule it is, and what is left crosses.
func TestResidency_StaysWhereItMayBe(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: func(string) string {
		return "residency: [{ filter: \"pii/#\", regions: [eu] }]\n"
	}})
	eu, us := tr.Node("eu"), tr.Node("us")
	sub := subscribe(t, us.MQTT, "-i", "lamp", "-q", "1", "-t", "#", "-F", "%t", "-C", "1")
	awaitRoute(t, eu, "events/1", 0, 1)
	awaitRoute(t, eu, "pii/1", 0, 0)
	var route admin.Route
	ctlJSON(t, eu, &route, "routes", "test", "pii/1")
	if len(route.Targets) != 1 || route.Targets[0].Sends || !strings.Contains(route.Targets[0].Reason, "residency keeps pii/# in eu") {
		t.Errorf("route %+v", route)
	}
	ctlJSON(t, us, &route, "routes", "test", "pii/1")
	if len(route.Targets) == 0 || route.Targets[0].Sends || !strings.Contains(route.Targets[0].Reason, "publishers are refused") {
		t.Errorf("route at us %+v", route)
	}
	publish(t, eu.MQTT, "-q", "1", "-t", "pii/1", "-m", "name")
	publish(t, eu.MQTT, "-q", "1", "-r", "-t", "pii/2", "-m", "name")
	publish(t, eu.MQTT, "-q", "0", "-t", "pii/3", "-m", "name")
	publish(t, eu.MQTT, "-q", "1", "-t", "events/1", "-m", "fine")
	if got := sub.wait(); got != "events/1\n" {
		t.Errorf("us got %q", got)
	}
	if metrics, _ := page(t, eu, "/metrics"); !strings.Contains(metrics, `causeway_messages_dropped_total{place="spool",reason="residency"} 2`) {
		t.Errorf("no drops by residency in the metrics of eu")
	}
}
