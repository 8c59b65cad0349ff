package link

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"causeway/link/wire"
)

// Several QUIC connections carry too little, and TCP more: the tunnel moves, whichever
// side sends, stays while that is so, and goes back when there is no more to send. What
// crosses, crosses once and in order.
func TestDetour_ThereAndBack(t *testing.T) {
	for _, dir := range []string{"the side that dialled sends", "the other side sends"} {
		t.Run(dir, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, from, to := lossyPairTo(t, peerToBoth("us"), 2)
				defer w.close()
				topic := "events/a"
				if dir == "the other side sends" {
					from, to, topic = to, from, "answers/a"
				}
				total := flowUntil(t, from, to.name, topic, 100_000, func() bool { return from.status(to.name).Network == "tcp" })
				s := from.status(to.name)
				if s.Network != "tcp" || !strings.Contains(s.WhyNotUDP, "loses 1") && !strings.Contains(s.WhyNotUDP, "loses 0.") {
					t.Errorf("on %s: %s", s.Network, s.WhyNotUDP)
				}
				drained(t, from, to.name, time.Minute)
				same(t, to.home.queue(t, "dev"), numbered(from.name, topic, 0, total))
				time.Sleep(20 * time.Second)
				if s := from.status(to.name); s.Network != "tcp" || s.Counters.Tunnels != 2 {
					t.Errorf("a little later on %s, %d tunnels", s.Network, s.Counters.Tunnels)
				}
				time.Sleep(3 * time.Minute)
				a, b := from.status(to.name), to.status(from.name)
				if a.Network != "udp" || a.State != Up || a.Counters.Tunnels != 3 || b.Counters.Tunnels != 3 {
					t.Errorf("after a calm while on %s, %d and %d tunnels", a.Network, a.Counters.Tunnels, b.Counters.Tunnels)
				}
			})
		})
	}
}

// Without an address for TCP, or where that does not get through, the tunnel stays, and
// is not troubled by it.
func TestDetour_NoTCP(t *testing.T) {
	for name, p := range map[string]Peer{"no address": peerTo("us"), "nobody there": func() Peer {
		p := peerTo("us")
		p.Dial = append(p.Dial, "tcp://10.9.9.9:1")
		return p
	}()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, eu, us := lossyPairTo(t, p, 2)
				defer w.close()
				flow(t, eu, "us", "events/a", 8_000)
				drained(t, eu, "us", time.Minute)
				same(t, us.home.queue(t, "dev"), numbered("eu", "events/a", 0, 8_000))
				if s := eu.status("us"); s.Network != "udp" || s.Counters.Tunnels != 1 {
					t.Errorf("on %s, %d tunnels", s.Network, s.Counters.Tunnels)
				}
			})
		})
	}
}

func TestStay(t *testing.T) {
	for _, c := range []struct {
		name       string
		beat       float64
		rate, load float64
		want       time.Duration // when the detour ends; 0: it does not
	}{
		{"it carries more", 1e6, 3e6, 1e9, 0},
		{"it carries as much", 1e6, 1e6, 1e9, 8 * time.Second},
		{"it carries less", 1e6, 5e5, 1e9, 8 * time.Second},
		{"there is a little less to send", 1e6, 3e6, 8e5, 0},
		{"there is little to send", 1e6, 3e6, 1e5, calmFor},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, began := stay{beat: c.beat}, time.Unix(1000, 0)
			ended := time.Duration(0)
			for at := began; ended == 0 && at.Before(began.Add(time.Hour)); at = at.Add(lookEvery) {
				rate := min(c.rate, c.load)
				g := glance{over: lookEvery, bytes: uint64(rate * lookEvery.Seconds()), have: 1}
				if c.load > c.rate {
					g.held = lookEvery
				}
				if !s.look(at, g) {
					ended = at.Sub(began)
				}
			}
			if ended < c.want || ended > c.want+detourWarm || (ended == 0) != (c.want == 0) {
				t.Errorf("ended after %v, want %v", ended, c.want)
			}
			if s.good != (c.rate >= betterBy*c.beat && c.load > c.beat) {
				t.Errorf("good: %v", s.good)
			}
		})
	}
}

// What brought nothing is not wished for again soon; what was good is.
func TestWishes_Pace(t *testing.T) {
	var w wishes
	at := time.Unix(1000, 0)
	asked := 0
	for range 6 * 3600 {
		if at = at.Add(time.Second); w.ask(at, 1e6, "x") {
			asked++
		}
	}
	if asked < 8 || asked > 12 {
		t.Errorf("asked %d times in six hours", asked)
	}
	w.good()
	if at = at.Add(detourMost); !w.ask(at, 1e6, "x") || w.ask(at.Add(detourLeast), 1e6, "x") {
		t.Error("the pace after a good one")
	}
	if beat, why, ok := w.granted(at.Add(detourTook)); !ok || beat != 1e6 || why != "x" {
		t.Errorf("granted: %v %q %v", beat, why, ok)
	}
	if _, _, ok := w.granted(at.Add(detourTook + time.Second)); ok {
		t.Error("granted long after it was asked for")
	}
}

// A peer that asks for TCP all the time makes us try no more often than makes sense.
func TestDetour_AskedForAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tun := &tunnel{p: &peer{changed: make(chan struct{}, 1)}, c: overUDPConn{}, dialled: true, detour: make(chan struct{}, 1)}
		tries := 0
		for range 600 {
			tun.heardWish(&wire.Connections{Want: 1, TCP: true})
			select {
			case <-tun.detour:
				tries++
			default:
			}
			time.Sleep(100 * time.Millisecond)
		}
		if want := int(time.Minute / detourTook); tries != want {
			t.Errorf("%d tries in a minute, want %d", tries, want)
		}
	})
}

type overUDPConn struct{ conn }

func (overUDPConn) network() network { return overUDP }
