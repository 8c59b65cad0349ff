package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// older builds the executable as it was one feature level ago.
func older(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "causeway-older")
	build := exec.Command("go", "build", "-tags", "causeway_older", "-ldflags", "-X main.version=v0-older", "-o", path, "causeway/cmd/causeway")
	build.Env = os.Environ()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// change stops a node and starts it again as another version, as a package does.
func change(t *testing.T, n *trial.Node, binary string) {
	t.Helper()
	ctl(t, n, "version")
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.Run(binary)
	restart(t, n, 0)
}

// Three nodes of an older version are upgraded one by one under load, as the plan says; one goes back and forward again
// on the way. Nothing is lost or comes twice at QoS 2, the home stays at the older level until an operator finalizes,
// which is refused while one node is old, and after it the older version does not start on that disk.
func TestUpgrade_RollingAndBack(t *testing.T) {
	old := older(t)
	tr := layOut(t, trial.Options{Regions: []string{"eu"}, Nodes: 3, Balance: true})
	nodes := tr.Region("eu")
	for _, n := range nodes {
		n.Run(old)
	}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, tr)
	f := newFleet(t, tr.Front("eu").MQTT, 20)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	level := func() uint32 {
		var u admin.Upgrade
		ctlJSON(t, nodes[0], &u, "upgrade", "status")
		return u.Level
	}
	if got := level(); got != 2 {
		t.Fatalf("the older version founded its home at level %d", got)
	}
	leader := gateway(t, nodes)
	var order []*trial.Node
	for _, n := range nodes {
		if n != leader {
			order = append(order, n)
		}
	}
	order = append(order, leader)

	change(t, order[0], binary)
	change(t, order[0], old) // somebody saw something and went back
	change(t, order[0], binary)
	var u admin.Upgrade
	ctlJSON(t, order[0], &u, "upgrade", "plan")
	if u.State != "mixed" || u.Level != 2 || u.Supports != 2 || len(u.Steps) != 3 {
		t.Errorf("the plan while versions are mixed: %+v", u)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", order[0].Socket(), "upgrade", "finalize", "--yes"); code != 3 || !strings.Contains(out, "v0-older") {
		t.Errorf("finalize while two nodes are old: exit code %d\n%s", code, out)
	}
	change(t, order[1], binary)
	change(t, order[2], binary)
	if got := level(); got != 2 {
		t.Fatalf("the home went to level %d by itself", got)
	}
	change(t, order[1], old) // still possible
	change(t, order[1], binary)

	await(t, "the upgrade to be final", func() bool {
		ctlJSON(t, order[0], &u, "upgrade", "status")
		return u.State == "final"
	})
	ctl(t, order[0], "upgrade", "finalize", "--yes")
	await(t, "the new level at every node", func() bool {
		ctlJSON(t, order[0], &u, "upgrade", "status")
		return u.Level == 3 && u.State == "done"
	})
	acked, _ := f.pairs[0].from.progress()
	await(t, "some messages at the new level", func() bool { now, _ := f.pairs[0].from.progress(); return now >= acked+10 })
	stop()
	f.settle()

	if err := order[0].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, code := causeway(t, "", "", "version")
	cmd := exec.Command(old, "serve", "--config", order[0].ConfigFile())
	said, err := runBounded(cmd)
	if err == nil || !strings.Contains(said, "run a newer version") {
		t.Errorf("the older version on a disk of level 3: %v\n%s\n%s %d", err, said, out, code)
	}
}
