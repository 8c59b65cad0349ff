package broker

import (
	"context"
	"slices"
	"time"

	"causeway/broker/packet"
)

// stop ends all connections, at a pace that keeps their devices from redialling in the same second. Until its turn comes
// a device is served as ever. Then it is parted from: what it publishes at QoS 1 and 2 is not taken any more, nothing
// more of its queue is sent, and its connection is closed once what is under way in both directions is answered, or
// after SettleTime. So it finds nothing to send again where it goes, and nothing comes to it twice.
//
//	served --its turn--> leaving --settled, or SettleTime--> closing --the device closed, or lingerTime--> gone
//
// By default connections are closed without DISCONNECT: a DISCONNECT makes some clients exit, a close makes all of them
// redial. Their sessions are detached as moved ones: a will is published only if the device does not come back in time.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopOnce.Do(func() { close(s.stopping) })
	s.closeListeners()
	for sock := range s.connecting {
		_ = sock.Close()
	}
	s.mu.Unlock()
	s.admission.close()
	gone := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(gone)
	}()
	limit, cancel := context.WithTimeout(context.Background(), s.opt.DrainTime)
	defer cancel()
	s.partFromAll(limit)
	select {
	case <-gone:
	case <-limit.Done():
	}
	s.cancel()
	s.each(func(c *conn) { _ = c.sock.Close() })
	<-gone
}

// partFromAll takes leave of all connections, of DrainRate a second or as many as are needed to be done with in half of
// DrainTime. It returns when all are closing.
func (s *Server) partFromAll(limit context.Context) {
	var all []*conn
	s.each(func(c *conn) { all = append(all, c) })
	const tick = 20 * time.Millisecond
	ticks := max(1, int(s.opt.DrainTime/2/tick))
	step := max(1, int(float64(s.opt.DrainRate)*tick.Seconds()), (len(all)+ticks-1)/ticks)
	t := time.NewTicker(tick)
	defer t.Stop()
	p := parting{reason: EndShutdown, code: func(*conn) packet.Code { return packet.Success }}
	if s.opt.DrainDisconnect {
		p.code = func(*conn) packet.Code { return packet.ServerShuttingDown }
	}
	for limit.Err() == nil {
		n := min(step, len(all))
		p.begin(all[:n], time.Now().Add(s.opt.SettleTime))
		all = all[n:]
		p.close(time.Now())
		if len(all)+len(p.leaving) == 0 {
			break
		}
		select {
		case <-t.C:
		case <-limit.Done():
		}
	}
	s.opt.Logger.Info("connections closed for the stop", "settled", p.settled, "with_something_under_way", p.cut)
}

// parting is what is on its way out.
type parting struct {
	reason       EndReason
	code         func(*conn) packet.Code
	leaving      []leaver
	settled, cut int
}

type leaver struct {
	c     *conn
	until time.Time
}

func (p *parting) begin(conns []*conn, until time.Time) {
	for _, c := range conns {
		c.leaving.Store(true)
		p.leaving = append(p.leaving, leaver{c, until})
	}
}

// close closes those that are settled or have had their time.
func (p *parting) close(now time.Time) {
	p.leaving = slices.DeleteFunc(p.leaving, func(l leaver) bool {
		closed, settled := l.c.leave(!now.Before(l.until), p.reason, p.code(l.c))
		switch {
		case settled:
			p.settled++
		case closed:
			p.cut++
		}
		return closed
	})
}

// leave closes the connection if nothing is under way on it, or if it must. A publish that is being read meanwhile is
// either counted by then, or finds the connection closing.
func (c *conn) leave(must bool, reason EndReason, code packet.Code) (closed, settled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	settled = c.closing || c.settled()
	if !settled && c.ready && !must {
		return false, false
	}
	c.shutLocked(reason, code, "", true)
	return true, settled
}

// settled says that everything the device sent is answered and the answers are written, and that it has acknowledged
// everything that was sent to it, to the log's knowledge. What is in no queue of the home is sent and acknowledged too.
func (c *conn) settled() bool {
	answered := c.ops == 0 && c.subacks == 0 && c.ctrl == nil && !c.draining
	sent := c.mem0.len() == 0 && (c.memN.len() == 0 || c.more)
	return answered && sent && len(c.win) == 0 && len(c.local) == 0
}
