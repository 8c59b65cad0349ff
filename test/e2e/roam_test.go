package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// handedOver is the part of a node's file that lets sessions move.
func handedOver(string) string { return "handover: { enabled: true, min_dwell: 0s }\n" }

// runs keeps devices connected until the test ends.
func runs(t *testing.T, devices ...*device) {
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, d := range devices {
		all.Go(func() { d.run(ctx) })
	}
	t.Cleanup(func() { stop(); all.Wait() })
}

// A device that has a thousand messages of QoS 2 waiting comes to another region while both live: it
// gets each of them once, in order, from its session there.
func TestRoam_QueueFollowsItsDevice(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: handedOver})
	eu, us := tr.Node("eu"), tr.Node("us")
	reader := &device{addr: eu.MQTT, id: "reader", filter: "in/#", qos: 2}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); reader.run(ctx) }()
	await(t, "the subscription", func() bool { reader.mu.Lock(); defer reader.mu.Unlock(); return reader.subscribed })
	stop()
	<-ended

	const waiting = 1000
	writer := &device{addr: eu.MQTT, id: "writer", topic: "in/a", qos: 2, window: 50, publish: waiting}
	runs(t, writer)
	await(t, "a thousand messages that wait", func() bool { acked, _ := writer.progress(); return acked == waiting })
	reader.addr = us.MQTT
	began := time.Now()
	runs(t, reader)
	await(t, "the first of them in the other region", func() bool { _, got := reader.progress(); return got > 0 })
	t.Logf("the first message after %v", time.Since(began).Round(time.Millisecond))
	await(t, "all of them", func() bool { return reader.distinct() == waiting })
	reader.mu.Lock()
	defer reader.mu.Unlock()
	if !slices.IsSorted(reader.got) || len(reader.got) != waiting || reader.problem != nil {
		t.Errorf("got %d messages, in order: %t, %v", len(reader.got), slices.IsSorted(reader.got), reader.problem)
	}
}

// mosquitto_sub goes from region to region, at once when it has had a few messages, while writers of
// QoS 1 and 2 publish in two of them: nothing acknowledged is lost, QoS 2 comes once, each writer's
// messages in order. With a window of one it holds no message when it says good-bye, which it would
// not keep for its next run.
func TestRoam_MovesUnderLoad(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu", "us", "ap"}, Extra: handedOver})
	at := []string{tr.Node("eu").MQTT, tr.Node("us").MQTT, tr.Node("ap").MQTT}
	args := []string{"-V", "5", "-c", "-x", "600", "-D", "connect", "receive-maximum", "1", "-i", "reader", "-q", "2", "-t", "in/#", "-F", "%t %p"}
	if out, err := runBounded(mosquitto(t, "mosquitto_sub", at[0], append(args, "-E")...)); err != nil {
		t.Fatalf("subscribe: %v\n%s", err, out)
	}
	awaitRoute(t, tr.Node("us"), "in/a", 0, 1)
	const each = 100
	writers := map[string]*device{}
	for i, w := range []*device{{id: "eu1", qos: 1}, {id: "eu2", qos: 2}, {id: "us1", qos: 1}, {id: "us2", qos: 2}} {
		w.addr, w.topic, w.window, w.publish = at[i/2], "in/"+w.id, 5, each
		writers[w.id] = w
	}
	for _, w := range writers {
		runs(t, w)
	}
	var got []string
	for leg := 0; distinctLines(got) < len(writers)*each; leg++ {
		n := min(4+leg%3*14, len(writers)*each-distinctLines(got))
		s := subscribe(t, at[leg*2%3], append(args, "-C", fmt.Sprint(n))...)
		got = append(got, s.lines()...)
	}
	checkRoamed(t, got, writers)
}

func distinctLines(list []string) int {
	return len(slices.Compact(slices.Sorted(slices.Values(list))))
}

