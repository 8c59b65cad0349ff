package health

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Check asks one part of the node how it is. It is called from any goroutine, several at a time
// and often; it must not block and must not call the Node.
type Check func() Condition

// Report is the state of the node at one moment.
type Report struct {
	Condition
	Since time.Time // of State
	Parts []Part    // by name
}

// Part is what one check said.
type Part struct {
	Name string
	Condition
	Since time.Time // of the part's State
}

// Node is the state of one node.
type Node struct {
	log *slog.Logger // fixed after New

	mu     sync.Mutex
	checks map[string]Check
	asked  uint64 // numbers the rounds of questions
	told   uint64 // the newest round that is in last
	last   Report
	logged time.Time // when last was written to the log
}

// interval is how often Run asks, so that a change is noticed although nobody reads.
const interval = time.Second

// logEvery is how often a reason that changes is written to the log while the state stays.
const logEvery = 10 * time.Second

// New returns a node that is Starting until its first check is registered.
func New(log *slog.Logger) *Node {
	if log == nil {
		log = slog.Default()
	}
	return &Node{log: log, checks: map[string]Check{}, last: Report{
		Condition: Condition{State: Starting, Reason: "nothing has started yet"}, Since: time.Now(),
	}}
}

// Register adds the check of a part, or replaces it.
func (n *Node) Register(part string, check Check) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.checks[part] = check
}

// Remove forgets a part.
func (n *Node) Remove(part string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.checks, part)
}

// Set registers a part whose condition is known now and changes only by another Set.
func (n *Node) Set(part string, c Condition) { n.Register(part, func() Condition { return c }) }

// Stop says that the node was asked to end. It hides everything but a failure.
func (n *Node) Stop(reason string) {
	n.Set("shutdown", Condition{State: Stopping, Reason: reason})
}

// Fail says that the node is broken for good.
func (n *Node) Fail(err error) {
	n.Set("failure", Condition{State: Failed, Reason: err.Error(), Next: "see the log, then restart the node"})
}

// Run watches the node until ctx ends and writes each change of its state to the log.
func (n *Node) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		n.Report()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Report asks every part and returns what the node is because of them.
func (n *Node) Report() Report {
	round, names, checks := n.round()
	if len(checks) == 0 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.last
	}
	parts := make([]Part, len(checks))
	for i, check := range checks {
		parts[i] = Part{Name: names[i], Condition: check()}
		if rank(parts[i].State) < 0 {
			parts[i].Reason = fmt.Sprintf("its check says %q, which is no state: %s", parts[i].State, parts[i].Reason)
			parts[i].State = Failed
		}
	}
	return n.settle(round, parts)
}

// round numbers a round of questions and copies the checks, which are called without the lock.
func (n *Node) round() (uint64, []string, []Check) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	names := make([]string, 0, len(n.checks))
	for name := range n.checks {
		names = append(names, name)
	}
	slices.Sort(names)
	checks := make([]Check, len(names))
	for i, name := range names {
		checks[i] = n.checks[name]
	}
	return n.asked, names, checks
}

// settle makes the answers of a round the node's state, unless a later round was faster.
func (n *Node) settle(round uint64, parts []Part) Report {
	n.mu.Lock()
	defer n.mu.Unlock()
	if round < n.told {
		return n.last
	}
	n.told = round
	next := gravest(parts, n.last, time.Now())
	// Reasons hold figures that move: one line now and then will do while the state stays.
	if next.State != n.last.State || next.Reason != n.last.Reason && time.Since(n.logged) >= logEvery {
		n.logged = time.Now()
		n.log.Info("node state", "state", next.State, "reason", next.Reason,
			"was", n.last.State, "for", next.Since.Sub(n.last.Since).Round(time.Millisecond))
	}
	n.last = next
	return next
}

// gravest makes a report of the parts: the gravest one speaks for the node, the first by name
// among equals. What was so before keeps its since.
func gravest(parts []Part, last Report, now time.Time) Report {
	r := Report{Condition: parts[0].Condition, Since: now, Parts: parts}
	for i := range parts {
		parts[i].Since = now
		j := slices.IndexFunc(last.Parts, func(p Part) bool { return p.Name == parts[i].Name })
		if j >= 0 && last.Parts[j].State == parts[i].State {
			parts[i].Since = last.Parts[j].Since
		}
		if rank(parts[i].State) < rank(r.State) {
			r.Condition = parts[i].Condition
		}
	}
	if r.State == last.State {
		r.Since = last.Since
	}
	return r
}
