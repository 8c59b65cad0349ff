package link

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"causeway/internal/group"
)

// TCP on the wan: byte streams that arrive after the delay, in order. What is sent
// while a direction is cut arrives after it was healed, as by retransmission. A node
// that crashed resets what it does not know.

// tcpWindow is what a direction holds before a writer waits.
const tcpWindow = 256 << 10

// pipe is one direction of a connection.
type pipe struct {
	w        *wan
	from, to string // IPs

	mu       sync.Mutex
	segments []segment
	size     int
	read     int   // of the first segment
	finished bool  // its end was sent
	err      error // why it ended before its end arrived: closed by the reader, reset
	dead     bool  // its sender crashed: nothing more arrives
	changed  chan struct{}
}

type segment struct {
	b   []byte // empty: the end
	due time.Time
}

func newPipe(w *wan, from, to string) *pipe {
	return &pipe{w: w, from: from, to: to, changed: make(chan struct{})}
}

// wake is called with mu held.
func (p *pipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil && !p.dead {
		p.err = err
		p.wake()
	}
}

// fin sends the end.
func (p *pipe) fin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.finished && !p.dead {
		p.finished = true
		p.segments = append(p.segments, segment{due: time.Now().Add(p.w.delay)})
		p.wake()
	}
}

// retransmitEvery is how often something that was not delivered is tried again.
const retransmitEvery = 100 * time.Millisecond

