package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
	"causeway/internal/home"
	"causeway/internal/store"
)

// region is several nodes with a copy of one home each, in a bubble.
type region struct {
	t     *testing.T
	net   *wires.Net
	nodes []*node
	opts  func(*Options)
	every time.Duration // between two publishes of a node
	base  uint32        // of the numbers of its publishers
	tr    *traffic
}

// node is one of them, over all its lives and disks.
type node struct {
	rg     *region
	name   string
	role   cluster.Role
	fs     *store.CrashFS
	port   *wires.Node
	copies copies

	mu       sync.Mutex
	self     cluster.Self
	handlers map[string]func(context.Context, *cluster.Stream)
	r        *Replica // of this life
	life     context.Context
	end      context.CancelFunc
	ended    chan struct{}
	err      error
	opening  string
	listener interface{ Close() error }
	all      sync.WaitGroup
}

func newRegion(t *testing.T, n int) *region { return newRegionOf(t, "eu", n) }

func newRegionOf(t *testing.T, name string, n int) *region {
	rg := &region{t: t, net: wires.New(1, 200*time.Microsecond, 300*time.Microsecond)}
	for i := range n {
		name := fmt.Sprintf("%s-%d", name, i+1)
		rg.nodes = append(rg.nodes, &node{rg: rg, name: name, role: cluster.Core, fs: store.NewCrashFS(), port: rg.net.Node(name)})
	}
	t.Cleanup(rg.stop)
	return rg
}

func (rg *region) stop() {
	rg.net.HealAll()
	if rg.tr != nil {
		rg.tr.stop()
		defer rg.tr.wg.Wait()
	}
	for _, d := range rg.nodes {
		d.stop()
	}
}

func (rg *region) start() {
	for _, d := range rg.nodes {
		d.start()
	}
}

// Members, Handle, Watch and Dial make a node a Cluster without TLS.
func (d *node) Members() (list []cluster.Member) {
	for _, o := range d.rg.nodes {
		o.mu.Lock()
		list = append(list, cluster.Member{Node: o.name, Role: o.role, Streams: o.name, Alive: true, Features: home.MaxLevel, Disk: o.self.Disk})
		o.mu.Unlock()
	}
	return list
}

func (d *node) Watch() (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

func (d *node) Handle(protocol string, f func(context.Context, *cluster.Stream)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handlers[protocol] = f
}

func (d *node) peer() cluster.Peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return cluster.Peer{Node: d.name, Role: d.role, Disk: d.self.Disk, Incarnation: d.self.Incarnation, Wall: time.Now()}
}

// Dial implements Cluster: the hello is two lines.
func (d *node) Dial(ctx context.Context, name, disk, protocol string) (*cluster.Stream, error) {
	nc, err := d.port.DialStream(ctx, name)
	if err != nil {
		return nil, err
	}
	me := d.peer()
	deadline, _ := ctx.Deadline()
	_ = nc.SetDeadline(deadline)
	fmt.Fprintf(nc, "%s %s %s %d %s %q\n", me.Node, me.Role, me.Disk, me.Incarnation, protocol, disk)
	var p cluster.Peer
	var refused string
	if _, err := fmt.Fscanf(oneByte{nc}, "%s %s %d %q\n", &p.Node, &p.Disk, &p.Incarnation, &refused); err != nil {
		_ = nc.Close()
		return nil, err
	}
	if refused != "" {
		_ = nc.Close()
		return nil, &cluster.Refused{Code: cluster.WrongDisk, Reason: refused}
	}
	_ = nc.SetDeadline(time.Time{})
	p.Wall = time.Now()
	st := &cluster.Stream{Conn: nc, Peer: p}
	if protocol == CopyProtocol {
		st = d.copies.dialled(st)
	}
	return st, nil
}

// oneByte keeps fmt from reading ahead.
type oneByte struct {
	r interface{ Read([]byte) (int, error) }
}

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:1]) }

func (d *node) serve(ctx context.Context, l interface{ Close() error }, accept func() (*cluster.Stream, error)) {
	for {
		st, err := accept()
		if err != nil {
			return
		}
		d.all.Go(func() { d.open(ctx, st) })
	}
}

