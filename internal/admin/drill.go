package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Drills are what a region keeps of drills: those that were held, and the one under way.
type Drills interface {
	// Drills lists them, the newest first.
	Drills() ([]Drill, error)
	// PutDrill writes what the conductor says of a drill. What others did meanwhile (approvals, an
	// abort) stays, and is returned.
	PutDrill(ctx context.Context, d Drill, by string) (Drill, error)
	// TouchDrill adds what somebody does about a drill under way.
	TouchDrill(ctx context.Context, id string, t DrillTouch) (Drill, error)
}

// Drill is what regions keep of a drill. Its report and ledgers stay where it was run from.
type Drill struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"` // of the plan
	Home      string         `json:"home"`
	Plan      string         `json:"plan"` // SHA-256 of its file
	By        string         `json:"by"`
	Conductor string         `json:"conductor"` // name of the token that it is conducted with
	At        string         `json:"at"`        // host it is run from, and its directory there
	Started   time.Time      `json:"started"`
	Ended     *time.Time     `json:"ended"`   // null: under way
	Outcome   string         `json:"outcome"` // done, missed, aborted, failed, partly; "" while under way
	Why       string         `json:"why"`     // it ended early
	Progress  string         `json:"progress"`
	Waits     string         `json:"waits"` // the step that waits for an approval; ""
	WaitsWhy  string         `json:"waits_why"`
	Head      string         `json:"head"` // of the manifest of its files
	Missed    []string       `json:"missed"`
	Phases    []DrillPhase   `json:"phases"`
	Findings  []DrillFinding `json:"findings"`
	Touches   []DrillTouch   `json:"touches"` // what people did about it
}

// DrillPhase is what was measured of a phase.
type DrillPhase struct {
	Name   string       `json:"name"`
	Values []DrillValue `json:"values"`
}

// DrillValue is a figure by the name of its metric; seconds, or a count.
type DrillValue struct {
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
}

// DrillFinding is something that was to be looked into.
type DrillFinding struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// DrillTouch is what somebody did about a drill.
type DrillTouch struct {
	What string    `json:"what"` // approve, abort, observe
	Step string    `json:"step"` // that is approved
	By   string    `json:"by"`   // name of the token
	Role string    `json:"role"`
	Why  string    `json:"why"`
	At   time.Time `json:"at"`
}

// What somebody may do about a drill.
const (
	DrillApprove = "approve"
	DrillAbort   = "abort"
	DrillObserve = "observe"
)

func (d *Drill) tidy() {
	d.Missed, d.Phases, d.Findings, d.Touches = list(d.Missed), list(d.Phases), list(d.Findings), list(d.Touches)
	for i := range d.Phases {
		d.Phases[i].Values = list(d.Phases[i].Values)
	}
}

func (a *api) listDrills(*http.Request, *query) (any, error) {
	all, err := a.node.Drills()
	if err != nil {
		return nil, fmt.Errorf("drills: %w", err)
	}
	for i := range all {
		all[i].tidy()
	}
	return Page[Drill]{Items: list(all)}, nil
}

func (a *api) getDrill(r *http.Request, _ *query) (any, error) {
	all, err := a.node.Drills()
	if err != nil {
		return nil, fmt.Errorf("drills: %w", err)
	}
	for _, d := range all {
		if d.ID == r.PathValue("id") {
			d.tidy()
			return d, nil
		}
	}
	return nil, fmt.Errorf("drill %s: %w", r.PathValue("id"), ErrNotFound)
}

// putDrill is for whoever conducts a drill.
func (a *api) putDrill(r *http.Request, _ *query) (any, error) {
	var d Drill
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		return nil, badRequest("send the drill as GET returns it", "the body is no drill: %s", err)
	}
	if d.ID != r.PathValue("id") || len(d.ID) > 100 || d.Name == "" || d.Started.IsZero() {
		return nil, badRequest("send id as in the path, name and started", "the body is no drill of this name")
	}
	d.Touches = nil // those are others' to add
	kept, err := a.node.PutDrill(r.Context(), d, a.caller(r))
	if err != nil {
		return nil, fmt.Errorf("drill %s: %w", d.ID, err)
	}
	kept.tidy()
	return kept, nil
}

// touchDrill adds what the caller does about a drill under way, under the name of its token.
func (a *api) touchDrill(what string) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		who, _ := r.Context().Value(callerKey{}).(admitted)
		t := DrillTouch{What: what, Step: q.text("step"), Why: q.text("reason"), By: who.name, Role: who.role.String(), At: time.Now().UTC()}
		if what == DrillApprove && t.Step == "" {
			return nil, badRequest("give step as the drill's waits says it", "an approval is of a step")
		}
		d, err := a.node.TouchDrill(r.Context(), r.PathValue("id"), t)
		if err != nil {
			return nil, fmt.Errorf("drill %s: %w", r.PathValue("id"), err)
		}
		d.tidy()
		return d, nil
	}
}
