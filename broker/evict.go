package broker

import (
	"context"
	"time"

	"causeway/broker/packet"
	"causeway/internal/home"
)

// TurnAway closes new connections at accept, without a word, or takes them again. Those that are connecting go on.
func (s *Server) TurnAway(on bool) { s.turning.Store(on) }

// Eviction is which connections are to be closed, and how.
type Eviction struct {
	PerSecond int
	Most      int                         // how many; 0: all, also those that come meanwhile
	Closed    func(home.ID, SessionOwner) // is told of each; nil: nobody is
}

// SessionOwner is the session that a connection had, and at which epoch.
type SessionOwner struct {
	Session home.SessionKey
	Epoch   home.SessionEpoch
}

const (
	evictTick  = 20 * time.Millisecond
	evictBurst = 100 * time.Millisecond // how much of a second's rate may be made up for after a delay
)

// Evict parts from connections at a pace as a stop does: each is served until its turn comes, and closed once what is
// under way on it is answered, or after SettleTime. Their sessions are detached as moved ones: wills wait for the devices
// to come back. It returns when enough are closed or none is left; when ctx ends it finishes with those whose turn has
// come, since they have been parted from by half.
func (s *Server) Evict(ctx context.Context, e Eviction) (n int) {
	p := parting{reason: EndEvicted, code: func(c *conn) packet.Code {
		if c.l.ServerReference != "" {
			return packet.UseAnotherServer
		}
		return packet.Success
	}}
	t := time.NewTicker(evictTick)
	defer t.Stop()
	var open []*conn
	budget, at := 0.0, time.Now()
	begun := func(c *conn) {
		n++
		if e.Closed != nil {
			e.Closed(c.house.id, SessionOwner{c.key, c.sessionEpoch()})
		}
	}
	for {
		now := time.Now()
		if ctx.Err() == nil {
			if len(open) == 0 {
				open = s.evictable()
			}
			budget = min(budget+float64(e.PerSecond)*now.Sub(at).Seconds(), max(1, float64(e.PerSecond)*evictBurst.Seconds()))
			k := min(int(budget), len(open))
			if e.Most > 0 {
				k = min(k, e.Most-n)
			}
			for _, c := range open[:k] {
				begun(c)
			}
			p.begin(open[:k], now.Add(s.opt.SettleTime))
			open = open[k:]
			budget -= float64(k)
		}
		at = now
		p.close(now)
		enough := ctx.Err() != nil || e.Most > 0 && n >= e.Most || len(open) == 0 && len(s.evictable()) == 0
		if enough && len(p.leaving) == 0 {
			return n
		}
		select {
		case <-t.C:
		case <-s.stopping: // which parts from all that are left
			return n
		}
	}
}

// evictable lists the connections whose turn has not come.
func (s *Server) evictable() (open []*conn) {
	s.each(func(c *conn) {
		if !c.leaving.Load() && !c.isClosing() {
			open = append(open, c)
		}
	})
	return open
}

func (c *conn) sessionEpoch() home.SessionEpoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// Connections is how many connections have a session now.
func (s *Server) Connections() (n int) {
	for _, l := range s.stats.Listeners {
		for v := range l.Connected {
			n += int(l.Connected[v].Load())
		}
	}
	return n
}
