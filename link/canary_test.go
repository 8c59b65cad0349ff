package link

import (
	"bufio"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

const canaryEvery = 2 * time.Second

func withCanaries(o *tuning) { o.CanaryEvery = canaryEvery }

// pair are two regions whose links have canaries.
func pairWithCanaries(w *world, fromEU, fromUS Peer) (eu, us *node) {
	us = w.tuned("us", withCanaries, fromUS)
	eu = w.tuned("eu", withCanaries, fromEU)
	return eu, us
}

// young says whether the newest canary is as young as one of a link that works.
func young(age time.Duration) bool { return age < canaryEvery+time.Second }

// On an idle link canaries cross in both directions whatever the policies say, in
// every class, and are no messages to anyone.
func TestCanary_CrossesUnderAnyPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		eu, us := pairWithCanaries(w, peerTo("us"), peerFrom("eu"))
		us.home.do(t, &home.SetPeer{Peer: "eu", In: []string{"only/this"}, Never: []string{"#"}, InPrefix: "eu/"})
		eu.home.do(t, &home.SetPeer{Peer: "us", Never: []string{"#"}, Classes: []home.Class{{Name: "cmd", Filters: []string{"cmd/#"}}}})
		us.home.subscribe(t, "dev", "#", "$canary/#", "+")
		up(t, eu, "us")
		for range 10 {
			time.Sleep(5 * time.Second)
			for _, s := range []Status{eu.status("us"), us.status("eu")} {
				c := s.Canary
				if !c.Known || !young(c.OutAge) || !young(c.InAge) || c.RoundTrip < 40*time.Millisecond || c.RoundTrip > 100*time.Millisecond {
					t.Fatalf("canary of the link to %s: %+v", s.Peer, c)
				}
				if s.LagMessages != 0 || s.LagAge != 0 || s.Counters.MessagesOut != 0 || s.Counters.MessagesIn != 0 {
					t.Fatalf("the link to %s counts canaries as messages: %+v", s.Peer, s)
				}
			}
		}
		if n := eu.status("us").Counters.CanariesOut; n < 20 || n > 30 {
			t.Errorf("%d canaries in 50 s", n)
		}
		same(t, us.home.queue(t, "dev"), nil)
		synctest.Wait() // one may be under way just now
		if st := us.home.st.Status(); st.Seq != home.Seq(us.status("eu").Counters.CanariesOut) {
			t.Errorf("the receiving home numbered %d messages, and sent %d canaries", st.Seq, us.status("eu").Counters.CanariesOut)
		}
		eu.home.spill()
		if len(eu.home.kept) > 10 {
			t.Errorf("%d keys are left of canaries that crossed", len(eu.home.kept))
		}
	})
}

// Links that are up and forward nothing, in the ways they can.
func TestCanary_GrowsWhileTheTunnelIsUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		break_ func(t *testing.T, eu, us *node)
		mend   func(eu, us *node)
		// which ages grow
		euOut, euIn, usOut, usIn bool
	}{
		{"the receiver's home does not commit", func(_ *testing.T, _, us *node) { us.home.hold(true) }, func(_, us *node) { us.home.hold(false) },
			true, true, true, true},
		{"the sender does not see its spool grow", func(_ *testing.T, eu, _ *node) { eu.manager().linkWith("us").senders.Store(nil) }, nil,
			true, false, false, true},
		{"one class of two is held", func(t *testing.T, eu, _ *node) {
			eu.home.do(t, &home.SetPeer{Peer: "us", Classes: []home.Class{{Name: "held", Filters: []string{"held/#"}}}})
			eu.manager().linkWith("us").current().senders.add(&sender{t: eu.manager().linkWith("us").current(), class: "held",
				grown: make(chan struct{}, 1), moved: make(chan struct{}, 1), cur: make(chan wire.Cursor, 1), trims: make(chan struct{}, 1)})
		}, nil, true, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				eu, us := pairWithCanaries(w, peerTo("us"), peerFrom("eu"))
				eventually(t, 5*time.Second, "canaries to cross", func() bool {
					return eu.status("us").Canary.RoundTrip > 0 && us.status("eu").Canary.RoundTrip > 0
				})
				c.break_(t, eu, us)
				time.Sleep(20 * time.Second)
				e, u := eu.status("us"), us.status("eu")
				if e.State != Up || u.State != Up {
					t.Fatalf("the link is %s and %s: %s; the fault that this is about leaves it up", e.State, u.State, e.Reason)
				}
				for _, x := range []struct {
					what  string
					age   time.Duration
					grows bool
				}{{"eu out", e.Canary.OutAge, c.euOut}, {"eu in", e.Canary.InAge, c.euIn}, {"us out", u.Canary.OutAge, c.usOut}, {"us in", u.Canary.InAge, c.usIn}} {
					if grew := x.age > 15*time.Second; grew != x.grows || !grew && !young(x.age) {
						t.Errorf("%s: %v old", x.what, x.age)
					}
				}
				if c.mend != nil {
					c.mend(eu, us)
					eventually(t, 5*time.Second, "canaries to cross again", func() bool {
						return young(eu.status("us").Canary.OutAge) && young(us.status("eu").Canary.InAge)
					})
				}
			})
		})
	}
}

