package link

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// Both sides dial, at once or one a little after the other. One tunnel stays, the
// same seen from both, after at most one replacement, and nothing flaps.
func TestTunnel_BothDialOneStays(t *testing.T) {
	for _, apart := range []int{0, 5, 10, 20, 30, 40, 50, 60, 80, 100, 200} {
		for _, first := range []string{"eu", "us"} {
			t.Run(fmt.Sprint(first, " first by ", apart, " ms"), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, 20*time.Millisecond)
					defer w.close()
					eu, us := w.region("eu", peerTo("us")), w.region("us", peerTo("eu"))
					logEU, logUS := eu.stop(), us.stop()
					begin := func(name string) {
						if name == "eu" {
							eu.start(logEU)
						} else {
							us.start(logUS)
						}
					}
					begin(first)
					time.Sleep(time.Duration(apart) * time.Millisecond)
					begin(map[string]string{"eu": "us", "us": "eu"}[first])
					time.Sleep(3 * time.Second)
					settled := [2]uint64{eu.status("us").Counters.Tunnels, us.status("eu").Counters.Tunnels}
					time.Sleep(time.Minute)
					a, b := eu.status("us"), us.status("eu")
					if a.State != Up || b.State != Up || a.Dialled == b.Dialled {
						t.Errorf("eu: %s dialled %v, us: %s dialled %v", a.State, a.Dialled, b.State, b.Dialled)
					}
					if n := [2]uint64{a.Counters.Tunnels, b.Counters.Tunnels}; n != settled || n[0] > 2 || n[1] > 2 {
						t.Errorf("%d tunnels after three seconds, %d a minute later", settled, n)
					}
					if a.Counters.Tunnels+b.Counters.Tunnels > 2 && !a.Dialled {
						t.Error("of two tunnels the one that us dialled stayed; it must be the one of eu")
					}
				})
			})
		}
	}
}

// Only one side may dial: the other one's packets do not get through before it
// was spoken to. It is up all the same.
func TestTunnel_EitherSideMayDial(t *testing.T) {
	for _, dialler := range []string{"eu", "us"} {
		t.Run(dialler, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20*time.Millisecond)
				defer w.close()
				peers := map[string]Peer{"eu": peerFrom("us"), "us": peerFrom("eu")}
				other := map[string]string{"eu": "us", "us": "eu"}[dialler]
				peers[dialler] = peerTo(other)
				eu, us := w.region("eu", peers["eu"]), w.region("us", peers["us"])
				up(t, eu, "us")
				up(t, us, "eu")
			})
		})
	}
}

// A node that was killed and comes back is reached again long before the idle
// time-out: it resets what it does not know.
func TestTunnel_RestartedPeerIsKnownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		long := func(o *Options) { o.IdleTimeout = time.Minute }
		us := w.tuned("us", long, peerFrom("eu"))
		eu := w.tuned("eu", long, peerTo("us"))
		up(t, eu, "us")
		us.start(us.crash())
		took := eventually(t, 10*time.Second, "a new tunnel", func() bool { return us.status("eu").State == Up })
		t.Logf("up %v after the restart; idle time-out one minute", took)
	})
}

// Several addresses, of which one answers.
func TestTunnel_AddressesAreTriedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20*time.Millisecond)
		defer w.close()
		w.region("us", peerFrom("eu"))
		p := peerTo("us")
		p.Dial = append([]string{"udp://10.9.9.1:1", "10.9.9.2:2"}, p.Dial...)
		eu := w.region("eu", p)
		took := eventually(t, 10*time.Second, "up", func() bool { return eu.status("us").State == Up })
		if took > time.Second {
			t.Errorf("took %v: the dead addresses were waited for", took)
		}
	})
}

// withStrangeCertificate gives a node a certificate of another authority; whom it
// trusts stays.
func (w *world) withStrangeCertificate(t *testing.T, n *node) *node {
	log := n.stop()
	n.id = &identity{n.id.pool, newAuthority(t).issue(t, n.name).cert}
	n.start(log)
	return n
}

