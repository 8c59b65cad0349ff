// Command bench measures a replicated region of three nodes, as processes with a
// synced log each, beside a three-node NATS JetStream cluster on the same machine,
// and two linked regions beside a mosquitto bridge and NATS leaf nodes: back to
// back, in rounds, since only ratios of such pairs hold. It prints what it measured
// and which of the project's goals were met, as Markdown.
//
//	make bench-region                        everything
//	make bench-region ARGS='-run load'       some cases: see -help
//	make bench-link                          the links alone
//
// It knows no more of the brokers than a device does, but for four things: the
// CPU and memory of their processes, the times of causeway's commits and the bytes
// on its links (from its metrics), and which of its nodes leads.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run of the command.
type bench struct {
	binary  string // causeway
	nats    string // nats-server; "" without
	dir     string
	rounds  int
	length  time.Duration  // of a measurement of throughput
	which   *regexp.Regexp // of what is compared over a link, by name
	loads   *regexp.Regexp // over a link, by name
	devices int            // of a fleet that loses its region
	pace    string         // of the nodes that it comes to
	keep    bool           // what regions wrote, logs too
	report  report
	serial  int // of client ids and topics
}

type benchCase struct {
	name, what string
	run        func(*bench, context.Context) error
}

// cases in the order in which they run.
var cases = []benchCase{
	{"load", "throughput and latency at QoS 1, beside NATS", (*bench).load},
	{"offline", "100,000 messages for who is away, beside NATS", (*bench).offline},
	{"link", "two linked regions beside a mosquitto bridge and NATS leaf nodes", (*bench).link},
	{"storm", "attach of many sessions, and take-over by another node", (*bench).storm},
	{"idle", "CPU of a region that does nothing", (*bench).idle},
	{"failover", "kill of the leader to the next commit", (*bench).failover},
	{"restart", "restart of a node with a million queued messages", (*bench).restart},
	{"kills", "200 devices while each node in turn is killed, one wiped", (*bench).kills},
	{"outage", "a region of three nodes lost under 500 devices, its standby takes over, and the way back", (*bench).outage},
	{"switchover", "a home goes to another region and back under 500 devices", (*bench).switchover},
	{"shipping", "CPU of two regions without and with a standby", (*bench).shipping},
	{"fleet", "15,000 sessions lose their region and come to its standby", (*bench).fleet},
	{"rolling", "200 devices while all nodes are restarted in turn, without and with a fourth", (*bench).rolling},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := &bench{}
	only := flag.String("run", "", "run the cases whose name matches this `regexp` only:\n"+listCases())
	flag.StringVar(&b.binary, "causeway", "bin/causeway", "the causeway executable")
	flag.StringVar(&b.nats, "nats", ".tools/nats-server", "the nats-server executable, which is installed there if it is not; - for none")
	flag.StringVar(&b.dir, "dir", "run/bench", "everything is kept under this `directory`, which is emptied")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of what is compared")
	flag.DurationVar(&b.length, "for", 8*time.Second, "length of a measurement under load")
	which := flag.String("pairs", "", "compare only pairs whose name matches this `regexp` over a link")
	loads := flag.String("loads", "", "cross a link only with loads whose name matches this `regexp`")
	flag.IntVar(&b.devices, "devices", 15_000, "sessions of the fleet that loses its region")
	flag.StringVar(&b.pace, "paces", "1300", "how many of the fleet each of three nodes lets in a second: a round for each of these, between commas")
	served := flag.String("established", "", "used by the bench itself")
	flag.BoolVar(&b.keep, "keep", false, "leave what the regions of an outage wrote, with their logs, in -dir")
	file := flag.String("json", "", "write the figures to this `file`, too")
	flag.Parse()
	if *served != "" {
		return runEstablished(ctx, *served)
	}
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if !slices.ContainsFunc(cases, func(c benchCase) bool { return match.MatchString(c.name) }) {
		return fmt.Errorf("-run: %q matches no case; there are:\n%s", *only, listCases())
	}
	if b.which, err = regexp.Compile(*which); err != nil {
		return fmt.Errorf("-pairs: %w", err)
	}
	if b.loads, err = regexp.Compile(*loads); err != nil {
		return fmt.Errorf("-loads: %w", err)
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	b.findNATS(ctx)
	for _, c := range cases {
		if !match.MatchString(c.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", time.Now().Format(time.TimeOnly), c.name, c.what)
		if err := c.run(b, ctx); err != nil {
			b.report.markdown(os.Stdout)
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	b.report.markdown(os.Stdout)
	if *file == "" {
		return nil
	}
	out, err := json.MarshalIndent(&b.report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*file, append(out, '\n'), 0o644)
}

func listCases() string {
	var s strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&s, "%-10s %s\n", c.name, c.what)
	}
	return s.String()
}

// natsModule is the peer, in the version that the figures in docs/performance.md
// are of.
const natsModule = "github.com/nats-io/nats-server/v2@v2.15.2"

// findNATS installs NATS if it is not there. Without it there is nothing to
// compare with, and the rest is measured all the same.
func (b *bench) findNATS(ctx context.Context) {
	if b.nats == "-" {
		b.nats = ""
		return
	}
	path, err := filepath.Abs(b.nats)
	if err == nil {
		if _, err = os.Stat(path); err != nil {
			install := exec.CommandContext(ctx, "go", "install", natsModule)
			install.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path))
			install.Stderr = os.Stderr
			err = install.Run()
		}
	}
	b.nats = path
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: without NATS, which cannot be installed:", err)
		b.nats = ""
	}
}

// name is of a run's topics and client ids, and never the same.
func (b *bench) name() string {
	b.serial++
	return fmt.Sprintf("bench-%d", b.serial)
}
