package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"causeway/internal/group"
	"causeway/internal/home"
)

// replicant is the role of a node that has connections only: no vote, no disk. It
// follows a core, whose state it copies at the start and whose log it applies from
// there on, record by record as it is applied there. What a device can rely on
// comes out the same: an entry of this node is done when it has been applied here,
// which is after a majority of the cores synced it; and the node speaks for its
// sessions while it has applied what the leader itself says is committed.
//
// When its core goes it goes on with another one, at the index it has. When no
// log reaches back to that, this run of the node is over, as for a core that fell
// behind: its sessions are detached and the next run begins with a new copy.
//
//	seat ── copy ──▶ follow ──┬─ stream lost, core stale ──▶ another core ──▶ follow
//	                          └─ all logs begin later ──▶ over
type replicant struct {
	*Replica
	lenders *lenders

	mu      sync.Mutex
	core    home.NodeID // that is followed; "" none
	lead    home.NodeID // as that one said last; "" nobody
	ahead   uint64      // how far it is
	trouble string      // why none is followed
}

// Follow opens the home on a replicant: it gets its number from the leader and a
// copy of the state from a core, and registers this run of the node. When it
// returns, the home's former sessions of this node are detached and Run may
// serve. It waits for the cores, telling Options.Waiting why. ctx bounds Follow
// only. Of Options it needs no FS, no Dir and no Disk.
func Follow(ctx context.Context, opts Options) (_ *Replica, err error) {
	if err := opts.validateFollower(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	r := &replicant{Replica: newReplica(opts)}
	r.role, r.lenders = r, &lenders{r: r}
	defer func() {
		if err != nil {
			r.queue.close(ErrStopped)
			err = fmt.Errorf("follow home %s: %w", opts.Home, errors.Join(err, r.close()))
		}
	}()
	start := time.Now()
	if err := r.takeNumber(ctx); err != nil {
		return nil, err
	}
	up, state, err := r.firstCopy(ctx)
	if err != nil {
		return nil, err
	}
	r.begin(state, up.at, state.Now(), up.at.Index)
	r.startLoops(func(ctx context.Context) { r.follow(ctx, up) }, r.settle,
		func(ctx context.Context) { r.serveTenures(ctx, func() bool { return true }) })
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	r.log.Info("home followed", "epoch", state.Epoch().String(), "applied", r.fsm.index.Load(), "core", up.core,
		"took", time.Since(start).Round(time.Millisecond))
	return r.Replica, nil
}

// numbersLeft is among how many a run draws its number, above all that may still
// be under way: two folders lost in a row, and the home has heard of neither.
const numbersLeft = 1 << 16

// takeNumber has the leader say which runs of this node the home knows. A node
// whose folder was made anew counts from 1 again, and the first entry of the run
// before may be under way: so a number that is not this disk's own is one that
// nobody can have taken.
func (r *replicant) takeNumber(ctx context.Context) error {
	for {
		here := r.askAround(ctx)
		if here.leader == "" {
			r.wait("no leader of the home is here: " + r.whoAnswers())
		} else if a, err := r.ask(ctx, here.leader, control{Kind: "join"}); err != nil {
			r.wait("the leader does not answer: " + err.Error())
		} else {
			r.pulse(0, here.leader)
			if mine := r.self().Incarnation; mine > 1 && a.Incarnation < mine {
				return nil
			}
			i, err := r.opts.RaiseIncarnation(max(a.Incarnation, r.self().Incarnation) + lostRuns + home.Incarnation(rand.N(numbersLeft)))
			if err == nil {
				r.setRun(i)
			}
			return err
		}
		if err := group.Pause(ctx, seatEvery); err != nil {
			return fmt.Errorf("%s: %w", r.waits(), err)
		}
	}
}

func (r *replicant) firstCopy(ctx context.Context) (*upstream, *home.State, error) {
	for {
		for _, core := range r.cores() {
			r.wait("the state is being copied from " + string(core))
			up, state, err := r.copyFrom(ctx, core)
			if err == nil {
				return up, state, nil
			}
			r.wait(fmt.Sprintf("%s does not give a copy of the state: %v", core, err))
		}
		if err := group.Pause(ctx, seatEvery); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", r.waits(), err)
		}
	}
}

