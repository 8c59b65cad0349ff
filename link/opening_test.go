package link

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"causeway/link/wire"
)

// stranger speaks the protocol by hand to a node of the world.
type stranger struct {
	t  *testing.T
	tr *transport
	c  conn
	s  control
	r  *bufio.Reader
}

func (w *world) stranger(t *testing.T, name, to string) *stranger {
	id := w.ca.issue(t, name)
	addr := &net.UDPAddr{IP: net.ParseIP(ip(name)).To4(), Port: 7444}
	o := EndpointOptions{Identity: id, Listen: func() (net.PacketConn, error) { return w.wan.listen(addr), nil }}.withDefaults()
	tr, err := listen(&o, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	c, err := tr.dial(context.Background(), &net.UDPAddr{IP: net.ParseIP(ip(to)).To4(), Port: 7444}, id.ClientTLS(to))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t, tr, c, s, bufio.NewReader(s)}
}

func (s *stranger) close() {
	s.c.close(0, "done")
	s.tr.close()
}

// open sends an opening and returns the answer.
func (s *stranger) open(h wire.Hello) (wire.Hello, wire.Control) {
	s.t.Helper()
	if _, err := s.s.Write(h.Append(nil)); err != nil {
		s.t.Fatal(err)
	}
	theirs, err := wire.ReadHello(s.r)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := wire.ReadControl(s.r)
	if err != nil {
		s.t.Fatal(err)
	}
	if w, ok := m.(*wire.Welcome); ok {
		s.c = fitting(s.c, w.Agreement, 1<<20)
	}
	return theirs, m
}

func helloOf(name string) wire.Hello {
	return wire.Hello{Min: 1, Max: 1, Features: wire.Features, Region: name, Home: name,
		Epoch: wire.Epoch{Number: 1, Host: name}, Software: "stranger", Instance: 99, MaxMessage: 1 << 20}
}

// read returns the next control message of the type wanted.
func read[T wire.Control](s *stranger) T {
	s.t.Helper()
	for {
		m, err := wire.ReadControl(s.r)
		if err != nil {
			s.t.Fatal(err)
		}
		if v, ok := m.(T); ok {
			return v
		}
	}
}

func TestOpening_Versions(t *testing.T) {
	for _, c := range []struct {
		name  string
		hello func(h *wire.Hello)
		want  string // in the Goodbye; empty: welcome
	}{
		{"of a later build that speaks ours", func(h *wire.Hello) { h.Max, h.Features = 7, 1<<50|wire.FeatureS2 }, ""},
		{"too new", func(h *wire.Hello) { h.Min, h.Max, h.Software = 5, 7, "9.0" }, "eu (test) speaks 1 to 1, us (9.0) speaks 5 to 7"},
		{"lies about its region", func(h *wire.Hello) { h.Region = "ap" }, `says it is region "ap", its certificate is of "us"`},
		{"of another home", func(h *wire.Hello) { h.Home = "x" }, `hosts home "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 5*time.Millisecond)
				defer w.close()
				eu := w.region("eu", peerFrom("us"))
				s := w.stranger(t, "us", "eu")
				defer s.close()
				h := helloOf("us")
				c.hello(&h)
				theirs, m := s.open(h)
				if theirs.Region != "eu" || theirs.Home != "eu" || theirs.Software != "test" {
					t.Errorf("answer %+v", theirs)
				}
				switch m := m.(type) {
				case *wire.Welcome:
					if c.want != "" || m.Version != 1 || m.Features != wire.FeatureS2 {
						t.Errorf("welcomed with %+v", m)
					}
				case *wire.Goodbye:
					if c.want == "" || !strings.Contains(m.Reason, c.want) {
						t.Errorf("refused: %q", m.Reason)
					}
					time.Sleep(100 * time.Millisecond)
					if r := eu.status("us").Reason; !strings.Contains(r, c.want) {
						t.Errorf("reason here %q", r)
					}
				}
			})
		})
	}
}