func TestTunnel_ReasonsOfBeingDown(t *testing.T) {
	stranger := func(t *testing.T) *authority { return newAuthority(t) }
	for _, c := range []struct {
		name  string
		setup func(t *testing.T, w *world) (n *node, peer string)
		want  []string // each in the reason
	}{
		{"another authority", func(t *testing.T, w *world) (*node, string) {
			good := w.ca
			w.ca = stranger(t)
			w.region("us", peerFrom("eu"))
			w.ca = good
			return w.region("eu", peerTo("us")), "us"
		}, []string{"identity", `wanted "us"`, `saw "us" of another authority`, ip("us")}},
		{"another region answers", func(t *testing.T, w *world) (*node, string) {
			w.region("ap", peerFrom("eu"))
			p := peerTo("us")
			p.Dial = []string{addrOf("ap")}
			return w.region("eu", p), "us"
		}, []string{"identity", `wanted "us"`, `saw "ap"`, ip("ap")}},
		{"our certificate is refused", func(t *testing.T, w *world) (*node, string) {
			w.region("us", peerFrom("eu"))
			return w.withStrangeCertificate(t, w.region("eu", peerTo("us"))), "us"
		}, []string{"refused our certificate"}},
		{"no link over there", func(t *testing.T, w *world) (*node, string) {
			w.region("us", peerFrom("ap"))
			return w.region("eu", peerTo("us")), "us"
		}, []string{`region "us" has no link to region "eu"`, "configure it there too"}},
		{"nobody there", func(t *testing.T, w *world) (*node, string) {
			return w.region("eu", peerTo("us")), "us"
		}, []string{"no answer", ip("us")}},
		{"another home", func(t *testing.T, w *world) (*node, string) {
			w.region("us", peerFrom("eu"))
			p := peerTo("us")
			p.ID, p.Region = "us-cell-2", "us"
			return w.region("eu", p), "us-cell-2"
		}, []string{`hosts home "us"`, `configured for home "us-cell-2"`}},
		{"the one that dials has another authority", func(t *testing.T, w *world) (*node, string) {
			eu := w.region("eu", peerFrom("us"))
			w.withStrangeCertificate(t, w.region("us", peerTo("eu")))
			return eu, "us"
		}, []string{"waiting for the peer to dial", "refused", `saw "us" of another authority`}},
		{"a region dials that has no link here", func(t *testing.T, w *world) (*node, string) {
			eu := w.region("eu", peerFrom("us"))
			w.region("ap", peerTo("eu"))
			return eu, "us"
		}, []string{"waiting for the peer to dial", "refused", `no link to region "ap"`}},
		{"waiting", func(t *testing.T, w *world) (*node, string) {
			return w.region("eu", peerFrom("us")), "us"
		}, []string{"waiting for the peer to dial"}},
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

// After a cut the reason is the silence, and the time is that of its beginning.
func TestTunnel_DownSince(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10*time.Millisecond)
		defer w.close()
		w.region("us", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		time.Sleep(time.Minute)
		w.wan.setCut(ip("eu"), ip("us"), true)
		began := time.Now()
		took := eventually(t, 10*time.Second, "down", func() bool { return eu.status("us").State != Up })
		if took > 5100*time.Millisecond {
			t.Errorf("a dead peer was noticed after %v", took)
		}
		if r := eu.status("us").Reason; r != "the peer is silent" {
			t.Errorf("reason %q", r)
		}
		time.Sleep(time.Minute)
		if s := eu.status("us"); s.Since.Sub(began) > 5100*time.Millisecond {
			t.Errorf("down since %v after the cut, for more than a minute", s.Since.Sub(began))
		}
	})
}

// stranger speaks the protocol by hand to a node of the world.
type stranger struct {
	t  *testing.T
	tr *transport
	c  conn
	s  control
	r  *bufio.Reader
}

func (w *world) stranger(t *testing.T, name, to string) *stranger {
	id := w.ca.issue(t, name)
	addr := &net.UDPAddr{IP: net.ParseIP(ip(name)).To4(), Port: 7444}
	o := Options{Identity: id, Listen: func() (net.PacketConn, error) { return w.wan.listen(addr), nil }}.withDefaults()
	tr, err := listen(&o, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	c, err := tr.dial(context.Background(), &net.UDPAddr{IP: net.ParseIP(ip(to)).To4(), Port: 7444}, id.ClientTLS(to))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t, tr, c, s, bufio.NewReader(s)}
}

func (s *stranger) close() {
	s.c.close(0, "done")
	s.tr.close()
}

// open sends an opening and returns the answer.
func (s *stranger) open(h wire.Hello) (wire.Hello, wire.Control) {
	s.t.Helper()
	if _, err := s.s.Write(h.Append(nil)); err != nil {
		s.t.Fatal(err)
	}
	theirs, err := wire.ReadHello(s.r)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := wire.ReadControl(s.r)
	if err != nil {
		s.t.Fatal(err)
	}
	return theirs, m
}

func helloOf(name string) wire.Hello {
	return wire.Hello{Min: 1, Max: 1, Features: wire.Features, Region: name, Home: name,
		Epoch: wire.Epoch{Number: 1, Host: name}, Software: "stranger", Instance: 99, MaxMessage: 1 << 20}
}

// read returns the next control message of the type wanted.
func read[T wire.Control](s *stranger) T {
	s.t.Helper()
	for {
		m, err := wire.ReadControl(s.r)
		if err != nil {
			s.t.Fatal(err)
		}
		if v, ok := m.(T); ok {
			return v
		}
	}
}

