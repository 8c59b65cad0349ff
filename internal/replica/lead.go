package replica

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
)

// office is one leadership of this node.
type office struct {
	term  uint64 // raft's
	since time.Time
	end   context.CancelFunc
	done  chan struct{}
}

// leader implements role.
func (r *core) leader() (home.NodeID, bool) {
	if !r.up.Load() {
		return "", false
	}
	_, id := r.raft.LeaderWithID()
	if id == "" {
		return "", false
	}
	node, _ := splitID(string(id))
	return node, true
}

// leads says that raft made this node the leader; it may not have applied yet
// what leaders before it committed.
func (r *core) leads() bool { return r.up.Load() && r.raft.State() == raft.Leader }

// WaitLeads waits until Leads says so. Errors: ctx's, ErrStopped.
func (r *Replica) WaitLeads(ctx context.Context, leads bool) error {
	return r.water.await(ctx, r.failed, func() bool { return r.Leads() == leads })
}

// inOffice says that this node leads and has applied what was committed before
// it did.
func (r *core) inOffice() bool { return r.entered.Load() && r.leads() }

// servers is raft's newest configuration.
func (r *core) servers() []raft.Server { return r.raft.GetConfiguration().Configuration().Servers }

// lookEvery is how often a node looks who leads without being told.
const lookEvery = 500 * time.Millisecond

// watchLeader follows who leads. The batcher hears of every change, since a new
// leader does not know what is under way.
func (r *core) watchLeader(ctx context.Context) {
	seen := make(chan raft.Observation, 16)
	obs := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.raft.RegisterObserver(obs)
	defer r.raft.DeregisterObserver(obs)
	// Observations may be lost when there are many; a look now and then makes up
	// for it.
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	var now *office
	var last raft.ServerID
	for {
		_, leader := r.raft.LeaderWithID()
		leading := r.leads() && leader == r.id
		if now != nil && now.term != r.raft.CurrentTerm() {
			leading = false // lost, and perhaps won again meanwhile
		}
		if now != nil && !leading {
			r.leaveOffice(now)
			now = nil
			continue
		}
		if now == nil && leading {
			now = r.takeOffice(ctx)
			nudge(r.again) // what is under way of this node's own
		}
		if leader != last {
			last = leader
			if leader != "" {
				node, _ := splitID(string(leader))
				r.forwarder.turnTo(node)
			}
			r.leaderChanged(leader != "")
		}
		select {
		case <-seen:
		case <-every.C:
		case <-ctx.Done():
			if now != nil {
				r.leaveOffice(now)
			}
			return
		}
	}
}

// takeOffice begins a leadership. Proposers' streams of a former one are closed,
// so that everybody sends again what is under way.
func (r *core) takeOffice(ctx context.Context) *office {
	o := &office{term: r.raft.CurrentTerm(), since: time.Now(), done: make(chan struct{})}
	ctx, o.end = context.WithCancel(ctx)
	r.contacts.forget()
	r.silence.begin(o.since)
	if r.hosting.Load() {
		r.setClock() // before the first record gets its time
	}
	r.officeMu.Lock()
	r.officeTerm = o.term
	r.officeMu.Unlock()
	if r.opts.Region == "" {
		r.takeEntriesNow()
	}
	go func() {
		defer close(o.done)
		r.protect(func() { r.serveOffice(ctx, o.term) })
	}()
	return o
}

// takeEntriesNow makes records of what nodes propose, if this node leads and the region hosts
// the home. Both may change at any time, so whoever changes one of them calls it after that. With
// copies in other regions it begins when all that was committed before is applied here: behind
// a Hand nothing may be written.
func (r *core) takeEntriesNow() {
	r.officeMu.Lock()
	defer r.officeMu.Unlock()
	if r.officeTerm != 0 && r.hosting.Load() && (r.opts.Region == "" || r.entered.Load()) {
		r.merger.lead(r.officeTerm)
	}
}

// host implements role.
func (r *core) host() {
	r.silence.begin(time.Now())
	r.takeEntriesNow()
}

// standBy implements role.
func (r *core) standBy() {
	r.officeMu.Lock()
	r.merger.lead(0)
	r.officeMu.Unlock()
	r.closeEntries()
	r.standing.unbase()
}

// enter begins the leadership's log with an entry of its own: once that is applied here,
// everything that was committed before is.
func (r *core) enter() {
	if r.state.ID() == "" && r.founds() || r.state.Level() == 1 && r.hosting.Load() {
		r.merger.enter() // there may be nodes that know nothing else
		return
	}
	r.raft.ApplyLog(raft.Log{Extensions: []byte{extEntered}}, 0)
}

func (r *core) leaveOffice(o *office) {
	r.entered.Store(false)
	r.water.raise()
	r.officeMu.Lock()
	r.officeTerm = 0
	r.merger.lead(0)
	r.officeMu.Unlock()
	r.standing.unbase()
	o.end()
	r.closeEntries()
	<-o.done
}

