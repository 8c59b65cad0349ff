package lab

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// server answers each packet with where it came from.
func (s *Site) server(t *testing.T, port int) {
	t.Helper()
	c := s.socket(t, port)
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDP(b)
			if err != nil {
				return
			}
			answer := append([]byte(from.String()+" "), b[:n]...)
			_, _ = c.WriteToUDP(answer[:max(len(from.String()), n)], from)
		}
	})
	t.Cleanup(func() { c.Close(); done.Wait() })
}

func (s *Site) socket(t *testing.T, port int) (c *net.UDPConn) {
	t.Helper()
	err := s.host.do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends size bytes and returns the answer and how long it took; "" without one.
func ask(t *testing.T, c *net.UDPConn, to string, size int, within time.Duration) (string, time.Duration) {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.WriteToUDP(make([]byte, size), addr); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(began.Add(within))
	b := make([]byte, 2048)
	n, _, err := c.ReadFromUDP(b)
	if err != nil {
		if os.IsTimeout(err) {
			return "", 0
		}
		t.Fatal(err)
	}
	for i, ch := range b[:n] {
		if ch == ' ' || ch == 0 {
			n = i
			break
		}
	}
	return string(b[:n]), time.Since(began)
}

const soon = 400 * time.Millisecond

// The path does what it was told, counted in what arrives.
func TestLab_Path(t *testing.T) {
	n := New(t)
	a, b := n.Site("a", Router), n.Site("b", Router)
	p := n.Path(a, b)
	b.server(t, 9000)
	c, to := a.socket(t, 0), b.Address()+":9000"

	p.Set(Conditions{Delay: 40 * ms})
	if from, took := ask(t, c, to, 100, 5*time.Second); from == "" || took < 80*ms || took > 200*ms {
		t.Errorf("40 ms each way: answer %q after %v", from, took)
	}
	began := time.Now()
	l := listenTCP(t, b, 9001)
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	conn, err := a.Dial(context.Background(), b.Address()+":9001")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if took := time.Since(began); took < 80*ms || took > 300*ms {
		t.Errorf("connected after %v", took)
	}
	p.Set(Conditions{MTU: 1228})
	if from, _ := ask(t, c, to, 1200, soon); from == "" {
		t.Error("1228 bytes do not pass a path of 1228")
	}
	if from, _ := ask(t, c, to, 1201, soon); from != "" {
		t.Error("1229 bytes pass a path of 1228")
	}
	p.Set(Conditions{})
	before := p.Carried()
	p.Down(true)
	if from, _ := ask(t, c, to, 100, soon); from != "" || p.Carried() != before {
		t.Errorf("something passes while the path is down: %+v", p.Carried().Minus(before))
	}
	p.Down(false)
	if from, _ := ask(t, c, to, 100, 5*time.Second); from == "" {
		t.Error("nothing passes after the path was healed")
	}
	if got := p.Carried().Minus(before); got.UDP < 256 || got.TCP != 0 {
		t.Errorf("counted %+v", got)
	}
	a.BlockUDP(true)
	before = p.Carried()
	if from, _ := ask(t, c, to, 100, soon); from != "" || p.Carried().UDP != before.UDP {
		t.Error("UDP passes a gateway that drops it")
	}
	a.BlockUDP(false)
	if from, _ := ask(t, c, to, 100, 5*time.Second); from == "" {
		t.Error("UDP does not pass any more")
	}
}

func listenTCP(t *testing.T, s *Site, port int) (l net.Listener) {
	t.Helper()
	err := s.host.do(func() (err error) {
		l, err = net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// NATs are what they are called.
func TestLab_NAT(t *testing.T) {
	n := New(t)
	server := n.Site("s", Router)
	server.server(t, 9000)
	server.server(t, 9001)
	stranger := server.socket(t, 9002)
	for _, kind := range []Gateway{PortRestrictedNAT, SymmetricNAT} {
		site := n.Site(map[Gateway]string{PortRestrictedNAT: "p", SymmetricNAT: "y"}[kind], kind)
		c := site.socket(t, 5555)
		seen := func(port string) string {
			from, _ := ask(t, c, server.Address()+":"+port, 200, 5*time.Second)
			if from == "" {
				t.Fatalf("%s: no answer", kind)
			}
			return from
		}
		one, two := seen("9000"), seen("9001")
		if again := seen("9000"); again != one {
			t.Errorf("%s: %s, then %s", kind, one, again)
		}
		if same := one == two; same != (kind == PortRestrictedNAT) {
			t.Errorf("%s: one server sees %s, another %s", kind, one, two)
		}
		addr, err := net.ResolveUDPAddr("udp4", one)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.WriteToUDP([]byte("hello"), addr); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(soon))
		if _, from, err := c.ReadFromUDP(make([]byte, 100)); err == nil {
			t.Errorf("%s lets in what nobody asked for, from %s", kind, from)
		}
		site.Forget()
		if again := seen("9000"); (again == one) != (kind == PortRestrictedNAT) {
			t.Errorf("%s: %s, after it forgot its mappings %s", kind, one, again)
		}
		site.ForgetAfter(time.Second)
	}
}
