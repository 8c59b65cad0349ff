package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// A factory's node publishes while its hub is away, is killed itself in the middle, and
// its commands come when the hub is back: nothing is lost, in order.
func TestLeaf_HubAwayAndNodeKilled(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu", "plant-12"}, Hub: "eu"})
	hub, leaf := tr.Node("eu"), tr.Node("plant-12")
	var p admin.Page[admin.Link]
	if err := get(t, hub, "/v1/links", &p); err != nil || len(p.Items) != 1 || !p.Items[0].Leaf || p.Items[0].Dialled {
		t.Fatalf("the hub sees %+v, %v", p.Items, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	defer devices.Wait()
	defer cancel()
	const n = 1_500
	var pairs [][2]*device
	for qos := byte(1); qos <= 2; qos++ {
		topic := fmt.Sprintf("line/%d", qos)
		from := &device{addr: leaf.MQTT, id: "from-" + topic, topic: topic, qos: qos, window: 16}
		to := &device{addr: hub.MQTT, id: "to-" + topic, filter: topic, qos: qos}
		pairs = append(pairs, [2]*device{from, to})
		devices.Go(func() { from.run(ctx) })
		devices.Go(func() { to.run(ctx) })
		await(t, "the subscriber", to.isSubscribed)
		awaitRoute(t, leaf, topic, 0, 1)
	}
	upTo := func(k int) {
		t.Helper()
		for _, p := range pairs {
			p[0].allow(k)
		}
		await(t, fmt.Sprintf("%d to be acknowledged", k), func() bool {
			a, _ := pairs[0][0].progress()
			b, _ := pairs[1][0].progress()
			return a >= k && b >= k
		})
	}
	commands := subscribe(t, leaf.MQTT, "-i", "robot", "-c", "-V", "5", "-x", "3600", "-q", "1", "-C", "20", "-t", "cmd/#")
	awaitRoute(t, hub, "cmd/x", 0, 1)
	began := time.Now()
	upTo(n / 3)
	hub.Kill()
	upTo(n / 2)
	for _, p := range pairs {
		p[0].allow(2 * n / 3)
	}
	leaf.Kill()
	restart(t, leaf, 0)
	upTo(2 * n / 3)
	restart(t, hub, 1)
	var lines []string
	for i := range 20 {
		lines = append(lines, strconv.Itoa(i))
	}
	publishLines(t, hub.MQTT, lines, "-q", "1", "-t", "cmd/x")
	upTo(n)
	for i, p := range pairs {
		await(t, "everything to arrive", func() bool { return p[1].distinct() >= n })
		l := settle(p[0].topic, p[0], p[1], time.Since(began))
		l.check(t, n, byte(i+1))
	}
	if got := commands.lines(); strings.Join(got, " ") != strings.Join(lines, " ") {
		t.Errorf("commands came as %v", got)
	}
}

var leaves = flag.Int("leaves", 0, "how many leaves TestLeaves_Cost starts; the executable should be one without -race")

// What an idle leaf costs itself and its hub, and a hub whose leaves come and go.
func TestLeaves_Cost(t *testing.T) {
	if *leaves == 0 {
		t.Skip("a measurement: give -leaves 20, and CAUSEWAY_BINARY")
	}
	regions := []string{"eu"}
	for i := range *leaves {
		regions = append(regions, fmt.Sprintf("plant-%d", i+1))
	}
	tr := layOut(t, trial.Options{Regions: regions, Hub: "eu"})
	hub := tr.Node("eu")
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the hub", func() bool { var st admin.Status; return get(t, hub, "/v1/status", &st) == nil })
	report(t, "the hub alone", hub)
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, tr)
	report(t, fmt.Sprintf("the hub with %d idle leaves", *leaves), hub)
	report(t, "an idle leaf", tr.Node("plant-1"))
	size := func() int { b, _ := os.ReadFile(hub.LogFile()); return bytes.Count(b, []byte("\n")) }
	before := size()
	for range 5 {
		for _, n := range tr.Nodes[1 : 1+min(4, *leaves)] {
			n.Kill()
			restart(t, n, 1)
		}
	}
	t.Logf("4 leaves killed and started 5 times each: %d lines in the hub's log", size()-before)
	report(t, "the hub afterwards", hub)
}

// report measures a node for five seconds: memory, processor time and how often it was
// scheduled.
func report(t *testing.T, what string, n *trial.Node) {
	t.Helper()
	const span = 5 * time.Second
	cpu, wakes := ticks(t, n), switches(t, n)
	time.Sleep(span) // the measurement's length
	t.Logf("%s: %d MiB resident, %.1f%% of a core, %.0f wake-ups/s, %s goroutines", what, procStatus(t, n, "VmRSS:")>>10,
		float64(ticks(t, n)-cpu)/span.Seconds(), float64(switches(t, n)-wakes)/span.Seconds(), goroutines(t, n))
}

// ticks is the processor time of a node, in hundredths of a second.
func ticks(t *testing.T, n *trial.Node) (sum int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	for _, f := range strings.Fields(rest)[11:13] {
		v, _ := strconv.Atoi(f)
		sum += v
	}
	return sum
}

func procStatus(t *testing.T, n *trial.Node, key string) int {
	t.Helper()
	return fieldOf(t, fmt.Sprintf("/proc/%d/status", n.PID()), key)
}

func fieldOf(t *testing.T, file, key string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		return 0 // a thread that has ended
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			v, _ := strconv.Atoi(f[1])
			return v
		}
	}
	return 0
}

// switches counts how often threads of a node went to sleep.
func switches(t *testing.T, n *trial.Node) (sum int) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		sum += fieldOf(t, fmt.Sprintf("/proc/%d/task/%s/status", n.PID(), task.Name()), "voluntary_ctxt_switches:")
	}
	return sum
}

func goroutines(t *testing.T, n *trial.Node) string {
	t.Helper()
	r, err := http.Get("http://" + n.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if v, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}