func TestOpening_Versions(t *testing.T) {
	for _, c := range []struct {
		name  string
		hello func(h *wire.Hello)
		want  string // in the Goodbye; empty: welcome
	}{
		{"of a later build that speaks ours", func(h *wire.Hello) { h.Max, h.Features = 7, 1<<50|wire.FeatureS2 }, ""},
		{"too new", func(h *wire.Hello) { h.Min, h.Max, h.Software = 5, 7, "9.0" }, "eu (test) speaks 1 to 1, us (9.0) speaks 5 to 7"},
		{"lies about its region", func(h *wire.Hello) { h.Region = "ap" }, `says it is region "ap", its certificate is of "us"`},
		{"of another home", func(h *wire.Hello) { h.Home = "x" }, `hosts home "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Millisecond)
				defer w.close()
				eu := w.region("eu", peerFrom("us"))
				s := w.stranger(t, "us", "eu")
				defer s.close()
				h := helloOf("us")
				c.hello(&h)
				theirs, m := s.open(h)
				if theirs.Region != "eu" || theirs.Home != "eu" || theirs.Software != "test" {
					t.Errorf("answer %+v", theirs)
				}
				switch m := m.(type) {
				case *wire.Welcome:
					if c.want != "" || m.Version != 1 || m.Features != wire.FeatureS2 {
						t.Errorf("welcomed with %+v", m)
					}
				case *wire.Goodbye:
					if c.want == "" || !strings.Contains(m.Reason, c.want) {
						t.Errorf("refused: %q", m.Reason)
					}
					time.Sleep(100 * time.Millisecond)
					if r := eu.status("us").Reason; !strings.Contains(r, c.want) {
						t.Errorf("reason here %q", r)
					}
				}
			})
		})
	}
}

func frameOf(t *testing.T, src wire.Source, from, to uint64, seqs ...uint64) []byte {
	t.Helper()
	e, err := wire.NewEncoder(wire.CodecNone)
	if err != nil {
		t.Fatal(err)
	}
	e.Begin(from)
	for _, q := range seqs {
		e.Add(&wire.Message{Seq: q, Topic: "events/a", Payload: []byte{'m', byte('0' + q%10)}, QoS: 1, Live: true})
	}
	b, err := e.Finish(wire.Header{Source: src, From: from, To: to})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A frame that comes twice is taken once; one that overlaps is taken from where
// the home stands; one that leaves a gap is refused, and the sender is told where
// to begin.
func TestReceiver_DuplicatesOverlapsAndGaps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		eu.home.subscribe(t, "dev", "events/#")
		s := w.stranger(t, "us", "eu")
		defer s.close()
		s.open(helloOf("us"))
		src := wire.Source{Home: "us", Epoch: wire.Epoch{Number: 1, Host: "us"}}
		stream := func() sendStream {
			out, err := s.c.send(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			head := wire.StreamHead{Kind: wire.StreamSpool, Source: src}
			if _, err := out.Write(head.Append(nil)); err != nil {
				t.Fatal(err)
			}
			return out
		}
		send := func(out sendStream, b []byte) {
			if _, err := out.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		first := stream()
		if c := read[*wire.Cursor](s); c.Known {
			t.Fatalf("a cursor before anything was sent: %+v", c)
		}
		send(first, frameOf(t, src, 0, 3, 1, 2, 3))
		send(first, frameOf(t, src, 0, 3, 1, 2, 3)) // twice
		send(first, frameOf(t, src, 2, 5, 3, 5))    // overlapping
		for read[*wire.Ack](s).Committed < 5 {
		}
		send(first, frameOf(t, src, 7, 9, 8, 9)) // 6 and 7 are missing
		<-first.done()
		stream()
		if c := read[*wire.Cursor](s); !c.Known || c.Seq != 5 {
			t.Fatalf("after the gap: %+v, want 5", c)
		}
		same(t, eu.home.queue(t, "dev"), []string{"m1", "m2", "m3", "m5"})
		if n := eu.status("us").Counters.Resyncs; n != 1 {
			t.Errorf("%d resyncs counted, want 1", n)
		}
	})
}

// What breaks the protocol costs the tunnel, and the reason is told.
func TestReceiver_ProtocolErrors(t *testing.T) {
	src := wire.Source{Home: "us", Epoch: wire.Epoch{Number: 1, Host: "us"}}
	other := wire.Source{Home: "ap", Epoch: wire.Epoch{Number: 1, Host: "ap"}}
	spool := func(s wire.Source) []byte {
		h := wire.StreamHead{Kind: wire.StreamSpool, Source: s}
		return h.Append(nil)
	}
	for _, c := range []struct {
		name, want string
		bytes      func(t *testing.T) []byte
	}{
		{"relayed spool", `a spool of home "ap" from home "us"`, func(*testing.T) []byte { return spool(other) }},
		{"relayed frame", `a frame of home "ap"`, func(t *testing.T) []byte { return append(spool(src), frameOf(t, other, 0, 1, 1)...) }},
		{"flipped bit", "checksum", func(t *testing.T) []byte {
			b := append(spool(src), frameOf(t, src, 0, 1, 1)...)
			b[len(b)-1] ^= 4
			return b
		}},
		{"relayed message in no log", `a frame of home "us" in the stream of home`, func(t *testing.T) []byte {
			h := wire.StreamHead{Kind: wire.StreamLive}
			return append(h.Append(nil), frameOf(t, src, 0, 1, 1)...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Millisecond)
				defer w.close()
				eu := w.region("eu", peerFrom("us"))
				s := w.stranger(t, "us", "eu")
				defer s.close()
				s.open(helloOf("us"))
				out, err := s.c.send(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := out.Write(c.bytes(t)); err != nil {
					t.Fatal(err)
				}
				<-s.c.done()
				eventually(t, time.Second, "down", func() bool { return eu.status("us").State != Up })
				if r := eu.status("us").Reason; !strings.Contains(r, c.want) {
					t.Errorf("reason %q does not say %q", r, c.want)
				}
			})
		})
	}
}

// A stream of a kind of a later version is refused alone.
func TestReceiver_UnknownStreamKind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		eu := w.region("eu", peerFrom("us"))
		s := w.stranger(t, "us", "eu")
		defer s.close()
		s.open(helloOf("us"))
		out, err := s.c.send(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		h := wire.StreamHead{Kind: 50}
		if _, err := out.Write(h.Append(nil)); err != nil {
			t.Fatal(err)
		}
		<-out.done()
		synctest.Wait()
		if eu.status("us").State != Up {
			t.Error("the tunnel went down with the stream")
		}
	})
}

// Links come and go while the Manager runs; those that stay are not touched.
func TestManager_Reconfigure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5*time.Millisecond)
		defer w.close()
		us := w.region("us", peerFrom("eu"))
		ap := w.region("ap", peerFrom("eu"))
		eu := w.region("eu", peerTo("us"))
		up(t, eu, "us")
		if err := eu.m.Reconfigure([]Peer{peerTo("us"), peerTo("ap")}); err != nil {
			t.Fatal(err)
		}
		up(t, eu, "ap")
		if err := eu.m.Reconfigure([]Peer{peerTo("ap")}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "us is told", func() bool { return us.status("eu").State == Down })
		if r := us.status("eu").Reason; !strings.Contains(r, "region eu stops the link") {
			t.Errorf("reason %q", r)
		}
		if n := ap.status("eu").Counters.Tunnels; n != 1 {
			t.Errorf("the link that stayed had %d tunnels", n)
		}
		if err := eu.m.Reconfigure([]Peer{{ID: "x", Dial: []string{"tcp://a:1"}}}); err == nil || !strings.Contains(err.Error(), `link to "x"`) {
			t.Errorf("a bad configuration: %v", err)
		}
		if len(eu.m.Status()) != 1 {
			t.Error("a refused configuration changed something")
		}
	})
}

func TestOptions_Validate(t *testing.T) {
	good := func() Options {
		return Options{Region: "eu", Home: &testHome{}, Full: errFull, Local: &node{}, Identity: &identity{},
			Listen: func() (net.PacketConn, error) { return nil, net.ErrClosed }, Peers: []Peer{peerTo("us")}}
	}
	for _, c := range []struct {
		name string
		edit func(o *Options)
		want string
	}{
		{"good", func(*Options) {}, ""},
		{"no region", func(o *Options) { o.Region = "" }, "Region is empty"},
		{"no home", func(o *Options) { o.Home = nil }, "must be set"},
		{"keep-alive", func(o *Options) { o.KeepAlive = time.Minute }, "at most 10s"},
		{"idle", func(o *Options) { o.KeepAlive, o.IdleTimeout = time.Second, time.Second }, "below twice KeepAlive"},
		{"itself", func(o *Options) { o.Peers[0].Region = "eu" }, "this region itself"},
		{"twice", func(o *Options) { o.Peers = append(o.Peers, peerTo("us")) }, "configured twice"},
		{"no name", func(o *Options) { o.Peers[0].ID = "" }, "name the peer"},
		{"scheme", func(o *Options) { o.Peers[0].Dial = []string{"tcp://a:1"} }, `"tcp" is not supported`},
		{"port", func(o *Options) { o.Peers[0].Dial = []string{"host"} }, "missing port"},
		{"filter", func(o *Options) { o.Peers[0].In = []string{"a/#/b"} }, `filter "a/#/b"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good()
			c.edit(&o)
			err := o.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

var _ home.Sink = (*nodeSink)(nil)
