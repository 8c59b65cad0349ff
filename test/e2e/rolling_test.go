package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"causeway/internal/admin"
	"causeway/internal/trial"
)

// rolling restarts nodes one after the other, as for an upgrade.
func rolling(t *testing.T, front *trial.Front, nodes []*trial.Node) {
	t.Helper()
	for _, n := range nodes {
		stopNode(t, n)
		drain(t, front, n, false)
		restart(t, n, 0)
		await(t, "the load balancer to see the node", func() bool { up, _ := front.Server(n.Name); return up })
	}
}

func drain(t *testing.T, front *trial.Front, n *trial.Node, on bool) {
	t.Helper()
	if err := front.Drain(n.Name, on); err != nil {
		t.Fatal(err)
	}
}

func stopNode(t *testing.T, n *trial.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// bothered checks how often the devices of a fleet had to connect again, and for how long they were away each time.
func (f *fleet) bothered(most int) {
	f.t.Helper()
	var away []time.Duration
	for _, s := range f.pairs {
		for _, d := range []*device{s.from, s.to} {
			d.mu.Lock()
			away = append(away, d.outages...)
			if d.connects > 1+most {
				f.t.Errorf("%s connected %d times, want at most %d reconnects", d.id, d.connects, most)
			}
			d.mu.Unlock()
		}
	}
	if len(away) == 0 {
		f.t.Fatal("no device had to connect again: nothing was tried")
	}
	slices.Sort(away)
	longest := away[len(away)-1]
	f.t.Logf("%d devices reconnected %d times; away p50 %s, p99 %s, longest %s", 2*len(f.pairs), len(away), away[len(away)/2].Round(time.Millisecond),
		away[len(away)*99/100].Round(time.Millisecond), longest.Round(time.Millisecond))
	if longest > time.Second {
		f.t.Errorf("a device was away for %s", longest)
	}
}

// once says that nothing came twice, at QoS 1 neither: a planned stop leaves nothing unacknowledged behind.
func (f *fleet) once() {
	f.t.Helper()
	for _, s := range f.pairs {
		if l := settle(s.from.topic, s.from, s.to, 0); l.doubled > 0 {
			f.t.Errorf("%s", l)
		}
	}
}

// All nodes are restarted one after the other, as for an upgrade. Nothing is lost or comes twice, and no device is
// bothered more often than there are nodes less one.
func TestRollingRestart(t *testing.T) {
	tr, addr := region(t, trial.Options{})
	f := newFleet(t, addr, 30)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	rolling(t, tr.Front("eu"), tr.Region("eu"))
	stop()
	f.settle()
	f.once()
	f.bothered(2)
}

// With a fourth node beside them, started before, each device is bothered once: the load balancer sends it to a node that
// was restarted already. The fourth is then stopped and taken out, as an operator does it, and only its devices go again.
func TestRollingRestart_WithASurgeNode(t *testing.T) {
	tr, addr := region(t, trial.Options{Spares: 1})
	f := newFleet(t, addr, 30)
	stop := f.pace(50 * time.Millisecond)
	defer stop()
	front, surge := tr.Front("eu"), tr.Spares[0]
	restart(t, surge, 0)
	await(t, "the load balancer to see the surge node", func() bool { return front.Up() == 4 })
	for _, n := range tr.Region("eu") { // nobody goes where it would have to leave again
		drain(t, front, n, true)
	}
	rolling(t, front, tr.Region("eu"))
	f.bothered(1)

	stopNode(t, surge)
	if out, code := causeway(t, "", "", "ctl", "--socket", tr.Node("eu").Socket(), "cluster", "leave", surge.Name, "--yes"); code != 0 {
		t.Fatalf("cluster leave: exit code %d\n%s", code, out)
	}
	var c admin.Cluster
	if err := get(t, tr.Node("eu"), "/v1/cluster", &c); err != nil || c.Quorum.Have != 3 || c.Trouble != "" {
		t.Errorf("cluster after the surge node left: %v %+v", err, c)
	}
	acked, _ := f.pairs[0].from.progress()
	await(t, "the others to go on", func() bool { now, _ := f.pairs[0].from.progress(); return now >= acked+5 })
	stop()
	f.settle()
	f.once()
	f.bothered(2)
}
