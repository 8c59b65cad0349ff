package e2e

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"causeway/internal/trial"
)

// The disk of a node fills up under load. Acknowledgements stop, the node says that the disk is
// full and where, and load balancers are told 503. When the operator made room, it goes on by
// itself, and everything it ever acknowledged is there.
func TestDiskFull_SaysSoAndLosesNothingAcknowledged(t *testing.T) {
	tr := layOut(t, trial.Options{Regions: []string{"eu"}})
	eu := tr.Node("eu")
	resize := smallDisk(t, tr, eu.DataDir(), "size=76m")
	restart(t, eu, 0)
	subscribe(t, eu.MQTT, "-i", "sub", "-c", "-q", "1", "-t", "load", "-E").wait()
	pad := make([]byte, 32<<10) // that no compression makes smaller
	_, _ = rand.NewChaCha8([32]byte{}).Read(pad)
	pad[0] = ' '
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	defer devices.Wait()
	defer cancel()
	from := &device{addr: eu.MQTT, id: "pub", topic: "load", qos: 1, window: 16, pad: pad}
	devices.Go(func() { from.run(ctx) })
	began := time.Now()

	from.allow(1_500) // 48 MB
	var told string
	await(t, "the node to say that its disk is full", func() bool {
		if err := get(t, eu, "/readyz", nil); err != nil {
			told = err.Error()
		}
		return strings.Contains(told, "503") && strings.Contains(told, "disk full")
	})
	full, _ := from.progress()
	t.Logf("with %d acknowledged: %s", full, told)
	if !strings.Contains(told, eu.DataDir()) {
		t.Errorf("it does not name %s", eu.DataDir())
	}
	resize("size=512m")

	await(t, "the rest to be acknowledged", func() bool {
		acked, _ := from.progress()
		return acked == 1_500
	})
	to := &device{addr: eu.MQTT, id: "sub", qos: 1}
	devices.Go(func() { to.run(ctx) })
	await(t, "the queue to arrive", func() bool { return to.distinct() >= 1_500 })
	settle("through a full disk", from, to, time.Since(began)).check(t, 1_500, 1)
}

// smallDisk puts a file system of a bounded size at dir, and returns what changes its size.
func smallDisk(t *testing.T, tr *trial.Trial, dir, size string) (resize func(size string)) {
	t.Helper()
	if err := syscall.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("causeway-e2e", dir, "tmpfs", 0, size); err != nil {
		t.Skipf("a small file system needs the right to mount (%v): run as root", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = tr.Stop(ctx) // what it says, the trial's own clean-up says again
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return func(size string) {
		if err := syscall.Mount("causeway-e2e", dir, "tmpfs", syscall.MS_REMOUNT, size); err != nil {
			t.Fatal(err)
		}
	}
}
