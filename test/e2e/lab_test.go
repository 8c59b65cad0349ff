package e2e

import (
	"testing"
	"time"

	"causeway/test/lab"
)

// The NAT in front of eu forgets its mappings and gives other ports: the connection migrates,
// no tunnel is opened anew.
func TestLab_NATRebinds(t *testing.T) {
	w := wideArea(t, lab.SymmetricNAT, ordinary)
	times := 2
	if *wholeLab {
		times = 10
		w.eu.ForgetAfter(2 * time.Second)
		w.idle.Store(true)
		time.Sleep(7 * time.Second)
		w.idle.Store(false)
		t.Logf("7 s idle behind a NAT that forgets after 2 s: %v to the first message", w.caughtUp("after a pause").Round(time.Millisecond))
	}
	for range times {
		before := w.link("us").Address
		w.eu.Forget()
		took := w.caughtUp("after the NAT forgot")
		after := w.link("us").Address
		if after == before {
			t.Errorf("us still sees %s: the NAT did not rebind", after)
		}
		t.Logf("NAT rebound from %s to %s: %v to the first message published since", before, after, took.Round(time.Millisecond))
	}
	if l := w.link("eu"); l.TunnelsUDP != 1 || l.TunnelsTCP != 0 {
		t.Errorf("%d tunnels on UDP, %d on TCP: the connection did not migrate", l.TunnelsUDP, l.TunnelsTCP)
	}
	w.finish()
}

// Behind either NAT, which forgets after two seconds, the link is quiet for longer, often.
func TestLab_MappingsAreShort(t *testing.T) {
	kinds, pauses := []lab.Gateway{lab.PortRestrictedNAT}, 1
	if *wholeLab {
		kinds, pauses = append(kinds, lab.SymmetricNAT), 5
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			w := wideArea(t, kind, ordinary)
			w.eu.ForgetAfter(2 * time.Second)
			for range pauses {
				w.idle.Store(true)
				time.Sleep(5 * time.Second)
				w.idle.Store(false)
				t.Logf("5 s idle: %v to the first message published since", w.caughtUp("after a pause").Round(time.Millisecond))
			}
			w.finish()
		})
	}
}

// The gateways drop UDP, and let it pass again.
func TestLab_UDPBlocked(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	rounds := 1
	if *wholeLab {
		rounds = 3
	}
	for range rounds {
		w.eu.BlockUDP(true)
		w.us.BlockUDP(true)
		fell := w.caughtUp("after UDP was blocked")
		w.on("tcp")
		before := w.path.Carried()
		w.caughtUp("on TCP")
		if passed := w.path.Carried().Minus(before); passed.UDP != 0 || passed.TCP == 0 {
			t.Errorf("passed while UDP was blocked: %+v", passed)
		}
		l := w.link("eu")
		t.Logf("on TCP: %v to the first message published since UDP was blocked; %s (%s)", fell.Round(time.Millisecond), l.TransportReason, l.Cause)
		if l.Cause != "udp_blocked" {
			t.Errorf("cause %q, reason %q", l.Cause, l.TransportReason)
		}
		w.eu.BlockUDP(false)
		w.us.BlockUDP(false)
		back := w.on("udp")
		w.caughtUp("on UDP again")
		t.Logf("back on UDP %v after it was allowed", back.Round(time.Millisecond))
	}
	w.finish()
}

// The path is down for longer than the tunnel lives; what is published meanwhile is spooled.
func TestLab_Outage(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	times := []time.Duration{6 * time.Second}
	if *wholeLab {
		times = []time.Duration{time.Minute, 10 * time.Minute}
	}
	for _, d := range times {
		w.outage(d)
		t.Logf("%v without a path: %v to the first message published since it was back", d, w.caughtUp("after the outage").Round(time.Millisecond))
		w.on("udp")
	}
	w.finish()
}

// The path goes and comes every 3 s.
func TestLab_Flapping(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	flaps := 1
	if *wholeLab {
		flaps = 8
	}
	for range flaps {
		w.outage(3 * time.Second)
		back := time.Now()
		t.Logf("a flap: %v to the first message published since", w.caughtUp("after a flap").Round(time.Millisecond))
		time.Sleep(time.Until(back.Add(3 * time.Second)))
	}
	l := w.link("eu")
	t.Logf("%d flaps, %d tunnels on UDP, %d on TCP", flaps, l.TunnelsUDP, l.TunnelsTCP)
	w.finish()
}

// The node of either side is killed while batches are on their way.
func TestLab_NodeKilled(t *testing.T) {
	w := wideArea(t, lab.PortRestrictedNAT, ordinary)
	times := 1
	if *wholeLab {
		times = 4
	}
	for range times {
		for _, region := range []string{"us", "eu"} {
			n := w.tr.Node(region)
			n.Kill()
			killed := time.Now()
			restart(t, n, 0)
			took := w.caughtUp("after a kill")
			t.Logf("%s killed: served again after %v, %v more to the first message published since", region,
				(time.Since(killed) - took).Round(time.Millisecond), took.Round(time.Millisecond))
		}
	}
	w.finish()
}

// A path of 1228 bytes, the least that QUIC works on; larger packets vanish without a word.
func TestLab_SmallestPath(t *testing.T) {
	c := ordinary
	c.MTU = 1228
	w := wideArea(t, lab.Router, c)
	w.on("udp")
	if l := w.link("eu"); l.TunnelsTCP != 0 {
		t.Errorf("%d tunnels over TCP", l.TunnelsTCP)
	}
	if *wholeLab {
		w.outage(10 * time.Second)
		t.Logf("10 s without a path: %v to the first message published since it was back", w.caughtUp("after the outage").Round(time.Millisecond))
	}
	w.finish()
}
