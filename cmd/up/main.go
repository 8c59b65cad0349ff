// Command up runs two linked regions of three nodes each on this machine until
// Ctrl-C: what `make up` starts. It is for trying Causeway, not for running it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"causeway/internal/trial"
)

func main() {
	binary := flag.String("binary", "bin/causeway", "the causeway executable")
	dir := flag.String("dir", "run", "where everything is kept; emptied at the start")
	regions := flag.String("regions", "eu,us", "names of the regions, separated by commas")
	nodes := flag.Int("nodes", 3, "nodes of each region: 1, 3, 5 or 7")
	replicants := flag.Int("replicants", 0, "replicants of each region, with several nodes: connections only")
	base := flag.Int("port", 11883, "MQTT port of the first region; each region takes the next thousand")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *binary, *dir, strings.Split(*regions, ","), *nodes, *replicants, *base); err != nil {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

// perNode is how many ports a node takes, from the region's base on.
const perNode = 10

func run(ctx context.Context, out io.Writer, binary, dir string, regions []string, nodes, replicants, base int) error {
	if replicants > 0 && nodes == 1 {
		return errors.New("a region of one node has no replicants: bin/up -nodes 3 -replicants 1")
	}
	balance := nodes > 1 && trial.Balancer()
	t, err := trial.New(trial.Options{Dir: dir, Binary: binary, Regions: regions, Nodes: nodes, Replicants: replicants, Balance: balance,
		Front: func(region int) int { return base + 1000*region },
		Ports: func(region, node int) trial.Ports {
			p := base + 1000*region
			if nodes > 1 {
				p += perNode * (node + 1) // the region's own port is the load balancer's
			}
			return trial.Ports{MQTT: p, WebSocket: p + 1, Link: p + 2, Metrics: p + 3, Gossip: p + 4, Streams: p + 5, Balanced: p + 6}
		}})
	if err != nil {
		return err
	}
	if err := portsFree(t); err != nil {
		return err
	}
	if err := t.Start(); err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := t.Stop(last); err != nil {
			fmt.Fprintln(os.Stderr, "up:", err)
		}
	}()
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := t.WaitReady(ready); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	tell(out, t, binary)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
	return nil
}

// portsFree refuses before anything starts, so that no half of it runs.
func portsFree(t *trial.Trial) error {
	var errs []error
	for _, n := range t.Nodes {
		for _, a := range []string{n.MQTT, n.WebSocket, n.Metrics} {
			l, err := net.Listen("tcp", a)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s of region %s is taken: end what listens there, or choose another port: bin/up -port 21883", a, n.Region))
				continue
			}
			l.Close()
		}
	}
	return errors.Join(errs...)
}

func tell(out io.Writer, t *trial.Trial, binary string) {
	fmt.Fprintln(out, "Regions are up and linked (QUIC, mutual TLS):")
	for _, f := range t.Fronts {
		fmt.Fprintf(out, "  %-6s mqtt://%s  HAProxy, to whichever node lives\n", f.Region, f.MQTT)
	}
	for _, n := range t.Nodes {
		fmt.Fprintf(out, "  %-6s mqtt://%s  ws://%s/mqtt  metrics http://%s/metrics  pid %d  log %s\n", n.Name, n.MQTT, n.WebSocket, n.Metrics, n.PID(), n.LogFile())
	}
	a := entry(t, t.Nodes[0].Region)
	b := entry(t, t.Nodes[len(t.Nodes)-1].Region)
	if a.Region == b.Region {
		return
	}
	fmt.Fprintf(out, "\nTry it, in two more terminals:\n")
	fmt.Fprintf(out, "  mosquitto_sub -p %s -i lamp -c -q 1 -t 'home/#' -v\n", port(b.MQTT))
	fmt.Fprintf(out, "  mosquitto_pub -p %s -q 1 -t home/lamp -m on\n", port(a.MQTT))
	fmt.Fprintf(out, "\nLook inside:\n")
	fmt.Fprintf(out, "  %s ctl --socket %s status\n  %s ctl --socket %s link show %s\n", binary, a.Socket(), binary, a.Socket(), b.Region)
	if t.Nodes[0].Region == t.Nodes[1].Region {
		fmt.Fprintf(out, "\nKill a node; its region goes on, and takes it back when it returns:\n  kill -9 %d\n", t.Nodes[0].PID())
		fmt.Fprintf(out, "  %s serve --config %s\n", binary, t.Nodes[0].ConfigFile())
	}
	fmt.Fprintf(out, "\nCtrl-C stops everything.\n")
}

// entry is a region's first node, with the address that devices use.
func entry(t *trial.Trial, region string) trial.Node {
	n := *t.Node(region)
	if f := t.Front(region); f != nil {
		n.MQTT = f.MQTT
	}
	return n
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
