package link

import (
	"causeway/internal/trace"
	"causeway/link/wire"
)

// trace notes what became of a message that crosses the link, for whoever follows it. While nobody does it is one load.
func (p *peer) trace(event string, m *wire.Message, why string) {
	on := p.m.o.Trace.On()
	if on == nil || m.Topic == "" {
		return
	}
	on.Note(trace.Line{Event: event, Namespace: m.Namespace, Topic: m.Topic, QoS: m.QoS, Bytes: len(m.Payload), Payload: m.Payload,
		Peer: string(p.config().ID), Reason: why})
}