// checkRoamed holds lines of topics and payloads to what writers were told.
func checkRoamed(t *testing.T, got []string, writers map[string]*device) {
	t.Helper()
	last, seen := map[string]int{}, map[string]bool{}
	for _, line := range got {
		var topic string
		var n int
		if _, err := fmt.Sscan(line, &topic, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		w := writers[strings.TrimPrefix(topic, "in/")]
		switch again := seen[line]; {
		case again && w.qos == 2:
			t.Errorf("%s came twice", line)
		case !again && n < last[w.id]:
			t.Errorf("%s came after %d", line, last[w.id])
		}
		seen[line], last[w.id] = true, max(last[w.id], n)
	}
	for _, w := range writers {
		w.mu.Lock()
		for _, n := range w.acked {
			if !seen[fmt.Sprintf("in/%s %d", w.id, n)] {
				t.Errorf("in/%s %d never came, and was acknowledged", w.id, n)
			}
		}
		w.mu.Unlock()
	}
}

// An operator finds a session and brings it to another region, where its device then finds what waited.
func TestRoam_OperatorMovesASession(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: handedOver})
	eu, us := tr.Node("eu"), tr.Node("us")
	args := []string{"-c", "-i", "lamp", "-q", "1", "-t", "in/#"}
	if out, err := runBounded(mosquitto(t, "mosquitto_sub", eu.MQTT, append(args, "-E")...)); err != nil {
		t.Fatalf("subscribe: %v\n%s", err, out)
	}
	publish(t, eu.MQTT, "-q", "1", "-t", "in/a", "-m", "on")
	awaitQueued(t, eu, "lamp", 1)
	if out, code := causeway(t, "", "", "ctl", "--socket", us.Socket(), "sessions", "move", "lamp", "--to", "eu", "--yes"); code == 0 {
		t.Errorf("a session that is not in us was moved from there:\n%s", out)
	}
	if out, code := causeway(t, "", "", "ctl", "--socket", eu.Socket(), "sessions", "move", "lamp", "--to", "nowhere", "--yes"); code != 3 {
		t.Errorf("moved to nowhere: exit code %d\n%s", code, out)
	}
	where := func(n *trial.Node, home string) (at admin.WhereaboutsAt) {
		var w admin.Whereabouts
		ctlJSON(t, n, &w, "sessions", "where", "lamp")
		return w.Homes[slices.IndexFunc(w.Homes, func(x admin.WhereaboutsAt) bool { return x.Home == home })]
	}
	ctl(t, eu, "sessions", "move", "lamp", "--to", "us", "--dry-run")
	if at := where(us, "eu"); at.State != "present" || at.Queued != 1 {
		t.Errorf("after a dry run eu says %+v", at)
	}
	ctl(t, eu, "sessions", "move", "lamp", "--to", "us", "--yes")
	if here, there := where(eu, "eu"), where(eu, "us"); here.State != "absent" || there.State != "present" || there.Queued != 1 {
		t.Errorf("after the move eu says %+v, us %+v", here, there)
	}
	if text, _ := page(t, us, "/metrics"); !strings.Contains(text, `causeway_session_takeovers_total{result="moved",scope="peer"} 1`) {
		t.Error("the metrics of us do not count the session that came")
	}
	if got := subscribe(t, us.MQTT, append(args, "-C", "1")...).lines(); !slices.Equal(got, []string{"on"}) {
		t.Errorf("in us it got %q", got)
	}
}

// A device whose connection breaks in the middle of things comes back in another region each time, with
// what MQTT has it keep: each message of QoS 2 comes once, in order, and its session is always there.
func TestRoam_BreaksInTheMiddle(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Regions: []string{"eu", "us", "ap"}, Extra: handedOver})
	at := []string{tr.Node("eu").MQTT, tr.Node("us").MQTT, tr.Node("ap").MQTT}
	const all = 150
	rover := &device{addr: at[0], id: "rover", filter: "in/#", qos: 2}
	writer := &device{addr: at[1], id: "writer", topic: "in/a", qos: 2, window: 10}
	runs(t, rover, writer)
	awaitRoute(t, tr.Node("us"), "in/a", 0, 1)
	writer.allow(all)
	for leg := 1; leg <= 12; leg++ {
		await(t, "more messages", func() bool { return rover.distinct() >= leg*all/12 })
		rover.mu.Lock()
		rover.addr = at[leg%3]
		if rover.conn != nil {
			rover.conn.Close()
		}
		rover.mu.Unlock()
	}
	await(t, "all that was acknowledged", func() bool { acked, _ := writer.progress(); return acked == all && rover.distinct() == all })
	rover.mu.Lock()
	defer rover.mu.Unlock()
	if !slices.IsSorted(rover.got) || len(rover.got) != all || rover.lostState > 0 || rover.problem != nil {
		t.Errorf("got %v; found no session %d times; %v", rover.got, rover.lostState, rover.problem)
	}
}

