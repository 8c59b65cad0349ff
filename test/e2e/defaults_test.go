package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// `causeway serve` in an empty directory: a region of one node on loopback, data in ./data. It
// says that devices need no credentials, and that only those on this machine can connect.
func TestServeWithoutArguments_LoopbackAndDataHere(t *testing.T) {
	dir, addr := t.TempDir(), "127.0.0.1:1883"
	args := []string{"serve"}
	if l, err := net.Listen("tcp", addr); err != nil {
		addr = fmt.Sprintf("127.0.0.1:%d", port(t)) // something of this machine's has it
		args = append(args, "--listen", "mqtt://"+addr)
	} else {
		l.Close()
	}
	var log buffer
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	defer func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	await(t, "it to be ready", func() bool { return strings.Contains(log.String(), "state=ready") })

	publish(t, addr, "-q", "1", "-r", "-t", "a", "-m", "hello")
	if got := subscribe(t, addr, "-q", "1", "-t", "a", "-C", "1").wait(); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "FORMAT")); err != nil {
		t.Errorf("no data in ./data: %v", err)
	}
	if !strings.Contains(log.String(), "devices on this machine need no credentials; others cannot connect") {
		t.Error("it does not say who may connect")
	}
	if out, code := causeway(t, dir, "", "ctl", "status"); code != 0 || !strings.Contains(out, "ready") {
		t.Errorf("ctl status beside ./data: exit code %d\n%s", code, out)
	}

	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-exited; err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if disaster.MatchString(log.String()) {
		t.Error("a data race or panic in its log")
		t.Log(log.String())
	}
}
