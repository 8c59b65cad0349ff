package link

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/link/wire"
)

// pipeStream is a receiveStream that a test writes to.
type pipeStream struct {
	*io.PipeReader
	w *io.PipeWriter
}

func newPipeStream() pipeStream {
	r, w := io.Pipe()
	return pipeStream{r, w}
}

func (p pipeStream) refuse()              { _ = p.PipeReader.CloseWithError(errStream) }
func (p pipeStream) both() (duplex, bool) { return nil, false }

// inChunks cuts data into pieces by chance, so many at least, and gives each to a stripe.
func inChunks(rng *rand.Rand, data []byte, stripes int) (perStripe [][]byte) {
	perStripe = make([][]byte, stripes)
	for i := range perStripe {
		perStripe[i] = wire.AppendStripe(nil, 1)
	}
	for seq := uint64(0); len(data) > 0; seq++ {
		n := min(1+rng.IntN(3000), len(data))
		i := rng.IntN(stripes)
		perStripe[i] = wire.AppendChunk(perStripe[i], seq, data[:n])
		data = data[n:]
	}
	return perStripe
}

// Stripes that come at any pace give the stream that was cut, within the bound.
func TestReorder_PutsStripesTogether(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			data := make([]byte, 400_000)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			const room = 30_000
			r := newReorder(room)
			begun := make(chan receiveStream, 1)
			var all sync.WaitGroup
			for _, b := range inChunks(rng, data, 1+rng.IntN(8)) {
				s := newPipeStream()
				pace := rng.Perm(5)
				all.Go(func() {
					for len(b) > 0 {
						n := min(1000, len(b))
						_, _ = s.w.Write(b[:n])
						b = b[n:]
						time.Sleep(time.Duration(pace[0]) * time.Millisecond)
					}
					_, _ = s.w.Write(wire.AppendChunk(nil, 0, nil))
				})
				all.Go(func() {
					if err := r.read(s, func(s receiveStream) { begun <- s }); err != nil {
						t.Errorf("read a stripe: %v", err)
					}
				})
			}
			in := <-begun
			got := make([]byte, len(data))
			for at := 0; at < len(got); {
				n, err := in.Read(got[at:min(at+5000, len(got))])
				if err != nil {
					t.Fatalf("after %d of %d bytes: %v", at, len(got), err)
				}
				at += n
				r.mu.Lock()
				if r.left < -3000-chunkCost {
					t.Fatalf("%d bytes above the bound are held", -r.left)
				}
				r.mu.Unlock()
			}
			if !bytes.Equal(got, data) {
				t.Fatal("the bytes are not those that were cut")
			}
			all.Wait()
			if r.left != room || len(r.streams) != 0 {
				t.Errorf("%d of %d bytes are free, %d streams left", r.left, room, len(r.streams))
			}
		})
	}
}

// A reader that does not read stops the stripes, and what is held stays bounded.
func TestReorder_SlowReaderIsNotReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 10_000
		r := newReorder(room)
		s := newPipeStream()
		begun := make(chan receiveStream, 1)
		done := make(chan error, 1)
		go func() { done <- r.read(s, func(s receiveStream) { begun <- s }) }()
		wrote := 0
		go func() {
			b := wire.AppendStripe(nil, 7)
			for seq := uint64(0); ; seq++ {
				b = wire.AppendChunk(b, seq, make([]byte, 1000))
				n, err := s.w.Write(b)
				if wrote += n; err != nil {
					return
				}
				b = b[:0]
			}
		}()
		in := <-begun
		synctest.Wait()
		if wrote > room+streamBuffer+2000 {
			t.Errorf("%d bytes were read of a stream that nobody reads", wrote)
		}
		in.refuse()
		if err := <-done; err != nil {
			t.Errorf("a refused stream ended the connection: %v", err)
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, errStream) || r.left != room || len(r.streams) != 0 {
			t.Errorf("after the refusal: %v, %d of %d bytes free, %d streams", err, r.left, room, len(r.streams))
		}
	})
}

