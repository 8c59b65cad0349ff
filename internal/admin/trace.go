package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"causeway/internal/group"
)

// Traces follow a client, a topic or an address at this node.
type Traces interface {
	// StartTrace begins one; what is left out of it gets its default. With dryRun it only checks.
	StartTrace(t TraceSpec, dryRun bool) (TraceSpec, error)
	// Traces lists those at this node, oldest first.
	Traces() []Trace
	// TraceLines returns at most max lines after line n of the trace at this node.
	TraceLines(id string, n uint64, max int) (Trace, []TraceLine, error)
	StopTrace(id string) error
}

// TraceSpec is what is followed.
type TraceSpec struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // client, topic, address
	Namespace string    `json:"namespace"`
	Value     string    `json:"value"`
	Payload   bool      `json:"payload"` // payloads are recorded
	Lines     int       `json:"lines"`   // kept at each node
	Start     time.Time `json:"start"`
	Until     time.Time `json:"until"`
	By        string    `json:"by"`
}

// Trace is one at a node, or the sum of those at all nodes.
type Trace struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"` // client, topic, address
	Namespace string    `json:"namespace"`
	Value     string    `json:"value"`
	Payload   bool      `json:"payload"` // payloads are recorded
	State     string    `json:"state"`   // running, over, stopped
	Start     time.Time `json:"start"`
	Until     time.Time `json:"until"`
	By        string    `json:"by"`
	Nodes     []string  `json:"nodes"`   // that have it
	Lines     int       `json:"lines"`   // kept
	Keeps     int       `json:"keeps"`   // lines that each node keeps at most
	Dropped   int64     `json:"dropped"` // lines that made room for newer ones
}

// TraceLine is one thing that was seen.
type TraceLine struct {
	N         uint64    `json:"n"` // of the trace at its node
	At        time.Time `json:"at"`
	Node      string    `json:"node"`
	Event     string    `json:"event"` // connected, refused, ended, subscribed, unsubscribed, published, accepted, denied, delivered, acknowledged, dropped, forwarding, forwarded, arrived
	Namespace string    `json:"namespace"`
	ClientID  string    `json:"client_id"`
	Address   string    `json:"address"`
	Listener  string    `json:"listener"`
	Topic     string    `json:"topic"` // or the filter of a subscription
	QoS       int       `json:"qos"`
	PacketID  int       `json:"packet_id"`
	Bytes     int64     `json:"bytes"` // of the payload
	Peer      string    `json:"peer"`  // other end of the link
	Reason    string    `json:"reason"`
	Payload   []byte    `json:"payload"` // in base64; null unless it was recorded and asked for
}

// TraceStarted is a trace that was begun, and at which nodes it was not.
type TraceStarted struct {
	Action     string       `json:"action"`
	Target     string       `json:"target"`
	DryRun     bool         `json:"dry_run"`
	Effects    []string     `json:"effects"`
	ID         string       `json:"id"`
	Unanswered []Unanswered `json:"unanswered"`
}

// TracePage is lines of a trace, of all nodes.
type TracePage struct {
	Trace      Trace        `json:"trace"`
	Items      []TraceLine  `json:"items"`
	Next       string       `json:"next"` // pass it as after to go on; there may be more later while the trace runs
	More       bool         `json:"more"` // there is more now
	Unanswered []Unanswered `json:"unanswered"`
}

// TraceList is the traces of the region.
type TraceList struct {
	Items      []Trace      `json:"items"`
	Unanswered []Unanswered `json:"unanswered"`
}

// maxTracePayloads bounds the lines of an answer with payloads, of which each has up to 4 KiB.
const maxTracePayloads = 500

func newTraceID() string { return strings.ToLower(rand.Text()[:10]) }

