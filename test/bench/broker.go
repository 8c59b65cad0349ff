package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"causeway/internal/load"
	"causeway/internal/trial"
)

const (
	ours       = "causeway"
	natsLazy   = "NATS R3, not synced"
	natsSynced = "NATS R3, synced"
)

// broker is nodes of one kind, as processes: three, or two linked regions.
type broker struct {
	name  string
	addrs []string
	to    []string // of the other region, of two that are linked
	pids  []int
	stop  func()
	trial *trial.Trial // ours
}

// brokers are those that are compared. Each is started anew for each round.
func (b *bench) brokers() []func(context.Context) (*broker, error) {
	list := []func(context.Context) (*broker, error){func(ctx context.Context) (*broker, error) { return b.region(ctx, trial.Options{}) }}
	if b.nats != "" {
		list = append(list, func(ctx context.Context) (*broker, error) { return b.natsCluster(ctx, natsLazy, "2m") },
			func(ctx context.Context) (*broker, error) { return b.natsCluster(ctx, natsSynced, "always") })
	}
	return list
}

const (
	startIn = 60 * time.Second
	stopIn  = 30 * time.Second
)

// region starts a region of ours.
func (b *bench) region(ctx context.Context, o trial.Options) (*broker, error) {
	o.Dir, o.Binary, o.Regions = filepath.Join(b.dir, b.name()), b.binary, []string{"eu"}
	o.Nodes = max(o.Nodes, 3)
	t, err := trial.New(o)
	if err != nil {
		return nil, err
	}
	x := &broker{name: ours, trial: t, stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopIn)
		defer cancel()
		if err := t.Stop(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		_ = os.RemoveAll(o.Dir)
	}}
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	// More than three are asked for to be started later.
	for _, n := range t.Nodes[:3] {
		if err := n.Start(); err != nil {
			x.stop()
			return nil, err
		}
	}
	for _, f := range t.Fronts {
		if err := f.Start(); err != nil {
			x.stop()
			return nil, err
		}
	}
	for _, n := range t.Nodes[:3] {
		if err := n.WaitReady(ctx, 0); err != nil {
			x.stop()
			return nil, err
		}
		x.addrs, x.pids = append(x.addrs, n.MQTT), append(x.pids, n.PID())
	}
	return x, nil
}

// natsConfig is a node of a JetStream cluster whose MQTT streams have three
// replicas.
const natsConfig = `server_name: n%[1]d
listen: %[2]s
jetstream { store_dir: %[3]q, max_memory_store: 1GB, max_file_store: 4GB, sync_interval: %[4]s }
cluster { name: bench, listen: %[5]s, routes: [%[6]s] }
mqtt { listen: %[7]q, max_ack_pending: 1024, stream_replicas: 3 }
`

func (b *bench) natsCluster(ctx context.Context, name, sync string) (*broker, error) {
	dir := filepath.Join(b.dir, b.name())
	x := &broker{name: name}
	var running []*exec.Cmd
	x.stop = func() {
		for _, c := range running {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	ports, err := freePorts(9)
	if err != nil {
		return nil, err
	}
	var routes []string
	for _, at := range ports[3:6] {
		routes = append(routes, "nats-route://"+at)
	}
	for i := range 3 {
		at := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(at, 0o755); err != nil {
			return nil, err
		}
		file := filepath.Join(at, "conf")
		text := fmt.Sprintf(natsConfig, i, ports[i], filepath.Join(at, "js"), sync, ports[3+i], strings.Join(routes, ", "), ports[6+i])
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
		c := exec.Command(b.nats, "-c", file, "-l", filepath.Join(at, "log"))
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			x.stop()
			return nil, err
		}
		running = append(running, c)
		x.addrs, x.pids = append(x.addrs, ports[6+i]), append(x.pids, c.Process.Pid)
	}
	if err := b.untilServed(ctx, x); err != nil {
		x.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return x, nil
}

// untilServed waits until messages pass through all nodes.
func (b *bench) untilServed(ctx context.Context, x *broker) error {
	ctx, cancel := context.WithTimeout(ctx, startIn)
	defer cancel()
	for {
		_, err := load.Pairs{Name: b.name(), Addrs: x.addrs, N: 3, QoS: 1, Window: 1, For: 200 * time.Millisecond}.Run(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// freePorts finds addresses on loopback that nobody uses.
func freePorts(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // held until all are known, so that they differ
		list = append(list, l.Addr().String())
	}
	return list, nil
}
