package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/trial"
)

// fleet is pairs of devices with sessions to keep, each a publisher and a subscriber, half of them at QoS 1 and half at
// QoS 2, that go through a region's load balancer.
type fleet struct {
	t     *testing.T
	pairs []*stream
	sent  int
}

func newFleet(t *testing.T, addr string, pairs int) *fleet {
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		devices.Wait()
	})
	f := &fleet{t: t}
	for i := range pairs {
		name, qos := fmt.Sprintf("pair-%d", i), byte(1+i%2)
		s := &stream{t: t, n: 1 << 30,
			from: &device{addr: addr, id: name + "-from", topic: "fleet/" + name, qos: qos, window: 8},
			to:   &device{addr: addr, id: name + "-to", filter: "fleet/" + name, qos: qos}}
		for _, d := range []*device{s.from, s.to} {
			devices.Go(func() { d.run(ctx) })
		}
		f.pairs = append(f.pairs, s)
	}
	await(t, "all devices to be connected and subscribed", func() bool {
		return !slices.ContainsFunc(f.pairs, func(s *stream) bool { return !s.from.online() || !s.to.isSubscribed() })
	})
	return f
}

func (d *device) online() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn != nil
}

// pace has every pair send a message now and then, until the returned function is called.
func (f *fleet) pace(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
			f.sent++
			for _, s := range f.pairs {
				s.from.allow(f.sent)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// settle waits until everything has arrived and holds all pairs to their promise.
func (f *fleet) settle() {
	f.t.Helper()
	await(f.t, "everything to be acknowledged and to arrive", func() bool {
		return !slices.ContainsFunc(f.pairs, func(s *stream) bool {
			acked, _ := s.from.progress()
			return acked < f.sent || s.to.distinct() < f.sent
		})
	})
	var all [2]ledger
	var resumes []time.Duration
	for i, s := range f.pairs {
		l := settle(s.from.topic, s.from, s.to, 0)
		if l.lost+l.reordered+l.publisherSessions+l.subscriberSessions > 0 || s.from.qos == 2 && l.doubled > 0 {
			f.t.Errorf("%s; session present was 0 on %d and %d connections; %v %v", l, l.publisherSessions, l.subscriberSessions, s.from.problem, s.to.problem)
		}
		sum := &all[i%2]
		sum.name = fmt.Sprintf("QoS %d", 1+i%2)
		sum.sent += l.sent
		sum.acked += l.acked
		sum.received += l.received
		sum.flagged += l.flagged
		sum.lost += l.lost
		sum.doubled += l.doubled
		sum.reordered += l.reordered
		sum.reconnects += l.reconnects
		s.to.mu.Lock()
		resumes = append(resumes, s.to.resumes...)
		s.to.mu.Unlock()
	}
	f.t.Log(all[0])
	f.t.Log(all[1])
	if len(resumes) > 0 {
		slices.Sort(resumes)
		f.t.Logf("from the loss of a connection to the next message, %d times: p50 %s, p99 %s, longest %s", len(resumes),
			resumes[len(resumes)/2].Round(time.Millisecond), resumes[len(resumes)*99/100].Round(time.Millisecond), resumes[len(resumes)-1].Round(time.Millisecond))
	}
}

// region starts one region of three nodes behind a load balancer.
func region(t *testing.T, o trial.Options) (*trial.Trial, string) {
	t.Helper()
	if !trial.Balancer() {
		t.Fatal("haproxy is missing: run make deps")
	}
	if o.Regions == nil {
		o.Regions = []string{"eu"}
	}
	o.Nodes, o.Balance = 3, true
	tr := start(t, o)
	await(t, "the load balancers to see all nodes", func() bool {
		return !slices.ContainsFunc(tr.Fronts, func(f *trial.Front) bool { return f.Up() != o.Nodes+o.Replicants })
	})
	return tr, tr.Front("eu").MQTT
}

// Two hundred devices with sessions to keep, at QoS 1 and 2, while each node in turn is killed without warning and
// started again, the last of them with an empty disk. Nothing acknowledged is lost, nothing at QoS 2 comes twice, all
// streams keep their order, and no session is forgotten.
func TestEachNodeKilled_OneWiped(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	f := newFleet(t, addr, 100)
	stop := f.pace(100 * time.Millisecond)
	defer stop()
	for i, n := range tr.Region("eu") {
		await(t, "some messages", func() bool { acked, _ := f.pairs[0].from.progress(); return acked >= 10*(i+1) })
		n.Kill()
		if i == 2 {
			if err := n.Wipe(); err != nil {
				t.Fatal(err)
			}
		}
		acked, _ := f.pairs[1].from.progress()
		await(t, "the others to go on", func() bool { now, _ := f.pairs[1].from.progress(); return now >= acked+5 })
		restart(t, n, 0)
	}
	stop()
	f.settle()
}

// A device that comes to another node while its connection at the first still stands takes its session along: the first
// connection ends, and what was queued arrives once, in order.
func TestTakeover_OneClientIDAtTwoNodes(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	s := newStream(t, nodes[0], nodes[0], "moving", 2, 400)
	s.from.allow(100)
	s.awaitGot(50)
	// The same client id at the other nodes, again and again; each time whoever has it is thrown off.
	for i := range 6 {
		s.to.mu.Lock()
		s.to.addr = nodes[(i+1)%3].MQTT
		first := s.to.conn
		s.to.mu.Unlock()
		rival := &device{addr: nodes[(i+2)%3].MQTT, id: s.to.id}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = rival.once(ctx) })
		await(t, "the connection to be taken over", func() bool { s.to.mu.Lock(); defer s.to.mu.Unlock(); return s.to.conn != first })
		cancel()
		wg.Wait()
		s.from.allow(100 + 50*(i+1))
	}
	s.finish()
	settle("QoS 2", s.from, s.to, 0).check(t, s.n, 2)
}

