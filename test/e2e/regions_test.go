package e2e

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// patience bounds every wait for one thing; nothing waits that long when all is well.
const patience = 3 * time.Minute

// await polls until ok says yes.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// layOut makes the files of regions of one node each and stops them when the test ends: in
// order, without an error, a data race or a panic in their logs.
func layOut(t *testing.T, o trial.Options) *trial.Trial {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw-") // short: it holds a Unix socket, whose path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o.Dir, o.Binary = dir+"/t", binary
	if o.Regions == nil {
		o.Regions = []string{"eu", "us"}
	}
	if o.Front == nil {
		o.Front = func(int) int { return port(t) }
	}
	if o.Ports == nil {
		o.Ports = func(int, int) trial.Ports {
			return trial.Ports{MQTT: port(t), WebSocket: port(t), Link: port(t), Metrics: port(t), Gossip: port(t), Streams: port(t), Balanced: port(t)}
		}
	}
	tr, err := trial.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := tr.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		for _, n := range slices.Concat(tr.Nodes, tr.Spares) {
			checkLog(t, n)
		}
	})
	return tr
}

// start runs regions until the test ends; they are ready and linked when it returns.
func start(t *testing.T, o trial.Options) *trial.Trial {
	t.Helper()
	tr := layOut(t, o)
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, tr)
	return tr
}

func ready(t *testing.T, tr *trial.Trial) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tr.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// restart starts a node that was killed and waits until it serves and has links up.
func restart(t *testing.T, n *trial.Node, links int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.WaitReady(ctx, links); err != nil {
		t.Fatal(err)
	}
}

var disaster = regexp.MustCompile(`DATA RACE|panic`)

func checkLog(t *testing.T, n *trial.Node) {
	t.Helper()
	log, err := os.ReadFile(n.LogFile())
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if at := disaster.FindIndex(log); at != nil {
		t.Errorf("log of %s:\n%s", n.Name, log[max(0, at[0]-200):min(len(log), at[0]+8000)])
	} else if t.Failed() {
		t.Logf("log of %s:\n%s", n.Name, n.LogTail(25))
	}
}

var ports struct {
	sync.Mutex
	last int
}

// port gives each caller another port, free for TCP and UDP, below those that the system
// gives to outgoing connections: a node that is killed finds its ports again.
func port(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.last == 0 {
		ports.last = 12000 + os.Getpid()%18000
	}
	for range 2000 {
		if ports.last++; ports.last > 32000 {
			ports.last = 12000
		}
		addr := fmt.Sprintf("127.0.0.1:%d", ports.last)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		p, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			p.Close()
			return ports.last
		}
	}
	t.Fatal("no free port")
	return 0
}

func split(addr string) (host, port string) {
	host, port, _ = strings.Cut(addr, ":")
	return host, port
}

// get asks the node's admin API.
func get(t *testing.T, n *trial.Node, path string, into any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Get(ctx, path, into)
}

// awaitRoute waits until a message of topic at n would go to so many sessions and peers.
func awaitRoute(t *testing.T, n *trial.Node, topic string, sessions, peers int) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Logf("last answer: %s", last)
		}
	}()
	await(t, "the route of "+topic+" at "+n.Name, func() bool {
		var r admin.Route
		if err := get(t, n, "/v1/routes?topic="+url.QueryEscape(topic), &r); err != nil {
			last = err.Error()
			return false
		}
		last = fmt.Sprintf("%+v", r)
		return r.Sessions+r.Groups == sessions && r.Peers == peers
	})
}
