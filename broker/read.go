package broker

import (
	"errors"
	"io"
	"syscall"

	"causeway/broker/packet"
)

// input is what was read and not yet handled. The buffer is there only while a packet is incomplete or being handled.
type input struct {
	buf   *buffer
	off   int // buf.b[off:] is not handled yet
	need  int // bytes of the incomplete packet at off, when known
	large bool
	first [1]byte // of the next packet, where one cannot wait without reading
}

// readPackets reads and handles packets until an error. It holds no buffer while it waits for the first byte.
func (c *conn) readPackets() error {
	wait := c.waiter()
	for {
		if c.isClosing() {
			return errClosing
		}
		if err := c.handleRead(); err != nil {
			return err
		}
		n, err := c.fill(wait)
		if n > 0 {
			c.touch()
		}
		c.s.stats.BytesIn.Add(int64(n))
		c.bytesIn.Add(int64(n))
		if err != nil && !c.stillAlive(err) {
			return err
		}
	}
}

// handleRead handles the packets that are complete, and proposes what they acknowledged as one operation.
func (c *conn) handleRead() error {
	in := &c.in
	if in.buf == nil {
		return nil
	}
	began := in.off
	in.need = 0
	for in.off < len(in.buf.b) {
		rest := in.buf.b[in.off:]
		h, n, err := packet.ReadHeader(rest, c.v)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := h.CheckSize(n, c.s.opt.PacketMax); err != nil {
			return err
		}
		if size := n + h.Remaining; len(rest) < size {
			in.need = size
			break
		} else if err := c.handle(h, rest[n:size]); err != nil {
			return err
		} else {
			in.off += size
		}
	}
	c.flushAcks()
	if in.off > began {
		c.touch() // we may have kept the device waiting for longer than its keep-alive
	}
	if in.off == len(in.buf.b) {
		giveBack(in.buf)
		in.buf, in.off = nil, 0
	}
	return nil
}

// fill reads at least a byte. wait is how it does so without a buffer.
func (c *conn) fill(wait func() (int, error)) (int, error) {
	in := &c.in
	if in.buf == nil {
		return wait()
	}
	in.makeRoom()
	have := len(in.buf.b)
	n, err := c.nc.Read(in.buf.b[have:cap(in.buf.b)])
	in.buf.b = in.buf.b[:have+n]
	return n, err
}

// makeRoom moves the incomplete packet to the front and doubles the buffer when it is full: memory follows the bytes
// that came, not the length that was announced.
func (in *input) makeRoom() {
	b := in.buf.b
	if in.off > 0 {
		b = b[:copy(b, b[in.off:])]
		in.buf.b, in.off = b, 0
	}
	if len(b) < cap(b) {
		return
	}
	grown := make([]byte, len(b), max(min(in.need, 2*cap(b)), cap(b)+512))
	copy(grown, b)
	giveBack(in.buf)
	in.buf = &buffer{grown}
}

// waiter returns the function that waits for the first byte of a packet and reads what is there into a borrowed buffer.
func (c *conn) waiter() func() (int, error) {
	if c.raw == nil {
		return c.readFirst
	}
	var n int
	var err error
	ready := func(fd uintptr) bool {
		n, err = c.readReady(int(fd))
		return !errors.Is(err, syscall.EAGAIN)
	}
	return func() (int, error) {
		if e := c.raw.Read(ready); e != nil {
			return 0, e
		}
		return n, err
	}
}

// readReady reads from a non-blocking socket. Without anything to read it borrows nothing beyond the call.
func (c *conn) readReady(fd int) (int, error) {
	size := smallBuffer
	if c.in.large {
		size = largeBuffer
	}
	b := borrow(size)
	for {
		n, err := syscall.Read(fd, b.b[:cap(b.b)])
		switch {
		case err == syscall.EINTR:
			continue
		case n > 0:
			c.in.large = n >= smallBuffer
			b.b = b.b[:n]
			c.in.buf, c.in.off = b, 0
			return n, nil
		case err == nil:
			err = io.EOF
		}
		giveBack(b)
		return 0, err
	}
}

// readFirst waits with one byte, which costs nothing to hold. No packet is that short, so more is on its way when it
// returns; TLS and WebSocket connections keep buffers of their own in any case.
func (c *conn) readFirst() (int, error) {
	n, err := c.nc.Read(c.in.first[:])
	if n == 0 {
		return 0, err
	}
	size := smallBuffer
	if c.in.large {
		size = largeBuffer
	}
	b := borrow(size)
	b.b = append(b.b, c.in.first[0])
	c.in.buf, c.in.off = b, 0
	if err == nil {
		m, e := c.nc.Read(b.b[1:cap(b.b)])
		b.b, n, err = b.b[:1+m], n+m, e
	}
	c.in.large = n >= smallBuffer
	return n, err
}
