package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/internal/trial"
)

// The Eclipse clients in us get, through their own reconnect, what was published in eu before
// and after the node of us was killed: paho for Go speaks 3.1.1, autopaho 5, both keep their
// session. Each must see every number, first arrivals in order.
func TestPahoGo_ReconnectsToItsSessionAfterAKill(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	three, five := make(chan string, 10_000), make(chan string, 10_000)
	pahoThree(t, us.MQTT, three)
	pahoFive(t, us.MQTT, five)
	awaitRoute(t, us, "paho/1", 2, 0)
	awaitRoute(t, eu, "paho/1", 0, 1)
	sent := numbers(400)

	publishLines(t, eu.MQTT, sent[:200], "-q", "1", "-t", "paho/1")
	us.Kill()
	publishLines(t, eu.MQTT, sent[200:300], "-q", "1", "-t", "paho/1")
	restart(t, us, 0)
	publishLines(t, eu.MQTT, sent[300:], "-q", "1", "-t", "paho/1")

	for name, in := range map[string]chan string{"paho, 3.1.1": three, "autopaho, 5": five} {
		seen, got := map[string]bool{}, []string{}
		await(t, name+" to get everything", func() bool {
			for {
				select {
				case m := <-in:
					if !seen[m] {
						seen[m], got = true, append(got, m)
					}
				default:
					return len(got) >= len(sent)
				}
			}
		})
		if !slices.Equal(got, sent) {
			t.Errorf("%s: %s", name, differ(got, sent))
		}
	}
}

func pahoThree(t *testing.T, addr string, got chan<- string) {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("paho3").SetCleanSession(false).
		SetMaxReconnectInterval(time.Second).SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- string(m.Payload()) }))
	t.Cleanup(func() { c.Disconnect(100) })
	wait := func(tok mqtt.Token) {
		if !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	wait(c.Connect())
	wait(c.Subscribe("paho/#", 1, nil))
}

func pahoFive(t *testing.T, addr string, got chan<- string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	u := &url.URL{Scheme: "mqtt", Host: addr}
	cm, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, KeepAlive: 20, SessionExpiryInterval: 3600, ReconnectBackoff: func(int) time.Duration { return 100 * time.Millisecond },
		ClientConfig: paho.ClientConfig{ClientID: "paho5", OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { got <- string(p.Packet.Payload); return true, nil },
		}},
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-cm.Done()
	})
	if err := cm.AwaitConnection(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "paho/#", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
}

// A paho Python client of Debian's publishes at QoS 2 in eu while its node is killed; it re-sends
// as the standard says, so who listens in us gets each message once, in order.
func TestPahoPython_QoS2OnceAcrossAKill(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{})
	eu, us := tr.Node("eu"), tr.Node("us")
	sent := append(numbers(600), "end")
	sub := subscribe(t, us.MQTT, "-q", "2", "-t", "python", "-C", fmt.Sprint(len(sent)))
	awaitRoute(t, eu, "python", 0, 1)

	_, p := split(eu.MQTT)
	cmd := exec.Command("/usr/bin/python3", "-c", pahoPublisher, p)
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	await(t, "some to arrive", func() bool { return len(sub.out.String()) > 300 })
	eu.Kill()
	restart(t, eu, 1)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("the publisher: %v\n%s", err, out.String())
		}
	case <-time.After(patience):
		t.Fatalf("the publisher was not acknowledged everything\n%s", out.String())
	}

	if got := sub.lines(); !slices.Equal(got, sent) {
		t.Error(differ(got, sent))
	}
}

// pahoPublisher publishes 1 to 600 and "end", at most 20 unacknowledged, and ends with success
// when all of it was acknowledged.
const pahoPublisher = `
import sys, threading
import paho.mqtt.client as mqtt
window, left, done = threading.Semaphore(20), [601], threading.Event()
def published(*_):
    window.release()
    left[0] -= 1
    if left[0] == 0: done.set()
c = mqtt.Client("python", clean_session=False)
c.on_publish = published
c.reconnect_delay_set(1, 1)
c.connect("127.0.0.1", int(sys.argv[1]))
c.loop_start()
for m in list(range(1, 601)) + ["end"]:
    window.acquire()
    c.publish("python", str(m), qos=2)
if not done.wait(40): sys.exit("%d left" % left[0])
c.disconnect()
`
