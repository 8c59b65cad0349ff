package link

import (
	"context"
	"errors"
	"sync"

	"causeway/internal/group"
	"causeway/link/wire"
)

// chunkBytes is what a connection takes at a time. Where packets are lost its window
// is about as large, so a chunk is on its way within a round trip.
const chunkBytes = 16 << 10

// chunks are buffers for one chunk with its head.
var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkBytes+32); return &b }}

// striped is a stream that we send over the connections of a bundle: each has a
// goroutine that takes the next chunk when it can, so one that stalls holds up that
// one chunk.
type striped struct {
	b       *bundle
	number  uint64
	ctx     context.Context // ends with the stream
	cancel  context.CancelFunc
	next    chan *[]byte
	refused chan struct{}
	refuse  sync.Once
	seq     uint64 // of the next chunk; owned by Write

	stripes map[*strand]chan struct{} // closed when the stripe is to end; guarded by b.mu
}

func newStriped(b *bundle, number uint64) *striped {
	s := &striped{b: b, number: number, next: make(chan *[]byte), refused: make(chan struct{}), stripes: map[*strand]chan struct{}{}}
	s.ctx, s.cancel = context.WithCancel(b.ctx)
	return s
}

// Write returns when connections have taken all of p.
func (s *striped) Write(p []byte) (int, error) {
	for at := 0; at < len(p); {
		n := min(len(p)-at, chunkBytes)
		c := chunks.Get().(*[]byte)
		*c = wire.AppendChunk((*c)[:0], s.seq, p[at:at+n])
		if err := s.hand(c); err != nil {
			return at, err
		}
		s.seq++
		at += n
	}
	return len(p), nil
}

// hand gives a chunk to a connection.
func (s *striped) hand(c *[]byte) error {
	select {
	case s.next <- c:
		return nil
	default:
	}
	s.b.held.begin()
	defer s.b.held.end()
	select {
	case s.next <- c:
		return nil
	case <-s.refused:
		return errStream
	case <-s.b.gone:
		return s.b.err
	case <-s.ctx.Done():
		return errStream
	}
}

// spread is called with b.mu held.
func (s *striped) spread(strands []*strand, width int) {
	for i, m := range strands {
		end, has := s.stripes[m]
		switch {
		case i < width && !has:
			end = make(chan struct{})
			s.stripes[m] = end
			m.stripes++
			go s.run(m, end)
		case i >= width && has:
			delete(s.stripes, m)
			close(end)
		}
	}
}

// run sends the chunks of one stripe.
func (s *striped) run(m *strand, end <-chan struct{}) {
	defer s.b.closed(m)
	err := group.Protect(func() error { return s.stripe(m, end) })
	switch {
	case err == nil || s.ctx.Err() != nil:
	case errors.Is(err, errStream):
		s.refuse.Do(func() { close(s.refused) })
	default:
		s.b.fail(err)
	}
}

func (s *striped) stripe(m *strand, end <-chan struct{}) error {
	w, err := m.c.send(s.ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(s.ctx, w.reset)
	defer stop()
	if _, err := w.Write(wire.AppendStripe(nil, s.number)); err != nil {
		return err
	}
	for {
		select {
		case c := <-s.next:
			n, err := w.Write(*c)
			chunks.Put(c)
			s.b.handed.Add(uint64(n))
			if err != nil {
				return err
			}
		case <-end:
			return s.endStripe(w)
		case <-w.done():
			return errStream
		case <-s.ctx.Done():
			w.reset()
			return nil
		}
	}
}

// endStripe says that a stripe ends and waits until the peer, which refuses the rest,
// has all of it: a connection that dies before was not one that carried nothing.
func (s *striped) endStripe(w sendStream) error {
	if _, err := w.Write(wire.AppendChunk(nil, 0, nil)); err != nil {
		return err
	}
	<-w.done() // also when the stream is given up, which resets w
	if _, err := w.Write(nil); !errors.Is(err, errStream) {
		return err
	}
	return nil
}

func (s *striped) done() <-chan struct{} { return s.refused }

// reset gives the stream up.
func (s *striped) reset() {
	s.cancel()
	s.b.sent(s)
}
