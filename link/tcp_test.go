package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"causeway/link/wire"
)

func peerOverTCP(name string) Peer {
	return Peer{ID: peerTo(name).ID, Dial: []string{tcpAddrOf(name)}, Compress: wire.CodecZstd}
}

// UDP is blocked under load and allowed again, a few times: the link goes to TCP
// and back, nothing is lost, doubled or out of order, and the status says why.
func TestTCP_FallsBackAndReturns(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprintf("both sides dial %v", both), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 40*time.Millisecond)
				defer w.close()
				us := w.region("us", peerFrom("eu"))
				if both {
					us.stop()
					us.peers = []Peer{peerToBoth("eu")}
					us.start(us.home.log)
				}
				eu := w.region("eu", peerToBoth("us"))
				us.home.subscribe(t, "dev", "e/#")
				eu.home.subscribe(t, "dev", "u/#")
				wantsKnown(t, eu, us)
				wantsKnown(t, us, eu)
				n := 0
				load := func(until func() bool) {
					for !until() {
						eu.home.publish(t, "e/x", n, n+1)
						us.home.publish(t, "u/x", n, n+1)
						n++
						time.Sleep(10 * time.Millisecond)
					}
				}
				on := func(want network) func() bool {
					return func() bool {
						a, b := eu.status("us"), us.status("eu")
						return a.State == Up && b.State == Up && a.Network == string(want) && b.Network == string(want)
					}
				}
				within := func(d time.Duration, what string, until func() bool) time.Duration {
					began := time.Now()
					load(func() bool {
						if time.Since(began) > d {
							t.Fatalf("not within %v: %s; eu: %+v, us: %+v", d, what, eu.status("us"), us.status("eu"))
						}
						return until()
					})
					return time.Since(began)
				}
				for range 3 {
					within(70*time.Second, "on UDP", on(overUDP))
					w.wan.blockUDP(true)
					fell := within(10*time.Second, "on TCP", on(overTCP))
					if s := eu.status("us"); !strings.Contains(s.WhyNotUDP, "UDP does not get through") && !strings.Contains(s.WhyNotUDP, "the peer dialled over TCP") {
						t.Errorf("why TCP: %q", s.WhyNotUDP)
					}
					sent := n
					within(30*time.Second, "through on TCP", func() bool {
						return us.home.st.Status().Queued >= sent && eu.home.st.Status().Queued >= sent
					})
					time.Sleep(20 * time.Second)
					if !on(overTCP)() {
						t.Fatal("left TCP although UDP is blocked")
					}
					w.wan.blockUDP(false)
					back := within(70*time.Second, "back on UDP", on(overUDP))
					t.Logf("on TCP %v after UDP was blocked, back %v after it was not", fell, back)
				}
				time.Sleep(10 * time.Second)
				drained(t, eu, "us", time.Minute)
				drained(t, us, "eu", time.Minute)
				same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, n))
				same(t, eu.home.queue(t, "dev"), numbered("us", "u/x", 0, n))
				if c := eu.status("us").Counters; !both && (c.TunnelsTCP != 3 || c.Tunnels != 7) {
					t.Errorf("%d tunnels, %d of them over TCP, want 7 and 3", c.Tunnels, c.TunnelsTCP)
				}
			})
		})
	}
}

// Where UDP works TCP is not tried, slow as it may be.
func TestTCP_UDPHasAHeadStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 300*time.Millisecond)
		defer w.close()
		w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerToBoth("us"))
		up(t, eu, "us")
		time.Sleep(time.Minute)
		if s := eu.status("us"); s.Network != "udp" || s.WhyNotUDP != "" || s.Counters.TunnelsTCP != 0 || s.Counters.Probes != 0 {
			t.Errorf("%+v", s)
		}
		if w.wan.ports != 0 {
			t.Errorf("%d connections over TCP were tried", w.wan.ports)
		}
	})
}

// A peer that restarts, or falls silent, is noticed over TCP as over QUIC.
func TestTCP_DeadPeer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerOverTCP("us"))
		up(t, eu, "us")
		if s := eu.status("us"); s.Network != "tcp" || s.WhyNotUDP != "the link has no udp:// address" || s.RTT < 40*time.Millisecond || s.BytesSent == 0 {
			t.Errorf("%+v", s)
		}
		if s := us.status("eu"); s.Network != "tcp" || s.WhyNotUDP != "the peer dialled over TCP" {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		if n := eu.status("us").Counters.Tunnels; n != 1 {
			t.Errorf("%d tunnels in an idle minute", n)
		}
		us.start(us.crash())
		took := eventually(t, 3*time.Second, "up after a restart", func() bool { return us.status("eu").State == Up })
		t.Logf("up %v after the restart", took)
		up(t, eu, "us")

		w.wan.setCut(ip("eu"), ip("us"), true)
		for _, n := range []*node{eu, us} {
			peer := map[string]string{"eu": "us", "us": "eu"}[n.name]
			took := eventually(t, 5*time.Second, "silence noticed", func() bool { return n.status(peer).State != Up })
			t.Logf("%s noticed after %v more", n.name, took)
			if r := n.status(peer).Reason; r != errSilent.Error() {
				t.Errorf("%s: reason %q", n.name, r)
			}
		}
		time.Sleep(time.Minute)
		w.wan.setCut(ip("eu"), ip("us"), false)
		up(t, eu, "us")
		logUS := us.stop()
		if r := eu.status("us").Reason; !strings.Contains(r, "stops the link") {
			eventually(t, time.Second, "the reason of a stop", func() bool { return strings.Contains(eu.status("us").Reason, "stops the link") })
		}
		us.start(logUS)
	})
}

