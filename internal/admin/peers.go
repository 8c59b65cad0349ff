package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"causeway/internal/group"
)

// PeerProtocol names the streams between the nodes of a region on which one asks the API of another. What it asks is
// what one of its own callers asked, whom it has admitted; only routes about devices and the node itself are served.
const PeerProtocol = "causeway-admin/1"

// Peers reach the other nodes of the region.
type Peers interface {
	// Dial opens a stream to a node's API, which ServePeer answers there.
	Dial(ctx context.Context, node string) (net.Conn, error)
}

// Unanswered is a node of the region that did not answer, so that what it knows is missing.
type Unanswered struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

const (
	askTime  = 2 * time.Second // for one node to answer
	askWidth = 16              // nodes asked at once
)

// ServePeer answers another node of the region on a connection, until that ends or ctx does.
func (s *Server) ServePeer(ctx context.Context, c net.Conn, node string) {
	l := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{}), addr: c.LocalAddr()}
	l.conns <- c
	srv := s.httpServer(s.api.handler(func(*http.Request) (caller, *Problem) {
		return caller{name: "node " + node, role: RoleAdmin, peer: true}, nil
	}))
	srv.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			_ = l.Close()
		}
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	_ = srv.Serve(l) // ends with the connection
}

// single is a listener that gives one connection.
type single struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
	addr   net.Addr
}

// Accept implements net.Listener.
func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *single) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *single) Addr() net.Addr { return l.addr }

// alone says that a request is answered from what this node knows by itself.
func (a *api) alone(r *http.Request) bool {
	who, _ := r.Context().Value(callerKey{}).(admitted)
	return who.peer || a.peers == nil
}

// ask passes a call on to another node.
func (a *api) ask(ctx context.Context, node, method, path string, params url.Values, into any) error {
	return a.askFor(ctx, askTime, node, method, path, params, into)
}

// askFor is ask for what takes longer.
func (a *api) askFor(ctx context.Context, most time.Duration, node, method, path string, params url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r, err := NewRemote(Address{Node: node, Dial: func(ctx context.Context) (net.Conn, error) { return a.peers.Dial(ctx, node) }})
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := r.Call(ctx, method, "", path, params, nil)
	var gone *Unreachable
	switch {
	case errors.As(err, &gone):
		return fmt.Errorf("%w: node %s does not answer: %w", ErrUnavailable, node, gone.Err)
	case err != nil:
		return err
	}
	return json.Unmarshal(b, into)
}

// others are the other nodes of the region: those that are seen, and those that are not, as unanswered.
func (a *api) others() (seen []string, unanswered []Unanswered, err error) {
	c, err := a.node.Cluster()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range c.Nodes {
		switch {
		case n.Node == a.name:
		case n.Alive:
			seen = append(seen, n.Node)
		default:
			unanswered = append(unanswered, Unanswered{n.Node, "it is not seen"})
		}
	}
	return seen, unanswered, nil
}

// askOthers asks every other node of the region for the same thing. It takes askTime at most, and a little more in a
// region of more than askWidth nodes.
func askOthers[T any](ctx context.Context, a *api, path string, params url.Values) (answers []T, unanswered []Unanswered, err error) {
	return askAll[T](ctx, a, http.MethodGet, path, params)
}

// askAll is askOthers for any method.
func askAll[T any](ctx context.Context, a *api, method, path string, params url.Values) (answers []T, unanswered []Unanswered, err error) {
	nodes, unanswered, err := a.others()
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, askWidth)
	for _, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var v T
			err := group.Protect(func() error { return a.ask(ctx, node, method, path, params, &v) })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unanswered = append(unanswered, Unanswered{node, err.Error()})
				return
			}
			answers = append(answers, v)
		})
	}
	all.Wait()
	slices.SortFunc(unanswered, func(x, y Unanswered) int { return cmp.Compare(x.Node, y.Node) })
	return answers, unanswered, ctx.Err()
}

// listNodes is one line about each node of the region.
func (a *api) listNodes(r *http.Request, _ *query) (any, error) {
	all := NodePage{Items: []NodeSummary{summary(a.Server.status())}, Unanswered: []Unanswered{}}
	if !a.alone(r) {
		others, unanswered, err := askOthers[Status](r.Context(), a, Path("status"), nil)
		if err != nil {
			return nil, fmt.Errorf("nodes: %w", err)
		}
		for _, st := range others {
			all.Items = append(all.Items, summary(st))
		}
		all.Unanswered = list(unanswered)
	}
	slices.SortFunc(all.Items, func(x, y NodeSummary) int { return cmp.Compare(x.Node, y.Node) })
	return all, nil
}

func summary(st Status) NodeSummary {
	n := NodeSummary{Node: st.Node, Version: st.Version, StartedAt: st.StartedAt, State: st.State.State, Reason: st.State.Reason,
		Since: st.State.Since, Progress: st.State.Progress, Trouble: st.Trouble, Connections: st.Totals.Connections, Leading: st.leadsOwn()}
	return n
}
