package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/cluster"
	"causeway/internal/home"
)

// The steward is what the leader does beside making records: it lets nodes in,
// makes voters of those that have caught up, takes the place of a lost disk away
// from it, and declares nodes dead. It makes one change at a time, and none that
// leaves fewer voters than configured. [B3]

const (
	stewardEvery = 100 * time.Millisecond
	changeIn     = 5 * time.Second // for one change of the configuration to commit
	caughtUp     = 64              // entries a copy may lack and still count as caught up
	heardLately  = time.Second
)

// steward works until ctx ends, which is when this node does not lead any more.
func (r *core) steward(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		if err := r.stewardOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("change the group", "error", err)
		}
		t.Reset(r.beats().until(stewardEvery))
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *core) stewardOnce(ctx context.Context) error {
	if r.hosting.Load() {
		r.declareDead(ctx)
		r.raiseLevel()
	}
	if r.digests.alone() {
		r.fail(errDiverged)
		return nil
	}
	return r.tendVoters(ctx)
}

// server is a copy of the home as the leader sees it.
type server struct {
	raft.Server
	node home.NodeID
	disk string
	sent time.Time // of the newest request it answered
	last uint64    // last index of its log
}

func (r *core) survey() []server {
	list := make([]server, 0, 4)
	for _, s := range r.servers() {
		x := server{Server: s}
		x.node, x.disk = splitID(string(s.ID))
		if s.ID == r.id {
			x.sent, x.last = time.Now(), r.raft.LastIndex()
		} else {
			x.sent, x.last = r.contacts.of(s.ID)
		}
		list = append(list, x)
	}
	return list
}

