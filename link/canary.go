package link

import (
	"context"
	"errors"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/link/wire"
)

// canaries watch a link from end to end, in both directions: a tunnel may be up and
// forward nothing. One at a time is put into every class of our spool (home.Canary)
// and has crossed when the peer has acknowledged it in all of them. Ages are by one
// clock each: out since a canary that crossed was proposed here, in since one of the
// peer's was committed here. They grow while nothing crosses, whatever the tunnel
// says.
//
// They begin with a tunnel whose peer knows canaries, stay when it ends, and are
// forgotten with the office: another node has the link then.
type canaries struct {
	mu    sync.Mutex
	began time.Time // zero: nothing is known

	st      *home.State // that the one under way was proposed to
	seq     home.Seq    // of the one under way; 0: none is
	sent    time.Time   // when it was proposed
	left    map[string]bool
	acked   map[string]home.Seq // by class
	crossed time.Time           // when the newest that crossed was proposed
	took    time.Duration       // until it had crossed
	newest  home.Seq            // that crossed
	news    chan struct{}       // closed and replaced when one has crossed

	coming  home.Seq // of the peer, not yet in all of its classes
	classes map[string]bool
	seen    time.Time // when the newest of the peer was committed here
}

// CanaryStatus is how far canaries got.
type CanaryStatus struct {
	Known     bool          // the peer knows canaries; the rest means something
	OutAge    time.Duration // since the newest that the peer acknowledged was proposed here
	InAge     time.Duration // since the newest of the peer's was committed here
	RoundTrip time.Duration // of the newest that the peer acknowledged, from proposal to acknowledgement; 0: none was
}

func (c *canaries) status(now time.Time) CanaryStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() {
		return CanaryStatus{}
	}
	since := func(t time.Time) time.Duration {
		if t.Before(c.began) {
			t = c.began
		}
		return max(0, now.Sub(t))
	}
	return CanaryStatus{Known: true, OutAge: since(c.crossed), InAge: since(c.seen), RoundTrip: c.took}
}

// begin starts the watch, if it is not on.
func (c *canaries) begin(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() {
		c.began = now
	}
}

// forget ends the watch.
func (c *canaries) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.crossed, c.seen, c.took = time.Time{}, time.Time{}, time.Time{}, 0
	c.seq, c.newest, c.left, c.acked, c.coming, c.classes = 0, 0, nil, nil, 0, nil
}

// underWay says whether one was proposed that has not crossed. One that the spool
// lost at its limit never will.
func (c *canaries) underWay(st *home.State, peer home.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seq == 0 || c.st != st {
		return false
	}
	for class := range c.left {
		if st.Spools(peer, class, c.seq) {
			return true
		}
	}
	return false
}

// proposed notes a canary that is in the spools of classes since.
func (c *canaries) proposed(st *home.State, seq home.Seq, classes []string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st, c.seq, c.sent, c.left = st, seq, at, map[string]bool{}
	for _, class := range classes {
		if c.acked[class] < seq { // else the acknowledgement was faster
			c.left[class] = true
		}
	}
	c.cross()
}

// acknowledged takes what the peer has of a class.
func (c *canaries) acknowledged(class string, to home.Seq) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked == nil {
		c.acked = map[string]home.Seq{}
	}
	c.acked[class] = to
	if c.seq != 0 && to >= c.seq {
		delete(c.left, class)
		c.cross()
	}
}

// cross is called with mu held.
func (c *canaries) cross() {
	if len(c.left) == 0 {
		c.newest, c.seq, c.crossed, c.took = c.seq, 0, c.sent, time.Since(c.sent)
		if c.news != nil {
			close(c.news)
			c.news = nil
		}
	}
}

// arrived notes that one of the peer's was committed here in a class, of as many as
// it was put into.
func (c *canaries) arrived(class string, seq home.Seq, of int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq != c.coming {
		c.coming, c.classes = seq, map[string]bool{}
	}
	if c.classes[class] = true; len(c.classes) >= of {
		c.seen = at
	}
}

// sendCanaries proposes one now and then, if the one before has crossed. What goes
// wrong shows in the age.
func (t *tunnel) sendCanaries(ctx context.Context) error {
	p, every := t.p, t.p.m.o.CanaryEvery
	if every <= 0 || t.agreed.Features&wire.FeatureCanary == 0 {
		p.canaries.forget()
		return nil
	}
	p.canaries.begin(time.Now())
	for {
		if !p.canaries.underWay(t.st, p.config().ID) {
			_, _ = t.sendCanary(ctx) // it shows in the age
		}
		if group.Pause(ctx, every) != nil {
			return nil
		}
	}
}

// sendCanary returns the canary's number; 0 if none was sent.
func (t *tunnel) sendCanary(ctx context.Context) (home.Seq, error) {
	peer, now := t.p.config().ID, time.Now()
	o, err := t.p.proposeWait(ctx, &home.Canary{Peer: peer})
	if err != nil || o.Code != home.CodeOK {
		return 0, err
	}
	var classes []string
	for _, info := range t.st.SpoolInfo(peer) {
		if info.Class == "" || len(info.Filters) > 0 {
			classes = append(classes, info.Class)
		}
	}
	t.p.counts.canariesOut.Add(1)
	t.p.canaries.proposed(t.st, o.Seq, classes, now)
	return o.Seq, nil
}

// tryCanary sends one as soon as that can be and waits until it has crossed. It
// returns how long it took, without what it waited for its turn.
func (t *tunnel) tryCanary(ctx context.Context) (time.Duration, error) {
	for {
		crossed := t.p.canaries.next()
		began := time.Now()
		seq, err := t.sendCanary(ctx)
		if err != nil {
			return 0, err
		}
		if seq == 0 { // one is under way, or the spool is full
			select {
			case <-crossed:
			case <-time.After(canaryRetry):
			case <-ctx.Done():
				return 0, errors.New("an earlier one has not crossed, or the spool is full")
			}
			continue
		}
		for !t.p.canaries.has(seq) {
			select {
			case <-crossed:
				crossed = t.p.canaries.next()
			case <-ctx.Done():
				return 0, errors.New("the peer has not acknowledged it")
			}
		}
		return time.Since(began), nil
	}
}

// canaryRetry is how long a test waits for its turn before it asks again.
const canaryRetry = 100 * time.Millisecond

// next is closed when a canary has crossed.
func (c *canaries) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.news == nil {
		c.news = make(chan struct{})
	}
	return c.news
}

// has says whether a canary has crossed, or one after it.
func (c *canaries) has(seq home.Seq) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest >= seq
}

// canaryIn is a canary of the peer in a frame.
type canaryIn struct {
	seq home.Seq
	of  int // classes
}

// canariesOf finds those of a frame.
func canariesOf(op *home.Frame) (list []canaryIn) {
	for i := range op.Messages {
		if of := op.Messages[i].CanaryClasses(); of > 0 {
			list = append(list, canaryIn{op.Messages[i].Seq, of})
		}
	}
	return list
}
