package broker

import (
	"errors"
	"os"
	"time"

	"causeway/broker/packet"
)

// Keep-alive costs nothing per packet: the reader notes when something came, and the socket's deadline stays where it
// was armed. When it fires, and something came since, it is armed again for what is left. [MQTT-3.1.2-22]

func (s *Server) now() instant { return instant(time.Since(s.start)) }

// touch notes that the device is alive.
func (c *conn) touch() {
	if c.keepAlive > 0 {
		c.active = c.s.now()
	}
}

// startKeepAlive replaces the deadline of connecting.
func (c *conn) startKeepAlive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return // shut has set the deadline of the end
	}
	c.touch()
	if c.keepAlive == 0 {
		_ = c.nc.SetReadDeadline(time.Time{})
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(c.keepAlive))
}

// stillAlive says whether a read error is only the deadline of a device that was heard since it was armed.
func (c *conn) stillAlive(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.keepAlive - time.Duration(c.s.now()-c.active)
	if c.closing || left <= 0 {
		return false
	}
	return c.nc.SetReadDeadline(time.Now().Add(left)) == nil
}

// chooseKeepAlive returns one and a half of the keep-alive in force, and what to tell an MQTT 5 device when it is not
// what it asked for. [MQTT-3.2.2-21]
func (s *Server) chooseKeepAlive(p *packet.Connect) (time.Duration, packet.Optional[uint16]) {
	asked := time.Duration(p.KeepAlive) * time.Second
	most := s.limits.Load().KeepAliveMax.Truncate(time.Second)
	if p.Version == packet.V5 && most > 0 && (asked == 0 || asked > most) {
		return most * 3 / 2, packet.Some(uint16(min(most/time.Second, 65535)))
	}
	return asked * 3 / 2, packet.Optional[uint16]{}
}
