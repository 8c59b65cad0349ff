package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"causeway/routing"
)

// LinkControl is what an operator does to a link.
type LinkControl interface {
	LinkPolicy(peer string) (LinkPolicy, error)
	// ChangeLinkPolicy sets keys of a link's policy for the whole region, or with dryRun says what
	// that would do.
	ChangeLinkPolicy(ctx context.Context, peer string, edit PolicyEdit, dryRun bool) (PolicyChange, error)
	// PauseLink pauses a link, for ever if d is 0; ResumeLink lets it go on. With dryRun they say
	// what that would do.
	PauseLink(ctx context.Context, peer string, d time.Duration, reason string, dryRun bool) ([]string, error)
	ResumeLink(ctx context.Context, peer string, dryRun bool) ([]string, error)
	// LinkSpool looks at what waits for a peer: at all of it, or at a bounded sample. Topics are told
	// by their first depth levels.
	LinkSpool(ctx context.Context, peer string, depth int) (SpoolReport, error)
	// TrimSpool drops what a trim names, or with dryRun says what that would drop.
	TrimSpool(ctx context.Context, peer string, t Trim, dryRun bool) ([]string, error)
	// LinkDrain says what is left of what was spooled up to a number, 0 for all there is now. It
	// refuses while nothing can get less.
	LinkDrain(peer string, to uint64) (LinkDrain, error)
}

// LinkPolicy is what holds for a link, key by key.
type LinkPolicy struct {
	Peer     string      `json:"peer"`
	Revision uint64      `json:"revision"`
	Pause    *LinkPause  `json:"pause"` // null unless paused
	Keys     []PolicyKey `json:"keys"`
	Trims    []SpoolTrim `json:"trims"` // under way
}

// PolicyKey is one key of a policy. Values are written as in the node file, a list one by one.
type PolicyKey struct {
	Key    string   `json:"key"`
	Value  []string `json:"value"`  // in force
	Origin string   `json:"origin"` // file, region
	File   []string `json:"file"`   // what the leader's node file says
}

// Where a key of a policy comes from.
const (
	OriginFile   = "file"
	OriginRegion = "region"
)

// SpoolTrim is a part of a spool that is left out when the link comes to it.
type SpoolTrim struct {
	Filter string `json:"filter"`
	Class  string `json:"class"`
	ToSeq  uint64 `json:"to_seq"`
}

// LinkPause says since when nothing crosses a link.
type LinkPause struct {
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"` // null: until it is resumed
	Reason string     `json:"reason"`
}

// PolicyEdit is the body of the call that changes a policy.
type PolicyEdit struct {
	Set   []PolicySetting `json:"set"`
	Reset []string        `json:"reset"` // keys, or all: to what the node file says
}

// PolicySetting gives a key a value, written as in the node file, a list one by one.
type PolicySetting struct {
	Key   string   `json:"key"`
	Value []string `json:"value"`
}

// PolicyChange says what a change of a policy did, or with DryRun would do.
type PolicyChange struct {
	Action  string       `json:"action"`
	Target  string       `json:"target"`
	DryRun  bool         `json:"dry_run"`
	Effects []string     `json:"effects"`
	Diff    []PolicyDiff `json:"diff"`
	// Withheld is how many spooled messages do not go any more; an estimate if Sampled.
	Withheld int  `json:"withheld"`
	Sampled  bool `json:"sampled"`
}

// PolicyDiff is a key that changes.
type PolicyDiff struct {
	Key    string   `json:"key"`
	From   []string `json:"from"`
	To     []string `json:"to"`
	Origin string   `json:"origin"` // of the new value
}

// SpoolReport is what waits for a peer.
type SpoolReport struct {
	Peer          string      `json:"peer"`
	Messages      int         `json:"messages"`
	Bytes         int64       `json:"bytes"`
	CapacityBytes int64       `json:"capacity_bytes"`
	FullInSeconds Seconds     `json:"full_in_seconds"` // at the pace since the oldest; 0 if that cannot be said
	Dropped       int64       `json:"dropped"`         // since the peer was added
	Classes       []LinkSpool `json:"classes"`
	Topics        []TopicSum  `json:"topics"`  // with most bytes first
	Sampled       bool        `json:"sampled"` // Topics is an estimate
	LookedAt      int         `json:"looked_at"`
	Trims         []SpoolTrim `json:"trims"`
}

