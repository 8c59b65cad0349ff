package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// broker is a Debian mosquitto that the test starts and stops.
type broker struct {
	t    *testing.T
	addr string
	conf string
	cmd  *exec.Cmd
}

// startBroker keeps what it has on disk when it is stopped in order. conf is added to its configuration.
func startBroker(t *testing.T, conf ...string) *broker {
	t.Helper()
	dir := t.TempDir()
	b := &broker{t: t, addr: fmt.Sprintf("127.0.0.1:%d", port(t)), conf: filepath.Join(dir, "mosquitto.conf")}
	_, p := split(b.addr)
	lines := append([]string{"listener " + p + " 127.0.0.1", "user root", "persistence true", "persistence_location " + dir + "/",
		"max_queued_messages 0", "log_dest file " + dir + "/log"}, conf...)
	if !slices.ContainsFunc(conf, func(l string) bool { return strings.HasPrefix(l, "password_file") }) {
		lines = append(lines, "allow_anonymous true")
	}
	if err := os.WriteFile(b.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			b.t.Fatalf("%v: install mosquitto (make deps)", err)
		}
	}
	b.cmd = exec.Command(path, "-c", b.conf)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	await(b.t, "mosquitto to listen", func() bool {
		c, err := net.Dial("tcp", b.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *broker) stop() {
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	_ = b.cmd.Wait()
}

// foreignRegion runs a region of one node with links of kind mqtt.
func foreignRegion(t *testing.T, links ...string) *trial.Node {
	t.Helper()
	tr := layOut(t, trial.Options{Regions: []string{"eu"}, Extra: func(string) string { return foreignLinks(links) }})
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	eu := tr.Node("eu")
	awaitForeign(t, eu)
	return eu
}

// foreignLinks continues the list of links that ends a node's file.
func foreignLinks(links []string) (s string) {
	for _, l := range links {
		s += "  - { kind: mqtt, " + l + " }\n"
	}
	return s
}

// awaitForeign waits until all links of a node are up.
func awaitForeign(t *testing.T, n *trial.Node) {
	t.Helper()
	await(t, "the foreign links", func() bool {
		var page admin.Page[admin.Link]
		if get(t, n, "/v1/links", &page) != nil || len(page.Items) == 0 {
			return false
		}
		for _, l := range page.Items {
			if l.State != admin.LinkUp || l.Foreign != nil && l.Foreign.ConnectionsUp < l.Foreign.Connections {
				return false
			}
		}
		return true
	})
}

func foreignLink(t *testing.T, n *trial.Node, name string) admin.Link {
	t.Helper()
	var d admin.LinkDetail
	if err := get(t, n, "/v1/links/"+name, &d); err != nil {
		t.Fatal(err)
	}
	return d.Link
}

// Every QoS crosses both ways, in both versions of MQTT, over TLS with a password.
func TestForeign_BothWays(t *testing.T) {
	t.Parallel()
	ca, dir := authority(t)
	server := issue(t, ca, "server", []net.IP{net.IPv4(127, 0, 0, 1)})
	secret := filepath.Join(t.TempDir(), "secret")
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", users, "bridge", "hunter2").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	caFile := filepath.Join(dir, "ca.pem")
	b := startBroker(t, "certfile "+server.Cert, "keyfile "+server.Key, "password_file "+users)
	with := []string{"--cafile", caFile, "-u", "bridge", "-P", "hunter2"}
	for _, version := range []string{"4", "5"} {
		t.Run("version "+version, func(t *testing.T) {
			top := "v" + version
			eu := foreignRegion(t, fmt.Sprintf("name: old, address: [\"mqtts://%s\"], direction: both, filters: [\"%s/#\"], version: %s, connections: 2, client_id: cw%s, "+
				"username: bridge, password: \"file:%s\", tls: { ca: %s }", b.addr, top, version, version, secret, caFile))
			here := subscribe(t, eu.MQTT, "-i", "here", "-q", "2", "-t", top+"/in/#", "-C", "3", "-F", "%t %q %p")
			there := b.subscribeAt(with, "-i", "there"+version, "-q", "2", "-t", top+"/out/#", "-C", "4", "-F", "%t %q %p")
			awaitRoute(t, eu, top+"/in/0", 1, 1)
			for q := range 3 {
				publish(t, eu.MQTT, "-q", fmt.Sprint(q), "-t", fmt.Sprintf("%s/out/%d", top, q), "-m", "m")
				publish(t, b.addr, append(slices.Clone(with), "-q", fmt.Sprint(q), "-t", fmt.Sprintf("%s/in/%d", top, q), "-m", "m")...)
			}
			for dir, got := range map[string][]string{"in": here.lines(), "out": there.lines()[1:]} {
				slices.Sort(got)
				want := []string{}
				for q := range 3 {
					want = append(want, fmt.Sprintf("%s/%s/%d %d m", top, dir, q, q))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", dir, got, want)
				}
			}
			if l := foreignLink(t, eu, "old"); l.LagMessages != 0 || l.Foreign.Direction != "both" || slices.ContainsFunc(l.Foreign.Drops, func(d admin.LinkDrops) bool { return d.Reason != "loop" }) {
				t.Errorf("%+v %+v", l, l.Foreign)
			}
		})
	}
}

// subscribeAt starts mosquitto_sub at the broker and waits until it is subscribed: it then has what is retained there.
func (b *broker) subscribeAt(with []string, args ...string) *subscriber {
	b.t.Helper()
	publish(b.t, b.addr, append(slices.Clone(with), "-r", "-t", "ready", "-m", "ready")...)
	s := subscribe(b.t, b.addr, slices.Concat(with, args, []string{"-t", "ready"})...)
	await(b.t, "mosquitto_sub to be subscribed", func() bool { return strings.Contains(s.out.String(), "ready") })
	return s
}

// Node and broker are killed and come back while messages cross both ways: nothing is lost, nothing of QoS 2 is doubled,
// each publisher's come in order.
func TestForeign_KilledUnderLoad(t *testing.T) {
	t.Parallel()
	const n = 1500
	b := startBroker(t)
	eu := foreignRegion(t, fmt.Sprintf("name: old, address: [\"mqtt://%s\"], direction: both, in: [\"in/#\"], out: [\"out/#\"], connections: 4", b.addr))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var streams []crossing
	for _, qos := range []byte{1, 2} {
		for _, way := range []struct{ name, from, to string }{{"out", eu.MQTT, b.addr}, {"in", b.addr, eu.MQTT}} {
			topic := fmt.Sprintf("%s/%d", way.name, qos)
			s := crossing{name: topic, qos: qos,
				from: &device{addr: way.from, id: "from-" + way.name + fmt.Sprint(qos), topic: topic, qos: qos, window: 16},
				to:   &device{addr: way.to, id: "to-" + way.name + fmt.Sprint(qos), filter: topic, qos: qos}}
			go s.to.run(ctx)
			go s.from.run(ctx)
			streams = append(streams, s)
		}
	}
	await(t, "the subscribers", func() bool {
		return !slices.ContainsFunc(streams, func(s crossing) bool {
			s.to.mu.Lock()
			defer s.to.mu.Unlock()
			return !s.to.subscribed
		})
	})
	began := time.Now()
	for _, s := range streams {
		s.from.allow(n)
	}
	half := func(part int) {
		await(t, fmt.Sprintf("%d messages of each", part), func() bool {
			return !slices.ContainsFunc(streams, func(s crossing) bool { acked, _ := s.from.progress(); return acked < part })
		})
	}
	half(n / 6)
	eu.Kill()
	if err := eu.Start(); err != nil {
		t.Fatal(err)
	}
	half(n / 3)
	b.stop()
	b.start()
	half(n / 2)
	eu.Kill()
	if err := eu.Start(); err != nil {
		t.Fatal(err)
	}
	for _, s := range streams {
		await(t, s.name+" to arrive", func() bool { acked, _ := s.from.progress(); return acked == n && s.to.distinct() == n })
	}
	for _, s := range streams {
		settle(s.name, s.from, s.to, time.Since(began)).check(t, n, s.qos)
	}
}

// The link is at the node that leads. When that is killed another one goes on where it was, with the broker's session.
func TestForeign_MovesWithTheLeader(t *testing.T) {
	t.Parallel()
	const n = 1000
	b := startBroker(t)
	tr := layOut(t, trial.Options{Regions: []string{"eu"}, Nodes: 3})
	for _, node := range tr.Nodes {
		edit(t, node, "links:\n", "links:\n"+foreignLinks([]string{fmt.Sprintf("name: old, address: [\"mqtt://%s\"], direction: both, in: [\"in/#\"], out: [\"out/#\"], connections: 2", b.addr)}))
	}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, tr)
	lead, other := leaderAndOther(t, tr)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	streams := []crossing{
		{name: "out/2", qos: 2, from: &device{addr: other.MQTT, id: "from-out", topic: "out/2", qos: 2, window: 8}, to: &device{addr: b.addr, id: "to-out", filter: "out/2", qos: 2}},
		{name: "in/2", qos: 2, from: &device{addr: b.addr, id: "from-in", topic: "in/2", qos: 2, window: 8}, to: &device{addr: other.MQTT, id: "to-in", filter: "in/2", qos: 2}},
	}
	began := time.Now()
	for _, s := range streams {
		go s.to.run(ctx)
		go s.from.run(ctx)
		await(t, s.name+" to be subscribed", func() bool { s.to.mu.Lock(); defer s.to.mu.Unlock(); return s.to.subscribed })
		s.from.allow(n)
	}
	await(t, "some messages", func() bool {
		acked, _ := streams[0].from.progress()
		return acked > n/4 && streams[1].to.distinct() > n/4
	})
	lead.Kill()
	if acked, _ := streams[0].from.progress(); acked == n {
		t.Fatal("all had crossed before the leader was killed")
	}
	for _, s := range streams {
		await(t, s.name+" to arrive", func() bool { acked, _ := s.from.progress(); return acked == n && s.to.distinct() == n })
		settle(s.name, s.from, s.to, time.Since(began)).check(t, n, s.qos)
	}
	if l := foreignLink(t, other, "old"); l.State != admin.LinkUp && l.State != admin.LinkElsewhere {
		t.Errorf("the link is %s: %s", l.State, l.Reason)
	}
}

// leaderAndOther waits until the leader has the link up, and says who does not lead.
func leaderAndOther(t *testing.T, tr *trial.Trial) (lead, other *trial.Node) {
	t.Helper()
	await(t, "the leader's link", func() bool {
		lead, other = nil, nil
		for _, n := range tr.Nodes {
			var page admin.Page[admin.Link]
			if get(t, n, "/v1/links", &page) != nil || len(page.Items) != 1 {
				return false
			}
			if page.Items[0].State == admin.LinkUp {
				lead = n
			} else {
				other = n
			}
		}
		return lead != nil && other != nil
	})
	return lead, other
}

type crossing struct {
	name     string
	qos      byte
	from, to *device
}

// Two links of a region lead to one broker, and so does one of another region: a message goes round once at most.
func TestForeign_Loop(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	tr := layOut(t, trial.Options{Extra: func(region string) string {
		list := []string{fmt.Sprintf("name: one, address: [\"mqtt://%s\"], direction: both, filters: [\"v/#\"], connections: 2", b.addr)}
		if region == "eu" {
			list = append(list, strings.Replace(list[0], "one", "two", 1))
		}
		return foreignLinks(list)
	}})
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	eu, us := tr.Node("eu"), tr.Node("us")
	awaitForeign(t, eu)
	awaitForeign(t, us)
	there := b.subscribeAt(nil, "-q", "1", "-t", "v/#", "-F", "%t %p")
	here := subscribe(t, us.MQTT, "-i", "here", "-q", "1", "-t", "v/#", "-V", "5", "-F", "%p %P")
	awaitRoute(t, us, "v/1", 1, 1)
	awaitRoute(t, eu, "v/1", 0, 3)
	publish(t, eu.MQTT, "-q", "1", "-t", "v/1", "-m", "here")
	publish(t, b.addr, "-q", "1", "-t", "v/1", "-m", "there")
	loops := func() (n int64) {
		for _, l := range []admin.Link{foreignLink(t, eu, "one"), foreignLink(t, eu, "two"), foreignLink(t, us, "one")} {
			for _, d := range l.Foreign.Drops {
				if d.Reason == "loop" {
					n += d.Count
				}
			}
		}
		return n
	}
	publish(t, b.addr, "-q", "1", "-t", "v/1", "-m", "last")
	await(t, "the last message", func() bool { return strings.Contains(here.out.String(), "last") && loops() > 0 })
	quiet(t, loops)
	counts := map[string]int{}
	for _, line := range strings.Split(there.out.String(), "\n") {
		if topic, payload, ok := strings.Cut(line, " "); ok && topic == "v/1" {
			counts[strings.Fields(payload)[0]]++
		}
	}
	for payload, n := range counts {
		if n > 6 { // itself, and once more by each link that did not bring it in, of each region it came to
			t.Errorf("%s came %d times at the broker", payload, n)
		}
	}
	if strings.Contains(here.out.String(), "causeway-trail") {
		t.Errorf("a device sees the trail: %s", here.out.String())
	}
	there.kill()
	here.kill()
	t.Logf("at the broker: %v; %d dropped as loops", counts, loops())
}

// quiet waits until a figure has not changed for half a second.
func quiet(t *testing.T, figure func() int64) {
	t.Helper()
	last, since := figure(), time.Now()
	await(t, "silence", func() bool {
		if now := figure(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}
