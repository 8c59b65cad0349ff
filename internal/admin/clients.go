package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// clientKey is the key in the path.
func clientKey(r *http.Request) Key {
	return Key{r.PathValue("namespace"), r.PathValue("client_id")}
}

// selects says whether a key is in the namespace and begins with the prefix; empty ones select
// all.
func selects(k Key, namespace, prefix string) bool {
	return (namespace == "" || k.Namespace == namespace) && strings.HasPrefix(k.Name, prefix)
}

// listClients lists the devices of the whole region, or of one node.
func (a *api) listClients(r *http.Request, q *query) (any, error) {
	namespace, prefix, listener, node := q.text("namespace"), q.text("prefix"), q.text("listener"), q.text("node")
	after, limit := q.after(), q.limit()
	if q.err != nil {
		return nil, q.err
	}
	params := r.URL.Query()
	params.Del("node")
	if node != "" && node != a.name {
		return a.clientsOf(r, node, params)
	}
	own, err := collect(after, limit, func(c Client) bool {
		return selects(c.Key(), namespace, prefix) && (listener == "" || c.Listener == listener)
	}, a.node.ClientsAfter)
	page := ClientPage{Items: own.Items, Next: own.Next, Unanswered: []Unanswered{}}
	if err != nil || node == a.name && node != "" || a.alone(r) {
		return page, err
	}
	others, unanswered, err := askOthers[ClientPage](r.Context(), a, Path("clients"), params)
	if err != nil {
		return nil, fmt.Errorf("clients: %w", err)
	}
	page = mergeClients(append(others, page), limit)
	page.Unanswered = list(unanswered)
	return page, nil
}

func (a *api) clientsOf(r *http.Request, node string, params url.Values) (page ClientPage, err error) {
	nodes, unanswered, err := []string(nil), []Unanswered(nil), error(nil)
	if !a.alone(r) {
		nodes, unanswered, err = a.others()
	}
	switch {
	case err != nil:
	case slices.Contains(nodes, node):
		err = a.ask(r.Context(), node, http.MethodGet, Path("clients"), params, &page)
	case slices.ContainsFunc(unanswered, func(u Unanswered) bool { return u.Node == node }):
		err = fmt.Errorf("%w: node %s is not seen", ErrUnavailable, node)
	default:
		err = fmt.Errorf("node %s: %w", node, ErrNotFound)
	}
	return page, err
}

// mergeClients makes one page of those of several nodes. Of a node whose list goes on, what comes behind its page is not
// known, so the page ends where the first of them does.
func mergeClients(pages []ClientPage, limit int) ClientPage {
	all := ClientPage{Items: []Client{}}
	var end *Key
	for _, p := range pages {
		all.Items = append(all.Items, p.Items...)
		if k, ok := parseCursor(p.Next); ok && p.Next != "" && (end == nil || k.Compare(*end) < 0) {
			end = &k
		}
	}
	slices.SortStableFunc(all.Items, func(x, y Client) int { return x.Key().Compare(y.Key()) })
	if end != nil {
		all.Items = slices.DeleteFunc(all.Items, func(c Client) bool { return c.Key().Compare(*end) > 0 })
		all.Next = cursor(*end)
	}
	if len(all.Items) > limit {
		all.Items = all.Items[:limit]
		all.Next = cursor(all.Items[limit-1].Key())
	}
	return all
}

// holder is the other node that has a client's connection, as the home knows; "" if it can only be this one.
func (a *api) holder(r *http.Request, k Key) (string, error) {
	if a.alone(r) {
		return "", nil
	}
	if _, err := a.node.Client(k); err == nil {
		return "", nil
	}
	switch s, err := a.node.Session(k); {
	case errors.Is(err, ErrUnavailable):
		return "", err
	case err != nil || s.Session.Owner == a.name:
		return "", nil
	default:
		return s.Session.Owner, nil
	}
}

func (a *api) getClient(r *http.Request, _ *query) (any, error) {
	k := clientKey(r)
	node, err := a.holder(r, k)
	var c Client
	switch {
	case err != nil:
	case node != "":
		err = a.ask(r.Context(), node, http.MethodGet, Path("clients", k.Namespace, k.Name), nil, &c)
	default:
		c, err = a.node.Client(k)
	}
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", k, err)
	}
	return c, nil
}

func (a *api) kickClient(r *http.Request, q *query) (any, error) {
	k, dry := clientKey(r), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	node, err := a.holder(r, k)
	var done Change
	switch {
	case err != nil:
	case node != "":
		err = a.ask(r.Context(), node, http.MethodDelete, Path("clients", k.Namespace, k.Name), r.URL.Query(), &done)
	default:
		done, err = a.kickHere(r.Context(), k, dry)
	}
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", k, err)
	}
	return done, nil
}

