package load

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"causeway/broker/packet"
)

// peer reads what a device sends and says what it likes.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func accept(t *testing.T, l net.Listener) *peer {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, conn, bufio.NewReader(conn)}
	if b, err := p.in.Peek(2); err != nil || packet.Type(b[0]>>4) != packet.CONNECT {
		t.Fatalf("the first packet begins with %x, %v", b, err)
	} else if _, err := p.in.Discard(2 + int(b[1])); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *peer) next() (packet.Header, []byte) {
	p.t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	h, n, err := header(p.in, packet.V311)
	if err != nil {
		p.t.Fatal(err)
	}
	body := make([]byte, n+h.Remaining)
	if _, err := p.in.Read(body); err != nil {
		p.t.Fatal(err)
	}
	return h, body[n:]
}

func (p *peer) say(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// A device sends nothing before its CONNACK, whatever it is allowed meanwhile: what was in flight goes first.
func TestDevice_WaitsForItsConnack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	started := make(chan *Device, 1)
	go func() {
		d, err := Start(context.Background(), Options{Addr: l.Addr().String(), ID: "dev", Reconnect: true, QoS: 2, Topic: "t", Out: &Stream{}, Window: 16})
		if err != nil {
			t.Error(err)
		}
		started <- d
	}()
	first := accept(t, l)
	first.say(packet.AppendConnack(nil, packet.V311, &packet.Connack{}))
	d := <-started
	d.Allow(1)
	first.next()
	first.conn.Close()
	for range 3 {
		p := accept(t, l)
		d.Allow(3)
		d.Arrived()
		_ = p.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if b, err := p.in.Peek(1); err == nil {
			t.Errorf("it sends %x before its CONNACK", b)
		}
		p.conn.Close()
	}
	go d.Stop()
}
