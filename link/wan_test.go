package link

import (
	mrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// wan is a simulated network in which each direction between two nodes can be
// cut, lose and double packets.
type wan struct {
	mu    sync.Mutex
	rng   *mrand.Rand
	nodes map[string]simnet.PacketReceiver
	cut   map[[2]string]bool
	loss  float64
	twice float64
	delay time.Duration
	noUDP bool
	tap   func(simnet.Packet) (lost bool) // of UDP; set while nothing is sent

	listeners map[string]*tcpListener
	ports     int
	ends      []*tcpEnd
}

func newWAN(oneWay time.Duration) *wan {
	return &wan{rng: mrand.New(mrand.NewPCG(7, 11)), nodes: map[string]simnet.PacketReceiver{}, cut: map[[2]string]bool{}, delay: oneWay,
		listeners: map[string]*tcpListener{}}
}

func ipOf(a net.Addr) string { return a.(*net.UDPAddr).IP.String() }

func (w *wan) AddNode(a net.Addr, r simnet.PacketReceiver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[a.String()] = r
}

func (w *wan) SendPacket(p simnet.Packet) error {
	w.mu.Lock()
	to := w.nodes[p.To.String()]
	copies := 1
	switch {
	case w.tap != nil && w.tap(p):
		copies = 0
	case to == nil || w.noUDP || w.cut[[2]string{ipOf(p.From), ipOf(p.To)}] || w.rng.Float64() < w.loss:
		copies = 0
	case w.rng.Float64() < w.twice:
		copies = 2
	}
	w.mu.Unlock()
	for range copies {
		to.RecvPacket(p)
	}
	return nil
}

// oneWay cuts or heals what a sends to b.
func (w *wan) oneWay(a, b string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{a, b}] = cut
}

func (w *wan) setCut(a, b string, cut bool) {
	w.oneWay(a, b, cut)
	w.oneWay(b, a, cut)
}

func (w *wan) set(loss, twice float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss, w.twice = loss, twice
}

// socket is an endpoint of the wan that takes its link with it.
type socket struct {
	*simnet.SimConn
	link *simnet.SimulatedLink
	once sync.Once
}

func (w *wan) listen(addr *net.UDPAddr) *socket {
	l := &simnet.SimulatedLink{Latency: w.delay, UploadPacket: w}
	c := simnet.NewBlockingSimConn(addr, l)
	l.Start()
	w.AddNode(addr, l)
	return &socket{SimConn: c, link: l}
}

func (s *socket) Close() error {
	err := s.SimConn.Close()
	s.once.Do(func() { _ = s.link.Close() })
	return err
}
