package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// standbyLab has topics under cmd/ that wait for the standby.
func standbyLab(t *testing.T) *lab {
	l := newLab(t, piped)
	l.home.configure(home.Configure{Revision: 1, Acks: []home.AckPolicy{{Filter: "cmd/#", Policy: home.PolicyStandby}}})
	return l
}

// What is published under the policy standby is answered when the standby has it; what another device publishes does not
// wait for that, and what the same device publishes waits for its turn. [MQTT-4.6.0-2]
func TestPolicyStandby_AnswersInOrderAndHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := standbyLab(t)
		d, other := l.pipe(packet.V5), l.pipe(packet.V5)
		d.connectOK("dev")
		other.connectOK("other")
		l.home.ship(false)
		d.publish(pub("cmd/a", "1", 1, 1))
		d.publish(pub("a", "2", 1, 2))
		d.publish(pub("cmd/a", "3", 2, 3))
		other.publish1("a", "x", 1)
		if f, err := d.next(time.Second); err == nil {
			t.Fatalf("got %s while the standby had nothing", f.h.Type)
		}
		l.home.ship(true)
		d.ack(packet.PUBACK, 1)
		d.ack(packet.PUBACK, 2)
		d.ack(packet.PUBREC, 3)
		l.stop()
	})
}

// A device hears of its session, and of what it subscribed, when the standby knows it; a session that goes on does not
// wait, nor do subscriptions that end with the connection. [E3]
func TestStandby_SessionsAndSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := standbyLab(t)
		waits := func(d *device, what packet.Type) {
			t.Helper()
			if f, err := d.next(time.Second); err == nil {
				t.Fatalf("got %s while the standby did not know, want no %s", f.h.Type, what)
			}
			l.home.ship(true)
			if f := d.read(); f.h.Type != what {
				t.Fatalf("got %s, want %s", f.h.Type, what)
			}
			l.home.ship(false)
		}
		connect := func(d *device, change ...func(*packet.Connect)) {
			p := packet.Connect{Version: packet.V5, ClientID: "dev", ReceiveMaximum: 9}
			for _, f := range change {
				f(&p)
			}
			d.send(packet.AppendConnect(nil, &p))
		}
		clean := func(p *packet.Connect) { p.CleanStart = true }
		l.home.ship(false)
		first, again, anew, brief := l.pipe(packet.V5), l.pipe(packet.V5), l.pipe(packet.V5), l.pipe(packet.V5)
		connect(first, persistent)
		waits(first, packet.CONNACK)
		first.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "a", QoS: 1}}}))
		waits(first, packet.SUBACK)
		first.send(packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 2, Filters: []string{"a"}}))
		waits(first, packet.UNSUBACK)
		if ack := again.connectOK("dev", persistent); !ack.SessionPresent {
			t.Error("the session was not there")
		}
		connect(anew, clean)
		waits(anew, packet.CONNACK)
		l.home.ship(true)
		brief.connectOK("brief")
		l.home.ship(false)
		brief.subscribe(1, "a")
		l.stop()
	})
}

// A standby that does not answer for as long as clients wait for a CONNACK parks them; the session is let go of.
func TestStandby_ConnectParkedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := standbyLab(t)
		l.home.ship(false)
		d := l.pipe(packet.V311)
		d.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, ClientID: "dev", ReceiveMaximum: 9}))
		began := time.Now()
		if f, err := d.next(time.Minute); err == nil {
			t.Fatalf("got %s", f.h.Type)
		}
		if took := time.Since(began); took != l.s.opt.ParkTime {
			t.Errorf("closed after %v, want %v", took, l.s.opt.ParkTime)
		}
		synctest.Wait()
		if x, ok := l.home.state.Session(key("dev")); !ok || x.Owner != (home.Owner{}) {
			t.Errorf("the session is %+v", x)
		}
		l.home.ship(true)
		l.stop()
	})
}
