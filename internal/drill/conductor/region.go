package conductor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"causeway/internal/admin"
)

// region is the admin API of a region: that of the first of its nodes that answers.
type region struct {
	name  string
	nodes []*admin.Remote
}

// callTime bounds a call to one node.
const callTime = 5 * time.Second

func newRegion(name string, at []admin.Address) (*region, error) {
	r := &region{name: name}
	for _, a := range at {
		n, err := admin.NewRemote(a)
		if err != nil {
			return nil, fmt.Errorf("region %s: %w", name, err)
		}
		r.nodes = append(r.nodes, n)
	}
	return r, nil
}

func (r *region) close() {
	for _, n := range r.nodes {
		n.Close()
	}
}

// call asks the nodes in turn until one answers; what a node refuses is not asked of another.
func (r *region) call(ctx context.Context, method, feature, path string, params url.Values, body, into any) error {
	var last error
	for _, n := range r.nodes {
		within, cancel := context.WithTimeout(ctx, callTime)
		b, err := n.Call(within, method, feature, path, params, body)
		cancel()
		var gone *admin.Unreachable
		var p *admin.Problem
		switch {
		case err == nil && into != nil:
			return json.Unmarshal(b, into)
		case err == nil:
			return nil
		case errors.As(err, &gone), errors.As(err, &p) && p.Status == http.StatusServiceUnavailable, errors.Is(err, context.DeadlineExceeded):
			last = err
		default:
			return fmt.Errorf("region %s: %w", r.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("region %s: %w", r.name, last)
}

func (r *region) get(ctx context.Context, feature, path string, params url.Values, into any) error {
	return r.call(ctx, http.MethodGet, feature, path, params, nil, into)
}

func (r *region) post(ctx context.Context, feature, path string, params url.Values, body any) error {
	return r.call(ctx, http.MethodPost, feature, path, params, body, nil)
}

// home is how a home is in the region.
func (r *region) home(ctx context.Context, id string) (h admin.RegionHome, err error) {
	return h, r.get(ctx, "regions", admin.Path("homes", id), nil, &h)
}

func serves(h *admin.RegionHome) bool { return h.Role == "host" && h.Standing == "serving" }

// isNotFound says that a region answered that there is no such thing.
func isNotFound(err error) bool {
	var p *admin.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

// isRefused says that a region answered that it will not do a thing now.
func isRefused(err error) bool {
	var p *admin.Problem
	return errors.As(err, &p) && p.Status == http.StatusConflict
}

// connected is how many devices are connected to the region.
func (r *region) connected(ctx context.Context) (n int, err error) {
	var page admin.NodePage
	if err := r.get(ctx, "nodes", admin.Path("nodes"), nil, &page); err != nil {
		return 0, err
	}
	for _, x := range page.Items {
		n += x.Connections
	}
	return n, nil
}
