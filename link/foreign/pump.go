package foreign

import (
	"context"
	"fmt"
	"time"

	"causeway/broker/packet"
)

// read takes packets until the connection ends.
func (c *lane) read(ctx context.Context, s *conn, in *inbound) error {
	for {
		_ = s.SetReadDeadline(time.Now().Add(s.keepAlive + s.keepAlive/2))
		h, body, err := readPacket(s.r, s.dialect.version, c.t.l.m.o.MaxPacket)
		if tooLarge(err) && h.Type == packet.PUBLISH {
			err = in.skip(h)
		}
		if err != nil {
			return ended(err)
		}
		if err := c.unsaid(); err != nil {
			return err
		}
		if body == nil { // skipped
			continue
		}
		c.t.l.counts.bytesIn.Add(uint64(len(body) + 2))
		if err := c.heed(ctx, s, in, h, body); err != nil {
			return err
		}
	}
}

func (c *lane) heed(ctx context.Context, s *conn, in *inbound, h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		a, err := packet.DecodeAck(h, body, s.dialect.version)
		if err != nil {
			return err
		}
		c.acknowledged(s, a)
		return nil
	case packet.PINGRESP:
		return nil
	case packet.DISCONNECT:
		d, err := packet.DecodeServerDisconnect(body)
		if err != nil {
			return err
		}
		c.blame(d.Code)
		return disconnected(&d)
	case packet.PUBLISH, packet.PUBREL, packet.SUBACK:
		return in.heed(ctx, h, body)
	}
	return fmt.Errorf("the broker sent %s, which no broker sends a client", h.Type)
}

func disconnected(d *packet.Disconnect) error {
	if d.ReasonString != "" {
		return fmt.Errorf("the broker ends the connection: %s (it says %q)", d.Code, d.ReasonString)
	}
	if d.Code == packet.SessionTakenOver {
		return fmt.Errorf("the broker ends the connection: %s; another client has this client_id: give each region and link its own", d.Code)
	}
	return fmt.Errorf("the broker ends the connection: %s", d.Code)
}

// write sends what there is to send until the connection ends, and says goodbye if that is ours to do.
func (c *lane) write(ctx context.Context, s *conn) error {
	ping := time.NewTicker(s.keepAlive / 2)
	defer ping.Stop()
	var buf []byte
	for {
		var rest time.Duration
		if buf, rest = c.fill(buf[:0], s); len(buf) > 0 {
			if err := c.put(s, buf); err != nil {
				return err
			}
			continue
		}
		if err := c.idle(ctx, s, ping.C, rest); err != nil {
			return err
		}
		if ctx.Err() != nil {
			_, _ = s.Write(packet.AppendDisconnectPacket(nil, s.dialect.version, &packet.Disconnect{}))
			return nil
		}
	}
}

func (c *lane) put(s *conn, buf []byte) error {
	n, err := s.Write(buf)
	c.t.l.counts.bytesOut.Add(uint64(n))
	if err != nil {
		return ended(err)
	}
	c.wrote()
	return nil
}

// idle waits until there may be something to write; rest is when a pause ends, if there is one.
func (c *lane) idle(ctx context.Context, s *conn, ping <-chan time.Time, rest time.Duration) error {
	var due <-chan time.Time
	if rest > 0 {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-c.wake:
	case <-due:
	case <-ping:
		if _, err := s.Write(packet.AppendPingreq(nil)); err != nil {
			return ended(err)
		}
	case <-ctx.Done():
	}
	return nil
}
