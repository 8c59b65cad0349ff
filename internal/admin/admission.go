package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Admissions is the rate at which the region's nodes let connections in, as an operator set it.
type Admissions interface {
	AdmissionRule() (AdmissionRule, error)
	// SetAdmission sets the rule, or with PerSecond 0 takes it back.
	SetAdmission(ctx context.Context, rule AdmissionRule, dryRun bool) ([]string, error)
}

// AdmissionRule is how many connections each node lets in a second.
type AdmissionRule struct {
	PerSecond int        `json:"per_second"` // each node; 0: no rule is set
	Until     *time.Time `json:"until"`      // null: until it is taken back
	Since     *time.Time `json:"since"`      // null: no rule is set
	By        string     `json:"by"`
	Reason    string     `json:"reason"`
}

// AdmissionReport is how a node lets connections in.
type AdmissionReport struct {
	Node   string        `json:"node"` // that was asked; others have queues of their own
	Rule   AdmissionRule `json:"rule"`
	Queue  Admission     `json:"queue"`
	Stages []StageTime   `json:"stages"` // of the last minute
}

func (a *api) getAdmission(*http.Request, *query) (any, error) {
	r, err := a.node.AdmissionRule()
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	queue := a.node.Status().Admission
	queue.Namespaces = list(queue.Namespaces)
	return AdmissionReport{Node: a.name, Rule: r, Queue: queue, Stages: list(a.metrics.stages.lately(time.Now()))}, nil
}

// mostAdmitted bounds a rate, a second.
const mostAdmitted = 1_000_000

func (a *api) setAdmission(r *http.Request, q *query) (any, error) {
	now := time.Now().UTC()
	rule := AdmissionRule{Since: &now, By: a.caller(r), Reason: q.text("reason")}
	off, dry := q.flag("off"), q.flag("dry_run")
	if s := q.text("per_second"); s != "" || !off {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > mostAdmitted || off {
			q.wrong("per_second", "as a number from 1 to "+strconv.Itoa(mostAdmitted)+", or off=true")
		}
		rule.PerSecond = n
	}
	if d := q.duration("for"); d > 0 {
		until := now.Add(d)
		rule.Until = &until
	}
	if q.err != nil {
		return nil, q.err
	}
	effects, err := a.node.SetAdmission(r.Context(), rule, dry)
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	return Change{Action: "set the admission", Target: "of the region", DryRun: dry, Effects: list(effects)}, nil
}
