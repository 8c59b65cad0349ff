package link

import (
	"time"

	"causeway/internal/home"
)

// Each frame costs a packet, an acknowledgement of it and an entry of the peer's home,
// whatever is in it. So small ones keep a distance, in which more comes: a share of the
// round trip, which a message over a long path does not feel. Regions side by side have
// none. The first after a silence goes at once.
const (
	gatherShare = 16 // of the round trip
	gatherMost  = 1500 * time.Microsecond
	gatherLeast = 500 * time.Microsecond // timers are no finer, so less is nothing
)

// fullEnough is what a frame holds that does not wait for more, in bytes.
const fullEnough = 16 << 10

// distance is how far apart small frames are over a path.
func distance(rtt time.Duration) time.Duration {
	if d := min(rtt/gatherShare, gatherMost); d >= gatherLeast {
		return d
	}
	return 0
}

// pace is what one stream's distances go by. Owned by its outgoing.
type pace struct {
	last  time.Time // when a frame was written
	asked time.Time // when the round trip was
	apart time.Duration
}

// paceEvery is how often the round trip is looked at: that takes locks.
const paceEvery = time.Second

// gather is how long refs, read from the spool, wait for more.
func (p *pace) gather(now time.Time, refs []home.Spooled, rtt func() time.Duration) time.Duration {
	if now.Sub(p.asked) >= paceEvery {
		p.asked, p.apart = now, distance(rtt())
	}
	wait := p.apart - now.Sub(p.last)
	if wait <= 0 || len(refs) == frameMessages {
		return 0
	}
	bytes := 0
	for i := range refs {
		m := &refs[i].Message
		if bytes += len(m.Topic) + len(m.Payload) + len(m.Forward); bytes >= fullEnough || refs[i].Evicted { // on the disk: a backlog
			return 0
		}
	}
	return wait
}

func (t *tunnel) rtt() time.Duration { return t.c.stats().rtt }
