package admin

import (
	"fmt"
	"net/http"
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

func (a *api) listClients(_ *http.Request, q *query) (any, error) {
	namespace, prefix, listener := q.text("namespace"), q.text("prefix"), q.text("listener")
	after, limit := q.after(), q.limit()
	if q.err != nil {
		return nil, q.err
	}
	return collect(after, limit, func(c Client) bool {
		return selects(c.Key(), namespace, prefix) && (listener == "" || c.Listener == listener)
	}, a.node.ClientsAfter)
}

func (a *api) getClient(r *http.Request, _ *query) (any, error) {
	c, err := a.node.Client(clientKey(r))
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", clientKey(r), err)
	}
	return c, nil
}

func (a *api) kickClient(r *http.Request, q *query) (any, error) {
	k, dry := clientKey(r), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	c, err := a.node.Client(k)
	if err == nil && !dry {
		err = a.node.Kick(r.Context(), k)
	}
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", k, err)
	}
	return Change{Action: "kick", Target: k.String(), DryRun: dry, Effects: []string{
		fmt.Sprintf("the connection from %s closes", c.Address), "a persistent session stays",
	}}, nil
}

func (a *api) listSessions(_ *http.Request, q *query) (any, error) {
	namespace, prefix, state := q.text("namespace"), q.text("prefix"), q.text("state")
	if state != "" && state != "attached" && state != "detached" {
		q.wrong("state", "as attached or detached")
	}
	after, limit := q.after(), q.limit()
	if q.err != nil {
		return nil, q.err
	}
	return collect(after, limit, func(s Session) bool {
		return selects(s.Key(), namespace, prefix) && (state == "" || s.State == state)
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
