package link

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"causeway/link/wire"
)

// peerVia is a peer that is reached through ap, and by other addresses if there are any.
func peerVia(name string, direct ...string) Peer {
	p := peerFrom(name)
	p.Dial = append(direct, "relay://ap")
	return p
}

// relays is a configuration of ap that lets eu and us meet.
func relays(o *tuning) { o.Relay = []RelayRule{{Between: []string{"eu", "us"}}} }

// apart starts eu and us, which cannot reach each other, and ap, which is linked to both.
func apart(t *testing.T, tune func(*tuning), us, eu Peer) (w *world, nodes [3]*node) {
	t.Helper()
	w = newWorld(t, 20*time.Millisecond)
	w.wan.setCut(ip("eu"), ip("us"), true)
	ap := w.tuned("ap", tune, peerFrom("eu"), peerFrom("us"))
	nodes = [3]*node{w.region("eu", us, peerTo("ap")), w.region("us", eu, peerTo("ap")), ap}
	return w, nodes
}

// meet makes each of two regions want something of the other one.
func meet(t *testing.T, eu, us *node) {
	t.Helper()
	us.home.subscribe(t, "dev", "e/#")
	eu.home.subscribe(t, "dev", "u/#")
	wantsKnown(t, eu, us)
	wantsKnown(t, us, eu)
}

// pump publishes in both regions until something is so, and returns how many.
func pump(t *testing.T, eu, us *node, from int, within time.Duration, what string, until func() bool) (n int, took time.Duration) {
	t.Helper()
	began := time.Now()
	for n = from; !until(); n++ {
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s; eu: %+v, us: %+v", within, what, eu.status("us"), us.status("eu"))
		}
		eu.home.publish(t, "e/x", n, n+1)
		us.home.publish(t, "u/x", n, n+1)
		time.Sleep(10 * time.Millisecond)
	}
	return n, time.Since(began)
}

// once holds that all of n messages are there, once and in order, in both regions.
func once(t *testing.T, eu, us *node, n int) {
	t.Helper()
	drained(t, eu, "us", time.Minute)
	drained(t, us, "eu", time.Minute)
	same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, n))
	same(t, eu.home.queue(t, "dev"), numbered("us", "u/x", 0, n))
}

func relayedUp(a, b *node) func() bool {
	return func() bool {
		s, r := a.status(b.name), b.status(a.name)
		return s.State == Up && r.State == Up && s.Network == "relay" && r.Network == "relay"
	}
}

// Two regions that cannot reach each other exchange messages through a third, once
// and in order, both ways. All three say so.
func TestRelay_DeliversOnceInOrder(t *testing.T) {
	for _, over := range []network{overUDP, overTCP} {
		t.Run(string(over), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, n := apart(t, relays, peerVia("us"), peerFrom("eu"))
				defer w.close()
				eu, us, ap := n[0], n[1], n[2]
				if over == overTCP {
					w.wan.blockUDP(true)
					for _, n := range n[:2] {
						n.peers[1].Dial = []string{tcpAddrOf("ap")}
						n.start(n.stop())
					}
				}
				meet(t, eu, us)
				total, _ := pump(t, eu, us, 0, time.Minute, "500 messages", func() bool { return eu.home.st.HighSeq() > 500 })
				once(t, eu, us, total)

				s, r := eu.status("us"), us.status("eu")
				if s.Network != "relay" || s.Via != "ap" || !s.Dialled || s.WhyNotUDP != "the link has relay:// addresses alone" || s.Counters.TunnelsRelay != 1 {
					t.Errorf("eu says %+v", s)
				}
				if r.Network != "relay" || r.Via != "ap" || r.Dialled || r.WhyNotUDP != "the peer dialled through a relay" {
					t.Errorf("us says %+v", r)
				}
				if s.RTT < 80*time.Millisecond || s.RTT > 120*time.Millisecond {
					t.Errorf("the round trip end to end is %v, twice 20 ms each way by ap", s.RTT)
				}
				if c := eu.status("ap"); c.State != Up || c.Network != string(over) {
					t.Errorf("the tunnel that carries it is %s on %q", c.State, c.Network)
				}
				there, back := ap.status("eu").Relayed, ap.status("us").Relayed
				if len(there) != 1 || there[0].To != "us" || there[0].Open != 1 || there[0].Tunnels != 1 || there[0].Bytes < 10000 {
					t.Errorf("ap relayed from eu %+v", there)
				}
				if len(back) != 1 || back[0].To != "eu" || back[0].Tunnels != 0 || back[0].Bytes < 10000 {
					t.Errorf("ap relayed from us %+v", back)
				}
				if got := ap.home.st.Status().Queued; got != 0 {
					t.Errorf("%d messages are in the home of the relay", got)
				}
			})
		})
	}
}

