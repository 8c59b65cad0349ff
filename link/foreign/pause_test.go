package foreign

import (
	"testing"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// A paused link has no connection and dials none; what it owes goes on once it is resumed, and what was dropped by filter
// meanwhile does not go.
func TestPause_NoConnectionUntilResumed(t *testing.T) {
	run(t, nil, func(l *lab) {
		s := l.accept(false, packet.Connack{})
		s.next(packet.SUBSCRIBE)
		l.home.do(&home.PausePeer{Peer: "old", Paused: true})
		s.next(packet.DISCONNECT)
		s.Close()
		l.home.publish("d", "v/1", "a", 1)
		l.home.publish("d", "x/1", "b", 1)
		l.home.do(&home.DropSpooled{Peer: "old", Filter: "v/#", AllClasses: true})
		time.Sleep(time.Hour)
		select {
		case <-l.dials:
			t.Fatal("a paused link dials")
		default:
		}
		l.want("spooled", l.home.spooled("old"), 2)
		l.home.do(&home.PausePeer{Peer: "old"})
		s = l.accept(true, packet.Connack{})
		s.next(packet.SUBSCRIBE)
		p := s.published()
		l.want("what goes", string(p.Topic), "x/1")
		s.ack(packet.PUBACK, p.PacketID, packet.Success)
		l.settle()
		l.want("spooled in the end", l.home.spooled("old"), 0)
		l.want("trimmed", l.dropped(DropOperator), 1)
	})
}
