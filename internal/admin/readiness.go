package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"causeway/internal/readiness"
)

// Readiness is how ready a region is to stand a disaster.
type Readiness struct {
	Region     string           `json:"region"`
	Node       string           `json:"node"`  // that was asked
	Score      int              `json:"score"` // 0 to 100
	Blockers   []string         `json:"blockers"`
	Items      []ReadinessItem  `json:"items"` // the worst first
	Facts      []ReadinessFacts `json:"facts"` // of each node that answered
	Unanswered []Unanswered     `json:"unanswered"`
}

// ReadinessItem is one check with what it found last, at the node where that is worst.
type ReadinessItem struct {
	Check  string     `json:"check"`
	Node   string     `json:"node"`
	State  string     `json:"state"` // ok, pending, warn, fail, skip
	Reason string     `json:"reason"`
	Fix    string     `json:"fix"`
	Since  *time.Time `json:"since"` // of the state
	At     *time.Time `json:"at"`    // of the result; null before the first
}

// ReadinessFacts are what nodes and regions compare.
type ReadinessFacts struct {
	Node         string        `json:"node"`
	Version      string        `json:"version"`
	Certificates []Certificate `json:"certificates"`
	CRLs         []CRL         `json:"crls"`
	Digests      []FactDigest  `json:"digests"` // of what has to be the same elsewhere
}

// Certificate is one that a node uses.
type Certificate struct {
	Name      string    `json:"name"` // node, authority, listener NAME, devices of NAME
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"`
}

// FactDigest is the SHA-256 of a part of the configuration.
type FactDigest struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// readiness is what this node found, or for a caller what all nodes of the region did.
func (a *api) readiness(r *http.Request, q *query) (any, error) {
	refresh := q.flag("refresh")
	if q.err != nil {
		return nil, q.err
	}
	if refresh {
		a.ready.Refresh()
	}
	out := Readiness{Region: a.node.Status().Region, Node: a.name}
	items := a.readinessItems()
	out.Facts = []ReadinessFacts{a.ownFacts()}
	if !a.alone(r) {
		others, unanswered, err := askOthers[Readiness](r.Context(), a, Path("readiness"), r.URL.Query())
		if err != nil {
			return nil, fmt.Errorf("readiness: %w", err)
		}
		out.Unanswered = unanswered
		for _, o := range others {
			items = append(items, o.found()...)
			out.Facts = append(out.Facts, o.Facts...)
		}
		for i := range out.Facts {
			out.Facts[i].CRLs = list(out.Facts[i].CRLs) // a node of an older version says nothing of them
		}
		slices.SortFunc(out.Facts, func(x, y ReadinessFacts) int { return strings.Compare(x.Node, y.Node) })
	}
	rep := readiness.Merge(items)
	out.Score, out.Blockers, out.Unanswered = rep.Score, list(rep.Blockers), list(out.Unanswered)
	out.Items = []ReadinessItem{}
	for _, i := range rep.Items {
		out.Items = append(out.Items, ReadinessItem{Check: i.Name, Node: i.Node, State: string(i.State), Reason: i.Reason, Fix: i.Fix, Since: timeOrNull(i.Since), At: timeOrNull(i.At)})
	}
	return out, nil
}

func (a *api) ownFacts() ReadinessFacts {
	f := a.facts()
	f.Node, f.Version = a.name, a.build.Version
	f.Certificates, f.CRLs, f.Digests = list(f.Certificates), list(f.CRLs), list(f.Digests)
	return f
}

func (s *Server) readinessItems() []readiness.Item {
	items := s.ready.Report().Items
	for i := range items {
		items[i].Node = s.name
	}
	return items
}

// found is what another node reports, to be merged.
func (o *Readiness) found() (list []readiness.Item) {
	for _, i := range o.Items {
		x := readiness.Item{Name: i.Check, Node: i.Node, Result: readiness.Result{State: readiness.State(i.State), Reason: i.Reason, Fix: i.Fix}}
		if i.Since != nil {
			x.Since = *i.Since
		}
		if i.At != nil {
			x.At = *i.At
		}
		list = append(list, x)
	}
	return list
}

var (
	descReady   = desc("readiness_score", "How ready the region is to stand a disaster, as this node can tell: 100 when every check is well.")
	descAge     = desc("readiness_age_seconds", "Age of what a check looked at and has to be new enough: the newest backup, the last drill.", "check")
	descBlocker = desc("readiness_blocker", "1 for each check whose result speaks against relying on a failover or holding a drill.", "check")
)

// readiness are the gauges of what this node's checks found.
func (s *samples) readiness(r readiness.Report) {
	s.add(descReady, float64(r.Score))
	for _, i := range r.Items {
		s.add(descBlocker, oneIf(i.State == readiness.StateFail), i.Name)
		if i.Age > 0 {
			s.add(descAge, i.Age.Seconds(), i.Name)
		}
	}
}
