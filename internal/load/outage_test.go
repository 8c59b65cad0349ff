package load

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"causeway/broker/packet"
)

// region is a broker that knows CONNECT only, and may close whoever comes without an answer.
type region struct {
	net.Listener

	mu    sync.Mutex
	shut  bool
	lines []net.Conn
	wills []*packet.Will
}

func newRegion(t *testing.T) *region {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &region{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); r.close(true); wg.Wait() })
	return r
}

func (r *region) addr() string { return r.Addr().String() }

func (r *region) serve(c net.Conn) {
	defer c.Close()
	var head [2]byte // the type and the length of a short CONNECT
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		return
	}
	hello, err := packet.DecodeConnect(body)
	r.mu.Lock()
	if err != nil || r.shut {
		r.mu.Unlock()
		return
	}
	r.lines, r.wills = append(r.lines, c), append(r.wills, hello.Will)
	r.mu.Unlock()
	_, _ = c.Write(packet.AppendConnack(nil, packet.V311, &packet.Connack{SessionPresent: true}))
	_, _ = io.Copy(io.Discard, c)
}

// close ends all connections, and refuses others from then on or not.
func (r *region) close(shut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = shut
	for _, c := range r.lines {
		c.Close()
	}
}

// A device whose region does not answer any more is answered by the next one; when it was and how long it took is
// known. It stays there until that one is silent, too.
func TestDevice_GoesToTheNextRegion(t *testing.T) {
	eu, us := newRegion(t), newRegion(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d, err := Start(ctx, Options{Addr: eu.addr(), Others: []string{us.addr()}, ID: "d", Reconnect: true, Will: "wills", Number: 7, Redial: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	began := time.Now()
	eu.close(true)
	await(t, ctx, "us to be asked", func() bool { return connects(d) == 2 })
	if s := ServedSince(began, d); len(s.After) != 1 || s.After[0] > time.Since(began) {
		t.Errorf("served again: %+v", s)
	}
	if _, lost := d.servedSince(time.Now()); lost {
		t.Error("a loss that was not")
	}
	eu.close(false)
	us.close(true)
	await(t, ctx, "eu to be asked again", func() bool { return connects(d) == 3 })
	if w := us.will(0); w == nil || w.Topic != "wills" || w.Payload[0] != 0x80 || w.Payload[3] != 7 || w.Payload[11] != 1 {
		t.Errorf("the will that the second connection left: %+v", w)
	}
}

func await(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		if !pause(ctx, time.Millisecond) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func (r *region) will(i int) *packet.Will {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wills[i]
}

func connects(d *Device) int { n, _, _ := d.History(); return n }

func TestServed_WhoIsAwayCounts(t *testing.T) {
	s := &Served{After: []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9}, Away: 1}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 5, 0.9: 9, 0.95: 0, 1: 0} {
		if got, ok := s.Quantile(q); got != want || ok != (want > 0) {
			t.Errorf("quantile %v of nine that were served and one that was not: %d, %v", q, got, ok)
		}
	}
}
