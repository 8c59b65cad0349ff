package e2e

import (
	"fmt"
	"slices"
	"testing"

	"causeway/internal/trial"
)

// A device in us subscribes, one in eu publishes: at each QoS, in each version, every message
// arrives once and in order. The word at the end shows that nothing came twice before it.
func TestTwoRegions_EachQoSCrossesOnceInOrder(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	sent := append(numbers(100), "end")
	for _, version := range []string{"311", "5"} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("v%s_qos%d", version, qos), func(t *testing.T) {
				topic, q := fmt.Sprintf("qos/%s/%d", version, qos), fmt.Sprint(qos)
				sub := subscribe(t, us.MQTT, "-V", version, "-q", q, "-t", topic, "-C", fmt.Sprint(len(sent)))
				awaitRoute(t, eu, topic, 0, 1)

				publishLines(t, eu.MQTT, sent, "-V", version, "-q", q, "-t", topic)

				if got := sub.lines(); !slices.Equal(got, sent) {
					t.Errorf("%s", differ(got, sent))
				}
			})
		}
	}
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i + 1)
	}
	return list
}

// differ says where two lists part.
func differ(got, want []string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Sprintf("got %d, want %d; from number %d on got %q, want %q", len(got), len(want), i, got[i:min(i+8, len(got))], want[i:min(i+8, len(want))])
}
