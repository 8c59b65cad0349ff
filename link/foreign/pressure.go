package foreign

import (
	"context"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/link"
)

// brake holds back the acknowledgements of what came in while the queue of a connected
// device fills up that it went to. A broker sends no more than its Receive Maximum ahead
// of them, and keeps the rest: that is at most inboundMax messages, and the pace of the
// acknowledgements is the pace at which more comes. A queue that is full all the same
// belongs to a device that reads nearly nothing, and holds nobody up, as on any link.
type brake struct {
	added chan struct{} // wakes run

	mu   sync.Mutex
	fill uint8 // in percent, as of the newest commit
	list []int // slots of acknowledgements that wait, in the order of their commits
}

func newBrake() *brake { return &brake{added: make(chan struct{}, 1)} }

// Acknowledgements are held for so many messages, or so long, at once: timers are no finer.
const (
	frameMessages = 1024 // of which link.Breath speaks
	leastHold     = 5 * time.Millisecond
)

// take takes an acknowledgement that is to wait; not if it may go at once.
func (b *brake) take(n int, fill uint8) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill = fill
	if link.Breath(fill) == 0 && len(b.list) == 0 {
		return false
	}
	b.list = append(b.list, n)
	group.Wake(b.added)
	return true
}

// next returns one that waits, and for how long it is held.
func (b *brake) next() (n int, hold time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.list) == 0 {
		b.list = nil
		return 0, 0, false
	}
	n, b.list = b.list[0], b.list[1:]
	return n, link.Breath(b.fill) / frameMessages, true
}

// brake lets the acknowledgements that wait go at their pace.
func (in *inbound) brake(ctx context.Context) error {
	var owed time.Duration
	for await(ctx, in.slow.added); ctx.Err() == nil; await(ctx, in.slow.added) {
		for n, hold, ok := in.slow.next(); ok; n, hold, ok = in.slow.next() {
			if owed += hold; owed >= leastHold {
				in.c.t.l.counts.slowed.Add(uint64(owed))
				if group.Pause(ctx, owed) != nil {
					return nil
				}
				owed = 0
			}
			in.ready(n)
		}
	}
	return nil
}
