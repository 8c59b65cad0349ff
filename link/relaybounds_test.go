package link

import (
	"bufio"
	"context"
	"strings"
	"testing"
	"time"

	"causeway/link/wire"
)

// spliced is eu and us, by hand, with a stream between them that ap passes on.
type spliced struct {
	w      *world
	ap     *node
	eu, us *stranger
}

func handmade(t *testing.T, tune func(*tuning)) *spliced {
	t.Helper()
	s := &spliced{w: newWorld(t, 5*time.Millisecond)}
	s.ap = s.w.tuned("ap", func(o *tuning) { relays(o); tune(o) }, peerFrom("eu"), peerFrom("us"))
	s.eu, s.us = s.w.stranger(t, "eu", "ap"), s.w.stranger(t, "us", "ap")
	for name, end := range map[string]*stranger{"eu": s.eu, "us": s.us} {
		h := helloOf(name)
		h.Features = wire.FeatureRelay // of the rest it speaks nothing
		end.open(h)
	}
	up(t, s.ap, "eu")
	up(t, s.ap, "us")
	return s
}

func (s *spliced) close() {
	s.eu.close()
	s.us.close()
	s.w.close()
}

// stream opens one from eu to us.
func (s *spliced) stream(t *testing.T) (eu, us duplex) {
	t.Helper()
	ctx := context.Background()
	eu, err := s.eu.c.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	head := wire.StreamHead{Kind: wire.StreamRelay, Path: wire.RelayPath{From: "eu", To: "us", Hops: 1}}
	if _, err := eu.Write(head.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if us, err = s.us.c.accept(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ReadStreamHead(bufio.NewReader(us)); err != nil || got.Path != (wire.RelayPath{From: "eu", To: "us"}) {
		t.Fatalf("us is asked %+v, %v; want one hop less", got, err)
	}
	return eu, us
}

func (s *spliced) open() int {
	if r := s.ap.status("eu").Relayed; len(r) > 0 {
		return r[0].Open
	}
	return 0
}

// told is what the peer says that it wants, from its first change on.
func (s *stranger) told() <-chan wire.InterestDelta {
	deltas := make(chan wire.InterestDelta, 16)
	go func() {
		in, err := s.c.receive(context.Background())
		if err != nil {
			return
		}
		r := bufio.NewReader(in)
		_, err = wire.ReadStreamHead(r)
		for err == nil {
			var m wire.Control
			if m, err = wire.ReadControl(r); err == nil {
				if d, ok := m.(*wire.InterestDelta); ok {
					deltas <- *d
				}
			}
		}
	}()
	return deltas
}

// An end that takes nothing holds the other one back by the streams' windows, and is
// given up in time. The relay's own traffic with both goes on.
func TestRelay_EndThatTakesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := handmade(t, func(o *tuning) { o.StreamWindow, o.ConnWindow = 1<<20, 4<<20 })
		defer s.close()
		told := map[string]<-chan wire.InterestDelta{"eu": s.eu.told(), "us": s.us.told()}
		eu, us := s.stream(t)
		wrote := make(chan int, 1)
		go func() {
			n, _ := eu.Write(make([]byte, 64<<20))
			wrote <- n
		}()
		time.Sleep(5 * time.Second)
		bytes := s.ap.status("eu").Relayed[0].Bytes
		if most := uint64(17 << 20); bytes > most { // us advertises windows of 16 MiB
			t.Errorf("%d bytes were taken from eu for us, which reads nothing", bytes)
		}
		s.ap.home.subscribe(t, "dev", "x/#")
		for name, told := range told {
			eventually(t, time.Second, name+" to be told what ap wants", func() bool { return len(told) > 0 })
		}
		eventually(t, relayIdle+time.Second, "the stream to be given up", func() bool { return s.open() == 0 })
		if n := <-wrote; n == 64<<20 {
			t.Error("everything was taken from eu")
		}
		us.reset()
	})
}

// A stream on which nobody says anything ends, one on which somebody does goes on.
func TestRelay_IdleStreamEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := handmade(t, func(*tuning) {})
		defer s.close()
		eu, us := s.stream(t)
		var b [1]byte
		for range 5 {
			time.Sleep(relayIdle - time.Second)
			for _, way := range [][2]duplex{{eu, us}, {us, eu}} {
				if _, err := way[0].Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := way[1].Read(b[:]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if s.open() != 1 {
			t.Fatal("the stream has ended")
		}
		eventually(t, relayIdle+time.Second, "the idle stream to end", func() bool { return s.open() == 0 })
		if _, err := us.Read(b[:]); err == nil {
			t.Error("us did not hear of it")
		}
	})
}

