package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"causeway/internal/drill"
	"causeway/internal/drill/canary"
)

func main() {
	binary := flag.String("binary", "bin/causeway", "the causeway executable")
	delayed := flag.String("delayed", "", "one built with promotion delayed by 3 s (-ldflags '-X causeway/internal/takeover/agent.plantedDelay=3s'); without it that comparison is left out")
	dir := flag.String("dir", "run/drill", "where everything is kept; emptied at the start")
	nodes := flag.Int("nodes", 3, "nodes of each region: 1 or 3; with 1 no node is killed or evacuated")
	others := flag.Int("others", 0, "nodes of the regions beside eu, where the scenarios are: 1, or 0 for as many as -nodes")
	only := flag.String("run", "", "only drills whose name matches this `regexp`")
	agent := flag.String("agent", "", "be the agent of the rig at this socket")
	flag.Parse()
	if *agent != "" {
		if err := runAgent(*agent); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *binary, *delayed, *dir, *nodes, *others == 1, *only); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		stop()
		os.Exit(1)
	}
}

// session is drills against one rig.
type session struct {
	*rig
	binary string
	dir    string // of the drills
	only   *regexp.Regexp
	nodes  int
	failed []string
}

func run(ctx context.Context, binary, delayed, dir string, nodes int, alone bool, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	s, err := newSession(ctx, binary, filepath.Join(dir, "a"), nodes, alone, match)
	if err != nil {
		return err
	}
	s.all(ctx)
	s.rig.stop()
	failed := s.failed
	if delayed != "" && match.MatchString("delayed") && ctx.Err() == nil {
		if delayed, err = filepath.Abs(delayed); err != nil {
			return err
		}
		d, err := newSession(ctx, delayed, filepath.Join(dir, "b"), 1, false, match)
		if err != nil {
			return err
		}
		d.compare(ctx, filepath.Join(dir, "a"))
		d.rig.stop()
		failed = append(failed, d.failed...)
	}
	if len(failed) > 0 {
		return errors.New("not as promised:\n  " + strings.Join(failed, "\n  "))
	}
	return ctx.Err()
}

func newSession(ctx context.Context, binary, dir string, nodes int, alone bool, only *regexp.Regexp) (*session, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	o := rigOptions{binary: binary, dir: filepath.Join(dir, "rig"), nodes: nodes, downAfter: 4 * time.Second}
	if alone {
		o.alone = []string{"us", "ap"}
	}
	r, err := newRig(ctx, o)
	if err != nil {
		return nil, err
	}
	return &session{rig: r, binary: binary, dir: filepath.Join(dir, "drills"), only: only, nodes: nodes}, nil
}

// plan is a plan file against the rig.
func (s *session) plan(name, steps, more string) string {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\nhome: eu\nregions:\n", name)
	for _, region := range []string{"eu", "us", "ap"} {
		var rest []string
		for _, n := range s.tr.Region(region)[1:] {
			rest = append(rest, fmt.Sprintf("%q", n.Socket()))
		}
		fmt.Fprintf(&b, "  %s: { socket: %q, more: [%s] }\n", region, s.tr.Node(region).Socket(), strings.Join(rest, ", "))
	}
	fmt.Fprintf(&b, "agent: { exec: [%q, -agent, %q], timeout: 1m }\n", exe, s.socket.Addr())
	clients := []string{"3.1.1", "5"}
	if !strings.Contains(steps, "lose-region") && !strings.Contains(steps, "isolate-region") { // they know one address, of eu
		for _, c := range drill.CanaryClients[len(clients):] {
			if canary.Installed(c) == "" {
				clients = append(clients, c)
			}
		}
	}
	fmt.Fprintf(&b, "canaries:\n  pairs: 10\n  clients: [%s]\n  across: 2\n  rate: 30/s\n  patience: 20s\n  order: [eu, us]\n  addresses:\n", `"`+strings.Join(clients, `", "`)+`"`)
	for _, region := range []string{"eu", "us"} {
		var list []string
		for _, n := range s.tr.Region(region) {
			list = append(list, fmt.Sprintf("%q", "mqtt://"+n.MQTT))
		}
		fmt.Fprintf(&b, "    %s: [%s]\n", region, strings.Join(list, ", "))
	}
	if !strings.Contains(more, "guardrails:") {
		b.WriteString("guardrails: { gap: 90s, readiness: false }\n")
	}
	b.WriteString(more)
	b.WriteString("steps:\n  - { wait: 2s, name: baseline }\n")
	b.WriteString(steps)
	return b.String()
}

