package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"causeway/internal/trial"
)

// withReplicant starts a region of three cores and a replicant behind a load balancer.
func withReplicant(t *testing.T) (tr *trial.Trial, cores []*trial.Node, replicant *trial.Node, balanced string) {
	tr, balanced = region(t, trial.Options{Replicants: 1})
	all := tr.Region("eu")
	return tr, all[:3], all[3], balanced
}

// move has all devices connect elsewhere from now on, those that are connected at once.
func (f *fleet) move(addr string) {
	for _, s := range f.pairs {
		for _, d := range []*device{s.from, s.to} {
			d.mu.Lock()
			d.addr = addr
			if d.conn != nil {
				_ = d.conn.Close()
			}
			d.mu.Unlock()
		}
	}
}

// goesOn waits for messages of all pairs.
func (f *fleet) goesOn(why string) {
	f.t.Helper()
	var had []int
	for _, s := range f.pairs {
		acked, _ := s.from.progress()
		had = append(had, acked)
	}
	await(f.t, why, func() bool {
		for i, s := range f.pairs {
			if acked, _ := s.from.progress(); acked < had[i]+5 {
				return false
			}
		}
		return true
	})
}

// follows is the core that a replicant follows.
func follows(t *testing.T, replicant *trial.Node, cores []*trial.Node) *trial.Node {
	t.Helper()
	var c struct{ Following string }
	await(t, "a core to be followed", func() bool { return get(t, replicant, "/v1/cluster", &c) == nil && c.Following != "" })
	i := slices.IndexFunc(cores, func(n *trial.Node) bool { return n.Name == c.Following })
	if i < 0 {
		t.Fatalf("%q is followed, which is no core", c.Following)
	}
	return cores[i]
}

// A hundred devices with sessions to keep, at QoS 1 and 2, all of them at the replicant, under load: the core that it
// follows is killed, then the leader; then the replicant, upon which the devices go on at the cores; then they come back
// to it. Nothing acknowledged is lost, nothing at QoS 2 comes twice, all streams keep their order, and no session is
// forgotten.
func TestReplicant_CoresAndReplicantKilled(t *testing.T) {
	_, cores, replicant, balanced := withReplicant(t)
	f := newFleet(t, replicant.MQTT, 50)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	f.goesOn("some messages at the replicant")
	for what, victim := range map[string]func() *trial.Node{
		"the core that is followed": func() *trial.Node { return follows(t, replicant, cores) },
		"the leader":                func() *trial.Node { return gateway(t, cores) },
	} {
		n := victim()
		before := f.connects()
		n.Kill()
		f.goesOn("the replicant to go on without " + what)
		if again := f.connects() - before; again > 0 {
			t.Errorf("%d connections at the replicant were lost with %s", again, what)
		}
		restart(t, n, 0)
	}
	replicant.Kill()
	f.move(balanced)
	f.goesOn("the cores to go on without the replicant")
	restart(t, replicant, 0)
	f.move(replicant.MQTT)
	f.goesOn("the replicant to go on")
	stop()
	f.settle()
}

func (f *fleet) connects() (n int) {
	for _, s := range f.pairs {
		for _, d := range []*device{s.from, s.to} {
			d.mu.Lock()
			n += d.connects
			d.mu.Unlock()
		}
	}
	return n
}

// A replicant whose data directory is lost with it, again and again, is one more server behind the load balancer.
func TestReplicant_Disposable(t *testing.T) {
	tr, _, replicant, balanced := withReplicant(t)
	await(t, "the load balancer to see all four", func() bool { return tr.Front("eu").Up() == 4 })
	f := newFleet(t, balanced, 40)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	for range 3 {
		f.goesOn("messages with the replicant")
		replicant.Kill()
		if err := replicant.Wipe(); err != nil {
			t.Fatal(err)
		}
		f.goesOn("messages without the replicant")
		restart(t, replicant, 0)
		await(t, "the load balancer to see all four", func() bool { return tr.Front("eu").Up() == 4 })
	}
	stop()
	f.settle()
}

