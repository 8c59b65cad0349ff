package simlab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/internal/app"
)

// three is a region of three nodes.
var three = Options{Regions: []string{"eu"}, Nodes: []int{3}}

// crowd is who talks in the tests of a region: QoS 1 and 2, through the balancer.
type crowd struct{ pubs, subs []*Device }

func newCrowd(t *testing.T, l *Lab) *crowd {
	t.Helper()
	c := &crowd{}
	for q := range byte(2) {
		c.pubs = append(c.pubs, publisher(l, "eu", fmt.Sprintf("pub%d", q+1)))
		c.subs = append(c.subs, subscriber(l, "eu", fmt.Sprintf("sub%d", q+1), q+1, "t/#"))
	}
	settle(t, l)
	return c
}

// publish has each publish n messages, of its QoS, over a time.
func (c *crowd) publish(l *Lab, n int, within time.Duration) {
	for i, p := range c.pubs {
		l.lives.Go(func() {
			for range n {
				p.Publish(Message{Topic: "t/a", QoS: byte(i + 1), Size: 100})
				time.Sleep(within / time.Duration(n))
			}
		})
	}
}

// check waits for calm, and counts.
func (c *crowd) check(t *testing.T, l *Lab, n int) {
	t.Helper()
	await(t, l, "all to be sent", func() bool { return len(c.pubs[0].ledger()) == n && len(c.pubs[1].ledger()) == n })
	check(t, l)
	for _, s := range c.subs {
		for _, p := range c.pubs {
			if messages(s, p) < n {
				t.Errorf("%s saw %d messages of %s, want %d", s.ID, messages(s, p), p.ID, n)
			}
		}
	}
	if err := l.checkCopies(); err != nil {
		t.Error(err)
	}
}

// leader waits for a leader, other than one.
func leader(t *testing.T, l *Lab, not *Node) (n *Node) {
	t.Helper()
	r := l.Region("eu")
	await(t, l, "a leader", func() bool { n = r.Leader(); return n != nil && n != not })
	return n
}

// ready waits until all nodes serve, each under the disk it has.
func ready(t *testing.T, l *Lab) {
	t.Helper()
	r := l.Region("eu")
	await(t, l, "all nodes to be ready", func() bool { ok, _ := r.Ready(); return ok && r.whole() })
}

func TestNodeKilled_ItsDevicesGoOnElsewhere(t *testing.T) {
	for name, kill := range map[string]func(*Node){"killed": (*Node).Crash, "without power": (*Node).Vanish} {
		t.Run(name, func(t *testing.T) {
			o := three
			o.Grace = 10 * time.Second
			in(t, o, func(t *testing.T, l *Lab) {
				// given devices on all nodes, some with wills, and a node that is not the leader
				c := newCrowd(t, l)
				for i := range 6 {
					l.Device(DeviceOptions{Region: "eu", ID: fmt.Sprint("with-will-", i), Wills: "t/will"})
				}
				was := leader(t, l, nil)
				n := l.Region("eu").Others(was)[0]
				c.publish(l, 100, 5*time.Second)
				time.Sleep(time.Second)
				// when it goes
				kill(n)
				// then everybody is connected again soon, elsewhere
				time.Sleep(5 * time.Second)
				for _, d := range l.all() {
					if !d.Connected() {
						t.Errorf("%s is not connected five seconds after", d.ID)
					}
				}
				if err := n.Start(); err != nil {
					t.Fatal(err)
				}
				ready(t, l)
				c.check(t, l, 100)
				// and nobody heard that a device was gone
				for _, d := range l.all() {
					for _, m := range d.Seen() {
						if strings.HasPrefix(m.From, "with-will") {
							t.Errorf("%s got the will of %s", d.ID, m.From)
						}
					}
				}
			})
		})
	}
}

// The device's new node has asked for the session, and the leader dies before, at,
// or after the entry that says so.
func TestLeaderKilled_MidTakeover(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		c := newCrowd(t, l)
		c.publish(l, 200, 40*time.Second)
		for i := range 8 {
			n := leader(t, l, nil)
			others := l.Region("eu").Others(n)
			for k, d := range l.all() {
				d.Move(others[(i+k)%2].Name)
				if k%2 == 0 {
					d.Roam()
				} else {
					d.Cut()
				}
			}
			select {
			case <-n.CrashAtOp(1 + 3*i):
			case <-time.After(2 * time.Second):
				n.Crash()
			}
			time.Sleep(time.Duration(i) * 300 * time.Millisecond)
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			ready(t, l)
		}
		c.check(t, l, 200)
	})
}

