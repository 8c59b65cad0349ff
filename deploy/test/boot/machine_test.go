package boot

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take on a machine that others use, too.
const patience = 4 * time.Minute

// machine is a systemd in namespaces of its own. Its memory goes with it; its disk is a loop device and stays.
type machine struct {
	t                *testing.T
	name, ns, device string
	cmd              *exec.Cmd
	cgroup           string
	pid              string // of its systemd, as seen from here
}

// disk makes an empty disk.
func disk(t *testing.T, name string) (device string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), name+".img")
	run(t, "truncate", "--size=512M", image)
	device = run(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", device).Run() })
	return device
}

// boot starts the machine and runs its boot script, as cloud-init does.
func (m *machine) boot(script string) {
	m.t.Helper()
	dir := m.t.TempDir()
	m.cgroup = filepath.Join(cgroupRoot(m.t), m.ns)
	if err := os.MkdirAll(m.cgroup, 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.cmd = exec.Command("nsenter", "--net="+nsPath(m.ns), "sh", "-c",
		`echo $$ >"$1/cgroup.procs" && exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup sh machine.sh "$2" "$3"`, "sh", m.cgroup, dir, m.name)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	m.cmd.Stdout, m.cmd.Stderr = &out, &out
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.kill)
	m.await("systemd is up", func() error {
		pid, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.cmd.Process.Pid))
		if m.pid = strings.TrimSpace(string(pid)); err != nil || m.pid == "" {
			return fmt.Errorf("%w %s", err, out.String())
		}
		state, _ := m.try("systemctl", "is-system-running")
		if state != "running" && state != "degraded" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
	m.write("/var/lib/cloud-user-data", script)
	m.run("sh", "/var/lib/cloud-user-data")
}

// kill is the end of the machine: no process of it is told.
func (m *machine) kill() {
	if m.cmd == nil {
		return
	}
	if m.t.Failed() {
		log, _ := m.try("journalctl", "--no-pager", "--lines=60", "--unit=causeway*")
		m.t.Logf("%s:\n%s", m.name, log)
	}
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
	m.cmd = nil
	// The kernel takes a moment to end all of them, and a folder of processes cannot be removed.
	m.await("its processes are gone", func() error {
		out, _ := exec.Command("find", m.cgroup, "-depth", "-type", "d", "-delete").CombinedOutput()
		if _, err := os.Stat(m.cgroup); err == nil {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// try runs a command in the machine; what it printed comes without its last line end.
func (m *machine) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", m.pid, "--all", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", name}, args...)...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (m *machine) run(name string, args ...string) string {
	m.t.Helper()
	out, err := m.try(name, args...)
	if err != nil {
		m.t.Fatalf("%s: %s %s: %v\n%s", m.name, name, strings.Join(args, " "), err, out)
	}
	return out
}

func (m *machine) write(file, text string) {
	m.t.Helper()
	cmd := exec.Command("nsenter", "--target", m.pid, "--all", "tee", file)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("write %s at %s: %v\n%s", file, m.name, err, out)
	}
}

// await asks until there is no complaint.
func (m *machine) await(what string, ask func() error) {
	m.t.Helper()
	await(m.t, m.name+": "+what, ask)
}

func await(t *testing.T, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// cgroupRoot is where the second version of control groups is mounted here.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Fatal("no cgroup2 is mounted: systemd needs it")
	return ""
}
