package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// network is the nodes of a region as their peers reach them.
type network struct {
	t     *testing.T
	nodes map[string]*Server
	fakes map[string]*fake
	hangs map[string]bool // takes what is said, and says nothing
	all   sync.WaitGroup
}

// Dial implements Peers.
func (n *network) Dial(_ context.Context, node string) (net.Conn, error) {
	s := n.nodes[node]
	if s == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	if n.hangs[node] {
		return here, nil
	}
	n.all.Go(func() {
		defer there.Close()
		s.ServePeer(context.Background(), there, "eu-1")
	})
	return here, nil
}

// newNetwork is a region of three nodes with six devices, two on each.
func newNetwork(t *testing.T) *network {
	n := &network{t: t, nodes: map[string]*Server{}, fakes: map[string]*fake{}, hangs: map[string]bool{}}
	names := []string{"eu-1", "eu-2", "eu-3"}
	var sessions []SessionDetail
	for i := range 6 {
		sessions = append(sessions, SessionDetail{Session: Session{Namespace: "cars", ClientID: fmt.Sprint("car-", i), Owner: names[i%3]}})
	}
	for i, name := range names {
		f := newFake()
		f.st.Node, f.sessions, f.clients, f.nodes = name, sessions, nil, nil
		for j := i; j < 6; j += 3 {
			f.clients = append(f.clients, Client{Namespace: "cars", ClientID: fmt.Sprint("car-", j), Node: name, Address: "10.0.0.1:1"})
		}
		for _, other := range names {
			f.nodes = append(f.nodes, ClusterNode{Node: other, Role: "core", Alive: true, Sessions: 2})
		}
		n.fakes[name] = f
		n.nodes[name] = fixture(t, f, func(o *Options) { o.Name, o.Peers = name, n })
	}
	return n
}

func ids(p ClientPage) (list []string) {
	for _, c := range p.Items {
		list = append(list, c.ClientID+"@"+c.Node)
	}
	return list
}

// Whichever node is asked, the list has the devices of all, in order, page by page.
func TestClients_OfTheWholeRegion(t *testing.T) {
	n := newNetwork(t)
	defer n.all.Wait()
	want := []string{"car-0@eu-1", "car-1@eu-2", "car-2@eu-3", "car-3@eu-1", "car-4@eu-2", "car-5@eu-3"}
	for _, s := range n.nodes {
		for limit := 1; limit <= 7; limit++ {
			var got []string
			for next, pages := "", 0; ; pages++ {
				p := answer[ClientPage](t, call(t, s, "GET", fmt.Sprintf("/v1/clients?limit=%d&after=%s", limit, next), ""))
				if len(p.Items) > limit || len(p.Unanswered) > 0 || pages > 7 {
					t.Fatalf("limit %d: %+v", limit, p)
				}
				got = append(got, ids(p)...)
				if next = p.Next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: %v", limit, got)
			}
		}
	}
	s := n.nodes["eu-1"]
	for query, want := range map[string][]string{"node=eu-2": {"car-1@eu-2", "car-4@eu-2"}, "node=eu-1": {"car-0@eu-1", "car-3@eu-1"}, "prefix=car-5": {"car-5@eu-3"}} {
		if got := ids(answer[ClientPage](t, call(t, s, "GET", "/v1/clients?"+query, ""))); !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
	}
	if w := call(t, s, "GET", "/v1/clients?node=mars", ""); w.Code != http.StatusNotFound {
		t.Errorf("a node that is not there: %d %s", w.Code, w.Body)
	}
}

// Nodes that hang, refuse or are not seen are named, and the others' devices are there within two seconds.
func TestClients_NodesThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		defer n.all.Wait()
		n.hangs["eu-2"] = true
		f := n.fakes["eu-1"]
		f.nodes = append(f.nodes, ClusterNode{Node: "eu-4", Alive: true}, ClusterNode{Node: "eu-5", Sessions: 3})
		began := time.Now()
		p := answer[ClientPage](t, call(t, n.nodes["eu-1"], "GET", "/v1/clients", ""))
		if took := time.Since(began); took != askTime {
			t.Errorf("took %v", took)
		}
		if got, want := ids(p), []string{"car-0@eu-1", "car-2@eu-3", "car-3@eu-1", "car-5@eu-3"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		var named []string
		for _, u := range p.Unanswered {
			named = append(named, u.Node)
			if u.Reason == "" {
				t.Errorf("%s: no reason", u.Node)
			}
		}
		if !slices.Equal(named, []string{"eu-2", "eu-4", "eu-5"}) {
			t.Errorf("unanswered %+v", p.Unanswered)
		}
		w := call(t, n.nodes["eu-1"], "GET", "/v1/clients/cars/car-1", "")
		if pr := problemIn(t, w); w.Code != http.StatusServiceUnavailable || !strings.Contains(pr.Detail, "eu-2") {
			t.Errorf("%d %+v", w.Code, pr)
		}
	})
}

// A device is shown and kicked through any node, by the one that has it.
func TestClient_AtAnotherNode(t *testing.T) {
	n := newNetwork(t)
	defer n.all.Wait()
	s := n.nodes["eu-1"]
	if c := answer[Client](t, call(t, s, "GET", "/v1/clients/cars/car-4", "")); c.Node != "eu-2" {
		t.Errorf("%+v", c)
	}
	if w := call(t, s, "GET", "/v1/clients/cars/car-9", ""); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}
	dry := answer[Change](t, call(t, s, "DELETE", "/v1/clients/cars/car-5?dry_run=true", ""))
	if !dry.DryRun || !strings.Contains(dry.Effects[0], "eu-3") || len(n.fakes["eu-3"].done()) > 0 {
		t.Errorf("%+v, did %v", dry, n.fakes["eu-3"].done())
	}
	done := answer[Change](t, call(t, s, "DELETE", "/v1/clients/cars/car-5", ""))
	if done.DryRun || !slices.Equal(n.fakes["eu-3"].done(), []string{"kick cars/car-5"}) || len(n.fakes["eu-1"].done()) > 0 {
		t.Errorf("%+v, did %v", done, n.fakes["eu-3"].done())
	}
}

// What a node may ask another is what is about devices and the node, and it is answered from there alone.
func TestServePeer_OnlySomeRoutes(t *testing.T) {
	n := newNetwork(t)
	defer n.all.Wait()
	a := n.nodes["eu-1"].api
	var p ClientPage
	if err := a.ask(t.Context(), "eu-2", "GET", "/v1/clients", nil, &p); err != nil || len(p.Items) != 2 {
		t.Errorf("%v, %v", err, ids(p))
	}
	for _, path := range []string{"/v1/config", "/v1/sessions", "/v1/nodes"} {
		var no *Problem
		if err := a.ask(t.Context(), "eu-2", "GET", path, nil, &p); !errors.As(err, &no) || no.Status != http.StatusForbidden {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		defer n.all.Wait()
		n.hangs["eu-3"] = true
		p := answer[NodePage](t, call(t, n.nodes["eu-2"], "GET", "/v1/nodes", ""))
		if len(p.Items) != 2 || p.Items[0].Node != "eu-1" || p.Items[1].Node != "eu-2" || p.Items[0].State != "ready" || p.Items[0].Connections != 3 ||
			len(p.Unanswered) != 1 || p.Unanswered[0].Node != "eu-3" {
			t.Errorf("%+v", p)
		}
	})
}