// The relay is killed and comes back, and its tunnels are cut, under load.
func TestRelay_KilledUnderLoad(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprintf("both ends dial %v", both), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				back := peerFrom("eu")
				if both {
					back = peerVia("eu")
				}
				w, n := apart(t, relays, peerVia("us"), back)
				defer w.close()
				eu, us, ap := n[0], n[1], n[2]
				meet(t, eu, us)
				total, _ := pump(t, eu, us, 0, 10*time.Second, "a relayed tunnel", relayedUp(eu, us))
				for range 3 {
					time.Sleep(2 * stableFor) // a tunnel that ends young is dialled again later and later
					log := ap.crash()
					total, _ = pump(t, eu, us, total, 10*time.Second, "down with the relay", func() bool { return eu.status("us").State != Up })
					if r := eu.status("us").Reason; !strings.Contains(r, "relay") && r != errSilent.Error() {
						t.Errorf("eu is down, because %q", r)
					}
					ap.start(log)
					var took time.Duration
					total, took = pump(t, eu, us, total, 20*time.Second, "up again", relayedUp(eu, us))
					t.Logf("up %v after the relay was back", took)

					time.Sleep(2 * stableFor)
					w.wan.setCut(ip("us"), ip("ap"), true)
					total, took = pump(t, eu, us, total, 10*time.Second, "down with the far tunnel", func() bool { return eu.status("us").State != Up })
					t.Logf("eu noticed %v after the tunnel from ap to us was cut: %s", took, eu.status("us").Reason)
					w.wan.setCut(ip("us"), ip("ap"), false)
					total, took = pump(t, eu, us, total, 20*time.Second, "up again", relayedUp(eu, us))
					t.Logf("up %v after it was healed", took)
				}
				once(t, eu, us, total)
				if s := ap.status("eu").Relayed; len(s) == 0 || s[0].Open > 1 {
					t.Errorf("relayed tunnels that ended are still open: %+v", s)
				}
			})
		})
	}
}

// Of two relays the one that is left is used.
func TestRelay_AnotherOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		w.wan.setCut(ip("eu"), ip("us"), true)
		hubs := map[string]*node{}
		for _, name := range []string{"ap", "sa"} {
			hubs[name] = w.tuned(name, relays, peerFrom("eu"), peerFrom("us"))
		}
		both := peerVia("us")
		both.Dial = append(both.Dial, "relay://sa")
		eu := w.region("eu", both, peerTo("ap"), peerTo("sa"))
		us := w.region("us", peerFrom("eu"), peerTo("ap"), peerTo("sa"))
		meet(t, eu, us)
		total := 0
		for range 4 {
			time.Sleep(2 * stableFor)
			via := eu.status("us").Via
			log := hubs[via].crash()
			var took time.Duration
			total, took = pump(t, eu, us, total, 10*time.Second, "the other relay", func() bool {
				return relayedUp(eu, us)() && eu.status("us").Via != via && us.status("eu").Via != via
			})
			t.Logf("%s killed, relayed by %s %v later", via, eu.status("us").Via, took)
			hubs[via].start(log)
			up(t, eu, via)
			up(t, us, via)
		}
		once(t, eu, us, total)
	})
}

// A direct path is preferred as soon as there is one, and left when it breaks.
func TestRelay_DirectPathComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, n := apart(t, relays, peerVia("us", addrOf("us"), tcpAddrOf("us")), peerFrom("eu"))
		defer w.close()
		eu, us := n[0], n[1]
		meet(t, eu, us)
		total := 0
		for range 2 {
			var took time.Duration
			total, took = pump(t, eu, us, total, 30*time.Second, "relayed", relayedUp(eu, us))
			if s := eu.status("us"); !strings.HasPrefix(s.WhyNotUDP, "nothing gets through directly") {
				t.Errorf("why relayed: %q", s.WhyNotUDP)
			}
			w.wan.setCut(ip("eu"), ip("us"), false)
			var back time.Duration
			total, back = pump(t, eu, us, total, 70*time.Second, "on UDP", func() bool {
				return eu.status("us").Network == "udp" && us.status("eu").Network == "udp"
			})
			t.Logf("relayed after %v without a path, back on UDP %v after there was one", took, back)
			w.wan.setCut(ip("eu"), ip("us"), true)
			total, _ = pump(t, eu, us, total, 10*time.Second, "the path to be missed", func() bool { return eu.status("us").Network != "udp" })
		}
		total, _ = pump(t, eu, us, total, 30*time.Second, "relayed", relayedUp(eu, us))
		once(t, eu, us, total)
	})
}

