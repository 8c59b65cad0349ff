package replica

import (
	"context"
	"sync/atomic"
	"time"

	"causeway/internal/home"
)

// Not applied for this long, an entry is sent again, each time after twice the
// time. Sending twice is harmless: apply knows the number. [A2]
const (
	resendAfter = 2 * time.Second
	resendMax   = 30 * time.Second
)

// sender takes numbered entries to the home's leader. It neither waits for the
// commit nor says whether there will be one: what was not applied here is sent
// again. Entries of one call are to stay together, in order.
type sender interface {
	send(entries []home.Entry)
}

// batcher is the one goroutine that makes entries of what waits in the queue
// and sees to it that each of them is applied.
type batcher struct {
	q        *queue
	batching Batching
	to       sender
	lead     <-chan bool     // the newest word of whether there is a leader
	again    <-chan struct{} // something sent got lost

	lastSent  atomic.Int64  // nanoseconds since started; for idle as well
	resent    atomic.Uint64 // entries sent again
	started   time.Time
	lastOps   int           // owned by run
	leading   bool          // owned by run
	resendAt  time.Time     // owned by run; zero: nothing under way
	resendIn  time.Duration // owned by run
	resending uint64        // owned by run: first flight under way when resendAt was set
}

func newBatcher(q *queue, o Options, to sender, lead <-chan bool, again <-chan struct{}) *batcher {
	b := &batcher{q: q, batching: o.Batching.proposer(), to: to, lead: lead, again: again, started: time.Now()}
	b.lastSent.Store(-int64(time.Hour))
	return b
}

// idle is how long ago the last entry was sent.
func (b *batcher) idle() time.Duration {
	return time.Since(b.started) - time.Duration(b.lastSent.Load())
}

// run works until ctx ends.
func (b *batcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if d := b.step(); d >= 0 {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return
		case leading := <-b.lead:
			b.leads(leading)
		case <-b.again:
			b.resend()
		case <-b.q.wake:
		case <-timer.C:
		}
	}
}

// step sends what is due and returns when to look again.
func (b *batcher) step() time.Duration {
	for {
		l := b.q.load()
		l.sinceSent, l.lastOps, l.leaderless = b.idle(), b.lastOps, !b.leading
		d := b.batching.wait(l)
		if d != 0 {
			return b.untilResend(l, d)
		}
		b.sendNext()
	}
}

// sendNext makes the next entry and sends it.
func (b *batcher) sendNext() {
	f := b.q.take()
	if f == nil {
		return // it was handed back meanwhile
	}
	b.lastOps = len(f.proposals)
	b.lastSent.Store(int64(time.Since(b.started)))
	b.to.send([]home.Entry{f.entry()})
}

func (f *flight) entry() home.Entry { return home.Entry{Owner: f.owner, N: f.n, Ops: f.ops()} }

// leads notes whether there is a leader. A new one may not know what is under
// way, so it gets all of it, in order.
func (b *batcher) leads(leading bool) {
	b.leading = leading
	if leading {
		b.resend()
	}
}

func (b *batcher) resend() {
	pending := b.q.pending()
	if len(pending) == 0 {
		return
	}
	entries := make([]home.Entry, len(pending))
	for i, f := range pending {
		entries[i] = f.entry()
	}
	b.resent.Add(uint64(len(entries)))
	b.to.send(entries)
}

// untilResend bounds d by when the first flight has been under way too long,
// and sends what is under way again if that is now.
func (b *batcher) untilResend(l load, d time.Duration) time.Duration {
	head := b.q.head()
	if head == 0 || l.leaderless {
		b.resendAt = time.Time{}
		return d
	}
	now := time.Now()
	switch {
	case b.resendAt.IsZero() || b.resending != head:
		b.resending, b.resendIn = head, resendAfter
		b.resendAt = now.Add(b.resendIn)
	case !now.Before(b.resendAt):
		b.resend()
		b.resendIn = min(2*b.resendIn, resendMax)
		b.resendAt = now.Add(b.resendIn)
	}
	if left := b.resendAt.Sub(now); d == never || left < d {
		return left
	}
	return d
}
