package sibling

import "encoding/binary"

// chunkBytes is what one write gathers: a question that comes meanwhile waits for
// no more than that.
const chunkBytes = 64 << 10

// outbox is the messages that wait for one sibling, encoded, oldest first. It is
// guarded by the node's mu.
type outbox struct {
	limit int // bytes
	b     []byte
	head  int // of b; what is before was taken
}

func (o *outbox) waiting() int { return len(o.b) - o.head }

// add queues a message's frame, of at most size bytes. It reports false when
// there is no room.
func (o *outbox) add(f *frame, size int) bool {
	if w := o.waiting(); w > 0 && w+size > o.limit {
		return false
	}
	o.b = f.append(o.b)
	return true
}

// take moves whole frames to the end of chunk, while they fit into chunkBytes or
// chunk is empty, and returns how many.
func (o *outbox) take(chunk []byte) ([]byte, uint64) {
	at, n := o.head, uint64(0)
	for at < len(o.b) {
		next := at + 4 + int(binary.BigEndian.Uint32(o.b[at:]))
		if len(chunk)+next-o.head > chunkBytes && len(chunk)+at-o.head > 0 {
			break
		}
		at = next
		n++
	}
	chunk = append(chunk, o.b[o.head:at]...)
	o.head = at
	o.compact()
	return chunk, n
}

// compact lets go of what was taken, at a cost that each byte bears once or so.
func (o *outbox) compact() {
	switch {
	case o.waiting() == 0 && cap(o.b) > 2*o.limit: // a message that was larger than all
		o.b, o.head = nil, 0
	case o.waiting() == 0:
		o.b, o.head = o.b[:0], 0
	case o.head > chunkBytes && o.head > len(o.b)/2:
		o.b, o.head = append(o.b[:0], o.b[o.head:]...), 0
	}
}

// clear drops what waits and returns how many messages that was.
func (o *outbox) clear() (n uint64) {
	for at := o.head; at < len(o.b); n++ {
		at += 4 + int(binary.BigEndian.Uint32(o.b[at:]))
	}
	o.b, o.head = nil, 0
	return n
}
