package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Takeover is what an operator does about homes and the regions that host them.
type Takeover interface {
	// RegionHomes tells how the homes are in this region, by name.
	RegionHomes() ([]RegionHome, error)
	// PlanRegion says what an order would do, or refuses with every reason.
	PlanRegion(ctx context.Context, o RegionOrder) (RegionChange, error)
	// BeginRegion does the same, and begins; RegionHomes shows how it goes on.
	BeginRegion(ctx context.Context, o RegionOrder) (RegionChange, error)
	// Divergence tells what a copy that was set aside has more than the home's host.
	Divergence(ctx context.Context, home string) (Divergence, error)
	// Reconcile lets that go to the host, or discards it; with dryRun it says what that
	// would do.
	Reconcile(ctx context.Context, o ReconcileOrder, dryRun bool) ([]string, error)
}

// Elsewhere says that another node of the region has to be asked.
type Elsewhere struct{ Node string }

func (e *Elsewhere) Error() string { return "the node " + e.Node + " decides for the region" }

// What an operator may do with a home.
const (
	RegionSwitchover = "switchover"
	RegionFailover   = "failover"
	RegionFence      = "fence"
	RegionResume     = "resume"
)

// RegionOrder is what an operator wants done with a home.
type RegionOrder struct {
	Act    string // one of the above
	Home   string
	To     string        // of a switchover: the region
	Force  bool          // without a majority, or with a copy that is behind
	Within time.Duration // of a switchover: what devices may wait; 0: the default
	By     string        // who asked
}

// ReconcileOrder is what an operator wants done with a copy that was set aside.
type ReconcileOrder struct {
	Home    string
	Discard bool
	// Replay overrides what the ack rules say: deliver, report, or "" for theirs.
	Replay string
	// MaxAge leaves out what is older; 0: what the ack rules say.
	MaxAge time.Duration
	By     string
}

// RegionHome is how a home is in this region.
type RegionHome struct {
	Home             string          `json:"home"`
	Region           string          `json:"region"` // this one
	Node             string          `json:"node"`   // that decides for it
	Role             string          `json:"role"`   // host, standby, handed, retired, empty
	Standing         string          `json:"standing"`
	Reason           string          `json:"reason"` // it does not serve, or would not take over; ""
	Epoch            uint64          `json:"epoch"`  // of the copy here
	Host             string          `json:"host"`
	InForceEpoch     uint64          `json:"in_force_epoch"` // the highest that a region serves at
	InForceHost      string          `json:"in_force_host"`
	HandedTo         string          `json:"handed_to"`
	Mode             string          `json:"mode"`      // manual, auto
	Isolation        string          `json:"isolation"` // serve, self-fence
	Records          uint64          `json:"records"`
	Sessions         int             `json:"sessions"`
	QueuedBytes      int64           `json:"queued_bytes"`
	LeaseSeconds     float64         `json:"lease_seconds"` // left; below 0: it needs none, or has none
	DownAfterSeconds float64         `json:"down_after_seconds"`
	FleetSeconds     float64         `json:"fleet_seconds"` // until its devices are let in, should this region take it over now
	Short            bool            `json:"short"`         // what is acknowledged is on no standby
	Held             bool            `json:"held"`          // an operator stopped it here
	Standbys         []RegionStandby `json:"standbys"`
	Voters           []RegionVoter   `json:"voters"`
	Act              *RegionAct      `json:"act"` // the last order or the present one
}

// RegionStandby is how far a standby is, as the host knows.
type RegionStandby struct {
	Region      string  `json:"region"`
	Connected   bool    `json:"connected"`
	Records     uint64  `json:"records"`
	LagMessages int     `json:"lag_messages"`
	LagBytes    int64   `json:"lag_bytes"`
	LagSeconds  float64 `json:"lag_seconds"`
}

