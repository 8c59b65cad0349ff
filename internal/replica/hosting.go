package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"causeway/internal/home"
)

// A home has a copy in more than one region, each a group of its own. The region of
// the epoch in force hosts it: its nodes propose, and deliver. The copies of the others
// stand by: their leaders append what the host ships, and nobody proposes. Which of the two
// this region does is what the log says, so it changes as a record is applied: all nodes
// change at the same place, and none has to be opened again.
//
//	standing by ──Promote──▶ hosting ──Hand──▶ standing by
//	                          │   └─ another epoch superseded it ──Retire──▶ standing by
//	                          └─ Promote: another epoch of this region's own, as another run of each node

// hosts says whether this region hosts the home by what is applied here.
func (r *Replica) hosts() bool {
	switch {
	case r.opts.Region == "":
		return true
	case r.state.ID() == "":
		return r.founds()
	}
	_, handed := r.state.Handed()
	e := r.state.Epoch()
	return !handed && e.Host == r.opts.Region && r.role.superseded().Compare(e) <= 0
}

// founds says that the home is this region's to create.
func (o *Options) founds() bool { return o.Region == "" || string(o.Home) == o.Region }

func (r *Replica) founds() bool { return r.opts.founds() }

// elsewhere says that the state knows other regions' nodes, not this one's.
func (r *Replica) elsewhere() bool {
	switch {
	case r.opts.Region == "":
		return false
	case r.state == nil || r.state.ID() == "":
		return !r.founds()
	}
	return r.state.Epoch().Host != r.opts.Region
}

// knows is the newest run of a node of this region that is known.
func (r *Replica) knows(node home.NodeID) (i home.Incarnation) {
	switch {
	case r.state != nil && !r.elsewhere():
		i, _ = r.state.Incarnation(node)
	case r.opts.Known != nil && !r.founds(): // which may be what this home knows of another region's nodes
		i = r.opts.Known(node)
	}
	return i
}

// leased says that the home may be served now, if it is hosted here.
func (r *Replica) leased() bool { return r.opts.Lease == nil || r.opts.Lease() }

// hushed says, of the node that leads, that nobody shall speak for sessions now.
func (r *Replica) hushed() bool { return r.opts.Hush != nil && r.hosting.Load() && r.opts.Hush() }

// protocol is the name of a stream protocol for this home: a region has several.
func (r *Replica) protocol(name string) string {
	if r.founds() && !r.opts.Beside {
		return name
	}
	return name + "@" + string(r.opts.Home)
}

// turn begins or ends to host the home, after something was applied that may say so. The
// goroutine that applies calls it.
//
// An epoch that begins ends the tenure of the one before also if that was this region's: the home has forgotten how far
// the proposals of its nodes were.
func (r *Replica) turn(begun bool) {
	to, handed := r.state.Handed()
	r.heir.Store(handed && to == r.opts.Region)
	hosts, hosted := r.hosts(), r.hosting.Load()
	if hosts == hosted && !(hosts && begun) {
		return
	}
	if hosted {
		r.endTenure()
	}
	if hosts {
		r.log.Info("this region hosts the home from here on", "epoch", r.state.Epoch().String())
		r.hosting.Store(true)
		r.tenure.Add(1)
		r.role.host()
	} else {
		r.log.Info("this region's copy of the home stands by from here on", "reason", r.standsBy())
	}
	r.water.raise()
}

func (r *Replica) endTenure() {
	r.hosting.Store(false)
	r.tenure.Add(1)
	r.registered.Store(false)
	r.role.standBy()
	r.shipped.forget()
	r.forwarder.turnTo("")
	r.giveBack(ErrStandby, r.queue.pause)
}

// standsBy says why this region's copy stands by.
func (r *Replica) standsBy() string {
	if by := r.role.superseded(); by.Number > 0 && by.Compare(r.state.Epoch()) > 0 {
		return fmt.Sprintf("standing by: epoch %s has superseded this copy's", by)
	}
	if to, ok := r.state.Handed(); ok {
		return "standing by: the home was handed over to region " + to
	}
	if host := r.state.Epoch().Host; host != "" {
		return "standing by: region " + host + " hosts the home"
	}
	return "standing by: the first copy of the home has not come yet"
}

// serveTenures registers this run of the node each time the region begins to host the home.
func (r *Replica) serveTenures(ctx context.Context, may func() bool) {
	for used := false; ctx.Err() == nil; used = true {
		if used {
			if err := r.renew(); err != nil {
				r.fail(err)
				return
			}
		}
		if r.await(ctx, func() bool { return r.hosting.Load() && may() }) != nil {
			return
		}
		tenure := r.tenure.Load()
		if err := r.register(ctx, tenure); err != nil && !errors.Is(err, ErrStandby) {
			return // the home stops
		}
		if r.await(ctx, func() bool { return r.tenure.Load() != tenure }) != nil {
			return
		}
	}
}

func (r *Replica) await(ctx context.Context, until func() bool) error {
	return r.water.await(ctx, r.failed, until)
}

// renew makes this run of the node another one: what it proposed while the region hosted the
// home before may still be on its way, and the home has forgotten how far that was.
func (r *Replica) renew() error {
	if r.opts.RaiseIncarnation == nil {
		return errors.New("Options.RaiseIncarnation is not set, so the node has no number under which it could host the home again in this run")
	}
	i, err := r.opts.RaiseIncarnation(r.self().Incarnation + 1)
	if err != nil {
		return fmt.Errorf("number this run of the node anew: %w", err)
	}
	r.setRun(i)
	return nil
}

