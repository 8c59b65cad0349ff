package e2e

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Debian's mosquitto clients, which `make deps` installs.

func mosquitto(t *testing.T, tool, addr string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%v: install mosquitto-clients (make deps)", err)
	}
	host, port := split(addr)
	cmd := exec.Command(path, append([]string{"-h", host, "-p", port}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// publish runs mosquitto_pub to its end: everything was acknowledged as its QoS has it.
func publish(t *testing.T, addr string, args ...string) {
	t.Helper()
	publishLines(t, addr, nil, args...)
}

// publishLines publishes each line as a message of its own.
func publishLines(t *testing.T, addr string, lines []string, args ...string) {
	t.Helper()
	if lines != nil {
		args = append(args, "-l")
	}
	cmd := mosquitto(t, "mosquitto_pub", addr, args...)
	cmd.Stdin = strings.NewReader(strings.Join(slices.Concat(lines, []string{""}), "\n"))
	if out, err := runBounded(cmd); err != nil {
		t.Fatalf("mosquitto_pub %q: %v\n%s", args, err, out)
	}
}

// runBounded runs cmd to its end, killing it when it takes too long.
func runBounded(cmd *exec.Cmd) (string, error) {
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // by our own handle, and ineffective after its end
	err := cmd.Wait()
	return out.String(), err
}

// subscriber is a running mosquitto_sub.
type subscriber struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    buffer
	errs   buffer
	exited chan error
}

// subscribe starts mosquitto_sub. The caller waits for the route to know that it subscribed.
func subscribe(t *testing.T, addr string, args ...string) *subscriber {
	t.Helper()
	s := &subscriber{t: t, cmd: mosquitto(t, "mosquitto_sub", addr, args...), exited: make(chan error, 1)}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.errs
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		s.exited <- s.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-ended
	})
	return s
}

// wait returns what it printed until it ended by itself, with success.
func (s *subscriber) wait() string {
	s.t.Helper()
	select {
	case err := <-s.exited:
		if err != nil {
			s.t.Fatalf("%s: %v\n%s\nprinted: %s", s.cmd, err, s.errs.String(), clip(s.out.String()))
		}
	case <-time.After(patience):
		s.t.Fatalf("%s did not end\n%s\nprinted: %s", s.cmd, s.errs.String(), clip(s.out.String()))
	}
	return s.out.String()
}

// lines is wait, split.
func (s *subscriber) lines() []string {
	s.t.Helper()
	return strings.Split(strings.TrimSuffix(s.wait(), "\n"), "\n")
}

// kill ends the client without a DISCONNECT.
func (s *subscriber) kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	<-s.exited
}

func clip(s string) string { return s[:min(len(s), 2000)] }

// buffer is a bytes.Buffer that a process writes while the test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*buffer)(nil)

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