// serveOffice does what a leader does, until ctx ends.
func (r *core) serveOffice(ctx context.Context, term uint64) {
	r.enter()
	if err := r.water.await(ctx, r.failed, func() bool { return r.fsm.term.Load() == term }); err != nil {
		return
	}
	r.entered.Store(true)
	r.takeEntriesNow()
	nudge(r.hurry)
	r.water.raise()
	r.log.Info("this node leads the home", "term", term)
	r.steward(ctx)
}

// setClock moves home time on to the wall clock if the whole home stood still:
// the median of the clocks of a majority, so that one wrong clock moves nothing.
// While the home runs only the monotonic clock of its leaders counts. [B6]
func (r *core) setClock() {
	if r.clock.live() {
		return
	}
	ahead := r.clock.resume(r.walls.median(r.opts.Wall(), r.voterNodes()))
	switch {
	case ahead < -bigStep:
		r.log.Warn("the wall clocks are behind home time; home time goes on from where it was", "behind", -ahead)
	case ahead > bigStep:
		r.log.Info("home time moves on to the wall clock; what expired meanwhile goes now", "by", ahead)
	}
}

func (r *core) voterNodes() (list []home.NodeID) {
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter && s.ID != r.id {
			node, _ := splitID(string(s.ID))
			list = append(list, node)
		}
	}
	return list
}

// transferIn bounds a hand-over of the leadership.
const transferIn = 2 * time.Second

// ErrNotLeader: only the leader can do it.
var ErrNotLeader = errors.New("this node does not lead the home")

// transfer hands the leadership to a node, or to the one that is furthest if
// none is named. It returns when that is done or has failed.
func (r *core) transfer(ctx context.Context, to home.NodeID) error {
	if !r.leads() {
		return ErrNotLeader
	}
	heir, err := r.heir(to)
	if err != nil {
		return err
	}
	// Meanwhile raft takes nothing, and gives up what it has not begun.
	term := r.raft.CurrentTerm()
	r.merger.lead(0)
	r.hands(1)
	defer func() { r.loops.Go(func() { r.protect(func() { r.leadOn(term) }) }) }()
	if err = await(ctx, r.raft.LeadershipTransferToServer(heir.ID, heir.Address)); err != nil {
		r.failedHeirs.Store(heir.ID, time.Now())
	}
	return err
}

// failedSince says that the last hand-over to a copy failed, and nothing was heard of it since. A second one would
// block: raft's goroutine for the copy has not taken the first one's question yet, and sleeps for up to 10 s between requests,
// while raft takes no entries.
func (r *core) failedSince(s server) bool {
	at, ok := r.failedHeirs.Load(s.ID)
	return ok && !s.sent.After(at.(time.Time))
}

// heir is the voter that the leadership goes to: the named one, or the one that is
// furthest. It must have answered a moment ago: raft takes nothing before it has
// brought the heir up to date, or has given up.
func (r *core) heir(name home.NodeID) (best server, err error) {
	now := time.Now()
	for _, s := range r.survey() {
		if s.ID == r.id || s.Suffrage != raft.Voter || name != "" && s.node != name || now.Sub(s.sent) > heardLately || r.failedSince(s) {
			continue
		}
		if best.ID == "" || s.last > best.last {
			best = s
		}
	}
	switch {
	case best.ID != "":
		return best, nil
	case name == "":
		return best, refuse("no other node with a vote answers")
	case name == r.opts.Node:
		return best, refuse("node %s leads the home already", name)
	}
	if _, err := r.voter(name); err != nil {
		return best, refuse("%s", err)
	}
	return best, refuse("node %s has not answered for %s, or not since the leadership could not be handed to it", name, heardLately)
}

// hands tells the transport that a hand-over begins (1) or is over (-1).
func (r *core) hands(over int32) {
	if t, ok := r.transport.(*transport); ok {
		t.handing.Add(over)
	}
}

// leadOn goes on with a leadership that was not handed over: once raft takes
// entries again, which may be a while after it has said that it failed, everything
// is sent again. Until then no request may wait for the heir to come back: raft
// gives the hand-over up only when the request it made of it has ended.
func (r *core) leadOn(term uint64) {
	leads := func() bool { return r.leads() && r.raft.CurrentTerm() == term }
	for leads() && r.refusesEntries() {
		time.Sleep(leadOnEvery)
	}
	r.hands(-1)
	if leads() {
		r.takeEntriesNow()
		r.closeEntries()
		r.resendSoon()
	}
}

const leadOnEvery = 10 * time.Millisecond

// refusesEntries says that raft is still busy with a hand-over. It is asked by a
// change of the group that it cannot take, since no configuration has that index:
// the one question that it answers in any state, also when it stops.
func (r *core) refusesEntries() bool {
	err := r.raft.RemoveServer(r.id, math.MaxUint64, leadOnEvery).Error()
	return errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout)
}

// await waits for a future of raft's.
func await(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handOver implements role.
func (r *core) handOver() {
	r.handing.lock()
	defer r.handing.unlock()
	if !r.leads() || len(r.servers()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferIn)
	defer cancel()
	if err := r.transfer(ctx, ""); err != nil && r.failure() == nil {
		r.log.Warn("hand over the leadership", "error", err)
	}
}
