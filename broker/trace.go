package broker

import (
	"strings"

	"causeway/broker/packet"
	"causeway/internal/home"
	"causeway/internal/trace"
)

// What traces hear of. Every call is behind the question whether one runs, which is one load.

// tracing returns the traces that run, nil if none does.
func (c *conn) tracing() *trace.Active { return c.s.opt.Trace.On() }

// line begins a line about the connection.
func (c *conn) line(event string) trace.Line {
	return trace.Line{Event: event, Namespace: c.key.Namespace, ClientID: c.key.ClientID, Address: c.who.Remote, Listener: c.l.Name}
}

// traceConnect notes a CONNECT that was answered.
func (c *conn) traceConnect(present, tookOver bool) {
	on := c.tracing()
	if on == nil {
		return
	}
	l := c.line(trace.Connected)
	l.Reason = "new session"
	if present {
		l.Reason = "found its session"
	}
	if tookOver {
		l.Reason += ", taken from another connection"
	}
	on.Note(l)
}

// traceRefused notes a connection that came to nothing, as far as it was understood.
func (k *connecting) traceRefused(r *refusal) {
	on := k.s.opt.Trace.On()
	if on == nil {
		return
	}
	l := trace.Line{Event: trace.Refused, Namespace: k.l.Namespace, Address: k.from, Listener: k.l.Name, Reason: r.result.String()}
	if r.reason != "" {
		l.Reason += ": " + r.reason
	}
	if k.hello != nil {
		l.ClientID = k.hello.ClientID
	}
	on.Note(l)
}

func (c *conn) traceEnd(why EndReason) {
	if on := c.tracing(); on != nil {
		l := c.line(trace.Ended)
		l.Reason = why.String()
		on.Note(l)
	}
}

// traceSubscribe notes what became of a SUBSCRIBE.
func (c *conn) traceSubscribe(subs []home.Subscription, codes []packet.Code) {
	if c.tracing() == nil {
		return
	}
	filters := make([]string, len(subs))
	for i := range subs {
		filters[i] = subs[i].Filter
	}
	c.traceFilters(trace.Subscribed, filters, codes)
}

// traceFilters notes what became of each filter of a SUBSCRIBE or UNSUBSCRIBE.
func (c *conn) traceFilters(event string, filters []string, codes []packet.Code) {
	on := c.tracing()
	if on == nil {
		return
	}
	for i, f := range filters {
		l := c.line(event)
		l.Topic = f
		if code := codes[i]; code.Failed() {
			l.Reason = "refused: " + code.String()
			if code == packet.NotAuthorized {
				l.Event, l.Reason = trace.Denied, "subscribe: "+c.ruleFor(sharedFilter(f), false)
			}
		} else if event == trace.Subscribed {
			l.QoS = byte(code)
		}
		on.Note(l)
	}
}

// ruleFor names the access rule that denies something.
func (c *conn) ruleFor(name string, write bool) string {
	a, ok := c.s.opt.Authenticator.(interface {
		Decide(who *Identity, name string, write bool) Decision
	})
	if !ok {
		return "not authorized"
	}
	d := a.Decide(&c.who, name, write)
	if d.Allowed || d.Rule == "" {
		return "not authorized"
	}
	return "not authorized by the rule " + d.Rule
}

// publishLine begins a line about a message of the device. The topic may be a view of the packet.
func (c *conn) publishLine(event, topic string, qos byte, id uint16, payload []byte) trace.Line {
	l := c.line(event)
	l.Topic, l.QoS, l.PacketID, l.Bytes, l.Payload = strings.Clone(topic), qos, id, len(payload), payload
	return l
}

func (c *conn) tracePublish(event, topic string, p *packet.Publish) {
	if on := c.tracing(); on != nil {
		on.Note(c.publishLine(event, topic, p.QoS, p.PacketID, p.Payload))
	}
}

func (c *conn) traceDenied(topic string, p *packet.Publish) {
	if on := c.tracing(); on != nil {
		l := c.publishLine(trace.Denied, topic, p.QoS, p.PacketID, p.Payload)
		l.Reason = "publish: " + c.ruleFor(topic, true)
		on.Note(l)
	}
}

// traceForward notes that a message in no log is handed to a link.
func (c *conn) traceForward(m *home.Message, peer home.ID) {
	if on := c.tracing(); on != nil {
		l := c.publishLine(trace.Forwarding, m.Topic, m.QoS, 0, m.Payload)
		l.Peer = string(peer)
		on.Note(l)
	}
}

// traceAccepted notes the answer to a message of the device: its packet id is the device's.
func (c *conn) traceAccepted(topic string, qos byte, id uint16, code packet.Code) {
	if on := c.tracing(); on != nil {
		l := c.publishLine(trace.Accepted, topic, qos, id, nil)
		l.Reason = code.String()
		on.Note(l)
	}
}

// traceSent notes what became of a message for the device.
func (c *conn) traceSent(o *outgoing, sent sentResult) {
	on := c.tracing()
	if on == nil {
		return
	}
	l := c.publishLine(trace.Delivered, o.msg.Topic, o.qos, o.id, o.msg.Payload)
	if o.dup {
		l.Reason = "again"
	}
	if sent != sentOK {
		l.Event, l.Reason = trace.Dropped, [...]string{sentExpired: "expired", sentTooLarge: "larger than the packets the device takes"}[sent]
	}
	on.Note(l)
}

func (c *conn) traceUnsent(it *item, reason string) {
	if on := c.tracing(); on != nil {
		l := c.publishLine(trace.Dropped, it.msg.Topic, it.qos, 0, it.msg.Payload)
		l.Reason = reason
		on.Note(l)
	}
}

func (c *conn) traceAck(a packet.Ack) {
	if on := c.tracing(); on != nil {
		l := c.line(trace.Acknowledged)
		l.PacketID, l.Reason = a.PacketID, a.Type.String()
		if a.Code.Failed() {
			l.Reason += " " + a.Code.String()
		}
		on.Note(l)
	}
}
