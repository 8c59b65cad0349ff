package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"causeway/internal/trial"
)

// A payload of 1 MiB crosses in both directions, byte for byte. It does not compress.
func TestTwoRegions_OneMebibyteCrossesBothWays(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	payload := make([]byte, 1<<20)
	chacha := rand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(payload)
	file := filepath.Join(t.TempDir(), "firmware")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range [][2]string{{"eu", "us"}, {"us", "eu"}} {
		from, to := tr.Node(way[0]), tr.Node(way[1])
		sub := subscribe(t, to.MQTT, "-q", "2", "-t", "firmware/"+to.Region, "-C", "1", "-N")
		awaitRoute(t, from, "firmware/"+to.Region, 0, 1)

		publish(t, from.MQTT, "-q", "2", "-t", "firmware/"+to.Region, "-f", file)

		if got := sub.wait(); !bytes.Equal([]byte(got), payload) {
			t.Errorf("%s to %s: %d bytes arrived, not the %d that were sent", from.Region, to.Region, len(got), len(payload))
		}
	}
}
