package link

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/home"
	"causeway/link/wire"
)

// node is a region of one node.
type node struct {
	t     *testing.T
	w     *world
	name  string
	addr  *net.UDPAddr
	id    *identity
	peers []Peer
	tune  func(*tuning)

	home    *testHome
	m       *Manager
	sites   []*site // of other homes
	cancel  context.CancelFunc
	stopped chan struct{}

	mu   sync.Mutex
	live []*home.Message
}

// world is several regions on a wan.
type world struct {
	t     *testing.T
	wan   *wan
	ca    *authority
	nodes map[string]*node
}

func newWorld(t *testing.T, oneWay time.Duration) *world {
	return &world{t: t, wan: newWAN(oneWay), ca: newAuthority(t), nodes: map[string]*node{}}
}

func ip(name string) string {
	return map[string]string{"eu": "10.0.0.1", "us": "10.0.0.2", "ap": "10.0.0.3", "sa": "10.0.0.4"}[name]
}

func addrOf(name string) string { return "udp://" + ip(name) + ":7444" }

func tcpAddrOf(name string) string { return "tcp://" + ip(name) + ":7445" }

// peerToBoth has addresses of both networks.
func peerToBoth(name string) Peer {
	p := peerTo(name)
	p.Dial = append(p.Dial, tcpAddrOf(name))
	return p
}

// region adds a region and starts it.
func (w *world) region(name string, peers ...Peer) *node {
	return w.tuned(name, func(*tuning) {}, peers...)
}

func (w *world) tuned(name string, tune func(*tuning), peers ...Peer) *node {
	n := &node{t: w.t, w: w, name: name, addr: &net.UDPAddr{IP: net.ParseIP(ip(name)).To4(), Port: 7444},
		id: w.ca.issue(w.t, name), peers: peers, tune: tune}
	w.nodes[name] = n
	n.start(nil)
	for _, p := range peers {
		n.home.do(w.t, &home.SetPeer{Peer: p.ID, Retained: true})
	}
	return n
}

// start opens the home from a log and runs its links.
func (n *node) start(log [][]byte) {
	n.home = openHome(n.t, n.name, log, (*nodeSink)(n))
	o := tuning{Options: Options{Home: n.home, Full: errFull, Local: n, Peers: n.peers, Logger: logger(n.t, n.name)}}
	o.EndpointOptions = EndpointOptions{Region: n.name, Software: "test", Identity: n.id,
		Listen: func() (net.PacketConn, error) { return n.w.wan.listen(n.addr), nil },
		ListenTCP: func() (net.Listener, error) {
			return n.w.wan.listenTCP(&net.TCPAddr{IP: n.addr.IP, Port: 7445}), nil
		},
		DialTCP: func(ctx context.Context, to string) (net.Conn, error) {
			return n.w.wan.dialTCP(ctx, n.addr.IP.String(), to)
		},
		ResetKey: [32]byte{1, 2, 3, n.addr.IP.To4()[3]}}
	n.w.wan.resetTCP(n.addr.IP.String())
	n.tune(&o)
	m, err := o.open()
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.m = m
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.stopped = cancel, make(chan struct{})
	go func() {
		defer close(n.stopped)
		if err := m.RunWithEndpoint(ctx); err != nil {
			n.t.Errorf("%s: Run: %v", n.name, err)
		}
	}()
}

// tuning is what a node of one home is made with.
type tuning struct {
	EndpointOptions
	Options
}

func (o *tuning) open() (*Manager, error) {
	e, err := NewEndpoint(o.EndpointOptions)
	if err != nil {
		return nil, err
	}
	return New(e, o.Options)
}

// linkWith is the link to another home.
func (m *Manager) linkWith(id string) *peer { return (*m.peers.Load())[linkTo(home.ID(id))] }

func logger(t *testing.T, name string) *slog.Logger {
	if os.Getenv("LINK_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("region", name)
}

// stop ends a node in order.
func (n *node) stop() [][]byte {
	for _, s := range n.sites {
		s.stop()
	}
	n.sites = nil
	n.cancel()
	<-n.stopped
	return n.home.stop()
}

// crash ends a node without a word to anyone, and returns its log.
func (n *node) crash() [][]byte {
	for name := range n.w.nodes {
		if name != n.name {
			n.w.wan.oneWay(ip(n.name), ip(name), true)
		}
	}
	n.w.wan.crashTCP(ip(n.name))
	log := n.stop()
	time.Sleep(n.w.wan.delay + time.Millisecond)
	for name := range n.w.nodes {
		if name != n.name {
			n.w.wan.oneWay(ip(n.name), ip(name), false)
		}
	}
	return log
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.stop()
	}
}

func (n *node) manager() *Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m
}

func (n *node) status(peer string) Status {
	n.t.Helper()
	for _, s := range n.m.Status() {
		if s.Peer == home.ID(peer) {
			return s
		}
	}
	n.t.Fatalf("%s has no link to %s", n.name, peer)
	return Status{}
}

// wanted is why a message crosses that a session over there subscribed to.
var wanted = home.Claim{Live: true}

func (n *node) DeliverFromPeer(m *home.Message, _ home.Claim) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.live = append(n.live, m)
}

func (n *node) delivered() []*home.Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.live
}

// nodeSink is the part of home.Sink that concerns links.
type nodeSink node

func (s *nodeSink) Deliver(home.Delivery)                                                {}
func (s *nodeSink) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (s *nodeSink) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (s *nodeSink) Dropped(string, home.DropReason, int)                                 {}
func (s *nodeSink) Spooled(p home.ID) {
	if m := (*node)(s).manager(); m != nil {
		m.Spooled(p)
	}
}
func (s *nodeSink) Wanted() {
	if m := (*node)(s).manager(); m != nil {
		m.Wanted()
	}
}

// eventually waits in virtual time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
	}
	return time.Since(began)
}

func up(t *testing.T, n *node, peer string) {
	t.Helper()
	began := time.Now()
	for n.status(peer).State != Up {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s -> %s is %s: %s", n.name, peer, n.status(peer).State, n.status(peer).Reason)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// wantsKnown waits until a home has what another one wants.
func wantsKnown(t *testing.T, at *node, peer *node) {
	t.Helper()
	eventually(t, 20*time.Second, at.name+" knows what "+peer.name+" wants", func() bool {
		v, d := peer.home.st.Wanted()
		if info, ok := at.home.st.Peer(home.ID(peer.name)); !ok || info.Version != v {
			return false // a digest of many filters takes a while
		}
		_, got, _ := at.home.st.PeerDigest(home.ID(peer.name))
		return got == d
	})
}

func drained(t *testing.T, n *node, peer string, within time.Duration) time.Duration {
	t.Helper()
	return eventually(t, within, n.name+" has nothing left for "+peer, func() bool { return n.status(peer).LagMessages == 0 })
}

func peerTo(name string) Peer {
	return Peer{ID: home.ID(name), Dial: []string{addrOf(name)}, Compress: wire.CodecZstd}
}

func peerFrom(name string) Peer { return Peer{ID: home.ID(name), Compress: wire.CodecZstd} }

// bubble runs a test on a virtual clock.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func sourceOf(n *node) home.Source {
	return home.Source{Home: n.home.st.ID(), Epoch: n.home.st.Epoch()}
}

func liveMsg(payload string) *home.Message {
	return &home.Message{Topic: "live/a", Payload: []byte(payload)}
}
