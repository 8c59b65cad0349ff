package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"causeway/internal/config"
	"causeway/internal/home"
	"causeway/internal/replica"
	"causeway/link"
)

// source is the home's log as it is shipped to standbys. It implements link.Source.
type source struct{ h *homeService }

func (s source) Tail(ctx context.Context, to string, after home.CopyPosition, maxBytes int) ([]home.Shipment, error) {
	r := s.h.current()
	if r == nil {
		return nil, errNoHome
	}
	list, err := r.Tail(ctx, to, after, maxBytes)
	return list, linkError(err)
}

func (s source) Copy(ctx context.Context, to string) (link.Copier, error) {
	r := s.h.current()
	if r == nil {
		return nil, errNoHome
	}
	c, err := r.Copy(ctx, to)
	if err != nil {
		return nil, linkError(err)
	}
	return c, nil
}

// linkError says in the link's words what only a copy helps against.
func linkError(err error) error {
	switch {
	case errors.Is(err, replica.ErrTooOld):
		return fmt.Errorf("%w: %w", link.ErrTooOld, err)
	case errors.Is(err, replica.ErrOtherChain):
		return fmt.Errorf("%w: %w", link.ErrOtherChain, err)
	}
	return err
}

// standby is the copy as it takes what is shipped. It implements link.Standby.
type standby struct{ h *homeService }

// Position is zero of a copy that was superseded: all that it has is kept aside, so it
// may be replaced.
func (s standby) Position() (home.CopyPosition, error) {
	r := s.h.current()
	if r == nil {
		return home.CopyPosition{}, fmt.Errorf("%w: %w", link.ErrOpening, errNoHome)
	}
	at, err := r.Position()
	switch _, retired := r.Superseded(); {
	case err != nil:
		err = fmt.Errorf("%w: %w", link.ErrNeedsCopy, err)
	case retired:
		err = link.ErrNeedsCopy // what it has is kept beside it
	}
	return at, err
}

func (s standby) WaitPosition(ctx context.Context, after uint64) (home.CopyPosition, error) {
	if r := s.h.current(); r != nil {
		return r.WaitPosition(ctx, after)
	}
	return home.CopyPosition{}, errNoHome
}

func (s standby) Append(ctx context.Context, list []home.Shipment) error {
	if r := s.h.current(); r != nil {
		return linkError(r.Append(ctx, list))
	}
	return errNoHome
}

func (s standby) Incoming(ctx context.Context, at home.CopyPosition, resume bool) (link.CopySink, error) {
	r := s.h.current()
	if r == nil {
		return nil, errNoHome
	}
	sink, err := r.Incoming(ctx, at, resume)
	if err != nil {
		return nil, err
	}
	return sink, nil
}

// shipping is what the home's standby has, as the link said last.
type shipping struct {
	said chan struct{} // holds one token: the link said something
	last link.Shipped  // guarded by the service's mu
}

// shippedNow takes the link's word.
func (h *homeService) shippedNow(s link.Shipped) {
	h.mu.Lock()
	h.shipping.last = s
	h.mu.Unlock()
	select {
	case h.shipping.said <- struct{}{}:
	default:
	}
}

const (
	// standbyAwayAfter is for how long a standby may not take what is shipped before
	// acknowledgements do without it.
	standbyAwayAfter = 2 * time.Second
	// shippedEvery is how often a leader is told what the standby has, at least.
	shippedEvery = 200 * time.Millisecond
)

// watchShipping tells the home what its standby has, and decides when acknowledgements
// do without it. The voters hear of that before the first one goes out: whoever would
// promote the standby must know that it lacks something. [E13]
func (h *homeService) watchShipping(ctx context.Context) error {
	tick := time.NewTicker(shippedEvery)
	defer tick.Stop()
	var d degrading
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-h.shipping.said:
		}
		r := h.current()
		if r == nil || !r.Leads() || !r.Hosting() {
			d = degrading{}
			h.mu.Lock()
			h.shipping.last = link.Shipped{} // of an earlier time as host
			h.mu.Unlock()
			if r != nil && !r.Hosting() {
				h.tellElsewhere(r)
			}
			continue
		}
		h.mu.Lock()
		last := h.shipping.last
		h.mu.Unlock()
		h.tellShipped(ctx, r, last, &d)
	}
}

