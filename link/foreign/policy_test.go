package foreign

import (
	"testing"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// What the home has is what holds.
func TestPolicy_OfTheRegion(t *testing.T) {
	run(t, nil, func(l *lab) {
		l.home.do(&home.SetPolicy{Peer: "old", Revision: l.home.st.LinkPolicy("old").Revision, Keys: home.KeyNever | home.KeyInPrefix | home.KeyQoSMax,
			Values: home.SetPeer{Never: []string{"pii/#"}, InPrefix: "plant/", QoSMax: 1}})
		s := l.accept(false, packet.Connack{})
		s.subscribed()
		received := l.home.subscribe("d", "plant/#")
		l.home.publish("p", "pii/1", "never", 1)
		l.home.publish("p", "v/1", "out", 2)
		p := s.published()
		l.want("message, QoS", []any{string(p.Payload), p.QoS}, []any{"out", 1})
		for id, topic := range []string{"pii/2", "v/2"} {
			s.publish(packet.OutPublish{Topic: topic, QoS: 1, PacketID: uint16(id + 1), Payload: []byte(topic)})
			s.acked(packet.PUBACK)
		}
		l.settle()
		l.want("received", received(), []string{"v/2"})
	})
}
