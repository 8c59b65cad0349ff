package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/link/wire"
)

// lossyPair is two regions 80 ms apart on a path that loses one packet in a hundred.
func lossyPair(t *testing.T, connections int) (w *world, eu, us *node) {
	return lossyPairTo(t, peerTo("us"), connections)
}

func lossyPairTo(t *testing.T, p Peer, connections int) (w *world, eu, us *node) {
	w = newWorld(t, 40*time.Millisecond)
	tune := func(o *tuning) {
		o.Connections = connections
		o.fastTCP = func() bool { return true }
	}
	us = w.tuned("us", tune, peerFrom("eu"))
	eu = w.tuned("eu", tune, p)
	us.home.subscribe(t, "dev", "events/#")
	eu.home.subscribe(t, "dev", "answers/#")
	wantsKnown(t, eu, us)
	wantsKnown(t, us, eu)
	w.wan.set(0.01, 0)
	return w, eu, us
}

// flow publishes numbered messages, always with some that wait.
func flow(t *testing.T, n *node, peer, topic string, messages int) {
	t.Helper()
	flowUntil(t, n, peer, topic, messages, func() bool { return false })
}

// flowUntil is flow, until something is so. It returns how many were published.
func flowUntil(t *testing.T, n *node, peer, topic string, most int, enough func() bool) int {
	t.Helper()
	began := time.Now()
	for at := 0; at < most; at += 1000 {
		if enough() {
			return at
		}
		for n.status(peer).LagMessages > 8000 {
			if time.Sleep(10 * time.Millisecond); time.Since(began) > 10*time.Minute {
				t.Fatal("the peer takes nothing")
			}
		}
		n.home.publishNoise(t, topic, at, at+1000)
	}
	return most
}

// The tunnel finds out by itself that more connections carry more, whichever side dialled
// and whichever sends, and gives them up when they are not needed. What crosses, crosses
// once and in order.
func TestBundle_WidensOnALossyPath(t *testing.T) {
	for _, dir := range []string{"the side that dialled sends", "the other side sends"} {
		t.Run(dir, func(t *testing.T) {
			rate := func(connections, messages int) float64 {
				var took time.Duration
				bubble(t, func(t *testing.T) {
					w, from, to := lossyPair(t, connections)
					defer w.close()
					topic := "events/a"
					if dir == "the other side sends" {
						from, to, topic = to, from, "answers/a"
					}
					began := time.Now()
					flow(t, from, to.name, topic, messages)
					drained(t, from, to.name, 2*time.Minute)
					took = time.Since(began)
					same(t, to.home.queue(t, "dev"), numbered(from.name, topic, 0, messages))
					s := from.status(to.name)
					t.Logf("%d messages in %v over %d connections; %s", messages, took, s.Connections, s.WhyConnections)
					if s.Counters.Tunnels != 1 {
						t.Errorf("%d tunnels", s.Counters.Tunnels)
					}
					if connections == 1 {
						return
					}
					if s.Connections < 8 || !strings.Contains(s.WhyConnections, "packets are lost") {
						t.Errorf("%d connections: %s", s.Connections, s.WhyConnections)
					}
					if dir == "the side that dialled sends" { // the other one takes more: it has to be told
						return
					}
					time.Sleep(7 * time.Minute)
					if a, b := from.status(to.name), to.status(from.name); a.Connections != 1 || b.Connections != 1 || a.State != Up || a.Counters.Tunnels != 1 {
						t.Errorf("after a calm while: %d and %d connections, %s, %d tunnels", a.Connections, b.Connections, a.State, a.Counters.Tunnels)
					}
				})
				return float64(messages) / took.Seconds()
			}
			one, several := rate(1, 3000), rate(0, 18_000)
			if several < 5*one {
				t.Errorf("%.0f messages a second over one connection, %.0f over several", one, several)
			}
		})
	}
}

// bundleOf waits until a node's tunnel has several connections.
func bundleOf(t *testing.T, n *node, peer string, least int) *bundle {
	t.Helper()
	var b *bundle
	eventually(t, time.Minute, "several connections", func() bool {
		for _, p := range *n.m.peers.Load() {
			if tun := p.current(); tun != nil && p.config().ID == peerTo(peer).ID {
				b = tun.c.(*bundle)
				return b.size() >= least
			}
		}
		return false
	})
	return b
}

