package e2e

import (
	"fmt"
	"slices"
	"testing"

	"causeway/internal/trial"
)

// A device with a persistent session is away; its region's node is killed once before, once
// while its queue fills from the other region, once after. It gets all of it, in order.
func TestNodeKilled_PersistentSessionAndItsQueueSurvive(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"311", "5"} {
		t.Run("v"+version, func(t *testing.T) {
			t.Parallel()
			tr := start(t, trial.Options{})
			eu, us := tr.Node("eu"), tr.Node("us")
			device := []string{"-V", version, "-i", "lamp", "-c", "-q", "1", "-t", "home/#"}
			subscribe(t, us.MQTT, append(device, "-E")...).wait()
			us.Kill()
			restart(t, us, 1)
			awaitRoute(t, eu, "home/lamp", 0, 1)

			sent := append(numbers(300), "end")
			publishLines(t, eu.MQTT, sent[:100], "-q", "1", "-t", "home/lamp")
			us.Kill()
			publishLines(t, eu.MQTT, sent[100:200], "-q", "1", "-t", "home/lamp")
			restart(t, us, 1)
			publishLines(t, eu.MQTT, sent[200:], "-q", "1", "-t", "home/lamp")
			awaitQueued(t, us, "lamp", len(sent))
			us.Kill()
			restart(t, us, 1)

			if got := subscribe(t, us.MQTT, append(device, "-C", fmt.Sprint(len(sent)))...).lines(); !slices.Equal(got, sent) {
				t.Errorf("%s", differ(got, sent))
			}
		})
	}
}