func (a *api) kickHere(ctx context.Context, k Key, dry bool) (Change, error) {
	c, err := a.node.Client(k)
	if err == nil && !dry {
		err = a.node.Kick(ctx, k)
	}
	return Change{Action: "kick", Target: k.String(), DryRun: dry, Effects: []string{
		fmt.Sprintf("the connection from %s to node %s closes", c.Address, c.Node), "a persistent session stays",
	}}, err
}

// exportSessions is a page of sessions with what they subscribed to. One that ended while the page was made is left out.
func (a *api) exportSessions(r *http.Request, q *query) (any, error) {
	all, err := a.listSessions(r, q)
	if err != nil {
		return nil, err
	}
	page, out := all.(Page[Session]), Page[SessionDetail]{Items: []SessionDetail{}}
	for i := range page.Items {
		s, err := a.node.Session(page.Items[i].Key())
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("session %s: %w", page.Items[i].Key(), err)
		}
		s.Subscriptions = list(s.Subscriptions)
		out.Items = append(out.Items, s)
	}
	out.Next = page.Next
	return out, nil
}

func (a *api) listSessions(_ *http.Request, q *query) (any, error) {
	namespace, prefix, state, home := q.text("namespace"), q.text("prefix"), q.text("state"), q.text("home")
	if state != "" && state != "attached" && state != "detached" {
		q.wrong("state", "as attached or detached")
	}
	after, limit := q.after(), q.limit()
	if q.err != nil {
		return nil, q.err
	}
	return collect(after, limit, func(s Session) bool {
		return selects(s.Key(), namespace, prefix) && (state == "" || s.State == state) && (home == "" || s.Home == home)
	}, a.node.SessionsAfter)
}

func (a *api) getSession(r *http.Request, _ *query) (any, error) {
	s, err := a.node.Session(clientKey(r))
	if err != nil {
		return nil, fmt.Errorf("session %s: %w", clientKey(r), err)
	}
	s.Subscriptions = list(s.Subscriptions)
	return s, nil
}

func (a *api) deleteSession(r *http.Request, q *query) (any, error) {
	k, dry, will := clientKey(r), q.flag("dry_run"), q.flag("publish_will")
	if q.err != nil {
		return nil, q.err
	}
	s, err := a.node.Session(k)
	if err == nil && !dry {
		err = a.node.DeleteSession(r.Context(), k, will)
	}
	if err != nil {
		return nil, fmt.Errorf("session %s: %w", k, err)
	}
	return Change{Action: "delete session", Target: k.String(), DryRun: dry, Effects: sessionEnds(s, will)}, nil
}

// sessionEnds says what goes with a session.
func sessionEnds(s SessionDetail, publishWill bool) []string {
	effects := []string{
		fmt.Sprintf("%d subscriptions end", len(s.Subscriptions)),
		fmt.Sprintf("%d queued messages (%d bytes) are dropped", s.Session.Queued, s.Session.QueuedBytes),
	}
	if s.Session.Owner != "" {
		effects = append(effects, "its connection on node "+s.Session.Owner+" closes")
	}
	switch {
	case s.Session.Will && publishWill:
		effects = append(effects, "its will is published")
	case s.Session.Will:
		effects = append(effects, "its will is not published")
	}
	return effects
}

// sessionQueue lists a queue. Payloads are the devices' own data: they need the operator's role.
func (a *api) sessionQueue(r *http.Request, q *query) (any, error) {
	k, payload, limit, after := clientKey(r), q.flag("payload"), q.limit(), q.number("after")
	if q.err != nil {
		return nil, q.err
	}
	if who, _ := r.Context().Value(callerKey{}).(admitted); payload {
		if p := authorize(who, RoleOperator); p != nil {
			return nil, p
		}
		limit = min(limit, maxPayloads)
	}
	items, err := a.node.Queue(k, after, limit, payload)
	if err != nil {
		return nil, fmt.Errorf("queue of %s: %w", k, err)
	}
	page := Page[QueuedMessage]{Items: list(items)}
	if len(items) == limit {
		page.Next = fmt.Sprint(items[len(items)-1].Ref)
	}
	return page, nil
}

// maxPayloads bounds how many payloads are in one answer: each may be as large as a packet.
const maxPayloads = 20

// list makes an empty list of none, so that JSON has [] and not null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
