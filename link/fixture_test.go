package link

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"causeway/internal/home"
	"causeway/link/wire"
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
}

func newWAN(oneWay time.Duration) *wan {
	return &wan{rng: mrand.New(mrand.NewPCG(7, 11)), nodes: map[string]simnet.PacketReceiver{}, cut: map[[2]string]bool{}, delay: oneWay}
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
	case to == nil || w.cut[[2]string{ipOf(p.From), ipOf(p.To)}] || w.rng.Float64() < w.loss:
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

// authority issues certificates in the form of package tls.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// identity is a region's certificate.
type identity struct {
	pool *x509.CertPool
	cert tls.Certificate
}

func (a *authority) issue(t testing.TB, region string) *identity {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		URIs:        []*url.URL{{Scheme: "causeway", Host: "region", Path: "/" + region}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &identity{pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (id *identity) config(want string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
		Certificates: []tls.Certificate{id.cert}, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			saw, err := id.PeerRegion(s)
			if err != nil {
				return err
			}
			if _, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: id.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				return fmt.Errorf("wanted %q, saw %q of another authority: %w", want, saw, err)
			}
			if want != "" && saw != want {
				return fmt.Errorf("wanted %q, saw %q", want, saw)
			}
			return nil
		}}
}

func (id *identity) ServerTLS() *tls.Config                  { return id.config("") }
func (id *identity) ClientTLS(wantRegion string) *tls.Config { return id.config(wantRegion) }

func (id *identity) PeerRegion(s tls.ConnectionState) (string, error) {
	if len(s.PeerCertificates) == 0 || len(s.PeerCertificates[0].URIs) == 0 {
		return "", errors.New("no identity in the certificate")
	}
	return strings.TrimPrefix(s.PeerCertificates[0].URIs[0].Path, "/"), nil
}

// testHome is a home with a log of one voter: what is proposed commits a little
// later and is applied by one goroutine.
type testHome struct {
	id       home.ID
	owner    home.Owner
	sink     home.Sink
	delay    time.Duration
	ctx      context.Context
	cancel   context.CancelFunc
	finished chan struct{}
	arrived  chan struct{}

	mu      sync.Mutex
	st      *home.State
	pending []proposal
	n       uint64
	log     [][]byte
	held    bool // nothing commits
	started time.Time
	base    home.Time
}

type proposal struct {
	op   home.Op
	done func(home.Outcome, error)
}

var (
	errFull    = errors.New("full")
	errStopped = errors.New("the home has stopped")
)

const maxPending = 4096

// openHome replays a log, or begins one.
func openHome(t testing.TB, id string, log [][]byte, sink home.Sink) *testHome {
	h := &testHome{id: home.ID(id), sink: sink, delay: time.Millisecond, st: home.New(), log: log, started: time.Now(),
		finished: make(chan struct{}), arrived: make(chan struct{}, 1), base: home.Time(time.Hour)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for _, b := range log {
		rec, err := home.DecodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.st.Apply(&rec, nothing{}, func(*home.Entry, int, home.Outcome) {}); err != nil {
			t.Fatal(err)
		}
		h.base = rec.Time
	}
	last, _ := h.st.Incarnation("n1")
	h.owner = home.Owner{Node: "n1", Incarnation: last + 1}
	go h.run()
	first := []home.Op{&home.NodeUp{}}
	if len(log) == 0 {
		first = []home.Op{&home.Genesis{Home: h.id, Epoch: home.Epoch{Number: 1, Host: id}}}
	}
	for _, op := range first {
		h.do(t, op)
	}
	return h
}

type nothing struct{}

func (nothing) Deliver(home.Delivery)                                                {}
func (nothing) Queued(home.SessionKey, home.SessionEpoch, home.Owner)                {}
func (nothing) Ended(home.SessionKey, home.SessionEpoch, home.Owner, home.EndReason) {}
func (nothing) Spooled(home.ID)                                                      {}
func (nothing) Wanted()                                                              {}
func (nothing) Dropped(string, home.DropReason, int)                                 {}

func (h *testHome) run() {
	defer close(h.finished)
	for {
		select {
		case <-h.arrived:
		case <-h.ctx.Done():
			h.mu.Lock()
			rest := h.pending
			h.pending = nil
			h.mu.Unlock()
			for _, p := range rest {
				p.done(home.Outcome{}, errStopped)
			}
			return
		}
		if h.delay > 0 {
			_ = pause(h.ctx, h.delay)
		}
		if h.ctx.Err() != nil {
			wake(h.arrived)
			continue
		}
		h.commit()
	}
}

func (h *testHome) commit() {
	h.mu.Lock()
	if h.held || len(h.pending) == 0 {
		h.mu.Unlock()
		return
	}
	batch := h.pending
	h.pending = nil
	h.n++
	rec := home.Record{Home: h.id, Time: h.base.Add(time.Since(h.started)), Entries: []home.Entry{{Owner: h.owner, N: h.n}}}
	for _, p := range batch {
		rec.Entries[0].Ops = append(rec.Entries[0].Ops, p.op)
	}
	b := rec.Append(nil)
	h.log = append(h.log, b)
	st := h.st
	h.mu.Unlock()
	back, err := home.DecodeRecord(b)
	if err != nil {
		panic(err)
	}
	outcomes := make([]home.Outcome, len(batch))
	if err := st.Apply(&back, h.sink, func(_ *home.Entry, i int, o home.Outcome) { outcomes[i] = o }); err != nil {
		panic(err)
	}
	for i, p := range batch {
		p.done(outcomes[i], nil)
	}
}

func (h *testHome) Propose(op home.Op, done func(home.Outcome, error)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return errStopped
	}
	if len(h.pending) >= maxPending {
		return errFull
	}
	h.pending = append(h.pending, proposal{op, done})
	wake(h.arrived)
	return nil
}

func (h *testHome) Room(ctx context.Context) error {
	if err := pause(ctx, time.Millisecond); err != nil {
		return err
	}
	return h.ctx.Err()
}

func (h *testHome) State() *home.State { return h.st }

func (h *testHome) Body(seq home.Seq) (home.Message, error) {
	return home.Message{}, fmt.Errorf("message %d is in memory only", seq)
}

func (h *testHome) hold(on bool) {
	h.mu.Lock()
	h.held = on
	h.mu.Unlock()
	wake(h.arrived)
}

func (h *testHome) stop() [][]byte {
	h.cancel()
	<-h.finished
	return h.log
}

func (h *testHome) do(t testing.TB, op home.Op) home.Outcome {
	t.Helper()
	out := make(chan home.Outcome, 1)
	for {
		err := h.Propose(op, func(o home.Outcome, err error) {
			if err != nil {
				t.Errorf("propose %T: %v", op, err)
			}
			out <- o
		})
		if err == nil {
			return <-out
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("propose %T: %v", op, err)
		}
		_ = h.Room(h.ctx)
	}
}

func key(id string) home.SessionKey { return home.SessionKey{ClientID: id} }

// subscribe makes a durable session with a subscription.
func (h *testHome) subscribe(t testing.TB, id string, filters ...string) {
	t.Helper()
	o := h.do(t, &home.Attach{Session: key(id), Expiry: 1 << 31})
	op := &home.Subscribe{Session: key(id), Epoch: o.Epoch}
	for _, f := range filters {
		op.Filters = append(op.Filters, home.Subscription{Filter: f, QoS: 2})
	}
	for i, c := range h.do(t, op).Codes {
		if c > 2 {
			t.Fatalf("subscribe %s: code %#x", filters[i], c)
		}
	}
}

// publish publishes messages numbered from..to on a topic, at QoS 1.
func (h *testHome) publish(t testing.TB, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		h.do1(t, &home.Publish{Topic: topic, Payload: fmt.Appendf(nil, "%s %s %d", h.id, topic, i), QoS: 1})
	}
	h.do(t, &home.Tick{})
}

