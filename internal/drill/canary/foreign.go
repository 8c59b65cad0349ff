package canary

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"causeway/internal/drill"
	"causeway/internal/load"
)

// Clients of other makes are programs of their own, one for each end of a pair. They say in lines what they see: "connected",
// "subscribed", a payload in hex, "acked N" of the Nth message that they were given, a line on their standard input each. They
// come back by their own rules, so nothing is known of their connections.

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
		for _, program := range []string{"mosquitto_sub", "mosquitto_pub", "stdbuf"} {
			if _, err := exec.LookPath(program); err != nil {
				return program + " is not installed"
			}
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

// foreign is one end of a pair as a client of another make, started again when it ends.
type foreign struct {
	f      *fleet
	p      *pair
	id     string
	number uint32
	device int
	pub    bool

	cancel context.CancelFunc
	done   sync.WaitGroup
	ready  chan struct{}
	once   sync.Once

	mu      sync.Mutex // guards what follows, of a publisher
	wake    chan struct{}
	next    uint64
	allowed uint64
	given   int            // messages that this run of the program got
	flying  map[int]uint64 // of them those not acknowledged, by place
}

// places is how many messages a run of a program can be told apart: as many as there are packet ids.
const places = 65535

func placeOf(n int) int { return (n-1)%places + 1 }

// startForeign runs one end of pair i, and waits until it is connected or subscribed.
func (f *fleet) startForeign(ctx context.Context, i int, p *pair, pub bool) (*foreign, error) {
	if why := Installed(f.c.Client); why != "" {
		return nil, fmt.Errorf("canaries.clients: %s; install it, or leave %s out", why, f.c.Client)
	}
	role := map[bool]string{true: "pub", false: "sub"}[pub]
	n := f.number(i)
	o := &foreign{f: f, p: p, id: f.id(role, i), number: n, pub: pub, ready: make(chan struct{}), wake: make(chan struct{}, 1), flying: map[int]uint64{}}
	if _, err := f.command(role, o.id, f.topic(i), qos(n)); err != nil {
		return nil, err
	}
	o.device = f.book.canary(drill.Canary{ID: o.id, Client: f.c.Client, Region: f.c.Region, Role: role, QoS: qos(n), Stream: n, Across: f.c.Across, Blind: true})
	running, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	o.done.Go(func() {
		for run := 1; running.Err() == nil; run++ {
			id := o.id
			if pub && run > 1 {
				// It forgot which packet ids of its session are taken.
				id = fmt.Sprint(id, "-", run)
			}
			if line, err := f.command(role, id, f.topic(i), qos(n)); err == nil { // as it was the first time
				o.run(running, line)
			}
			select {
			case <-time.After(f.c.Redial):
			case <-running.Done():
			}
		}
	})
	select {
	case <-o.ready:
		return o, nil
	case <-ctx.Done():
		o.Stop()
		return nil, fmt.Errorf("the canary %s (%s) is not connected: %w", o.id, f.c.Client, ctx.Err())
	}
}

// Stop ends the program.
func (o *foreign) Stop() {
	o.cancel()
	o.done.Wait()
}

// Allow lets a publisher send its messages up to one.
func (o *foreign) Allow(n uint64) {
	o.mu.Lock()
	o.allowed = n
	o.mu.Unlock()
	o.awake()
}

// Halt takes back what Allow gave and was not sent yet.
func (o *foreign) Halt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.allowed = o.next
}

func (o *foreign) awake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run is one run of the program, until it ends by itself or with ctx.
func (o *foreign) run(ctx context.Context, line []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	var feeding sync.WaitGroup
	feeding.Go(func() { o.feed(ctx, in) })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		o.hear(lines.Text())
	}
	_ = cmd.Wait() // it is started again whatever it says
	cancel()
	feeding.Wait()
	o.forget()
}

// feed gives a publisher its messages, as many at a time as are in its window.
func (o *foreign) feed(ctx context.Context, in io.WriteCloser) {
	defer in.Close()
	for {
		n, ok := o.take()
		if ok {
			if _, err := io.WriteString(in, o.text(n)); err != nil {
				return // it ended, or is about to
			}
			continue
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return
		}
	}
}

// take is the next message to send.
func (o *foreign) take() (n uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.pub || o.next >= o.allowed || len(o.flying) >= window {
		return 0, false
	}
	n = o.next
	o.next++
	o.given++
	o.flying[placeOf(o.given)] = n
	o.saw(load.Sent, n)
	o.p.stream.Sent.Add(1)
	return n, true
}

