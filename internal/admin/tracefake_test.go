package admin

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func (f *fake) StartTrace(t TraceSpec, dryRun bool) (TraceSpec, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Lines, t.Until = 10, noon
	if !dryRun {
		f.do("trace %s %s/%s payload=%v by %s", t.Kind, t.Namespace, t.Value, t.Payload, t.By)
		f.joined = append(f.joined, t.ID)
	}
	return t, f.down
}

func (f *fake) Traces() []Trace {
	if f.untraced {
		return nil
	}
	return []Trace{{ID: "t1", Kind: "client", Namespace: "cars", Value: "car-1", State: "running", Start: noon, Until: noon, Nodes: []string{"eu-1"}}}
}

func (f *fake) TraceLines(id string, n uint64, max int) (Trace, []TraceLine, error) {
	if id != "t1" {
		return Trace{}, nil, ErrNotFound
	}
	var lines []TraceLine
	for i := n + 1; i <= 3 && len(lines) < max; i++ {
		lines = append(lines, TraceLine{N: i, At: noon.Add(time.Duration(i) * time.Second), Node: "eu-1", Event: "published", Topic: "a", Payload: []byte("secret")})
	}
	return f.Traces()[0], lines, f.down
}

func (f *fake) StopTrace(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.do("stop trace %s", id)
	return f.down
}

// Payloads are for admins who ask for them, and only then.
func TestTrace_PayloadsAreForAdmins(t *testing.T) {
	f := newFake()
	s := fixture(t, f)
	for _, tt := range []struct{ path, want string }{{"/v1/traces/t1", ""}, {"/v1/traces/t1?payload=true", "secret"}} {
		page := answer[TracePage](t, call(t, s, "GET", tt.path, ""))
		if len(page.Items) != 3 || string(page.Items[0].Payload) != tt.want {
			t.Errorf("%s: %d lines, payload %q", tt.path, len(page.Items), page.Items[0].Payload)
		}
	}
	if got := call(t, s, "GET", "/v1/traces/none", ""); got.Code != 404 {
		t.Errorf("a trace that is not there: %d", got.Code)
	}
	answer[TraceStarted](t, call(t, s, "POST", "/v1/traces?kind=client&namespace=cars&value=car-1&payload=true", ""))
	if got := f.done(); !slices.ContainsFunc(got, func(d string) bool { return strings.HasPrefix(d, "trace client cars/car-1 payload=true by ") }) {
		t.Errorf("did %v", got)
	}
	if got := call(t, s, "POST", "/v1/traces?kind=client&value=car-1&id=mine", ""); got.Code != 400 {
		t.Errorf("an id of the caller's: %d", got.Code)
	}
}

// Pages of several nodes are one in the order of time, and the place to go on at is each node's own.
func TestTrace_PagesOfNodesAreMerged(t *testing.T) {
	line := func(node string, n uint64, at int) TraceLine {
		return TraceLine{Node: node, N: n, At: noon.Add(time.Duration(at) * time.Second)}
	}
	of := map[string][]TraceLine{"a": {line("a", 1, 1), line("a", 2, 4), line("a", 3, 5)}, "b": {line("b", 1, 2), line("b", 2, 3), line("b", 3, 6)}}
	at := map[string]uint64{}
	var seen []int
	for more := true; more; {
		var pages []TracePage
		for _, node := range []string{"a", "b"} {
			rest := of[node][at[node]:]
			pages = append(pages, TracePage{Trace: Trace{ID: "t", Nodes: []string{node}}, Items: rest[:min(2, len(rest))], More: len(rest) > 2})
		}
		page := mergeTrace(pages, at, 2)
		more = page.More
		for _, l := range page.Items {
			seen = append(seen, int(l.At.Sub(noon)/time.Second))
		}
		q := query{values: map[string][]string{"after": {page.Next}}}
		if at = q.places(); q.err != nil {
			t.Fatal(q.err)
		}
	}
	if !slices.Equal(seen, []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("saw %v", seen)
	}
}

func (f *fake) ForgetClient(k Key, dryRun bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !dryRun {
		f.do("forget %s", k)
	}
	return 3
}

// A node that starts takes part in the traces that run at the others, once; while one of them does not answer it asks again.
func TestTrace_ANodeThatStartsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		defer n.all.Wait()
		late := n.fakes["eu-3"]
		late.untraced, n.hangs["eu-2"] = true, true
		join := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			n.nodes["eu-3"].api.joinTraces(ctx)
			return ctx.Err()
		}
		if err := join(); err == nil || len(late.joined) == 0 || late.joined[0] != "t1" {
			t.Errorf("joined %v, and asks on: %v", late.joined, err)
		}
		late.joined, late.untraced = nil, false
		delete(n.hangs, "eu-2")
		if err := join(); err != nil || len(late.joined) > 0 {
			t.Errorf("joined %v what it has, or asks for ever: %v", late.joined, err)
		}
	})
}
