package replica

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
)

// load proposes numbered publishes at every node until it is told to end, and
// remembers what was acknowledged.
type traffic struct {
	mu    sync.Mutex
	acked map[message]bool
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func (rg *region) traffic() *traffic {
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{acked: map[message]bool{}, stop: stop}
	rg.tr = tr
	for i, d := range rg.nodes {
		tr.wg.Go(func() {
			for n := uint32(1); ctx.Err() == nil; n++ {
				m := message{rg.base + uint32(i+1), n}
				if o, err := d.propose(numbered(m.publisher, m.n, 200)); err == nil && o.Code < 0x80 && o.Code != home.CodeVoid {
					tr.mu.Lock()
					tr.acked[m] = true
					tr.mu.Unlock()
				}
				time.Sleep(rg.every)
			}
		})
	}
	return tr
}

func (tr *traffic) end() {
	tr.stop()
	tr.wg.Wait()
}

func (tr *traffic) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.acked)
}

// subscribe makes a durable session whose queue gets everything.
func (rg *region) subscribe() {
	rg.t.Helper()
	d := rg.nodes[0]
	o, err := d.propose(&home.Attach{Session: subscriber, Expiry: 0xFFFFFFFF})
	if err != nil {
		rg.t.Fatal(err)
	}
	for _, op := range []home.Op{&home.Subscribe{Session: subscriber, Epoch: o.Epoch, Filters: []home.Subscription{{Filter: "t/#", QoS: 1}}},
		&home.Detach{Session: subscriber, Epoch: o.Epoch, DropWill: true}} {
		if o, err := d.propose(op); err != nil || o.Code != home.CodeOK {
			rg.t.Fatalf("%T: %+v, %v", op, o, err)
		}
	}
}

// check says that everything acknowledged is in the queue, and nothing twice, on
// every copy.
func (rg *region) check(tr *traffic) {
	rg.t.Helper()
	rg.await("equal copies", 20*time.Second, func() bool { return rg.same() })
	for _, d := range rg.nodes {
		seen := map[message]int{}
		last := map[uint32]uint32{}
		for _, q := range d.replica().State().Peek(subscriber, 0, 1<<20) {
			m := q.Message
			if q.Evicted {
				var err error
				if m, err = d.replica().Body(q.Seq); err != nil {
					rg.t.Fatalf("%s: %v", d.name, err)
				}
			}
			x := payloadOf(m.Payload)
			seen[x]++
			if x.n < last[x.publisher] {
				rg.t.Errorf("%s: message %d of %d stands behind %d", d.name, x.n, x.publisher, last[x.publisher])
			}
			last[x.publisher] = x.n
		}
		for m := range tr.acked {
			if seen[m] == 0 {
				rg.t.Errorf("%s: message %v was acknowledged and is lost", d.name, m)
			}
		}
		for m, n := range seen {
			if n > 1 {
				rg.t.Errorf("%s: message %v is there %d times", d.name, m, n)
			}
		}
	}
}

// under runs what is done to a region of three ready nodes under load, then lets
// everything heal and checks.
func under(t *testing.T, opts func(*Options), do func(rg *region)) {
	underLoad(t, 8*time.Millisecond, opts, do)
}

// underLoad is under with a publish of each node every so often.
func underLoad(t *testing.T, every time.Duration, opts func(*Options), do func(rg *region)) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.opts, rg.every = opts, every
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		tr := rg.traffic()
		time.Sleep(300 * time.Millisecond)
		do(rg)
		time.Sleep(300 * time.Millisecond)
		rg.net.HealAll()
		rg.await("three ready nodes again", 60*time.Second, rg.allReady())
		time.Sleep(300 * time.Millisecond)
		rg.await("a hundred acknowledged messages", 20*time.Second, func() bool { return tr.count() >= 100 })
		tr.end()
		rg.check(tr)
	})
}

func (rg *region) others(d *node) (list []*node) {
	for _, o := range rg.nodes {
		if o != d {
			list = append(list, o)
		}
	}
	return list
}

func small(o *Options) {
	o.SnapshotEntries, o.SnapshotBytes, o.TrailingEntries = 100, 64<<10, 10
	o.MemoryBudget = 32 << 10
}

func TestRegion_LeaderKilled(t *testing.T) {
	under(t, nil, func(rg *region) {
		was := rg.leader()
		began := time.Now()
		was.kill()
		rg.await("another leader", 10*time.Second, func() bool { l := rg.leader(); return l != nil && l != was })
		t.Logf("another leader after %s", time.Since(began))
		rg.await("two ready nodes", 10*time.Second, rg.allReady(rg.others(was)...))
		time.Sleep(time.Second)
		was.start()
	})
}

