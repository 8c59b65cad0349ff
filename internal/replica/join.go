package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// How a copy comes to belong to the group.
//
//	empty disk ── nobody has the home, all cores are here, ── found: the only voter
//	    │         this one's name is the first                    of a new group
//	    │
//	    └── somebody has it ── ask the leader ──▶ learner ── caught up ──▶ voter
//	                                  ▲
//	known disk ── too far behind ─────┘ fetch the state first
//
// An empty disk starts no raft before the leader has taken it in, so it answers
// nobody's requests; and requests for a disk that is gone name that disk. So
// whoever lost a disk lost the votes given on it, and gives none twice. [B1]

// seat is what a copy is to do before raft starts.
type seat struct {
	found bool // found the group
	fetch bool // bring the state from another copy first
}

const seatEvery = 500 * time.Millisecond

// takeSeat finds out what this copy is to do. A copy that knows the group goes on
// at once when nobody answers: after a full stop all copies start like that.
func (r *core) takeSeat(ctx context.Context, t tail) (seat, error) {
	if r.opts.Cluster == nil {
		return seat{found: t.last == 0}, nil
	}
	r.holds.Store(!t.empty())
	r.opts.Cluster.Handle(r.protocol(LogProtocol), r.serveLog)
	if !t.empty() {
		r.meet(ctx)
	}
	for {
		s, sure, err := r.look(ctx, &t)
		if sure || err != nil {
			return s, err
		}
		select {
		case <-time.After(seatEvery):
		case <-ctx.Done():
			return seat{}, fmt.Errorf("%s: %w", r.waits(), ctx.Err())
		}
	}
}

// meetIn is how long a copy that knows the group looks for somebody to ask.
const meetIn = 2 * time.Second

