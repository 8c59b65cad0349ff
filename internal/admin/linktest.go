package admin

import (
	"fmt"
	"net/http"
	"time"
)

// LinkTestOptions say what of a link is tested beside what always is.
type LinkTestOptions struct {
	Namespace, Topic string // whether it would cross; no topic: nothing is asked
	Bytes            int64  // of padding that cross and are thrown away
}

// LinkTest is what a test of a link found.
type LinkTest struct {
	Peer  string         `json:"peer"`
	Node  string         `json:"node"`  // that has the link
	State string         `json:"state"` // the worst of the steps: ok, missed, failed
	Steps []LinkTestStep `json:"steps"` // in the order in which they were tried
}

// LinkTestStep is one thing that was tried.
type LinkTestStep struct {
	Name    string           `json:"name"`  // tunnel, ping, canary, peer, interest, spool, certificates, padding, topic
	State   string           `json:"state"` // ok, missed (it works, and a goal is missed), failed, skipped
	Detail  string           `json:"detail"`
	Next    string           `json:"next"` // what to do about it; "" while it is well
	Figures []LinkTestFigure `json:"figures"`
}

// LinkTestFigure is something that was measured.
type LinkTestFigure struct {
	Name  string  `json:"name"` // with its unit: round_trip_seconds
	Value float64 `json:"value"`
}

// States of a LinkTest and its steps.
const (
	LinkTestOK     = "ok"
	LinkTestMissed = "missed"
	LinkTestFailed = "failed"
)

// Settle sets the state to the worst of the steps.
func (t *LinkTest) Settle() {
	rank := map[string]int{LinkTestOK: 0, LinkTestMissed: 1, LinkTestFailed: 2}
	t.State = LinkTestOK
	for _, s := range t.Steps {
		if rank[s.State] > rank[t.State] {
			t.State = s.State
		}
	}
}

// Bounds of a test of a link.
const (
	linkTestTime  = 29 * time.Second // within callTime
	linkTestBytes = 64 << 20
)

// testLink tries a link at the node that has it.
func (a *api) testLink(r *http.Request, q *query) (any, error) {
	peer := r.PathValue("peer")
	o := LinkTestOptions{Namespace: q.text("namespace"), Topic: q.text("topic"), Bytes: int64(min(q.number("bytes"), linkTestBytes+1))}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	switch {
	case o.Bytes > linkTestBytes:
		return nil, badRequest(fmt.Sprintf("give bytes as a number up to %d", linkTestBytes), "the padding is too large")
	case q.err != nil:
		return nil, q.err
	}
	var t LinkTest
	node, err := a.linkNode(r, peer)
	switch {
	case err != nil:
	case node != "":
		err = a.askFor(r.Context(), linkTestTime, node, http.MethodPost, Path("links", peer, "test"), r.URL.Query(), &t)
	default:
		t, err = a.node.TestLink(r.Context(), peer, o)
	}
	if err != nil {
		return nil, fmt.Errorf("test the link to %s: %w", peer, err)
	}
	for i := range t.Steps {
		t.Steps[i].Figures = list(t.Steps[i].Figures)
	}
	t.Steps = list(t.Steps)
	return t, nil
}

// linkNode is the other node that has the links; "" if it is this one, or nobody
// else is to be asked.
func (a *api) linkNode(r *http.Request, peer string) (string, error) {
	l, err := a.node.Link(peer)
	if err != nil || l.Link.State != LinkElsewhere || a.alone(r) {
		return "", err
	}
	st := a.node.Status()
	for _, h := range st.Homes {
		if h.ID == st.Region && h.Leader != "" && h.Leader != a.name {
			return h.Leader, nil
		}
	}
	return "", fmt.Errorf("%w: no node leads the region's home, so none has its links", ErrUnavailable)
}
