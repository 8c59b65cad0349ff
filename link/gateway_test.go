package link

import (
	"testing"
	"time"

	"causeway/internal/home"
)

// electionTakes is for how long a region whose gateway died has none.
const electionTakes = 400 * time.Millisecond

// pairOf starts regions eu and us with a subscriber each, of which the first
// node is the gateway.
func pairOf(t *testing.T, w *world, fromEU, fromUS Peer) (eu, us *region) {
	t.Helper()
	eu, us = w.members("eu", fromEU), w.members("us", fromUS)
	eu.all[0].begin()
	us.all[0].begin()
	eu.subscribe("dev", "u/#")
	us.subscribe("dev", "e/#")
	eventually(t, 20*time.Second, "both know", func() bool { return eu.knows(us) && us.knows(eu) })
	return eu, us
}

// traffic publishes in both regions, all the time.
type traffic struct {
	eu, us *region
	n      int
}

func (l *traffic) until(done func() bool) {
	for !done() {
		l.eu.publish("e/x", l.n, l.n+1)
		l.us.publish("u/x", l.n, l.n+1)
		l.n++
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *traffic) during(d time.Duration) {
	end := time.Now().Add(d)
	l.until(func() bool { return time.Now().After(end) })
}

// check waits for everything, and for what would come twice.
func (l *traffic) check(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "all to arrive", func() bool { return l.eu.queued() >= l.n && l.us.queued() >= l.n })
	time.Sleep(10 * time.Second)
	same(t, l.us.queue("dev"), numbered("eu", "e/x", 0, l.n))
	same(t, l.eu.queue("dev"), numbered("us", "u/x", 0, l.n))
}

// The gateways of two regions move under load, again and again, half of them
// without a word: nothing is lost, doubled or out of order.
func TestGateway_MovesUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name           string
		fromEU, fromUS Peer
	}{
		{"one side dials", dialAll("us"), peerFrom("eu")},
		{"both sides dial", dialAll("us"), dialAll("eu")},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				eu, us := pairOf(t, w, c.fromEU, c.fromUS)
				defer eu.close()
				defer us.close()
				l := &traffic{eu: eu, us: us}
				l.during(time.Second)
				at := map[*region]int{}
				for i := range 12 {
					r, other := eu, us
					if i%2 == 1 {
						r, other = us, eu
					}
					old, word := r.all[at[r]], "stopped"
					lost, last := time.Now(), l.n
					if i%4 >= 2 {
						word = "killed"
						old.kill(other)
						l.during(electionTakes)
					} else {
						old.stop()
					}
					at[r] = (at[r] + 1) % nodesOfRegion
					r.all[at[r]].begin()
					// What was published after the loss comes after what was on its way.
					l.until(func() bool { return other.queued() > last || time.Since(lost) > 20*time.Second })
					t.Logf("gateway of %s %s: %v to the first message published since", r.name, word, time.Since(lost))
					l.during(2 * time.Second)
				}
				l.check(t)
			})
		})
	}
}

// For ten seconds no node has the links of a region, then one has: nodes that do
// not listen, and nodes that listen and refuse.
func TestGateway_NoneForAWhile(t *testing.T) {
	for _, listening := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 20*time.Millisecond)
			eu, us := pairOf(t, w, dialAll("us"), peerFrom("eu"))
			defer eu.close()
			defer us.close()
			us.all[0].kill(eu)
			if listening {
				us.all[0].sure.Store(false)
				for _, n := range us.all {
					n.listen()
				}
			}
			eu.publish("e/x", 0, 100)
			time.Sleep(10 * time.Second)
			if s := eu.all[0].link(); s.State == Up || us.queued() > 0 {
				t.Fatalf("the link is %s, %d messages came", s.State, us.queued())
			}
			if us.all[2].sure.Store(true); !listening {
				us.all[2].listen()
			}
			took := eventually(t, dialMost+5*time.Second, "the link to be used again", func() bool { return us.queued() > 0 })
			t.Logf("others listen: %v; %v from the first node that takes the link to the first message", listening, took)
			eventually(t, time.Second, "the rest to follow", func() bool { return us.queued() == 100 })
			same(t, us.queue("dev"), numbered("eu", "e/x", 0, 100))
		})
	}
}

