package link

import (
	"context"
	"sync"

	"causeway/internal/group"
	"causeway/link/wire"
)

// An acknowledgement has two numbers: what is committed in our home, and what our standby
// has, too. The sender keeps what only the former covers: if our region is lost, the
// standby goes on where its own cursor is. [D3]

// shippedAcks are the acknowledgements of one class that wait for our standby. Of those
// that come while one waits the newest is the next.
type shippedAcks struct {
	await func(record uint64, done func()) // nil: our home has no standby
	tell  func(wire.Ack)                   // does not block
	fresh chan struct{}                    // next is another one

	mu     sync.Mutex
	next   wire.Ack // what is committed
	record uint64   // by which
	had    wire.Ack // what the standby has
}

// take tells the sender what is committed, at once, and what the standby has, once it has
// that. It may be called from the home's apply. Calls are in order.
func (s *shippedAcks) take(record uint64, a wire.Ack) {
	if s.await == nil {
		s.tell(a)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.record = a, record
	s.say()
	group.Wake(s.fresh)
}

// say tells what is committed, and what of that the standby has. It is called with mu held.
func (s *shippedAcks) say() {
	a := s.next
	a.Applied = 0
	if s.had.Source == a.Source {
		a.Applied = s.had.Committed
	}
	s.tell(a)
}

// run waits for the standby until ctx ends.
func (s *shippedAcks) run(ctx context.Context) {
	for {
		select {
		case <-s.fresh:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		a, record := s.next, s.record
		s.mu.Unlock()
		has := make(chan struct{})
		s.await(record, sync.OnceFunc(func() { close(has) }))
		select {
		case <-has:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		s.had = a
		s.say()
		s.mu.Unlock()
	}
}
