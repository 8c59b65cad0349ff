package link

import (
	"context"
	"time"

	"causeway/internal/group"
)

// heardPoll is how exactly is known when a peer was heard.
const heardPoll = 100 * time.Millisecond

// watchHeard notes when something came from the peer, whatever it was: both ends see to
// it that something does every KeepAlive. The end of the tunnel of a peer that died
// comes only an idle time-out later.
func (t *tunnel) watchHeard(ctx context.Context) error {
	var had uint64
	for {
		if now := t.c.stats().received; now != had {
			had = now
			t.p.hear(time.Now())
		}
		if group.Pause(ctx, heardPoll) != nil {
			return nil
		}
	}
}

func (p *peer) hear(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = now
}