// publishNoise publishes numbered messages that do not compress.
func (h *testHome) publishNoise(t testing.TB, topic string, from, to int) {
	t.Helper()
	rng := mrand.NewChaCha8([32]byte{byte(from)})
	for i := from; i < to; i++ {
		b := fmt.Appendf(nil, "%s %s %d|", h.id, topic, i)
		at := len(b)
		b = append(b, make([]byte, 500)...)
		_, _ = rng.Read(b[at:])
		h.do1(t, &home.Publish{Topic: topic, Payload: b, QoS: 1})
	}
	h.do(t, &home.Tick{})
}

// do1 proposes without waiting.
func (h *testHome) do1(t testing.TB, op home.Op) {
	for {
		err := h.Propose(op, func(_ home.Outcome, err error) {})
		if err == nil {
			return
		}
		if !errors.Is(err, errFull) {
			t.Fatal(err)
		}
		_ = h.Room(h.ctx)
	}
}

// queue returns what waits for a session, in order. It attaches anew.
func (h *testHome) queue(t testing.TB, id string) []string {
	t.Helper()
	e := h.do(t, &home.Attach{Session: key(id), Expiry: 1 << 31}).Epoch
	var out []string
	for _, q := range h.st.Queue(key(id), e, 0, 1<<20, nil) {
		text, _, _ := strings.Cut(string(q.Message.Payload), "|")
		out = append(out, text)
	}
	return out
}

