package wires

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// laneBytes bounds what one direction of a connection holds; more makes Write
// wait.
const laneBytes = 256 << 10

// conn is one end of a connection: it writes to its own lane and reads the other
// end's.
type conn struct {
	net           *Net
	local, remote string
	out, in       *lane

	readBy, writeBy deadline
	closed          atomic.Bool // at this end
}

// lane carries bytes one way, in order.
type lane struct {
	mu      sync.Mutex
	chunks  []chunk
	bytes   int
	last    time.Time // when the newest chunk arrives
	end     error     // after the chunks: io.EOF, or a reset at once
	changed chan struct{}
}

type chunk struct {
	data []byte
	due  time.Time
}

// deadline is a time after which an operation fails.
type deadline struct {
	mu      sync.Mutex
	at      time.Time
	changed chan struct{}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = t
	if d.changed != nil {
		close(d.changed)
	}
	d.changed = make(chan struct{})
}

func (d *deadline) get() (time.Time, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.at, d.changed
}

func (n *Net) pair(a, b string) (*conn, *conn) {
	ab, ba := &lane{changed: make(chan struct{})}, &lane{changed: make(chan struct{})}
	x := &conn{net: n, local: a, remote: b, out: ab, in: ba}
	y := &conn{net: n, local: b, remote: a, out: ba, in: ab}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[x], n.conns[y] = struct{}{}, struct{}{}
	return x, y
}

// note wakes who waits for the lane. Guarded by mu.
func (l *lane) note() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lane) close(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end == nil || errors.Is(l.end, io.EOF) {
		l.end = err
		l.note()
	}
}

var errReset = os.NewSyscallError("read", syscall.ECONNRESET)

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		cut, healed := c.net.isCut(c.remote, c.local)
		n, wait, changed, err := 0, time.Duration(-1), c.in.watch(), c.in.broken()
		if !cut {
			n, wait, changed, err = c.in.take(b)
		}
		if n > 0 || err != nil {
			return n, err
		}
		if err := c.await(&c.readBy, wait, changed, healed); err != nil {
			return 0, err
		}
	}
}

func (l *lane) watch() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// broken is the error of a lane that was reset or closed at this end.
func (l *lane) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone() {
		return l.end
	}
	return nil
}

// gone says that what the lane holds is lost. Guarded by mu.
func (l *lane) gone() bool { return errors.Is(l.end, errReset) || errors.Is(l.end, net.ErrClosed) }

// take reads what has arrived. wait is until the next chunk arrives; -1: none is
// under way.
func (l *lane) take(b []byte) (n int, wait time.Duration, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.gone():
		return 0, 0, nil, l.end
	case len(l.chunks) == 0 && l.end != nil:
		return 0, 0, nil, l.end
	case len(l.chunks) == 0:
		return 0, -1, l.changed, nil
	}
	if left := time.Until(l.chunks[0].due); left > 0 {
		return 0, left, l.changed, nil
	}
	for len(l.chunks) > 0 && n < len(b) && !time.Now().Before(l.chunks[0].due) {
		k := copy(b[n:], l.chunks[0].data)
		n += k
		if l.chunks[0].data = l.chunks[0].data[k:]; len(l.chunks[0].data) == 0 {
			l.chunks = l.chunks[1:]
		}
	}
	l.bytes -= n
	l.note()
	return n, 0, nil, nil
}

// await waits for a time, for a change of the lane, or of the network, or of the
// deadline, and fails after that.
func (c *conn) await(d *deadline, wait time.Duration, changed, healed <-chan struct{}) error {
	at, moved := d.get()
	var due, over <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	if !at.IsZero() {
		left := time.Until(at)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(left)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-due:
	case <-changed:
	case <-healed:
	case <-moved:
	case <-over:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		if c.closed.Load() {
			return done, net.ErrClosed
		}
		cut, healed := c.net.isCut(c.remote, c.local)
		n, changed, err := c.out.put(b[done:], c.net.delay(), cut)
		done += n
		if err != nil {
			return done, err
		}
		if n > 0 {
			continue
		}
		if err := c.await(&c.writeBy, -1, changed, healed); err != nil {
			return done, err
		}
	}
	return done, nil
}

// put adds what fits. deaf: that the other end is gone is not heard.
func (l *lane) put(b []byte, delay time.Duration, deaf bool) (n int, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil && !deaf {
		return 0, nil, syscall.EPIPE
	}
	n = min(len(b), laneBytes-l.bytes)
	if n == 0 {
		return 0, l.changed, nil
	}
	due := time.Now().Add(delay)
	if due.Before(l.last) {
		due = l.last
	}
	l.last = due
	l.chunks = append(l.chunks, chunk{append([]byte(nil), b[:n]...), due})
	l.bytes += n
	l.note()
	return n, nil, nil
}

// Close implements net.Conn: the other end reads what is under way, then the end.
func (c *conn) Close() error {
	c.closed.Store(true)
	c.out.close(io.EOF)
	c.in.close(net.ErrClosed)
	c.forget()
	return nil
}

// reset ends the connection like a killed process: the other end hears it, unless
// the network is cut: then once it heals, or when that end gives up.
func (c *conn) reset() {
	c.closed.Store(true)
	c.net.died(c.local, c.remote, c.out)
	c.in.close(net.ErrClosed)
	c.forget()
}

func (c *conn) forget() {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	delete(c.net.conns, c)
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return nodeAddr(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return nodeAddr(c.remote) }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.readBy.set(t)
	c.writeBy.set(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { c.readBy.set(t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { c.writeBy.set(t); return nil }
