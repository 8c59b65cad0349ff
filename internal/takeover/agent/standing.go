package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"causeway/internal/home"
	"causeway/internal/takeover"
)

// stand is a region's bid for a home.
type stand struct {
	bid
	promises takeover.Promises
	began    time.Duration
	sure     bool       // a majority promised
	beaten   home.Epoch // a voter promised this higher one
}

// bid is how a region stands.
type bid struct {
	planned bool // nothing is missing in the copy
	forced  bool // a copy that is behind will do: an operator says so, or it cannot be behind
	alone   bool // an operator wants it begun although a majority does not promise
}

// asStandby tells the voters how far the copy is, and stands for the home when the host
// is silent and the policy is that voters decide, or when an operator wants it.
func (k *keeper) asStandby(ctx context.Context, st *CopyState, now time.Duration) {
	k.mu.Lock()
	k.why = k.unfit(st)
	bids := k.wanted != nil || k.bids(st, now)
	whole := st.Epoch.Host == k.a.o.Region && !st.Retired && k.host.InForce.Compare(st.Epoch) <= 0 // nobody served since
	if !bids {
		k.stand = nil // the host is back, or others decided
	}
	k.mu.Unlock()
	switch {
	case bids:
		k.standUp(ctx, st, now, bid{planned: whole})
	case !st.Retired && !st.Empty:
		if st.Handed != "" && st.Epoch.Host == k.a.o.Region {
			k.release(ctx, st)
		}
		k.tell(ctx, st)
	default:
		k.tell(ctx, &CopyState{})
	}
}

// asHeir promotes the copy that was handed over to this region: its log says so, so
// whoever leads here finishes what was begun. Nothing can be missing in it.
func (k *keeper) asHeir(ctx context.Context, st *CopyState, now time.Duration) {
	k.mu.Lock()
	over := k.host.InForce.Compare(st.Epoch) > 0 || st.Quarantined != "" || k.kept.Held
	k.mu.Unlock()
	if over {
		k.tell(ctx, st)
		return
	}
	k.standUp(ctx, st, now, bid{planned: true, forced: true})
}

// tell tells everyone how far the copy is, and hears how the voters see the host.
func (k *keeper) tell(ctx context.Context, st *CopyState) {
	k.mu.Lock()
	names := k.everyone()
	k.mu.Unlock()
	k.each(ctx, names, request{Subject: tell, Home: k.id, Epoch: st.Epoch, At: st.position()}, func(string, time.Duration, *reply) {})
}

// release tells each voter once that the epoch that was handed over is relied on no more.
func (k *keeper) release(ctx context.Context, st *CopyState) {
	k.mu.Lock()
	var names []string
	for _, name := range k.copy.Settings.Voters {
		if v := k.views[name]; v == nil || v.released != st.Epoch {
			names = append(names, name)
		}
	}
	k.mu.Unlock()
	k.each(ctx, names, request{Subject: release, Home: k.id, Epoch: st.Epoch}, func(name string, _ time.Duration, _ *reply) {
		k.views[name].released = st.Epoch
	})
}

// unfit is why the copy should not be served from here; "". The caller holds mu.
func (k *keeper) unfit(st *CopyState) string {
	if why := k.notReady(st); why != "" {
		return why
	}
	if lacks := k.a.lacks(st.Size); len(lacks) > 0 {
		return lacks[0].Reason
	}
	return ""
}

// notReady is what the copy itself lacks; "".
func (k *keeper) notReady(st *CopyState) string {
	switch {
	case st.Empty:
		return "it has no copy yet"
	case st.Retired:
		return "its copy was set aside"
	case st.Quarantined != "":
		return "its copy is quarantined: " + st.Quarantined
	case st.Level > st.Supports:
		return fmt.Sprintf("the home is at feature level %d, this region supports %d", st.Level, st.Supports)
	case st.Incoming:
		return "a newer copy is on its way"
	}
	return ""
}

// bids says whether this region stands for the home by itself. The caller holds mu.
func (k *keeper) bids(st *CopyState, now time.Duration) bool {
	s := &st.Settings
	line := k.line(s)
	i := slices.Index(line, k.a.o.Region)
	if s.Mode != takeover.Auto || i < 0 || k.kept.Held || k.why != "" || now < k.rest {
		return false
	}
	if k.fellShort(s.Voters) {
		k.why = lacking.String()
		return false
	}
	// The first in the line goes first; the next gives it time.
	return k.silentFor(s.DownAfter + time.Duration(i)*s.Lease/2)
}

// fellShort says that too many voters heard that the standbys lack something for a
// majority to promise the home. The caller holds mu.
func (k *keeper) fellShort(voters []string) bool {
	n := len(voters)
	for _, name := range voters {
		if v := k.views[name]; v != nil && v.any && v.said.Short {
			n--
		}
	}
	return n < takeover.Majority(len(voters))
}

// line is who takes the home over, in order. The caller holds mu.
func (k *keeper) line(s *Settings) (line []string) {
	last := highest(k.host.InForce, k.copy.Epoch).Host
	for _, r := range append([]string{string(k.id)}, s.Standbys...) {
		if r != last || r == k.a.o.Region {
			line = append(line, r)
		}
	}
	return line
}

