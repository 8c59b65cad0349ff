package e2e

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"causeway/internal/trial"
)

// relay is a cable for UDP that can be cut: the regions dial it in place of each other.
type relay struct {
	conn  *net.UDPConn
	to    *net.UDPAddr
	isCut atomic.Bool
	bytes atomic.Int64 // that were passed on, both ways

	mu    sync.Mutex
	back  map[string]*net.UDPConn // to the target, by who sent to us
	tasks sync.WaitGroup
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port(t)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{conn: conn, to: to, back: map[string]*net.UDPConn{}}
	r.tasks.Go(r.forward)
	t.Cleanup(func() {
		conn.Close()
		r.mu.Lock()
		for _, b := range r.back {
			b.Close()
		}
		r.mu.Unlock()
		r.tasks.Wait()
	})
	return r
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

func (r *relay) addr() string { return r.conn.LocalAddr().String() }
func (r *relay) cut()         { r.isCut.Store(true) }
func (r *relay) heal()        { r.isCut.Store(false) }

func (r *relay) forward() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := r.conn.ReadFromUDP(b)
		if err != nil {
			return
		}
		out := r.towards(from)
		if out == nil || r.isCut.Load() {
			continue
		}
		r.bytes.Add(int64(n))
		_, _ = out.Write(b[:n]) // a target that is down refuses; so does a real network
	}
}

// towards returns the socket to the target for who sends from an address.
func (r *relay) towards(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if out := r.back[from.String()]; out != nil {
		return out
	}
	out, err := net.DialUDP("udp", nil, r.to)
	if err != nil {
		return nil
	}
	r.back[from.String()] = out
	r.tasks.Go(func() { r.answers(out, from) })
	return out
}

func (r *relay) answers(from *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		switch {
		case isClosed(err):
			return
		case err != nil || r.isCut.Load():
			continue
		}
		r.bytes.Add(int64(n))
		_, _ = r.conn.WriteToUDP(b[:n], to)
	}
}

// startWithRelay runs eu and us with a relay between them; extra ends both configurations.
func startWithRelay(t *testing.T, extra string) (*trial.Trial, *relay) {
	t.Helper()
	var cable *relay
	tr := start(t, trial.Options{
		LinkVia: func(_, _, address string) string {
			cable = newRelay(t, address)
			return cable.addr()
		},
		Extra: func(string) string { return extra },
	})
	return tr, cable
}