// A queue that grew while its device was away is delivered by the replicant, which has the bodies of none of it.
func TestReplicant_DeliversAQueue(t *testing.T) {
	_, cores, replicant, _ := withReplicant(t)
	s := newStream(t, cores[0], cores[0], "away", 2, 2000)
	s.from.mu.Lock()
	s.from.pad = append([]byte(" "), make([]byte, 1000)...)
	s.from.mu.Unlock()
	s.to.move("127.0.0.1:1") // nobody listens there
	s.from.allow(2000)
	await(t, "everything to be queued", func() bool { acked, _ := s.from.progress(); return acked == 2000 })
	replicant.Kill() // what it comes back with is a copy
	restart(t, replicant, 0)
	began := time.Now()
	s.to.move(replicant.MQTT)
	s.finish()
	t.Logf("2000 messages of 1 kB at QoS 2 after %s", time.Since(began).Round(time.Millisecond))
	settle("QoS 2", s.from, s.to, 0).check(t, s.n, 2)
}

func (d *device) move(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr = addr
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// The process of the replicant is stopped and goes on later: the devices are taken elsewhere by the load balancer, the
// leader declares it dead, and when it goes on it says nothing for the sessions it had. It begins another run.
func TestReplicant_Frozen(t *testing.T) {
	tr, _, replicant, balanced := withReplicant(t)
	await(t, "the load balancer to see all four", func() bool { return tr.Front("eu").Up() == 4 })
	f := newFleet(t, balanced, 40)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	for _, d := range []time.Duration{time.Second, 8 * time.Second} {
		f.move(balanced) // spread them anew
		f.goesOn("messages with the replicant")
		await(t, "devices at the replicant", func() bool {
			var st struct{ Connections []struct{ Count int } }
			return get(t, replicant, "/v1/status", &st) == nil && len(st.Connections) > 0
		})
		if err := syscall.Kill(replicant.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		f.goesOn("the cores to go on without the replicant")
		time.Sleep(d) // what is tested is a process that stood still for so long
		if err := syscall.Kill(replicant.PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		await(t, "the load balancer to see all four", func() bool { return tr.Front("eu").Up() == 4 })
	}
	stop()
	f.settle()
}

// What is in no log crosses between the replicant and the cores, both ways, and a shared group has members at both. A
// will is published once though the replicant that had its connection died.
func TestReplicant_QoS0AndWill(t *testing.T) {
	_, cores, replicant, _ := withReplicant(t)
	there := subscriberAt(t, replicant, "there", "t")
	here := subscriberAt(t, cores[0], "here", "t")
	members := []*device{subscriberAt(t, replicant, "m0", "$share/g/t"), subscriberAt(t, cores[1], "m1", "$share/g/t")}
	wills := subscribe(t, cores[2].MQTT, "-q", "2", "-t", "will/#", "-C", "2", "-v")
	for _, core := range cores { // what is in no log waits for no stream
		await(t, "a stream to the replicant", func() bool {
			text, _ := page(t, core, "/metrics")
			return strings.Contains(text, fmt.Sprintf("causeway_sibling_up{node=%q} 1", replicant.Name))
		})
	}
	const n = 40
	for i := range n {
		from := []string{replicant.MQTT, cores[2].MQTT}[i%2]
		publish(t, from, "-t", "t", "-m", fmt.Sprint(i+1))
	}
	await(t, "all messages", func() bool {
		_, a := members[0].progress()
		_, b := members[1].progress()
		return there.distinct() == n && here.distinct() == n && a+b == n && a > 0 && b > 0
	})
	mortal := subscribe(t, replicant.MQTT, "-i", "mortal", "-t", "cmd/mortal", "--will-topic", "will/mortal", "--will-payload", "lost", "--will-qos", "1")
	awaitRoute(t, cores[2], "cmd/mortal", 1, 0)
	replicant.Kill()
	awaitNoSession(t, cores[2], "mortal")
	mortal.kill()
	restart(t, replicant, 0)
	publish(t, replicant.MQTT, "-q", "1", "-t", "will/end", "-m", "end")
	if got := wills.wait(); got != "will/mortal lost\nwill/end end\n" {
		t.Errorf("who watches wills got %q", got)
	}
}

func subscriberAt(t *testing.T, n *trial.Node, id, filter string) *device {
	t.Helper()
	d := &device{addr: n.MQTT, id: id, filter: filter, clean: true}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	await(t, id+" to be subscribed", d.isSubscribed)
	return d
}
