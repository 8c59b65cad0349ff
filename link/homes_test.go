package link

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// promoted is a log that goes on at a new epoch, of another host.
func promoted(t *testing.T, log [][]byte, epoch home.Epoch) [][]byte {
	t.Helper()
	last, err := home.DecodeRecord(log[len(log)-1])
	if err != nil {
		t.Fatal(err)
	}
	rec := home.Record{Home: last.Home, Time: last.Time + 1, Entries: []home.Entry{{Ops: []home.Op{&home.Promote{Epoch: epoch}}}}}
	return append(append([][]byte(nil), log...), rec.Append(nil))
}

// siteSink tells a Manager, as a replica does.
type siteSink struct {
	nothing
	mu sync.Mutex
	m  *Manager
}

func (s *siteSink) manager() *Manager {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m
}

func (s *siteSink) Spooled(p home.ID) {
	if m := s.manager(); m != nil {
		m.Spooled(p)
	}
}

func (s *siteSink) Wanted() {
	if m := s.manager(); m != nil {
		m.Wanted()
	}
}

// hosts adds a copy of a home to a node, opened from a log.
func (n *node) hosts(id string, role Role, log [][]byte, o Options) (*site, *testHome) {
	sink := &siteSink{}
	h := openHome(n.t, id, log, sink)
	o.Home = h
	s := n.also(id, role, o)
	sink.mu.Lock()
	sink.m = s.m
	sink.mu.Unlock()
	end := s.stop
	s.stop = sync.OnceFunc(func() { end(); h.stop() })
	return s, h
}

// level makes a home know of copies.
func (n *node) level() { n.home.do(n.t, &home.Raise{Level: 2}) }

func (s *site) status(t *testing.T, peer string) Status {
	t.Helper()
	for _, st := range s.m.Status() {
		if st.Peer == home.ID(peer) {
			return st
		}
	}
	t.Fatalf("no link to %s", peer)
	return Status{}
}

// takenOver is eu's home in region us: eu is gone, and ap was wanted messages of by both.
type takenOver struct {
	w          *world
	eu, us, ap *node
	log        [][]byte // eu's, at the end
	site       *site    // eu's home at us
	home       *testHome
	had        int // messages on events/a that eu numbered
	heard      chan home.Epoch
}

// takeOver loses eu, which has messages for ap that ap never had; of eu's log us has but
// the first half.
func takeOver(t *testing.T, w *world, apDials bool) *takenOver {
	x := &takenOver{w: w, had: 200, heard: make(chan home.Epoch, 100)}
	from, to := peerFrom, peerTo
	euPeer, apPeer := to("ap"), from("eu")
	if apDials {
		euPeer, apPeer = from("ap"), to("eu")
	}
	x.ap = w.tuned("ap", standsBy("eu", "us"), apPeer, peerTo("us"))
	x.us = w.tuned("us", standsBy("eu", "us"), peerFrom("eu"), peerFrom("ap"))
	x.eu = w.tuned("eu", func(o *tuning) {
		standsBy("eu", "us")(o)
		o.Heard = func(_ home.ID, e home.Epoch, _ string) {
			select {
			case x.heard <- e:
			default:
			}
		}
	}, euPeer, peerTo("us"))
	x.eu.level()
	x.ap.home.subscribe(t, "dev", "events/#")
	wantsKnown(t, x.eu, x.ap)
	x.eu.home.publish(t, "events/a", 0, x.had/2)
	drained(t, x.eu, "ap", 10*time.Second)
	shipped := len(x.eu.home.log)
	w.wan.setCut(ip("eu"), ip("ap"), true)
	x.eu.home.publish(t, "events/a", x.had/2, x.had)
	x.log = x.eu.crash()
	w.wan.setCut(ip("eu"), ip("ap"), true)
	w.wan.setCut(ip("eu"), ip("us"), true)
	x.site, x.home = x.us.hosts("eu", RoleHost, promoted(t, x.log[:shipped], home.Epoch{Number: 2, Host: "us"}),
		Options{Peers: []Peer{peerFrom("us"), peerTo("ap")}})
	return x
}

