package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// realClient is a client library as it comes: a subscriber with a session to keep, and a publisher at QoS 2, both at one
// address. Messages are "NAME N", with N from 1.
type realClient struct {
	name string
	// forgets says that the library keeps nothing of what it received, or sends PUBLISH again behind PUBREL: QoS 2 cannot
	// be once with it.
	forgets bool

	mu    sync.Mutex
	sent  int
	acked map[int]bool
	got   map[string][]int // by publisher, in the order of arrival
	stop  []func()
	begin chan struct{} // closed when the publisher may begin
	quit  chan struct{} // closed when no more is to be published
	idle  chan struct{} // closed when the publisher has ended
}

const realTopic = "real/"

// realPace is what a publisher waits between two messages.
const realPace = 25 * time.Millisecond

func newRealClient(name string, forgets bool) *realClient {
	return &realClient{name: name, forgets: forgets, acked: map[int]bool{}, got: map[string][]int{}, begin: make(chan struct{}), quit: make(chan struct{}), idle: make(chan struct{})}
}

func (c *realClient) arrived(payload string) {
	from, n, ok := strings.Cut(payload, " ")
	number, err := strconv.Atoi(n)
	if !ok || err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[from] = append(c.got[from], number)
}

func (c *realClient) ack(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[n] = true
}

// next is the number of the next message, false when no more is to be published.
func (c *realClient) next() (int, bool) {
	<-c.begin
	select {
	case <-c.quit:
		return 0, false
	case <-time.After(realPace):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return c.sent, true
}

func (c *realClient) progress() (acked, arrived int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.got {
		arrived += len(list)
	}
	return len(c.acked), arrived
}

// lines calls f with each line that a process prints.
func lines(r io.Reader, f func(string)) {
	for s := bufio.NewScanner(r); s.Scan(); {
		f(s.Text())
	}
}

// run starts a process, which is killed with the test.
func (c *realClient) run(t *testing.T, cmd *exec.Cmd, f func(line string)) (stdin io.WriteCloser, ended <-chan error) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errs buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		lines(out, f)
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, clip(errs.String()))
		}
		done <- err
		close(over)
	}()
	c.stop = append(c.stop, func() {
		_ = cmd.Process.Kill()
		<-over
	})
	return in, done
}

// feed gives a publishing process one number after the other, as lines, and ends when it has ended.
func (c *realClient) feed(t *testing.T, in io.WriteCloser, ended <-chan error, line func(int) string, ok func()) {
	go func() {
		defer close(c.idle)
		for n, more := c.next(); more; n, more = c.next() {
			_, _ = io.WriteString(in, line(n)+"\n")
		}
		in.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the publisher of %s: %v", c.name, err)
			} else if ok != nil {
				ok()
			}
		case <-time.After(patience):
			t.Errorf("the publisher of %s was not acknowledged everything", c.name)
		}
	}()
}

func realMosquitto(t *testing.T, addr string) *realClient {
	c := newRealClient("mosquitto", false)
	c.run(t, mosquitto(t, "mosquitto_sub", addr, "-c", "-i", "real-mosquitto", "-q", "2", "-t", realTopic+"#"), c.arrived)
	in, ended := c.run(t, mosquitto(t, "mosquitto_pub", addr, "-c", "-i", "real-mosquitto-pub", "-q", "2", "-t", realTopic+c.name, "-l"), func(string) {})
	// It says nothing of acknowledgements, but ends with success when it has all.
	c.feed(t, in, ended, func(n int) string { return fmt.Sprint(c.name, " ", n) }, func() {
		for n := 1; n <= c.sent; n++ {
			c.ack(n)
		}
	})
	return c
}

// scripted runs a script that, as "sub", prints what arrives, and as "pub" publishes what it reads and prints the numbers
// that were acknowledged.
func scripted(t *testing.T, c *realClient, addr string, script func(args ...string) *exec.Cmd) *realClient {
	t.Helper()
	_, p := split(addr)
	c.run(t, script("sub", p, realTopic+"#"), c.arrived)
	in, ended := c.run(t, script("pub", p, realTopic+c.name), func(line string) {
		if n, err := strconv.Atoi(line); err == nil {
			c.ack(n)
		}
	})
	c.feed(t, in, ended, strconv.Itoa, nil)
	return c
}

func realPython(t *testing.T, addr string) *realClient {
	return scripted(t, newRealClient("python", false), addr, func(args ...string) *exec.Cmd {
		return exec.Command("/usr/bin/python3", append([]string{"-u", "-c", realPythonScript}, args...)...)
	})
}