func (d *node) open(ctx context.Context, st *cluster.Stream) {
	defer st.Close()
	var protocol, wants string
	_ = st.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fscanf(oneByte{st}, "%s %s %s %d %s %q\n", &st.Peer.Node, &st.Peer.Role, &st.Peer.Disk, &st.Peer.Incarnation, &protocol, &wants); err != nil {
		return
	}
	st.Peer.Wall = time.Now()
	me := d.peer()
	d.mu.Lock()
	f := d.handlers[protocol]
	d.mu.Unlock()
	refused := ""
	switch {
	case wants != "" && wants != me.Disk:
		refused = "another disk is meant"
	case f == nil:
		refused = "nobody serves that"
	}
	fmt.Fprintf(st, "%s %s %d %q\n", me.Node, me.Disk, me.Incarnation, refused)
	_ = st.SetDeadline(time.Time{})
	if refused == "" {
		f(ctx, st)
	}
}

// start begins a life of the node on its disk: it opens and runs its home until
// it is killed or stopped, and opens it again when it fails.
func (d *node) start() {
	d.rg.t.Helper()
	l, err := d.port.ListenStreams()
	if err != nil {
		d.rg.t.Fatal(err)
	}
	life, end := context.WithCancel(context.Background())
	d.mu.Lock()
	d.handlers = map[string]func(context.Context, *cluster.Stream){}
	d.life, d.end, d.ended, d.listener = life, end, make(chan struct{}), l
	ended := d.ended
	d.mu.Unlock()
	d.all.Go(func() {
		d.serve(life, l, func() (*cluster.Stream, error) {
			nc, err := l.Accept()
			if err != nil {
				return nil, err
			}
			return &cluster.Stream{Conn: nc}, nil
		})
	})
	fs := d.fs
	d.all.Go(func() {
		defer close(ended)
		for life.Err() == nil {
			err := d.live(life, fs)
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
			select {
			case <-time.After(500 * time.Millisecond):
			case <-life.Done():
			}
		}
	})
}

func (d *node) live(ctx context.Context, fs *store.CrashFS) error {
	dir, err := store.OpenDir(fs, "/data", store.Identity{Region: "eu", Node: d.name})
	if err != nil {
		return err
	}
	defer dir.Close()
	d.mu.Lock()
	d.self = cluster.Self{Disk: string(dir.DiskUUID()), Incarnation: dir.Incarnation(), Features: home.MaxLevel}
	d.mu.Unlock()
	o := Options{Home: "eu", Epoch: home.Epoch{Number: 1, Host: "eu"}, Node: home.NodeID(d.name), Incarnation: home.Incarnation(dir.Incarnation()),
		Disk: string(dir.DiskUUID()), Cluster: d, Voters: 3, FS: fs, Dir: "/data/home-eu", Sink: deaf{}, SegmentBytes: 256 << 10,
		Store: store.Options{MemTableBytes: 256 << 10, CacheBytes: 256 << 10},
		RaiseIncarnation: func(i home.Incarnation) (home.Incarnation, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.self.Incarnation = max(d.self.Incarnation, uint64(i))
			return i, dir.RaiseIncarnation(uint64(i))
		},
		Waiting: func(s string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.opening = s
		}}
	if os.Getenv("REPLICA_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", d.name)
	}
	if d.rg.opts != nil {
		d.rg.opts(&o)
	}
	open := Open
	if d.role == cluster.Replicant {
		o.FS, open = nil, Follow
	} else if o.Dir, err = dir.Home("home-eu"); err != nil {
		return err
	}
	r, err := open(ctx, o)
	if errors.Is(err, ErrLost) {
		return errors.Join(err, dir.SetAside("home-eu", err.Error()))
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.r = r
	d.mu.Unlock()
	err = r.Run(ctx)
	d.mu.Lock()
	d.r = nil
	d.mu.Unlock()
	return err
}

// stop ends the node's life gracefully.
func (d *node) stop() {
	d.mu.Lock()
	end, ended, l := d.end, d.ended, d.listener
	d.end = nil
	d.mu.Unlock()
	if end == nil {
		return
	}
	end()
	<-ended
	_ = l.Close()
	d.rg.net.Kill(d.name)
	d.all.Wait()
}

