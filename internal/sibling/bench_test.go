package sibling

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// loop is the streams of one node over loopback TCP, in the clear.
type loop struct {
	name  string
	peers map[string]*loop
	ln    net.Listener
	serve atomic.Pointer[func(context.Context, *cluster.Stream)]
	slots chan struct{} // a token for each message under way
}

func newLoop(b *testing.B, name string, peers map[string]*loop) *loop {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	l := &loop{name: name, peers: peers, ln: ln, slots: make(chan struct{}, 512)}
	peers[name] = l
	return l
}

func (l *loop) start(b *testing.B) *Siblings {
	s := New(Options{Node: home.NodeID(l.name), Streams: l, Log: l, Edge: l})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx)
	}()
	go func() {
		for {
			nc, err := l.ln.Accept()
			if err != nil {
				return
			}
			name := make([]byte, 1)
			_, _ = nc.Read(name)
			go (*l.serve.Load())(ctx, &cluster.Stream{Conn: nc, Peer: cluster.Peer{Node: string(name), Incarnation: 1}})
		}
	}()
	b.Cleanup(func() {
		_ = l.ln.Close()
		cancel()
		<-ended
	})
	return s
}

func (l *loop) Dial(ctx context.Context, node, _, _ string) (*cluster.Stream, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.peers[node].ln.Addr().String())
	if err != nil {
		return nil, err
	}
	_, err = nc.Write([]byte(l.name))
	return &cluster.Stream{Conn: nc, Peer: cluster.Peer{Node: node, Incarnation: 1}}, err
}

func (l *loop) Handle(_ string, serve func(context.Context, *cluster.Stream)) {
	if serve == nil {
		serve = func(_ context.Context, st *cluster.Stream) { _ = st.Close() }
	}
	l.serve.Store(&serve)
}

func (l *loop) Members() []cluster.Member {
	return []cluster.Member{{Node: "a"}, {Node: "b"}}
}
func (l *loop) Watch() (<-chan struct{}, func())          { return nil, func() {} }
func (l *loop) Applied() uint64                           { return 1 }
func (l *loop) WaitApplied(context.Context, uint64) error { return nil }
func (l *loop) Alive() (list []home.Owner) {
	for name := range l.peers {
		list = append(list, home.Owner{Node: home.NodeID(name), Incarnation: 1})
	}
	return list
}
func (l *loop) Owner() home.Owner                        { return home.Owner{Node: home.NodeID(l.name), Incarnation: 1} }
func (l *loop) DeliverFromSibling(*home.Message)         { <-l.slots }
func (l *loop) DeliverToSession(home.Delivery)           { <-l.slots }
func (l *loop) Yield(home.SessionKey, home.SessionEpoch) {}

func await(ok func() bool) {
	for !ok() {
		time.Sleep(time.Millisecond)
	}
}

// pair is two nodes whose streams are up.
func pair(b *testing.B) (from *Siblings, to *loop) {
	peers := map[string]*loop{}
	la, lb := newLoop(b, "a", peers), newLoop(b, "b", peers)
	nop := func(_ context.Context, st *cluster.Stream) { _ = st.Close() }
	la.serve.Store((*func(context.Context, *cluster.Stream))(&nop))
	lb.serve.Store((*func(context.Context, *cluster.Stream))(&nop))
	sb := lb.start(b)
	sa := la.start(b)
	connected := func(s *Siblings) bool {
		st := s.Status()
		return len(st) == 1 && st[0].Connected && time.Since(st[0].Since) > 100*time.Millisecond
	}
	await(func() bool { return connected(sa) && connected(sb) })
	return sa, lb
}

// BenchmarkDeliver is messages from one node to another over loopback, at most
// 512 under way; both ends are this process.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{256, 4096} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			from, to := pair(b)
			m := &home.Message{Topic: "plant/7/line/3/temperature", Payload: make([]byte, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				to.slots <- struct{}{}
				from.Deliver("b", m)
			}
			for range cap(to.slots) {
				to.slots <- struct{}{}
			}
			if st := from.Status()[0]; st.Dropped > 0 {
				b.Errorf("%d were dropped", st.Dropped)
			}
		})
	}
}

// BenchmarkYield is sessions given up by another node, 64 at a time.
func BenchmarkYield(b *testing.B) {
	from, _ := pair(b)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := from.Yield(context.Background(), home.Owner{Node: "b", Incarnation: 1}, car, 7); err != nil {
				b.Error(err)
			}
		}
	})
	if y := from.Status()[0].Yields; y.Lapsed > 0 {
		b.Errorf("%d lapsed", y.Lapsed)
	}
}

// BenchmarkKnown is subscriptions that wait for another node, 1,024 at a time.
func BenchmarkKnown(b *testing.B) {
	from, _ := pair(b)
	slots := make(chan struct{}, 1024)
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		from.Known(func() { <-slots })
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
}
