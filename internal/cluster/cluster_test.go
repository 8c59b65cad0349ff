package cluster_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
	meshtls "causeway/tls"
)

// authority issues identities for a test.
type authority struct {
	t   testing.TB
	ca  *meshtls.CA
	dir string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	dir := t.TempDir()
	ca, err := meshtls.CreateCA(filepath.Join(dir, "ca"), meshtls.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, ca: ca, dir: dir}
}

// identity is a node's certificate, as the app presents it.
type identity struct {
	src    *meshtls.Source
	region string
}

func (a *authority) identity(region, node string) identity {
	a.t.Helper()
	issued, err := meshtls.Issue(a.ca, meshtls.Identity{Region: region, Node: node}, time.Hour)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := filepath.Join(a.dir, fmt.Sprintf("%s-%s-%d", region, node, time.Now().UnixNano()))
	if _, err := issued.Write(dir, "n", false); err != nil {
		a.t.Fatal(err)
	}
	src, err := meshtls.Load(filepath.Join(dir, "n.pem"), filepath.Join(dir, "n-key.pem"), filepath.Join(dir, "ca.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	return identity{src, region}
}

func (i identity) NodeServerTLS() *tls.Config       { return meshtls.ServerConfig(i.src) }
func (i identity) NodeClientTLS(string) *tls.Config { return meshtls.ClientConfig(i.src, i.region) }
func (i identity) PeerNode(s tls.ConnectionState) (region, node string, err error) {
	id, err := meshtls.PeerIdentity(s)
	return id.Region, id.Node, err
}

// start runs a cluster node until the test ends.
func start(t testing.TB, o cluster.Options) *cluster.Cluster {
	t.Helper()
	c, err := cluster.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, c)
}

// onLoopback runs a node on ports that are free. Between our look and its bind somebody else may take one: it looks again.
func onLoopback(t testing.TB, o cluster.Options) *cluster.Cluster {
	t.Helper()
	for range 100 {
		o.Listen, o.Streams = port(t), port(t)
		c, err := cluster.New(o)
		if err == nil {
			return run(t, c)
		}
		t.Log(err)
	}
	t.Fatal("no free ports")
	return nil
}

func run(t testing.TB, c *cluster.Cluster) *cluster.Cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return c
}