// tellShipped looks at the standby once.
func (h *homeService) tellShipped(ctx context.Context, r *replica.Replica, last link.Shipped, d *degrading) {
	t := r.State().Takeover()
	if len(t.Standbys) == 0 {
		r.SetShipped(0, true)
		return
	}
	now := time.Now()
	if h.lone.Swap(false) && !last.Healthy { // the former host is gone, and with it most likely the only standby
		d.away = now.Add(-standbyAwayAfter)
	}
	w := d.next(now, last.Healthy, last.Records, t.StandbyAway != home.AwayWait)
	if w != sayShort { // acknowledgements wait again before anybody is told so
		r.SetShipped(last.Records, d.degraded())
	}
	set := settingsOf(&t)
	if err := h.say(ctx, r, w, d, set.Votes()); err != nil {
		h.a.log.Warn("tell the voters whether the standby has everything; until they know, acknowledgements wait", "home", string(h.id), "error", err)
	}
	r.SetShipped(last.Records, d.degraded())
}

// say does what is next.
func (h *homeService) say(ctx context.Context, r *replica.Replica, w word, d *degrading, decide bool) error {
	was := d.told
	switch w {
	case sayShort:
		p, err := r.Position()
		if err == nil {
			err = h.fallShort(ctx, p.Records, true, decide, fallShortMost)
		}
		if err != nil {
			return err
		}
	case takeMark: // a record of its own, so that the word is later than that of falling short
		ctx, cancel := context.WithTimeout(ctx, fallShortBack)
		defer cancel()
		o, err := outcomeOf(ctx, r, &home.Tick{})
		if err == nil && o.Code != home.CodeVoid {
			d.mark = o.Record
		}
		return nil // without a lease there is none yet
	case sayWhole:
		if err := h.fallShort(ctx, d.mark, false, decide, fallShortBack); err != nil {
			d.calm, d.mark = time.Now(), 0
			return err
		}
	default:
		return nil
	}
	d.said(w)
	if d.told != was {
		h.logDegraded(d.told)
	}
	return nil
}

func (h *homeService) logDegraded(on bool) {
	if on {
		h.a.log.Warn("the standby is away: what is acknowledged from now on it does not have", "home", string(h.id))
	} else {
		h.a.log.Info("the standby is back and has everything: it may take over", "home", string(h.id))
	}
}