// Hosting says that this region hosts the home, as far as applied here. Without
// Options.Region it always does. It is cheap enough for every write.
func (r *Replica) Hosting() bool { return r.hosting.Load() }

// WaitHosting waits until Hosting says so. Errors: ctx's, ErrStopped.
func (r *Replica) WaitHosting(ctx context.Context, hosting bool) error {
	return r.await(ctx, func() bool { return r.hosting.Load() == hosting })
}

// WaitHeir waits until the log says that the home was handed over to this region, and is not hosted yet; or that this
// is not so. Errors: ctx's, ErrStopped.
func (r *Replica) WaitHeir(ctx context.Context, heir bool) error {
	return r.await(ctx, func() bool { return r.heir.Load() == heir })
}

// Promote makes this region the home's host, from this record of the log on: the leader of a
// copy that stands by does it, or of one that hosts without a lease, for another epoch of its own. When it returns nil the promotion is applied here; the region's
// nodes register by themselves as they apply it, and Propose takes operations. Errors:
// ErrIncomplete, ErrQuarantined, ErrNotLeader, ErrStopped, ctx's; *RefusedError for an epoch that is not
// above the one in force or is another region's.
func (r *Replica) Promote(ctx context.Context, op *home.Promote) error {
	c, ok := r.role.(*core)
	if !ok {
		return ErrNotLeader
	}
	return c.promote(ctx, op)
}

func (r *core) promote(ctx context.Context, op *home.Promote) error {
	if err := r.mayPromote(op); err != nil {
		return err
	}
	s := &r.standing
	if err := s.mu.lockIn(ctx); err != nil {
		return err
	}
	defer s.mu.unlock()
	if s.next != r.state.Position().Records+1 {
		s.unbase() // what is under way comes first, and may be a promotion
	}
	if err := r.base(ctx); err != nil {
		return err
	}
	if err := r.mayPromote(op); err != nil {
		return err
	}
	if !r.clock.live() { // nobody of this run heard the host's time
		r.setClock()
	}
	rec := home.Record{Home: r.opts.Home, Time: r.clock.now(), Entries: []home.Entry{{Owner: r.self(), N: 1, Ops: []home.Op{op}}}}
	s.unbase()
	if err := r.commit(ctx, raft.Log{Data: rec.Append(nil), Extensions: numberedExt(s.next, 0)}); err != nil {
		return fmt.Errorf("promote region %s to host home %s: %w", r.opts.Region, r.opts.Home, err)
	}
	if got := r.state.Epoch(); got != op.Epoch {
		return refuse("epoch %s is not above the home's, which is %s", op.Epoch, got)
	}
	return nil
}

func (r *core) mayPromote(op *home.Promote) error {
	switch why := r.quarantine.Load(); {
	case r.failure() != nil:
		return ErrStopped
	case r.opts.Region == "" || op.Epoch.Host != r.opts.Region:
		return refuse("epoch %s is of region %s, and this is region %q", op.Epoch, op.Epoch.Host, r.opts.Region)
	case !r.inOffice():
		return ErrNotLeader
	case r.hosting.Load() && r.leased(): // its own records would come between
		return fmt.Errorf("%w, and may go on with its epoch", ErrHosting)
	case r.state.ID() == "":
		return ErrIncomplete
	case why != nil:
		return fmt.Errorf("%w: %s", ErrQuarantined, *why)
	}
	if now := r.state.Epoch(); op.Epoch.Compare(now) <= 0 {
		return refuse("epoch %s is not above the home's, which is %s", op.Epoch, now)
	}
	if by := r.superseded(); op.Epoch.Compare(by) <= 0 {
		return refuse("epoch %s is not above %s, which has superseded this copy", op.Epoch, by)
	}
	return nil
}

// commit gives an entry to raft and waits until it is applied here. What comes out of the
// entry may be an error.
func (r *core) commit(ctx context.Context, l raft.Log) error {
	f := r.raft.ApplyLog(l, 0)
	if err := await(ctx, f); err != nil {
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		return err
	}
	if err, ok := f.Response().(error); ok {
		return err
	}
	return nil
}

// Hand gives the home to another region: the last word of its epoch. When it returns nil it is
// applied here, this region's copy stands by, and what was proposed behind it has failed with
// ErrStandby. Errors: ErrStandby, ErrStopped, ctx's, upon which nobody knows whether it will
// be handed over; WaitHosting tells. *RefusedError: to no other region. The leader does it.
func (r *Replica) Hand(ctx context.Context, to string) error {
	if !r.Leads() {
		return ErrNotLeader
	}
	if to == "" || to == r.opts.Region {
		return refuse("the home is handed over to another region, not to %q", to)
	}
	type result struct {
		o   home.Outcome
		err error
	}
	done := make(chan result, 1)
	err := r.Propose(&home.Hand{Epoch: r.state.Epoch(), To: to}, func(o home.Outcome, err error) { done <- result{o, err} })
	if err != nil {
		return err
	}
	select {
	case x := <-done:
		if x.err == nil && x.o.Code != home.CodeOK {
			return ErrStandby
		}
		if x.err != nil {
			return x.err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.WaitHosting(ctx, false)
}

// settled says that Open may return: what the node can do it does, or it is not its turn.
func (r *Replica) settled() bool {
	if r.registered.Load() {
		return true
	}
	if r.hosting.Load() {
		_, led := r.Leader()
		return led && !r.leased()
	}
	return r.fresh.now()
}

// leaseEvery is how often is looked whether the lease is back while entries wait for it.
const leaseEvery = 20 * time.Millisecond
