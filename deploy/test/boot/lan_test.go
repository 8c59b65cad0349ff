package boot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lan is a network namespace with a bridge. Its addresses are the balancer's and the clouds' metadata service.
type lan struct {
	t  *testing.T
	ns string
}

const (
	gateway  = "10.77.0.1"
	metadata = "169.254.169.254"
)

func newLAN(t *testing.T, name string) *lan {
	t.Helper()
	l := &lan{t, fmt.Sprintf("cwboot%d-%s", os.Getpid(), name)}
	l.addNS(l.ns)
	run(t, "ip", "-n", l.ns, "link", "add", "br0", "type", "bridge")
	for _, addr := range []string{gateway + "/20", metadata + "/32"} {
		run(t, "ip", "-n", l.ns, "addr", "add", addr, "dev", "br0")
	}
	run(t, "ip", "-n", l.ns, "link", "set", "br0", "up")
	return l
}

func (l *lan) addNS(ns string) {
	l.t.Helper()
	run(l.t, "ip", "netns", "add", ns)
	l.t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", ns).Run() })
	run(l.t, "ip", "-n", ns, "link", "set", "lo", "up")
}

// attach makes a namespace for a machine, with an address on the bridge.
func (l *lan) attach(name, address string) (ns string) {
	l.t.Helper()
	ns = l.ns + "-" + name
	l.addNS(ns)
	port := "p-" + name
	run(l.t, "ip", "-n", l.ns, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
	run(l.t, "ip", "-n", l.ns, "link", "set", port, "master", "br0", "up")
	run(l.t, "ip", "-n", ns, "addr", "add", address+"/20", "dev", "eth0")
	run(l.t, "ip", "-n", ns, "link", "set", "eth0", "up")
	run(l.t, "ip", "-n", ns, "route", "add", "default", "via", gateway)
	return ns
}

// command prepares a program at the balancer's and the devices' end of the network.
func (l *lan) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + nsPath(l.ns), name}, args...)...)
}

// start starts a program there; it ends with the test, and its output is shown if the test fails.
func (l *lan) start(cmd *exec.Cmd, name string) {
	l.t.Helper()
	log, err := os.Create(filepath.Join(l.t.TempDir(), name+".log"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if l.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			l.t.Logf("%s:\n%s", name, text)
		}
		log.Close()
	})
}

func nsPath(ns string) string { return "/run/netns/" + ns }

// run runs a command of this machine and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
