package admin

import (
	"context"
	"fmt"
	"net/http"
)

// Region are the nodes of this region.
type Region interface {
	// Cluster describes the nodes that keep the home.
	Cluster() (Cluster, error)
	// ChangeCluster does one act, or with dryRun says what it would do, in words. It returns *Refused
	// when a precondition is not met.
	ChangeCluster(ctx context.Context, act ClusterAct, target string, dryRun bool) ([]string, error)
}

// ClusterAct is what may be done to a cluster.
type ClusterAct string

// The acts on a cluster, and what their target is.
const (
	ClusterJoin       ClusterAct = "join"        // a gossip address
	ClusterLeave      ClusterAct = "leave"       // a node that is here
	ClusterForceLeave ClusterAct = "force-leave" // a node that is gone for good
	ClusterTransfer   ClusterAct = "transfer"    // the node to lead; "" for the one that is furthest
)

// Cluster is the group of nodes that keeps the home.
type Cluster struct {
	Home   string `json:"home"`
	Level  uint32 `json:"level"`  // feature level
	Leader string `json:"leader"` // "" when none is heard
	Term   uint64 `json:"term"`
	// Following is the core that the answering replicant follows; "" on a core, and
	// while it looks for one.
	Following string        `json:"following"`
	Applied   uint64        `json:"applied"` // index of the log, on the node that answers
	Voters    int           `json:"voters"`  // configured
	Quorum    Quorum        `json:"quorum"`
	Trouble   string        `json:"trouble"` // the one thing wrong; "" when nothing is
	Next      string        `json:"next"`    // what helps
	Nodes     []ClusterNode `json:"nodes"`
}

// Quorum is how many votes there are, and how many a decision takes.
type Quorum struct {
	Have int `json:"have"` // voters that the answering node knows to be there
	Need int `json:"need"`
}

// ClusterNode is one node of a region.
type ClusterNode struct {
	Node        string `json:"node"`
	Role        string `json:"role"`
	State       string `json:"state"` // leader, voter, learner; follows: a replicant; or none: it holds no copy
	Alive       bool   `json:"alive"` // gossip's opinion
	Lag         uint64 `json:"lag"`   // entries of the log that it lacks; known on the leader only
	Disk        string `json:"disk"`
	Incarnation uint64 `json:"incarnation"`
	Software    string `json:"software"`
	Address     string `json:"address"`
	Sessions    int    `json:"sessions"` // attached
}

func (a *api) getCluster(*http.Request, *query) (any, error) {
	c, err := a.node.Cluster()
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.Nodes = list(c.Nodes)
	return c, nil
}

// changeCluster serves one act; its target is in the query.
func (a *api) changeCluster(act ClusterAct, title string) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		target, dry := q.text("target"), q.flag("dry_run")
		if q.err != nil {
			return nil, q.err
		}
		if target == "" && act != ClusterTransfer {
			return nil, badRequest("give target", "%s without a target", act)
		}
		effects, err := a.node.ChangeCluster(r.Context(), act, target, dry)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", act, target, err)
		}
		return Change{Action: title, Target: target, DryRun: dry, Effects: list(effects)}, nil
	}
}