const realPythonScript = `
import sys, threading, time
import paho.mqtt.client as mqtt
role, port, topic = sys.argv[1], int(sys.argv[2]), sys.argv[3]
c = mqtt.Client("real-python-" + role, clean_session=False)
c.reconnect_delay_set(1, 1)
lock, waits, early, left = threading.Lock(), {}, set(), threading.Semaphore(0)
def said(n):
    print(n, flush=True)
    left.release()
def published(_c, _u, mid):
    with lock:
        if mid in waits: said(waits.pop(mid))
        else: early.add(mid)
c.on_publish = published
c.on_message = lambda _c, _u, m: print(m.payload.decode(), flush=True)
c.connect("127.0.0.1", port, 10)
if role == "sub":
    c.subscribe(topic, 2)
    c.loop_forever()
c.loop_start()
n = 0
for line in sys.stdin:
    line = line.strip()
    # The library sends what is published before CONNACK ahead of what it has to send again.
    while not c.is_connected(): time.sleep(0.01)
    info = c.publish(topic, "python " + line, qos=2)
    n += 1
    with lock:
        if info.mid in early:
            early.discard(info.mid)
            said(line)
        else: waits[info.mid] = line
for _ in range(n): left.acquire()
c.disconnect()
`

func realMQTTJS(t *testing.T, addr string) *realClient {
	dir := t.TempDir()
	install := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, "mqtt@5.16.0")
	if out, err := runBounded(install); err != nil {
		t.Fatalf("install MQTT.js: %v; it takes npm (make deps) and a registry it reaches\n%s", err, out)
	}
	return scripted(t, newRealClient("mqttjs", false), addr, func(args ...string) *exec.Cmd {
		cmd := exec.Command("node", append([]string{"-e", realJSScript, "--"}, args...)...)
		cmd.Env = append(cmd.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
		return cmd
	})
}

const realJSScript = `
const mqtt = require("mqtt")
const [role, port, topic] = process.argv.slice(-3)
const c = mqtt.connect("mqtt://127.0.0.1:" + port, {clientId: "real-mqttjs-" + role, clean: false, keepalive: 10, protocolVersion: 5,
  properties: {sessionExpiryInterval: 3600}})
c.on("error", e => console.error(e))
if (role === "sub") {
  c.on("message", (_, m) => console.log(m.toString()))
  c.once("connect", () => c.subscribe(topic, {qos: 2}))
} else {
  let open = 0, ended = false
  const over = () => { if (ended && open === 0) c.end() }
  require("readline").createInterface({input: process.stdin}).on("line", n => {
    open++
    // One that fails when a connection ends is not sent again by the library: it was not acknowledged.
    c.publish(topic, "mqttjs " + n, {qos: 2}, e => { open--; if (!e) console.log(n); over() })
  }).on("close", () => { ended = true; over() })
}
`

func realPahoGo(t *testing.T, addr string) *realClient {
	c := newRealClient("pahogo", true)
	options := func(id string) *mqtt.ClientOptions {
		return mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("real-pahogo-" + id).SetCleanSession(false).
			SetMaxReconnectInterval(time.Second).SetKeepAlive(10 * time.Second)
	}
	sub := mqtt.NewClient(options("sub").SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.arrived(string(m.Payload())) }))
	pub := mqtt.NewClient(options("pub"))
	for _, x := range []mqtt.Client{sub, pub} {
		if tok := x.Connect(); !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		c.stop = append(c.stop, func() { x.Disconnect(100) })
	}
	if tok := sub.Subscribe(realTopic+"#", 2, nil); !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	go func() {
		defer close(c.idle)
		var under sync.WaitGroup
		for n, more := c.next(); more; n, more = c.next() {
			tok := pub.Publish(realTopic+c.name, 2, false, fmt.Sprint(c.name, " ", n))
			under.Go(func() {
				if tok.WaitTimeout(patience) && tok.Error() == nil {
					c.ack(n)
				}
			})
		}
		under.Wait()
	}()
	return c
}

func realAutopaho(t *testing.T, addr string) *realClient {
	c := newRealClient("autopaho", false)
	ctx, cancel := context.WithCancel(context.Background())
	connect := func(id string) *autopaho.ConnectionManager {
		cm, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{ServerUrls: []*url.URL{{Scheme: "mqtt", Host: addr}}, KeepAlive: 10,
			SessionExpiryInterval: 3600, ReconnectBackoff: func(int) time.Duration { return 200 * time.Millisecond },
			ClientConfig: paho.ClientConfig{ClientID: "real-autopaho-" + id, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) { c.arrived(string(p.Packet.Payload)); return true, nil }}}})
		if err == nil {
			err = cm.AwaitConnection(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.stop = append(c.stop, func() { <-cm.Done() })
		return cm
	}
	sub, pub := connect("sub"), connect("pub")
	c.stop = append([]func(){cancel}, c.stop...)
	if _, err := sub.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: realTopic + "#", QoS: 2}}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.idle)
		for n, more := c.next(); more; n, more = c.next() {
			limited, done := context.WithTimeout(ctx, patience)
			_, err := pub.Publish(limited, &paho.Publish{Topic: realTopic + c.name, QoS: 2, Payload: []byte(fmt.Sprint(c.name, " ", n))})
			if done(); err == nil {
				c.ack(n)
			}
		}
	}()
	return c
}