// In a region of three nodes only the one that leads has the links: a device that comes to any of them finds
// the session that is in the other region, and one that nobody knows gets its own.
func TestRoam_ToAnyNode(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Nodes: 3, Extra: handedOver})
	eu, us := tr.Region("eu"), tr.Region("us")
	args := []string{"-c", "-i", "lamp", "-q", "1", "-t", "in/#"}
	if out, err := runBounded(mosquitto(t, "mosquitto_sub", eu[0].MQTT, append(args, "-E")...)); err != nil {
		t.Fatalf("subscribe: %v\n%s", err, out)
	}
	for i, n := range []*trial.Node{us[0], eu[1], us[1], eu[2], us[2]} {
		text := fmt.Sprint("message ", i)
		publish(t, eu[i%3].MQTT, "-q", "1", "-t", "in/a", "-m", text)
		if got := subscribe(t, n.MQTT, append(args, "-C", "1")...).lines(); !slices.Equal(got, []string{text}) {
			t.Fatalf("at %s it got %q", n.Name, got)
		}
		if out, err := runBounded(mosquitto(t, "mosquitto_sub", n.MQTT, "-c", "-i", "new-"+n.Name, "-t", "x", "-E")); err != nil {
			t.Fatalf("a new one at %s: %v\n%s", n.Name, err, out)
		}
	}
}

// roamer is a paho client of MQTT 3.1.1 with a session that lasts, which connects until it is let in and stays away
// once its connection is lost.
type roamer struct {
	mqtt.Client
	lost chan struct{}

	mu  sync.Mutex
	got []string
}

func roams(t *testing.T, addr, id, filter string) *roamer {
	t.Helper()
	r := &roamer{lost: make(chan struct{})}
	r.Client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetCleanSession(false).
		SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond).SetConnectTimeout(patience).SetAutoReconnect(false).
		SetConnectionLostHandler(func(mqtt.Client, error) { close(r.lost) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.got = append(r.got, string(m.Payload()))
		}))
	t.Cleanup(func() { r.Disconnect(0) })
	for _, tok := range []func() mqtt.Token{r.Connect, func() mqtt.Token { return r.Subscribe(filter, 1, nil) }} {
		if tok := tok(); !tok.WaitTimeout(patience) || tok.Error() != nil {
			t.Fatalf("%s at %s: %v", id, addr, tok.Error())
		}
	}
	return r
}

func (r *roamer) distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return distinctLines(r.got)
}

func (r *roamer) isLost() bool {
	select {
	case <-r.lost:
		return true
	default:
		return false
	}
}

func whereIs(t *testing.T, n *trial.Node, id, home string) admin.WhereaboutsAt {
	t.Helper()
	var w admin.Whereabouts
	ctlJSON(t, n, &w, "sessions", "where", id)
	return w.Homes[slices.IndexFunc(w.Homes, func(x admin.WhereaboutsAt) bool { return x.Home == home })]
}

// One client id is connected in two regions that are cut off from each other, and has a session in each. Once they
// see each other again one of them has it, with all that was acknowledged; the other connection is closed.
func TestRoam_TwoSessionsBecomeOne(t *testing.T) {
	t.Parallel()
	tr, cable := startWithRelay(t, "handover: { enabled: true, unreachable: create }\n")
	eu, us := tr.Node("eu"), tr.Node("us")
	old := roams(t, eu.MQTT, "lamp", "in/#")
	await(t, "us to know of the session", func() bool { return whereIs(t, us, "lamp", "eu").Listed })
	cable.cut()
	here := roams(t, us.MQTT, "lamp", "in/#")
	await(t, "the old session to be connected", func() bool { return old.IsConnectionOpen() })
	publishLines(t, us.MQTT, []string{"us 1", "us 2"}, "-q", "1", "-t", "in/us")
	old.Disconnect(0)
	publishLines(t, eu.MQTT, []string{"eu 1", "eu 2", "eu 3"}, "-q", "1", "-t", "in/eu")
	awaitQueued(t, eu, "lamp", 3)
	again := roams(t, eu.MQTT, "lamp", "in/#")
	await(t, "what is in eu", func() bool { return again.distinct() == 3 })
	publishLines(t, us.MQTT, []string{"us 3"}, "-q", "1", "-t", "in/us")
	cable.heal()
	await(t, "one of the connections to be closed", func() bool { return again.isLost() || here.isLost() })
	stays, home, gone := here, us, eu
	if here.isLost() {
		stays, home, gone = again, eu, us
	}
	publishLines(t, gone.MQTT, []string{"later"}, "-q", "1", "-t", "in/later")
	await(t, "one session", func() bool {
		return whereIs(t, home, "lamp", home.Region).State == "present" && whereIs(t, home, "lamp", gone.Region).State == "absent"
	})
	await(t, "all that was published", func() bool {
		all := slices.Concat(old.lines(), again.lines(), here.lines())
		return distinctLines(all) == 7 && slices.Contains(stays.lines(), "later")
	})
	if stays.isLost() {
		t.Error("the other connection was closed as well")
	}
}