// A peer that takes everything and acknowledges nothing; and one of a version that
// knows no canaries: it is sent none, and nothing is said of it.
func TestCanary_PeerThatAcknowledgesNothing(t *testing.T) {
	for _, features := range []uint64{wire.Features, wire.Features &^ wire.FeatureCanary} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 20*time.Millisecond)
			defer w.close()
			eu := w.tuned("eu", withCanaries, peerFrom("us"))
			s := w.stranger(t, "us", "eu")
			defer s.close()
			h := helloOf("us")
			h.Features = features
			s.open(h)
			frames := make(chan wire.Frame, 16)
			go s.takeFrames(frames)
			time.Sleep(20 * time.Second)
			c := eu.status("us")
			if features&wire.FeatureCanary == 0 {
				if c.Canary.Known || c.Counters.CanariesOut != 0 || len(frames) > 0 {
					t.Errorf("%+v, %d sent, %d frames, to a peer that knows no canaries", c.Canary, c.Counters.CanariesOut, len(frames))
				}
				return
			}
			if c.State != Up || c.Canary.OutAge < 15*time.Second || c.Canary.RoundTrip != 0 {
				t.Errorf("%s, %+v", c.State, c.Canary)
			}
			if c.Counters.CanariesOut != 1 || len(frames) != 1 {
				t.Errorf("%d canaries were put into the log, %d frames sent, though the first was never acknowledged", c.Counters.CanariesOut, len(frames))
			}
		})
	}
}

// takeFrames answers spool streams with a cursor, reads what comes on them, and says
// nothing more.
func (s *stranger) takeFrames(out chan<- wire.Frame) {
	for {
		in, err := s.c.receive(context.Background())
		if err != nil {
			return
		}
		r := bufio.NewReader(in)
		head, err := wire.ReadStreamHead(r)
		if err != nil || head.Kind != wire.StreamSpool {
			continue
		}
		_, _ = s.s.Write(wire.AppendControl(nil, &wire.Cursor{Source: head.Source, Class: head.Class}))
		go func() {
			for d := wire.NewDecoder(1 << 20); ; {
				f, err := d.Read(r)
				if err != nil {
					return
				}
				out <- f
			}
		}()
	}
}

// The outage is in the age, the first canary after it ends it, and one that the
// spool lost meanwhile holds up no other.
func TestCanary_OverAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		eu, us := pairWithCanaries(w, peerTo("us"), peerFrom("eu"))
		us.home.subscribe(t, "dev", "a")
		wantsKnown(t, eu, us)
		eu.home.do(t, &home.SetPeer{Peer: "us", SpoolBytes: 400})
		for range 3 {
			us.home.hold(true) // one is in the spool when the tunnel goes
			time.Sleep(3 * time.Second)
			w.wan.setCut(ip("eu"), ip("us"), true)
			us.home.hold(false)
			time.Sleep(10 * time.Second)
			eu.home.publish(t, "a", 0, 200) // the spool takes none of it but the newest
			time.Sleep(20 * time.Second)
			if c := eu.status("us").Canary; c.OutAge < 30*time.Second {
				t.Fatalf("in the outage: %+v", c)
			}
			w.wan.setCut(ip("eu"), ip("us"), false)
			eventually(t, 20*time.Second, "canaries to cross again", func() bool {
				return young(eu.status("us").Canary.OutAge) && young(us.status("eu").Canary.InAge)
			})
		}
	})
}

// Canaries go on from whichever node has the link; who lost it says nothing.
func TestCanary_MovesWithTheGateway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		eu, us := pairOf(t, w, dialAll("us"), dialAll("eu"))
		defer eu.close()
		defer us.close()
		for _, n := range append(eu.all, us.all...) {
			n.m.o.CanaryEvery = canaryEvery
		}
		for i, next := range []int{1, 2, 1} {
			now := eu.all[[]int{0, 1, 2}[i]]
			now.sure.Store(false)
			eventually(t, 10*time.Second, "the former gateway to have nothing to say", func() bool { return now.link().State != Up && !now.link().Canary.Known })
			n := eu.all[next]
			n.sure.Store(true)
			if n.stop == nil {
				n.listen()
			}
			eventually(t, 15*time.Second, "canaries to cross from the next one", func() bool {
				c := n.link().Canary
				return c.Known && c.RoundTrip > 0 && young(c.OutAge) && young(c.InAge) && young(us.all[0].link().Canary.InAge)
			})
		}
	})
}
