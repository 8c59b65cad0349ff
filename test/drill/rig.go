package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"causeway/internal/admin"
	"causeway/internal/drill/conductor"
	"causeway/internal/trial"
	meshtls "causeway/tls"
)

// rig is three regions and a witness: us stands by eu, ap by us, and eu by ap.
type rig struct {
	dir    string
	tr     *trial.Trial
	ca     *meshtls.CA
	cables map[[2]string][]*cable // by the sites, in the order of their names
	second person
	socket net.Listener
	mu     sync.Mutex
}

// person is somebody with a token of their own: who conducts a drill cannot approve it. What they talk to is a node of us.
type person struct{ server, token, ca string }

// newPerson returns with a listener that keeps the port from others until it is closed.
func newPerson(dir, ca string) (p person, section string, l net.Listener, err error) {
	token, line, err := admin.NewToken("second", admin.RoleAdmin)
	if err != nil {
		return p, "", nil, err
	}
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return p, "", nil, err
	}
	p = person{server: "https://" + l.Addr().String(), token: filepath.Join(dir, "second.token"), ca: ca}
	tokens := filepath.Join(dir, "tokens")
	err = errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(p.token, []byte(token), 0o600), os.WriteFile(tokens, []byte(line+"\n"), 0o600))
	return p, fmt.Sprintf("listen: %q, tokens: %q", l.Addr(), "file:"+tokens), l, err
}

type rigOptions struct {
	binary, dir string
	nodes       int      // of each region
	alone       []string // regions of one node
	mode        string
	downAfter   time.Duration
}

