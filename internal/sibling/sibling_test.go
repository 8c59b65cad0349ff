package sibling

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
	"causeway/internal/home"
)

// lab is the nodes of a region, in a bubble.
type lab struct {
	t     *testing.T
	net   *wires.Net
	nodes map[string]*fake
}

// fake is a node: its streams, its log and its edge.
type fake struct {
	*Siblings
	lab  *lab
	name string
	port *wires.Node
	stop func()

	mu          sync.Mutex
	incarnation uint64
	serve       func(context.Context, *cluster.Stream)
	applied     uint64
	moved       chan struct{} // closed when applied moves
	got         []string
	yields      []string
	slow        chan struct{} // set: Yield waits for it
}

func newLab(t *testing.T, names ...string) *lab {
	l := &lab{t: t, net: wires.New(1, time.Millisecond, 0), nodes: map[string]*fake{}}
	for _, n := range names {
		l.nodes[n] = &fake{lab: l, name: n, port: l.net.Node(n), moved: make(chan struct{})}
	}
	for _, n := range names {
		l.nodes[n].start(1)
	}
	time.Sleep(time.Second) // they find each other
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
	ln, err := f.port.ListenStreams()
	if err != nil {
		f.lab.t.Fatal(err)
	}
	f.incarnation = incarnation
	f.Siblings = New(Options{Node: home.NodeID(f.name), Streams: f, Log: f, Edge: f, Forward: func(p home.ID, m *home.Message) { f.note("forward %s %s", p, m.Payload) }})
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.Siblings.Run(ctx) })
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.accepted(ctx, nc) })
		}
	})
	f.stop = func() {
		cancel()
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
	for n := range f.lab.nodes {
		list = append(list, cluster.Member{Node: n})
	}
	return list
}

func (f *fake) Watch() (<-chan struct{}, func()) { return nil, func() {} }

func (f *fake) Owner() home.Owner {
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

func (f *fake) DeliverFromSibling(m *home.Message) { f.note("%s", m.Payload) }
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

// took is how long a Yield takes.
func (f *fake) took(former home.Owner) time.Duration {
	f.lab.t.Helper()
	began := time.Now()
	if err := f.Siblings.Yield(context.Background(), former, car, 7); err != nil {
		f.lab.t.Errorf("yield: %v", err)
	}
	return time.Since(began)
}

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		a, b := l.nodes["a"], l.nodes["b"]
		a.Deliver("b", &home.Message{Topic: "t", Payload: []byte("one"), QoS: 0})
		a.DeliverTo("b", home.Delivery{Session: car, Epoch: 3, Message: &home.Message{Topic: "t", Payload: []byte("two")}, SubIDs: []uint32{9}})
		a.Forward("b", "us", &home.Message{Topic: "t", Payload: []byte("three")})
		time.Sleep(10 * time.Millisecond)
		if got := b.has(); got != "one, two for car at 3, forward us three" {
			t.Errorf("b got %q", got)
		}
		for range 3000 {
			a.Deliver("b", &home.Message{Topic: "t", Payload: make([]byte, 4<<10)})
		}
		if st := a.Status()[0]; st.Dropped == 0 || st.Queued > a.o.QueueBytes+8<<10 {
			t.Errorf("12 MB at once: %+v", st)
		}
	})
}

func TestYield_IsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		if d := l.nodes["a"].took(owner("b", 1)); d > 5*time.Millisecond {
			t.Errorf("took %s", d)
		}
		if got := l.nodes["b"].yields; !reflect.DeepEqual(got, []string{"car below 7"}) {
			t.Errorf("b gave up %v", got)
		}
		if d := l.nodes["a"].took(owner("a", 0)); d != 0 {
			t.Errorf("an earlier run of the node itself took %s", d)
		}
	})
}

