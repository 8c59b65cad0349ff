package broker

import (
	"causeway/broker/packet"
	"causeway/internal/home"
)

// pull takes references from the session's queue and sends them.
func (w *writer) pull(most int) error {
	c := w.c
	w.refs = c.house.home.Queue(c.key, c.epoch, c.pulled, most, w.refs[:0])
	if len(w.refs) == most {
		c.mu.Lock()
		c.more = true
		c.mu.Unlock()
	}
	now := home.Time(0)
	for i := range w.refs {
		q := &w.refs[i]
		if q.ReleaseFirst {
			w.releaseIDs(q.Ref)
			break
		}
		if now == 0 && q.Message.Expires != 0 {
			now = c.house.home.Now()
		}
		if err := w.queued(q, now); err != nil {
			return err
		}
	}
	c.flushAcks() // proposes skips
	return nil
}

// queued sends one reference: again as it was, if it may have been sent on an earlier connection.
func (w *writer) queued(q *home.Queued, now home.Time) error {
	c := w.c
	c.mu.Lock()
	c.pulled = q.Ref
	c.mu.Unlock()
	id := home.PacketID(q.Ref)
	if q.Received { // the message was received; only the exchange has to be completed
		c.remember(q.Ref, q.QoS, refReleased)
		w.messages = true
		w.buf().b = packet.AppendAck(w.buf().b, c.v, packet.PUBREL, id, packet.Success)
		return nil
	}
	if q.Evicted {
		m, err := c.house.home.Body(q.Seq)
		if err != nil {
			c.s.quiet.warn("read a queued message", "client", c.key.ClientID, "seq", q.Seq, "error", err)
			c.lost()
			return err
		}
		q.Message = m
		if now == 0 && m.Expires != 0 {
			now = c.house.home.Now()
		}
	}
	again := q.Ref <= c.resumed
	sent, err := w.publish(outgoing{
		msg: &q.Message, subs: q.SubIDs, qos: q.QoS, retain: q.Retain, id: id, ref: q.Ref, dup: again, now: now,
	})
	if err == nil && sent != sentOK {
		c.skip(q.Ref, sent)
	}
	return err
}