// meet waits until another core node is known, for a while: a node that has just
// started knows nobody, and a copy that is too old would take that for nobody's
// being there, and go on without asking.
func (r *core) meet(ctx context.Context) {
	changed, stop := r.opts.Cluster.Watch()
	defer stop()
	over := time.NewTimer(meetIn)
	defer over.Stop()
	for !slices.ContainsFunc(r.opts.Cluster.Members(), func(m cluster.Member) bool {
		return m.Node != string(r.opts.Node) && m.Role == cluster.Core
	}) {
		r.wait("the other core nodes are looked for")
		select {
		case <-changed:
		case <-over.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// look asks around once. sure: s is the answer.
func (r *core) look(ctx context.Context, t *tail) (s seat, sure bool, err error) {
	here := r.askAround(ctx)
	if t.lost == nil && !t.empty() {
		t.lost = r.isRestored(here.known)
	}
	if t.lost != nil {
		// While the others have no leader, this disk may be needed to mend the home by
		// hand.
		if here.leader != "" {
			return seat{}, true, fmt.Errorf("%w: %w", ErrLost, t.lost)
		}
		r.wait(fmt.Sprintf("this disk has lost what others were told it holds (%v); it gives no votes, and rejoins as an empty one once the others have a leader", t.lost))
		return seat{}, false, nil
	}
	if here.leader != "" {
		a, err := r.ask(ctx, here.leader, control{Kind: "join", Last: t.last})
		if err == nil && a.Lost != "" {
			return seat{}, true, fmt.Errorf("%w: %s", ErrLost, a.Lost)
		}
		if err == nil {
			err = r.seated(a)
			// Raft sends what follows the last entry only if it has that one, too.
			return seat{fetch: t.torn != nil || a.First > max(t.last, 1)}, true, err
		}
		r.wait("the leader does not take this copy in: " + err.Error())
		if t.empty() || t.torn != nil {
			return seat{}, false, nil
		}
	}
	switch {
	case t.torn != nil:
		r.wait(fmt.Sprintf("the state of this copy is not to be used (%v), and no leader is here to bring another from", t.torn))
		return seat{}, false, nil
	case !t.empty():
		// Whoever is to lead may need this copy's vote first, so there may be no leader
		// to take it in.
		return seat{fetch: here.beyond(t.last) != ""}, true, nil
	case here.holders > 0:
		r.wait("the other copies have no leader yet")
		return seat{}, false, nil
	case here.cores < r.opts.Voters:
		r.wait(fmt.Sprintf("%d of %d core nodes are here (%s): start the others, or check cluster.join", here.cores, r.opts.Voters, here.names))
		return seat{}, false, nil
	case !here.first:
		r.wait("the first of the core nodes founds the home")
		return seat{}, false, nil
	}
	r.log.Info("all core nodes are here and none of them holds the home: it is founded", "nodes", here.names)
	return seat{found: true}, true, nil
}

// lostRuns is more runs than a node can have had on a disk that it lost, without
// the home's having heard of them. What they proposed may still be on its way: to
// a leader, or in the log of one that is away.
const lostRuns = 1 << 20

// seated takes the leader's answer: a run of this node must not have a number
// that one of a former disk had.
func (r *core) seated(a answer) error {
	if a.Incarnation < r.self().Incarnation || r.elsewhere() && a.Incarnation == r.self().Incarnation {
		return nil
	}
	i, err := r.opts.RaiseIncarnation(a.Incarnation + lostRuns)
	if err != nil {
		return err
	}
	r.setRun(i)
	return nil
}

// isRestored compares this run's number with the highest that others know of this
// node: a copy is not empty, and yet its directory has counted fewer starts than
// they have seen. It was taken back to an earlier time, before votes it gave.
func (r *core) isRestored(known home.Incarnation) error {
	mine := r.self().Incarnation
	if known < mine || known == mine && r.elsewhere() {
		return nil
	}
	return fmt.Errorf("the others know run %d of this node, and its data directory counts %d: it was restored or copied", known, mine)
}

// restored says that a peer is at an earlier run than the home knows of its node:
// its data directory was restored, and it has forgotten votes.
func (r *core) restored(p cluster.Peer) bool {
	return p.Incarnation < uint64(r.knows(home.NodeID(p.Node)))
}

// seekEvery is how often a copy that hears no leader asks around: it may have
// been taken out of the group while it was away.
const seekEvery = time.Second

// seek asks to be let in again when this copy was taken out of the group.
func (r *core) seek(ctx context.Context) {
	t := time.NewTicker(seekEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if _, ok := r.Leader(); ok {
			continue
		}
		here := r.askAround(ctx)
		if here.leader == "" || ctx.Err() != nil {
			continue
		}
		switch a, err := r.ask(ctx, here.leader, control{Kind: "join", Last: r.raft.LastIndex()}); {
		case err != nil:
			r.log.Debug("ask to be let in", "leader", here.leader, "error", err)
		case a.Incarnation > r.self().Incarnation:
			r.fail(r.isRestored(a.Incarnation)) // the next start sees to it
		}
	}
}

// ErrBehind ends a run whose log, or a replicant's state, ends before the others'
// log begins: the next one fetches the state.
var ErrBehind = errors.New("this copy was away for too long: the others' log does not reach back to it; it fetches the state")

// fallBehind is called when the leader's log does not reach back to ours.
func (r *core) fallBehind() { r.fail(ErrBehind) }

// hung says that a leader's disk has been hanging for too long, while enough
// others answer to elect another leader. [one leader with a hung disk never
// fails over by itself: heartbeats do not pass the log]
func (r *core) hung() bool {
	if !r.guard.Stalled(hungLeader) {
		return false
	}
	return !r.up.Load() || r.othersAnswer()
}

// hungLeader is how long a write of a leader's log may take before the leader
// falls silent, and another is elected.
const hungLeader = 300 * time.Millisecond

// othersAnswer says that the voters other than this one were heard lately, as
// many as a majority takes.
func (r *core) othersAnswer() bool {
	voters, heard := 0, 0
	for _, s := range r.survey() {
		if !votes(r.servers(), s.ID) {
			continue
		}
		voters++
		if s.ID != r.id && time.Since(s.sent) < heardLately {
			heard++
		}
	}
	return heard > voters/2
}