// hold holds a drill and checks its exit code, that nothing is left broken, and that its files are proven.
func (s *session) hold(ctx context.Context, name string, want int, steps, more string, meanwhile func(*exec.Cmd, string)) *drill.Report {
	if !s.only.MatchString(name) || ctx.Err() != nil {
		return nil
	}
	fail := func(format string, args ...any) {
		s.failed = append(s.failed, name+": "+fmt.Sprintf(format, args...))
	}
	fmt.Printf("\n===== %s =====\n", name)
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		fail("%v", err)
		return nil
	}
	file := filepath.Join(s.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(s.plan(name, steps, more)), 0o600); err != nil {
		fail("%v", err)
		return nil
	}
	cmd := exec.CommandContext(ctx, s.binary, "ctl", "drill", "run", file, "--yes", "--by", "make drill", "--id", name, "--dir", s.dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Minute
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		fail("%v", err)
		return nil
	}
	if meanwhile != nil {
		meanwhile(cmd, filepath.Join(s.dir, name))
	}
	err := cmd.Wait()
	if want < 0 { // it was killed, and another one goes on
		return nil
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		fail("exit code %d, not %d (%v)", got, want, err)
	}
	return s.inspect(ctx, name, fail)
}

// inspect looks at what a drill left.
func (s *session) inspect(ctx context.Context, name string, fail func(string, ...any)) *drill.Report {
	if err := s.broken(ctx); err != nil {
		fail("%v", err)
	}
	at := filepath.Join(s.dir, name)
	if out, err := exec.CommandContext(ctx, s.binary, "ctl", "--socket", s.tr.Node("us").Socket(), "drill", "verify", at).CombinedOutput(); err != nil {
		fail("drill verify: %v: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(at, drill.ReportJSON))
	var rep drill.Report
	if err == nil {
		err = json.Unmarshal(b, &rep)
	}
	if err != nil {
		fail("its report: %v", err)
		return nil
	}
	return &rep
}

// begun waits until a drill has begun a step whose name holds a text.
func begun(dir, text string) bool {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r, events, err := drill.Load(dir)
		if err != nil {
			continue
		}
		for _, e := range events {
			if e.What == drill.EvBegun && strings.Contains(r.Drill.Steps[e.Step].Name, text) {
				return true
			}
		}
	}
	return false
}

const loseEU = "  - { scenario: lose-region, region: eu, hold: 1s }\n"

// all holds every scenario, and then what is to end otherwise.
func (s *session) all(ctx context.Context) {
	s.hold(ctx, "switchover", 0, "  - { scenario: switchover, to: us, hold: 1s }\n  - { scenario: failback }\n", "", nil)
	s.hold(ctx, "lose-region", 0, loseEU, "", nil)
	s.hold(ctx, "isolate-region", 0, "  - { scenario: isolate-region, region: eu, hold: 1s }\n", "", nil)
	s.hold(ctx, "links", 0, cutLink+"  - { scenario: cut-link, region: eu, peer: ap, method: pause, hold: 2s }\n"+
		"  - { scenario: degrade-link, region: eu, peer: us, delay: 80ms, loss: 2%, hold: 3s }\n", "", nil)
	s.hold(ctx, "certificate-expiry", 0, "  - { approve: a certificate ends, name: go on, by: [second], role: admin, within: 1m }\n"+
		"  - { scenario: certificate-expiry, region: eu, node: eu-1 }\n", "", s.approve(ctx, "certificate-expiry", "go on"))
	if s.nodes > 1 {
		// Canaries begin at the first node, and are at the second one by then.
		s.hold(ctx, "nodes", 0, "  - { scenario: evacuate-node, region: eu, node: eu-1, params: { wait_health_check: 1s, wait_takeover: 1s } }\n"+
			"  - { scenario: kill-node, region: eu, node: eu-2, hold: 1s }\n", "", nil)
	}
	s.hold(ctx, "goal-missed", 4, "  - { scenario: switchover, to: us }\n  - { scenario: failback }\n", "goals: { first_device: 1ms }\n", nil)
	s.hold(ctx, "guardrail", 5, loseEU, "guardrails: { away: 5%, away_for: 1s, readiness: false }\n", nil)
	s.hold(ctx, "interrupted", 5, loseEU, "", func(cmd *exec.Cmd, dir string) {
		if begun(dir, "another region than eu serves") {
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
	})
	s.killed(ctx, "conductor-killed", loseEU, "another region than eu serves", 5, "abort")
	s.killed(ctx, "conductor-resumed", cutLink, "hold", 0, "resume")
	s.hold(ctx, "shadow", 0, loseEU, "scope: shadow\ngoals: { p95: none, first_device: none }\n", nil)
}

const cutLink = "  - { scenario: cut-link, region: eu, peer: us, hold: 3s }\n"

// killed has the conductor itself die at a step, and another one go on, or undo it all.
func (s *session) killed(ctx context.Context, name, steps, at string, want int, verb ...string) {
	dir := filepath.Join(s.dir, name)
	s.hold(ctx, name, -1, steps, "", func(cmd *exec.Cmd, dir string) {
		if begun(dir, at) {
			_ = cmd.Process.Kill()
		}
	})
	if !s.only.MatchString(name) || ctx.Err() != nil {
		return
	}
	fail := func(format string, args ...any) { s.failed = append(s.failed, name+": "+fmt.Sprintf(format, args...)) }
	again := exec.CommandContext(ctx, s.binary, append([]string{"ctl", "--socket", s.tr.Node("us").Socket(), "drill"}, append(verb, name, "--dir", filepath.Dir(dir))...)...)
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	_ = again.Run()
	if got := again.ProcessState.ExitCode(); got != want {
		fail("%s: exit code %d, not %d", verb[0], got, want)
	}
	s.inspect(ctx, name, fail)
}

// approve approves the step that a drill waits for, at another region than the one that it is held in.
func (s *session) approve(ctx context.Context, name, step string) func(*exec.Cmd, string) {
	return func(_ *exec.Cmd, dir string) {
		if !begun(dir, step) {
			return
		}
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Second) { // until the region has heard that it waits
			out, err := exec.CommandContext(ctx, s.binary, "ctl", "--server", s.second.server, "--ca", s.second.ca, "--token-file", s.second.token, "drill", "approve", name).CombinedOutput()
			fmt.Printf("%s", out)
			if err == nil {
				return
			}
		}
	}
}

// tolerance is how much the difference of two recoveries may miss the three seconds by.
const tolerance = 1.5

// compare holds the same drill against regions of one node, promptly and with promotion delayed by three seconds: from the
// decision on, it has to report as much more. When the loss is noticed is the network's, and differs by itself. Most devices
// are parked by then and served at once, so what the later ones take says nothing of the delay, and is only shown.
func (s *session) compare(ctx context.Context, other string) {
	late := s.hold(ctx, "delayed", 0, loseEU, "", nil)
	if late == nil {
		return
	}
	b, err := os.ReadFile(filepath.Join(other, "drills", "lose-region", drill.ReportJSON))
	var prompt drill.Report
	if err == nil {
		err = json.Unmarshal(b, &prompt)
	}
	if err != nil {
		s.failed = append(s.failed, "delayed: there is no drill to compare with: "+err.Error())
		return
	}
	for _, metric := range []string{"promote", "first_device", "p50", "p95"} {
		a, b := sinceDecided(&prompt, metric), sinceDecided(late, metric)
		fmt.Printf("%-14s %6.2f s after the decision, with promotion delayed by 3 s %6.2f s: %.2f s more\n", metric, a, b, b-a)
		if (metric == "promote" || metric == "first_device") && (b-a < 3-tolerance || b-a > 3+tolerance) {
			s.failed = append(s.failed, fmt.Sprintf("delayed: %s is %.2f s more, not about 3", metric, b-a))
		}
	}
}

func sinceDecided(r *drill.Report, metric string) float64 {
	return measured(r, metric) - measured(r, "decide")
}

func measured(r *drill.Report, metric string) float64 {
	for _, row := range r.Phases[0].Rows {
		if row.Metric == metric {
			return row.Measured
		}
	}
	return -1
}
