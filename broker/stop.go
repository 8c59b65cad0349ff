package broker

import (
	"context"
	"time"

	"causeway/broker/packet"
)

// stop ends all connections. By default they are closed without DISCONNECT: a DISCONNECT makes some clients exit, a
// close makes all of them redial, and the pace keeps them from doing so in the same second. Their sessions are detached
// as those of devices that went without a word: a will with a delay is published only if the device does not come back
// in time.
func (s *Server) stop() {
	s.mu.Lock()
	s.stopOnce.Do(func() { close(s.stopping) })
	s.closeListeners()
	for sock := range s.connecting {
		_ = sock.Close()
	}
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(gone)
	}()
	limit, cancel := context.WithTimeout(context.Background(), s.opt.DrainTime)
	defer cancel()
	s.closePaced(limit)
	select {
	case <-gone:
	case <-limit.Done():
	}
	s.cancel()
	s.sessions.each(func(c *conn) { _ = c.sock.Close() })
	<-gone
}

// closePaced closes connections, DrainRate a second or as many as are needed to be done in half of DrainTime.
func (s *Server) closePaced(limit context.Context) {
	var all []*conn
	s.sessions.each(func(c *conn) { all = append(all, c) })
	const tick = 20 * time.Millisecond
	ticks := max(1, int(s.opt.DrainTime/2/tick))
	step := max(1, int(float64(s.opt.DrainRate)*tick.Seconds()), (len(all)+ticks-1)/ticks)
	t := time.NewTicker(tick)
	defer t.Stop()
	for len(all) > 0 {
		n := min(step, len(all))
		for _, c := range all[:n] {
			s.closeForStop(c)
		}
		all = all[n:]
		if len(all) == 0 {
			return
		}
		select {
		case <-t.C:
		case <-limit.Done():
			return
		}
	}
}

func (s *Server) closeForStop(c *conn) {
	code := packet.Success
	if s.opt.DrainDisconnect {
		code = packet.ServerShuttingDown
	}
	c.shut(EndShutdown, code, "")
}
