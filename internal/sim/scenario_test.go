package sim

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/internal/home"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios say into their files; read the diff")

// Each file of testdata is an incident: prose, then commands and what came of them.
// A block is commands, "----", and what was said while they ran.
func TestScenarios(t *testing.T) {
	playAll(t, "testdata/*.txt", 10, func() player { return new(scenario) })
}

// A player does the commands of a scenario.
type player interface {
	do(command []string) error
	heard() ([]string, error) // what was said since it was asked last; what must not be
}

func playAll(t *testing.T, glob string, least int, begin func() player) {
	files, err := filepath.Glob(glob)
	if err != nil || len(files) < least {
		t.Fatalf("%d files like %s, %v", len(files), glob, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := enact(t, begin(), string(b))
			if got == string(b) {
				return
			}
			if !*rewrite {
				t.Errorf("%s says something else now (with -rewrite it is written there):\n%s", f, differ(string(b), got))
			} else if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func enact(t *testing.T, p player, text string) string {
	var out []string
	for _, block := range strings.Split(strings.TrimRight(text, "\n"), "\n\n") {
		commands, _, isBlock := strings.Cut(block, "\n----")
		if !isBlock {
			out = append(out, block)
			continue
		}
		for _, c := range strings.Split(commands, "\n") {
			if err := p.do(strings.Fields(c)); err != nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		said, bad := p.heard()
		if bad != nil {
			t.Fatal(bad)
		}
		out = append(out, strings.Join(append([]string{commands + "\n----"}, said...), "\n"))
	}
	return strings.Join(out, "\n\n") + "\n"
}

// differ shows from where on two texts differ.
func differ(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-6)
	return fmt.Sprintf("line %d, want:\n%s\n\ngot:\n%s", i+1, strings.Join(w[from:min(len(w), i+8)], "\n"), strings.Join(g[from:min(len(g), i+8)], "\n"))
}

type scenario struct {
	w       *World
	devices map[string]*device
}

func (s *scenario) heard() ([]string, error) {
	said := s.w.said
	s.w.said = nil
	return said, s.w.bad
}

// do does one command.
//
//	region NODES [aged]             begins: a region eu, which eu-1 leads
//	connect DEVICE NODE [WILL]      disconnect, cut, vanish, double DEVICE [NODE]
//	subscribe DEVICE FILTER QOS     unsubscribe DEVICE FILTER
//	publish DEVICE TOPIC PAYLOAD QOS [retain]
//	mute DEVICE                     it acknowledges nothing, until: unmute DEVICE
//	crash, wipe, start NODE         stop FROM TO: nothing goes from one node to another; pass FROM TO ends it
//	slow, lag NODE DURATION         jump NODE DURATION of its wall clock
//	lead NODE                       leave NODE
//	limits NODE QUEUE               changes the limit of a session's queue
//	run DURATION
//	session DEVICE                  retained TOPIC; group; ids DEVICE
func (s *scenario) do(c []string) error {
	if c[0] == "region" {
		return s.region(c)
	}
	if s.w == nil {
		return fmt.Errorf("begin with: region NODES")
	}
	if done, err := s.ofNodes(c); done || err != nil {
		return err
	}
	if done, err := s.show(c); done || err != nil {
		return err
	}
	return s.ofDevices(c)
}

func (s *scenario) region(c []string) error {
	nodes, err := strconv.Atoi(c[1])
	if err != nil {
		return err
	}
	s.w = newWorld(Options{Seed: 1, Regions: 1, Nodes: nodes, Aged: slices.Contains(c, "aged"), Scenario: true})
	s.devices = map[string]*device{}
	s.w.run(time.Second)
	if s.node("eu-1").office == nil {
		s.node("eu-1").stand(s.w.regions[0].leader())
	}
	s.w.run(2 * time.Second)
	s.w.said = nil
	return nil
}

func (s *scenario) node(name string) *node { return s.w.regions[0].named(home.NodeID(name)) }

func (s *scenario) ofNodes(c []string) (done bool, err error) {
	var n, to *node
	if len(c) > 1 {
		n = s.node(c[1])
	}
	if len(c) > 2 {
		to = s.node(c[2])
	}
	var d time.Duration
	switch c[0] {
	case "run":
		d, err = time.ParseDuration(c[1])
		s.w.run(s.w.now + d)
		return true, err
	case "slow", "lag", "jump":
		d, err = time.ParseDuration(c[2])
	}
	if n == nil || err != nil {
		return false, err
	}
	switch c[0] {
	case "crash":
		n.crash()
	case "wipe":
		n.wipe()
	case "start":
		n.start()
	case "stop":
		s.w.cutOff(n, to)
	case "pass":
		s.w.mend(n, to)
	case "slow":
		n.slow = d
	case "lag":
		n.lag = d
	case "jump":
		n.wall = d
	case "lead":
		n.stand(s.w.regions[0].leader())
	case "leave":
		s.w.regions[0].leader().office.leave(n)
	case "limits":
		q, err := strconv.Atoi(c[2])
		n.propose(&home.Configure{Revision: 1, Limits: home.Limits{QueueMessages: uint32(q)}}, func(home.Outcome) { s.w.say("limits changed, says %s", n.name) })
		return true, err
	default:
		return false, nil
	}
	return true, nil
}

// show says what the home holds, as far as the leader has applied it.
func (s *scenario) show(c []string) (done bool, err error) {
	l := s.w.regions[0].leader()
	if !slices.Contains([]string{"session", "group", "retained", "ids"}, c[0]) {
		return false, nil
	}
	if l == nil {
		s.w.say("nobody leads")
		return true, nil
	}
	switch c[0] {
	case "session":
		x, here := l.state.Session(home.SessionKey{ClientID: c[1]})
		if !here {
			s.w.say("%s has no session", c[1])
		} else if x.Owner == (home.Owner{}) {
			s.w.say("%s is away, %d queued", c[1], x.Queued)
		} else {
			s.w.say("%s is at %s, %d queued", c[1], x.Owner, x.Queued)
		}
	case "ids":
		var list []string
		for _, q := range l.state.Peek(home.SessionKey{ClientID: c[1]}, 0, 100) {
			list = append(list, fmt.Sprintf("%d:%s", home.PacketID(q.Ref), q.Message.Payload))
		}
		s.w.say("%s queues %s", c[1], strings.Join(list, " "))
	case "retained":
		r, _ := l.state.RetainedMessage("", c[1])
		s.w.say("%s retains %q", c[1], r.Payload)
	case "group":
		var list []string
		for _, m := range l.disk.log.group().members {
			list = append(list, fmt.Sprintf("%s on disk %d%s", m.node.name, m.disk, map[bool]string{true: ", votes"}[m.votes]))
		}
		s.w.say("%s leads; %s", l.name, strings.Join(list, "; "))
	}
	return true, nil
}

func (s *scenario) ofDevices(c []string) error {
	d := s.devices[c[1]]
	if d == nil {
		if c[0] != "connect" {
			return fmt.Errorf("no device %s; there are %v", c[1], slices.Sorted(maps.Keys(s.devices)))
		}
		d = newDevice(s.w.regions[0], actor{id: c[1], role: manual})
		s.devices[c[1]] = d
	}
	qos := func(at int) byte { q, _ := strconv.Atoi(c[at]); return byte(q) }
	switch c[0] {
	case "connect", "double":
		n := s.node(c[2])
		if n == nil || !n.up {
			return fmt.Errorf("no node %s is up", c[2])
		}
		if d.old = nil; c[0] == "double" {
			d.old = d.conn
		}
		will := ""
		if len(c) > 3 {
			will = c[3]
		}
		d.dial(n, will)
	case "disconnect":
		if x := d.conn; x != nil {
			d.send(packet{kind: "disconnect"})
			d.conn, d.on = nil, false
		}
	case "cut":
		d.cut()
	case "vanish":
		d.vanish()
	case "mute":
		d.mute = true
	case "unmute":
		d.mute = false
		for _, o := range d.pending {
			if o.released {
				d.send(packet{kind: "pubrel", id: o.id})
			}
		}
	case "subscribe":
		d.send(packet{kind: "subscribe", id: 1, topic: c[2], qos: qos(3)})
	case "unsubscribe":
		d.send(packet{kind: "unsubscribe", id: 1, topic: c[2]})
	case "publish":
		o := &outgoing{topic: c[2], payload: c[3], qos: qos(4), id: d.freeID(), retain: len(c) > 5}
		d.pending = append(d.pending, o)
		d.emit(o, false)
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}
