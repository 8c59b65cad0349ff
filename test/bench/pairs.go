package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

// What is compared over a link: ours with one node and with three a region, each
// with a synced log on both sides.
const (
	oursThree       = "causeway 3+3"
	mosquittoBridge = "mosquitto bridge"
	natsLeaf        = "NATS leaf node"
)

// pair starts two linked brokers of a kind.
type pair struct {
	name  string
	start func(context.Context) (*broker, error)
}

// pairs are what is compared. Each is started anew for each round.
func (b *bench) pairs() (list []pair) {
	all := []pair{
		{ours, func(ctx context.Context) (*broker, error) { return b.regions(ctx, ours, 1) }},
		{oursThree, func(ctx context.Context) (*broker, error) { return b.regions(ctx, oursThree, 3) }},
	}
	if path, err := exec.LookPath("mosquitto"); err == nil {
		all = append(all, pair{mosquittoBridge, func(ctx context.Context) (*broker, error) { return b.mosquittos(ctx, path) }})
	} else {
		fmt.Fprintln(os.Stderr, "bench: without mosquitto, which is not installed")
	}
	if b.nats != "" {
		all = append(all, pair{natsLeaf, b.natsLeaf})
	}
	for _, p := range all {
		if b.which.MatchString(p.name) {
			list = append(list, p)
		}
	}
	return list
}

// regions starts two regions of ours that are linked.
func (b *bench) regions(ctx context.Context, name string, nodes int) (*broker, error) {
	dir := filepath.Join(b.dir, b.name())
	t, err := trial.New(trial.Options{Dir: dir, Binary: b.binary, Regions: []string{"eu", "us"}, Nodes: nodes})
	if err != nil {
		return nil, err
	}
	x := &broker{name: name, trial: t, stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopIn)
		defer cancel()
		if err := t.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		_ = os.RemoveAll(dir)
	}}
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	if err = t.Start(); err == nil {
		err = t.WaitReady(ctx)
	}
	if err != nil {
		x.stop()
		return nil, err
	}
	for _, n := range t.Nodes {
		x.pids = append(x.pids, n.PID())
		if n.Region == "eu" {
			x.addrs = append(x.addrs, n.MQTT)
		} else {
			x.to = append(x.to, n.MQTT)
		}
	}
	return x, b.untilCrossed(ctx, x)
}

// mosquittoConfig is a broker that keeps all in memory, and bridgeConfig has it
// send what is below link/ to another.
const (
	mosquittoConfig = `listener %s 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 200000
`
	bridgeConfig = `connection bridge
address %s
topic link/# out 1
topic link/# out 0
remote_clientid bridge
cleansession false
bridge_protocol_version mqttv311
notifications false
try_private true
`
)

func (b *bench) mosquittos(ctx context.Context, path string) (*broker, error) {
	at, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	from, to := fmt.Sprintf(mosquittoConfig, port(at[0])), fmt.Sprintf(mosquittoConfig, port(at[1]))
	x := &broker{name: mosquittoBridge, addrs: at[:1], to: at[1:]}
	return b.linked(ctx, x, path, "-c", to, from+fmt.Sprintf(bridgeConfig, at[1]))
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// natsLeafConfig is a broker with JetStream of its own; its QoS 1 messages are on
// disk and not synced. %s: name, client address, directory, domain, MQTT address,
// how it is linked.
const natsLeafConfig = `server_name: %s
listen: %q
jetstream { store_dir: %q, domain: %s, max_memory_store: 1GB, max_file_store: 4GB }
mqtt { listen: %q, js_domain: %[4]s, max_ack_pending: 1024 }
accounts { APP { users: [{user: app, password: app}], jetstream: enabled }, SYS { users: [{user: sys, password: sys}] } }
system_account: SYS
no_auth_user: app
leafnodes { %[6]s }
`

func (b *bench) natsLeaf(ctx context.Context) (*broker, error) {
	at, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, b.name())
	from := fmt.Sprintf(natsLeafConfig, "a", at[0], filepath.Join(dir, "a"), "A", at[1], fmt.Sprintf(`reconnect: 1, remotes: [ { url: "nats-leaf://app:app@%s", account: APP } ]`, at[4]))
	to := fmt.Sprintf(natsLeafConfig, "b", at[2], filepath.Join(dir, "b"), "B", at[3], fmt.Sprintf(`listen: %q`, at[4]))
	x := &broker{name: natsLeaf, addrs: at[1:2], to: at[3:4]}
	return b.linked(ctx, x, b.nats, "-c", to, from)
}

// linked starts a process for each configuration, in order.
func (b *bench) linked(ctx context.Context, x *broker, path, flag string, configs ...string) (*broker, error) {
	dir := filepath.Join(b.dir, b.name())
	var running []*exec.Cmd
	x.stop = func() {
		for _, c := range running {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for i, text := range configs {
		file := filepath.Join(dir, fmt.Sprint("conf", i))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
		c := exec.Command(path, flag, file)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			x.stop()
			return nil, err
		}
		running = append(running, c)
		x.pids = append(x.pids, c.Process.Pid)
	}
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	return x, b.untilCrossed(ctx, x)
}

// untilCrossed waits until messages cross; it stops x if they do not.
func (b *bench) untilCrossed(ctx context.Context, x *broker) error {
	for {
		res, err := load.Pairs{Name: "link/" + b.name(), Addrs: x.addrs, To: x.to, N: 3, QoS: 1, Window: 1, Rate: 20, For: 500 * time.Millisecond, Patience: time.Second}.Run(ctx)
		if err == nil && res.Received > 0 && res.Lost == 0 {
			return nil
		}
		if !wait(ctx, 200*time.Millisecond) {
			x.stop()
			return fmt.Errorf("%s: nothing crosses: %w, %w", x.name, err, ctx.Err())
		}
	}
}