func newRig(ctx context.Context, o rigOptions) (_ *rig, err error) {
	r := &rig{dir: o.dir, cables: map[[2]string][]*cable{}}
	second, section, port, err := newPerson(filepath.Dir(o.dir), filepath.Join(o.dir, "ca", "ca.pem")) // beside what trial.New empties
	if err != nil {
		return nil, err
	}
	r.second = second
	r.tr, err = trial.New(trial.Options{Dir: o.dir, Admin: func(node string) string {
		if node == "us-1" {
			return section
		}
		return ""
	}, Binary: o.binary, Regions: []string{"eu", "us", "ap"}, Nodes: o.nodes, Alone: o.alone,
		Takeover: &trial.Takeover{StandbyOf: map[string][]string{"us": {"eu"}, "ap": {"us"}, "eu": {"ap"}}, Witnesses: []string{"w1"},
			Section: fmt.Sprintf("mode: %s, down_after: %s", cmp.Or(o.mode, "auto"), o.downAfter)},
		LinkVia: func(from, to, address string) string {
			c, e := newCable(address)
			if e != nil {
				err = errors.Join(err, e)
				return address
			}
			r.cables[pairOf(from, to)] = append(r.cables[pairOf(from, to)], c)
			return c.conn.LocalAddr().String()
		}})
	if err != nil {
		return nil, err
	}
	if err := port.Close(); err != nil {
		return nil, err
	}
	if r.ca, err = meshtls.LoadCA(filepath.Join(o.dir, "ca", "ca.pem"), filepath.Join(o.dir, "ca", "ca-key.pem")); err != nil {
		return nil, err
	}
	if r.socket, err = net.Listen("unix", filepath.Join(o.dir, "agent.sock")); err != nil {
		return nil, err
	}
	go r.serve()
	if err := r.tr.Start(); err != nil {
		r.stop()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := r.tr.WaitReady(ctx); err != nil {
		r.stop()
		return nil, err
	}
	for host, standby := range map[string]string{"eu": "us", "us": "ap", "ap": "eu"} {
		if err := r.tr.AwaitHome(ctx, host, host, "serve with a lease", func(h *trial.Home) bool { return h.Follows(standby, 10) && h.Serves() }); err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

func pairOf(a, b string) [2]string {
	if b < a {
		a, b = b, a
	}
	return [2]string{a, b}
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := r.tr.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
	}
	if r.socket != nil {
		_ = r.socket.Close()
	}
	for _, list := range r.cables {
		for _, c := range list {
			c.close()
		}
	}
}

// broken says what is not as it was when the rig began: every drill has to leave nothing.
func (r *rig) broken(ctx context.Context) error {
	var wrong []string
	for _, n := range append(r.tr.Nodes, r.tr.Witnesses...) {
		if !n.Running() {
			wrong = append(wrong, n.Name+" does not run")
		}
	}
	for sites, list := range r.cables {
		for _, c := range list {
			c.mu.Lock()
			if c.cut || c.delay > 0 || c.loss > 0 {
				wrong = append(wrong, fmt.Sprintf("the way between %s and %s", sites[0], sites[1]))
			}
			c.mu.Unlock()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := r.tr.AwaitHome(ctx, "eu", "eu", "be served by its own region", func(h *trial.Home) bool { return h.Serves() }); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		return errors.New("left broken: " + strings.Join(wrong, "; "))
	}
	return nil
}

// serve answers the agent, which is this program again.
func (r *rig) serve() {
	for {
		conn, err := r.socket.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			var q conductor.AgentRequest
			line, err := bufio.NewReader(conn).ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(line, &q)
			}
			if err == nil && !q.DryRun {
				err = r.do(&q)
			}
			if err != nil {
				fmt.Fprintln(conn, "error: "+err.Error())
			}
		}()
	}
}

// runAgent is the agent's side: it passes what it reads on to the rig.
func runAgent(socket string) error {
	b, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(b); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if text, failed := strings.CutPrefix(strings.TrimSpace(string(answer)), "error: "); failed {
		return errors.New(text)
	}
	return err
}

func (r *rig) node(name string) (*trial.Node, error) {
	for _, n := range r.tr.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s", name)
}

// do does what an operator's agent does with systemd, a firewall and a certificate authority.
func (r *rig) do(q *conductor.AgentRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch q.Action {
	case "kill_region":
		r.tr.Kill(q.Region)
		return nil
	case "start_region":
		return r.tr.StartRegion(q.Region)
	case "kill_node", "start_node", "expire_certificate", "restore_certificate":
		n, err := r.node(q.Node)
		if err != nil {
			return err
		}
		switch q.Action {
		case "kill_node":
			n.Kill()
			return nil
		case "start_node":
			return n.Start()
		case "expire_certificate":
			return r.issue(n, nearEnd)
		}
		return r.issue(n, 24*time.Hour)
	case "isolate_region", "heal_region":
		for sites, list := range r.cables {
			if sites[0] == q.Region || sites[1] == q.Region {
				for _, c := range list {
					c.set(q.Action == "isolate_region", 0, 0)
				}
			}
		}
		return nil
	case "cut_link", "degrade_link", "heal_link":
		var delay time.Duration
		var loss float64
		if q.Action == "degrade_link" {
			var err error
			if delay, err = time.ParseDuration(q.Params["delay"]); err != nil {
				return err
			}
			if _, err := fmt.Sscan(q.Params["loss"], &loss); err != nil {
				return err
			}
		}
		for _, c := range r.cables[pairOf(q.Region, q.Peer)] {
			c.set(q.Action == "cut_link", delay, loss)
		}
		return nil
	}
	return fmt.Errorf("this rig does not know how to %s", q.Action)
}

// nearEnd is what the certificate of an expiry has left: little of the hour by which it is backdated.
const nearEnd = 5 * time.Minute

// issue gives a node another certificate and has it read that.
func (r *rig) issue(n *trial.Node, validity time.Duration) error {
	id := meshtls.Identity{Region: n.Region, Node: n.Name, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}}
	is, err := meshtls.Issue(r.ca, id, validity)
	if err != nil {
		return err
	}
	if _, err := is.Write(n.Dir, "node", true); err != nil {
		return err
	}
	return syscall.Kill(n.PID(), syscall.SIGHUP)
}
