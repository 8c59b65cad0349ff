package app

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"causeway/internal/admin"
)

// queueAgesFor is for how long the ages of a home's queues are good: all sessions are looked at for them.
const queueAgesFor = 15 * time.Second

// queueAges are for how long the oldest message in a queue of a home has waited, by namespace.
type queueAges struct {
	mu   sync.Mutex // held while they are looked for: who else asks waits for that
	at   time.Time
	list []admin.QueueAge
}

func (q *queueAges) ages(h *homeService) []admin.QueueAge {
	r := h.current()
	if r == nil || !r.Hosting() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.at.IsZero() && time.Since(q.at) < queueAgesFor {
		return q.list
	}
	now := r.Now()
	q.at, q.list = time.Now(), nil
	for namespace, since := range r.State().OldestQueued() {
		q.list = append(q.list, admin.QueueAge{Home: string(h.id), Namespace: namespace, Age: max(0, now.Sub(since))})
	}
	slices.SortFunc(q.list, func(x, y admin.QueueAge) int { return cmp.Compare(x.Namespace, y.Namespace) })
	return q.list
}

// regionCounts adds what there is to count of the nodes of a region and of the home they keep.
func (n node) regionCounts(c *admin.Counts) {
	a := n.a
	group, err := n.Cluster()
	if err != nil {
		return
	}
	for _, role := range []string{"core", "replicant"} {
		for _, seen := range []bool{true, false} {
			k := admin.NodesCount{Role: role, Seen: seen}
			for _, x := range group.Nodes {
				if x.Role == role && x.Alive == seen {
					k.Count++
				}
			}
			c.Nodes = append(c.Nodes, k)
		}
	}
	h := admin.HomeCounts{Home: group.Home, Votes: group.Voters}
	p := a.home.progress.Load().Read()
	h.Fetched, h.FetchTotal, h.Behind = p.Fetched, p.Total, p.Behind
	if r := a.home.current(); r != nil {
		st := r.Stats()
		h.Open, h.Term, h.VotesHere, h.Stale, h.NodeDowns = true, group.Term, group.Quorum.Have, r.Stale(), int64(st.NodeDowns)
		h.Switches, h.Bodies, h.BodyRetries = int64(st.Switches), int64(st.Bodies), int64(st.BodyRetries)
		for with, k := range st.Mismatches {
			h.Mismatches = append(h.Mismatches, admin.NodeCount{Node: string(with), Count: int64(k)})
		}
		for _, x := range group.Nodes {
			if st.Leader && (x.State == "voter" || x.State == "learner") {
				h.Followers = append(h.Followers, admin.NodeCount{Node: x.Node, Count: int64(x.Lag)})
			}
		}
	}
	c.Homes = []admin.HomeCounts{h}
	n.siblingCounts(c)
}

func (n node) siblingCounts(c *admin.Counts) {
	if n.a.home.siblings == nil {
		return
	}
	for _, s := range n.a.home.siblings.Status() {
		c.Siblings = append(c.Siblings, admin.SiblingCounts{Node: string(s.Node), Connected: s.Connected, QueuedBytes: int64(s.Queued),
			Sent: int64(s.Sent), Dropped: int64(s.Dropped), Received: int64(s.Received), Streams: int64(s.Streams), Malformed: int64(s.Malformed),
			Asked: int64(s.Yields.Asked), Answered: int64(s.Yields.Answered), Gone: int64(s.Yields.Gone), Lapsed: int64(s.Yields.Lapsed)})
	}
}
