package trial

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"

	"causeway/deploy/haproxy"
)

// Front is the HAProxy in front of a region, as deployed.
type Front struct {
	Region string
	MQTT   string // host:port

	config string
	stats  string
	log    string
	cmd    *exec.Cmd
}

// Balancer says whether there is a HAProxy on this machine.
func Balancer() bool {
	_, err := exec.LookPath("haproxy")
	return err == nil
}

// fronts lays out the load balancers, from the same template that operators
// start from.
func (t *Trial) fronts() error {
	if !t.opts.Balance {
		return nil
	}
	tmpl, err := template.New("haproxy").Parse(haproxy.Template)
	if err != nil {
		return err
	}
	for i, region := range t.opts.Regions {
		f := &Front{Region: region, MQTT: local(t.opts.Front(i)), config: filepath.Join(t.opts.Dir, region+"-haproxy.cfg"),
			log: filepath.Join(t.opts.Dir, region+"-haproxy.log")}
		f.stats = filepath.Join(t.opts.Dir, region+"-haproxy.sock")
		v := haproxy.Values{Listen: f.MQTT, Stats: f.stats}
		for _, n := range t.all() {
			if n.Region != region {
				continue
			}
			v.Nodes = append(v.Nodes, haproxy.Node{Name: n.Name, MQTT: n.balanced, Health: n.Metrics})
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, v); err != nil {
			return err
		}
		if err := os.WriteFile(f.config, []byte(b.String()), 0o600); err != nil {
			return err
		}
		t.Fronts = append(t.Fronts, f)
	}
	return nil
}

// Front returns the load balancer of a region, nil if there is none.
func (t *Trial) Front(region string) *Front {
	for _, f := range t.Fronts {
		if f.Region == region {
			return f
		}
	}
	return nil
}

// Up is how many nodes the load balancer sends devices to.
func (f *Front) Up() (n int) {
	for _, r := range f.servers() {
		if r.up {
			n++
		}
	}
	return n
}

// Server says whether the load balancer sends devices to a node, and the word of its last check: HANA is a connection
// that failed.
func (f *Front) Server(name string) (up bool, check string) {
	for _, r := range f.servers() {
		if r.name == name {
			return r.up, r.check
		}
	}
	return false, ""
}

// Drain has the load balancer send nobody new to a node, or send devices there again. Those that are there stay.
func (f *Front) Drain(name string, on bool) error {
	state := "ready"
	if on {
		state = "drain"
	}
	answer, err := f.ask("set server nodes/" + name + " state " + state)
	if answer = strings.TrimSpace(answer); err == nil && answer != "" {
		err = errors.New(answer)
	}
	if err != nil {
		return fmt.Errorf("have the load balancer %s %s: %w", state, name, err)
	}
	return nil
}

// ask asks the load balancer's socket.
func (f *Front) ask(line string) (string, error) {
	conn, err := net.Dial("unix", f.stats)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

type server struct {
	name, check string
	up          bool
}

func (f *Front) servers() (list []server) {
	answer, err := f.ask("show stat")
	if err != nil {
		return nil
	}
	rows, err := csv.NewReader(strings.NewReader(answer)).ReadAll()
	if err != nil {
		return nil
	}
	const backend, name, state, check = 0, 1, 17, 36
	for _, r := range rows {
		if len(r) > check && r[backend] == "nodes" && r[name] != "BACKEND" {
			list = append(list, server{r[name], strings.TrimPrefix(r[check], "* "), strings.HasPrefix(r[state], "UP")})
		}
	}
	return list
}

// Start starts the load balancer, unless it runs.
func (f *Front) Start() error {
	if f.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	f.cmd = exec.Command("haproxy", "-db", "-f", f.config)
	f.cmd.Stdout, f.cmd.Stderr = log, log
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := f.cmd.Start(); err != nil {
		f.cmd = nil
		return fmt.Errorf("start haproxy: %w", err)
	}
	return nil
}

// Kill ends the load balancer; its connections are reset.
func (f *Front) Kill() {
	if f.cmd == nil {
		return
	}
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
	f.cmd = nil
}
