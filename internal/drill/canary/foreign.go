package canary

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"causeway/internal/drill"
	"causeway/internal/load"
)

// Clients of other makes subscribe, as programs that print each payload as a line of hex behind the
// line "subscribed". They come back by their own rules, so of them only arrivals are known.

//go:embed mqttjs.js
var mqttjsScript string

//go:embed paho.py
var pahoScript string

func foreignClient(name string) bool {
	return name == "mosquitto" || name == "mqttjs" || name == "paho"
}

// Installed says why a client of another make cannot run here; "" if it can.
func Installed(name string) string {
	var probe *exec.Cmd
	switch name {
	case "mosquitto":
		if _, err := exec.LookPath("mosquitto_sub"); err != nil {
			return "mosquitto_sub is not installed"
		}
		return ""
	case "mqttjs":
		probe = exec.Command("node", "-e", "require('mqtt')")
	case "paho":
		probe = exec.Command("python3", "-c", "import paho.mqtt.client")
	default:
		return ""
	}
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Sprintf("%s cannot run: %v: %s", name, err, strings.TrimSpace(lastLine(string(out))))
	}
	return ""
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// foreign is a client of another make, started again when it ends.
type foreign struct {
	line   []string
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (o *foreign) stop() {
	o.cancel()
	o.done.Wait()
}

// foreign runs the subscriber of a pair.
func (f *fleet) foreign(ctx context.Context, i int, p *pair) error {
	if why := Installed(f.c.Client); why != "" {
		return fmt.Errorf("canaries.clients: %s; install it, or leave %s out", why, f.c.Client)
	}
	n := f.number(i)
	id := f.id("sub", i)
	line, err := f.command(id, f.topic(i), qos(n))
	if err != nil {
		return err
	}
	device := f.book.canary(drill.Canary{ID: id, Client: f.c.Client, Region: f.c.Region, Role: "sub", QoS: qos(n), Stream: n, Across: f.c.Across, Blind: true})
	running, cancel := context.WithCancel(context.Background())
	o := &foreign{line: line, cancel: cancel}
	f.book.mu.Lock()
	f.others = append(f.others, o)
	f.book.mu.Unlock()
	ready := make(chan struct{})
	var once sync.Once
	o.done.Go(func() {
		for running.Err() == nil {
			o.run(running, func(text string) {
				if text == "subscribed" {
					once.Do(func() { close(ready) })
					return
				}
				b, err := hex.DecodeString(strings.TrimSpace(text))
				if err != nil || len(b) < 12 || binary.BigEndian.Uint32(b) != n {
					return
				}
				s := load.Seen{What: load.Arrived, Stream: n, N: binary.BigEndian.Uint64(b[4:]), At: time.Now()}
				p.stream.Received.Add(1)
				p.saw(1, s)
				f.book.saw(device, s)
			})
			select {
			case <-time.After(f.c.Redial):
			case <-running.Done():
			}
		}
	})
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the canary %s (%s) is not subscribed: %w", id, f.c.Client, ctx.Err())
	}
}

func (o *foreign) run(ctx context.Context, line func(string)) {
	cmd := exec.CommandContext(ctx, o.line[0], o.line[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	in := bufio.NewScanner(out)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line(in.Text())
	}
	_ = cmd.Wait() // it is started again whatever it says
}

// command is the command line of a client of another make.
func (f *fleet) command(id, topic string, q byte) ([]string, error) {
	address := f.subscribers()[0] // they know one, as devices do that trust DNS
	at, secure, err := drill.SplitAddress(address)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	keep := max(int(f.c.KeepAlive/time.Second), 5)
	if f.c.Client == "mosquitto" {
		line := []string{"mosquitto_sub", "-h", host, "-p", port, "-i", id, "-c", "-q", fmt.Sprint(q), "-t", topic, "-F", "%x", "-k", fmt.Sprint(keep), "-d"}
		if f.c.Username != "" {
			line = append(line, "-u", f.c.Username, "-P", f.pass)
		}
		if secure {
			line = append(line, "--cafile", f.c.CA)
			if f.c.Cert != "" {
				line = append(line, "--cert", f.c.Cert, "--key", f.c.Key)
			}
		}
		// Its debug line about the SUBACK is the sign that it is subscribed.
		return append([]string{"sh", "-c", `exec "$@" | sed -u -n -e 's/^.*received SUBACK.*$/subscribed/p' -e '/^[0-9a-fA-F]*$/p'`, "sh"}, line...), nil
	}
	text, run := mqttjsScript, "node"
	if f.c.Client == "paho" {
		text, run = pahoScript, "python3"
	}
	name := filepath.Join(filepath.Dir(f.c.Ledger), "."+f.c.Client)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the canary of %s: %w", f.c.Client, err)
	}
	return []string{run, name, address, id, topic, fmt.Sprint(q), fmt.Sprint(keep), f.c.Username, f.pass, f.c.CA, f.c.Cert, f.c.Key}, nil
}