// settle tells the state again and again that what it changed is kept: by the
// cores, which have the bodies that are dropped here for want of room.
func (r *replicant) settle(ctx context.Context) {
	put, del := func(_, _ []byte) {}, func([]byte) {}
	for group.Pause(ctx, r.opts.FlushEvery) == nil {
		start := time.Now()
		r.state.FlushAhead(put, del)
		cut := time.Now()
		r.state.Flush(put, del)
		r.stats.flushStall.observe(time.Since(cut))
		r.stats.flush.observe(time.Since(start))
		r.stats.resident.Store(r.state.Evict(r.opts.MemoryBudget))
	}
}

// A replicant never leads, and so runs no links that would read a spool.

func (*replicant) leads() bool                              { return false }
func (*replicant) inOffice() bool                           { return false }
func (*replicant) sure(time.Time) (uint64, time.Time, bool) { return 0, time.Time{}, false }
func (*replicant) take([]home.Entry)                        {}
func (*replicant) handOver()                                {}
func (*replicant) applied(uint64)                           {}
func (*replicant) recorded(uint64, uint64)                  {}
func (*replicant) host()                                    {}
func (*replicant) standBy()                                 {}
func (*replicant) superseded() home.Epoch                   { return home.Epoch{} }

func (*replicant) spoolRun([]byte) ([]home.Spooled, error) { return nil, ErrNotLeader }

func (*replicant) change(context.Context, string, home.NodeID, bool) error { return ErrNotLeader }

// leader implements role.
func (r *replicant) leader() (home.NodeID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lead, r.lead != ""
}

// reached implements role.
func (r *replicant) reached(index uint64) bool { return r.fsm.index.Load() >= index }

// appliedMore implements role.
func (r *replicant) appliedMore() {
	r.fresh.applied(r.reached)
	r.water.raise()
}

// unwell implements role: there is no disk to wait for.
func (*replicant) unwell() string { return "" }

// explain implements role.
func (*replicant) explain(err error) error { return err }

// staleness implements role.
func (r *replicant) staleness() string {
	age := r.fresh.age().Round(100 * time.Millisecond)
	r.mu.Lock()
	core, lead, ahead, trouble := r.core, r.lead, r.ahead, r.trouble
	r.mu.Unlock()
	at := r.fsm.index.Load()
	late, heard := r.fresh.behind(at)
	switch {
	case core == "":
		return fmt.Sprintf("no core can be followed, for %s: %s", age, trouble)
	case ahead > at:
		return fmt.Sprintf("following core %s, catching up: %d entries that it has applied are not applied here, for %s", core, ahead-at, age)
	case heard:
		return fmt.Sprintf("following core %s, catching up: it has not applied %d entries that leader %s says were committed, for %s", core, late, lead, age)
	case lead == "":
		return fmt.Sprintf("core %s, which is followed, hears no leader, for %s: %s", core, age, r.whoAnswers())
	}
	return fmt.Sprintf("leader %s does not say what is committed, for %s; core %s is followed", lead, age, core)
}

// figures implements role.
func (r *replicant) figures(s *Stats) {
	r.mu.Lock()
	s.Following = r.core
	r.mu.Unlock()
	s.Switches, s.Bodies, s.BodyRetries = r.stats.switches.Load(), r.stats.bodies.Load(), r.stats.bodyRetries.Load()
}

// group implements role: the leader knows, or any core.
func (r *replicant) group(ctx context.Context) (term uint64, list []Server, err error) {
	for _, core := range r.cores() {
		var a answer
		if a, err = r.ask(ctx, core, control{Kind: "group"}); err == nil {
			return a.Term, a.Servers, nil
		}
	}
	return 0, nil, err
}

// close implements role.
func (r *replicant) close() error {
	if r.forwarder != nil {
		r.forwarder.close()
	}
	if r.stopLoops != nil {
		r.stopLoops()
	}
	r.lenders.close()
	r.loops.Wait()
	left := ErrStopped
	if err := r.failure(); err != nil {
		left = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	r.handBack(left)
	return r.failure()
}
