package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// The home holds a message back whose packet id would meet an unacknowledged one that came 32,767 messages earlier. The
// acknowledgement of that one is then the only thing that can bring the rest: nothing new is queued.
func TestDeliver_GoesOnWhenTheOldestOfAllPacketIDsIsAcknowledged(t *testing.T) {
	l := newLab(t)
	d := l.connect(packet.V5, "dev", persistent)
	d.subscribe(1, "a")
	const all = home.FirstLocalID + 10
	for range all {
		op := &home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", Payload: []byte("x"), QoS: 1}
		if err := l.home.Propose(op, func(home.Outcome, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	first := d.message().PacketID
	got := 1
	for ; got < home.FirstLocalID-2; got++ {
		d.sendAck(packet.PUBACK, d.message().PacketID)
	}
	eventually(t, "the others are acknowledged", func() bool {
		x, _ := l.home.state.Session(key("dev"))
		return x.Queued == all-got+1
	})
	d.silent()
	d.sendAck(packet.PUBACK, first)
	for ; got < all; got++ {
		d.sendAck(packet.PUBACK, d.message().PacketID)
	}
}

// The same when what is held back is far from what was sent, since everything between the two has expired.
func TestDeliver_GoesOnBehindWhatExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, piped)
		const all = home.FirstLocalID + 10
		l.home.configure(home.Configure{Revision: 1, Limits: home.Limits{QueueMessages: all}})
		d := l.pipe(packet.V5)
		d.connectOK("dev", persistent, func(p *packet.Connect) { p.ReceiveMaximum = 2 })
		d.subscribe(1, "a")
		publish := func(payload string, expiry uint32) {
			op := &home.Publish{Session: home.SessionKey{Namespace: "ns"}, Topic: "a", Payload: []byte(payload), QoS: 1, Expiry: expiry}
			if err := l.home.Propose(op, func(home.Outcome, error) {}); err != nil {
				t.Fatal(err)
			}
		}
		publish("first", 0)
		publish("second", 0)
		first, second := d.wantMessage("first"), d.wantMessage("second")
		for range all - 2 {
			publish("old", 5)
		}
		time.Sleep(10 * time.Second)
		publish("last", 0)
		synctest.Wait()
		if x, _ := l.home.state.Session(key("dev")); x.Queued != 3 {
			t.Fatalf("%d wait, want what was sent and the last", x.Queued)
		}
		d.acknowledge(second)
		synctest.Wait()
		d.acknowledge(first)
		d.acknowledge(d.wantMessage("last"))
		l.stop()
	})
}