func (a *api) startTrace(r *http.Request, q *query) (any, error) {
	t := TraceSpec{ID: newTraceID(), Kind: q.text("kind"), Namespace: q.text("namespace"), Value: q.text("value"), Payload: q.flag("payload"), By: a.caller(r), Start: time.Now().UTC()}
	if t.Namespace == "" && t.Kind != "address" {
		t.Namespace = defaultNamespace
	}
	if d := q.duration("for"); d > 0 {
		t.Until = t.Start.Add(d)
	}
	if n := q.count("lines"); n != nil {
		if t.Lines = *n; *n < 1 {
			q.wrong("lines", "as a number above 0")
		}
	}
	dry := q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	who, _ := r.Context().Value(callerKey{}).(admitted)
	if t.Payload {
		if p := authorize(who, RoleAdmin); p != nil {
			return nil, p
		}
	}
	if id := q.text("id"); who.peer {
		t.ID = id
	} else if id != "" {
		return nil, badRequest("leave it out: the node chooses", "the parameter id is %q", id)
	}
	t, err := a.node.StartTrace(t, dry)
	if err != nil {
		return nil, fmt.Errorf("trace %s %s: %w", t.Kind, t.Value, err)
	}
	out := TraceStarted{Action: "trace", Target: t.Kind + " " + t.Value, DryRun: dry, ID: t.ID, Unanswered: []Unanswered{},
		Effects: []string{fmt.Sprintf("until %s, the newest %d lines at each node", t.Until.Format(time.RFC3339), t.Lines), "read it: causeway ctl trace get " + t.ID}}
	if t.Payload {
		out.Effects = append(out.Effects, "payloads are recorded, up to 4 KiB of each")
	}
	if dry || a.alone(r) {
		return out, nil
	}
	params := withCaller(r, t.By)
	params.Set("id", t.ID)
	_, unanswered, err := askAll[TraceStarted](r.Context(), a, http.MethodPost, Path("traces"), params)
	out.Unanswered = list(unanswered)
	return out, err
}

func (a *api) stopTrace(r *http.Request, q *query) (any, error) {
	id, dry := r.PathValue("id"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	c := Change{Action: "stop the trace", Target: id, DryRun: dry, Effects: []string{"its lines stay until newer traces need the room, or the node restarts"}}
	all, err := a.tracesOf(r)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", id, err)
	}
	if !slices.ContainsFunc(all.Items, func(t Trace) bool { return t.ID == id }) {
		return nil, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	if dry {
		return c, nil
	}
	if err := a.node.StopTrace(id); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("trace %s: %w", id, err)
	}
	if a.alone(r) {
		return c, nil
	}
	_, unanswered, err := askAll[Change](r.Context(), a, http.MethodPost, Path("traces", id, "stop"), nil)
	for _, u := range unanswered {
		c.Effects = append(c.Effects, fmt.Sprintf("node %s did not hear it (%s): there it ends when its time is over", u.Node, u.Reason))
	}
	return c, err
}

func (a *api) listTraces(r *http.Request, _ *query) (any, error) {
	all, err := a.tracesOf(r)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return all, nil
}

// tracesOf are the traces of the region, each once.
func (a *api) tracesOf(r *http.Request) (all TraceList, err error) {
	all.Items, all.Unanswered = list(a.node.Traces()), []Unanswered{}
	if a.alone(r) {
		return all, nil
	}
	others, unanswered, err := askOthers[TraceList](r.Context(), a, Path("traces"), nil)
	if err != nil {
		return all, err
	}
	for _, o := range others {
		for _, t := range o.Items {
			if at := slices.IndexFunc(all.Items, func(x Trace) bool { return x.ID == t.ID }); at >= 0 {
				all.Items[at].join(&t)
			} else {
				all.Items = append(all.Items, t)
			}
		}
	}
	slices.SortFunc(all.Items, func(x, y Trace) int { return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.ID, y.ID)) })
	all.Unanswered = list(unanswered)
	return all, nil
}

// join adds the same trace at another node: it runs as long as it does somewhere.
func (t *Trace) join(o *Trace) {
	t.Nodes = append(t.Nodes, o.Nodes...)
	slices.Sort(t.Nodes)
	t.Lines, t.Dropped = t.Lines+o.Lines, t.Dropped+o.Dropped
	if o.State == "running" {
		t.State = o.State
	}
}

// joinEvery is how often a node that has started asks the others for their traces, until all that it sees answered.
const joinEvery = 2 * time.Second

