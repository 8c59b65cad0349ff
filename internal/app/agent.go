package app

import (
	"context"
	"errors"
	"time"

	"causeway/internal/config"
	"causeway/internal/group"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/internal/takeover"
	"causeway/internal/takeover/agent"
	"causeway/link"
)

// newAgent makes what decides who hosts a home: the region's vote and its leases.
func (a *App) newAgent() error {
	if a.book == nil {
		return nil
	}
	t := &a.cfg.Takeover
	var err error
	a.votes, err = agent.NewVotes(agent.VotesOptions{Name: a.cfg.Region, Book: a.book, Mute: !a.cfg.HasVote(),
		Terms: takeover.Terms{Lease: t.Lease, Hold: t.Hold}, Hosts: func(id home.ID) []string { return a.cfg.Hosts(string(id)) },
		Logger: a.log.With("component", "votes"), Pace: a.opts.Pace})
	if err != nil {
		return err
	}
	o := agent.Options{Keep: func(ctx context.Context, id home.ID, run func(context.Context) error) {
		a.keep(ctx, "takeover "+string(id), run)
	}, Crashed: func(what string, err error) { a.crashed("takeover "+what, err) },
		Audit: a.auditTakeover, Region: a.cfg.Region, Votes: a.votes, Caller: caller{a}, Room: a.room, Pace: a.opts.Pace, Logger: a.log.With("component", "takeover"),
		Hooks: agent.Hooks{Promote: t.Hooks.Promote, Fence: t.Hooks.Fence, Timeout: t.Hooks.Timeout}}
	for _, h := range a.homes {
		o.Copies = append(o.Copies, regionCopy{h})
	}
	decides, err := agent.New(o)
	if err != nil {
		return err
	}
	a.deciding = &deciding{Agent: decides, at: a.book.at}
	a.aside = &asideCopies{a: a}
	return nil
}

// runAgent runs the agent while this node answers for the region's vote. Both parts end together:
// one that went on alone would keep the other from being started again.
func (a *App) runAgent(ctx context.Context) error {
	g := group.New(ctx)
	g.Do(func(ctx context.Context) error {
		a.noteServed(ctx)
		return nil
	})
	g.Do(func(ctx context.Context) error {
		return runWhile(ctx, a.book.leads, a.part("takeover at work", a.deciding.Run))
	})
	return g.Wait()
}

// heard notes an epoch that a region says is in force.
func (a *App) heard(id home.ID, epoch home.Epoch, _ string) {
	if a.deciding != nil {
		a.deciding.Heard(id, epoch)
	}
}

// fenced says that the home's epoch here is not the one in force any more.
func (a *App) fenced(id home.ID) bool {
	return a.deciding != nil && a.deciding.AtWork() && a.deciding.Standing(id) == takeover.Fenced
}

// caller asks other regions. It implements agent.Caller.
type caller struct{ a *App }

func (c caller) Call(ctx context.Context, peer string, kind byte, request []byte) ([]byte, error) {
	if c.a.home.links == nil {
		return nil, errors.New("this region has no links")
	}
	return c.a.home.links.Call(ctx, peer, kind, request)
}

// leased says whether the home may be served now, as far as that is not the log's to
// say. It is the word of the node that leads it; others hear by that one's freshness,
// and rely on it a little longer than it may: so it ends that much before the lease.
func (h *homeService) leased() bool {
	r := h.opened.Load()
	switch {
	case h.founding(r):
		return h.a.deciding.MayFound(h.id)
	case r != nil && len(r.State().Takeover().Standbys) == 0: // nobody can have taken it over
		return true
	case r != nil && !r.Leads():
		return true
	}
	return !h.draining.Load() && (h.a.deciding == nil || h.a.deciding.LeasedFor(h.id, replica.FreshFor))
}