func self(disk string, incarnation uint64) func() (cluster.Self, error) {
	return func() (cluster.Self, error) {
		return cluster.Self{Disk: disk, Incarnation: incarnation, Features: 3}, nil
	}
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// echo serves a protocol that says back what it hears.
func echo(_ context.Context, s *cluster.Stream) { _, _ = io.Copy(s, s) }

const proto = "causeway-test/1"

func port(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Two nodes on real sockets, with real certificates and encrypted gossip.
func TestStreams(t *testing.T) {
	ca, key := newAuthority(t), bytes.Repeat([]byte{7}, 32)
	options := func(region, node, join string) cluster.Options {
		return cluster.Options{Region: region, Node: node, Software: "test", Self: self("disk-of-"+node, 4), Identity: ca.identity(region, node),
			GossipKey: key, Advertise: "127.0.0.1", Join: cluster.Join{Nodes: []string{join}, Every: 100 * time.Millisecond}}
	}
	a := onLoopback(t, options("eu", "eu-1", "127.0.0.1:1"))
	there, _ := a.Addr()
	b := onLoopback(t, options("eu", "eu-2", there))
	a.Handle(proto, echo)
	await(t, "each other", func() bool { return len(a.Members()) == 2 && len(b.Members()) == 2 })
	ctx := t.Context()
	st, err := b.Dial(ctx, "eu-1", "disk-of-eu-1", proto)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if p := st.Peer; p.Node != "eu-1" || p.Disk != "disk-of-eu-1" || p.Incarnation != 4 || p.Features != 3 || p.Software != "test" || time.Since(p.Wall) > time.Minute {
		t.Errorf("the peer says it is %+v", p)
	}
	if _, err := st.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(st, got); err != nil || string(got) != "hello" {
		t.Errorf("came back %q, %v", got, err)
	}
	for name, tc := range map[string]struct {
		disk, proto string
		code        cluster.RefusalCode
	}{
		"another disk":       {"disk-of-before", proto, cluster.WrongDisk},
		"nobody serves that": {"", "causeway-none/1", cluster.UnknownProtocol},
	} {
		var no *cluster.Refused
		if _, err := b.Dial(ctx, "eu-1", tc.disk, tc.proto); !errors.As(err, &no) || no.Code != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.Dial(ctx, "eu-9", "", proto); !errors.Is(err, cluster.ErrUnknownNode) {
		t.Errorf("an unknown node: %v", err)
	}
	a.Handle(proto, func(context.Context, *cluster.Stream) { panic("clumsy") })
	if s, err := b.Dial(ctx, "eu-1", "", proto); err == nil {
		_, _ = io.ReadAll(s) // its handler panicked: this stream ends, and nothing else
		s.Close()
	}
	a.Handle(proto, echo)
	if s, err := b.Dial(ctx, "eu-1", "", proto); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
}

// A node of another region, with a certificate of the same authority and even the
// same gossip key, gets no stream; nor does one whose node is not ready.
func TestStreams_Refused(t *testing.T) {
	ca, w := newAuthority(t), wires.New(1, 0, 0)
	options := func(region, node string) cluster.Options {
		return cluster.Options{Region: region, Node: node, Self: self("d", 1), Identity: ca.identity(region, node), Network: w.Node(node),
			Join: cluster.Join{Nodes: []string{w.Node("eu-1").Addr()}, Every: 50 * time.Millisecond}}
	}
	one := options("eu", "eu-1")
	ready := make(chan struct{})
	one.Self = func() (cluster.Self, error) {
		select {
		case <-ready:
			return cluster.Self{Disk: "d", Incarnation: 1}, nil
		default:
			return cluster.Self{}, errors.New("the disk is not open")
		}
	}
	a := start(t, one)
	a.Handle(proto, echo)
	b := start(t, options("eu", "eu-2"))
	await(t, "each other", func() bool { return len(b.Members()) == 2 })
	var no *cluster.Refused
	if _, err := b.Dial(t.Context(), "eu-1", "", proto); !errors.As(err, &no) || no.Code != cluster.NotReady || !strings.Contains(no.Reason, "disk is not open") {
		t.Errorf("a node that is not ready: %v", err)
	}
	close(ready)
	// A stranger that says it is of this region: its certificate says otherwise.
	liar := options("eu", "eu-3")
	liar.Identity = identity{ca.identity("us", "eu-3").src, "eu"}
	c := start(t, liar)
	await(t, "the stranger to hear of the others", func() bool { return len(c.Members()) == 3 })
	if s, err := c.Dial(t.Context(), "eu-1", "", proto); err == nil {
		s.Close()
		t.Error("a node of another region got a stream")
	}
}

// Replicants that are started by number share the region's certificate, which names no node. It makes nobody a core.
func TestStreams_RegionsCertificate(t *testing.T) {
	ca, key := newAuthority(t), bytes.Repeat([]byte{7}, 32)
	options := func(node, disk, certificate string, role cluster.Role, join string) cluster.Options {
		return cluster.Options{Region: "eu", Node: node, Role: role, Software: "test", Self: self(disk, 4), Identity: ca.identity("eu", certificate),
			GossipKey: key, Listen: port(t), Streams: port(t), Advertise: "127.0.0.1", Join: cluster.Join{Nodes: []string{join}, Every: 100 * time.Millisecond}}
	}
	one := options("eu-1", "d1", "eu-1", cluster.Core, "127.0.0.1:1")
	a := start(t, one)
	a.Handle(proto, echo)
	for _, tc := range []struct {
		name, node, disk string
		role             cluster.Role
		served           bool
	}{
		{"replicant", "eu-r-7", "", cluster.Replicant, true},
		{"core", "eu-2", "d2", cluster.Core, false},
		{"replicant with a disk that votes", "eu-r-8", "d3", cluster.Replicant, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t, options(tc.node, tc.disk, "", tc.role, one.Listen))
			await(t, "the core", func() bool { return len(b.Members()) >= 2 })
			st, err := b.Dial(t.Context(), "eu-1", "", proto)
			if err == nil {
				st.Close()
			}
			var no *cluster.Refused
			if tc.served != (err == nil) || !tc.served && (!errors.As(err, &no) || no.Code != cluster.WrongNode) {
				t.Errorf("the core's answer is %v", err)
			}
		})
	}
}

func TestMembership(t *testing.T) {
	ca := newAuthority(t)
	var ids []identity
	for i := range 3 {
		ids = append(ids, ca.identity("eu", fmt.Sprintf("eu-%d", i+1)))
	}
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // memberlist's last probe ends by itself
		w := wires.New(1, time.Millisecond, time.Millisecond)
		var cs []*cluster.Cluster
		for i := range 3 {
			name := fmt.Sprintf("eu-%d", i+1)
			cs = append(cs, start(t, cluster.Options{Region: "eu", Node: name, Self: self("d", 1), Identity: ids[i], Network: w.Node(name),
				Join: cluster.Join{Nodes: []string{w.Node("eu-1").Addr(), w.Node("eu-2").Addr()}}}))
		}
		alive := func(c *cluster.Cluster) (n int) {
			for _, m := range c.Members() {
				if m.Alive {
					n++
				}
			}
			return n
		}
		changed, stop := cs[0].Watch()
		defer stop()
		await(t, "three members", func() bool { return alive(cs[0]) == 3 && alive(cs[1]) == 3 && alive(cs[2]) == 3 })
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		w.Cut("eu-1", "eu-3")
		w.Cut("eu-2", "eu-3")
		await(t, "the third to be missed", func() bool { return alive(cs[0]) == 2 && alive(cs[1]) == 2 })
		if len(cs[0].Members()) != 3 {
			t.Error("a member that is not seen is forgotten, and cannot be dialled when it returns")
		}
		time.Sleep(5 * time.Minute)
		w.HealAll()
		await(t, "three members again", func() bool { return alive(cs[0]) == 3 && alive(cs[1]) == 3 && alive(cs[2]) == 3 })
	})
}

func TestOptions(t *testing.T) {
	ca := newAuthority(t)
	good := cluster.Options{Region: "eu", Node: "eu-1", Self: self("", 1), Identity: ca.identity("eu", "eu-1"), Listen: "127.0.0.1:0", Streams: "127.0.0.1:0"}
	for want, change := range map[string]func(*cluster.Options){
		"cluster.gossip_key is not set": func(*cluster.Options) {},
		"cluster.gossip_key":            func(o *cluster.Options) { o.GossipKey = []byte("short") },
		"must be set":                   func(o *cluster.Options) { o.Region = "" },
	} {
		o := good
		change(&o)
		if c, err := cluster.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
			if c != nil {
				_ = c.Close()
			}
		}
	}
}
