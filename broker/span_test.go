package broker

import (
	"testing"

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
