package broker

import (
	"causeway/broker/packet"
	"causeway/internal/home"
)

// handle does what one packet of the device says. body is valid until it returns.
func (c *conn) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return c.handlePublish(h, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.DecodeAck(h, body, c.v)
		if err != nil {
			return err
		}
		if a.Type == packet.PUBREL {
			return c.handleRelease(a.PacketID)
		}
		return c.handleAck(a)
	case packet.SUBSCRIBE:
		p, err := packet.DecodeSubscribe(body, c.v)
		if err != nil {
			return err
		}
		return c.handleSubscribe(&p)
	case packet.UNSUBSCRIBE:
		p, err := packet.DecodeUnsubscribe(body, c.v)
		if err != nil {
			return err
		}
		return c.handleUnsubscribe(&p)
	case packet.PINGREQ:
		return c.handlePing(h)
	case packet.DISCONNECT:
		p, err := packet.DecodeDisconnect(body, c.v)
		if err != nil {
			return err
		}
		return c.handleDisconnect(&p)
	case packet.AUTH:
		// Enhanced authentication was refused at CONNECT, so there is nothing to go on with. [MQTT-4.12.0-6]
		return &packet.Error{Code: packet.ProtocolError, Reason: "AUTH without an authentication method in CONNECT"}
	}
	return &packet.Error{Code: packet.ProtocolError, Reason: h.Type.String() + " is not for a client to send"}
}

func (c *conn) handlePing(h packet.Header) error {
	if h.Remaining != 0 {
		return &packet.Error{Code: packet.MalformedPacket, Reason: "PINGREQ has a body"}
	}
	if err := c.waitForReader(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.control(packet.AppendPingresp)
	c.wake()
	return nil
}

// handleRelease ends the use of an inbound QoS 2 id. PUBCOMP follows when that is committed [A4]; for an id the home
// does not know too, and without a reason code: clients take 0x92 for the failure of a message that arrived.
func (c *conn) handleRelease(id uint16) error {
	const size = 64
	if err := c.reserve(size); err != nil {
		return err
	}
	return c.proposeFor(size, &home.Release{Session: c.key, Epoch: c.epoch, PacketID: id}, false, func(home.Outcome) {
		c.control(func(b []byte) []byte { return packet.AppendAck(b, c.v, packet.PUBCOMP, id, packet.Success) })
		c.wake()
	})
}

// handleDisconnect notes what the device wants done with its session; the reader ends.
func (c *conn) handleDisconnect(p *packet.Disconnect) error {
	if p.SessionExpiry.Set && p.SessionExpiry.Value > 0 && c.noExpiry { // section 3.14.2.2.2
		return &packet.Error{Code: packet.ProtocolError, Reason: "DISCONNECT raises the session expiry that CONNECT set to 0"}
	}
	c.mu.Lock()
	// Other codes than 0x00 leave the will to be published. [MQTT-3.14.4-3]
	c.detach.DropWill = p.Code == packet.NormalDisconnection
	if p.SessionExpiry.Set {
		c.detach.SetExpiry, c.detach.Expiry = true, p.SessionExpiry.Value
	}
	c.mu.Unlock()
	c.shut(EndClient, 0, "")
	return errClosing
}