// text is a message: what its subscriber reads in it, as long as the plan has payloads.
func (o *foreign) text(n uint64) string {
	s := fmt.Sprint(o.number, " ", n, " ")
	return s + strings.Repeat(".", max(0, o.f.c.Payload-len(s))) + "\n"
}

// forget gives up what a run of the program had not acknowledged: the next one knows nothing of it.
func (o *foreign) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.p.mu.Lock()
	o.p.unacked -= len(o.flying)
	o.p.mu.Unlock()
	o.given, o.flying = 0, map[int]uint64{}
}

var mosquittoAcked = regexp.MustCompile(`received (?:PUBACK|PUBCOMP) \(Mid: (\d+)`)

// hear takes in a line that the program wrote.
func (o *foreign) hear(line string) {
	if o.f.c.Client == "mosquitto" { // its debug lines; packet ids count from 1
		switch found := mosquittoAcked.FindStringSubmatch(line); {
		case found != nil:
			line = "acked " + found[1]
		case strings.Contains(line, "received CONNACK (0)"):
			line = "connected"
		case strings.Contains(line, "received SUBACK"):
			line = "subscribed"
		}
	}
	var place int
	switch {
	case line == "connected" && o.pub, line == "subscribed":
		o.once.Do(func() { close(o.ready) })
	case line == "connected":
	case parsed(line, "acked %d", &place):
		o.acked(placeOf(place))
	default:
		o.arrived(line)
	}
}

func parsed(line, format string, into *int) bool {
	_, err := fmt.Sscanf(line, format, into)
	return err == nil && *into > 0
}

func (o *foreign) acked(place int) {
	o.mu.Lock()
	n, ok := o.flying[place]
	delete(o.flying, place)
	o.mu.Unlock()
	if !ok {
		return
	}
	o.saw(load.Acked, n)
	o.p.stream.Acked.Add(1)
	o.awake()
}

func (o *foreign) arrived(line string) {
	b, err := hex.DecodeString(strings.TrimSpace(line))
	if err != nil {
		return
	}
	var stream uint32
	var n uint64
	if _, err := fmt.Sscan(string(b), &stream, &n); err != nil || stream != o.number {
		return
	}
	o.p.stream.Received.Add(1)
	o.saw(load.Arrived, n)
}

func (o *foreign) saw(what load.What, n uint64) {
	s := load.Seen{What: what, Stream: o.number, N: n, At: time.Now()}
	end := 1
	if o.pub {
		end = 0
	}
	o.p.saw(end, s)
	o.f.book.saw(o.device, s)
}

// command is the command line of a client of another make.
func (f *fleet) command(role, id, topic string, q byte) ([]string, error) {
	address := f.c.Addresses[0] // they know one, as devices do that trust DNS
	if role == "sub" {
		address = f.subscribers()[0]
	}
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
		line := []string{"stdbuf", "-oL", "mosquitto_" + role, "-h", host, "-p", port, "-i", id, "-c", "-q", fmt.Sprint(q), "-t", topic, "-k", fmt.Sprint(keep), "-d"}
		line = append(line, map[string][]string{"sub": {"-F", "%x"}, "pub": {"-l"}}[role]...)
		if f.c.Username != "" {
			line = append(line, "-u", f.c.Username, "-P", f.pass)
		}
		if secure && f.c.CA == "" {
			line = append(line, "--capath", "/etc/ssl/certs")
		} else if secure {
			line = append(line, "--cafile", f.c.CA)
		}
		if secure && f.c.Cert != "" {
			line = append(line, "--cert", f.c.Cert, "--key", f.c.Key)
		}
		return line, nil
	}
	text, run := mqttjsScript, "node"
	if f.c.Client == "paho" {
		text, run = pahoScript, "python3"
	}
	name := filepath.Join(filepath.Dir(f.c.Ledger), "."+f.c.Client)
	if err := writeOnce(name, text); err != nil {
		return nil, fmt.Errorf("write the canary of %s: %w", f.c.Client, err)
	}
	return []string{run, name, role, address, id, topic, fmt.Sprint(q), fmt.Sprint(keep), f.c.Username, f.pass, f.c.CA, f.c.Cert, f.c.Key}, nil
}

// writeOnce writes a file that is not there yet: whoever runs it already reads it whole.
func writeOnce(name, text string) error {
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o600)
}
