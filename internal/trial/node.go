package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Node is a broker node as a process.
type Node struct {
	Region, Name string
	Replicant    bool
	witness      bool // it has a vote and nothing else
	Dir          string
	MQTT         string // host:port
	WebSocket    string
	Link         string // UDP
	Metrics      string

	linkTCP  string
	linkDial []string // where other regions dial it
	within   []string // begins its command line

	gossip, streams string
	balanced        string // for a load balancer; "" without one

	binary string
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd ended
	err    error         // of cmd, once exited is closed
}

// Socket is the path of the node's admin socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "admin.sock") }

// LogFile is where the node's log goes, over all its runs.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "log") }

// DataDir is the node's data directory.
func (n *Node) DataDir() string { return filepath.Join(n.Dir, "data") }

// ConfigFile is the node's configuration.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "causeway.yaml") }

// begin makes the directory of a new witness.
func (n *Node) begin() error {
	if out, err := exec.Command(n.binary, "witness", "init", "--config", n.ConfigFile()).CombinedOutput(); err != nil {
		return fmt.Errorf("begin witness %s: %w: %s", n.Name, err, out)
	}
	return nil
}

// Run has the next Start run another executable.
func (n *Node) Run(binary string) { n.binary = binary }

// Start starts the process, unless it runs.
func (n *Node) Start() error {
	if n.Running() {
		return nil
	}
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	verb := "serve"
	if n.witness {
		verb = "witness"
	}
	line := append(slices.Clone(n.within), n.binary, verb, "--config", n.ConfigFile())
	n.cmd = exec.Command(line[0], line[1:]...)
	n.cmd.Stdout, n.cmd.Stderr = log, log
	// In a group of its own, so that a terminal's Ctrl-C reaches it by us only.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		n.err = cmd.Wait()
		close(exited)
	}(n.cmd, n.exited)
	return nil
}

// Running says whether the process lives.
func (n *Node) Running() bool {
	if n.exited == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// PID is the process's id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Kill ends the process without warning (SIGKILL) and waits for its end.
func (n *Node) Kill() {
	if n.Running() {
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
}

// Wipe removes the data directory of a node that does not run.
func (n *Node) Wipe() error { return os.RemoveAll(n.DataDir()) }

// Stop asks the process to stop and waits for its end.
func (n *Node) Stop(ctx context.Context) error {
	n.signal(syscall.SIGTERM)
	return n.waitStopped(ctx)
}

func (n *Node) signal(s syscall.Signal) {
	if n.Running() {
		_ = n.cmd.Process.Signal(s)
	}
}

func (n *Node) waitStopped(ctx context.Context) error {
	if n.exited == nil {
		return nil
	}
	select {
	case <-n.exited:
		var exit *exec.ExitError
		if errors.As(n.err, &exit) && exit.ExitCode() > 0 {
			return fmt.Errorf("%s: %w\n%s", n.Name, n.err, n.LogTail(10))
		}
		return nil
	case <-ctx.Done():
		n.Kill()
		return fmt.Errorf("%s did not stop in time and was killed", n.Name)
	}
}

// LogTail returns the last lines of the node's log.
func (n *Node) LogTail(lines int) string {
	b, err := os.ReadFile(n.LogFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Get asks the node's admin API.
func (n *Node) Get(ctx context.Context, path string, into any) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.Socket())
		}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// status is the part of the node's status page that a trial looks at.
type status struct {
	State struct{ State, Reason string }
	Links []struct{ Peer, State, Reason string }
}

// WaitReady waits until the node is ready and links of its are up.
func (n *Node) WaitReady(ctx context.Context, links int) error {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		why := n.notReady(ctx, links)
		if why == nil {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("%s ended: %w\n%s", n.Name, n.err, n.LogTail(15))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", n.Name, why, n.LogTail(15))
		case <-every.C:
		}
	}
}

func (n *Node) notReady(ctx context.Context, links int) error {
	var st status
	if err := n.Get(ctx, "/v1/status", &st); err != nil {
		return err
	}
	if st.State.State != "ready" {
		return fmt.Errorf("%s: %s", st.State.State, st.State.Reason)
	}
	up := 0
	for _, l := range st.Links {
		if l.State == "up" {
			up++
		}
	}
	if up < links {
		return fmt.Errorf("%d of %d links are up: %+v", up, links, st.Links)
	}
	return nil
}