// The relayed tunnels of a peer are bounded; others' are not concerned, and a place
// that is free again can be taken.
func TestRelay_Bounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := handmade(t, func(*tuning) {})
		defer s.close()
		var all [][2]duplex
		begin := func() {
			eu, us := s.stream(t)
			all = append(all, [2]duplex{eu, us})
		}
		for range maxRelayed {
			begin()
		}
		path := wire.RelayPath{From: "eu", To: "us", Hops: 1}
		if _, _, a := s.eu.ask(path); a.Code != wire.RelayBusy {
			t.Errorf("one too many: %+v", a)
		}
		if n := s.ap.status("eu").RelayRefused["busy"]; n != 1 {
			t.Errorf("%d counted as refused", n)
		}
		for range 3 * maxRelayed { // more than the transport lets be open at a time
			all[0][0].reset()
			eventually(t, time.Second, "a place to be free", func() bool { return s.open() == maxRelayed-1 })
			if _, err := all[0][1].Read(make([]byte, 1)); err == nil {
				t.Fatal("us did not hear that eu gave its stream up")
			}
			all[0][1].reset()
			all = all[1:]
			begin()
		}
	})
}

// A relay, or a far end, that does not know relayed tunnels is not asked.
func TestRelay_OlderVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.tuned("eu", func(o *tuning) { o.Relay = []RelayRule{{Between: []string{"ap", "us"}}} }, peerVia("us"), peerFrom("ap"))
		old := w.stranger(t, "ap", "eu")
		defer old.close()
		h := helloOf("ap")
		h.Features, h.Software = wire.FeatureZstd, "0.0.9"
		old.open(h)
		up(t, eu, "ap")
		time.Sleep(12 * time.Second)
		if r := eu.status("us").Reason; !strings.Contains(r, `version 0.0.9 of region "ap" knows no relayed tunnels: upgrade it`) {
			t.Errorf("reason %q", r)
		}
		other := w.stranger(t, "us", "eu")
		defer other.close()
		other.open(helloOf("us"))
		up(t, eu, "us")
		if _, _, a := other.ask(wire.RelayPath{From: "us", To: "ap", Hops: 1}); a.Code != wire.RelayTooOld {
			t.Errorf("%+v", a)
		}
	})
}

// The gateway of the relay's region moves under load: to another node that is told so,
// and when it is killed.
func TestRelay_GatewayMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		w.wan.setCut(ip("eu"), ip("us"), true)
		hub := w.tunedMembers("ap", relays, peerFrom("eu"), peerFrom("us"))
		defer hub.close()
		hub.all[0].begin()
		toHub := Peer{ID: "ap", Dial: allOf("ap")}
		eu, us := w.region("eu", peerVia("us"), toHub), w.region("us", peerVia("eu"), toHub)
		meet(t, eu, us)
		total := 0
		for i := range 4 {
			time.Sleep(2 * stableFor)
			old, next := hub.all[i%nodesOfRegion], hub.all[(i+1)%nodesOfRegion]
			killed := i%2 > 0
			for _, n := range []*node{eu, us} {
				w.wan.setCut(ipOf(old.addr), ip(n.name), killed)
			}
			old.sure.Store(false)
			old.stop()
			time.Sleep(electionTakes)
			for _, n := range []*node{eu, us} {
				w.wan.setCut(ipOf(old.addr), ip(n.name), false)
			}
			next.begin()
			tunnels := eu.status("us").Counters.TunnelsRelay
			var took time.Duration
			total, took = pump(t, eu, us, total, 20*time.Second, "relayed by the new gateway", func() bool {
				return eu.status("us").Counters.TunnelsRelay > tunnels && relayedUp(eu, us)()
			})
			t.Logf("killed %v: relayed again %v after the election", killed, took)
		}
		once(t, eu, us, total)
	})
}

// A long way through a relay carries as much as its windows let it, not the least one
// a round trip.
func TestRelay_WindowsGrow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40*time.Millisecond)
		defer w.close()
		w.tuned("ap", relays, peerFrom("eu"), peerFrom("us"))
		eu, us := w.region("eu", peerVia("us"), peerTo("ap")), w.region("us", peerFrom("eu"), peerTo("ap"))
		us.home.subscribe(t, "dev", "e/#")
		wantsKnown(t, eu, us)
		eu.home.publishNoise(t, "e/x", 0, 12000)
		took := drained(t, eu, "us", time.Minute)
		sent := eu.status("us").Counters.WireOut
		t.Logf("%d bytes in %v at a round trip of %v", sent, took, eu.status("us").RTT)
		if least := time.Duration(float64(sent) / leastWindow * float64(160*time.Millisecond)); took > least/2 {
			t.Errorf("%d bytes took %v; with the least window it is %v", sent, took, least)
		}
	})
}

// An end whose tunnel broke has another one at once, whatever the far end does not take.
func TestRelay_FarEndThatTakesNothingHoldsNoTunnel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := handmade(t, func(o *tuning) { o.StreamWindow, o.ConnWindow = 1<<20, 4<<20 })
		defer s.close()
		eu, _ := s.stream(t)
		go func() { _, _ = eu.Write(make([]byte, 64<<20)) }()
		time.Sleep(5 * time.Second)
		s.eu.close()
		s.eu = s.w.stranger(t, "eu", "ap")
		h := helloOf("eu")
		h.Instance++
		s.eu.open(h)
		eventually(t, 2*time.Second, "the next tunnel", func() bool { return s.ap.status("eu").State == Up && s.open() == 0 })
	})
}
