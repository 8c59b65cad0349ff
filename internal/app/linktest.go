package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"causeway/internal/admin"
	"causeway/internal/home"
	"causeway/link"
)

// TestLink tries a link now, and says what would become of a topic on it.
func (n node) TestLink(ctx context.Context, peer string, o admin.LinkTestOptions) (admin.LinkTest, error) {
	if n.a.foreign != nil && n.a.foreign.Has(home.ID(peer)) {
		return admin.LinkTest{}, admin.Refuse("foreign_broker", peer+" is no region: a link to it is tried by its canary only", "causeway ctl link show "+peer)
	}
	if n.a.home.links == nil {
		return admin.LinkTest{}, admin.ErrNotFound
	}
	found, err := n.a.home.links.Test(ctx, home.ID(peer), link.TestOptions{Namespace: o.Namespace, Topic: o.Topic, Bytes: o.Bytes})
	switch {
	case errors.Is(err, link.ErrNoLink):
		return admin.LinkTest{}, admin.ErrNotFound
	case errors.Is(err, link.ErrTesting):
		return admin.LinkTest{}, admin.Refuse("testing", err.Error(), "wait until that test has ended")
	case err != nil:
		return admin.LinkTest{}, err
	}
	out := admin.LinkTest{Peer: peer, Node: n.a.cfg.Node}
	for _, s := range found.Steps {
		step := admin.LinkTestStep{Name: s.Name, State: string(s.State), Detail: s.Detail, Next: s.Next}
		for _, name := range slices.Sorted(maps.Keys(s.Figures)) {
			step.Figures = append(step.Figures, admin.LinkTestFigure{Name: name, Value: s.Figures[name]})
		}
		out.Steps = append(out.Steps, step)
	}
	if o.Topic != "" {
		step, err := n.testTopic(peer, o, found.View)
		if err != nil {
			return admin.LinkTest{}, err
		}
		out.Steps = append(out.Steps, step)
	}
	out.Settle()
	return out, nil
}

// testTopic says whether a message would cross, by what both sides know.
func (n node) testTopic(peer string, o admin.LinkTestOptions, there *link.View) (admin.LinkTestStep, error) {
	r, err := n.Route(o.Namespace, o.Topic, 1<<30)
	if err != nil {
		return admin.LinkTestStep{}, err
	}
	step := admin.LinkTestStep{Name: "topic", State: admin.LinkTestMissed, Next: "causeway ctl routes test " + o.Topic}
	i := slices.IndexFunc(r.Targets, func(t admin.Target) bool { return t.Kind == "peer" && t.Name == peer })
	switch {
	case i < 0:
		step.Detail = fmt.Sprintf("%s would not cross: as far as this region knows nobody in %s subscribed", o.Topic, peer)
		if there != nil && there.Topic != nil && there.Topic.Wanted {
			step.Detail += "; a session there did, and the link's in or never filters there do not ask for it"
		}
	case !r.Targets[i].Sends:
		step.Detail = fmt.Sprintf("%s would not cross: %s", o.Topic, r.Targets[i].Reason)
	case there != nil && there.Topic != nil && !there.Topic.MayCome:
		step.Detail = fmt.Sprintf("%s would cross and be dropped there: the link's in or never filters in %s do not let it in", o.Topic, peer)
	default:
		step.State, step.Next, step.Detail = admin.LinkTestOK, "", fmt.Sprintf("%s would cross: %s", o.Topic, r.Targets[i].Reason)
	}
	return step, nil
}