// A rate bounds what a relay passes on. The tunnel lives on under it: what has to wait
// is held back, not dropped.
func TestRelay_Rate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const rate, total = 200_000, 4000
		w, n := apart(t, func(o *tuning) { o.Relay = []RelayRule{{Between: []string{"eu", "us"}, Rate: rate}} }, peerVia("us"), peerFrom("eu"))
		defer w.close()
		eu, us := n[0], n[1]
		meet(t, eu, us)
		eu.home.publishNoise(t, "e/x", 0, total)
		took := drained(t, eu, "us", 10*time.Minute)
		same(t, us.home.queue(t, "dev"), numbered("eu", "e/x", 0, total))
		c := eu.status("us").Counters
		t.Logf("%d bytes in %v, in %d tunnels", c.WireOut, took, c.Tunnels)
		if least := time.Duration(float64(c.WireOut) / rate * 0.9 * 1e9); took < least || took > 2*least+10*time.Second {
			t.Errorf("%d bytes in %v, want about %v", c.WireOut, took, least)
		}
		if c.TunnelsRelay != 1 {
			t.Errorf("%d relayed tunnels, want one that lives", c.TunnelsRelay)
		}
	})
}

// Who may not, or cannot, be relayed learns from whom and why.
func TestRelay_Refused(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(t *testing.T) (*world, *node, *node)
		want  []string
		word  string // counted at the relay
	}{
		{"not allowed", func(t *testing.T) (*world, *node, *node) {
			w, n := apart(t, func(*tuning) {}, peerVia("us"), peerFrom("eu"))
			return w, n[0], n[2]
		}, []string{"relay://ap: refused", `region "ap" does not relay between "eu" and "us"`, "link.relay", "forbidden"}, "forbidden"},
		{"another pair is allowed", func(t *testing.T) (*world, *node, *node) {
			w, n := apart(t, func(o *tuning) {
				o.Relay = []RelayRule{{Between: []string{"us", "sa"}}, {Between: []string{"eu", "sa"}}}
			}, peerVia("us"), peerFrom("eu"))
			return w, n[0], n[2]
		}, []string{`region "ap" does not relay between "eu" and "us"`}, "forbidden"},
		{"no tunnel to the other end", func(t *testing.T) (*world, *node, *node) {
			w, n := apart(t, relays, peerVia("us"), peerFrom("eu"))
			w.wan.setCut(ip("us"), ip("ap"), true)
			return w, n[0], n[2]
		}, []string{`region "ap" has no tunnel to region "us" now`}, "no_tunnel"},
		{"the other end has no link to us", func(t *testing.T) (*world, *node, *node) {
			w, n := apart(t, relays, peerVia("us"), peerFrom("sa"))
			return w, n[0], n[1]
		}, []string{`region "us" has no link to region "eu"`, "unknown"}, "unknown"},
		{"no tunnel to the relay", func(t *testing.T) (*world, *node, *node) {
			w, n := apart(t, relays, peerVia("us"), peerFrom("eu"))
			w.wan.setCut(ip("eu"), ip("ap"), true)
			return w, n[0], nil
		}, []string{`relay://ap: region "eu" has no tunnel to region "ap" now`}, ""},
		{"a relay that is relayed itself", func(t *testing.T) (*world, *node, *node) {
			w := newWorld(t, 20*time.Millisecond)
			w.wan.setCut(ip("eu"), ip("us"), true)
			w.wan.setCut(ip("eu"), ip("sa"), true)
			between := func(regions ...string) func(*tuning) {
				return func(o *tuning) { o.Relay = []RelayRule{{Between: regions}} }
			}
			sa := w.tuned("sa", between("eu", "us"), peerFrom("eu"), peerTo("us"), peerTo("ap"))
			w.tuned("ap", between("eu", "sa"), peerFrom("eu"), peerFrom("sa"))
			toSA, toUS := peerVia("sa"), peerFrom("us")
			toUS.Dial = []string{"relay://sa"}
			eu := w.region("eu", toSA, toUS, peerTo("ap"))
			w.region("us", peerFrom("eu"), peerFrom("sa"))
			up(t, eu, "sa")
			return w, eu, sa
		}, []string{`the tunnel from region "eu" to region "sa" is relayed itself`}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, eu, counts := c.setup(t)
				defer w.close()
				time.Sleep(30 * time.Second)
				s := eu.status("us")
				if s.State == Up {
					t.Fatal("the link is up")
				}
				for _, part := range c.want {
					if !strings.Contains(s.Reason, part) {
						t.Errorf("reason %q does not say %q", s.Reason, part)
					}
				}
				if counts == nil || c.word == "" {
					return
				}
				if !slices.ContainsFunc(counts.m.Status(), func(s Status) bool { return s.RelayRefused[c.word] > 0 }) {
					t.Errorf("%s counts no refusal as %q", counts.name, c.word)
				}
			})
		})
	}
}