// once connects with a session to keep and waits until somebody ends it; it takes no message.
func (d *device) once(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: d.id})); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 4)) // CONNACK; the rest is left unread, and unacknowledged
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// What is in no log finds devices at other nodes: plain and shared subscriptions at QoS 0.
func TestQoS0_AcrossNodes(t *testing.T) {
	tr, _ := region(t, trial.Options{})
	nodes := tr.Region("eu")
	subscribe := func(node int, id, filter string) *device {
		d := &device{addr: nodes[node].MQTT, id: id, filter: filter, clean: true}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { d.run(ctx) })
		t.Cleanup(func() { cancel(); wg.Wait() })
		await(t, id+" to be subscribed", d.isSubscribed)
		return d
	}
	plain := subscribe(1, "plain", "t")
	members := []*device{subscribe(0, "m0", "$share/g/t"), subscribe(1, "m1", "$share/g/t"), subscribe(2, "m2", "$share/g/t")}
	const n = 60
	for i := range n {
		publish(t, nodes[2].MQTT, "-t", "t", "-m", fmt.Sprint(i+1))
	}
	sum := func() (sum int) {
		for _, m := range members {
			_, got := m.progress()
			sum += got
		}
		return sum
	}
	await(t, "all messages", func() bool { return plain.distinct() == n && sum() == n })
	for _, m := range members {
		if _, got := m.progress(); got == 0 {
			t.Errorf("%s of the group got nothing", m.id)
		}
	}
}

// Two regions of three nodes. The node that has the link is killed on either side, under load: everything crosses, once
// and in order.
func TestLink_GatewaysKilled(t *testing.T) {
	tr, _ := region(t, trial.Options{Regions: []string{"eu", "us"}})
	ctx, cancel := context.WithCancel(context.Background())
	var devices sync.WaitGroup
	t.Cleanup(func() { cancel(); devices.Wait() })
	s := &stream{t: t, n: 3000,
		from: &device{addr: tr.Front("eu").MQTT, id: "from", topic: "cross/x", qos: 2, window: 16},
		to:   &device{addr: tr.Front("us").MQTT, id: "to", filter: "cross/x", qos: 2}}
	for _, d := range []*device{s.from, s.to} {
		devices.Go(func() { d.run(ctx) })
	}
	awaitRoute(t, tr.Node("eu"), "cross/x", 0, 1)
	for i, r := range []string{"eu", "us"} {
		s.from.allow(1000 * (i + 1))
		s.awaitGot(1000*i + 300)
		n := gateway(t, tr.Region(r))
		n.Kill()
		restart(t, n, 0)
	}
	s.from.allow(s.n)
	s.finish()
	settle("QoS 2", s.from, s.to, 0).check(t, s.n, 2)
}

// gateway is the node that leads its region's home.
func gateway(t *testing.T, nodes []*trial.Node) (leader *trial.Node) {
	t.Helper()
	await(t, "a leader", func() bool {
		for _, n := range nodes {
			var c struct{ Leader string }
			if get(t, n, "/v1/cluster", &c) != nil {
				continue
			}
			for _, l := range nodes {
				if l.Name == c.Leader {
					leader = l
					return true
				}
			}
		}
		return false
	})
	return leader
}