// founding says that the region's own home is empty, and that others may have a copy of it.
func (h *homeService) founding(r *replica.Replica) bool {
	cfg := h.a.cfg
	return r != nil && h.own() && h.a.deciding != nil && r.State().ID() == "" && len(cfg.Standbys(string(h.id))) > 0
}

// adopting says that the region's own home is served without standbys, and is to have some. Nobody else has a copy until its
// log names them, so it is served meanwhile; and the log names them only once there is a lease, and so many others know of the
// home that it could not be founded a second time. Otherwise a region whose nodes are restarted one by one with standbys in
// their files would be fenced until the last of them, and a majority of voters, had heard of it.
func (h *homeService) adopting(r *replica.Replica) bool {
	if r == nil || !h.own() || h.a.deciding == nil || !r.Hosting() {
		return false
	}
	s := r.State()
	return s.ID() != "" && len(s.Takeover().Standbys) == 0 && s.Level() >= home.LevelOf(home.KindSetTakeover) &&
		len(h.a.region().Standbys(string(h.id))) > 0
}

// mayAdopt says that the log may name the standbys now.
func (h *homeService) mayAdopt() bool {
	return h.a.deciding.LeasedFor(h.id, replica.FreshFor) && h.a.deciding.Known(h.id)
}

// regionCopy is the region's copy of a home as the agent acts on it. It implements
// agent.Copy.
type regionCopy struct{ h *homeService }

func (c regionCopy) Home() home.ID { return c.h.id }

// leader is the copy's log, if this node leads it.
func (c regionCopy) leader() (*replica.Replica, error) {
	switch r := c.h.opened.Load(); {
	case r == nil:
		return nil, errNoHome
	case !r.Leads():
		return nil, agent.ErrElsewhere
	default:
		return r, nil
	}
}

// State implements agent.Copy.
func (c regionCopy) State() agent.CopyState {
	h := c.h
	st := agent.CopyState{Empty: true, Silent: -1, Supports: home.MaxLevel}
	r := h.opened.Load()
	if r == nil {
		return st
	}
	s := r.State()
	at, err := r.Position()
	st.Epoch, st.Leads, st.Level, st.Empty = s.Epoch(), r.Leads(), s.Level(), s.ID() == ""
	st.Records, st.Chain = at.Records, at.Chain
	st.Handed, _ = s.Handed()
	_, aside := r.Superseded()
	st.Retired = (aside || superseded(r, h.a.cfg.Region)) && !st.Empty
	if errors.Is(err, replica.ErrQuarantined) {
		st.Quarantined = err.Error()
	}
	set := s.Takeover()
	switch { // as the home will be told
	case h.founding(r):
		set = *takeoverOp(h.a.cfg, string(h.id))
	case h.adopting(r):
		set = *takeoverOp(h.a.region(), string(h.id))
	}
	st.Settings = settingsOf(&set)
	status := s.Status()
	st.Size = agent.Size{Queued: int64(status.QueuedBytes), StoreBytes: r.Stats().StateBytes}
	for _, n := range s.SessionCounts() {
		st.Size.Sessions += n.Attached + n.Detached
	}
	h.shippingState(&st)
	return st
}

// shippingState adds what the link knows: of the standbys of a home that is hosted, of
// the host of one that is not.
func (h *homeService) shippingState(st *agent.CopyState) {
	if h.links == nil {
		return
	}
	st.Shipped = map[string]agent.Shipment{}
	list := h.links.Copies()
	for _, c := range list {
		up := c.Link.State == link.Up
		st.Incoming = st.Incoming || !h.hosts() && up && c.State == link.CopyCopying && !st.Empty
		st.Shipped[c.Region] = agent.Shipment{Connected: up && c.State != link.CopyRefuses && c.State != link.CopyDiverged,
			Records: c.At.Records, Messages: int(c.LagMessages), Bytes: int64(c.LagBytes), Lag: c.Lag}
	}
	if heard := h.heardUntil(list); !heard.IsZero() {
		st.Silent = time.Since(heard)
	}
}