// A stream that may pass no more relays, or is asked for on behalf of another region,
// is refused.
func TestRelay_BadStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		ap := w.tuned("ap", relays, peerFrom("eu"), peerFrom("us"))
		w.region("us", peerFrom("eu"), peerTo("ap"))
		up(t, ap, "us")
		s := w.stranger(t, "eu", "ap")
		defer s.close()
		s.open(helloOf("eu"))
		for _, c := range []struct {
			path wire.RelayPath
			code uint64
		}{
			{wire.RelayPath{From: "eu", To: "us"}, wire.RelayHops},
			{wire.RelayPath{From: "us", To: "us", Hops: 1}, wire.RelayForbidden},
			{wire.RelayPath{From: "eu", To: "eu", Hops: 1}, wire.RelayForbidden},
			{wire.RelayPath{From: "eu", To: "sa", Hops: 1}, wire.RelayForbidden},
			{wire.RelayPath{From: "eu", To: "ap", Hops: 1}, wire.RelayUnknown},
			{wire.RelayPath{From: "sa", To: "ap", Hops: 1}, wire.RelayUnknown},
		} {
			if _, _, a := s.ask(c.path); a.Code != c.code {
				t.Errorf("%+v: %+v, want code %d", c.path, a, c.code)
			}
		}
	})
}

// ask opens a stream of a relayed tunnel and returns what comes back first.
func (s *stranger) ask(path wire.RelayPath) (duplex, *bufio.Reader, *wire.RelayAnswer) {
	s.t.Helper()
	out, err := s.c.open(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	head := wire.StreamHead{Kind: wire.StreamRelay, Path: path}
	if _, err := out.Write(head.Append(nil)); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(out)
	m, err := wire.ReadControl(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return out, r, m.(*wire.RelayAnswer)
}

// A relay that answers in the name of an end, with the certificate that it has, is
// found out by the other end, whichever dialled.
func TestRelay_CannotImpersonate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerVia("us"), peerFrom("ap"))
		s := w.stranger(t, "ap", "eu")
		defer s.close()
		s.open(helloOf("ap"))
		as := func(mux func(ctx context.Context, raw net.Conn) (conn, error), d duplex, r *bufio.Reader) error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			c, err := mux(ctx, newRelayConn(d, r, "eu", "ap", func() {}))
			if err == nil {
				defer c.close(0, "done")
				_, err = c.accept(ctx)
			}
			return err
		}
		in, err := s.c.accept(context.Background()) // eu dials us
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(in)
		if head, err := wire.ReadStreamHead(r); err != nil || head.Path != (wire.RelayPath{From: "eu", To: "us", Hops: 1}) {
			t.Fatalf("%+v, %v", head, err)
		}
		if _, err := in.Write(wire.AppendControl(nil, &wire.RelayAnswer{})); err != nil {
			t.Fatal(err)
		}
		if err := as(s.tr.tcp.welcome, in, r); err == nil {
			t.Error("eu took the relay for us")
		}
		eventually(t, time.Second, "eu to say whom it saw", func() bool { return strings.Contains(eu.status("us").Reason, `wanted "us", saw "ap"`) })

		out, r, a := s.ask(wire.RelayPath{From: "us", To: "eu", Hops: 0}) // us dials eu, says ap
		if a.Code != wire.RelayThrough {
			t.Fatalf("%+v", a)
		}
		greet := func(ctx context.Context, raw net.Conn) (conn, error) {
			return s.tr.tcp.greet(ctx, raw, withALPN(w.ca.issue(t, "ap").ClientTLS("eu"), wire.ALPN))
		}
		if err := as(greet, out, r); err == nil || !strings.Contains(err.Error(), wire.GoodbyeText(wire.GoodbyeIdentity)) {
			t.Errorf("a tunnel of us with the certificate of ap ended with %v", err)
		}
		if s := eu.status("us"); s.State == Up || eu.status("ap").Network != "udp" {
			t.Errorf("eu has a link to us: %+v", s)
		}
	})
}
