package link

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
		long := func(o *tuning) { o.IdleTimeout = time.Minute }
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

// A tunnel that was adopted and never served is done with when the one that it replaced
// is: until then the next one does not begin.
func TestTunnel_NeverServedWaitsForItsPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{changed: make(chan struct{}, 1)}
		old := &tunnel{p: p, ended: make(chan struct{})}
		failed := &tunnel{p: p, ended: make(chan struct{}), before: old}
		go p.abandon(failed)
		synctest.Wait()
		select {
		case <-failed.ended:
			t.Error("the next tunnel may begin while the first one is served")
		default:
		}
		close(old.ended)
		<-failed.ended
	})
}