// fallShort tells the voters that the home goes on without its standby, or that the
// standby has all that was acknowledged, as of a record. Where they decide nothing
// without an operator it is enough to have tried.
func (h *homeService) fallShort(ctx context.Context, record uint64, on, decide bool, limit time.Duration) error {
	if h.a.deciding == nil {
		return nil
	}
	if !decide {
		limit = fallShortTry
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := h.a.deciding.FallShort(ctx, h.id, record, on); decide {
		return err
	}
	return nil
}

// How long the voters are waited for, which may be away themselves.
const (
	fallShortTry  = 300 * time.Millisecond
	fallShortMost = 5 * time.Second
	fallShortBack = time.Second // while acknowledgements wait for a standby that is there
)

// standbys are the regions that the home is shipped to.
func (h *homeService) standbys() []string {
	if r := h.current(); r == nil || !r.Hosting() && !h.bequeaths(r) {
		return nil
	}
	return h.State().Takeover().Standbys
}

// bequeaths says that the home was handed over from here and nobody is known to serve
// it yet: its heir needs the last records, that of the handing over too. [E7]
func (h *homeService) bequeaths(r *replica.Replica) bool {
	s := r.State()
	_, handed := s.Handed()
	return handed && s.Epoch().Host == h.a.cfg.Region && !h.a.fenced(h.id)
}

// role is what this region's copy is to others.
func (h *homeService) role() link.Role {
	switch r := h.current(); {
	case r != nil && h.bequeaths(r):
		return link.RoleHost
	case r == nil || !r.Hosting() || h.founding(r): // until it is founded, a copy may come
		return link.RoleStandby
	case h.a.fenced(h.id):
		return link.RoleFenced
	}
	return link.RoleHost
}

// linkOptions are those of the home's links.
func (h *homeService) linkOptions() link.Options {
	a := h.a
	o := link.Options{Home: h, Trace: a.traces, Full: replica.ErrFull, Local: local{h}, Logger: a.log.With("component", "link", "home", string(h.id)),
		MaxMessage: int(a.cfg.Limits.Packet), CanaryEvery: canaryEvery, Gateway: h.gateway(), Keep: h.keep}
	if !h.own() {
		o.ID = h.id
	}
	for _, l := range a.cfg.RegionLinks() {
		if l.Peer != string(h.id) {
			o.Peers = append(o.Peers, linkPeer(l))
		}
	}
	if h.own() && (a.roaming.on() || len(a.cfg.Regions) > 0) {
		o.Answer = a.answer
	}
	if len(a.cfg.Regions) == 0 {
		return o
	}
	if !h.own() {
		o.Peers = append(o.Peers, link.Peer{ID: a.home.id})
	} else {
		o.Peers = append(o.Peers, callers(a.cfg)...)
	}
	o.Role, o.Heard, o.Standbys = h.role, a.heard, h.standbys
	o.Source, o.Standby, o.Diverged = source{h}, standby{h}, h.diverged
	o.Shipped, o.AwaitShipped = h.shippedNow, h.AwaitShipped
	return o
}

// callers are who is called although there may be no link: the witnesses, and the regions that
// vote or stand by. Two regions whose homes are both empty have no other tunnel to ask each other
// whether there is anything of them.
func callers(cfg *config.Config) (list []link.Peer) {
	for _, r := range cfg.Regions {
		dial := r.Dial
		if i := slices.IndexFunc(cfg.RegionLinks(), func(l *config.Link) bool { return l.Peer == r.Name }); !r.Witness {
			if i < 0 || r.Leaf || r.Name == cfg.Region {
				continue
			}
			dial = cfg.RegionLinks()[i].Dial
		}
		list = append(list, link.Peer{Region: r.Name, Calls: true, Dial: dial})
	}
	return list
}

// diverged hears that the host has a copy that went another way than ours, which stands
// by. The agent sets aside a copy that hosts, once it has heard of the epoch; one that does
// not, since it was handed over or only ever followed, is set aside as it is.
func (h *homeService) diverged(id home.ID, host home.CopyPosition) {
	if h.a.deciding != nil {
		h.a.deciding.Heard(id, host.Epoch)
	}
	h.astray.Store(&host.Epoch)
}

// setAside sets a copy that stands by aside, if its host said that it went another way: what
// only it has is kept, and another copy may come.
func (h *homeService) setAside(ctx context.Context, r *replica.Replica) {
	by := h.astray.Swap(nil)
	if by == nil || r.Hosting() || by.Compare(r.State().Epoch()) <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, retiredEvery)
	defer cancel()
	if err := r.Retire(ctx, *by); err != nil { // the host says it again
		h.a.log.Warn("set the copy aside that went another way than its host's", "home", string(h.id), "in_force", by.String(), "error", err)
	}
}

// hostsOf are the regions beside a home's own that may host it.
func (a *App) hostsOf(id home.ID) []string { return a.cfg.Standbys(string(id)) }

// addressesOf is where a region or witness is dialled that a link names no address of.
func (a *App) addressesOf(region string) []string {
	for _, l := range a.cfg.RegionLinks() {
		if l.Peer == region {
			return l.Dial
		}
	}
	return witnessAddresses(a.cfg, region)
}

func witnessAddresses(cfg *config.Config, name string) []string {
	for _, w := range cfg.Witnesses() {
		if w.Name == name {
			return w.Dial
		}
	}
	return nil
}
