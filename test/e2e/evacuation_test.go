package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/admin"
	crowd "causeway/internal/load"
	"causeway/internal/trial"
)

// idle connects devices that only keep their connection, until the test ends.
func idle(t *testing.T, addr string, n int) []*device {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	all := make([]*device, n)
	for i := range all {
		all[i] = &device{addr: addr, id: fmt.Sprintf("idle-%d", i)}
		running.Go(func() { all[i].run(ctx) })
	}
	await(t, "the idle devices to be connected", func() bool {
		return !slices.ContainsFunc(all, func(d *device) bool { return !d.online() })
	})
	return all
}

func evacuation(t *testing.T, at, node *trial.Node) (e admin.Evacuation, ok bool) {
	t.Helper()
	return e, get(t, at, "/v1/evacuations/"+node.Name, &e) == nil
}

// evacuate begins to evacuate a node and returns what ctl said.
func evacuate(t *testing.T, at, node *trial.Node, args ...string) (string, int) {
	t.Helper()
	return causeway(t, "", "", append([]string{"ctl", "--socket", at.Socket(), "evacuation", "start", "--node", node.Name}, args...)...)
}

// states are those that an evacuation went through.
func states(e *admin.Evacuation) (names []string) {
	for _, s := range e.Steps {
		names = append(names, s.State)
	}
	return names
}

var allStates = []string{"waiting_health_check", "evicting_conns", "waiting_takeover", "evicting_sessions", "prohibiting"}

// The node that leads is evacuated behind the load balancer while devices publish, among them clients of others' making.
// Its devices are elsewhere within a second of their turn, once each; nothing is lost or comes twice, and no will fires.
// The node may then be stopped; started again it still takes nobody, until the evacuation is stopped.
func TestEvacuation_OfTheNodeThatLeads(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	node := gateway(t, nodes)
	other := nodes[(slices.Index(nodes, node)+1)%3]

	f := newFleet(t, addr, 30)
	idle(t, addr, 200)
	wills := subscribe(t, other.MQTT, "-i", "wills", "-t", "will/#", "-C", "1", "-v")
	awaitRoute(t, other, "will/end", 1, 0)
	for i := range 6 {
		subscribe(t, addr, "-V", "5", "-i", fmt.Sprint("mortal-", i), "-t", fmt.Sprint("mortal/", i), "--will-topic", fmt.Sprint("will/", i), "--will-payload", "gone", "--will-qos", "1")
		awaitRoute(t, other, fmt.Sprint("mortal/", i), 1, 0)
	}
	three, five := make(chan string, 10_000), make(chan string, 10_000)
	pahoThree(t, addr, three)
	pahoFive(t, addr, five)
	awaitRoute(t, other, "paho/1", 2, 0)
	mosq := subscribe(t, addr, "-c", "-i", "mosq", "-q", "1", "-t", "paho/1", "-C", "300")
	awaitRoute(t, other, "paho/1", 3, 0)
	stop := f.pace(20 * time.Millisecond)
	defer stop()
	sent := numbers(300)
	publishLines(t, addr, sent[:100], "-q", "1", "-t", "paho/1")

	out, code := evacuate(t, other, node, "--dry-run")
	if e, ok := evacuation(t, other, node); code != 0 || ok || !strings.Contains(out, "would be done") || !strings.Contains(out, "after about") {
		t.Fatalf("dry run: exit code %d, %+v\n%s", code, e, out)
	}
	if out, code := evacuate(t, other, node, "--conn-evict-rate", "50", "--wait-health-check", "3s", "--wait-takeover", "2s", "--reason", "kernel", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	await(t, "load balancers to hear", func() bool { code, state := readyz(t, node); return code == 503 && state == "evacuating" })
	publishLines(t, addr, sent[100:200], "-q", "1", "-t", "paho/1")
	out, code = causeway(t, "", "", "ctl", "--socket", other.Socket(), "evacuation", "status", "--node", node.Name, "--wait")
	if code != 0 || !strings.Contains(out, "it may be stopped") {
		t.Fatalf("status --wait: exit code %d\n%s", code, out)
	}
	publishLines(t, addr, sent[200:], "-q", "1", "-t", "paho/1")
	e, ok := evacuation(t, other, node)
	if !ok || !slices.Equal(states(&e), allStates) || !e.Done || !e.Removable || e.Connections != 0 || e.Sessions != 0 || e.ConnectionsBegan < 50 {
		t.Errorf("%v: %+v", ok, e)
	}
	took := e.Since.Sub(e.Began)
	t.Logf("%d connections: it took %s, and had said %s", e.ConnectionsBegan, took.Round(time.Millisecond), e.ExpectedSeconds.Duration())
	if g := gateway(t, nodes); g == node {
		t.Error("it leads")
	}
	for name, in := range map[string]chan string{"paho, 3.1.1": three, "autopaho, 5": five} {
		var got []string
		await(t, name+" to get everything", func() bool {
			for {
				select {
				case m := <-in:
					got = append(got, m)
				default:
					return len(got) >= len(sent)
				}
			}
		})
		if !slices.Equal(got, sent) {
			t.Errorf("%s: %s", name, differ(got, sent))
		}
	}
	if got := mosq.lines(); !slices.Equal(got, sent) {
		t.Errorf("mosquitto: %s", differ(got, sent))
	}
	// A device that knows no other node is closed without a word.
	conn, err := net.Dial("tcp", node.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "stranger"}))
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("it answered a stranger with %d bytes", n)
	}
	conn.Close()

	stopNode(t, node)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it to be back, and closed", func() bool { code, state := readyz(t, node); return code == 503 && state == "evacuating" })
	if out, code := causeway(t, "", "", "ctl", "--socket", node.Socket(), "evacuation", "stop", "--yes"); code != 0 {
		t.Fatalf("stop: exit code %d\n%s", code, out)
	}
	await(t, "it to take devices", func() bool { code, _ := readyz(t, node); return code == 200 })
	publish(t, node.MQTT, "-q", "1", "-t", "will/end", "-m", "end")
	if got := wills.wait(); got != "will/end end\n" {
		t.Errorf("a will fired: %q", got)
	}
	stop()
	f.settle()
	f.once()
	f.bothered(1)
}