func TestRegion_FollowerKilledAndFarBehind(t *testing.T) {
	under(t, small, func(rg *region) {
		d := rg.others(rg.leader())[0]
		d.kill()
		time.Sleep(3 * time.Second) // the others' logs move on beyond it
		d.start()
	})
}

// However long a node was away, it is served the moment it is back: raft by itself has the leader wait up to ten seconds
// before it tries again.
func TestRegion_NodeAwayForLong(t *testing.T) {
	follower := func(rg *region) *node { return rg.others(rg.leader())[0] }
	for _, c := range []struct {
		name string
		opts func(*Options)
		who  func(*region) *node
	}{
		{"a follower, by log", nil, follower}, {"a follower, by copy", small, follower},
		{"the leader, by log", nil, (*region).leader}, {"the leader, by copy", small, (*region).leader},
	} {
		t.Run(c.name, func(t *testing.T) {
			underLoad(t, 25*time.Millisecond, c.opts, func(rg *region) {
				d := c.who(rg)
				d.kill()
				time.Sleep(23 * time.Second)
				d.start()
				rg.await("the node to be ready", 2*time.Second, d.ready)
			})
		})
	}
}

// A node comes back with an empty disk: it rejoins by itself, as another voter in
// the place of the one that is gone.
func TestRegion_NodeWiped(t *testing.T) {
	under(t, small, func(rg *region) {
		d := rg.leader()
		old := d.replica().core().id
		d.kill()
		rg.await("another leader", 10*time.Second, func() bool { return rg.leader() != nil })
		time.Sleep(2 * time.Second)
		d.wipe()
		d.start()
		rg.await("the wiped node's new vote", 60*time.Second, func() bool {
			l := rg.leader()
			if l == nil {
				return false
			}
			votesNew := false
			for _, s := range l.replica().core().servers() {
				if s.ID == old {
					return false
				}
				if n, _ := splitID(string(s.ID)); string(n) == d.name && votes(l.replica().core().servers(), s.ID) {
					votesNew = true
				}
			}
			return votesNew
		})
	})
}

// The wiped voter of execution [B1]: A and B commit, C is cut off; B loses its
// disk, A dies. C asks B for its vote, which B's former disk gave to A's log: no
// leader may come of it.
func TestRegion_WipedVoterDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		a := rg.leader()
		b, c := rg.others(a)[0], rg.others(a)[1]
		rg.net.Cut(a.name, c.name)
		rg.net.Cut(b.name, c.name)
		if _, err := a.propose(numbered(1, 1, 100)); err != nil {
			t.Fatal(err)
		}
		a.kill()
		b.kill()
		b.wipe()
		b.start()
		rg.net.HealAll()
		for range 40 {
			time.Sleep(500 * time.Millisecond)
			if l := rg.leader(); l != nil {
				t.Fatalf("%s leads with the vote of an empty disk", l.name)
			}
		}
		a.start() // with its disk: now there are two, and the third is let in
		rg.await("three ready nodes", 60*time.Second, rg.allReady())
		if q := rg.leader().replica().State().Peek(subscriber, 0, 10); len(q) != 1 {
			t.Errorf("the acknowledged message is lost: %v", q)
		}
	})
}

// B was away, and C's log has moved on beyond it; A, which led, loses its disk. C has
// everything, but is one vote of three: it needs B, to be elected and to commit, and
// B needs the state of C.
func TestRegion_OneIsBehindAndOneIsWiped(t *testing.T) {
	under(t, small, func(rg *region) {
		a := rg.leader()
		b, c := rg.others(a)[0], rg.others(a)[1]
		last := b.replica().Stats().LogLast
		b.kill()
		rg.await("C's log to move on", 20*time.Second, func() bool { return c.replica().Stats().LogFirst > last+2*logCache })
		a.kill()
		a.wipe()
		b.start()
		rg.await("two of three", 30*time.Second, rg.allReady(b, c))
		a.start()
	})
}

func TestRegion_LeaderCutOff(t *testing.T) {
	under(t, nil, func(rg *region) {
		was := rg.leader()
		for _, o := range rg.others(was) {
			rg.net.Cut(was.name, o.name)
		}
		rg.await("the others' leader", 10*time.Second, func() bool {
			for _, o := range rg.others(was) {
				if r := o.replica(); r != nil && r.Leads() {
					return true
				}
			}
			return false
		})
		time.Sleep(700 * time.Millisecond)
		if r := was.replica(); r != nil && r.Fresh() {
			t.Error("a node that was cut off speaks for its sessions")
		}
		time.Sleep(4 * time.Second) // it is declared dead
	})
}