// A peer home moved to its standby: the link goes there, what is wanted is told anew, and
// what crosses comes once, in order.
func TestHomes_LinkFollowsThePeerHome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		x := takeOver(t, w, true)
		took := eventually(t, 20*time.Second, "ap's link goes to us", func() bool { s := x.ap.status("eu"); return s.State == Up && s.Address == "10.0.0.2:7444" })
		t.Logf("moved after %v", took)
		x.home.publish(t, "events/a", 1000, 1100)
		eventually(t, 10*time.Second, "all crossed", func() bool { return x.site.status(t, "ap").LagMessages == 0 })
		same(t, x.ap.home.queue(t, "dev"), append(numbered("eu", "events/a", 0, x.had/2), numbered("eu", "events/a", 1000, 1100)...))
		x.eu.home = openHome(t, "eu", x.log, (*nodeSink)(x.eu)) // for close
		x.eu.cancel, x.eu.stopped = func() {}, closed()
	})
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// The lost region comes back, fenced. What it still had for others drains, whoever may
// dial, beside what its successor sends; then it has nothing left.
func TestHomes_FencedCopyDrains(t *testing.T) {
	for _, apDials := range []bool{true, false} {
		t.Run(fmt.Sprint("ap dials: ", apDials), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				x := takeOver(t, w, apDials)
				x.home.publish(t, "events/a", 1000, 1100)
				eventually(t, 20*time.Second, "all of the new epoch crossed", func() bool { return x.site.status(t, "ap").LagMessages == 0 })
				fenced := x.eu.tune
				x.eu.tune = func(o *tuning) { fenced(o); o.Role = func() Role { return RoleFenced } }
				x.eu.start(x.log)
				w.wan.setCut(ip("eu"), ip("ap"), false)
				w.wan.setCut(ip("eu"), ip("us"), false)
				took := eventually(t, 30*time.Second, "drained", func() bool { left, _ := x.eu.m.Drained(); return left })
				t.Logf("drained after %v", took)
				want := append(numbered("eu", "events/a", 0, x.had/2), numbered("eu", "events/a", 1000, 1100)...)
				same(t, x.ap.home.queue(t, "dev"), append(want, numbered("eu", "events/a", x.had/2, x.had)...))
				if s := x.ap.status("eu"); s.State != Up || s.Address != "10.0.0.2:7444" {
					t.Errorf("the link with the home's host: %+v", s)
				}
				select {
				case e := <-x.heard:
					if e != (home.Epoch{Number: 2, Host: "us"}) {
						t.Errorf("eu heard of %s", e)
					}
				default:
					t.Error("eu heard of no higher epoch")
				}
			})
		})
	}
}

// The lost region comes back and believes that it hosts. Nobody takes anything of it, and
// it is told.
func TestHomes_LowerEpochIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		x := takeOver(t, w, false)
		eventually(t, 20*time.Second, "ap's link goes to us", func() bool { return x.ap.status("eu").State == Up })
		x.eu.start(x.log)
		w.wan.setCut(ip("eu"), ip("ap"), false) // us stays cut off: ap tells
		took := eventually(t, 20*time.Second, "eu hears", func() bool { return len(x.heard) > 0 })
		t.Logf("heard after %v", took)
		time.Sleep(5 * time.Second)
		if s := x.eu.status("ap"); s.State == Up || !strings.Contains(s.Reason, "epoch 2@us") {
			t.Errorf("eu's link is %s: %q", s.State, s.Reason)
		}
		if s := x.ap.status("eu"); s.State != Up || s.Address != "10.0.0.2:7444" {
			t.Errorf("ap's link is %s, to %s", s.State, s.Address)
		}
	})
}

// Two homes that one region hosts have an ordinary link, over the node's own sockets.
func TestHomes_LinkOfOneRegionsHomes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		x := takeOver(t, w, true)
		x.us.home.subscribe(t, "local", "events/#")
		eventually(t, 20*time.Second, "up", func() bool { return x.site.status(t, "us").State == Up && x.us.status("eu").State == Up })
		eventually(t, 20*time.Second, "wanted", func() bool { info, _ := x.home.st.Peer("us"); return info.Filters > 0 })
		x.home.publish(t, "events/a", 2000, 2100)
		eventually(t, 10*time.Second, "all crossed", func() bool { return x.site.status(t, "us").LagMessages == 0 })
		same(t, x.us.home.queue(t, "local"), numbered("eu", "events/a", 2000, 2100))
		if n := x.us.status("eu").Counters.Tunnels; n > 2 {
			t.Errorf("%d tunnels: two ends of one node replace each other", n)
		}
		x.eu.home = openHome(t, "eu", x.log, (*nodeSink)(x.eu)) // for close
		x.eu.cancel, x.eu.stopped = func() {}, closed()
	})
}