// The node is killed in the middle of its evacuation. Started again it goes on where it was, without an order.
func TestEvacuation_KilledAndResumed(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	node, other := nodes[1], nodes[0]
	f := newFleet(t, addr, 20)
	idle(t, addr, 150)
	stop := f.pace(20 * time.Millisecond)
	defer stop()

	if out, code := evacuate(t, other, node, "--conn-evict-rate", "5", "--wait-health-check", "1s", "--wait-takeover", "1s", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	await(t, "some to be closed", func() bool {
		e, ok := evacuation(t, other, node)
		return ok && e.State == "evicting_conns" && e.Connections < e.ConnectionsBegan-5
	})
	node.Kill()
	e, _ := evacuation(t, other, node)
	if e.State != "evicting_conns" || e.Done {
		t.Fatalf("killed in the middle: %+v", e)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it to be done", func() bool { e, ok := evacuation(t, other, node); return ok && e.Done })
	e, _ = evacuation(t, node, node)
	if !slices.Equal(states(&e), allStates) || !e.Removable {
		t.Errorf("%+v", e)
	}
	stop()
	f.settle()
}

// What would leave the region without a majority, or devices without a node, is refused with the reason; and an
// evacuation that is stopped leaves things as they were.
func TestEvacuation_RefusedAndStopped(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	idle(t, addr, 30)
	if out, code := evacuate(t, nodes[0], nodes[1], "--wait-health-check", "10m", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for _, n := range nodes[1:] {
		if out, code := evacuate(t, nodes[0], n, "--yes", "-o", "json"); code != 3 || !strings.Contains(out, `"refused"`) {
			t.Errorf("%s beside another: exit code %d\n%s", n.Name, code, out)
		}
	}
	await(t, "load balancers to hear", func() bool { code, _ := readyz(t, nodes[1]); return code == 503 })
	if out, code := causeway(t, "", "", "ctl", "--socket", nodes[0].Socket(), "evacuation", "stop", "--node", nodes[1].Name, "--yes"); code != 0 {
		t.Fatalf("stop: exit code %d\n%s", code, out)
	}
	await(t, "load balancers to hear", func() bool { code, _ := readyz(t, nodes[1]); return code == 200 })

	stopNode(t, nodes[2])
	await(t, "the loss to be seen", func() bool {
		out, code := evacuate(t, nodes[0], nodes[1], "--dry-run", "-o", "json")
		return code == 3 && strings.Contains(out, "votes are left")
	})
	if out, code := causeway(t, "", "", "ctl", "--socket", nodes[0].Socket(), "evacuation", "stop", "--node", nodes[1].Name, "--yes"); code == 0 {
		t.Errorf("one that is not under way is stopped:\n%s", out)
	}
}

// Ten thousand connections at one node, and among the devices a fleet that publishes. The node is emptied no faster than
// the pace, each device is elsewhere with its session, and nothing is lost. How right the time was that the dry run said
// is printed.
func TestEvacuation_ManyConnections(t *testing.T) {
	n, rate := 1_000, 100 // two cores under -race are not for more
	if *wholeLab {
		n, rate = 10_000, 500
	}
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	node, others := nodes[2], []string{nodes[0].MQTT, nodes[1].MQTT}
	f := newFleet(t, addr, 20)
	many := make([]*crowd.Device, n)
	var connecting sync.WaitGroup
	for part := range 50 {
		connecting.Go(func() {
			for i := part; i < n; i += 50 {
				d, err := crowd.Start(t.Context(), crowd.Options{Addr: node.MQTT, Others: others, ID: fmt.Sprintf("crowd-%d", i), Reconnect: true, Redial: 100 * time.Millisecond, Buffer: 512})
				if many[i] = d; err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer func() {
		var stopping sync.WaitGroup
		for _, d := range many {
			if d != nil {
				stopping.Go(d.Stop)
			}
		}
		stopping.Wait()
	}()
	if connecting.Wait(); t.Failed() {
		t.FailNow()
	}
	stop := f.pace(50 * time.Millisecond)
	defer stop()

	flags := []string{"--wait-health-check", "3s", "--wait-takeover", "3s", "--conn-evict-rate", fmt.Sprint(rate)}
	var plan admin.EvacuationChange
	ctlJSON(t, nodes[0], &plan, append([]string{"evacuation", "start", "--node", node.Name, "--dry-run"}, flags...)...)
	if out, code := evacuate(t, nodes[0], node, append(flags, "--yes")...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	var e admin.Evacuation
	await(t, "it to be done", func() (ok bool) { e, ok = evacuation(t, nodes[0], node); return ok && e.Done })
	at := map[string]time.Time{}
	for _, s := range e.Steps {
		at[s.State] = s.At
	}
	evicting, took, said := at["waiting_takeover"].Sub(at["evicting_conns"]), e.Since.Sub(e.Began), plan.ExpectedSeconds.Duration()
	t.Logf("%d connections: closed in %s, %.0f a second; the whole took %s and the dry run said %s: %+.0f%%", e.ConnectionsBegan, evicting.Round(time.Millisecond),
		float64(e.ConnectionsBegan)/evicting.Seconds(), took.Round(time.Millisecond), said, 100*(took.Seconds()/said.Seconds()-1))
	if least := time.Duration(e.ConnectionsBegan) * time.Second / time.Duration(rate); e.ConnectionsBegan < n || evicting < least*95/100 {
		t.Errorf("%d connections were closed in %s, which is faster than %d a second", e.ConnectionsBegan, evicting, rate)
	}
	if !e.Removable || e.Connections+e.Sessions > 0 {
		t.Errorf("%+v", e)
	}
	await(t, "all to be elsewhere", func() bool {
		e, ok := evacuation(t, nodes[0], node)
		return ok && e.Elsewhere-e.ElsewhereBegan >= n
	})
	twice := 0
	for _, d := range many {
		connects, forgotten, _ := d.History()
		if forgotten > 0 || connects < 2 {
			t.Errorf("%s", d)
		}
		if connects > 2 {
			twice++
		}
	}
	t.Logf("%d devices had to connect more than once again", twice)
	stop()
	f.settle()
	f.bothered(1)
}

// A node that was away is empty, since its devices stay where they went. A rebalance brings the nodes level while devices publish,
// among them one of another make, and then there is nothing left to do.
func TestRebalance_AfterANodeWasDown(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	nodes := tr.Region("eu")
	f := newFleet(t, addr, 10)
	idle(t, addr, 100)
	mosq := subscribe(t, addr, "-c", "-i", "mosq", "-q", "1", "-t", "level/1", "-C", "200")
	awaitRoute(t, nodes[0], "level/1", 1, 0)
	stop := f.pace(20 * time.Millisecond)
	defer stop()
	sent := numbers(200)
	publishLines(t, addr, sent[:100], "-q", "1", "-t", "level/1")
	stopNode(t, nodes[2])
	if err := nodes[2].Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the load balancer to see all nodes", func() bool { return tr.Front("eu").Up() == 3 })

	flags := []string{"rebalance", "start", "--abs-conn-threshold", "10", "--conn-evict-rate", "50", "--wait-health-check", "2s", "--wait-takeover", "1s", "--yes"}
	if out, code := causeway(t, "", "", append([]string{"ctl", "--socket", nodes[0].Socket()}, append(flags, "--wait")...)...); code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	var b admin.Rebalance
	ctlJSON(t, nodes[2], &b, "rebalance", "status")
	least, most := b.Nodes[0].Connections, b.Nodes[0].Connections
	for _, n := range b.Nodes {
		least, most = min(least, n.Connections), max(most, n.Connections)
		t.Logf("%s: %d connections", n.Node, n.Connections)
	}
	if b.Outcome != "done" || len(b.Nodes) != 3 || most-least >= 20 {
		t.Errorf("%+v", b)
	}
	if out, code := causeway(t, "", "", append([]string{"ctl", "--socket", nodes[0].Socket()}, flags...)...); code != 3 || !strings.Contains(out, "balanced") {
		t.Errorf("again: exit code %d\n%s", code, out)
	}
	publishLines(t, addr, sent[100:], "-q", "1", "-t", "level/1")
	if got := mosq.lines(); !slices.Equal(got, sent) {
		t.Errorf("mosquitto: %s", differ(got, sent))
	}
	stop()
	f.settle()
}
