package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"causeway/internal/trial"
)

// Three regions, each linked with each; a device in every one wants everything and one in every
// one publishes. Nothing goes round: each message arrives once in each region, in order.
func TestThreeRegions_NoEcho(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"ap", "eu", "us"}})
	sent := append(numbers(100), "end")
	subs := map[string]*subscriber{}
	for _, n := range tr.Nodes {
		subs[n.Region] = subscribe(t, n.MQTT, "-q", "2", "-t", "ring/#", "-v", "-C", fmt.Sprint(len(tr.Nodes)*len(sent)))
	}
	for _, n := range tr.Nodes {
		awaitRoute(t, n, "ring/x", 1, 2)
	}

	for _, n := range tr.Nodes {
		publishLines(t, n.MQTT, sent[:50], "-q", "1", "-t", "ring/"+n.Region)
	}
	for _, n := range tr.Nodes {
		publishLines(t, n.MQTT, sent[50:], "-q", "2", "-t", "ring/"+n.Region)
	}

	for region, sub := range subs {
		from := map[string][]string{}
		for _, line := range sub.lines() {
			topic, number, _ := strings.Cut(line, " ")
			from[topic] = append(from[topic], number)
		}
		for _, n := range tr.Nodes {
			if got := from["ring/"+n.Region]; !slices.Equal(got, sent) {
				t.Errorf("from %s to %s: %s", n.Region, region, differ(got, sent))
			}
		}
	}
}