func TestRegion_FollowerCutOneWay(t *testing.T) {
	for _, out := range []bool{false, true} {
		t.Run(fmt.Sprint("outgoing ", out), func(t *testing.T) {
			under(t, nil, func(rg *region) {
				d := rg.others(rg.leader())[0]
				for _, o := range rg.others(d) {
					if out {
						rg.net.CutOneWay(d.name, o.name)
					} else {
						rg.net.CutOneWay(o.name, d.name)
					}
				}
				time.Sleep(2 * time.Second)
			})
		})
	}
}

func TestRegion_AllKilled(t *testing.T) {
	under(t, small, func(rg *region) {
		for _, d := range rg.nodes {
			d.kill()
		}
		time.Sleep(10 * time.Minute)
		for _, d := range rg.nodes {
			d.start()
		}
		rg.await("ready nodes", 30*time.Second, rg.allReady())
	})
}

// A planned stop hands the leadership over: nobody waits for an election.
func TestRegion_RollingRestart(t *testing.T) {
	under(t, nil, func(rg *region) {
		for _, d := range rg.nodes {
			d.stop()
			d.start()
			rg.await("ready nodes", 30*time.Second, rg.allReady())
		}
	})
}

// A leader whose disk hangs gives way, though it still hears everybody. The
// others go on, and it comes back with its disk.
func TestRegion_LeaderDiskHangs(t *testing.T) {
	under(t, nil, func(rg *region) {
		was := rg.leader()
		release := was.hang()
		rg.await("another leader", 10*time.Second, func() bool {
			for _, o := range rg.others(was) {
				if r := o.replica(); r != nil && r.Leads() {
					return true
				}
			}
			return false
		})
		time.Sleep(time.Second)
		release()
	})
}

// Of two members one can leave only when another takes its place.
func TestRegion_Leave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		l := rg.leader()
		out := rg.others(l)[0]
		var no *RefusedError
		if err := l.replica().core().leave(t.Context(), home.NodeID(out.name), true); !asRefused(err, &no) {
			t.Errorf("leave below the configured voters: %v", err)
		}
		if err := l.replica().core().forceLeave(t.Context(), home.NodeID(out.name), true); !asRefused(err, &no) {
			t.Errorf("force-leave of a living node: %v", err)
		}
		rg.grow("eu-4")
		four := rg.nodes[3]
		four.start()
		rg.await("a fourth", 30*time.Second, rg.allReady())
		if err := l.replica().core().leave(t.Context(), home.NodeID(out.name), false); err != nil {
			t.Fatal(err)
		}
		if _, err := l.replica().core().voter(home.NodeID(four.name)); err != nil {
			t.Errorf("the fourth did not get the vote: %v", err)
		}
		if err := l.replica().core().transfer(t.Context(), home.NodeID(four.name)); err != nil {
			t.Error(err)
		}
		rg.await("the fourth to lead", 5*time.Second, func() bool { return rg.leader() == four })
	})
}

// What a follower has under way fills its stream to a leader that is gone without a
// word. It must not wait for that stream to break before it goes to the next one.
func TestRegion_LeaderGone_WithItsStreamsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		rg.subscribe()
		was := rg.leader()
		d := rg.others(was)[0]
		for _, o := range rg.others(was) {
			rg.net.Cut(was.name, o.name)
		}
		began := time.Now()
		const all = 60
		done := make(chan error, all)
		for n := range uint32(all) {
			if err := d.replica().Propose(numbered(9, n, 100<<10), func(_ home.Outcome, err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
		}
		for range all {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > sendTimeout/2 {
			t.Errorf("it took %v", took)
		}
		rg.net.HealAll()
		rg.await("three ready nodes again", 60*time.Second, rg.allReady())
	})
}

// The leadership cannot go to a node that is down: that is refused.
func TestRegion_TransferToADeadNode(t *testing.T) {
	under(t, small, func(rg *region) {
		was := rg.leader()
		heir := rg.others(was)[0]
		heir.kill()
		time.Sleep(2 * heardLately)
		var refused *RefusedError
		if err := was.replica().Change(rg.t.Context(), "transfer", home.NodeID(heir.name), false); !errors.As(err, &refused) {
			rg.t.Errorf("transfer to a node that is down: %v", err)
		}
		heir.start()
	})
}
