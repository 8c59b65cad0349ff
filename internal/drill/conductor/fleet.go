package conductor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"causeway/internal/drill"
	"causeway/internal/drill/canary"
	"causeway/internal/group"
)

// fleet is the canary processes.
type fleet struct {
	procs []*proc
}

// proc is one process of canaries.
type proc struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	c      canary.Config
	errs   *tail
	exited chan struct{}
	err    error // once exited is closed

	mu    sync.Mutex
	live  drill.Live
	heard bool
}

// canaryConfigs splits what a plan wants over processes: one for each client, and one for pairs whose
// ends are at home in different regions. round counts how often the drill began to measure.
func canaryConfigs(p *drill.Plan, id, dir string, round int) (list []canary.Config) {
	c := &p.Canaries
	order := c.Order
	if len(order) == 0 {
		for name := range c.Addresses {
			if name != p.Home {
				order = append(order, name)
			}
		}
		slices.Sort(order)
		order = append([]string{p.Home}, order...)
	}
	var addresses []string
	for _, name := range order {
		addresses = append(addresses, c.Addresses[name]...)
	}
	if p.Scope.Kind == drill.ScopeCohort && !strings.HasPrefix(c.ClientID, p.Scope.Prefix) {
		c.ClientID = p.Scope.Prefix + c.ClientID
	}
	base := canary.Config{Drill: id, Round: round, Region: p.Home, Addresses: addresses, Payload: c.Payload, ClientID: c.ClientID, Topic: c.Topic,
		Username: c.Username, Password: c.Password, Cert: c.Cert, Key: c.Key, CA: c.CA, Redial: c.Redial, KeepAlive: 10 * time.Second}
	all := c.Pairs + c.Across
	add := func(x canary.Config, name string, pairs int) {
		if pairs == 0 {
			return
		}
		x.Pairs, x.Rate = pairs, c.Rate*float64(pairs)/float64(all)
		x.Ledger = filepath.Join(dir, fmt.Sprintf("%s%d-%s.jsonl", drill.LedgerPrefix, round, name))
		for _, o := range list {
			x.First += o.Pairs
		}
		list = append(list, x)
	}
	for i, client := range c.Clients {
		x := base
		x.Client = client
		add(x, strings.ReplaceAll(client, ".", ""), c.Pairs/len(c.Clients)+count(i < c.Pairs%len(c.Clients)))
	}
	for _, name := range order {
		if name != p.Home && c.Across > 0 {
			x := base
			x.Client, x.Across, x.To = c.Clients[0], true, c.Addresses[name]
			if x.Client != "5" {
				x.Client = "3.1.1"
			}
			add(x, "across", c.Across)
			break
		}
	}
	return list
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// startFleet starts the processes and waits until all canaries are connected.
func startFleet(ctx context.Context, command []string, configs []canary.Config) (*fleet, error) {
	f := &fleet{}
	for _, c := range configs {
		p, err := startProc(command, c)
		if err != nil {
			f.kill()
			return nil, err
		}
		f.procs = append(f.procs, p)
	}
	for _, p := range f.procs {
		if err := p.awaitFirst(ctx); err != nil {
			f.kill()
			return nil, err
		}
	}
	return f, nil
}

func startProc(command []string, c canary.Config) (*proc, error) {
	p := &proc{c: c, errs: &tail{}, exited: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	// In a group of its own: Ctrl-C is for whoever conducts, and canaries go on until it is done.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = p.errs
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the canaries: %w", err)
	}
	b, err := json.Marshal(c)
	if err == nil {
		_, err = in.Write(append(b, '\n'))
	}
	go p.listen(out)
	if err != nil {
		_ = p.cmd.Process.Kill()
		return nil, fmt.Errorf("start the canaries: %w", err)
	}
	return p, nil
}

func (p *proc) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var l drill.Live
		if json.Unmarshal(lines.Bytes(), &l) == nil {
			p.mu.Lock()
			p.live, p.heard = l, true
			p.mu.Unlock()
		}
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

func (p *proc) awaitFirst(ctx context.Context) error {
	for {
		p.mu.Lock()
		heard := p.heard
		p.mu.Unlock()
		if heard {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the canaries (%s) did not start: %w: %s", p.c.Client, p.err, p.errs)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// live adds up what the processes say. A process that ended is an error: its canaries see nothing.
func (f *fleet) live() (l drill.Live, err error) {
	l.Settled = true
	for _, p := range f.procs {
		p.mu.Lock()
		l = l.Plus(p.live)
		p.mu.Unlock()
		select {
		case <-p.exited:
			err = errors.Join(err, fmt.Errorf("the canaries (%s) ended: %w: %s", p.c.Client, errors.Join(p.err), p.errs))
		default:
		}
	}
	return l, err
}

// homed is how many devices are at home in the home that is drilled, and how often they connected.
func (f *fleet) homed() (devices int, connects uint64) {
	for _, p := range f.procs {
		p.mu.Lock()
		if !p.c.Across {
			devices += p.live.Devices
			connects += p.live.Connects
		}
		p.mu.Unlock()
	}
	return devices, connects
}

// end has the publishers stop, waits for what is under way, and ends the processes.
func (f *fleet) end(ctx context.Context, patience time.Duration) error {
	for _, p := range f.procs {
		_, _ = io.WriteString(p.in, "settle\n") // one that is gone has ended by itself
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if l, err := f.live(); l.Settled || err != nil || group.Pause(ctx, 200*time.Millisecond) != nil {
			break
		}
	}
	var errs []error
	for _, p := range f.procs {
		_ = p.in.Close()
	}
	for _, p := range f.procs {
		select {
		case <-p.exited:
			if p.err != nil {
				errs = append(errs, fmt.Errorf("the canaries (%s): %w: %s", p.c.Client, p.err, p.errs))
			}
		case <-time.After(15 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.exited
			errs = append(errs, fmt.Errorf("the canaries (%s) did not end and were killed", p.c.Client))
		}
	}
	return errors.Join(errs...)
}

func (f *fleet) kill() {
	for _, p := range f.procs {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// self is the command line of canaries in this same program.
func self() ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start the canaries: %w", err)
	}
	return []string{exe, "ctl", "drill", "canary"}, nil
}
