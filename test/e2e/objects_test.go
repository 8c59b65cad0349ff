package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// pahoLoad has clients of another make publish to a node until the test ends, at QoS 1, as fast as they are answered.
func pahoLoad(t *testing.T, addr string, clients int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for i := range clients {
		c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(fmt.Sprint("load-", i)).SetMaxReconnectInterval(time.Second))
		if tok := c.Connect(); !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		running.Go(func() {
			defer c.Disconnect(100)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					c.Publish(fmt.Sprint("load/", i), 1, false, "x").WaitTimeout(time.Second)
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

const goodRules = `acl:
- { name: everybody, publish: ["#"], subscribe: ["#"] }
`

const badRules = `acl:
- { name: no-load, deny: ["load/#"] }
- { name: everybody, publish: ["#"], subscribe: ["#"] }
`

// denied is what the rules of a node denied.
func denied(t *testing.T, n *trial.Node) (sum int64) {
	t.Helper()
	var p admin.Page[admin.ACLRule]
	if err := get(t, n, "/v1/objects/acl", &p); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Items {
		sum += r.Publishes + r.Subscribes
	}
	return sum
}

// Rules that deny what devices do are tried on one node under load. It takes them back by itself, says by which rule of
// which revision they did harm, and nobody on the other nodes notices. The same when nobody looks on, and the node that
// leads dies meanwhile.
func TestBadACL_RollsItselfBack(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	leader := gateway(t, nodes)
	var tries, other *trial.Node
	for _, n := range nodes {
		switch {
		case n == leader:
		case tries == nil:
			tries = n
		default:
			other = n
		}
	}
	good, bad := filepath.Join(tries.Dir, "good.yaml"), filepath.Join(tries.Dir, "bad.yaml")
	write(t, good, goodRules)
	write(t, bad, badRules)
	apply := func(at *trial.Node, args ...string) (string, int) {
		return causeway(t, "", "", append([]string{"ctl", "--socket", at.Socket(), "apply", "--yes"}, args...)...)
	}
	if out, code := apply(other, "-f", good); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for _, n := range nodes {
		await(t, "the rules to be in force on "+n.Name, func() bool {
			var a admin.ACLAnswer
			return get(t, n, "/v1/objects/acl/test?client=load-0&topic=load/0", &a) == nil && a.Publish.Rule == "everybody" && a.Publish.Allowed
		})
	}
	pahoLoad(t, tries.MQTT, 8)
	f := newFleet(t, other.MQTT, 10)
	stop := f.pace(20 * time.Millisecond)
	defer stop()

	began := time.Now()
	out, code := apply(other, "-f", bad, "--canary", tries.Name, "--watch", "2m", "--auto-rollback", "--note", "less load")
	took := time.Since(began)
	t.Logf("apply returned after %s\n%s", took.Round(time.Millisecond), out)
	if code != 5 || !strings.Contains(out, "rule no-load of revision") || !strings.Contains(out, "publishes denied") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	var ro admin.Rollout
	if err := get(t, other, "/v1/objects/rollout", &ro); err != nil || ro.State != "rolled_back" || ro.Node != tries.Name || len(ro.Denials) == 0 || ro.Denials[0].Revision != ro.Candidate {
		t.Errorf("%v: %+v", err, ro)
	}
	await(t, "the old rules to be in force again", func() bool {
		var a admin.ACLAnswer
		return get(t, tries, "/v1/objects/acl/test?client=load-0&topic=load/0", &a) == nil && a.Publish.Allowed && a.Publish.Revision == ro.From
	})
	for _, n := range []*trial.Node{leader, other} {
		if d := denied(t, n); d != 0 {
			t.Errorf("%s, which did not try them, denied %d", n.Name, d)
		}
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", other.Socket(), "history"); code != 0 || !strings.Contains(out, "in force") || strings.Contains(out, "less load") {
		t.Errorf("history: %d\n%s", code, out)
	}

	// The terminal dies, and with it whoever leads.
	terminal := exec.Command(binary, "ctl", "--socket", leader.Socket(), "apply", "--yes", "-f", bad, "--canary", tries.Name, "--watch", "2m", "--auto-rollback")
	if err := terminal.Start(); err != nil {
		t.Fatal(err)
	}
	first := ro.Candidate
	await(t, "the second try", func() bool { return get(t, other, "/v1/objects/rollout", &ro) == nil && ro.Candidate != first })
	_ = terminal.Process.Kill()
	_ = terminal.Wait()
	leader.Kill()
	await(t, "it to be taken back", func() bool { return get(t, other, "/v1/objects/rollout", &ro) == nil && ro.State == "rolled_back" })
	await(t, "the old rules to be in force again", func() bool {
		var a admin.ACLAnswer
		return get(t, tries, "/v1/objects/acl/test?client=load-0&topic=load/0", &a) == nil && a.Publish.Allowed && a.Publish.Revision == ro.From
	})
	t.Logf("after the leader was killed: %s", ro.Reason)
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	stop()
	f.settle()
}

// A file that does no harm becomes what is in force everywhere; one revision back it is as it was. What a file says wrong
// is said with its line, and changes nothing.
func TestObjects_ApplyWatchAndRollBack(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	ctl := func(args ...string) (string, int) {
		return causeway(t, "", "", append([]string{"ctl", "--socket", nodes[0].Socket()}, args...)...)
	}
	file := filepath.Join(nodes[0].Dir, "region.yaml")
	write(t, file, "limits:\n  queue_messages: 0\nlisteners: []\n")
	if out, code := ctl("apply", "--yes", "-f", file); code != 2 || !strings.Contains(out, "region.yaml:3: listeners: unknown key") {
		t.Errorf("a bad file: exit code %d\n%s", code, out)
	}
	write(t, file, "limits: { queue_messages: 7 }\n"+goodRules)
	if out, code := ctl("apply", "--yes", "-f", file, "--canary", nodes[1].Name); code != 3 || !strings.Contains(out, "limits.queue_messages is the home's") {
		t.Errorf("what one node cannot try: exit code %d\n%s", code, out)
	}
	if out, code := ctl("apply", "--yes", "-f", file, "--watch", "3s", "--auto-rollback"); code != 0 || !strings.Contains(out, "is in force on all nodes") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	inForce := func(n *trial.Node, want string) func() bool {
		return func() bool {
			var o admin.ObjectsText
			return get(t, n, "/v1/objects?section=limits", &o) == nil && strings.Contains(o.Text, want)
		}
	}
	for _, n := range nodes {
		await(t, "it on "+n.Name, inForce(n, "queue_messages: 7"))
	}
	// The home has it: the eighth message for who is away is dropped.
	subscribe(t, nodes[2].MQTT, "-c", "-i", "away", "-q", "1", "-t", "q", "-E")
	publishLines(t, nodes[1].MQTT, numbers(20), "-q", "1", "-t", "q")
	await(t, "a queue as long as it may be", func() bool {
		var s admin.SessionDetail
		return get(t, nodes[0], "/v1/sessions/default/away", &s) == nil && s.Session.Queued == 7
	})
	if out, code := ctl("rollback", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for _, n := range nodes {
		await(t, "the node file again on "+n.Name, inForce(n, "queue_messages: 100000"))
	}
}

// A node file is taken over while the node runs, whole or not at all.
func TestReload_TakesOverWhatCanChange(t *testing.T) {
	tr := start(t, trial.Options{Regions: []string{"eu"}})
	n := tr.Region("eu")[0]
	ctl := func(args ...string) (string, int) {
		return causeway(t, "", "", append([]string{"ctl", "--socket", n.Socket(), "config"}, args...)...)
	}
	text, err := os.ReadFile(n.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	write(t, n.ConfigFile(), string(text)+"\nlimits: { queue_messages: 9, packet: 64KiB }\n")
	if out, code := ctl("reload", "--yes"); code != 3 || !strings.Contains(out, "limits.packet is 2MiB and would be 64KiB") {
		t.Errorf("what needs a restart: exit code %d\n%s", code, out)
	}
	write(t, n.ConfigFile(), string(text)+"\nlimits: { queue_messages: 9 }\nacl: [{ name: quiet, deny: [\"secret/#\"] }, { name: rest }]\n")
	if out, code := ctl("reload", "--dry-run"); code != 0 || !strings.Contains(out, "~ limits.queue_messages: 100000 -> 9") {
		t.Errorf("dry run: exit code %d\n%s", code, out)
	}
	if out, code := ctl("reload", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	await(t, "the rules", func() bool {
		var a admin.ACLAnswer
		return get(t, n, "/v1/objects/acl/test?client=x&topic=secret/a", &a) == nil && !a.Publish.Allowed && a.Publish.Rule == "quiet"
	})
	await(t, "the home's limit", func() bool {
		out, code := ctl("show")
		return code == 0 && strings.Contains(out, "limits.queue_messages")
	})
	// A user of the region, and who is none.
	if out, code := causeway(t, "", "secret\n", "ctl", "--socket", n.Socket(), "users", "add", "bob", "--yes"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", n.Socket(), "users", "list"); code != 0 || !strings.Contains(out, "bob") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