// A region speaks for the home that it is named for, and for those it stands by for.
func TestHomes_WrongRegionIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, region string
		standbys     []string
		want         string
	}{
		{"a standby", "us", []string{"us"}, ""},
		{"another region", "ap", []string{"us"}, `region "ap" does not speak for home "eu"`},
		{"without standbys", "us", nil, `region "us" does not speak for home "eu"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Millisecond)
				defer w.close()
				sa := w.tuned("sa", standsBy("eu", c.standbys...), peerFrom("eu"))
				s := w.stranger(t, c.region, "sa")
				defer s.close()
				_, answer := s.open(wire.Hello{Min: 1, Max: 1, Features: wire.Features, Region: c.region, Home: "eu",
					Epoch: wire.Epoch{Number: 2, Host: c.region}, Instance: 9, MaxMessage: 1 << 20, To: "sa"})
				g, refused := answer.(*wire.Goodbye)
				switch {
				case c.want == "" && refused:
					t.Errorf("refused: %s", g.Reason)
				case c.want != "" && (!refused || !strings.Contains(g.Reason, c.want)):
					t.Errorf("answer %+v, want %q", answer, c.want)
				}
				known := sa.m.ep.knownEpoch("eu")
				if believed := known.Number == 2; believed != (c.want == "") {
					t.Errorf("the epoch that is known is %s", known)
				}
			})
		})
	}
}

// A peer of a version that knows nothing of copies means the home of our region.
func TestHomes_OlderPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.tuned("eu", standsBy("ap", "eu"), peerFrom("us"))
		sb := newStandby("ap")
		defer func() { sb.stop(); <-sb.done }()
		eu.also("ap", RoleStandby, Options{Home: standbyHome{sb}, Standby: sb})
		s := w.stranger(t, "us", "eu")
		defer s.close()
		hello, answer := s.open(wire.Hello{Min: 1, Max: 1, Features: wire.Features &^ wire.FeatureHomes, Region: "us", Home: "us",
			Epoch: wire.Epoch{Number: 1, Host: "us"}, Instance: 9, MaxMessage: 1 << 20})
		if _, ok := answer.(*wire.Welcome); !ok || hello.Home != "eu" {
			t.Fatalf("hello %+v, answer %+v", hello, answer)
		}
		up(t, eu, "us")
		if _, err := eu.m.Call(context.Background(), "us", 1, nil); err == nil || !strings.Contains(err.Error(), ErrNoTunnel.Error()) {
			t.Errorf("a call to it: %v", err)
		}
	})
}

// A copy that is not what it was ends its tunnels, and has those of what it is.
func TestHomes_RoleChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		ap := w.tuned("ap", standsBy("eu", "us"), peerTo("us"), peerTo("eu"))
		us := w.tuned("us", standsBy("eu", "us"), peerFrom("eu"), peerFrom("ap"))
		s, _ := us.hosts("eu", RoleStandby, promoted(t, ap.level2("eu"), home.Epoch{Number: 2, Host: "us"}), Options{Peers: []Peer{peerFrom("ap")}, Standby: noStandby{}})
		time.Sleep(10 * time.Second)
		if st := ap.status("eu"); st.State == Up || s.status(t, "ap").State == Up {
			t.Errorf("a copy that stands by has a link: %+v", st)
		}
		s.set(RoleHost)
		took := eventually(t, 15*time.Second, "up", func() bool { return ap.status("eu").State == Up })
		t.Logf("up %v after the promotion", took)
		s.set(RoleFenced)
		eventually(t, 5*time.Second, "down", func() bool { return ap.status("eu").State != Up })
	})
}

// level2 is the log of a home that nobody wrote to.
func (n *node) level2(id string) [][]byte {
	h := openHome(n.t, id, nil, nothing{})
	h.do(n.t, &home.SetPeer{Peer: "ap"})
	h.do(n.t, &home.Raise{Level: 2})
	return h.stop()
}

// noStandby takes nothing.
type noStandby struct{ Standby }

func (noStandby) Position() (home.CopyPosition, error) { return home.CopyPosition{}, nil }
func (noStandby) WaitPosition(ctx context.Context, _ uint64) (home.CopyPosition, error) {
	<-ctx.Done()
	return home.CopyPosition{}, ctx.Err()
}
