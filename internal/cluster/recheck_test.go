package cluster_test

import (
	"io"
	"testing"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/cluster/wires"
	meshtls "causeway/tls"
)

// A node whose certificate is revoked loses its streams, those that it opened and those that others opened to it, gets no
// new ones, and takes nobody else along.
func TestRecheck_RevokedNode(t *testing.T) {
	ca, w := newAuthority(t), wires.New(1, 0, 0)
	ids, nodes := map[string]identity{}, map[string]*cluster.Cluster{}
	for _, node := range []string{"eu-1", "eu-2", "eu-3"} {
		ids[node] = ca.identity("eu", node)
		nodes[node] = start(t, cluster.Options{Region: "eu", Node: node, Self: self("d", 1), Identity: ids[node], Network: w.Node(node),
			Join: cluster.Join{Nodes: []string{w.Node("eu-1").Addr()}, Every: 50 * time.Millisecond}})
		nodes[node].Handle(proto, echo)
	}
	await(t, "each other", func() bool {
		return len(nodes["eu-1"].Members()) == 3 && len(nodes["eu-2"].Members()) == 3 && len(nodes["eu-3"].Members()) == 3
	})
	dial := func(from, to string) *cluster.Stream {
		t.Helper()
		s, err := nodes[from].Dial(t.Context(), to, "", proto)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	alive := func(s *cluster.Stream) bool {
		_, err := s.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(s, make([]byte, 1))
		}
		return err == nil
	}
	from, to, other := dial("eu-3", "eu-1"), dial("eu-1", "eu-3"), dial("eu-2", "eu-1")
	for _, s := range []*cluster.Stream{from, to, other} {
		if !alive(s) {
			t.Fatal("a stream does not work")
		}
	}
	done := dial("eu-1", "eu-3")
	done.Close()
	src := ids["eu-1"].src
	if n := nodes["eu-1"].Recheck(src.Recheck); n != 0 {
		t.Fatalf("%d streams closed although nothing is revoked", n)
	}
	list, err := ca.ca.Revoke(t.TempDir(), meshtls.RevokeOptions{Certs: []string{ids["eu-3"].src.Files().Cert}})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Revocations().Set(meshtls.RevocationOptions{Lists: []string{list}}); err != nil {
		t.Fatal(err)
	}
	if n := nodes["eu-1"].Recheck(src.Recheck); n != 2 {
		t.Errorf("%d streams closed, want both of eu-3", n)
	}
	if alive(from) || alive(to) || !alive(other) {
		t.Errorf("of eu-3 %v, to it %v, of eu-2 %v", alive(from), alive(to), alive(other))
	}
	if s, err := nodes["eu-3"].Dial(t.Context(), "eu-1", "", proto); err == nil {
		s.Close()
		t.Error("it got a stream")
	}
	if s, err := nodes["eu-1"].Dial(t.Context(), "eu-3", "", proto); err == nil {
		s.Close()
		t.Error("somebody opened a stream to it")
	}
	dial("eu-2", "eu-1")
}