// cut closes one of the connections, as a network or a peer would.
func (b *bundle) cut(i int) {
	b.mu.Lock()
	c := b.strands[i%len(b.strands)].c
	b.mu.Unlock()
	c.close(wire.GoodbyeFailed, "cut by the test")
}

// Connections of the bundle die under load, at either end. The tunnel ends, the next one
// goes on from the cursor: everything crosses once and in order.
func TestBundle_ConnectionsDie(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, eu, us := lossyPair(t, 0)
		defer w.close()
		const total = 24_000
		var load sync.WaitGroup
		load.Go(func() { flow(t, eu, "us", "events/a", total) })
		for i, at := range []*node{eu, us, eu} {
			anew := func() bool {
				return eu.status("us").Counters.Tunnels >= uint64(i+2) && us.status("eu").Counters.Tunnels >= uint64(i+2)
			}
			for cut := 3 * i; !anew(); cut++ { // one that carried nothing just leaves, and the word of the end may be lost
				bundleOf(t, at, map[*node]string{eu: "us", us: "eu"}[at], 2).cut(cut)
				time.Sleep(10 * time.Second)
			}
		}
		load.Wait()
		drained(t, eu, "us", 2*time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, total))
	})
}

// A node with a bundle that was killed and comes back is reached again at once: it resets
// the connection that it hears first.
func TestBundle_RestartedPeerIsKnownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		long := func(o *tuning) { o.IdleTimeout = time.Minute }
		us := w.tuned("us", long, peerFrom("eu"))
		eu := w.tuned("eu", long, peerTo("us"))
		us.home.subscribe(t, "dev", "events/#")
		wantsKnown(t, eu, us)
		b, tun := bundleOf(t, eu, "us", 1), eu.peer("us").current()
		for range 3 {
			if err := tun.join(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		b.widen(4)
		eu.home.publishNoise(t, "events/a", 0, 5000)
		time.Sleep(50 * time.Millisecond)
		us.start(us.crash())
		took := eventually(t, 10*time.Second, "a new tunnel", func() bool { return us.status("eu").State == Up })
		drained(t, eu, "us", 10*time.Second)
		same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 5000))
		t.Logf("up %v after the restart; idle time-out one minute", took)
		if took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func (n *node) peer(name string) *peer { return n.m.linkWith(name) }

// Who does not know the token, or has the certificate of another region, does not join.
func TestBundle_StrangersDoNotJoin(t *testing.T) {
	for _, c := range []struct {
		name, as string
		wrong    bool // token
		want     string
	}{
		{"the right one", "eu", false, ""},
		{"a wrong token", "eu", true, `no tunnel with region "eu" has the token`},
		{"another region", "ap", false, `no tunnel with region "ap" has the token`},
		{"another authority", "stranger", false, "refused our certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 10*time.Millisecond)
				defer w.close()
				us := w.region("us", peerFrom("eu"), peerFrom("ap"))
				eu, ap := w.region("eu", peerTo("us")), w.region("ap", peerTo("us"))
				up(t, eu, "us")
				up(t, ap, "us")
				b := bundleOf(t, eu, "us", 1)
				token := b.token
				if c.wrong {
					token[31] ^= 1
				}
				from := map[string]*node{"eu": eu, "ap": ap, "stranger": eu}[c.as]
				id := Identity(from.id)
				if c.as == "stranger" {
					id = &identity{from.id.pool, newAuthority(t).issue(t, "eu").cert}
				}
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				conn, err := from.m.ep.transport.Load().join(ctx, us.addr, id.ClientTLS("us"))
				if err == nil {
					err = askToJoin(ctx, conn, token)
					defer conn.close(0, "the test is over")
				}
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("joined: %v, want %q", err, c.want)
				}
				if n := bundleOf(t, us, "eu", 1).size(); n != map[bool]int{true: 2, false: 1}[c.want == ""] {
					t.Errorf("the tunnel has %d connections", n)
				}
				if s := us.status("eu"); s.State != Up {
					t.Errorf("the tunnel is %s", s.State)
				}
			})
		})
	}
}