func (p *pipe) readSome(b []byte, deadline *deadline) (int, error) {
	for {
		if deadline.over() {
			return 0, os.ErrDeadlineExceeded
		}
		late := deadline.channel()
		p.mu.Lock()
		var wait time.Duration = -1
		if len(p.segments) > 0 {
			wait = time.Until(p.segments[0].due)
			if wait <= 0 && p.w.blocked(p.from, p.to) {
				wait = retransmitEvery
			}
			if wait <= 0 && len(p.segments[0].b) == 0 {
				p.mu.Unlock()
				return 0, io.EOF
			}
			if wait <= 0 {
				n := copy(b, p.segments[0].b[p.read:])
				p.size -= n
				if p.read += n; p.read == len(p.segments[0].b) {
					p.segments, p.read = p.segments[1:], 0
				}
				p.wake()
				p.mu.Unlock()
				return n, nil
			}
		} else if p.err != nil {
			err := p.err
			p.mu.Unlock()
			return 0, err
		}
		changed := p.changed
		p.mu.Unlock()
		var timer *time.Timer
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case <-due:
		case <-changed:
		case <-late:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

func (p *pipe) write(b []byte, deadline *deadline) (n int, err error) {
	for n < len(b) {
		if deadline.over() {
			return n, os.ErrDeadlineExceeded
		}
		late := deadline.channel()
		p.mu.Lock()
		gone := p.err != nil // the reader, and it can say so unless it is cut off
		if p.finished || gone && !p.w.blocked(p.from, p.to) && !p.w.blocked(p.to, p.from) {
			p.mu.Unlock()
			return n, syscall.EPIPE
		}
		if p.dead || gone {
			p.mu.Unlock()
			return len(b), nil
		}
		if room := tcpWindow - p.size; room > 0 {
			part := append([]byte(nil), b[n:min(len(b), n+room)]...)
			p.segments = append(p.segments, segment{part, time.Now().Add(p.w.delay)})
			p.size += len(part)
			n += len(part)
			p.wake()
			p.mu.Unlock()
			continue
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-late:
		}
	}
	return n, nil
}

// deadline is that of one direction.
type deadline struct {
	mu sync.Mutex
	at time.Time
	c  chan struct{} // closed when it passes or moves
	t  *time.Timer
}

func (d *deadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c != nil {
		close(d.c)
	}
	if d.t != nil {
		d.t.Stop()
		d.t = nil
	}
	c := make(chan struct{})
	d.at, d.c = at, c
	if !at.IsZero() {
		d.t = time.AfterFunc(time.Until(at), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.c == c {
				close(c)
				d.c = nil
			}
		})
	}
}

func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

var alreadyOver = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (d *deadline) channel() <-chan struct{} {
	if d.over() {
		return alreadyOver
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		d.c = make(chan struct{})
	}
	return d.c
}

// tcpEnd is one end of a connection.
type tcpEnd struct {
	w             *wan
	in, out       *pipe
	local, peer   *net.TCPAddr
	reads, writes deadline
	once          sync.Once
}

func (c *tcpEnd) Read(b []byte) (int, error)  { return c.in.readSome(b, &c.reads) }
func (c *tcpEnd) Write(b []byte) (int, error) { return c.out.write(b, &c.writes) }
func (c *tcpEnd) CloseWrite() error           { c.out.fin(); return nil }
func (c *tcpEnd) LocalAddr() net.Addr         { return c.local }
func (c *tcpEnd) RemoteAddr() net.Addr        { return c.peer }
func (c *tcpEnd) SetDeadline(t time.Time) error {
	c.reads.set(t)
	c.writes.set(t)
	return nil
}
func (c *tcpEnd) SetReadDeadline(t time.Time) error  { c.reads.set(t); return nil }
func (c *tcpEnd) SetWriteDeadline(t time.Time) error { c.writes.set(t); return nil }

// Close ends it for both sides; the other one hears of it after what was written.
func (c *tcpEnd) Close() error {
	c.once.Do(func() {
		c.in.end(net.ErrClosed)
		c.out.fin()
		_ = c.SetDeadline(time.Unix(1, 0))
	})
	return nil
}

// tcpListener accepts on the wan.
type tcpListener struct {
	w        *wan
	addr     *net.TCPAddr
	arrivals chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (w *wan) listenTCP(addr *net.TCPAddr) *tcpListener {
	l := &tcpListener{w: w, addr: addr, arrivals: make(chan net.Conn), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners[addr.String()] = l
	return l
}

func (l *tcpListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.arrivals:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *tcpListener) Addr() net.Addr { return l.addr }

func (l *tcpListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		if l.w.listeners[l.addr.String()] == l {
			delete(l.w.listeners, l.addr.String())
		}
	})
	return nil
}

// dialTCP connects from an IP, as SYN and its answer would.
func (w *wan) dialTCP(ctx context.Context, from, to string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	for w.blocked(from, host) || w.blocked(host, from) {
		if group.Pause(ctx, retransmitEvery) != nil {
			return nil, ctx.Err()
		}
	}
	if err := group.Pause(ctx, 2*w.delay); err != nil {
		return nil, ctx.Err()
	}
	w.mu.Lock()
	l := w.listeners[to]
	w.ports++
	port := 30000 + w.ports
	w.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	there, back := newPipe(w, from, host), newPipe(w, host, from)
	local := &net.TCPAddr{IP: net.ParseIP(from), Port: port}
	a := &tcpEnd{w: w, in: back, out: there, local: local, peer: l.addr}
	b := &tcpEnd{w: w, in: there, out: back, local: l.addr, peer: local}
	select {
	case l.arrivals <- b:
		w.mu.Lock()
		w.ends = append(w.ends, a, b)
		w.mu.Unlock()
		return a, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// crashTCP makes what an IP sends vanish, on the connections that it has.
func (w *wan) crashTCP(ip string) {
	w.pipesFrom(ip, func(p *pipe) {
		p.segments, p.size, p.read, p.dead = nil, 0, 0, true
	})
}

// resetTCP is what its peers hear of those connections when an IP is back.
func (w *wan) resetTCP(ip string) {
	w.pipesFrom(ip, func(p *pipe) {
		if p.dead {
			p.dead, p.err = false, syscall.ECONNRESET
		}
	})
}

func (w *wan) pipesFrom(ip string, do func(*pipe)) {
	w.mu.Lock()
	ends := w.ends
	w.mu.Unlock()
	for _, e := range ends {
		if e.out.from == ip {
			e.out.mu.Lock()
			do(e.out)
			e.out.wake()
			e.out.mu.Unlock()
		}
	}
}

// blocked says whether nothing passes from a to b.
func (w *wan) blocked(a, b string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]string{a, b}]
}

// blockUDP makes all UDP vanish, or pass.
func (w *wan) blockUDP(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noUDP = on
}