// What does not fit together breaks the protocol.
func TestReorder_RefusesWhatDoesNotFit(t *testing.T) {
	for name, chunks := range map[string][]uint64{"twice": {0, 1, 1}, "backwards": {3, 2}, "read already": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			r := newReorder(1 << 20)
			s := newPipeStream()
			go func() {
				b := wire.AppendStripe(nil, 1)
				for _, seq := range chunks {
					b = wire.AppendChunk(b, seq, []byte("x"))
				}
				_, _ = s.w.Write(b)
				_ = s.w.CloseWithError(errStream)
			}()
			if err := r.read(s, func(receiveStream) {}); !errors.Is(err, errProtocol) {
				t.Errorf("chunks %v: %v", chunks, err)
			}
		})
	}
	t.Run("the same on two stripes", func(t *testing.T) {
		r := newReorder(1 << 20)
		stripes, ended := []pipeStream{newPipeStream(), newPipeStream()}, make(chan error, 2)
		for _, s := range stripes {
			go func() { ended <- r.read(s, func(receiveStream) {}) }()
			_, _ = s.w.Write(wire.AppendChunk(wire.AppendStripe(nil, 1), 5, []byte("x")))
		}
		if err := <-ended; !errors.Is(err, errProtocol) {
			t.Errorf("the first that ended: %v", err)
		}
		for _, s := range stripes {
			_ = s.w.CloseWithError(errStream)
		}
		<-ended
	})
}

// Connections multiply the streams that a peer may have no more than their room.
func TestReorder_BoundsStreams(t *testing.T) {
	r := newReorder(1 << 20)
	for n := range uint64(maxStreams) {
		r.add(n, newPipeStream())
	}
	s := newPipeStream()
	go func() { _, _ = s.w.Write(wire.AppendStripe(nil, maxStreams)) }()
	if err := r.read(s, func(receiveStream) {}); !errors.Is(err, errProtocol) {
		t.Errorf("stream %d: %v", maxStreams+1, err)
	}
}

// Whatever a peer sends on three stripes, nothing panics, nothing hangs when their
// bundle ends, and what is held is bounded and given back.
func FuzzReorder(f *testing.F) {
	ok := inChunks(rand.New(rand.NewPCG(1, 1)), make([]byte, 9000), 3)
	f.Add(ok[0], ok[1], ok[2])
	f.Add(wire.AppendChunk(wire.AppendStripe(nil, 1), 1<<40, []byte("late")), []byte{1, 0, 0}, []byte{2})
	f.Add([]byte{1, 0, 255, 255, 255, 255, 15}, []byte{}, []byte{0xff})
	f.Add([]byte("0\x80\x80\x800\x80 \x04"), []byte{1}, []byte{2}) // larger than all room, and never the next one
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		synctest.Test(t, func(t *testing.T) { readStripes(t, a, b, c) })
	})
}

func readStripes(t *testing.T, stripes ...[]byte) {
	const room = 4096
	r := newReorder(room)
	var all sync.WaitGroup
	for _, in := range stripes {
		s := newPipeStream()
		all.Go(func() {
			_ = r.read(s, func(in receiveStream) { all.Go(func() { _, _ = io.Copy(io.Discard, in) }) })
			s.refuse()
		})
		all.Go(func() {
			_, _ = s.w.Write(in)
			_ = s.w.CloseWithError(errStream)
		})
	}
	synctest.Wait()
	r.close()
	all.Wait()
	if r.left != room || len(r.streams) != 0 {
		t.Fatalf("%d of %d bytes are free, %d streams left", r.left, room, len(r.streams))
	}
}

// Stripes that wait for room, of a stream whose next chunk will never come, end with
// their bundle, and so does the stream's reader.
func TestReorder_EndsWithItsBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(&fakeConn{}, wire.JoinToken{}, 3000)
		r := b.order
		begun := make(chan receiveStream, 1)
		for _, seqs := range [][]uint64{{0}, {2, 3, 4, 5}} { // a third stripe had 1
			s := newPipeStream()
			go func() {
				b := wire.AppendStripe(nil, 1)
				for _, seq := range seqs {
					b = wire.AppendChunk(b, seq, make([]byte, 1000))
				}
				_, _ = s.w.Write(b)
			}()
			go func() { _ = r.read(s, func(s receiveStream) { begun <- s }) }()
			defer s.refuse()
		}
		in := <-begun
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, in)
			read <- err
		}()
		synctest.Wait()
		b.close(0, "the test is over")
		synctest.Wait()
		select {
		case err := <-read:
			if !errors.Is(err, errStream) {
				t.Errorf("the reader heard %v", err)
			}
		default:
			t.Fatal("the reader waits for ever")
		}
		if r.left != 3000 {
			t.Errorf("%d of 3000 bytes are free", r.left)
		}
		if err := r.read(stripeOf(2, 0), func(receiveStream) { t.Error("a stream began") }); err != nil {
			t.Errorf("a late stripe: %v", err)
		}
	})
}

// stripeOf is a stripe of one chunk.
func stripeOf(number, seq uint64) receiveStream {
	s := newPipeStream()
	go func() { _, _ = s.w.Write(wire.AppendChunk(wire.AppendStripe(nil, number), seq, []byte("x"))) }()
	return s
}
