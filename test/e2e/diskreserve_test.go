package e2e

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A region is away, and the spool for it would fill the small disk of the other one.
// It takes what disk.spool_max leaves it and loses its oldest, counted; the devices
// of the region have their messages acknowledged and delivered as ever.
func TestDiskReserve_SpoolsStopAndDevicesGoOn(t *testing.T) {
	tr := layOut(t, trial.Options{Extra: func(string) string { return "disk: { reserve: 5%, spool_max: 20MiB }\n" }})
	eu, us := tr.Node("eu"), tr.Node("us")
	smallDisk(t, tr, eu.DataDir(), "size=300m")
	restart(t, us, 0)
	restart(t, eu, 1)
	for _, n := range tr.Nodes {
		subscribe(t, n.MQTT, "-i", "sub", "-c", "-q", "1", "-t", "load", "-E").wait()
	}
	awaitRoute(t, eu, "load", 1, 1)
	store := func() admin.Store {
		var st admin.Status
		if err := get(t, eu, "/v1/status", &st); err != nil || len(st.Stores) != 1 {
			t.Fatalf("status: %v", err)
		}
		return st.Stores[0]
	}
	await(t, "the limit to be in force", func() bool { return store().SpoolLimitBytes == 20<<20 })
	us.Kill()

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
	from.allow(1_000) // 32 MB
	await(t, "all to be acknowledged", func() bool { acked, _ := from.progress(); return acked == 1_000 })
	d := store()
	if d.SpoolBytes > 20<<20 || d.SpoolBytes < 15<<20 || d.SpoolLimitBy != "spool_max" || d.SpoolLimitNode != "eu-1" {
		t.Errorf("the disk: %+v", d)
	}
	if text, _ := page(t, eu, "/metrics"); !strings.Contains(text, `causeway_messages_dropped_total{place="spool",reason="disk_limit"}`) {
		t.Error("nothing is counted as dropped at the limit")
	}
	out, _ := causeway(t, "", "", "ctl", "--socket", eu.Socket(), "status")
	if !strings.Contains(out, "disk.spool_max of eu-1") {
		t.Errorf("ctl status does not say what bounds the spools:\n%s", out)
	}
	to := &device{addr: eu.MQTT, id: "sub", qos: 1}
	devices.Go(func() { to.run(ctx) })
	await(t, "the queue to arrive", func() bool { return to.distinct() >= 1_000 })
	settle("beside a full spool", from, to, time.Since(began)).check(t, 1_000, 1)
}