// heardUntil is when something came through one of the tunnels last. A tunnel that has
// gone and is not listed any more counts as well.
func (h *homeService) heardUntil(list []link.CopyStatus) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range list {
		if c.Link.Heard.After(h.heardHost) {
			h.heardHost = c.Link.Heard
		}
	}
	return h.heardHost
}

func settingsOf(t *home.SetTakeover) agent.Settings {
	s := agent.Settings{Standbys: t.Standbys, Voters: t.Voters, DownAfter: t.DownAfter,
		Policy: takeover.Policy{Terms: takeover.Terms{Lease: t.Lease, Hold: t.Hold}}}
	if t.Mode == home.TakeoverAuto {
		s.Mode = takeover.Auto
	}
	if t.Isolation == home.IsolationSelfFence {
		s.Isolation = takeover.SelfFence
	}
	return s
}

// Promote implements agent.Copy.
func (c regionCopy) Promote(ctx context.Context, e home.Epoch, planned bool) error {
	r, err := c.leader()
	if err != nil {
		return err
	}
	grace := c.h.a.region().Takeover.WillGrace
	return r.Promote(ctx, &home.Promote{Epoch: e, Planned: planned, Grace: uint32((grace + time.Second - 1) / time.Second)})
}

// Hand implements agent.Copy. What waits since Drain goes into the log before it.
func (c regionCopy) Hand(ctx context.Context, to string) (uint64, error) {
	r, err := c.leader()
	if err != nil {
		return 0, err
	}
	c.h.draining.Store(false)
	if err := r.Hand(ctx, to); err != nil {
		return 0, err
	}
	at, err := r.Position()
	return at.Records, err
}

// drainLook is how long the log must not have grown to count as drained: what was on
// its way to disks by then is there.
const drainLook = 20 * time.Millisecond

// settleTime is for how long nothing is sent to devices before a home is handed over, so that what was sent is
// acknowledged, and does not come again at QoS 1: as long as nodes take to hear of it, and a device that is not far.
const settleTime = 250 * time.Millisecond

// Drain implements agent.Copy. First nothing more is sent to devices, and what they acknowledge still goes into the log.
// Then the leader takes no entry while it drains, so those of all nodes wait, and with them their devices.
func (c regionCopy) Drain(ctx context.Context, on bool) error {
	c.h.hushed.Store(on)
	if !on {
		c.h.draining.Store(false)
		return nil
	}
	if !wait(ctx, settleTime) {
		c.h.hushed.Store(false)
		return ctx.Err()
	}
	c.h.draining.Store(true)
	r, err := c.leader()
	for err == nil {
		var at, now home.CopyPosition
		if at, err = r.Position(); err != nil {
			break
		}
		if !wait(ctx, drainLook) {
			err = ctx.Err()
			break
		}
		if now, err = r.Position(); err == nil && now == at {
			return nil
		}
	}
	c.h.draining.Store(false)
	c.h.hushed.Store(false)
	return err
}

// Retire implements agent.Copy.
func (c regionCopy) Retire(ctx context.Context, inForce home.Epoch) error {
	r, err := c.leader()
	if err != nil {
		return err
	}
	return r.Retire(ctx, inForce)
}

// room is what the region has left for another home.
func (a *App) room() agent.Room {
	r := agent.Room{Sessions: -1, Queued: -1, DiskBytes: -1}
	if most := a.region().Takeover.Sessions; most > 0 {
		r.Sessions = most
		for _, h := range a.homes {
			if h.hosts() {
				for _, n := range h.State().SessionCounts() {
					r.Sessions -= n.Attached + n.Detached
				}
			}
		}
		r.Sessions = max(r.Sessions, 0)
	}
	if s, ok := a.measure(); ok {
		r.DiskBytes = max(0, int64(s.free)-int64(s.reserve))
	}
	return r
}

// takeoverConfigured says that homes are taken over here.
func takeoverConfigured(cfg *config.Config) bool { return len(cfg.Regions) > 0 }