// RegionVoter is what a voter, or another region with a copy, said last.
type RegionVoter struct {
	Name         string  `json:"name"`
	Votes        bool    `json:"votes"`
	HeardSeconds float64 `json:"heard_seconds"` // ago; below 0: never
	Answer       string  `json:"answer"`
	Promised     string  `json:"promised"` // epoch@region
}

// RegionAct is how far an order is.
type RegionAct struct {
	Action       string       `json:"action"`
	To           string       `json:"to"`
	By           string       `json:"by"`
	Began        time.Time    `json:"began"`
	Ended        *time.Time   `json:"ended"` // null: under way
	Step         string       `json:"step"`
	Steps        []RegionStep `json:"steps"`
	Outcome      string       `json:"outcome"` // done, aborted, partly, failed; ""
	Detail       string       `json:"detail"`
	MessagesLeft int          `json:"messages_left"`
}

// RegionStep is a step that was taken.
type RegionStep struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// RegionChange says what an order does.
type RegionChange struct {
	Action  string   `json:"action"`
	Target  string   `json:"target"` // the home
	DryRun  bool     `json:"dry_run"`
	Effects []string `json:"effects"`
	Risk    string   `json:"risk"`    // of two regions that serve at once; ""
	Confirm string   `json:"confirm"` // what the operator has to repeat
	Node    string   `json:"node"`    // that does it
}

// ConfirmRequest is the body of a call that cannot be taken back.
type ConfirmRequest struct {
	Confirm string `json:"confirm"` // the home's name again
}

// Divergence is what a copy that was set aside has more than the home's host.
type Divergence struct {
	Home     string            `json:"home"`
	State    string            `json:"state"` // pending, running, draining: other regions lack what was for them, kept: for what the home owes, done
	Epoch    uint64            `json:"epoch"` // of the copy
	Host     string            `json:"host"`
	Records  uint64            `json:"records"` // beyond what the host began with
	Messages int               `json:"messages"`
	Bytes    int64             `json:"bytes"`
	Classes  []DivergenceCount `json:"classes"` // messages by class of the ack rules
	Ages     []DivergenceCount `json:"ages"`    // messages by age
	Sessions []DivergenceCount `json:"sessions"`
	Retained int               `json:"retained"`
	Wills    int               `json:"wills"`
	Oldest   *time.Time        `json:"oldest"`
	Report   []DivergenceCount `json:"report"` // what became of it, once it was reconciled
}

// DivergenceCount is one line of a divergence.
type DivergenceCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// callElsewhere passes a call on to the node that decides, if it is another one.
func callElsewhere[T any](a *api, r *http.Request, err error, path string, params url.Values, v T) (T, error) {
	var other *Elsewhere
	if !errors.As(err, &other) || a.alone(r) || other.Node == "" {
		if other != nil {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return v, err
	}
	var answer T
	if err := a.askFor(r.Context(), linkTestTime, other.Node, r.Method, path, params, &answer); err != nil {
		return v, err
	}
	return answer, nil
}

func (a *api) listRegionHomes(r *http.Request, _ *query) (any, error) {
	homes, err := a.node.RegionHomes()
	page, err := callElsewhere(a, r, err, Path("homes"), nil, Page[RegionHome]{Items: homes})
	if err != nil {
		return nil, fmt.Errorf("homes: %w", err)
	}
	page.Items = list(page.Items)
	for i := range page.Items {
		page.Items[i].tidy()
	}
	return page, nil
}

func (h *RegionHome) tidy() {
	h.Standbys, h.Voters = list(h.Standbys), list(h.Voters)
	if h.Act != nil {
		h.Act.Steps = list(h.Act.Steps)
	}
}

func (a *api) getRegionHome(r *http.Request, q *query) (any, error) {
	all, err := a.listRegionHomes(r, q)
	if err != nil {
		return nil, err
	}
	if page, ok := all.(Page[RegionHome]); ok {
		for _, h := range page.Items {
			if h.Home == r.PathValue("home") {
				return h, nil
			}
		}
	}
	return nil, fmt.Errorf("home %s: %w", r.PathValue("home"), ErrNotFound)
}

// actOnRegion is the route of an act. The body repeats the home's name: two regions may
// come to serve it at once, or none.
func (a *api) actOnRegion(act string) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		o := RegionOrder{Act: act, Home: r.PathValue("home"), To: q.text("to"), Force: q.flag("force"), Within: q.duration("within"), By: a.caller(r)}
		dry := q.flag("dry_run")
		if q.err != nil {
			return nil, q.err
		}
		if act == RegionSwitchover && o.To == "" {
			return nil, badRequest("give to as the region that takes the home", "a switchover needs a region")
		}
		if !dry {
			if err := a.repeated(r, o.Home); err != nil {
				return nil, err
			}
		}
		do := a.node.BeginRegion
		if dry {
			do = a.node.PlanRegion
		}
		c, err := do(r.Context(), o)
		c, err = callElsewhere(a, r, err, Path("homes", o.Home, act), withCaller(r, o.By), c)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", act, o.Home, err)
		}
		c.Action, c.Target, c.DryRun, c.Effects = act, o.Home, dry, list(c.Effects)
		return c, nil
	}
}

