package boot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runbooks in the order in which they build on each other.
var runbooks = []string{"README", "first-region", "second-cloud", "nodes", "leaf", "rotate-ca", "revoke", "upgrade", "restore", "lose-a-region"}

// Each block of commands of the runbooks, as it stands there, in one shell of an operator who reaches the machines by ssh.
func TestRunbooks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("machines are made of namespaces, which needs root: run the test as root, or leave it out with -skip TestRunbooks")
	}
	t.Parallel()
	office := t.TempDir()
	putPackage(t, office)
	l := newLAN(t, "runbooks")
	for name, address := range map[string]string{"eu-1": "10.77.0.11", "eu-2": "10.77.0.12", "eu-3": "10.77.0.13", "eu-4": "10.77.0.14", "us-1": "10.77.0.21", "plant-12": "10.77.0.31"} {
		m := &machine{t: t, name: name, ns: l.attach(name, address)}
		m.boot("")
		if name == "plant-12" {
			mosquitto(m, address)
		}
		if err := os.WriteFile(filepath.Join(office, name+".pid"), []byte(m.pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tools := shims(t, office)
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+nsPath(l.ns), "bash", "-euo", "pipefail", "-c", script(t))
	cmd.Dir = office
	cmd.Env = append(os.Environ(), "PATH="+tools+":"+filepath.Dir(binary(t))+":"+os.Getenv("PATH"), "OFFICE="+office)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, tail(string(out), 12000))
	}
	if !strings.Contains(string(out), "ALL RUNBOOKS DONE") {
		t.Error("the last step was not reached")
	}
}

var block = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// script is all blocks of all runbooks; before each it says where it stands.
func script(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, name := range runbooks {
		text, err := os.ReadFile("../../../docs/runbooks/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		found := block.FindAllSubmatchIndex(text, -1)
		if len(found) == 0 {
			t.Fatalf("%s has no commands", name)
		}
		for _, at := range found {
			fmt.Fprintf(&b, "echo '== %s.md:%d'\n%s", name, strings.Count(string(text[:at[2]]), "\n")+1, text[at[2]:at[3]])
		}
	}
	return b.String() + "echo ALL RUNBOOKS DONE\n"
}

// shims are ssh and scp that enter the machines' namespaces.
func shims(t *testing.T, office string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ssh": `host=$1; shift
[ -f /dev/stdin ] || exec </dev/null
exec nsenter --target "$(cat "$OFFICE/$host.pid")" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -c "cd / && $*"`,
		"scp": `for to; do :; done
host=${to%%:*} path=${to#*:}
while [ $# -gt 1 ]; do
    case $path in */) file=$path$(basename "$1") ;; *) file=$path ;; esac
    nsenter --target "$(cat "$OFFICE/$host.pid")" --all sh -c "cat >'$file'" <"$1"
    shift
done`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -eu\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mosquitto is what the plant had before: a broker with a user and a retained message.
func mosquitto(m *machine, address string) {
	m.t.Helper()
	m.run("sh", "-c", fmt.Sprintf(`printf 'listener 1883 %s\npassword_file /etc/mosquitto/users\nallow_anonymous false\npersistence false\n' >/etc/mosquitto/mosquitto.conf
touch /etc/mosquitto/users && mosquitto_passwd -b /etc/mosquitto/users line secret && chown mosquitto /etc/mosquitto/users
systemctl start mosquitto`, address))
	m.await("mosquitto has the retained message", func() error {
		out, err := m.try("mosquitto_pub", "-h", address, "-u", "line", "-P", "secret", "-q", "1", "-r", "-t", "line/1/state", "-m", "running")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