// tendVoters makes at most one change.
func (r *core) tendVoters(ctx context.Context) error {
	all := r.survey()
	voters := 0
	for _, s := range all {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	change, what := tend(all, voters, r.opts.Voters, r.raft.LastIndex(), time.Now())
	switch what {
	case promote:
		r.log.Info("a copy has caught up and votes from now on", "peer", change.node, "disk", change.disk)
		return await(ctx, r.raft.AddVoter(change.ID, change.Address, 0, changeIn))
	case remove:
		r.log.Info("a copy on a disk that was replaced is no member any more", "peer", change.node, "disk", change.disk)
		return await(ctx, r.raft.RemoveServer(change.ID, 0, changeIn))
	}
	return nil
}

type change int

const (
	nothing change = iota
	promote
	remove
)

// tend says what to change next. A copy becomes a voter when it has caught up and
// a voter is missing, or one of its own node, on a disk that is gone, is to be
// replaced; the old one goes after that, so that the voters never become fewer.
func tend(all []server, voters, want int, last uint64, now time.Time) (server, change) {
	for _, s := range all {
		if s.Suffrage == raft.Voter || s.last+caughtUp < last || now.Sub(s.sent) > heardLately {
			continue
		}
		replaces := slices.ContainsFunc(all, func(o server) bool { return o.node == s.node && o.disk != s.disk && o.Suffrage == raft.Voter })
		if voters < want || replaces && voters <= want {
			return s, promote
		}
	}
	// Raft lists servers in the order in which they came in. A copy that was let in a
	// moment ago has answered nothing yet, and its former disk may have.
	for i, s := range all {
		newer := slices.ContainsFunc(all[i+1:], func(o server) bool {
			return o.node == s.node && o.sent.After(s.sent) && (o.Suffrage == raft.Voter || s.Suffrage != raft.Voter)
		})
		if newer && now.Sub(s.sent) > heardLately && (s.Suffrage != raft.Voter || voters > want) {
			return s, remove
		}
	}
	return server{}, nothing
}

// admit serves a copy's wish to belong to the group. It comes in without a vote;
// the steward sees to the rest.
func (r *core) admit(ctx context.Context, p cluster.Peer, last uint64) (answer, error) {
	if !r.inOffice() {
		leader, _ := r.Leader()
		return answer{Leader: leader}, ErrNotLeader
	}
	node := home.NodeID(p.Node)
	id := serverID(node, p.Disk)
	if _, held := r.contacts.of(id); last < held {
		return answer{Lost: fmt.Sprintf("this disk has acknowledged entries up to %d to leader %s, and its log ends at %d", held, r.opts.Node, last)}, nil
	}
	if p.Role == cluster.Core {
		if err := r.letIn(ctx, id, node); err != nil {
			return answer{}, err
		}
	}
	a := answer{Leader: r.opts.Node}
	a.Incarnation = r.knows(node)
	first, err := r.guard.FirstIndex()
	a.First = first
	return a, err
}

func (r *core) letIn(ctx context.Context, id raft.ServerID, node home.NodeID) error {
	for _, s := range r.survey() {
		switch {
		case s.ID == id:
			return nil
		case s.node == node && time.Since(s.sent) < heardLately:
			return fmt.Errorf("node %s is here already, on disk %s: give each node a name of its own, and stop the other one if it is a copy", node, s.disk)
		}
	}
	r.log.Info("a copy joins the home", "peer", node, "server", id)
	return await(ctx, r.raft.AddNonvoter(id, raft.ServerAddress(id), 0, changeIn))
}

// Nobody is declared dead by hearsay: only the leader does it, when a node that
// asks every 100 ms what is committed has not asked for a while. [B5]
const (
	// deadAfter is for a node that cannot be reached. Its freshness has lapsed by
	// then, whoever led before.
	deadAfter = 3 * time.Second
	// refusedAfter is for one whose address refuses connections: the process is
	// gone.
	refusedAfter = 400 * time.Millisecond
	// heldUp is how old the word may be when it is committed.
	heldUp = 2 * time.Second
)

// declareDead commits a NodeDown for each node that has gone.
func (r *core) declareDead(ctx context.Context) {
	for _, n := range r.state.Nodes() {
		if n.Down || n.Owner.Node == r.opts.Node || r.opts.Cluster == nil {
			continue
		}
		quiet := r.silence.of(n.Owner.Node, time.Now())
		if quiet < refusedAfter || quiet < deadAfter && !r.refuses(ctx, n.Owner.Node) {
			continue
		}
		if !r.silence.declare(n.Owner) {
			continue
		}
		r.log.Warn("a node is declared dead: its devices may be served elsewhere", "peer", n.Owner.Node,
			"silent", quiet.Round(time.Millisecond), "sessions", n.Attached)
		// Refused only when the home stops or is full; then it is tried again.
		if err := r.Propose(&home.NodeDown{Owner: n.Owner, Until: r.clock.now().Add(heldUp)}, nil); err != nil {
			r.silence.undeclare(n.Owner)
			continue
		}
		r.stats.nodeDowns.Add(1)
	}
}

// refuses says that nothing listens at the node's address.
func (r *core) refuses(ctx context.Context, node home.NodeID) bool {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	st, err := r.opts.Cluster.Dial(ctx, string(node), "", r.protocol(LogProtocol))
	if err == nil {
		_ = st.Close()
		return false
	}
	return cluster.Dead(err)
}

// raiseLevel raises the feature level of a home that is new, once all nodes support more: nobody has an
// older build of it to go back to. Later an operator says so, with RaiseLevel. A group that is no home that is
// taken over stays at what it needs.
func (r *core) raiseLevel() {
	have := r.state.Level()
	if have == 0 || !r.young() || r.opts.Beside && have >= besideLevel {
		return
	}
	level := r.supported()
	if r.opts.Beside {
		level = min(level, besideLevel)
	}
	if level <= have || !r.raising.CompareAndSwap(false, true) {
		return
	}
	err := r.Propose(&home.Raise{Level: level}, func(_ home.Outcome, err error) {
		r.raising.Store(false)
		if err == nil {
			r.log.Info("the home's feature level is raised", "level", level)
		}
	})
	if err != nil {
		r.raising.Store(false)
	}
}

// besideLevel is what a group beside a region's homes needs: promises.
var besideLevel = home.LevelOf(home.KindPromise)

// young says that nobody has configured the home yet.
func (r *core) young() bool { return r.state.Config().Revision == 0 }

// Raised says that a home that is new has the level that its nodes support, so that it may be
// configured; the leader knows.
func (r *Replica) Raised() bool {
	c, ok := r.role.(*core)
	if !ok || !c.young() {
		return true
	}
	supports := c.supported()
	return supports > 0 && c.state.Level() >= supports
}

// RaiseLevel raises the home's feature level to one that all its nodes support: from then on no node
// can go back to a build that does not. The leader does it. Errors: *RefusedError, ErrNotLeader, ErrStopped, ctx's.
func (r *Replica) RaiseLevel(ctx context.Context, level uint32) error {
	c, ok := r.role.(*core)
	if !ok || !r.Leads() {
		return ErrNotLeader
	}
	if all := c.supported(); level > all {
		return refuse("not all nodes of the region are known to support feature level %d", level)
	}
	done := make(chan error, 1)
	if err := r.Propose(&home.Raise{Level: level}, func(_ home.Outcome, err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// supported is the feature level that all copies and replicants support; 0 if
// one of them was not heard of.
func (r *core) supported() uint32 {
	level := uint64(home.MaxLevel)
	if r.opts.Cluster == nil {
		return uint32(level)
	}
	known := map[string]uint64{}
	for _, m := range r.opts.Cluster.Members() {
		known[m.Node] = m.Features
		if m.Alive {
			level = min(level, m.Features)
		}
	}
	for _, s := range r.survey() {
		if s.ID != r.id {
			level = min(level, known[string(s.node)])
		}
	}
	return uint32(level)
}

// voter finds the voter of a node.
func (r *core) voter(node home.NodeID) (server, error) {
	for _, s := range r.survey() {
		if s.node == node && s.Suffrage == raft.Voter {
			return s, nil
		}
	}
	return server{}, fmt.Errorf("node %s has no vote in this home", node)
}

// RefusedError is why the group is not changed as asked.
type RefusedError struct{ Reasons []string }

// Error joins the reasons.
func (e *RefusedError) Error() string {
	s := "refused"
	for i, r := range e.Reasons {
		s += []string{": ", "; "}[min(i, 1)] + r
	}
	return s
}

func refuse(format string, args ...any) error {
	return &RefusedError{Reasons: []string{fmt.Sprintf(format, args...)}}
}

// leave takes a node out of the group in a planned way. It is refused when fewer
// voters than configured would be left: a caught-up core must stand by to take
// the vote, and then gets it first.
func (r *core) leave(ctx context.Context, node home.NodeID, dryRun bool) error {
	return r.takeOut(ctx, node, dryRun, false)
}

// forceLeave takes out a node that is gone for good.
func (r *core) forceLeave(ctx context.Context, node home.NodeID, dryRun bool) error {
	return r.takeOut(ctx, node, dryRun, true)
}

func (r *core) takeOut(ctx context.Context, node home.NodeID, dryRun, gone bool) error {
	if !r.inOffice() {
		return ErrNotLeader
	}
	out, heir, err := r.mayLeave(node, gone)
	if err != nil || dryRun {
		return err
	}
	if heir != nil {
		if err := await(ctx, r.raft.AddVoter(heir.ID, heir.Address, 0, changeIn)); err != nil {
			return fmt.Errorf("give the vote of %s to %s: %w", node, heir.node, err)
		}
	}
	var errs []error
	for _, s := range out {
		errs = append(errs, await(ctx, r.raft.RemoveServer(s.ID, 0, changeIn)))
	}
	return errors.Join(errs...)
}

// mayLeave checks what takeOut would do: which copies go, and who gets the vote.
func (r *core) mayLeave(node home.NodeID, gone bool) (out []server, heir *server, err error) {
	voters, votes := 0, 0
	now, last := time.Now(), r.raft.LastIndex()
	all := r.survey()
	for i, s := range all {
		if s.Suffrage == raft.Voter {
			voters++
		} else if s.node != node && s.last+caughtUp >= last && now.Sub(s.sent) < heardLately {
			heir = &all[i]
		}
		if s.node == node {
			out = append(out, s)
			if s.Suffrage == raft.Voter {
				votes++
			}
			if gone && now.Sub(s.sent) < heardLately {
				return nil, nil, refuse("node %s is alive; use leave, or stop it first", node)
			}
		}
	}
	switch {
	case len(out) == 0:
		return nil, nil, refuse("node %s holds no copy of home %s", node, r.opts.Home)
	case node == r.opts.Node:
		return nil, nil, refuse("node %s leads the home; transfer the leadership first: causeway ctl cluster transfer", node)
	case votes == 0 || voters-votes >= r.opts.Voters:
		return out, nil, nil
	case heir == nil:
		return nil, nil, refuse("%d of %d configured voters would be left; start another core node first, and wait until it has caught up",
			voters-votes, r.opts.Voters)
	}
	return out, heir, nil
}

// change implements role.
func (r *core) change(ctx context.Context, act string, node home.NodeID, dryRun bool) error {
	switch act {
	case "leave":
		return r.leave(ctx, node, dryRun)
	case "force-leave":
		return r.forceLeave(ctx, node, dryRun)
	}
	if len(r.servers()) < 2 {
		return refuse("this is the only node of the region")
	}
	if _, err := r.heir(node); err != nil {
		return err
	}
	if dryRun {
		return nil
	}
	return r.transfer(ctx, node)
}

// group implements role.
func (r *core) group(context.Context) (term uint64, list []Server, err error) {
	leads, last := r.inOffice(), r.raft.LastIndex()
	for _, s := range r.survey() {
		x := Server{Node: s.node, Disk: s.disk, Voter: s.Suffrage == raft.Voter}
		if leads && s.ID != r.id {
			x.Heard = time.Since(s.sent)
			if s.last < last {
				x.Lag = last - s.last
			}
		}
		list = append(list, x)
	}
	return r.raft.CurrentTerm(), list, nil
}