// caller names who called, also when another node passes the call on.
func (a *api) caller(r *http.Request) string {
	who, _ := r.Context().Value(callerKey{}).(admitted)
	if by := r.URL.Query().Get("by"); who.peer && by != "" {
		return by
	}
	return who.name
}

// withCaller are the parameters of a call that is passed on.
func withCaller(r *http.Request, by string) url.Values {
	params := r.URL.Query()
	params.Set("by", by)
	return params
}

// repeated checks that the body repeats a name. A node that passes a call on has checked.
func (a *api) repeated(r *http.Request, name string) error {
	if who, _ := r.Context().Value(callerKey{}).(admitted); who.peer {
		return nil
	}
	var body ConfirmRequest
	if err := readBody(r, &body, `send {"confirm": "HOME"}`); err != nil {
		return err
	}
	if body.Confirm != name {
		return Refuse("confirm", fmt.Sprintf("confirm is %q and not the name of the region whose home it is", body.Confirm), fmt.Sprintf("repeat the name: %q", name))
	}
	return nil
}

func (a *api) getDivergence(r *http.Request, _ *query) (any, error) {
	d, err := a.node.Divergence(r.Context(), r.PathValue("home"))
	d, err = callElsewhere(a, r, err, r.URL.EscapedPath(), nil, d)
	if err != nil {
		return nil, fmt.Errorf("home %s: %w", r.PathValue("home"), err)
	}
	d.Classes, d.Ages, d.Sessions, d.Report = list(d.Classes), list(d.Ages), list(d.Sessions), list(d.Report)
	return d, nil
}

// reconcile is the route of both ends that a copy that was set aside may take.
func (a *api) reconcile(discard bool) func(*http.Request, *query) (any, error) {
	action := map[bool]string{false: "reconcile approve", true: "reconcile discard"}[discard]
	return func(r *http.Request, q *query) (any, error) {
		o := ReconcileOrder{Home: r.PathValue("home"), Discard: discard, Replay: q.text("replay"), MaxAge: q.duration("max_age"), By: a.caller(r)}
		dry := q.flag("dry_run")
		if o.Replay != "" && o.Replay != "deliver" && o.Replay != "report" {
			q.wrong("replay", "as deliver or report")
		}
		if q.err != nil {
			return nil, q.err
		}
		if !dry {
			if err := a.repeated(r, o.Home); err != nil {
				return nil, err
			}
		}
		effects, err := a.node.Reconcile(r.Context(), o, dry)
		c, err := callElsewhere(a, r, err, r.URL.EscapedPath(), withCaller(r, o.By), Change{Effects: effects})
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", action, o.Home, err)
		}
		return Change{Action: action, Target: o.Home, DryRun: dry, Effects: list(c.Effects)}, nil
	}
}