// joinTraces has this node take part in the traces that run at the others: it was not there when they began.
func (a *api) joinTraces(ctx context.Context) {
	for ctx.Err() == nil {
		if seen, _, err := a.others(); err == nil && len(seen) > 0 {
			lists, _, err := askOthers[TraceList](ctx, a, Path("traces"), nil)
			for _, l := range lists {
				a.join(l.Items)
			}
			if err == nil && len(lists) >= len(seen) {
				return
			}
		}
		if group.Pause(ctx, joinEvery) != nil {
			return
		}
	}
}

// join begins the traces that run and are not known here.
func (a *api) join(list []Trace) {
	known := a.node.Traces()
	for _, t := range list {
		if t.State != "running" || slices.ContainsFunc(known, func(x Trace) bool { return x.ID == t.ID }) {
			continue
		}
		// One that has no room here is as if the node had not answered when it began.
		_, _ = a.node.StartTrace(TraceSpec{ID: t.ID, Kind: t.Kind, Namespace: t.Namespace, Value: t.Value, Payload: t.Payload, Lines: t.Keeps, Start: t.Start, Until: t.Until, By: t.By}, false)
		known = append(known, t)
	}
}

func (a *api) getTrace(r *http.Request, q *query) (any, error) {
	id, limit, payload, at := r.PathValue("id"), q.limit(), q.flag("payload"), q.places()
	if q.err != nil {
		return nil, q.err
	}
	if payload {
		who, _ := r.Context().Value(callerKey{}).(admitted)
		if p := authorize(who, RoleAdmin); p != nil {
			return nil, p
		}
		limit = min(limit, maxTracePayloads)
	}
	own, lines, err := a.node.TraceLines(id, at[a.name], limit)
	switch {
	case errors.Is(err, ErrNotFound) && !a.alone(r): // this node was restarted
	case err != nil:
		return nil, fmt.Errorf("trace %s: %w", id, err)
	}
	pages := []TracePage{{Trace: own, Items: lines, More: len(lines) == limit}}
	var unanswered []Unanswered
	if !a.alone(r) {
		others, missing, err := askOthers[TracePage](r.Context(), a, Path("traces", id), r.URL.Query())
		if err != nil {
			return nil, fmt.Errorf("trace %s: %w", id, err)
		}
		pages, unanswered = append(pages, others...), missing
	}
	page := mergeTrace(pages, at, limit)
	if page.Trace.ID == "" {
		return nil, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	for i := range page.Items {
		if !payload {
			page.Items[i].Payload = nil
		}
	}
	page.Unanswered = list(unanswered)
	return page, nil
}

// mergeTrace makes one page of those of several nodes, in the order of time. What does not fit is there for the next.
func mergeTrace(pages []TracePage, at map[string]uint64, limit int) TracePage {
	out := TracePage{Items: []TraceLine{}}
	for i := range pages {
		p := &pages[i]
		out.Items, out.More = append(out.Items, p.Items...), out.More || p.More
		if out.Trace.ID == "" {
			out.Trace = p.Trace
		} else if p.Trace.ID != "" {
			out.Trace.join(&p.Trace)
		}
	}
	slices.SortStableFunc(out.Items, func(x, y TraceLine) int { return x.At.Compare(y.At) })
	if len(out.Items) > limit {
		out.Items, out.More = out.Items[:limit], true
	}
	for _, l := range out.Items {
		at[l.Node] = max(at[l.Node], l.N)
	}
	out.Next = placesText(at)
	return out
}

// places is how far a caller has read the lines of each node: node=n, separated by commas.
func (q *query) places() map[string]uint64 {
	at := map[string]uint64{}
	for part := range strings.SplitSeq(q.text("after"), ",") {
		if part == "" {
			continue
		}
		node, n, ok := strings.Cut(part, "=")
		v, err := strconv.ParseUint(n, 10, 64)
		if !ok || err != nil {
			q.wrong("after", "as the next of the page before")
		}
		at[node] = v
	}
	return at
}

func placesText(at map[string]uint64) string {
	var parts []string
	for node, n := range at {
		parts = append(parts, fmt.Sprintf("%s=%d", node, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
