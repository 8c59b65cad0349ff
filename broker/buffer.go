package broker

import "sync"

// Buffers are borrowed while there is something to read or write, and not held by idle connections: a parked 4 KiB
// buffer would double what an idle connection costs. There are two sizes, so that ten thousand connections that each
// wake for a small packet do not take a large one each.
const (
	smallBuffer = 2 << 10
	largeBuffer = 32 << 10
)

// buffer is a borrowed slice. Whoever holds the pointer owns it.
type buffer struct{ b []byte }

var (
	smallBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, smallBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, largeBuffer)} }}
)

// borrow returns an empty buffer with room for n bytes, or for largeBuffer bytes if n is more.
func borrow(n int) *buffer {
	if n > smallBuffer {
		return largeBuffers.Get().(*buffer)
	}
	return smallBuffers.Get().(*buffer)
}

// giveBack ends the caller's use of a buffer. One that grew goes where its size fits, or to the garbage collector.
func giveBack(b *buffer) {
	if b == nil {
		return
	}
	b.b = b.b[:0]
	switch c := cap(b.b); {
	case c > 2*largeBuffer || c < smallBuffer:
	case c >= largeBuffer:
		largeBuffers.Put(b)
	default:
		smallBuffers.Put(b)
	}
}