func (r *roamer) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// A device goes to another region as soon as it is connected, and its session with it. From there it is not dragged
// back while it is connected, by whoever has its client id; once it is gone it is let in where it comes next.
func TestRoam_BackAndForth(t *testing.T) {
	t.Parallel()
	tr := start(t, trial.Options{Extra: func(string) string { return "handover: { enabled: true }\n" }})
	eu, us := tr.Node("eu"), tr.Node("us")
	first := roams(t, eu.MQTT, "lamp", "in/#")
	publish(t, eu.MQTT, "-q", "1", "-t", "in/a", "-m", "1")
	there := roams(t, us.MQTT, "lamp", "in/#")
	await(t, "the first connection to be closed", first.isLost)
	other := subscribe(t, eu.MQTT, "-c", "-i", "lamp", "-q", "1", "-t", "in/#", "-C", "1")
	await(t, "eu to be refused the session", func() bool {
		text, _ := page(t, eu, "/metrics")
		return strings.Contains(text, `causeway_session_takeovers_total{result="refused",scope="peer"} `) &&
			!strings.Contains(text, `causeway_session_takeovers_total{result="refused",scope="peer"} 0`)
	})
	publish(t, eu.MQTT, "-q", "1", "-t", "in/a", "-m", "2")
	await(t, "what is published to be in us", func() bool { return slices.Contains(there.lines(), "2") })
	if there.isLost() || len(other.out.String()) > 0 {
		t.Errorf("the session did not stay: %q", other.out.String())
	}
	there.Disconnect(0)
	publish(t, us.MQTT, "-q", "1", "-t", "in/a", "-m", "3")
	if got := other.lines(); !slices.Equal(got, []string{"3"}) {
		t.Errorf("back in eu it got %q", got)
	}
	if got := slices.Concat(first.lines(), there.lines()); !slices.Contains(got, "1") || distinctLines(got) != 2 {
		t.Errorf("in eu and us it got %q", got)
	}
}

// A session has come to eu, which does not hear ap yet, when eu is lost. Its home goes on in us, and so does the move: what is
// published in ap comes by way of the home where the session was.
func TestRoam_ItsNewRegionFailsOver(t *testing.T) {
	t.Parallel()
	var cables []*relay
	tr := start(t, trial.Options{Regions: []string{"eu", "us", "ap"}, Extra: handedOver,
		Takeover: &trial.Takeover{StandbyOf: map[string][]string{"eu": {"us"}, "us": {"eu"}}, Section: "down_after: 3s"},
		LinkVia: func(from, to, address string) string {
			if from == "us" || to == "us" {
				return address
			}
			cables = append(cables, newRelay(t, address))
			return cables[len(cables)-1].addr()
		}})
	eu, us, ap := tr.Node("eu"), tr.Node("us"), tr.Node("ap")
	followed := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for region, ok := range map[string]func(*trial.Home) bool{
			"us": func(h *trial.Home) bool { return h.Role == "standby" },
			"eu": func(h *trial.Home) bool { return h.Serves() && h.Follows("us", 0) },
		} {
			if err := tr.AwaitHome(ctx, region, "eu", "have a copy in us", ok); err != nil {
				t.Fatal(err)
			}
		}
	}
	followed()
	first := roams(t, us.MQTT, "lamp", "in/#")
	awaitRoute(t, ap, "in/a", 0, 1)
	for _, c := range cables {
		c.cut()
	}
	there := roams(t, eu.MQTT, "lamp", "in/#")
	await(t, "the first connection to be closed", first.isLost)
	publish(t, ap.MQTT, "-q", "1", "-t", "in/a", "-m", "1")
	await(t, "what is published in ap", func() bool { return there.distinct() == 1 })
	followed()
	eu.Kill()
	await(t, "us to agree that eu is gone", func() bool {
		_, code := causeway(t, "", "", "ctl", "--socket", us.Socket(), "region", "failover", "eu", "--dry-run")
		return code == 0
	})
	ctl(t, us, "region", "failover", "eu", "--confirm", "eu")
	again := roams(t, us.MQTT, "lamp", "in/#")
	publish(t, ap.MQTT, "-q", "1", "-t", "in/a", "-m", "2")
	await(t, "what is published in ap then", func() bool { return slices.Contains(again.lines(), "2") })
}
