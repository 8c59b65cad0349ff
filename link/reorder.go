package link

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"causeway/link/wire"
)

// chunkCost is what a chunk counts beside its bytes, so that empty promises do not
// come free.
const chunkCost = 64

// errStripe ends a tunnel whose peer cut a stream into chunks that do not fit together.
var errStripe = protocolError("the chunks of a stream do not fit together")

// reorder puts the chunks of striped streams in order again. What it holds is
// bounded: a chunk that has no room waits in its connection. No stream waits for
// ever, since on each stripe the numbers rise: the chunk that a stream needs next is
// behind none that waits, and it needs no room when the stream has nothing to read.
type reorder struct {
	mu      sync.Mutex
	moved   sync.Cond // something left, or became the next one
	waiting int       // for moved
	left    int       // bytes
	closed  bool
	streams map[uint64]*joined
}

func newReorder(bytes int) *reorder {
	r := &reorder{left: bytes, streams: map[uint64]*joined{}}
	r.moved.L = &r.mu
	return r
}

// joined is a stream put together from its stripes: an ordinary receiveStream.
type joined struct {
	r       *reorder
	number  uint64
	arrived sync.Cond

	// Guarded by r.mu.
	stripes map[receiveStream]bool
	next    uint64            // the number of the chunk that follows ready
	ready   [][]byte          // in order
	early   map[uint64][]byte // what comes later; nil while it is being read
	held    int               // of r.left
	last    bool              // no stripe is left: ready is all there will be
	err     error             // why nothing more is to be had
}

// read takes the chunks of one stripe until it ends. begun is told of the stream
// when its first chunk is there: a stream that was refused may have stripes that
// were opened too late to know, and those never have it. An error is the
// connection's, or the peer's breach of the protocol.
func (r *reorder) read(stripe receiveStream, begun func(receiveStream)) error {
	in := bufio.NewReaderSize(stripe, streamBuffer)
	number, err := wire.ReadStripe(in)
	if err != nil {
		return ended(err)
	}
	j := r.add(number, stripe)
	if j == nil {
		return protocolError("more than %d streams at a time", maxStreams)
	}
	defer r.leave(j, stripe)
	if err := j.take(in, begun); err != nil {
		j.fail(errStream)
		return ended(err)
	}
	stripe.refuse() // it said that it ends: so it does for the transport
	return nil
}

// ended is nil if a stripe ended, and nothing else.
func ended(err error) error {
	if errors.Is(err, errStream) {
		return nil
	}
	return err
}

// take returns nil when the stripe says that it ends.
func (j *joined) take(in *bufio.Reader, begun func(receiveStream)) error {
	least := uint64(0)
	for {
		seq, size, err := wire.ReadChunkHead(in)
		switch {
		case errors.Is(err, io.EOF), err == nil && size > 0 && seq < least:
			return errStripe
		case err != nil || size == 0:
			return err
		}
		least = seq + 1
		if err := j.reserve(seq, size); err != nil {
			return err
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		j.put(seq, b)
		if seq == 0 {
			begun(j)
		}
	}
}

// add finds the stream of a stripe, or begins it; nil if there are too many.
func (r *reorder) add(number uint64, stripe receiveStream) *joined {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.streams[number]
	if j == nil && len(r.streams) >= maxStreams {
		return nil
	}
	if j == nil {
		j = &joined{r: r, number: number, stripes: map[receiveStream]bool{}, early: map[uint64][]byte{}}
		j.arrived.L = &r.mu
		r.streams[number] = j
	}
	j.stripes[stripe] = true
	if r.closed {
		j.end(errStream)
	}
	return j
}

// close ends all streams. Where there is no room no stripe is read, so none of them
// would hear that its connection ended.
func (r *reorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, j := range r.streams {
		j.end(errStream)
	}
}

// leave forgets a stripe, and with the last one the stream's number.
func (r *reorder) leave(j *joined, stripe receiveStream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(j.stripes, stripe)
	if len(j.stripes) == 0 && r.streams[j.number] == j {
		delete(r.streams, j.number)
		j.finish()
	}
}

// finish is called with mu held when all stripes have ended as they said: what is in
// order can still be read, what waits for a chunk in between never can.
func (j *joined) finish() {
	j.last = true
	for seq, b := range j.early {
		delete(j.early, seq)
		j.release(len(b) + chunkCost)
	}
	if len(j.ready) == 0 {
		j.end(errStream)
	}
}

// reserve waits until there is room for a chunk.
func (j *joined) reserve(seq uint64, size int) error {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	for cost := size + chunkCost; ; {
		_, twice := j.early[seq]
		switch {
		case j.err != nil:
			return j.err
		case twice || seq < j.next:
			return errStripe
		case j.r.left >= cost, seq == j.next && len(j.ready) == 0:
			j.r.left -= cost
			j.held += cost
			j.early[seq] = nil
			return nil
		}
		j.r.waiting++
		j.r.moved.Wait()
		j.r.waiting--
	}
}

// put adds a chunk that has its room.
func (j *joined) put(seq uint64, b []byte) {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if j.err != nil {
		return
	}
	j.early[seq] = b
	for b := j.early[j.next]; b != nil; b = j.early[j.next] {
		delete(j.early, j.next)
		j.ready = append(j.ready, b)
		j.next++
	}
	j.arrived.Broadcast()
	j.r.changed()
}

// changed is called with mu held.
func (r *reorder) changed() {
	if r.waiting > 0 {
		r.moved.Broadcast()
	}
}

// Read returns what comes next.
func (j *joined) Read(p []byte) (int, error) {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	for len(j.ready) == 0 && j.err == nil {
		j.arrived.Wait()
	}
	if j.err != nil {
		return 0, j.err
	}
	n := copy(p, j.ready[0])
	if rest := j.ready[0][n:]; len(rest) > 0 {
		j.ready[0] = rest
		j.release(n)
		return n, nil
	}
	j.ready[0] = nil
	j.ready = j.ready[1:]
	j.release(n + chunkCost)
	if j.last && len(j.ready) == 0 {
		j.end(errStream)
	}
	return n, nil
}

// release is called with mu held.
func (j *joined) release(n int) {
	j.held -= n
	j.r.left += n
	j.r.changed()
}

// refuse makes the sender end the stream, and gives its room back.
func (j *joined) refuse() {
	j.r.mu.Lock()
	if j.r.streams[j.number] == j {
		delete(j.r.streams, j.number)
	}
	j.end(errStream)
	var stripes []receiveStream
	for s := range j.stripes {
		stripes = append(stripes, s)
	}
	j.r.mu.Unlock()
	for _, s := range stripes {
		s.refuse()
	}
}

func (j *joined) both() (duplex, bool) { return nil, false }

// fail ends the stream for its reader.
func (j *joined) fail(err error) {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	j.end(err)
}

// end is called with mu held; the first reason stays.
func (j *joined) end(err error) {
	if j.err != nil {
		return
	}
	j.err = err
	j.ready, j.early = nil, map[uint64][]byte{}
	j.release(j.held)
	j.arrived.Broadcast()
}
