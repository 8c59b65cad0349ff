package admin

import (
	"fmt"
	"net/http"
	"slices"

	"causeway/routing"
)

func (a *api) listLinks(r *http.Request, _ *query) (any, error) {
	page := Page[Link]{Items: a.node.Links()}
	if i := slices.IndexFunc(page.Items, func(l Link) bool { return l.State == LinkElsewhere }); i >= 0 {
		page = whoHasLinks(a, r, page.Items[i].Peer, page)
	}
	page.Items = linkList(page.Items)
	return page, nil
}

// whoHasLinks is the answer of the node that has the links, where it is another one: only that knows whether they
// are up. Without it this node's own stands, which says that they are elsewhere.
func whoHasLinks[T any](a *api, r *http.Request, peer string, own T) T {
	node, err := a.linkNode(r, peer)
	if err != nil || node == "" {
		return own
	}
	var there T
	if a.ask(r.Context(), node, http.MethodGet, r.URL.EscapedPath(), nil, &there) != nil {
		return own
	}
	return there
}

func linkList(links []Link) []Link {
	links = list(links)
	for i := range links {
		links[i].Bytes = list(links[i].Bytes)
	}
	return links
}

func (a *api) getLink(r *http.Request, _ *query) (any, error) {
	l, err := a.node.Link(r.PathValue("peer"))
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", r.PathValue("peer"), err)
	}
	l = whoHasLinks(a, r, l.Link.Peer, l)
	l.Link.Bytes = list(l.Link.Bytes)
	l.In, l.Out, l.Never = list(l.In), list(l.Out), list(l.Never)
	l.Spools, l.Cursors = list(l.Spools), list(l.Cursors)
	return l, nil
}

// forgetPeer drops what is kept for a peer. The body repeats the peer's name: what it drops cannot
// be had back.
func (a *api) forgetPeer(r *http.Request, q *query) (any, error) {
	peer, dry := r.PathValue("peer"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	if !dry {
		if err := confirmed(r, peer); err != nil {
			return nil, err
		}
	}
	f, err := a.node.ForgetPeer(r.Context(), peer, dry)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", peer, err)
	}
	return Change{Action: "forget peer", Target: peer, DryRun: dry, Effects: []string{
		fmt.Sprintf("%d spooled messages (%d bytes) for it are dropped", f.Messages, f.Bytes),
		fmt.Sprintf("%d filters it wants are removed", f.Filters),
	}}, nil
}

func confirmed(r *http.Request, peer string) error {
	var body ForgetRequest
	if err := readBody(r, &body, `send {"confirm": "PEER"}`); err != nil {
		return err
	}
	if body.Confirm != peer {
		return Refuse("confirm", fmt.Sprintf("confirm is %q and not the peer's name", body.Confirm),
			fmt.Sprintf("repeat the name: %q", peer))
	}
	return nil
}

// defaultNamespace is where a call that names none looks.
const defaultNamespace = "default"

// maxTargets bounds the targets a route test names.
const maxTargets = 1000

func (a *api) testRoute(_ *http.Request, q *query) (any, error) {
	topic, namespace := q.text("topic"), q.text("namespace")
	if err := routing.ValidTopic(topic); err != nil {
		return nil, badRequest("give topic as a message would carry it", "%s", err)
	}
	if namespace == "" {
		namespace = defaultNamespace
	}
	route, err := a.node.Route(namespace, topic, maxTargets)
	if err != nil {
		return nil, fmt.Errorf("route of %s: %w", topic, err)
	}
	route.Targets = list(route.Targets)
	return route, nil
}

func (a *api) listRetained(_ *http.Request, q *query) (any, error) {
	namespace, filter := q.text("namespace"), q.text("filter")
	if filter != "" {
		if err := routing.ValidFilter(filter); err != nil {
			return nil, badRequest("give filter as a SUBSCRIBE would", "%s", err)
		}
	}
	after, limit := q.after(), q.limit()
	if q.err != nil {
		return nil, q.err
	}
	return collect(after, limit, func(r Retained) bool {
		return (namespace == "" || r.Namespace == namespace) && (filter == "" || routing.Matches(filter, r.Topic))
	}, a.node.RetainedAfter)
}

func (a *api) listShared(_ *http.Request, q *query) (any, error) {
	limit := q.limit()
	if q.err != nil {
		return nil, q.err
	}
	groups, err := a.node.SharedGroups(q.text("group"), limit)
	if err != nil {
		return nil, fmt.Errorf("shared subscriptions: %w", err)
	}
	return Page[SharedGroup]{Items: list(groups)}, nil
}

// retainedKey is the key in the path.
func retainedKey(r *http.Request) Key { return Key{r.PathValue("namespace"), r.PathValue("topic")} }

func (a *api) getRetained(r *http.Request, _ *query) (any, error) {
	m, err := a.node.Retained(retainedKey(r))
	if err != nil {
		return nil, fmt.Errorf("retained message %s: %w", retainedKey(r), err)
	}
	m.Payload = list(m.Payload)
	return m, nil
}

func (a *api) deleteRetained(r *http.Request, q *query) (any, error) {
	k, dry := retainedKey(r), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	m, err := a.node.Retained(k)
	if err == nil && !dry {
		err = a.node.DeleteRetained(r.Context(), k)
	}
	if err != nil {
		return nil, fmt.Errorf("retained message %s: %w", k, err)
	}
	return Change{Action: "delete retained", Target: k.String(), DryRun: dry, Effects: []string{
		fmt.Sprintf("the retained message of %d bytes is removed, here and at the peers", m.Retained.Bytes),
	}}, nil
}

func (a *api) listConfig(*http.Request, *query) (any, error) {
	return Page[ConfigValue]{Items: list(a.node.Config())}, nil
}

func (a *api) listServices(*http.Request, *query) (any, error) {
	return Page[Service]{Items: list(a.services())}, nil
}
