package e2e

import (
	"strings"
	"testing"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A megabyte on topics that nobody in us wants stays in eu: the link's counter, which this test
// is about, moves by what is wanted only.
func TestTopicUnwanted_NothingCrossesTheLink(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	sub := subscribe(t, us.MQTT, "-q", "1", "-t", "wanted/#", "-C", "2")
	awaitRoute(t, eu, "wanted/1", 0, 1)
	awaitRoute(t, eu, "unwanted/1", 0, 0)
	publish(t, eu.MQTT, "-q", "1", "-t", "wanted/1", "-m", "first")
	await(t, "the first to arrive", func() bool { return sub.out.String() == "first\n" })
	before := rawOut(t, eu)

	lines := make([]string, 200)
	for i := range lines {
		lines[i] = strings.Repeat("x", 5000)
	}
	for qos, q := range []string{"0", "1", "2"} {
		publishLines(t, eu.MQTT, lines[:100-25*qos], "-q", q, "-t", "unwanted/1")
	}
	publish(t, eu.MQTT, "-q", "1", "-t", "wanted/1", "-m", "second")

	if got := sub.wait(); got != "first\nsecond\n" {
		t.Errorf("got %q", got)
	}
	if crossed := rawOut(t, eu) - before; crossed > 5000 {
		t.Errorf("%d bytes were sent, of which one message of 6 bytes was wanted", crossed)
	} else {
		t.Logf("%d bytes were sent for one wanted message", crossed)
	}
}

func rawOut(t *testing.T, n *trial.Node) int64 {
	t.Helper()
	var links struct{ Items []admin.Link }
	if err := get(t, n, "/v1/links", &links); err != nil || len(links.Items) != 1 {
		t.Fatalf("links of %s: %v, %+v", n.Name, err, links)
	}
	for _, b := range links.Items[0].Bytes {
		if b.Direction == "out" && b.Form == "raw" {
			return b.Bytes
		}
	}
	t.Fatal("the link counts no raw bytes out")
	return 0
}