// The former owner takes its time: the new one waits for it, but not longer than
// its freshness lasts.
func TestYield_WaitsForASlowOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		slow := make(chan struct{})
		l.nodes["b"].slow = slow
		time.AfterFunc(300*time.Millisecond, func() { close(slow) })
		if d := l.nodes["a"].took(owner("b", 1)); d < 300*time.Millisecond || d > 310*time.Millisecond {
			t.Errorf("took %s, want 300ms", d)
		}
	})
}

func TestYield_OwnerCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		l.net.Cut("a", "b")
		if d := l.nodes["a"].took(owner("b", 1)); d != time.Second {
			t.Errorf("took %s, want the lapse", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.nodes["a"].Siblings.Yield(ctx, owner("b", 1), car, 9); err == nil {
			t.Error("a yield that nobody waited for succeeded")
		}
	})
}

// A process that is gone needs no time to fall silent: its address refuses.
func TestYield_OwnerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b")
		l.nodes["b"].stop()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if d := l.nodes["a"].took(owner("b", 1)); d > 300*time.Millisecond {
					t.Errorf("took %s", d)
				}
			})
		}
		wg.Wait()
		l.nodes["b"].start(2) // and a later run says that the first is over
		time.Sleep(5 * time.Second)
		if d := l.nodes["a"].took(owner("b", 1)); d > 5*time.Millisecond || len(l.nodes["b"].yields) > 0 {
			t.Errorf("took %s, and b gave up %v", d, l.nodes["b"].yields)
		}
	})
}

func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "a", "b", "c")
		a := l.nodes["a"]
		a.apply(10)
		known := make(chan time.Duration, 2)
		ask := func() {
			began := time.Now()
			a.Known(func() { known <- time.Since(began) })
		}
		ask()
		ask()
		time.AfterFunc(50*time.Millisecond, func() { l.nodes["b"].apply(10) })
		time.AfterFunc(90*time.Millisecond, func() { l.nodes["c"].apply(11) })
		for range 2 {
			if d := <-known; d < 90*time.Millisecond || d > 100*time.Millisecond {
				t.Errorf("known after %s, want 90ms", d)
			}
		}
		l.net.Cut("a", "c") // one that is cut off may not speak for long
		a.apply(20)
		l.nodes["b"].apply(20)
		ask()
		if d := <-known; d != time.Second {
			t.Errorf("known after %s, want the lapse", d)
		}
	})
}

func TestFrames(t *testing.T) {
	m := &home.Message{Namespace: "n", Topic: "t/u", Payload: []byte("p"), Forward: []byte{1, 2}, Expires: 99, QoS: 1, Retain: true}
	for _, f := range []frame{
		{kind: kindDeliver, message: m},
		{kind: kindDirect, session: car, epoch: 4, qos: 1, retain: true, subIDs: []uint32{1, 300}, message: m},
		{kind: kindForward, peer: "us", message: m},
		{kind: kindYield, number: 5, session: car, epoch: 6},
		{kind: kindApplied, number: 7, index: 8},
		{kind: kindAnswer, number: 9},
	} {
		b := f.append(nil)
		got, err := readFrame(bytes.NewReader(b), 1<<20)
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v becomes %+v, %v", f, got, err)
		}
		if _, err := readFrame(bytes.NewReader(b), len(b)-5); !errors.Is(err, errFrame) {
			t.Errorf("a frame above the limit: %v", err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	seed := frame{kind: kindDeliver, message: &home.Message{Topic: "t", Payload: []byte("p")}}
	f.Add(seed.append(nil)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := decodeFrame(b)
		if err != nil {
			return
		}
		again, err := decodeFrame(x.append(nil)[4:])
		if err != nil || !reflect.DeepEqual(x, again) {
			t.Errorf("%+v becomes %+v, %v", x, again, err)
		}
	})
}

func TestDead(t *testing.T) {
	if !cluster.Dead(fmt.Errorf("dial: %w", os.NewSyscallError("connect", syscall.ECONNREFUSED))) || cluster.Dead(os.ErrDeadlineExceeded) {
		t.Error("only a refused connection says that a process is gone")
	}
}