// Who may open a tunnel over TCP is the same as over QUIC.
func TestTCP_Identity(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(t *testing.T, w *world) (*node, string)
		want  []string
	}{
		{"another authority", func(t *testing.T, w *world) (*node, string) {
			w.withStrangeCertificate(t, w.region("us", peerFrom("eu")))
			return w.region("eu", peerOverTCP("us")), "us"
		}, []string{"identity", "another authority", ip("us") + ":7445"}},
		{"we are refused", func(t *testing.T, w *world) (*node, string) {
			w.region("us", peerFrom("eu"))
			return w.withStrangeCertificate(t, w.region("eu", peerOverTCP("us"))), "us"
		}, []string{"the peer refused our certificate"}},
		{"another region answers", func(t *testing.T, w *world) (*node, string) {
			w.region("ap", peerFrom("eu"))
			p := peerOverTCP("us")
			p.Dial = []string{tcpAddrOf("ap")}
			return w.region("eu", p), "us"
		}, []string{`wanted "us", saw "ap"`}},
		{"it has no link to us", func(t *testing.T, w *world) (*node, string) {
			w.region("us", peerFrom("ap"))
			return w.region("eu", peerOverTCP("us")), "us"
		}, []string{"the peer refuses the tunnel", `no link to region "eu"`}},
		{"nobody listens", func(t *testing.T, w *world) (*node, string) {
			return w.region("eu", peerOverTCP("us")), "us"
		}, []string{"connection refused", ip("us") + ":7445"}},
		{"no answer", func(t *testing.T, w *world) (*node, string) {
			w.wan.setCut(ip("eu"), ip("us"), true)
			return w.region("eu", peerToBoth("us")), "us"
		}, []string{ip("us") + ":7444: no answer", ip("us") + ":7445: no answer over TCP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 10*time.Millisecond)
				defer w.close()
				n, peer := c.setup(t, w)
				time.Sleep(12 * time.Second)
				s := n.status(peer)
				if s.State == Up {
					t.Fatal("the link is up")
				}
				for _, part := range c.want {
					if !strings.Contains(s.Reason, part) {
						t.Errorf("reason %q does not say %q", s.Reason, part)
					}
				}
			})
		})
	}
}

// A peer that sends without end on many streams fills their windows and no more.
func TestTCP_WindowsAreBounded(t *testing.T) {
	all := &windows{left: 4 * leastWindow}
	var open []*window
	for range 6 { // more than fit: a stream has its least window whatever happens
		m, err := all.open()
		if err != nil {
			t.Fatal(err)
		}
		w := m.(*window)
		if err := w.ReserveMemory(leastWindow, 255); err != nil {
			t.Fatal(err)
		}
		open = append(open, w)
	}
	if err := open[0].ReserveMemory(leastWindow, 128); err == nil {
		t.Error("a window grew although the connection has nothing left")
	}
	for _, w := range open[1:] {
		w.Done()
	}
	if err := open[0].ReserveMemory(3*leastWindow, 128); err != nil {
		t.Errorf("it does not grow when there is room: %v", err)
	}
	if err := open[0].ReserveMemory(1, 128); err == nil {
		t.Error("it grew beyond the connection's bound")
	}
	if open[0].Done(); all.left != 4*leastWindow {
		t.Errorf("%d left of %d", all.left, 4*leastWindow)
	}
}

// A home that does not commit holds its peer back by the stream's window, over TCP
// as over QUIC; the tunnel stays, and all arrives afterwards.
func TestTCP_ReceiverThatStandsStill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		small := func(o *tuning) { o.StreamWindow, o.ConnWindow, o.SendWindow = leastWindow, 2*leastWindow, 16<<20 }
		us := w.tuned("us", small, peerFrom("eu"))
		eu := w.tuned("eu", small, peerOverTCP("us"))
		us.home.subscribe(t, "dev", "e/#")
		wantsKnown(t, eu, us)
		us.home.hold(true)
		eu.home.publishNoise(t, "e/x", 0, 30000)
		time.Sleep(30 * time.Second)
		if s := eu.status("us"); s.State != Up || s.Counters.Tunnels != 1 || s.Counters.WireOut > maxProposedBytes+4<<20 {
			t.Errorf("%s, %d tunnels, %d bytes of frames sent to a home that takes none", s.State, s.Counters.Tunnels, s.Counters.WireOut)
		}
		us.home.hold(false)
		drained(t, eu, "us", time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, 30000))
	})
}

// Who connects over TCP and says nothing holds up neither peers on UDP nor, after
// the time for a handshake, those on TCP.
func TestTCP_SilentStrangers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"), peerFrom("ap"))
		for range 2 * maxOpenings {
			c, err := w.wan.dialTCP(t.Context(), "10.0.0.9", ip("us")+":7445")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		eu := w.region("eu", peerTo("us"))
		took := eventually(t, time.Second, "UDP up beside silent strangers", func() bool { return eu.status("us").State == Up })
		ap := w.region("ap", peerOverTCP("us"))
		tookTCP := eventually(t, us.m.ep.o.DialTimeout+2*dialMost, "TCP up once they were given up", func() bool { return ap.status("us").State == Up })
		t.Logf("up on UDP after %v, on TCP after %v", took, tookTCP)
	})
}
