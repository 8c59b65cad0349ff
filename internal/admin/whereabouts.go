package admin

import (
	"context"
	"fmt"
	"net/http"
)

// Roaming is where sessions are that move between the homes of regions.
type Roaming interface {
	// Whereabouts asks the homes of all linked regions for a session. One of its own region is known
	// without that.
	Whereabouts(ctx context.Context, k Key) (Whereabouts, error)
	// MoveSession brings a session to the home of another region, and returns once that has it. With
	// dryRun it only says what it would do, or refuses as it would.
	MoveSession(ctx context.Context, k Key, to string, dryRun bool) (effects []string, err error)
}

// Whereabouts are the homes that may have a session, this region's first.
type Whereabouts struct {
	Namespace string          `json:"namespace"`
	ClientID  string          `json:"client_id"`
	Homes     []WhereaboutsAt `json:"homes"`
}

// WhereaboutsAt is what one home says of a session.
type WhereaboutsAt struct {
	Home   string `json:"home"`
	State  string `json:"state"`  // present, absent, arriving, leaving, stays, unreachable
	Why    string `json:"why"`    // of the last four
	Epoch  uint64 `json:"epoch"`  // present
	Queued int    `json:"queued"` // present
	Listed bool   `json:"listed"` // by the directory that is kept here of that home
}

func (a *api) whereSession(r *http.Request, q *query) (any, error) {
	if q.err != nil {
		return nil, q.err
	}
	return a.node.Whereabouts(r.Context(), clientKey(r))
}

func (a *api) moveSession(r *http.Request, q *query) (any, error) {
	k, to, dry := clientKey(r), q.text("to"), q.flag("dry_run")
	if to == "" {
		q.wrong("to", "as the name of a region")
	}
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.MoveSession(r.Context(), k, to, dry)
	if err != nil {
		return nil, fmt.Errorf("session %s: %w", k, err)
	}
	return Change{Action: "move session to " + to, Target: k.String(), DryRun: dry, Effects: effects}, nil
}
