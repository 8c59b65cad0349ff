package e2e

import (
	"testing"
	"time"

	"causeway/internal/trial"
	"causeway/test/lab"
)

// The link runs inside a WireGuard tunnel, whose packets are smaller. The tunnel's keys change, it
// is taken down, and the path under it goes.
func TestLab_InsideVPN(t *testing.T) {
	c := ordinary
	c.MTU = 1400
	var vpn *lab.VPN
	w := wideArea(t, lab.PortRestrictedNAT, c, func(w *wide, o *trial.Options) {
		vpn = w.net.VPN(w.eu, w.us, c.MTU-80)
		var at struct{ eu, us string }
		at.eu, at.us = vpn.Addresses()
		o.Links = func(region string, _ int) trial.Links {
			address := map[string]string{"eu": at.eu, "us": at.us}[region]
			return trial.Links{Listen: address + ":7444", ListenTCP: address + ":7445", Dial: []string{"udp://" + address + ":7444", "tcp://" + address + ":7445"}}
		}
	})
	w.on("udp")
	times := 1
	if *wholeLab {
		times = 5
	}
	for range times {
		vpn.Rekey()
		t.Logf("other keys: %v to the first message published since", w.caughtUp("after other keys").Round(time.Millisecond))
		got := w.flows[0].to.last()
		vpn.Down(true)
		time.Sleep(2 * time.Second)
		if n := w.flows[0].to.last(); n > got+100 {
			t.Errorf("%d messages arrived while the VPN was down: they went around it", n-got)
		}
		vpn.Down(false)
		t.Logf("2 s without the VPN: %v to the first message published since", w.caughtUp("after the VPN was back").Round(time.Millisecond))
		w.outage(4 * time.Second)
		t.Logf("4 s without a path: %v to the first message published since", w.caughtUp("after the outage").Round(time.Millisecond))
	}
	if l := w.path.Carried(); l.TCP != 0 {
		t.Errorf("%d bytes of TCP passed outside of the VPN", l.TCP)
	}
	w.finish()
}
