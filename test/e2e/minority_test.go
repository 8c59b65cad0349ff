package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/trial"
)

// One of three nodes is left alone, first with two that hang and then with two that were killed. It acknowledges nothing,
// says that it is isolated, parks who comes and closes without a word; so mosquitto and paho come back by themselves.
// When the others are back everything goes on: nothing that was acknowledged is lost, nothing at QoS 2 comes twice.
func TestMinority_WithholdsAndHeals(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	alone, others := nodes[2], nodes[:2]
	sub := subscribe(t, alone.MQTT, "-V", "5", "-c", "-x", "3600", "-i", "listener", "-q", "2", "-t", "minority")
	awaitRoute(t, alone, "minority", 1, 0)
	pub := newPacedPublisher(t, alone.MQTT, "minority")
	await(t, "some messages to arrive", func() bool { return len(sub.out.String()) > 100 })

	signal := func(s syscall.Signal) func() {
		return func() {
			for _, n := range others {
				if n.Running() {
					_ = syscall.Kill(n.PID(), s)
				}
			}
		}
	}
	t.Cleanup(signal(syscall.SIGCONT))
	for _, c := range []struct {
		name        string
		leave, heal func()
	}{
		{"hang", signal(syscall.SIGSTOP), signal(syscall.SIGCONT)},
		{"are killed", func() { others[0].Kill(); others[1].Kill() }, func() { startAll(t, others) }},
	} {
		c.leave()
		await(t, "the node to be isolated when the others "+c.name, func() bool { code, state := readyz(t, alone); return code == 503 && state == "isolated" })
		acked := pub.acked()
		await(t, "the load balancer to have no node", func() bool { return tr.Front("eu").Up() == 0 })
		parked(t, alone.MQTT)
		if now := pub.acked(); now != acked {
			t.Errorf("when the others %s: %d messages were acknowledged by a minority", c.name, now-acked)
		}
		if code, state := readyz(t, alone); code != 503 || state != "isolated" {
			t.Errorf("when the others %s: %d %s", c.name, code, state)
		}
		c.heal()
		await(t, "acknowledgements again", func() bool { return pub.acked() > acked+100 })
	}

	sent := pub.finish()
	await(t, "everything to arrive", func() bool { return strings.Count(sub.out.String(), "\n") >= sent })
	// Not in order: paho publishes ahead of the CONNACK it waits for, and of what it has to send again.
	got, want := strings.Split(strings.TrimSuffix(sub.out.String(), "\n"), "\n"), numbers(sent)
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Error(differ(got, want))
	}
}

func startAll(t *testing.T, nodes []*trial.Node) {
	t.Helper()
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes {
		restart(t, n, 0)
	}
}

// parked connects to a node that cannot serve: it hears nothing, and after 8 s its connection is closed.
func parked(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	if _, err := conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "parked", CleanStart: true})); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(began.Add(patience))
	n, err := conn.Read(make([]byte, 10))
	if took := time.Since(began); n > 0 || !errors.Is(err, io.EOF) || took < 7*time.Second || took > 12*time.Second {
		t.Errorf("a CONNECT to an isolated node: %d bytes, %v, after %s; want the end of the stream after 8s", n, err, took)
	}
}

// pacedPublisher is a paho Python client that publishes 1, 2, 3, … at QoS 2, fifty a second.
type pacedPublisher struct {
	t     *testing.T
	out   buffer
	errs  buffer
	stop  chan struct{}
	sent  chan int
	ended chan error
}

func newPacedPublisher(t *testing.T, addr, topic string) *pacedPublisher {
	t.Helper()
	_, port := split(addr)
	cmd := exec.Command("/usr/bin/python3", "-u", "-c", pacedScript, port, topic)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &pacedPublisher{t: t, stop: make(chan struct{}), sent: make(chan int, 1), ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &p.out, &p.errs
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { p.ended <- cmd.Wait(); close(gone) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-gone })
	go func() {
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for n := 1; ; n++ {
			if _, err := fmt.Fprintln(in, n); err != nil {
				return
			}
			select {
			case <-every.C:
			case <-gone:
				return
			case <-p.stop:
				_ = in.Close()
				p.sent <- n
				return
			}
		}
	}()
	return p
}

// acked is how many of its messages were acknowledged to the end.
func (p *pacedPublisher) acked() int { return strings.Count(p.out.String(), "\n") }

// finish ends the publishing, waits until everything is acknowledged and returns how many messages that was.
func (p *pacedPublisher) finish() int {
	p.t.Helper()
	close(p.stop)
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Fatalf("the publisher: %v\n%s", err, p.errs.String())
		}
	case <-time.After(patience):
		p.t.Fatalf("the publisher was not acknowledged everything\n%s", p.errs.String())
	}
	return <-p.sent
}

const pacedScript = `
import sys, threading
import paho.mqtt.client as mqtt
left, lock, over, done = [0], threading.Lock(), [False], threading.Event()
def published(*_):
    print("ok")
    with lock:
        left[0] -= 1
        if over[0] and left[0] == 0: done.set()
c = mqtt.Client("paced", clean_session=False)
c.on_publish = published
c.reconnect_delay_set(1, 1)
c.connect("127.0.0.1", int(sys.argv[1]))
c.loop_start()
for line in sys.stdin:
    with lock: left[0] += 1
    c.publish(sys.argv[2], line.strip(), qos=2)
with lock:
    over[0] = True
    if left[0] == 0: done.set()
if not done.wait(40): sys.exit("%d left" % left[0])
c.disconnect()
`
