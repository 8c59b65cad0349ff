package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// RegionEvacuations are how a whole region is emptied.
type RegionEvacuations interface {
	// RegionEvacuation tells of the one in force, as this node sees it; ErrNotFound if there is none.
	RegionEvacuation() (Evacuation, error)
	// StartRegionEvacuation begins one; connections are those of the region. It refuses with every reason there is.
	StartRegionEvacuation(ctx context.Context, o EvacuationOrder, to string, connections int, dryRun bool) (EvacuationChange, error)
	// StopRegionEvacuation gives it up while the region serves its home.
	StopRegionEvacuation(ctx context.Context, region, by string, dryRun bool) ([]string, error)
}

// states of an evacuation in their order.
var evacuationStates = []string{"waiting_health_check", "evicting_conns", "waiting_takeover", "evicting_sessions", "prohibiting"}

// getRegionEvacuation joins what the nodes see: the region is as far as the node that is least far.
func (a *api) getRegionEvacuation(r *http.Request, _ *query) (any, error) {
	e, err := a.node.RegionEvacuation()
	if err != nil {
		return nil, fmt.Errorf("evacuation of the region: %w", err)
	}
	e.Steps = list(e.Steps)
	if a.alone(r) {
		e.Removable = e.Done
		return e, nil
	}
	others, unanswered, err := askOthers[Evacuation](r.Context(), a, "/v1/region/evacuation", nil)
	if err != nil {
		return nil, fmt.Errorf("evacuation of the region: %w", err)
	}
	for i := range others {
		e.join(&others[i])
	}
	for _, u := range unanswered {
		if e.NotRemovable != "" {
			e.NotRemovable += ", "
		}
		e.NotRemovable += "node " + u.Node + " does not say what it has"
	}
	e.Removable = e.Done && e.NotRemovable == ""
	return e, nil
}

func (e *Evacuation) join(o *Evacuation) {
	if slices.Index(evacuationStates, o.State) < slices.Index(evacuationStates, e.State) {
		e.State = o.State
	}
	e.Connections += o.Connections
	e.LeftSeconds = max(e.LeftSeconds, o.LeftSeconds)
	e.Done = e.Done && o.Done
	if e.Held == "" {
		e.Held = o.Held
	}
}

func (a *api) startRegionEvacuation(r *http.Request, q *query) (any, error) {
	o, dry, to, connections := q.evacuation(r, a.caller(r)), q.flag("dry_run"), q.text("to"), q.count("connections")
	o.Node = r.PathValue("region")
	if q.err != nil {
		return nil, q.err
	}
	if !dry {
		if err := a.repeated(r, o.Node); err != nil {
			return nil, err
		}
	}
	if connections == nil || !a.alone(r) {
		n, err := a.regionConnections(r)
		if err != nil {
			return nil, err
		}
		connections = &n
	}
	c, err := a.node.StartRegionEvacuation(r.Context(), o, to, *connections, dry)
	params := withCaller(r, o.By)
	params.Set("connections", fmt.Sprint(*connections))
	c, err = callElsewhere(a, r, err, r.URL.EscapedPath(), params, c)
	if err != nil {
		return nil, fmt.Errorf("evacuate the region %s: %w", o.Node, err)
	}
	c.Action, c.Target, c.DryRun, c.Effects = "evacuate the region", o.Node, dry, list(c.Effects)
	return c, nil
}

// regionConnections counts the devices at all nodes that answer.
func (a *api) regionConnections(r *http.Request) (n int, err error) {
	all, err := a.listNodes(r, nil)
	if err != nil {
		return 0, err
	}
	if page, ok := all.(NodePage); ok {
		for _, x := range page.Items {
			n += x.Connections
		}
	}
	return n, nil
}

func (a *api) stopRegionEvacuation(r *http.Request, q *query) (any, error) {
	region, dry := r.PathValue("region"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.StopRegionEvacuation(r.Context(), region, a.caller(r), dry)
	if err != nil {
		return nil, fmt.Errorf("stop the evacuation of the region %s: %w", region, err)
	}
	return Change{Action: "stop the evacuation of the region", Target: region, DryRun: dry, Effects: list(effects)}, nil
}
