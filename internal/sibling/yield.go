package sibling

import (
	"context"
	"sync"
	"time"

	"causeway/internal/home"
)

// Yield returns nil when the former owner of a session surely sends nothing more
// for it at epochs below epoch. It must be called after the Attach that took the
// session away was applied here. Otherwise it returns ctx's error.
func (s *Siblings) Yield(ctx context.Context, former home.Owner, k home.SessionKey, epoch home.SessionEpoch) error {
	if former.Node == s.o.Node || former == (home.Owner{}) {
		return nil // an earlier run of this very node
	}
	done := make(chan struct{})
	lapse := time.NewTimer(s.o.Lapse)
	defer lapse.Stop()
	if n := s.node(former.Node); n != nil {
		q := &question{f: frame{kind: kindYield, session: k, epoch: epoch}, run: former.Incarnation, done: func() { close(done) }}
		number := n.ask(q)
		defer n.take(number)
	}
	select {
	case <-done:
		return nil
	case <-lapse.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Known calls done once every sibling has applied what this node has applied now,
// or has lost its freshness. It may call at once.
func (s *Siblings) Known(done func()) {
	if len(s.others()) == 0 {
		done()
		return
	}
	s.known.add(done)
}

// known gathers who waits for the siblings, so that many subscriptions cost one
// question a sibling.
type known struct {
	s    *Siblings
	mu   sync.Mutex
	wait []func()
	wake chan struct{}
	live bool
}

func (k *known) add(done func()) {
	k.mu.Lock()
	if !k.live {
		k.mu.Unlock()
		done()
		return
	}
	k.wait = append(k.wait, done)
	wake := k.wake
	k.mu.Unlock()
	nudge(wake)
}

// run asks the siblings again and again, for all who came meanwhile.
func (k *known) run(ctx context.Context) {
	k.mu.Lock()
	k.wake, k.live = make(chan struct{}, 1), true
	wake := k.wake
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.live = false
		k.mu.Unlock()
		k.release()
	}()
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
		waiting := k.taken()
		if len(waiting) == 0 {
			continue // they were in the last round
		}
		k.ask(ctx)
		for _, done := range waiting {
			done()
		}
	}
}

func (k *known) taken() []func() {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.wait
	k.wait = nil
	return w
}

func (k *known) release() {
	for _, done := range k.taken() {
		done()
	}
}

// ask waits until all siblings have applied what is applied here, or Lapse.
func (k *known) ask(ctx context.Context) {
	s := k.s
	index := s.o.Log.Applied()
	var left sync.WaitGroup
	others := s.others()
	left.Add(len(others))
	type asked struct {
		n      *node
		number uint64
	}
	var all []asked
	for _, n := range others {
		q := &question{f: frame{kind: kindApplied, index: index}, done: left.Done}
		all = append(all, asked{n, n.ask(q)})
	}
	answered := make(chan struct{})
	go func() {
		left.Wait()
		close(answered)
	}()
	lapse := time.NewTimer(s.o.Lapse)
	defer lapse.Stop()
	select {
	case <-answered:
	case <-lapse.C:
	case <-ctx.Done():
	}
	for _, a := range all {
		if q := a.n.take(a.number); q != nil {
			q.done()
		}
	}
	<-answered
}
