package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// door is the one address that clients know of several regions: a name whose address DNS changes.
type door struct {
	l net.Listener

	mu     sync.Mutex
	to     string
	open   map[net.Conn]struct{}
	closed bool
	tasks  sync.WaitGroup
}

func newDoor(t *testing.T, to string) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{l: l, to: to, open: map[net.Conn]struct{}{}}
	d.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.tasks.Go(func() { d.pass(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.mu.Lock()
		d.closed = true
		for c := range d.open {
			c.Close()
		}
		d.mu.Unlock()
		d.tasks.Wait()
	})
	return d
}

func (d *door) addr() string { return d.l.Addr().String() }

// point leads who comes from now on elsewhere. Who is inside stays.
func (d *door) point(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
}

// pass carries one connection until either end is closed: the other end sees that at once, as with a load balancer.
func (d *door) pass(c net.Conn) {
	defer c.Close()
	d.mu.Lock()
	to := d.to
	d.mu.Unlock()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	if !d.note(c, s) {
		return
	}
	defer d.forget(c, s)
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, s)
		c.Close()
	}()
	_, _ = io.Copy(s, c)
	s.Close()
	<-back
}

func (d *door) note(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		d.open[c] = struct{}{}
	}
	return !d.closed
}

func (d *door) forget(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range conns {
		delete(d.open, c)
	}
}