// One client on two nodes at once, again and again: each time the later one has
// the session, and the former node sends nothing more.
func TestTwoNodes_OneClient(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		c := newCrowd(t, l)
		c.publish(l, 300, 10*time.Second)
		for i := range 30 {
			for _, s := range c.subs {
				s.Move(l.Nodes()[i%3].Name)
				s.Roam()
			}
			time.Sleep(300 * time.Millisecond)
		}
		c.check(t, l, 300)
		time.Sleep(time.Minute)
		if err := l.Check(); err != nil {
			t.Error(err) // what was left behind is closed by now
		}
	})
}

func TestWipedVoter_RejoinsAndNothingIsLost(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		r := l.Region("eu")
		c := newCrowd(t, l)
		c.publish(l, 150, 15*time.Second)
		ready(t, l)
		// given that each node loses its disk, one after the other, the leader among them
		for _, n := range r.Nodes() {
			if !r.Wipe(n) {
				t.Fatal("the region is not whole")
			}
			time.Sleep(2 * time.Second)
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			ready(t, l)
		}
		// then no byte of the first disks is left, and all messages are there
		c.check(t, l, 150)
	})
}

func TestPartition_MinorityWithholds(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		r := l.Region("eu")
		c := newCrowd(t, l)
		// given a publisher and a subscriber that know the leader's node only
		was := leader(t, l, nil)
		pub := l.Device(DeviceOptions{Region: "eu", ID: "pub", Node: was.Name})
		sub := l.Device(DeviceOptions{Region: "eu", ID: "sub", Node: was.Name})
		sub.Subscribe(1, "t/#")
		settle(t, l)
		// when it is cut off
		r.Cut(was)
		time.Sleep(time.Second)
		publish(pub, 5, Message{Topic: "t/b", QoS: 1})
		c.publish(l, 50, 2*time.Second)
		leader(t, l, was)
		await(t, l, "the majority to go on", func() bool { return c.pubs[0].Acked() == 50 && c.pubs[1].Acked() == 50 })
		// then it acknowledges nothing and delivers nothing, and says that it is not ready
		time.Sleep(10 * time.Second)
		if n := pub.Acked(); n != 0 {
			t.Errorf("a node without a majority acknowledged %d messages", n)
		}
		if n := messages(sub, c.pubs[0]); n != 0 {
			t.Errorf("a node without a majority delivered %d messages", n)
		}
		if ok, _ := was.Ready(); ok {
			t.Error("a node without a majority is ready")
		}
		// and when it is back, everything comes
		r.Heal()
		ready(t, l)
		c.check(t, l, 50)
		if n := messages(sub, pub); n < 5 {
			t.Errorf("%d messages of the cut off publisher seen, want 5", n)
		}
	})
}

func TestSlowDisk_SlowsNobodyElse(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		c := newCrowd(t, l)
		// given publishers at the other nodes than the slow one
		was := leader(t, l, nil)
		n := l.Region("eu").Others(was)[0]
		for _, p := range c.pubs {
			p.Move(was.Name)
			p.Cut()
		}
		n.Disk().Slow(50 * time.Millisecond)
		began := time.Now()
		c.publish(l, 100, 2*time.Second)
		await(t, l, "the acknowledgements", func() bool { return c.pubs[0].Acked() == 100 && c.pubs[1].Acked() == 100 })
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("one slow disk of three made 2 s of messages take %s", took)
		}
		n.Disk().Heal()
		c.check(t, l, 100)
	})
}

func TestHungDisk_LeaderGivesWay(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		c := newCrowd(t, l)
		was := leader(t, l, nil)
		c.publish(l, 100, 4*time.Second)
		time.Sleep(time.Second)
		was.Disk().Hang()
		hung := time.Now()
		leader(t, l, was)
		if took := time.Since(hung); took > 5*time.Second {
			t.Errorf("another leads %s after the leader's disk hung", took)
		}
		time.Sleep(3 * time.Second)
		was.Disk().Heal()
		ready(t, l)
		c.check(t, l, 100)
	})
}

func TestAllNodesRestart_NothingIsLost(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		r := l.Region("eu")
		c := newCrowd(t, l)
		c.publish(l, 150, 12*time.Second)
		for i := range 4 {
			select { // all lose power in the middle of a write of one
			case <-r.Nodes()[i%3].CrashAtOp(10 + 5*i):
			case <-time.After(2 * time.Second):
			}
			r.Crash()
			time.Sleep(time.Duration(i) * time.Minute)
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			ready(t, l)
		}
		c.check(t, l, 150)
	})
}