func numbered(homeID, topic string, from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%s %s %d", homeID, topic, i))
	}
	return out
}

// same says how two lists differ first.
func same(t testing.TB, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("message %d of %d is %q, want %q (of %d)", i, len(got), got[i], want[i], len(want))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
}

// node is a region of one node.
type node struct {
	t     *testing.T
	w     *world
	name  string
	addr  *net.UDPAddr
	id    *identity
	peers []Peer
	tune  func(*Options)

	home    *testHome
	m       *Manager
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
	return map[string]string{"eu": "10.0.0.1", "us": "10.0.0.2", "ap": "10.0.0.3"}[name]
}

func addrOf(name string) string { return "udp://" + ip(name) + ":7444" }

// region adds a region and starts it.
func (w *world) region(name string, peers ...Peer) *node {
	return w.tuned(name, func(*Options) {}, peers...)
}

func (w *world) tuned(name string, tune func(*Options), peers ...Peer) *node {
	n := &node{t: w.t, w: w, name: name, addr: &net.UDPAddr{IP: net.ParseIP(ip(name)).To4(), Port: 7444},
		id: w.ca.issue(w.t, name), peers: peers, tune: tune}
	w.nodes[name] = n
	n.start(nil)
	for _, p := range peers {
		n.home.do(w.t, &home.SetPeer{Peer: p.ID, Out: p.Out, Never: p.Never, Retained: true})
	}
	return n
}

// start opens the home from a log and runs its links.
func (n *node) start(log [][]byte) {
	n.home = openHome(n.t, n.name, log, (*nodeSink)(n))
	o := Options{Region: n.name, Software: "test", Home: n.home, Full: errFull, Local: n, Identity: n.id, Peers: n.peers,
		Listen:   func() (net.PacketConn, error) { return n.w.wan.listen(n.addr), nil },
		ResetKey: [32]byte{1, 2, 3, n.addr.IP.To4()[3]}, Logger: logger(n.t, n.name)}
	n.tune(&o)
	m, err := New(o)
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
		if err := m.Run(ctx); err != nil {
			n.t.Errorf("%s: Run: %v", n.name, err)
		}
	}()
}

func logger(t *testing.T, name string) *slog.Logger {
	if os.Getenv("LINK_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("region", name)
}

// stop ends a node in order.
func (n *node) stop() [][]byte {
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

func (n *node) DeliverFromPeer(m *home.Message) {
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