// kill is kill -9 and loss of power: what was not synced is gone. The old life
// ends out of everybody's sight.
func (d *node) kill() {
	d.rg.net.Kill(d.name)
	d.mu.Lock()
	end, ended := d.end, d.ended
	d.end = nil
	d.fs = d.fs.Crash()
	d.mu.Unlock()
	end()
	<-ended
	d.all.Wait()
}

// wipe gives the node an empty disk.
func (d *node) wipe() { d.fs = store.NewCrashFS() }

func (d *node) replica() *Replica {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r
}

func (d *node) state() string {
	d.mu.Lock()
	r, opening, err := d.r, d.opening, d.err
	d.mu.Unlock()
	if r != nil {
		ok, why := r.Ready()
		n, sum := r.State().Chain()
		return fmt.Sprintf("%s: ready %v %s; applied %d, %d records, chain %x, digest %x", d.name, ok, why, r.Applied(), n, sum, r.State().Digest())
	}
	return fmt.Sprintf("%s: opening: %s; %v", d.name, opening, err)
}

// await waits for ok on the virtual clock.
func (rg *region) await(what string, within time.Duration, ok func() bool) {
	rg.t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s := ""
			for _, d := range rg.nodes {
				s += "\n" + d.state()
			}
			rg.t.Fatalf("waited %s for %s%s", within, what, s)
		}
	}
}

func (d *node) ready() bool {
	r := d.replica()
	if r == nil {
		return false
	}
	ok, _ := r.Ready()
	return ok
}

func (rg *region) allReady(nodes ...*node) func() bool {
	if len(nodes) == 0 {
		nodes = rg.nodes
	}
	return func() bool {
		for _, d := range nodes {
			if !d.ready() {
				return false
			}
		}
		return true
	}
}

func (rg *region) leader() *node {
	for _, d := range rg.nodes {
		if r := d.replica(); r != nil && r.Leads() {
			return d
		}
	}
	return nil
}

// propose has a node propose and waits for the outcome.
func (d *node) propose(op home.Op) (home.Outcome, error) {
	type result struct {
		o   home.Outcome
		err error
	}
	r := d.replica()
	if r == nil {
		return home.Outcome{}, ErrStopped
	}
	done := make(chan result, 1)
	if err := r.Propose(op, func(o home.Outcome, err error) { done <- result{o, err} }); err != nil {
		return home.Outcome{}, err
	}
	x := <-done
	return x.o, x.err
}

func (rg *region) same(nodes ...*node) bool {
	if len(nodes) == 0 {
		nodes = rg.nodes
	}
	first := nodes[0].replica()
	if first == nil {
		return false
	}
	for _, d := range nodes[1:] {
		r := d.replica()
		if r == nil || r.Applied() != first.Applied() || r.State().Digest() != first.State().Digest() {
			return false
		}
		a, x := r.State().Chain()
		b, y := first.State().Chain()
		if a != b || x != y {
			rg.t.Fatalf("%s and %s applied the same and differ: %d %x, %d %x", d.name, nodes[0].name, a, x, b, y)
		}
	}
	return true
}

func TestRegion_ThreeNodesFoundAHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRegion(t, 3)
		rg.start()
		rg.await("three ready nodes", 20*time.Second, rg.allReady())
		for i, d := range rg.nodes {
			if o, err := d.propose(numbered(1, uint32(i), 100)); err != nil || o.Code != home.CodeNoSubscribers {
				t.Errorf("%s: %+v, %v", d.name, o, err)
			}
		}
		rg.await("equal copies", 5*time.Second, func() bool { return rg.same() })
		if n := len(rg.leader().replica().core().servers()); n != 3 {
			t.Errorf("the group has %d members", n)
		}
	})
}

// hang lets every write of the node's disk wait until release is called.
func (d *node) hang() (release func()) {
	ch := make(chan struct{})
	d.fs.BeforeOp(func(op store.Op) {
		if op.Kind == store.OpSync || op.Kind == store.OpWrite {
			<-ch
		}
	})
	return func() {
		d.fs.BeforeOp(nil)
		close(ch)
	}
}

// grow adds a node that does not run yet.
func (rg *region) grow(name string) {
	rg.nodes = append(rg.nodes, &node{rg: rg, name: name, role: cluster.Core, fs: store.NewCrashFS(), port: rg.net.Node(name)})
}

func asRefused(err error, no **RefusedError) bool { return errors.As(err, no) }

func payloadOf(b []byte) message {
	return message{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}
