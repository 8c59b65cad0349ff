package sibling

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
	"causeway/internal/home"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is the nodes of a region, in a bubble.
type lab struct {
	t     *testing.T
	net   *wires.Net
	nodes map[string]*fake
}

// fake is a node: its streams, its log and its edge.
type fake struct {
	*Siblings
	lab   *lab
	name  string
	port  *wires.Node
	stop  func()
	again bool // start runs the Siblings that were

	mu          sync.Mutex
	incarnation uint64
	down        bool // declared dead
	serve       func(context.Context, *cluster.Stream)
	applied     uint64
	moved       chan struct{} // closed when applied moves
	got         []string
	yields      []string
	waited      int                      // calls of WaitApplied
	dials       int                      // calls of Dial
	slow        chan struct{}            // set: Yield waits for it
	hold        map[string]chan struct{} // deliveries of these payloads wait
	dial        func()                   // set: called within Dial, before its error is returned
	changed     chan struct{}
}

func newLab(t *testing.T, names ...string) *lab {
	l := &lab{t: t, net: wires.New(1, time.Millisecond, 0), nodes: map[string]*fake{}}
	for _, n := range names {
		l.nodes[n] = &fake{lab: l, name: n, port: l.net.Node(n), moved: make(chan struct{}), hold: map[string]chan struct{}{}, changed: make(chan struct{}, 1)}
	}
	for _, n := range names {
		l.nodes[n].start(1)
	}
	time.Sleep(3 * time.Second) // they find each other
	t.Cleanup(func() {
		l.net.HealAll()
		for _, f := range l.nodes {
			f.stop()
		}
	})
	return l
}

func (f *fake) start(incarnation uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	ln, err := f.port.ListenStreams()
	if err != nil {
		f.lab.t.Fatal(err)
	}
	f.incarnation = incarnation
	if !f.again {
		f.Siblings = New(Options{Node: home.NodeID(f.name), Streams: f, Log: f, Edge: f, Forward: func(p home.ID, m *home.Message, _ home.Claim) { f.note("forward %s %s", p, m.Payload) }})
	}
	var wg sync.WaitGroup
	s := f.Siblings
	ran := make(chan struct{})
	wg.Go(func() {
		defer close(ran)
		_ = s.Run(ctx)
	})
	life, die := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.accepted(life, nc) })
		}
	})
	f.stop = func() {
		cancel()
		<-ran // which ends its streams by itself
		die()
		f.lab.net.Kill(f.name)
		wg.Wait()
	}
}

// The hello of these streams is a line.
func (f *fake) accepted(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	st := &cluster.Stream{Conn: nc}
	if _, err := fmt.Fscanf(oneByte{nc}, "%s\n", &st.Peer.Node); err != nil {
		return
	}
	f.mu.Lock()
	serve, incarnation := f.serve, f.incarnation
	f.mu.Unlock()
	if _, err := fmt.Fprintf(nc, "%d\n", incarnation); err == nil && serve != nil {
		serve(ctx, st)
	}
}

type oneByte struct{ net.Conn }

func (o oneByte) Read(b []byte) (int, error) { return o.Conn.Read(b[:1]) }

func (f *fake) Dial(ctx context.Context, node, _, _ string) (*cluster.Stream, error) {
	nc, err := f.port.DialStream(ctx, node)
	f.mu.Lock()
	f.dials++
	hook := f.dial
	f.mu.Unlock()
	if hook != nil {
		hook()
	}
	if err != nil {
		return nil, err
	}
	st := &cluster.Stream{Conn: nc, Peer: cluster.Peer{Node: node}}
	fmt.Fprintf(nc, "%s\n", f.name)
	if _, err := fmt.Fscanf(oneByte{nc}, "%d\n", &st.Peer.Incarnation); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return st, nil
}

func (f *fake) Handle(_ string, serve func(context.Context, *cluster.Stream)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serve = serve
}

func (f *fake) Members() (list []cluster.Member) {
	for n, o := range f.lab.nodes {
		o.mu.Lock()
		list = append(list, cluster.Member{Node: n, Incarnation: max(o.incarnation, 1)})
		o.mu.Unlock()
	}
	return list
}

func (f *fake) Alive() (list []home.Owner) {
	for n, o := range f.lab.nodes {
		o.mu.Lock()
		if !o.down {
			list = append(list, owner(n, home.Incarnation(max(o.incarnation, 1))))
		}
		o.mu.Unlock()
	}
	return list
}

func (f *fake) Watch() (<-chan struct{}, func()) { return f.changed, func() {} }

func (f *fake) Owner() home.Owner {
	f.mu.Lock()
	defer f.mu.Unlock()
	return home.Owner{Node: home.NodeID(f.name), Incarnation: home.Incarnation(f.incarnation)}
}

func (f *fake) Applied() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

func (f *fake) apply(i uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = i
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *fake) WaitApplied(ctx context.Context, i uint64) error {
	f.mu.Lock()
	f.waited++
	f.mu.Unlock()
	for {
		f.mu.Lock()
		at, moved := f.applied, f.moved
		f.mu.Unlock()
		if at >= i {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, fmt.Sprintf(format, args...))
}

func (f *fake) DeliverFromSibling(m *home.Message) {
	f.mu.Lock()
	hold := f.hold[string(m.Payload)]
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	f.note("%s", m.Payload)
}

func (f *fake) DeliverToSession(d home.Delivery) {
	f.note("%s for %s at %d", d.Message.Payload, d.Session, d.Epoch)
}

func (f *fake) Yield(k home.SessionKey, e home.SessionEpoch) {
	f.mu.Lock()
	slow := f.slow
	f.yields = append(f.yields, fmt.Sprintf("%s below %d", k, e))
	f.mu.Unlock()
	if slow != nil {
		<-slow
	}
}

func (f *fake) has() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.got, ", ")
}

var car = home.SessionKey{ClientID: "car"}

func owner(node string, incarnation home.Incarnation) home.Owner {
	return home.Owner{Node: home.NodeID(node), Incarnation: incarnation}
}

func text(s string) *home.Message { return &home.Message{Topic: "t", Payload: []byte(s)} }

// status is what f sees of its only sibling, or of the first by name.
func (f *fake) status() Status { return f.Status()[0] }

func (f *fake) count(of *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *of
}

func (f *fake) gaveUp() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.yields)
}

// say is an incarnation that f gives in its hellos from now on.
func (f *fake) say(incarnation uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.incarnation = incarnation
}

// took is how long a Yield takes.
func (f *fake) took(former home.Owner) time.Duration {
	f.lab.t.Helper()
	began := time.Now()
	if err := f.Siblings.Yield(context.Background(), former, car, 7); err != nil {
		f.lab.t.Errorf("yield: %v", err)
	}
	return time.Since(began)
}