// standUp asks the voters for an epoch of its own and, when a majority promised it,
// begins it. Without votes that decide it begins it at once.
func (k *keeper) standUp(ctx context.Context, st *CopyState, now time.Duration, how bid) {
	votes := st.Settings.Votes()
	k.mu.Lock()
	if k.wanted != nil {
		how.forced, how.alone = k.wanted.Force, k.wanted.Force
	}
	if k.stand == nil || k.stand.beaten != (home.Epoch{}) && now >= k.rest {
		e := k.next()
		k.stand = &stand{bid: how, promises: takeover.Promises{Epoch: e}, began: now}
		k.a.o.Logger.Info("stands for the home", "home", k.id, "epoch", e, "planned", how.planned, "forced", how.forced)
	}
	s := k.stand
	s.bid, s.sure = how, !votes
	k.mu.Unlock()
	if votes {
		k.canvass(ctx, st, s)
		k.mu.Lock()
		until, ok := s.promises.Until(st.Settings.Voters, st.Settings.Terms)
		s.sure = ok && k.a.now() < until
		k.mu.Unlock()
	}
	switch patience := st.Settings.DownAfter + st.Settings.Hold; {
	case s.sure:
		k.promote(ctx, s)
	case s.alone && now-s.began > st.Settings.Hold:
		k.promoteAlone(ctx, s)
	case s.beaten != (home.Epoch{}) || now-s.began > patience:
		k.giveUp(st, s, now)
	}
}

// promoteAlone begins an epoch that no majority promised: an operator knows that there
// is none any more.
func (k *keeper) promoteAlone(ctx context.Context, s *stand) {
	if err := k.a.o.Votes.note(ctx, k.id, func(k *Kept) { k.Sole = true }); err != nil {
		k.a.o.Logger.Warn("keep that an operator serves without a majority; it is tried again", "home", k.id, "problem", err)
		return
	}
	k.mu.Lock()
	k.kept.Sole, s.sure = true, true
	k.mu.Unlock()
	k.promote(ctx, s)
}

// canvass asks for promises.
func (k *keeper) canvass(ctx context.Context, st *CopyState, s *stand) {
	q := request{Subject: ask, Home: k.id, Flags: flagCandidate, Epoch: s.promises.Epoch, At: st.position(), Hold: k.need(st), Record: takeover.ListID(st.Settings.Voters)}
	if s.forced {
		q.Flags |= flagForced
	}
	k.each(ctx, st.Settings.Voters, q, func(name string, asked time.Duration, p *reply) {
		switch p.Verdict {
		case yes:
			s.promises.Take(name, q.Epoch, asked)
			if until, ok := s.promises.Until(k.copy.Settings.Voters, k.copy.Settings.Terms); ok && k.a.now() < until {
				k.poke()
			}
		case old:
			s.beaten = highest(s.beaten, p.Promised)
		}
	})
}

// giveUp lets a bid rest that came to nothing: another one stands too and gets time, or
// the others cannot be reached.
func (k *keeper) giveUp(st *CopyState, s *stand, now time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now < k.rest {
		return
	}
	k.rest = now + st.Settings.Lease/4 + jitter(st.Settings.Hold)
	k.a.o.Logger.Info("rests, having stood for the home in vain", "home", k.id, "epoch", s.promises.Epoch, "beaten_by", s.beaten)
	if k.stand == s && s.beaten == (home.Epoch{}) {
		k.stand = nil
	}
}

// promoteTime bounds one try to begin an epoch. What it proposed may be committed
// later all the same; then the log says so.
const promoteTime = 5 * time.Second

// promote begins the epoch of a bid and tells everyone.
func (k *keeper) promote(ctx context.Context, s *stand) {
	e := s.promises.Epoch
	if plantedDelay != "" && !s.planned {
		planted(ctx)
	}
	limited, cancel := context.WithTimeout(ctx, promoteTime)
	defer cancel()
	k.a.o.Logger.Info("promotes its copy", "home", k.id, "epoch", e, "planned", s.planned)
	if err := k.c.Promote(limited, e, s.planned); err != nil {
		if ctx.Err() == nil {
			k.a.o.Logger.Warn("promote the copy; it is tried again", "home", k.id, "epoch", e, "problem", err)
		}
		k.abandon(ctx, s)
		return
	}
	k.mu.Lock()
	k.observe(k.c.State())
	k.kept.InForce = highest(k.kept.InForce, e)
	k.host.Hear(e)
	k.unkept = true
	k.settle()
	names := k.everyone()
	k.mu.Unlock()
	k.a.o.Audit("promote", string(k.id), "done", e.String())
	k.poke()
	k.announce(ctx, names, e)
}

// abandon ends the bid of a host that may not begin another epoch while it hosts: what
// voters promised it must not keep them from promising the home to somebody else.
func (k *keeper) abandon(ctx context.Context, s *stand) {
	k.mu.Lock()
	if !k.copy.hosts(k.a.o.Region) || k.stand != s {
		k.mu.Unlock()
		return
	}
	k.stand, k.rest = nil, k.a.now()+10*k.copy.Settings.Hold
	names, limit := k.copy.Settings.Voters, max(k.copy.Settings.Lease/2, time.Second)
	k.mu.Unlock()
	q := request{Subject: release, Home: k.id, Epoch: s.promises.Epoch}
	for _, name := range names {
		k.a.call(func() { _, _ = k.a.ask(ctx, name, &q, limit) })
	}
}

// announce tells everyone that the region serves at an epoch. Who misses it hears it
// with the next question.
func (k *keeper) announce(ctx context.Context, names []string, e home.Epoch) {
	k.mu.Lock()
	limit := max(k.copy.Settings.Lease/2, time.Second)
	k.mu.Unlock()
	q := request{Subject: served, Home: k.id, Epoch: e}
	for _, name := range names {
		k.a.call(func() { _, _ = k.a.ask(ctx, name, &q, limit) })
	}
}