// TopicSum adds up what waits under the first levels of topics.
type TopicSum struct {
	Filter   string `json:"filter"`
	Messages int    `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

// Trim names what is dropped from a spool.
type Trim struct {
	Filter     string // "" is everything
	Class      string
	AllClasses bool
	OlderThan  time.Duration // 0 is everything spooled so far
}

// LinkDrain is what is left of what was spooled up to a number.
type LinkDrain struct {
	Peer     string `json:"peer"`
	ToSeq    uint64 `json:"to_seq"`
	Messages int    `json:"messages"`
	Bytes    int64  `json:"bytes"`
	Dropped  int64  `json:"dropped"` // from the spool, since the peer was added
	State    string `json:"state"`   // of the link
	Done     bool   `json:"done"`
}

func (a *api) getLinkPolicy(r *http.Request, _ *query) (any, error) {
	p, err := a.node.LinkPolicy(r.PathValue("peer"))
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", r.PathValue("peer"), err)
	}
	p.Keys, p.Trims = list(p.Keys), list(p.Trims)
	for i := range p.Keys {
		p.Keys[i].Value, p.Keys[i].File = list(p.Keys[i].Value), list(p.Keys[i].File)
	}
	return p, nil
}

func (a *api) changeLinkPolicy(r *http.Request, q *query) (any, error) {
	peer, dry := r.PathValue("peer"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	var edit PolicyEdit
	if err := readBody(r, &edit, `send {"set": [{"key": "out", "value": ["cmd/#"]}], "reset": ["rate"]}`); err != nil {
		return nil, err
	}
	c, err := a.node.ChangeLinkPolicy(r.Context(), peer, edit, dry)
	if err != nil {
		return nil, fmt.Errorf("policy of the link to %s: %w", peer, err)
	}
	c.Action, c.Target, c.DryRun, c.Effects, c.Diff = "set link policy", peer, dry, list(c.Effects), list(c.Diff)
	for i := range c.Diff {
		c.Diff[i].From, c.Diff[i].To = list(c.Diff[i].From), list(c.Diff[i].To)
	}
	return c, nil
}

// readBody reads the JSON of a request; want is what to send instead.
func readBody(r *http.Request, into any, want string) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	var tooLarge *http.MaxBytesError
	switch err := d.Decode(into); {
	case errors.As(err, &tooLarge):
		return err
	case err != nil && err != io.EOF:
		return badRequest(want, "the body: %s", err)
	}
	return nil
}

func (a *api) pauseLink(r *http.Request, q *query) (any, error) {
	peer, dry, d := r.PathValue("peer"), q.flag("dry_run"), q.duration("for")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.PauseLink(r.Context(), peer, d, q.text("reason"), dry)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", peer, err)
	}
	return Change{Action: "pause link", Target: peer, DryRun: dry, Effects: list(effects)}, nil
}

func (a *api) resumeLink(r *http.Request, q *query) (any, error) {
	peer, dry := r.PathValue("peer"), q.flag("dry_run")
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.ResumeLink(r.Context(), peer, dry)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", peer, err)
	}
	return Change{Action: "resume link", Target: peer, DryRun: dry, Effects: list(effects)}, nil
}

// Bounds of the levels by which a spool's topics are told.
const (
	defaultDepth = 2
	maxDepth     = 8
)

func (a *api) getSpool(r *http.Request, q *query) (any, error) {
	depth := defaultDepth
	if s := q.text("depth"); s != "" {
		n, err := strconv.Atoi(s)
		if depth = n; err != nil || n < 1 || n > maxDepth {
			q.wrong("depth", "as a number from 1 to "+strconv.Itoa(maxDepth))
		}
	}
	if q.err != nil {
		return nil, q.err
	}
	s, err := a.node.LinkSpool(r.Context(), r.PathValue("peer"), depth)
	if err != nil {
		return nil, fmt.Errorf("spool of %s: %w", r.PathValue("peer"), err)
	}
	s.Classes, s.Topics, s.Trims = list(s.Classes), list(s.Topics), list(s.Trims)
	return s, nil
}

// trimSpool drops a part of a spool. The body repeats the peer's name: what it drops cannot be had
// back.
func (a *api) trimSpool(r *http.Request, q *query) (any, error) {
	peer, dry := r.PathValue("peer"), q.flag("dry_run")
	t := Trim{Filter: q.text("filter"), Class: q.text("class"), AllClasses: !q.values.Has("class"), OlderThan: q.duration("older_than")}
	if q.err != nil {
		return nil, q.err
	}
	if t.Filter != "" {
		if err := routing.ValidFilter(t.Filter); err != nil {
			return nil, badRequest("give filter as a SUBSCRIBE would", "%s", err)
		}
	}
	if !dry {
		if err := confirmed(r, peer); err != nil {
			return nil, err
		}
	}
	effects, err := a.node.TrimSpool(r.Context(), peer, t, dry)
	if err != nil {
		return nil, fmt.Errorf("spool of %s: %w", peer, err)
	}
	return Change{Action: "trim spool", Target: peer, DryRun: dry, Effects: list(effects)}, nil
}

func (a *api) getDrain(r *http.Request, q *query) (any, error) {
	to := q.number("to")
	if q.err != nil {
		return nil, q.err
	}
	d, err := a.node.LinkDrain(r.PathValue("peer"), to)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", r.PathValue("peer"), err)
	}
	return d, nil
}