// A node that was away while the others dropped the log it would need fetches
// the state, though it has just started and gossip knows nobody yet.
func TestFarBehind_FetchesTheState(t *testing.T) {
	in(t, three, func(t *testing.T, l *Lab) {
		r := l.Region("eu")
		c := newCrowd(t, l)
		n := r.Others(leader(t, l, nil))[0]
		n.Crash()
		time.Sleep(2 * time.Minute) // for longer than the others keep their logs for it
		before := leader(t, l, nil).Replica().Applied()
		c.publish(l, 250, 30*time.Second)
		await(t, l, "the log to move on", func() bool {
			s := leader(t, l, nil).Replica().Stats()
			return s.LogFirst > before+1
		})
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		ready(t, l)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		c.check(t, l, 250)
	})
}

// A disk that does not sync breaks the promise when all nodes lose power, and the
// checker notices: otherwise the other tests would prove nothing.
func TestLyingDisk_IsFound(t *testing.T) {
	lazy := func(o *app.ReplicaOptions) { o.FlushEvery = time.Hour } // only the log would keep it
	for name, lying := range map[string]bool{"honest disks": false, "lying disks": true} {
		t.Run(name, func(t *testing.T) {
			o := three
			o.Replica = lazy
			in(t, o, func(t *testing.T, l *Lab) {
				// given a subscriber that is away
				pub, sub := publisher(l, "eu", "pub"), subscriber(l, "eu", "sub", 1, "t/#")
				settle(t, l)
				sub.Offline()
				r := l.Region("eu")
				if lying {
					for _, n := range r.Nodes() {
						n.Disk().IgnoreSyncs(inLog)
					}
				}
				publish(pub, 10, Message{Topic: "t/a", QoS: 1})
				await(t, l, "the acknowledgements", pub.Idle)
				r.Crash()
				if err := r.Start(); err != nil {
					t.Fatal(err)
				}
				sub.Online()
				_ = l.Await("all of them", patience, func() bool { return messages(sub, pub) == 10 })
				err := l.Check()
				if (err != nil) != lying || err != nil && !strings.Contains(err.Error(), "never got message") {
					t.Errorf("the checker says %v", err)
				}
			})
		})
	}
}

// A region's links run where its leader is: when it dies, the next one has them,
// and each message crosses once, both ways.
func TestLeaderKilled_LinkMoves(t *testing.T) {
	in(t, Options{Nodes: []int{3, 1}}, func(t *testing.T, l *Lab) {
		here, there := publisher(l, "eu", "here"), publisher(l, "us", "there")
		subs := []*Device{subscriber(l, "eu", "near", 2, "t/#"), subscriber(l, "us", "far", 2, "t/#")}
		settle(t, l)
		for _, p := range []*Device{here, there} {
			l.lives.Go(func() {
				for range 150 {
					p.Publish(Message{Topic: "t/a", QoS: 2})
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for range 4 {
			was := leader(t, l, nil)
			was.Crash()
			leader(t, l, was)
			time.Sleep(2 * time.Second)
			if err := was.Start(); err != nil {
				t.Fatal(err)
			}
			ready(t, l)
		}
		await(t, l, "all to be sent", func() bool { return len(here.ledger())+len(there.ledger()) == 300 })
		check(t, l)
		for _, s := range subs {
			if n, m := messages(s, here), messages(s, there); n != 150 || m != 150 {
				t.Errorf("%s saw %d and %d messages, want 150 of each", s.ID, n, m)
			}
		}
	})
}

// Nodes leave and come as new ones while everybody talks, the leader hands over,
// and there are never fewer than three votes.
func TestMembers_LeaveAndJoinUnderLoad(t *testing.T) {
	in(t, Options{Regions: []string{"eu"}, Nodes: []int{4}}, func(t *testing.T, l *Lab) {
		r := l.Region("eu")
		ready(t, l)
		c := newCrowd(t, l)
		c.publish(l, 150, 15*time.Second)
		for range 3 {
			_, servers, err := leader(t, l, nil).Replica().Group(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var out, in *Node
			for _, s := range servers {
				switch n := l.Node(string(s.Node)); {
				case !s.Voter:
					in = n
				case !n.Leads():
					out = n
				}
			}
			if err := r.Change("leave", out); err != nil {
				t.Fatal(err)
			}
			if err := r.Change("transfer", in); err != nil {
				t.Fatal(err)
			}
			await(t, l, in.Name+" to lead", in.Leads)
			if err := out.Stop(); err != nil {
				t.Fatal(err)
			}
			out.Wipe()
			if err := out.Start(); err != nil {
				t.Fatal(err)
			}
			ready(t, l)
		}
		c.check(t, l, 150)
	})
}