// All nodes of a region answer, one has its links: the dialler finds it in one
// round, whoever answers first.
func TestGateway_FoundInOneRound(t *testing.T) {
	for gateway := range nodesOfRegion {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 20*time.Millisecond)
			eu, us := w.members("eu", dialAll("us")), w.members("us", peerFrom("eu"))
			defer eu.close()
			defer us.close()
			us.all[gateway].sure.Store(true)
			for _, n := range us.all {
				n.listen()
			}
			eu.all[0].begin()
			eventually(t, 10*time.Second, "up", func() bool { return eu.all[0].link().State == Up })
			if n := eu.all[0].link().Counters.DialFailures; n != 0 {
				t.Errorf("%d rounds failed before the gateway was found", n)
			}
			for i, n := range us.all {
				if got := n.link().Counters.Tunnels; (got == 1) != (i == gateway) {
					t.Errorf("node %d has opened %d tunnels; the gateway is node %d", i, got, gateway)
				}
			}
		})
	}
}

// A gateway is cut off from its region with a disk that hangs: it does not hear
// that it is none. It goes on beside the new one, with a copy that falls behind.
// It gives its tunnel up and opens no other, so that what it knows of the past
// does not undo what the peer was told since: a filter that the peer knew stays
// wanted.
func TestGateway_StaleBesideTheNewOne(t *testing.T) {
	for _, c := range []struct {
		name           string
		fromEU, fromUS Peer
	}{
		{"its region dials", dialAll("us"), peerFrom("eu")},
		{"its region is dialled", peerFrom("us"), dialAll("eu")},
		{"both dial", dialAll("us"), dialAll("eu")},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				eu, us := pairOf(t, w, c.fromEU, c.fromUS)
				defer eu.close()
				defer us.close()
				stale, next := eu.all[2], eu.all[1]
				eu.all[0].stop()
				stale.begin()
				eventually(t, 20*time.Second, "the link to be up", func() bool { return stale.link().State == Up })
				stale.hold(true)
				stale.sure.Store(false)
				time.Sleep(electionTakes)
				next.begin()
				took := eventually(t, 20*time.Second, "the new one to have the link", func() bool { return next.link().State == Up })
				t.Logf("the new gateway has the link after %v", took)
				eu.subscribe("late", "late/#")
				eventually(t, 20*time.Second, "us to know", func() bool { return us.knows(eu) })
				tunnels := us.all[0].link().Counters.Tunnels
				for i := range 1000 {
					us.publish("late/x", i, i+1)
					if !us.knows(eu) {
						t.Fatalf("after %d messages the peer was told of the past", i)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if n := stale.link().Counters.Tunnels; n != 1 {
					t.Errorf("the stale one had %d tunnels, want the first one only", n)
				}
				if n := us.all[0].link().Counters.Tunnels; n != tunnels {
					t.Errorf("the peer had %d more tunnels while nothing happened", n-tunnels)
				}
				if s := stale.link(); s.Counters.DialFailures != 0 || s.State == Up || c.fromEU.Dial != nil && s.Reason != errNotGateway("eu").Error() {
					t.Errorf("the stale one dialled %d times in vain and is %s: %s", s.Counters.DialFailures, s.State, s.Reason)
				}
				stale.hold(false)
				eventually(t, 20*time.Second, "all to arrive", func() bool { return eu.queued() >= 1000 })
				same(t, eu.queue("late"), numbered("us", "late/x", 0, 1000))
			})
		})
	}
}

// A gateway that is not sure for a moment, as under load, keeps its tunnel.
func TestGateway_UnsureForAMoment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		eu, us := pairOf(t, w, dialAll("us"), peerFrom("eu"))
		defer eu.close()
		defer us.close()
		for range 5 {
			eu.all[0].sure.Store(false)
			time.Sleep(gatewayLapse - 2*gatewayPoll)
			eu.all[0].sure.Store(true)
			time.Sleep(2 * gatewayPoll)
		}
		if n := eu.all[0].link().Counters.Tunnels; n != 1 {
			t.Errorf("%d tunnels, want 1", n)
		}
		eu.all[0].sure.Store(false)
		eventually(t, gatewayLapse+3*gatewayPoll, "the tunnel to end", func() bool { return us.all[0].link().State != Up })
		if s := us.all[0].link(); s.Reason == "" {
			t.Error("the peer does not know why")
		} else {
			t.Logf("the peer's reason: %s", s.Reason)
		}
	})
}

var _ home.Sink = memberSink{}