// No tunnel has more connections than it may have, however many are dialled.
func TestBundle_Bounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		b, tun := bundleOf(t, eu, "us", 1), eu.peer("us").current()
		for range wire.MaxConnections - 1 {
			if err := tun.join(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		if err := tun.join(context.Background(), b); err == nil {
			t.Errorf("a tunnel with %d connections", b.size())
		}
		if s := eu.status("us"); s.State != Up {
			t.Errorf("the tunnel is %s: %s", s.State, s.Reason)
		}
	})
}

// With a peer that does not know of bundles a tunnel is as it was.
func TestBundle_OlderPeer(t *testing.T) {
	c := &quicConn{}
	if got := fitting(c, wire.Agreement{Features: wire.FeatureS2}, 1); got != conn(c) {
		t.Error("a bundle that the peer does not know of")
	}
}

// fakeConn is a connection whose streams take chunks at a test's pace.
type fakeConn struct {
	conn
	name  string
	takes chan []byte   // what was written, one at a time
	dead  chan struct{} // closed when it ends by itself
}

func (f *fakeConn) receive(ctx context.Context) (receiveStream, error) {
	select {
	case <-f.dead:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
func (f *fakeConn) send(context.Context) (sendStream, error) {
	return &fakeStream{c: f, ended: make(chan struct{})}, nil
}
func (f *fakeConn) close(uint64, string) {}
func (f *fakeConn) stats() connStats     { return connStats{} }

type fakeStream struct {
	c     *fakeConn
	ended chan struct{}
	once  sync.Once
}

func (s *fakeStream) Write(b []byte) (int, error) {
	select {
	case s.c.takes <- slices.Clone(b):
		return len(b), nil
	case <-s.ended:
		return 0, errStream
	}
}
func (s *fakeStream) done() <-chan struct{} { return s.ended }
func (s *fakeStream) reset()                { s.once.Do(func() { close(s.ended) }) }

// A connection that takes nothing any more holds up the chunk that it has, and no other.
func TestStriped_StalledConnectionHoldsOneChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled, good := &fakeConn{takes: make(chan []byte)}, &fakeConn{takes: make(chan []byte)}
		b := newBundle(stalled, wire.JoinToken{}, 1<<20)
		if err := b.join(good); err != nil {
			t.Fatal(err)
		}
		b.widen(2)
		s, err := b.send(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		<-stalled.takes // the stripe's beginning
		took := 0
		go func() {
			for range good.takes {
				took++
			}
		}()
		if _, err := s.Write(make([]byte, 20*chunkBytes)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if took != 20 { // the stripe's beginning, and all chunks but one
			t.Errorf("the good connection took %d writes", took)
		}
		if b.held.sum() != 0 {
			t.Errorf("held up for %v with a connection that takes everything", b.held.sum())
		}
		s.reset()
		b.close(0, "the test is over")
		synctest.Wait()
		close(good.takes)
	})
}

// A stream that the peer refuses on one connection is refused, and its writer hears it.
func TestStriped_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeConn{takes: make(chan []byte)}
		b := newBundle(c, wire.JoinToken{}, 1<<20)
		s, err := b.send(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		<-c.takes
		go func() {
			<-c.takes
			s.(*striped).refuse.Do(func() { close(s.(*striped).refused) })
		}()
		_, err = s.Write(make([]byte, 5*chunkBytes))
		if !errors.Is(err, errStream) {
			t.Errorf("write to a refused stream: %v", err)
		}
		<-s.done()
		s.reset()
		b.close(0, "the test is over")
	})
}

// A stripe that was ended is on its way until the peer has all of it: if its connection
// dies before, a chunk may be lost, and the tunnel must not go on without it.
func TestStriped_EndedStripeIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &fakeConn{takes: make(chan []byte, 100)}
		second := &fakeConn{takes: make(chan []byte, 100), dead: make(chan struct{})}
		b := newBundle(first, wire.JoinToken{}, 1<<20)
		if err := b.join(second); err != nil {
			t.Fatal(err)
		}
		b.widen(2)
		if _, err := b.send(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.widen(1)
		synctest.Wait()
		if n := len(second.takes); n != 2 {
			t.Fatalf("the second connection took %d writes, want the beginning and the end of a stripe", n)
		}
		close(second.dead)
		synctest.Wait()
		select {
		case <-b.gone:
		default:
			t.Error("the bundle goes on, although its connection died with a stripe that nobody acknowledged")
		}
		b.close(0, "the test is over")
	})
}
